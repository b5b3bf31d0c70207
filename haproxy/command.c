/* Owns the syntax of HAProxy's command line (management.txt 9.3; src/cli.c, cli_parse_cmdline, cli_process_cmdline).
 * Never sends anything, never decides what to do. */
#include "haproxy/command.h"

#include "hatchway/base/hash.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>

/* A line of a map file must fit in tune.bufsize (16384), or HAProxy reads it as two; so must a command line. */
#define ITEM_MAX 15000

/* ---- maps ---- */

const char *map_file(unsigned map)
{
	static const char *const names[MAPS] = {
		"regex-00.map", "regex-01.map", "regex-02.map", "regex-03.map", "regex-04.map", "regex-05.map", "regex-06.map",
		"regex-07.map", [MAP_CHAIN] = "chain.map",  [MAP_RULE] = "rule.map", [MAP_PATH] = "path.map",
		[MAP_HOST] = "host.map", [MAP_NAME] = "name.map", [MAP_LISTENER] = "listener.map",
	};
	BUG_ON(map >= MAPS);
	return names[map];
}

enum item_kind map_kind(unsigned map)
{
	return map < REGEX_BUCKETS ? ITEM_REGEX : (enum item_kind)(ITEM_CHAIN + (map - MAP_CHAIN));
}

unsigned map_of(enum item_kind kind, const char *key)
{
	BUG_ON(kind < ITEM_REGEX);
	return kind == ITEM_REGEX ? (unsigned char)key[0] % REGEX_BUCKETS : (unsigned)(MAP_CHAIN + (kind - ITEM_CHAIN));
}

/* ---- what may be said ---- */

bool command_is_name(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isascii(s[i]) || (!isalnum((unsigned char)s[i]) && !strchr("_:.-", s[i])))
			return false;
	return n > 0;
}

bool address_split(const char *address, char host[64], char port[8])
{
	unsigned char bytes[16];
	const char *colon = strrchr(address, ':');
	bool v6 = *address == '[';

	if (!colon || colon == address || strlen(colon + 1) > 5 || !colon[1])
		return false;
	size_t n = (size_t)(colon - address);
	if (v6 && colon[-1] != ']')
		return false;
	if (n - 2 * v6 >= 64 || n <= 2u * v6)
		return false;
	memcpy(host, address + v6, n - 2 * v6);
	host[n - 2 * v6] = 0;
	snprintf(port, 8, "%s", colon + 1);
	for (const char *p = port; *p; p++)
		if (!isdigit((unsigned char)*p))
			return false;
	return atoi(port) > 0 && atoi(port) < 65536 && inet_pton(v6 ? AF_INET6 : AF_INET, host, bytes) == 1;
}

static bool is_local_address(const char *s)
{
	if (strncmp(s, "unix@", 5) && strncmp(s, "abns@", 5))
		return false;
	for (s += 5; *s; s++)
		if (!isascii(*s) || (!isalnum((unsigned char)*s) && !strchr("_:.-/+,=", *s)))
			return false;
	return s[-1] != '@';
}

static bool is_made_of(const char *s, size_t n, const char *also)
{
	for (size_t i = 0; i < n; i++)
		if (!isascii(s[i]) || (!islower((unsigned char)s[i]) && !isdigit((unsigned char)s[i]) && !strchr(also, s[i])))
			return false;
	return n > 0;
}

/* Only what a word of a command line can be. */
static bool is_tls(const struct server_tls *tls)
{
	return is_made_of(tls->name, strlen(tls->name), ".-") && is_made_of(tls->ca, strlen(tls->ca), "-") &&
	       is_made_of(tls->cert, strlen(tls->cert), "-");
}

static int check_server(const char *key, const char *text, struct err *reterr)
{
	size_t n = server_key_backend(key);
	struct server_value value;
	char host[64], port[8];

	if (!command_is_name(key, n) || key[n] != '/' || !command_is_name(key + n + 1, strlen(key + n + 1)))
		return err_set(reterr, -EINVAL, "\"%.100s\" is not a server's name in HAProxy", key);
	if (!server_value_parse(text, &value))
		return err_set(reterr, -EINVAL, "\"%.100s\" does not describe a server", text);
	if (!address_split(value.address, host, port) && !is_local_address(value.address) &&
	    strcmp(value.address, ADDRESS_UNIX))
		return err_set(reterr, -EINVAL, "\"%.100s\" is not an address with a port", value.address);
	if (*value.tls.name && !is_tls(&value.tls))
		return err_set(reterr, -EINVAL, "\"%.100s\" is not a name for a certificate", value.tls.name);
	return 0;
}

