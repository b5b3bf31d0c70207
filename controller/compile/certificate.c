/* Certificates: for which names each of a listener's is (ListenerTLSConfig.certificateRefs), and what TLS to servers needs
 * (BackendTLSPolicy), as units that listeners and backends share. */
#include "controller/compile/compile.h"
#include "controller/graph/hostname.h"

#include <string.h>

/* What a listener's certificate is served for: the listener's hostname, and of the certificate's own names those that are
 * this listener's: HAProxy takes a wildcard for one label, a listener takes it for any number. A listener without hostname
 * serves it to everybody who asks for nothing else, also to clients that name none. */
static const char **names_of(struct arena *scratch, const struct gateway_state *gateway, size_t l,
                             const struct graph_certificate *certificate, uint32_t *ret_n)
{
	const struct listener *listener = gateway->listeners[l].spec;
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
                                        const struct graph_certificate *certificate, const char *ca)
{
	struct table_certificate like = {.ca = ca, .ca_optional = ca && gateway->listeners[l].any_client, .pem = certificate->pem};
	struct buf text;
	char *digest = arena_alloc(scratch, 40);
	buf_init(&text, SIZE_MAX / 4);
	like.names = names_of(scratch, gateway, l, certificate, &like.n_names);
	buf_addf(&text, "%s%s%s", certificate->digest, like.ca_optional ? "?" : ca ? "/" : "", ca ? ca : "");
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

static void use(struct compile *compile, struct table_unit *unit, struct table_changes *changes)
{
	struct certificate *found;
	HASH_FIND_STR(compile->certificates, unit->key, found);
	if (found) {
		found->uses++;
		table_unit_unref(unit);
		return;
	}
	found = xcalloc(1, sizeof(*found));
	found->uses = 1;
	found->kind = unit->kind;
	snprintf(found->key, sizeof(found->key), "%s", unit->key);
	HASH_ADD_STR(compile->certificates, key, found);
	table_change(compile->table, changes, found->kind, found->key, unit);
}

/* NULL: none. */
static void unuse(struct compile *compile, const char *key, struct table_changes *changes)
{
	struct certificate *found;
	if (!key)
		return;
	HASH_FIND_STR(compile->certificates, key, found);
	BUG_ON(!found || !found->uses);
	if (--found->uses)
		return;
	table_change(compile->table, changes, found->kind, found->key, NULL);
	HASH_DEL(compile->certificates, found);
	free(found);
}

/* NULL: nothing. */
static const char *use_ca(struct compile *compile, const struct buf *pem, struct arena *scratch, struct table_changes *changes)
{
	if (!pem->len)
		return NULL;
	char *key = arena_alloc(scratch, 40);
	certificate_digest(pem->data, pem->len, key);
	const struct table_ca like = {.unit = {.key = key}, .pem = pem->data};
	use(compile, &table_ca_new(&like)->unit, changes);
	return key;
}

/* ---- listeners ---- */

/* Whom a listener's clients must come from, as each of its certificates names them. */
static const char *use_clients(struct compile *compile, const struct listener_state *state, struct arena *scratch,
                               struct table_changes *changes)
{
	struct buf pem;
	buf_init(&pem, SIZE_MAX / 4);
	for (size_t i = 0; i < state->n_cas; i++)
		buf_adds(&pem, state->cas[i]->pem);
	const char *key = use_ca(compile, &pem, scratch, changes);
	buf_done(&pem);
	return key;
}

void certificates_use(struct compile *compile, const struct gateway_state *gateway, size_t l, struct arena *scratch,
                      struct table_listener *like, struct table_changes *changes)
{
	const struct listener_state *state = &gateway->listeners[l];
	like->certificates = arena_array(scratch, state->n_certificates, sizeof(*like->certificates));
	for (size_t i = 0; i < state->n_certificates; i++) {
		const char *ca = use_clients(compile, state, scratch, changes);
		const struct table_certificate certificate = like_of(scratch, gateway, l, state->certificates[i], ca);
		bool again = false;
		for (uint32_t k = 0; k < like->n_certificates && !again; k++)
			again = strcmp(like->certificates[k], certificate.unit.key) == 0;
		if (again) {
			unuse(compile, ca, changes);
			continue;
		}
		use(compile, &table_certificate_new(&certificate)->unit, changes);
		like->certificates[like->n_certificates++] = certificate.unit.key;
	}
	if (like->n_certificates > 1)
		qsort(like->certificates, like->n_certificates, sizeof(*like->certificates), key_cmp);
}

void certificates_unuse(struct compile *compile, const struct table_listener *listener, struct table_changes *changes)
{
	for (uint32_t i = 0; listener && i < listener->n_certificates; i++) {
		unuse(compile, table_certificate(compile->table, listener->certificates[i])->ca, changes);
		unuse(compile, listener->certificates[i], changes);
	}
}

/* ---- servers ---- */

static const char *use_client(struct compile *compile, const struct graph_certificate *client, struct arena *scratch,
                              struct table_changes *changes)
{
	char *key = arena_alloc(scratch, 40);
	certificate_digest(client->digest, strlen(client->digest), key);
	const struct table_certificate like = {.unit = {.key = key}, .pem = client->pem};
	use(compile, &table_certificate_new(&like)->unit, changes);
	return key;
}

/* None where the hostname is all that is asked for. */
static void fill_names(struct arena *scratch, const struct backend_tls_policy *policy, struct table_tls *tls)
{
	bool other = false;
	tls->names = arena_array(scratch, policy->n_names, sizeof(*tls->names));
	for (size_t i = 0; i < policy->n_names; i++) {
		const struct subject_alt_name *name = &policy->names[i];
		other |= !name->hostname || strcmp(name->hostname, policy->hostname) != 0;
		tls->names[i] = name->hostname ? arena_printf(scratch, "dns:%s", name->hostname) : arena_printf(scratch, "uri:%s", name->uri);
	}
	tls->n_names = other ? policy->n_names : 0;
}

struct table_tls *tls_use(struct compile *compile, const struct node *policy, const struct graph_certificate *client,
                          struct arena *scratch, struct table_changes *changes)
{
	struct table_tls *tls = arena_alloc(scratch, sizeof(*tls));
	struct buf pem;
	buf_init(&pem, SIZE_MAX / 4);
	BUG_ON(!graph_policy_good(compile->graph, policy, &pem)); /* or no rule would use the backend */
	tls->name = ((const struct backend_tls_policy *)policy->object)->hostname;
	fill_names(scratch, (const struct backend_tls_policy *)policy->object, tls);
	tls->ca = use_ca(compile, &pem, scratch, changes);
	tls->certificate = client ? use_client(compile, client, scratch, changes) : NULL;
	buf_done(&pem);
	return tls;
}

void tls_unuse(struct compile *compile, const struct table_tls *tls, struct table_changes *changes)
{
	unuse(compile, tls ? tls->ca : NULL, changes);
	unuse(compile, tls ? tls->certificate : NULL, changes);
}
