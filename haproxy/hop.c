/* Owns the sockets HAProxy speaks to, the connections through them, and their TLS. Never decides which there are: the table
 * does. What is on its way in one direction is bounded: nobody is read faster than the other side is written. */
#include "haproxy/hop.h"

#include "haproxy/encode.h"
#include "hatchway/base/log.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <uthash.h>

#include <ctype.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ON_THE_WAY ((size_t)256 << 10)
#define HANDSHAKE_MS 5000
#define GRACE_MS 10000 /* HAProxy has let go of a server by then */

struct conn;

struct hop {
	UT_hash_handle hh;
	struct hops *hops;
	struct table_backend *backend; /* whose names count; a reference */
	SSL_CTX *ctx;
	struct sockaddr_storage to;
	struct conn *conns;
	uv_pipe_t listener;
	uv_timer_t grace;
	unsigned parts; /* handles and connections that are open */
	bool wanted, closing;
	char name[ENCODE_HOP_NAME];
};

struct conn {
	struct hop *hop;
	struct conn *next, **link;
	SSL *ssl;
	BIO *in, *out; /* of ssl: what came from the server, what is to go there */
	uv_pipe_t client;
	uv_tcp_t server;
	uv_timer_t timer;
	uv_connect_t connect;
	unsigned handles;
	bool up, ending, closing; /* ending: what is written still goes out */
};

struct hops {
	uv_loop_t *loop;
	char instance[41];
	struct table *table; /* CAs, certificates, and backends with names */
	struct hop *list;
	bool closing;
	void (*close_cb)(void *ctx);
	void *close_ctx;
};

/* ---- names ---- */

/* "*.a.b" covers one label. */
static bool covers(const char *wild, const char *name)
{
	const char *rest = strchr(name, '.');
	return !strncmp(wild, "*.", 2) && rest && rest > name && *name != '*' && !strcasecmp(wild + 1, rest);
}

static bool is_name(const GENERAL_NAME *name, const char *wanted)
{
	const ASN1_IA5STRING *text = name->type == GEN_DNS && !strncmp(wanted, "dns:", 4)   ? name->d.dNSName
	                             : name->type == GEN_URI && !strncmp(wanted, "uri:", 4) ? name->d.uniformResourceIdentifier
	                                                                                   : NULL;
	const char *have = text ? (const char *)ASN1_STRING_get0_data(text) : NULL;
	if (!have || strlen(have) != (size_t)ASN1_STRING_length(text))
		return false; /* a NUL inside cheats */
	if (name->type == GEN_URI)
		return !strcmp(have, wanted + 4);
	return !strcasecmp(have, wanted + 4) || covers(have, wanted + 4) || covers(wanted + 4, have);
}

static bool has_name(X509 *certificate, const struct table_tls *tls)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	bool found = false;
	for (int i = 0; !found && i < sk_GENERAL_NAME_num(names); i++)
		for (uint32_t k = 0; !found && k < tls->n_names; k++)
			found = is_name(sk_GENERAL_NAME_value(names, i), tls->names[k]);
	GENERAL_NAMES_free(names);
	return found;
}

static int on_verify(int ok, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	const struct conn *conn = SSL_get_app_data(ssl);
	if (!ok || X509_STORE_CTX_get_error_depth(store))
		return ok;
	if (has_name(X509_STORE_CTX_get_current_cert(store), conn->hop->backend->tls))
		return 1;
	X509_STORE_CTX_set_error(store, X509_V_ERR_HOSTNAME_MISMATCH);
	return 0;
}

/* ---- the end of things ---- */

static void want_all(struct hops *hops);

static void on_hop_part_closed(struct hop *hop)
{
	struct hops *hops = hop->hops;
	if (--hop->parts)
		return;
	bool again = hop->wanted && !hops->closing;
	HASH_DEL(hops->list, hop);
	SSL_CTX_free(hop->ctx);
	table_unit_unref(&hop->backend->unit);
	free(hop);
	if (again)
		want_all(hops);
	if (hops->list || !hops->closing)
		return;
	void (*cb)(void *) = hops->close_cb;
	void *ctx = hops->close_ctx;
	table_free(hops->table);
	free(hops);
	cb(ctx);
}

static void on_conn_closed(uv_handle_t *handle)
{
	struct conn *conn = handle->data;
	if (--conn->handles)
		return;
	*conn->link = conn->next;
	if (conn->next)
		conn->next->link = conn->link;
	SSL_free(conn->ssl);
	on_hop_part_closed(conn->hop);
	free(conn);
}

