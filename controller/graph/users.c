/* Judges the users of a HatchwayFilter's basicAuth: a Secret in the words of htpasswd(1), or one of type kubernetes.io/basic-auth.
 * Neither names nor passwords are ever part of a message. What is handed on is a digest that HAProxy can make of a password, too,
 * with its own converters: there is no bcrypt among them, and what htpasswd -s writes is all that it could check. */
#include "controller/graph/graph.h"
#include "controller/object/format.h"

#include <openssl/evp.h>

#include <string.h>

#define USERS_MAX 128
#define NAME_MAX_BYTES 128
#define SHA1_TEXT 28 /* 20 bytes in base64 */

struct reading {
	const char *salt;
	struct graph_users *to;
	struct buf *error;
};

/* line 0: none. False, for the callers' return. */
static bool fail(struct reading *reading, size_t line, const char *what)
{
	if (line)
		buf_addf(reading->error, "line %zu: ", line);
	buf_adds(reading->error, what);
	return false;
}

static void digest_text(const EVP_MD *md, const void *bytes, size_t n, char ret[64])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned size;
	BUG_ON(EVP_Digest(bytes, n, digest, &size, md, NULL) != 1);
	EVP_EncodeBlock((unsigned char *)ret, digest, (int)size);
}

/* "<name>:<verifier>", see table_auth. sha1: of the password, in base64. */
static const char *user_text(struct reading *reading, const char *name, size_t n, const char *sha1)
{
	char verifier[64];
	const char *text = arena_printf(&reading->to->arena, "%s:%.*s:%.*s", reading->salt, (int)n, name, SHA1_TEXT, sha1);
	digest_text(EVP_sha256(), text, strlen(text), verifier);
	return arena_printf(&reading->to->arena, "%.*s:%s", (int)n, name, verifier);
}

static bool is_name(const char *name, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)name[i] < ' ' || name[i] == 0x7f || name[i] == ':')
			return false;
	return n && n <= NAME_MAX_BYTES;
}

static bool is_named(const struct reading *reading, const char *name, size_t n)
{
	for (size_t i = 0; i < reading->to->n; i++)
		if (strncmp(reading->to->list[i], name, n) == 0 && reading->to->list[i][n] == ':')
			return true;
	return false;
}

static bool add_user(struct reading *reading, size_t line, const char *name, size_t n, const char *sha1)
{
	if (!is_name(name, n))
		return fail(reading, line, "a user's name has 1 to 128 bytes, and no \":\" or control characters");
	if (is_named(reading, name, n))
		return fail(reading, line, "the user was named before");
	if (reading->to->n == USERS_MAX)
		return fail(reading, line, "there are more than 128 users");
	reading->to->list[reading->to->n++] = user_text(reading, name, n, sha1);
	return true;
}

static bool is_sha1(const char *text, size_t n)
{
	char base64[SHA1_TEXT + 1], bytes[SHA1_TEXT];
	if (n != SHA1_TEXT || text[n - 1] != '=' || text[n - 2] == '=')
		return false;
	memcpy(base64, text, n);
	base64[n] = 0;
	return strlen(base64) == n && format_base64(base64, bytes) == 20;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* "name:{SHA}<base64>"; empty ones, and comments, say nothing. */
static bool read_line(struct reading *reading, size_t line, const char *text, size_t n)
{
	static const char scheme[] = "{SHA}";
	const size_t skip = sizeof(scheme) - 1;
	while (n && is_blank(text[n - 1]))
		n--;
	while (n && is_blank(*text)) {
		text++;
		n--;
	}
	if (!n || *text == '#')
		return true;
	const char *colon = memchr(text, ':', n);
	if (!colon)
		return fail(reading, line, "it is not \"name:{SHA}…\", as `htpasswd -s` writes it");
	const char *password = colon + 1;
	size_t left = n - (size_t)(password - text);
	if (left < skip || memcmp(password, scheme, skip) != 0 || !is_sha1(password + skip, left - skip))
		return fail(reading, line, "HAProxy can check passwords only as `htpasswd -s` writes them, \"{SHA}…\"");
	return add_user(reading, line, text, (size_t)(colon - text), password + skip);
}

static bool read_htpasswd(struct reading *reading, const struct data_item *item)
{
	static const char mark[] = "\xef\xbb\xbf"; /* of UTF-8, as some editors put it in front */
	const char *at = item->bytes, *end = at + item->size;
	at += item->size >= strlen(mark) && memcmp(at, mark, strlen(mark)) == 0 ? strlen(mark) : 0;
	for (size_t line = 1; at < end; line++) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		stop = stop ? stop : end;
		if (!read_line(reading, line, at, (size_t)(stop - at)))
			return false;
		at = stop + 1;
	}
	return reading->to->n || fail(reading, 0, "it names no user");
}

/* A Secret of type kubernetes.io/basic-auth has these. */
static bool read_pair(struct reading *reading, const struct data_item *name, const struct data_item *password)
{
	char sha1[64];
	if (!name || !password || !password->size)
		return fail(reading, 0, "it has no username or no password");
	if (password->bytes[password->size - 1] == '\n')
		return fail(reading, 0, "its password ends with a line break, which nobody can type");
	digest_text(EVP_sha1(), password->bytes, password->size, sha1);
	return add_user(reading, 0, name->bytes, name->size, sha1);
}

static bool read_secret(struct reading *reading, const struct secret *secret)
{
	if (strcmp(secret->type, "kubernetes.io/basic-auth") == 0)
		return read_pair(reading, secret_item(secret, "username"), secret_item(secret, "password"));
	const struct data_item *item = secret_item(secret, ".htpasswd");
	item = item ? item : secret_item(secret, "auth");
	return item ? read_htpasswd(reading, item) : fail(reading, 0, "it has neither .htpasswd nor auth");
}

static int cmp_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void read_users(struct graph_users *to, const struct own_filter *filter, const struct node *secret)
{
	struct buf error;
	buf_init(&error, CONDITION_MESSAGE);
	buf_addf(&error, "spec.basicAuth.secretRef: Secret %s/%s", filter->object.namespace, filter->secret);
	buf_adds(&error, secret && secret->object ? ": " : " not found");
	to->list = arena_array(&to->arena, USERS_MAX, sizeof(*to->list));
	struct reading reading = {graph_filter_scope(&to->arena, filter), to, &error};
	if (secret && secret->object && read_secret(&reading, (const struct secret *)secret->object))
		qsort(to->list, to->n, sizeof(*to->list), cmp_text);
	else
		to->n = 0;
	to->error = arena_strdup(&to->arena, error.data);
	buf_done(&error);
}

const struct graph_users *graph_users(const struct graph *graph, const struct own_filter *filter)
{
	const struct object *object = &filter->object;
	struct node *node = store_find(graph->store, KIND_FILTER, object->namespace, object->name);
	if (!node->graph) {
		struct graph_users *users = xcalloc(1, sizeof(*users));
		arena_init(&users->arena);
		read_users(users, filter, store_find(graph->store, KIND_SECRET, object->namespace, filter->secret));
		node->graph = users;
	}
	return node->graph;
}

void graph_users_free(struct graph_users *users)
{
	if (!users)
		return;
	arena_done(&users->arena);
	free(users);
}
