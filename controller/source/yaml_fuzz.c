/* Bytes → documents → objects. Whatever the bytes: an answer, an error with text, never a crash, never a leak. An
 * object decoded twice from one tree has one hash. Both readers read the same. */
#include "controller/source/yaml_plain.h"
#include "controller/source/yaml.h"

static void compare(const struct node *a, const struct node *b)
{
	BUG_ON(a->type != b->type || a->line != b->line || a->n != b->n);
	BUG_ON(a->type < NODE_LIST && a->type != NODE_NULL && strcmp(a->text, b->text) != 0);
	for (size_t i = 0; i < a->n; i++) {
		BUG_ON(a->type == NODE_MAP && strcmp(a->keys[i], b->keys[i]) != 0);
		compare(a->items[i], b->items[i]);
	}
}

/* What the plain reader knows is what libyaml says. A byte order mark means nothing, and only libyaml knows it. */
static void compare_readers(const uint8_t *data, size_t size)
{
	static const char mark[] = "\xef\xbb\xbf";
	char *marked = xmalloc(size + 3);
	memcpy(marked, mark, 3);
	if (size)
		memcpy(marked + 3, data, size);
	struct yaml *yaml = yaml_open_bytes(marked, size + 3);
	struct arena scratch;
	struct yaml_tree tree = {.scratch = &scratch};
	struct yaml_plain plain = {0};
	struct node *document, *same;
	struct err err;
	int status = size && size <= YAML_PLAIN_CEILING ? 1 : -1;
	arena_init(&scratch);
	if (status > 0)
		yaml_plain_open(&plain, marked + 3, size);
	while (status > 0) {
		status = yaml_plain_next(&plain, &tree, &document);
		if (status >= 0)
			BUG_ON(yaml_next(yaml, &scratch, &same, NULL, &err) != status);
		if (status > 0)
			compare(document, same);
	}
	yaml_close(yaml);
	yaml_tree_done(&tree);
	arena_done(&scratch);
	free(marked);
}

static void decode(const struct node *document)
{
	struct object *object, *again;
	struct err err;
	unsigned line = 0;
	int status = object_decode(document, &object, &line, &err);
	if (status < 0)
		BUG_ON(!err.text[0]);
	/* Strict refuses more, and else reads the same. */
	struct err strict_err = {.text = ""};
	int strict = object_decode_manifest(document, &again, &line, &strict_err);
	BUG_ON(strict > status || (strict < 0 && !strict_err.text[0]));
	if (strict > 0) {
		BUG_ON(again->spec_hash != object->spec_hash);
		object_unref(again);
	}
	if (status <= 0)
		return;
	BUG_ON(object_decode(document, &again, &line, &err) != 1 || again->spec_hash != object->spec_hash);
	BUG_ON(object_cmp_key(object, again));
	object_unref(object);
	object_unref(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	compare_readers(data, size);
	struct yaml *yaml = yaml_open_bytes(data, size);
	int status;
	do {
		struct arena scratch;
		arena_init(&scratch);
		struct node *document;
		struct err err = {.text = ""};
		unsigned line;
		status = yaml_next(yaml, &scratch, &document, &line, &err);
		if (status > 0)
			decode(document);
		else if (status < 0)
			BUG_ON(!err.text[0]);
		arena_done(&scratch);
	} while (status > 0);
	yaml_close(yaml);
	return 0;
}