static void conn_close(struct conn *conn)
{
	if (conn->closing)
		return;
	conn->closing = true;
	uv_close((uv_handle_t *)&conn->client, on_conn_closed);
	uv_close((uv_handle_t *)&conn->server, on_conn_closed);
	uv_close((uv_handle_t *)&conn->timer, on_conn_closed);
}

static void on_hop_handle_closed(uv_handle_t *handle)
{
	on_hop_part_closed(handle->data);
}

static void hop_close(struct hop *hop)
{
	if (hop->closing)
		return;
	hop->closing = true;
	uv_close((uv_handle_t *)&hop->listener, on_hop_handle_closed);
	uv_close((uv_handle_t *)&hop->grace, on_hop_handle_closed);
}

/* ---- bytes ---- */

struct write {
	uv_write_t request;
	struct conn *conn;
	char bytes[];
};

static void flow(struct conn *conn);

static void on_written(uv_write_t *request, int status)
{
	struct write *write = (struct write *)request;
	struct conn *conn = write->conn;
	free(write);
	if (status < 0)
		conn_close(conn);
	else
		flow(conn);
}

static void write_bytes(struct conn *conn, uv_stream_t *to, const char *bytes, size_t n)
{
	struct write *write = xmalloc(sizeof(*write) + n);
	uv_buf_t buf = uv_buf_init(write->bytes, (unsigned)n);
	write->conn = conn;
	memcpy(write->bytes, bytes, n);
	if (!conn->closing && !uv_write(&write->request, to, &buf, 1, on_written))
		return;
	free(write);
	conn_close(conn);
}

static void flush(struct conn *conn)
{
	char bytes[16384];
	for (int n; (n = BIO_read(conn->out, bytes, sizeof(bytes))) > 0;)
		write_bytes(conn, (uv_stream_t *)&conn->server, bytes, (size_t)n);
}

static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
	static char room[65536]; /* one loop, and used up before the next read */
	*ret = uv_buf_init(room, sizeof(room));
}

/* From the server, once it is verified; what it says before is the handshake. */
static void deliver(struct conn *conn)
{
	char bytes[16384];
	int n;
	ERR_clear_error();
	while ((n = SSL_read(conn->ssl, bytes, sizeof(bytes))) > 0)
		write_bytes(conn, (uv_stream_t *)&conn->client, bytes, (size_t)n);
	if (SSL_get_error(conn->ssl, n) != SSL_ERROR_WANT_READ)
		conn->ending = true;
	flush(conn);
}

static void shake(struct conn *conn)
{
	ERR_clear_error();
	int r = SSL_do_handshake(conn->ssl);
	flush(conn);
	if (r == 1) {
		conn->up = true;
		uv_timer_stop(&conn->timer);
	} else if (SSL_get_error(conn->ssl, r) != SSL_ERROR_WANT_READ) {
		log_line(LOG_DEBUG, "server not verified", "backend", conn->hop->backend->unit.key, "why",
		         X509_verify_cert_error_string(SSL_get_verify_result(conn->ssl)), NULL);
		conn->ending = true;
	}
}

static void on_server_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct conn *conn = stream->data;
	if (n < 0)
		conn->ending = true;
	if (n > 0 && BIO_write(conn->in, buf->base, (int)n) != n)
		conn_close(conn);
	if (n > 0 && !conn->up)
		shake(conn);
	if (n > 0 && conn->up)
		deliver(conn);
	flow(conn);
}

static void on_client_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct conn *conn = stream->data;
	ERR_clear_error();
	if (n < 0) {
		SSL_shutdown(conn->ssl);
		conn->ending = true;
	} else if (n > 0 && SSL_write(conn->ssl, buf->base, (int)n) != n) {
		conn->ending = true;
	}
	flush(conn);
	flow(conn);
}

/* Who may be read now. */
static void flow(struct conn *conn)
{
	uv_stream_t *client = (uv_stream_t *)&conn->client, *server = (uv_stream_t *)&conn->server;
	if (conn->closing)
		return;
	if (conn->ending) {
		uv_read_stop(client);
		uv_read_stop(server);
		if (!client->write_queue_size && !server->write_queue_size)
			conn_close(conn);
		return;
	}
	if (conn->up && server->write_queue_size < ON_THE_WAY)
		uv_read_start(client, on_room, on_client_read);
	else
		uv_read_stop(client);
	if (client->write_queue_size < ON_THE_WAY)
		uv_read_start(server, on_room, on_server_read);
	else
		uv_read_stop(server);
}

/* ---- connections ---- */

static void on_timer(uv_timer_t *timer)
{
	conn_close(timer->data);
}

