/* Owns what hatchway remembers of the objects it keeps in the API server, so as to see whether somebody has changed them:
 * who owns them, and all that is in them but their status and what only the API server writes. */
#include "controller/object/decode_reader.h"
#include "controller/object/json_write.h"

#define LIVE_CEILING ((size_t)2 << 20) /* the source reads no larger object */

/* The map's pairs but for these keys; the values are the map's own. */
static struct node *without(const struct node *map, const char *const *keys, struct arena *scratch)
{
	struct node *out = arena_alloc(scratch, sizeof(*out));
	*out = (struct node){.type = NODE_MAP};
	out->keys = arena_array(scratch, map->n, sizeof(*out->keys));
	out->items = arena_array(scratch, map->n, sizeof(*out->items));
	for (size_t i = 0; i < map->n; i++) {
		const char *const *key = keys;
		while (*key && strcmp(*key, map->keys[i]) != 0)
			key++;
		if (*key)
			continue;
		out->keys[out->n] = map->keys[i];
		out->items[out->n++] = map->items[i];
	}
	return out;
}

static void write_live(struct buf *out, const struct node *raw)
{
	static const char *const of_object[] = {"status", NULL};
	static const char *const of_metadata[] = {"managedFields", "resourceVersion", "generation", NULL};
	struct arena scratch;
	arena_init(&scratch);
	struct node *live = without(raw, of_object, &scratch);
	for (size_t i = 0; i < live->n; i++)
		if (strcmp(live->keys[i], "metadata") == 0 && live->items[i]->type == NODE_MAP)
			live->items[i] = without(live->items[i], of_metadata, &scratch);
	json_write(out, live);
	arena_done(&scratch);
}

/* The Gateway that is the object's controller; NULL. */
static const struct node *owner_of(const struct node *raw)
{
	const struct node *owners = node_get(node_get(raw, "metadata"), "ownerReferences");
	for (size_t i = 0; owners && owners->type == NODE_LIST && i < owners->n; i++) {
		const struct node *owner = owners->items[i]->type == NODE_MAP ? owners->items[i] : NULL;
		const char *version = node_text(owner, "apiVersion");
		if (node_bool(owner, "controller", false) && node_is(owner, "kind", "Gateway") && node_text(owner, "uid") &&
		    node_text(owner, "name") && version && strncmp(version, GATEWAY_API_GROUP "/", strlen(GATEWAY_API_GROUP "/")) == 0)
			return owner;
	}
	return NULL;
}

bool decode_kept(struct decode_reader *reader, struct kept *kept)
{
	const struct node *owner = owner_of(reader->raw);
	bool managed = node_is(reader->labels, LABEL_MANAGED_BY, MANAGED_BY);
	if (!owner && !managed)
		return false;
	struct buf live;
	buf_init(&live, LIVE_CEILING);
	write_live(&live, reader->raw);
	*kept = (struct kept){
	    .owner_uid = owner ? decode_text(reader, owner, "uid") : "",
	    .owner_name = owner ? decode_text(reader, owner, "name") : "",
	    .managed = managed,
	    .live = arena_strdup(reader->arena, buf_failed(&live) ? "{}" : live.data),
	};
	buf_done(&live);
	return true;
}
