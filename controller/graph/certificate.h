/* A Secret as a certificate for servers: checked with OpenSSL, written anew. Nothing of the user's text is left in what is
 * handed on, and nothing of a key in what is told. */
#ifndef HATCHWAY_GRAPH_CERTIFICATE_H
#define HATCHWAY_GRAPH_CERTIFICATE_H

#include "controller/object/object.h"

struct graph_certificate {
	uint32_t refs;
	char digest[40];     /* of pem */
	char *pem;           /* NULL: it cannot be served, see error */
	char **names;        /* that it is for: "a.b", "*.a.b"; lower case */
	size_t n_names;
	char until[32];      /* "2027-01-01T00:00:00Z" */
	char error[200];
};

/* One reference. */
struct graph_certificate *certificate_read(const struct secret *secret);
struct graph_certificate *certificate_ref(struct graph_certificate *certificate);
void certificate_unref(struct graph_certificate *certificate); /* ignores NULL */

/* SHA-256 as 32 hex digits: half of it is enough that nobody finds another's. */
void certificate_digest(const char *text, size_t n, char ret[40]);

#endif
