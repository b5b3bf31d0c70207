/* Steps into Runtime API text. Every byte that reaches HAProxy's admin socket is made here, and only here.
 *
 * Keys and values come from Kubernetes objects: whoever writes a manifest must not be able to say anything to this
 * socket but the one thing that was meant. Names and addresses are checked against the few characters HAProxy allows in
 * them; keys and values of maps are escaped (on a command line) or stand raw on their own line (in a payload), and what
 * cannot stand there unharmed, or would not survive in a map file, is refused. */
#ifndef HATCHWAY_HAPROXY_COMMAND_H
#define HATCHWAY_HAPROXY_COMMAND_H

#include "haproxy/plan.h"

/* One bucket file for every value of the first byte of a regex's digest, modulo this. */
#define REGEX_BUCKETS 8

/* Map files: the regex buckets first, then one per kind. */
enum { MAP_CHAIN = REGEX_BUCKETS, MAP_RULE, MAP_PATH, MAP_HOST, MAP_NAME, MAP_LISTENER, MAPS };

/* "regex-00.map", "path.map"… without directory. */
const char *map_file(unsigned map);
unsigned map_of(enum item_kind kind, const char *key);
enum item_kind map_kind(unsigned map);

/* HAProxy's own names of its maps, which are what the configuration calls them: "maps/path.map". */
struct map_names {
	char *name[MAPS]; /* NULL: the running configuration has none */
};

/* 0 and the command's text, without end of line; -EINVAL and why this object cannot be said to HAProxy. */
MUST_CHECK int command_line(const struct step *step, const struct map_names *maps, struct buf *out, struct err *reterr);

/* The same for an add to a map, as one line of a payload; command_payload_start/end around them. */
bool command_has_payload(const struct step *step);
MUST_CHECK int command_payload_line(const struct step *step, struct buf *out, struct err *reterr);
void command_payload_start(unsigned map, const struct map_names *maps, struct buf *out);
void command_payload_end(struct buf *out);

/* A payload of its own, whole: certificates and CAs. */
bool command_is_payload(const struct step *step);
MUST_CHECK int command_payload(const struct step *step, struct buf *out, struct err *reterr);

/* "certs/<bind>.list", and for ITEM_CERT "certs/<digest>.pem", for ITEM_CA "certs/<digest>.ca": what HAProxy calls them, and
 * where they are in the state directory. */
#define CERTS_NAME_MAX 160
void command_list_name(const char *bind, size_t n, char out[CERTS_NAME_MAX]);
void command_pem_name(enum item_kind kind, const char *digest, char out[CERTS_NAME_MAX]);
/* The part in front of the ending, if it is such a name; *ret_n its length. NULL: it is none. */
const char *command_list_bind(const char *name, size_t *ret_n);
const char *command_pem_digest(enum item_kind kind, const char *name, size_t *ret_n);

/* How a server is spoken to and known by, " cookie … proto h2 ssl …": as words of its line in a file, or on the socket. */
void command_server_manner(const char *key, const struct server_value *value, struct buf *out);

/* Whom clients must come from, by the value of an ITEM_SNI. */
struct sni_ca {
	const char *digest;
	size_t n;      /* 0: they are not asked */
	bool optional;
};
/* The names in the value. NULL: it is no such value. */
const char *command_sni_names(const char *value, struct sni_ca *ret);
/* That value, which must be one, as a line of a list. */
void command_add_sni(const char *cert, const char *value, struct buf *out);

/* "show map maps/path.map" */
void command_show_map(unsigned map, const struct map_names *maps, struct buf *out);

/* The first n bytes of s can be the name of a backend or a server. */
bool command_is_name(const char *s, size_t n);

/* May the item be held at all: as a command and as a line of a file? Used for both. */
MUST_CHECK int command_check(enum item_kind kind, const char *key, const char *value, struct err *reterr);

/* "[::1]:80" → "::1", "80"; false for anything that is not an IPv4 or IPv6 address with a port. */
bool address_split(const char *address, char host[64], char port[8]);

#endif