static void on_connected(uv_connect_t *request, int status)
{
	struct conn *conn = request->data;
	if (status < 0) {
		conn_close(conn);
		return;
	}
	uv_tcp_nodelay(&conn->server, 1);
	shake(conn);
	flow(conn);
}

static void conn_tls(struct conn *conn)
{
	char name[256]; /* OpenSSL copies it, but does not say so */
	snprintf(name, sizeof(name), "%s", conn->hop->backend->tls->name);
	conn->ssl = SSL_new(conn->hop->ctx);
	conn->in = BIO_new(BIO_s_mem());
	conn->out = BIO_new(BIO_s_mem());
	BUG_ON(!conn->ssl || !conn->in || !conn->out);
	SSL_set_bio(conn->ssl, conn->in, conn->out);
	SSL_set_app_data(conn->ssl, conn);
	SSL_set_connect_state(conn->ssl);
	SSL_set_tlsext_host_name(conn->ssl, name);
}

static void on_client(uv_stream_t *listener, int status)
{
	struct hop *hop = listener->data;
	if (status < 0 || hop->closing)
		return;
	struct conn *conn = xcalloc(1, sizeof(*conn));
	conn->hop = hop;
	conn->next = hop->conns;
	conn->link = &hop->conns;
	if (hop->conns)
		hop->conns->link = &conn->next;
	hop->conns = conn;
	hop->parts++;
	conn->handles = 3;
	uv_pipe_init(hop->hops->loop, &conn->client, 0);
	uv_tcp_init(hop->hops->loop, &conn->server);
	uv_timer_init(hop->hops->loop, &conn->timer);
	conn->client.data = conn->server.data = conn->timer.data = conn->connect.data = conn;
	conn_tls(conn);
	if (uv_accept(listener, (uv_stream_t *)&conn->client) ||
	    uv_tcp_connect(&conn->connect, &conn->server, (const struct sockaddr *)&hop->to, on_connected))
		conn_close(conn);
	else
		uv_timer_start(&conn->timer, on_timer, HANDSHAKE_MS, 0);
}

/* ---- hops ---- */

static bool add_authorities(SSL_CTX *ctx, const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	int n = 0;
	for (X509 *x509; bio && (x509 = PEM_read_bio_X509(bio, NULL, NULL, NULL)); X509_free(x509))
		n += X509_STORE_add_cert(store, x509);
	BIO_free(bio);
	return n > 0;
}

/* Chain and key, as the table has them. */
static bool add_certificate(SSL_CTX *ctx, const char *pem)
{
	BIO *certs = BIO_new_mem_buf(pem, -1), *keys = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = PEM_read_bio_PrivateKey(keys, NULL, NULL, NULL);
	X509 *x509 = PEM_read_bio_X509(certs, NULL, NULL, NULL);
	bool ok = x509 && key && SSL_CTX_use_certificate(ctx, x509) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1;
	X509_free(x509);
	while (ok && (x509 = PEM_read_bio_X509(certs, NULL, NULL, NULL))) {
		ok = SSL_CTX_add1_chain_cert(ctx, x509) == 1;
		X509_free(x509);
	}
	EVP_PKEY_free(key);
	BIO_free(certs);
	BIO_free(keys);
	return ok;
}

/* NULL: it cannot be done. */
static SSL_CTX *new_ctx(const struct hops *hops, const struct table_backend *backend)
{
	static const unsigned char h2[] = "\2h2", http[] = "\10http/1.1";
	const struct table_tls *tls = backend->tls;
	const struct table_ca *ca = tls->ca ? table_ca(hops->table, tls->ca) : NULL;
	const struct table_certificate *own = tls->certificate ? table_certificate(hops->table, tls->certificate) : NULL;
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	BUG_ON(!ctx);
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, on_verify);
	if (backend->protocol == TABLE_H2C)
		SSL_CTX_set_alpn_protos(ctx, h2, sizeof(h2) - 1);
	else
		SSL_CTX_set_alpn_protos(ctx, http, sizeof(http) - 1);
	ERR_clear_error();
	bool ok = tls->ca ? ca && add_authorities(ctx, ca->pem) : SSL_CTX_set_default_verify_paths(ctx) == 1;
	if (ok && (!tls->certificate || (own && add_certificate(ctx, own->pem))))
		return ctx;
	SSL_CTX_free(ctx);
	return NULL;
}

static int listen_at(struct hop *hop)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* As HAProxy has it: the name ends with the address. */
	memcpy(at.sun_path + 1, hop->name, strlen(hop->name));
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) || uv_pipe_open(&hop->listener, fd)) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return uv_listen((uv_stream_t *)&hop->listener, 128, on_client);
}

