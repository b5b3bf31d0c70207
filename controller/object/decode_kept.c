/* Owns what hatchway remembers of the objects it keeps in the API server, so as to see whether somebody has changed them:
 * who owns them, and all that is in them but their status and what only the API server writes. */
#include "controller/object/decode_reader.h"

#include "hatchway/base/buf.h"

#define LIVE_CEILING ((size_t)2 << 20) /* the source reads no larger object */
#define GATEWAY_GROUP "gateway.networking.k8s.io/"

static void put_text(struct buf *out, const char *text)
{
	buf_addc(out, '"');
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (*p == '"' || *p == '\\')
			buf_addc(out, '\\');
		if (*p < 0x20)
			buf_addf(out, "\\u%04x", *p);
		else
			buf_addc(out, (char)*p);
	}
	buf_addc(out, '"');
}

static void put_node(struct buf *out, const struct node *node, const char *const *without)
{
	const char *comma = "";
	switch (node->type) {
	case NODE_NULL:
		buf_adds(out, "null");
		break;
	case NODE_BOOL:
	case NODE_NUMBER:
		buf_adds(out, node->text);
		break;
	case NODE_STRING:
		put_text(out, node->text);
		break;
	case NODE_LIST:
		buf_addc(out, '[');
		for (size_t i = 0; i < node->n; i++, comma = ",") {
			buf_adds(out, comma);
			put_node(out, node->items[i], NULL);
		}
		buf_addc(out, ']');
		break;
	case NODE_MAP: {
		static const char *const of_metadata[] = {"managedFields", "resourceVersion", "generation", NULL};
		buf_addc(out, '{');
		for (size_t i = 0; i < node->n; i++) {
			const char *const *drop = without;
			while (drop && *drop && strcmp(*drop, node->keys[i]) != 0)
				drop++;
			if (drop && *drop)
				continue;
			buf_adds(out, comma);
			put_text(out, node->keys[i]);
			buf_addc(out, ':');
			bool metadata = without && strcmp(node->keys[i], "metadata") == 0;
			put_node(out, node->items[i], metadata ? of_metadata : NULL);
			comma = ",";
		}
		buf_addc(out, '}');
		break;
	}
	}
}

/* The Gateway that is the object's controller; NULL. */
static const struct node *owner_of(const struct node *raw)
{
	const struct node *owners = node_get(node_get(raw, "metadata"), "ownerReferences");
	for (size_t i = 0; owners && owners->type == NODE_LIST && i < owners->n; i++) {
		const struct node *owner = owners->items[i]->type == NODE_MAP ? owners->items[i] : NULL;
		const char *version = node_text(owner, "apiVersion");
		if (node_bool(owner, "controller", false) && node_is(owner, "kind", "Gateway") && node_text(owner, "uid") &&
		    node_text(owner, "name") && version && strncmp(version, GATEWAY_GROUP, strlen(GATEWAY_GROUP)) == 0)
			return owner;
	}
	return NULL;
}

bool decode_kept(struct decode_reader *reader, struct kept *kept)
{
	static const char *const without[] = {"status", NULL};
	const struct node *owner = owner_of(reader->raw);
	bool managed = node_is(reader->labels, LABEL_MANAGED_BY, MANAGED_BY);
	if (!owner && !managed)
		return false;
	struct buf live;
	buf_init(&live, LIVE_CEILING);
	put_node(&live, reader->raw, without);
	*kept = (struct kept){
	    .owner_uid = owner ? decode_text(reader, owner, "uid") : "",
	    .owner_name = owner ? decode_text(reader, owner, "name") : "",
	    .managed = managed,
	    .live = arena_strdup(reader->arena, buf_failed(&live) ? "{}" : live.data),
	};
	buf_done(&live);
	return true;
}