/* ---- certificates ---- */

/* More is no certificate for a server; a payload has room for it. */
#define PEM_MAX 90000
#define DIGEST_MAX 64

void command_list_name(const char *bind, size_t n, char out[CERTS_NAME_MAX])
{
	snprintf(out, CERTS_NAME_MAX, "certs/%.*s.list", (int)n, bind);
}

static const char *const pem_endings[] = {[ITEM_CA] = ".ca", [ITEM_CERT] = ".pem"};

void command_pem_name(enum item_kind kind, const char *digest, char out[CERTS_NAME_MAX])
{
	snprintf(out, CERTS_NAME_MAX, "certs/%s%s", digest, pem_endings[kind]);
}

static const char *between(const char *name, const char *ending, size_t max, const char *also, size_t *ret_n)
{
	const char *part = name + strlen("certs/");
	size_t n = strlen(name), n_ending = strlen(ending);

	if (strncmp(name, "certs/", 6) || n < 6 + n_ending || strcmp(name + n - n_ending, ending))
		return NULL;
	*ret_n = n - 6 - n_ending;
	return *ret_n <= max && is_made_of(part, *ret_n, also) ? part : NULL;
}

const char *command_list_bind(const char *name, size_t *ret_n)
{
	return between(name, ".list", 60, ".:", ret_n);
}

const char *command_pem_digest(enum item_kind kind, const char *name, size_t *ret_n)
{
	return between(name, pem_endings[kind], DIGEST_MAX, "", ret_n);
}

const char *command_sni_names(const char *value, struct sni_ca *ret)
{
	const bool has = *value == '[', optional = has && value[1] == '?';
	const char *digest = value + has + optional, *names = digest;
	size_t n = has ? strcspn(digest, "]") : 0;

	if (has) {
		names += n;
		if (n > DIGEST_MAX || !is_made_of(digest, n, "") || strncmp(names, "] ", 2))
			return NULL;
		names += 2;
	}
	*ret = (struct sni_ca){digest, n, optional};
	n = strlen(names);
	return is_made_of(names, n, " .*_-") && *names != ' ' && names[n - 1] != ' ' ? names : NULL;
}

/* As OpenSSL writes it: nothing in it can be taken for an end mark or a command. */
static bool is_pem(const char *s)
{
	size_t n = strlen(s);

	if (n > PEM_MAX || strncmp(s, "-----BEGIN ", 11) || s[n - 1] != '\n')
		return false;
	for (const char *line = s, *end; *line; line = end + 1) {
		end = strchr(line, '\n');
		if (end < line + 4 || end > line + 76)
			return false;
		for (const char *p = line; p < end; p++)
			if (!isascii(*p) || (!isalnum((unsigned char)*p) && !strchr("+/=- ", *p)))
				return false;
	}
	return true;
}

static int check_pem(const char *key, const char *value, struct err *reterr)
{
	size_t n = strlen(key);

	if (n > DIGEST_MAX || !is_made_of(key, n, ""))
		return err_set(reterr, -EINVAL, "\"%.100s\" is not a certificate's digest", key);
	return *value && !is_pem(value) ? err_set(reterr, -EINVAL, "not a certificate that HAProxy can be given") : 0;
}

static int check_sni(const char *key, const char *value, struct err *reterr)
{
	size_t n = strcspn(key, "/");
	struct sni_ca ca;

	if (n > 60 || !is_made_of(key, n, ".:") || key[n] != '/' || check_pem(key + n + 1, "", NULL))
		return err_set(reterr, -EINVAL, "\"%.100s\" is not a certificate of a bind", key);
	if (strlen(value) > ITEM_MAX || !command_sni_names(value, &ca))
		return err_set(reterr, -EINVAL, "\"%.100s\" are not names for a certificate", value);
	return 0;
}

