/* An API server's bytes, cut anywhere → pieces → trees → objects. Whatever the bytes: never a crash, a leak or a piece
 * beyond its bounds, and the same pieces wherever the cuts are. The first byte says how to cut. */
#include "controller/source/json.h"

#include "hatchway/base/hash.h"

struct outcome {
	uint64_t hash;
	unsigned n;
};

static bool on_piece(void *ctx, enum json_piece piece, const char *bytes, size_t n, bool whole)
{
	struct outcome *outcome = ctx;
	struct arena scratch;
	struct node *node, *unmanaged;
	struct object *object;
	struct err err = {""};
	unsigned line;
	BUG_ON(n > JSON_PIECE_CEILING && whole);
	outcome->hash = hash_bytes(bytes, n, outcome->hash + piece);
	outcome->n++;
	arena_init(&scratch);
	int ret = json_node(bytes, n, &scratch, &node, &err);
	BUG_ON(ret && !*err.text);
	BUG_ON(!ret && json_node_unmanaged(bytes, n, &scratch, &unmanaged, &err));
	if (!ret && object_decode(unmanaged, &object, &line, &err) > 0)
		object_unref(object);
	if (!ret && object_decode(node, &object, &line, &err) > 0)
		object_unref(object);
	arena_done(&scratch);
	return true;
}

static struct outcome split(enum json_stream stream, const uint8_t *data, size_t size, size_t step)
{
	struct outcome outcome = {0};
	struct json_split split;
	int ret = 0;
	json_split_init(&split, stream, on_piece, &outcome);
	for (size_t at = 0; !ret && at < size; at += step)
		ret = json_split_feed(&split, (const char *)data + at, size - at < step ? size - at : step);
	json_split_done(&split);
	return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	size_t step = 1 + data[0] / 2;
	enum json_stream stream = data[0] & 1 ? JSON_LIST : JSON_EVENTS;
	struct outcome cut = split(stream, data + 1, size - 1, step), whole = split(stream, data + 1, size - 1, size);
	BUG_ON(cut.n != whole.n || cut.hash != whole.hash);
	return 0;
}
