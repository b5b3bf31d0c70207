/* What all that is kept for a Gateway has in common (GEP-1762): names of ports, labels, annotations, the owner. */
#include "controller/infra/infra.h"

#include "hatchway/base/hash.h"

#include <string.h>

/* Text of a hostile object is UTF-8 as far as an API server goes; what is not is left out of the document. */
static void put(json_t *map, const char *key, const char *value)
{
	json_object_set_new(map, key, json_string(value));
}

/* A Gateway's name may be longer than a label's value: cut, and told apart by a digest. */
static void put_label(json_t *labels, const char *key, const char *value)
{
	char text[64];
	uint64_t hash = hash_bytes(value, strlen(value), 0);
	if (strlen(value) > 63)
		snprintf(text, sizeof(text), "%.50s-%012llx", value, (unsigned long long)(hash >> 16));
	else
		snprintf(text, sizeof(text), "%s", value);
	put(labels, key, text);
}

static json_t *merged(const struct infra_pairs *lists, size_t n)
{
	json_t *map = json_object();
	for (size_t l = 0; l < n; l++)
		for (size_t i = 0; i < lists[l].n; i++)
			put(map, lists[l].pairs[i].key, lists[l].pairs[i].value);
	return map;
}

static json_t *owner(const struct gateway *gateway)
{
	json_t *owner = json_object();
	char version[64];
	snprintf(version, sizeof(version), GATEWAY_API_GROUP "/%s",
	         object_version_name((enum object_version)gateway->object.version));
	put(owner, "apiVersion", version);
	put(owner, "kind", "Gateway");
	put(owner, "name", gateway->object.name);
	put(owner, "uid", gateway->object.uid);
	json_object_set_new(owner, "controller", json_true());
	return owner;
}

json_t *infra_metadata(const struct gateway *gateway, const char *name, const struct infra_pairs *labels, size_t n_labels,
                       const struct infra_pairs *annotations, size_t n_annotations)
{
	json_t *metadata = json_object(), *all = merged(labels, n_labels), *owners = json_array();
	put(metadata, "name", name);
	put(metadata, "namespace", gateway->object.namespace);
	/* Last: nobody's labels may hide whose it is. */
	put(all, LABEL_MANAGED_BY, MANAGED_BY);
	put_label(all, GATEWAY_API_GROUP "/gateway-name", gateway->object.name);
	put_label(all, GATEWAY_API_GROUP "/gateway-class-name", gateway->gateway_class_name);
	json_object_set_new(metadata, "labels", all);
	json_object_set_new(metadata, "annotations", merged(annotations, n_annotations));
	json_array_append_new(owners, owner(gateway));
	json_object_set_new(metadata, "ownerReferences", owners);
	return metadata;
}

void infra_ports(const struct gateway_state *state, void (*cb)(void *ctx, uint16_t port, uint16_t bind_port), void *ctx)
{
	for (unsigned after = 0, found; ; after = found) {
		size_t at = 0;
		found = 65536;
		for (size_t i = 0; i < state->n_listeners; i++) {
			uint16_t port = state->listeners[i].spec->port;
			if (state->listeners[i].serving && port > after && port < found) {
				found = port;
				at = i;
			}
		}
		if (found == 65536)
			return;
		cb(ctx, (uint16_t)found, state->listeners[at].bind_port);
	}
}

void infra_port_name(uint16_t port, char ret[16])
{
	snprintf(ret, 16, "port-%u", port);
}