static int check_map_item(const char *key, const char *value, struct err *reterr)
{
	size_t n = strlen(key), m = strlen(value);

	if (n + m + 2 > ITEM_MAX)
		return err_set(reterr, -EINVAL, "%zu bytes are more than HAProxy takes for one entry (%d)", n + m, ITEM_MAX);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)key[i] <= ' ' || key[i] == 127)
			return err_set(reterr, -EINVAL, "a blank or control character in the key \"%.100s\"", key);
	if (!n || *key == '#')
		return err_set(reterr, -EINVAL, "a key that is empty or begins with #");
	for (size_t i = 0; i < m; i++)
		if (((unsigned char)value[i] < ' ' && value[i] != '\t') || value[i] == 127)
			return err_set(reterr, -EINVAL, "a control character in the value of \"%.100s\"", key);
	if (!m || strchr(" \t", value[0]) || strchr(" \t", value[m - 1]))
		return err_set(reterr, -EINVAL, "the value of \"%.100s\" is empty or has blanks around it", key);
	return 0;
}

int command_check(enum item_kind kind, const char *key, const char *value, struct err *reterr)
{
	if (kind == ITEM_SERVER)
		return check_server(key, value, reterr);
	if (kind == ITEM_CA || kind == ITEM_CERT)
		return check_pem(key, value, reterr);
	if (kind == ITEM_SNI)
		return check_sni(key, value, reterr);
	if (kind != ITEM_BACKEND)
		return check_map_item(key, value, reterr);
	if (!command_is_name(key, strlen(key)) || !command_is_name(value, strlen(value)) || strlen(key) > 500)
		return err_set(reterr, -EINVAL, "\"%.100s\" is not a backend's name in HAProxy", key);
	return 0;
}

/* ---- command lines ---- */

/* HAProxy takes the character after a backslash as it is; only these mean something without it. */
static void add_word(struct buf *out, const char *s)
{
	buf_addc(out, ' ');
	for (; *s; s++) {
		if (strchr(" \t;\\", *s))
			buf_addc(out, '\\');
		buf_addc(out, *s);
	}
}

/* HAProxy holds the certificate against the name that SNI asks for. */
void command_server_manner(const char *key, const struct server_value *value, struct buf *out)
{
	char ca[CERTS_NAME_MAX] = "@system-ca", cert[CERTS_NAME_MAX], cookie[SERVER_COOKIE];

	if (server_cookie(key, cookie))
		buf_addf(out, " cookie %s", cookie);
	if (value->h2c)
		buf_adds(out, " proto h2");
	if (!*value->tls.name)
		return;
	if (strcmp(value->tls.ca, "-"))
		command_pem_name(ITEM_CA, value->tls.ca, ca);
	buf_addf(out, " ssl verify required ca-file %s sni str(%s) alpn %s", ca, value->tls.name, value->h2c ? "h2" : "http/1.1");
	if (!strcmp(value->tls.cert, "-"))
		return;
	command_pem_name(ITEM_CERT, value->tls.cert, cert);
	buf_addf(out, " crt %s", cert);
}

static int add_server(const struct step *step, struct buf *out, struct err *reterr)
{
	struct server_value value;

	BUG_ON(!server_value_parse(step->value, &value));
	if (!strcmp(value.address, ADDRESS_UNIX))
		return err_set(reterr, -EINVAL, "the server %.100s has no address", step->key);
	/* default-server does not reach servers added at run time: whatever they need stands here. Without the pool words,
	 * a server made at run time would open a new connection for every request. */
	buf_addf(out, "add server %s %s weight %u pool-max-conn -1 pool-purge-delay 5s", step->key, value.address, value.weight);
	command_server_manner(step->key, &value, out);
	return 0;
}

static int set_address(const struct step *step, struct buf *out, struct err *reterr)
{
	struct server_value value;
	char host[64], port[8];

	BUG_ON(!server_value_parse(step->value, &value));
	if (!address_split(value.address, host, port))
		return err_set(reterr, -EINVAL, "\"%.100s\" cannot become the address of a running server", value.address);
	buf_addf(out, "set server %s addr %s port %s", step->key, host, port);
	return 0;
}