static bool set_address(struct hop *hop, const struct table_endpoint *endpoint)
{
	return !uv_ip4_addr(endpoint->address, endpoint->port, (struct sockaddr_in *)&hop->to) ||
	       !uv_ip6_addr(endpoint->address, endpoint->port, (struct sockaddr_in6 *)&hop->to);
}

static void hop_want(struct hops *hops, struct table_backend *backend, const struct table_endpoint *endpoint)
{
	char name[ENCODE_HOP_NAME];
	struct hop *hop;
	encode_hop_name(hops->instance, backend, endpoint, name);
	HASH_FIND_STR(hops->list, name, hop);
	if (hop) {
		hop->wanted = true; /* one that closes is made again after that */
		uv_timer_stop(&hop->grace);
		return;
	}
	SSL_CTX *ctx = new_ctx(hops, backend);
	if (!ctx)
		return;
	hop = xcalloc(1, sizeof(*hop));
	memcpy(hop->name, name, sizeof(name));
	hop->hops = hops;
	hop->ctx = ctx;
	hop->backend = (struct table_backend *)table_unit_ref(&backend->unit);
	hop->parts = 2;
	hop->wanted = true;
	uv_pipe_init(hops->loop, &hop->listener, 0);
	uv_timer_init(hops->loop, &hop->grace);
	hop->listener.data = hop->grace.data = hop;
	HASH_ADD_STR(hops->list, name, hop);
	if (set_address(hop, endpoint) && !listen_at(hop))
		return;
	log_line(LOG_WARN, "no socket for a server with several names", "backend", backend->unit.key, NULL);
	hop->wanted = false;
	hop_close(hop);
}

/* ---- the table ---- */

static bool keep(struct hops *hops, const struct table_change *change)
{
	struct table_unit *unit = change->new ? change->new : change->old;
	if (!unit || (unit->kind != TABLE_CA && unit->kind != TABLE_CERTIFICATE && unit->kind != TABLE_BACKEND))
		return false;
	const struct table_tls *tls =
		change->new && unit->kind == TABLE_BACKEND ? ((const struct table_backend *)unit)->tls : NULL;
	bool had = table_get(hops->table, unit->kind, unit->key);
	bool want = change->new && (unit->kind != TABLE_BACKEND || (tls && tls->n_names));
	if (want)
		table_put(hops->table, table_unit_ref(unit));
	else if (had)
		table_delete(hops->table, unit->kind, unit->key);
	return unit->kind == TABLE_BACKEND && (had || want);
}

static void on_grace(uv_timer_t *timer)
{
	hop_close(timer->data);
}

static void want_all(struct hops *hops)
{
	size_t n;
	struct table_unit **units = table_sorted(hops->table, TABLE_BACKEND, &n);
	for (size_t i = 0; i < n; i++) {
		struct table_backend *backend = (struct table_backend *)units[i];
		for (size_t e = 0; e < backend->n_endpoints; e++)
			hop_want(hops, backend, &backend->endpoints[e]);
	}
	free(units);
}

void hops_submit(struct hops *hops, const struct table_changes *changes)
{
	struct hop *hop, *next;
	bool any = false;
	for (size_t i = 0; i < changes->n; i++)
		any |= keep(hops, &changes->list[i]);
	if (!any)
		return;
	HASH_ITER(hh, hops->list, hop, next)
		hop->wanted = false;
	want_all(hops);
	HASH_ITER(hh, hops->list, hop, next)
		if (!hop->wanted && !hop->closing && !uv_is_active((uv_handle_t *)&hop->grace))
			uv_timer_start(&hop->grace, on_grace, GRACE_MS, 0);
}

struct hops *hops_open(uv_loop_t *loop, const char *instance)
{
	struct hops *hops = xcalloc(1, sizeof(*hops));
	hops->loop = loop;
	snprintf(hops->instance, sizeof(hops->instance), "%s", instance);
	hops->table = table_new();
	return hops;
}

void hops_close(struct hops *hops, void (*cb)(void *ctx), void *ctx)
{
	struct hop *hop, *next;
	hops->closing = true;
	hops->close_cb = cb;
	hops->close_ctx = ctx;
	if (!hops->list) {
		table_free(hops->table);
		free(hops);
		cb(ctx);
		return;
	}
	HASH_ITER(hh, hops->list, hop, next) {
		for (struct conn *conn = hop->conns; conn; conn = conn->next)
			conn_close(conn);
		hop_close(hop);
	}
}
