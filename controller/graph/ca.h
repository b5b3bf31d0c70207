/* A ConfigMap's ca.crt as certificates of authorities: read with OpenSSL, written anew. Nothing of the user's text is left
 * in what is handed on. */
#ifndef HATCHWAY_GRAPH_CA_H
#define HATCHWAY_GRAPH_CA_H

#include "controller/object/object.h"

struct graph_ca {
	uint32_t refs;
	char *pem; /* NULL: it is no use, see error */
	char error[200];
};

/* One reference. */
struct graph_ca *ca_read(const struct config_map *map);
struct graph_ca *ca_ref(struct graph_ca *ca);
void ca_unref(struct graph_ca *ca); /* ignores NULL */

#endif