static void set_server(const struct step *step, struct buf *out)
{
	static const char *const states[] = {[SERVER_READY] = "ready", [SERVER_DRAIN] = "drain", [SERVER_MAINT] = "maint"};
	struct server_value value;

	BUG_ON(!server_value_parse(step->value, &value));
	if (step->op == STEP_RAISE_WEIGHT || step->op == STEP_LOWER_WEIGHT)
		buf_addf(out, "set server %s weight %u", step->key, value.weight);
	else
		buf_addf(out, "set server %s state %s", step->key, states[value.state]);
}

/* NULL: not a step on a map's entry. */
static const char *map_verb(enum step_op op)
{
	switch (op) {
	case STEP_ADD_REGEX:
	case STEP_ADD_CHAIN:
	case STEP_ADD_RULE:
	case STEP_ADD_PATH:
	case STEP_ADD_HOST:
	case STEP_ADD_NAME:
	case STEP_ADD_LISTENER:
		return "add";
	case STEP_SET_REGEX:
	case STEP_SET_CHAIN:
	case STEP_SET_RULE:
	case STEP_SET_PATH:
	case STEP_SET_HOST:
	case STEP_SET_NAME:
	case STEP_SET_LISTENER:
		return "set";
	case STEP_DEL_LISTENER:
	case STEP_DEL_NAME:
	case STEP_DEL_HOST:
	case STEP_DEL_PATH:
	case STEP_DEL_RULE:
	case STEP_DEL_CHAIN:
	case STEP_DEL_REGEX:
		return "del";
	default:
		return NULL;
	}
}

static int map_command(const char *verb, const struct step *step, const struct map_names *maps, struct buf *out,
                       struct err *reterr)
{
	const char *name = maps->name[map_of(step->kind, step->key)];

	if (!name)
		return err_set(reterr, -EINVAL, "the running configuration has no %s", map_file(map_of(step->kind, step->key)));
	buf_addf(out, "%s map", verb);
	add_word(out, name);
	add_word(out, step->key);
	if (strcmp(verb, "del"))
		add_word(out, step->value);
	return 0;
}

/* key: "#0x…", the entry's address as HAProxy told it. */
static int drop_extra(const struct step *step, const struct map_names *maps, struct buf *out, struct err *reterr)
{
	unsigned map = (unsigned)atoi(step->value);

	if (strncmp(step->key, "#0x", 3) || strlen(step->key) > 20 || !step->key[3] ||
	    step->key[3 + strspn(step->key + 3, "0123456789abcdef")] || map >= MAPS || !maps->name[map])
		return err_set(reterr, -EINVAL, "not an entry's address: \"%.40s\"", step->key);
	buf_adds(out, "del map");
	add_word(out, maps->name[map]);
	buf_addf(out, " %s", step->key);
	return 0;
}

/* What a step on a certificate or CA, or on its place in the list of a bind, is about. list "": on no place. */
struct cert_names {
	char cert[CERTS_NAME_MAX], list[CERTS_NAME_MAX];
	const char *noun; /* HAProxy's, of what is no place */
};

static struct cert_names cert_names(const struct step *step)
{
	struct cert_names names = {"", "", step->kind == ITEM_CA ? "ca-file" : "cert"};
	size_t n = strcspn(step->key, "/");

	if (step->kind == ITEM_SNI)
		command_list_name(step->key, n, names.list);
	command_pem_name(step->kind == ITEM_CA ? ITEM_CA : ITEM_CERT, step->key + (step->kind == ITEM_SNI ? n + 1 : 0), names.cert);
	return names;
}

static void cert_command(const struct step *step, struct buf *out)
{
	static const char *const verbs[] = {[STEP_ABORT_CERT] = "abort", [STEP_NEW_CERT] = "new", [STEP_COMMIT_CERT] = "commit",
	                                    [STEP_DEL_CERT] = "del",     [STEP_ABORT_CA] = "abort", [STEP_NEW_CA] = "new",
	                                    [STEP_COMMIT_CA] = "commit", [STEP_DEL_CA] = "del"};
	const struct cert_names names = cert_names(step);

	if (*names.list)
		buf_addf(out, "del ssl crt-list %s %s", names.list, names.cert);
	else
		buf_addf(out, "%s ssl %s %s", verbs[step->op], names.noun, names.cert);
}

