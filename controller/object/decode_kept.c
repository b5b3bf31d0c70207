/* Owns what hatchway remembers of the objects it keeps in the API server, so as to see whether somebody has changed them:
 * who owns them, and all that is in them but their status and what only the API server writes. */
#include "controller/object/decode_reader.h"
#include "controller/object/json_write.h"

#define LIVE_CEILING ((size_t)2 << 20) /* the source reads no larger object */

static bool is_one_of(const char *name, const char *const *list)
{
	while (*list && strcmp(*list, name) != 0)
		list++;
	return *list;
}

/* of_metadata: what its field "metadata" goes without; NULL: nothing. */
static void put_map(struct buf *out, const struct node *map, const char *const *without, const char *const *of_metadata)
{
	const char *comma = "";
	buf_addc(out, '{');
	for (size_t i = 0; i < map->n; i++) {
		const struct node *item = map->items[i];
		if (is_one_of(map->keys[i], without))
			continue;
		buf_adds(out, comma);
		comma = ",";
		json_write_text(out, map->keys[i]);
		buf_addc(out, ':');
		if (of_metadata && item->type == NODE_MAP && strcmp(map->keys[i], "metadata") == 0)
			put_map(out, item, of_metadata, NULL);
		else
			json_write(out, item);
	}
	buf_addc(out, '}');
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
	static const char *const without[] = {"status", NULL};
	static const char *const of_metadata[] = {"managedFields", "resourceVersion", "generation", NULL};
	const struct node *owner = owner_of(reader->raw);
	bool managed = node_is(reader->labels, LABEL_MANAGED_BY, MANAGED_BY);
	if (!owner && !managed)
		return false;
	struct buf live;
	buf_init(&live, LIVE_CEILING);
	put_map(&live, reader->raw, without, of_metadata);
	*kept = (struct kept){
	    .owner_uid = owner ? decode_text(reader, owner, "uid") : "",
	    .owner_name = owner ? decode_text(reader, owner, "name") : "",
	    .managed = managed,
	    .live = arena_strdup(reader->arena, buf_failed(&live) ? "{}" : live.data),
	};
	buf_done(&live);
	return true;
}
