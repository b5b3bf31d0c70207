/* Certificates: for which names each of a listener's is (ListenerTLSConfig.certificateRefs), as units that listeners share. */
#include "controller/compile/compile.h"
#include "controller/graph/hostname.h"

#include <string.h>

/* What a listener's certificate is served for: the listener's hostname, and of the certificate's own names those that are
 * this listener's: HAProxy takes a wildcard for one label, a listener takes it for any number. A listener without hostname
 * serves it to everybody who asks for nothing else, also to clients that name none. */
static const char **names_of(struct arena *scratch, const struct gateway_state *gateway, size_t l,
                             const struct graph_certificate *certificate, uint32_t *ret_n)
{
	const struct listener *listener = &gateway->gateway->listeners[l];
	const char *own = listener->hostname ? listener->hostname : "";
	const char **names = arena_array(scratch, certificate->n_names + 1, sizeof(*names));
	uint32_t n = 0;
	names[n++] = *own ? own : "*";
	for (size_t i = 0; i < certificate->n_names; i++) {
		const char *name = certificate->names[i];
		if (strcmp(name, own) != 0 && hostname_covers(own, name) && graph_listener_owner(gateway, listener->port, name) == l)
			names[n++] = name;
	}
	*ret_n = n;
	return names;
}

static struct table_certificate like_of(struct arena *scratch, const struct gateway_state *gateway, size_t l,
                                        const struct graph_certificate *certificate)
{
	struct table_certificate like = {.pem = certificate->pem};
	struct buf text;
	char *digest = arena_alloc(scratch, 40);
	buf_init(&text, SIZE_MAX / 4);
	like.names = names_of(scratch, gateway, l, certificate, &like.n_names);
	buf_adds(&text, certificate->digest);
	for (uint32_t i = 0; i < like.n_names; i++)
		buf_addf(&text, " %s", like.names[i]);
	certificate_digest(text.data, text.len, digest);
	buf_done(&text);
	like.unit.key = digest;
	return like;
}

static int key_cmp(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void use(struct compile *compile, const struct table_certificate *like, struct table_changes *changes)
{
	struct certificate *found;
	HASH_FIND_STR(compile->certificates, like->unit.key, found);
	if (!found) {
		found = xcalloc(1, sizeof(*found));
		snprintf(found->key, sizeof(found->key), "%s", like->unit.key);
		HASH_ADD_STR(compile->certificates, key, found);
		table_change(compile->table, changes, TABLE_CERTIFICATE, like->unit.key, &table_certificate_new(like)->unit);
	}
	found->uses++;
}

void certificates_use(struct compile *compile, const struct gateway_state *gateway, size_t l, struct arena *scratch,
                      struct table_listener *like, struct table_changes *changes)
{
	const struct listener_state *state = &gateway->listeners[l];
	like->certificates = arena_array(scratch, state->n_certificates, sizeof(*like->certificates));
	for (size_t i = 0; i < state->n_certificates; i++) {
		const struct table_certificate certificate = like_of(scratch, gateway, l, state->certificates[i]);
		bool again = false;
		for (uint32_t k = 0; k < like->n_certificates && !again; k++)
			again = strcmp(like->certificates[k], certificate.unit.key) == 0;
		if (again)
			continue;
		use(compile, &certificate, changes);
		like->certificates[like->n_certificates++] = certificate.unit.key;
	}
	if (like->n_certificates > 1)
		qsort(like->certificates, like->n_certificates, sizeof(*like->certificates), key_cmp);
}

void certificates_unuse(struct compile *compile, const struct table_listener *listener, struct table_changes *changes)
{
	for (uint32_t i = 0; listener && i < listener->n_certificates; i++) {
		struct certificate *found;
		HASH_FIND_STR(compile->certificates, listener->certificates[i], found);
		BUG_ON(!found || !found->uses);
		if (--found->uses)
			continue;
		table_change(compile->table, changes, TABLE_CERTIFICATE, found->key, NULL);
		HASH_DEL(compile->certificates, found);
		free(found);
	}
}