int command_line(const struct step *step, const struct map_names *maps, struct buf *out, struct err *reterr)
{
	if (step->op == STEP_DROP_EXTRA)
		return drop_extra(step, maps, out, reterr);
	const char *verb = map_verb(step->op);
	int r = command_check(step->kind, step->key, step->value, reterr);
	if (r)
		return r;
	if (verb)
		return map_command(verb, step, maps, out, reterr);
	switch (step->op) {
	case STEP_ABORT_CA:
	case STEP_NEW_CA:
	case STEP_COMMIT_CA:
	case STEP_DEL_CA:
	case STEP_ABORT_CERT:
	case STEP_NEW_CERT:
	case STEP_COMMIT_CERT:
	case STEP_DEL_CERT:
	case STEP_DEL_SNI:
		cert_command(step, out);
		return 0;
	case STEP_ADD_BACKEND:
		buf_addf(out, "add backend %s from %s", step->key, step->value);
		return 0;
	case STEP_PUBLISH:
		buf_addf(out, "publish backend %s", step->key);
		return 0;
	case STEP_UNPUBLISH:
		buf_addf(out, "unpublish backend %s", step->key);
		return 0;
	case STEP_DEL_BACKEND:
		buf_addf(out, "del backend %s", step->key);
		return 0;
	case STEP_ADD_SERVER:
		return add_server(step, out, reterr);
	case STEP_SET_ADDRESS:
		return set_address(step, out, reterr);
	case STEP_RAISE_WEIGHT:
	case STEP_RAISE_STATE:
	case STEP_LOWER_STATE:
	case STEP_LOWER_WEIGHT:
	case STEP_STOP_SERVER:
	case STEP_RETIRE_SERVER:
		set_server(step, out);
		return 0;
	case STEP_DEL_SERVER:
		buf_addf(out, "del server %s", step->key);
		return 0;
	default:
		break;
	}
	BUG_ON(true);
	return 0;
}

/* ---- payloads ---- */

bool command_has_payload(const struct step *step)
{
	const char *verb = map_verb(step->op);

	return verb && !strcmp(verb, "add");
}

int command_payload_line(const struct step *step, struct buf *out, struct err *reterr)
{
	int r = command_check(step->kind, step->key, step->value, reterr);
	if (r)
		return r;
	buf_addf(out, "%s %s\n", step->key, step->value);
	return 0;
}

bool command_is_payload(const struct step *step)
{
	return step->op == STEP_SET_CA || step->op == STEP_SET_CERT || step->op == STEP_ADD_SNI;
}

void command_add_sni(const char *cert, const char *value, struct buf *out)
{
	struct sni_ca ca;
	const char *names = command_sni_names(value, &ca);

	BUG_ON(!names);
	buf_addf(out, "%s ", cert);
	if (ca.n)
		buf_addf(out, "[ca-file certs/%.*s%s verify %s] ", (int)ca.n, ca.digest, pem_endings[ITEM_CA],
		         ca.optional ? "optional" : "required");
	buf_addf(out, "%s\n", names);
}

int command_payload(const struct step *step, struct buf *out, struct err *reterr)
{
	int r = command_check(step->kind, step->key, step->value, reterr);

	if (!r && !*step->value)
		r = err_set(reterr, -EINVAL, "there is nothing to say of %.100s", step->key);
	if (r)
		return r;
	const struct cert_names names = cert_names(step);
	if (*names.list) {
		buf_addf(out, "add ssl crt-list %s <<END\n", names.list);
		command_add_sni(names.cert, step->value, out);
	} else {
		buf_addf(out, "set ssl %s %s <<END\n%s", names.noun, names.cert, step->value);
	}
	command_payload_end(out);
	return 0;
}

/* No line between them can equal the end mark: each has a blank in it. */
void command_payload_start(unsigned map, const struct map_names *maps, struct buf *out)
{
	buf_adds(out, "add map");
	add_word(out, maps->name[map]);
	buf_adds(out, " <<END\n");
}

void command_payload_end(struct buf *out)
{
	buf_adds(out, "END\n");
}

void command_show_map(unsigned map, const struct map_names *maps, struct buf *out)
{
	buf_adds(out, "show map");
	add_word(out, maps->name[map]);
}
