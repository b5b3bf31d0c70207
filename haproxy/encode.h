/* The one place where strings of users' objects become parts of map lines, commands and headers. Whatever passes here
 * cannot leave its place; what cannot be expressed is refused, never mended silently.
 *
 * Keys and names are checked (they must stay readable and equal to what HAProxy compares them with); values are encoded. */
#ifndef HATCHWAY_HAPROXY_ENCODE_H
#define HATCHWAY_HAPROXY_ENCODE_H

#include "hatchway/table.h"

#include <stdbool.h>

/* HAProxy cuts map values at tune.bufsize (16 KB); nothing near it is ever made. */
#define ENCODE_VALUE_LIMIT 14000
#define ENCODE_KEY_LIMIT 4096

/* [A-Za-z0-9._:-]+, of a length a command line has room for. */
bool encode_name_ok(const char *name);
/* A host pattern: [A-Za-z0-9._-] labels, optionally "*." in front, or an address; "" = any. Requests' hosts are lower case. */
bool encode_pattern_ok(const char *pattern);
/* A path that a request can have: bytes 0x21..0x7e but '#' and '?', "/" first. Others match nothing. */
bool encode_path_ok(const char *path);
/* A listener's key. */
bool encode_listener_ok(const char *key);
/* A hostname for a Host header or a Location. */
bool encode_host_ok(const char *host);
/* RFC 9110 token. */
bool encode_token_ok(const char *name);

/* Of a quoted string, as it is: printable, without '"' and '\\'. */
bool encode_realm_ok(const char *realm);

/* "127.0.0.1:80", "[::1]:80"; false: not an IP address, or port 0. */
MUST_CHECK bool encode_address(const char *address, uint16_t port, struct buf *out);

/* "10.0.0.0/8", "2001:db8::/32" */
bool encode_network_ok(const char *network);

/* "sample.com" → "com.sample": as HAProxy's reverse_dom does. */
void encode_reverse(const char *host, struct buf *out);

/* %XX for all but letters, digits, ".", "_", "-", "/" and "*": any string as part of a word in a chain. */
void encode_text(const char *s, struct buf *out);
/* A path for a request line or a Location: %XX for what must not stand there, present %XX kept. */
void encode_path(const char *path, struct buf *out);

/* Base64 of HAProxy's header list (length, name, length, value, …, 0, 0; only names where values is false).
 * -EINVAL with *reterr: a name that is no token or frames the message (Content-Length, Connection, …), a value with
 * control characters. out is untouched then. */
MUST_CHECK int encode_headers(const struct table_header *list, size_t n, bool values, struct buf *out, struct err *reterr);

/* A user's regular expression as the one HAProxy compiles: full match, a limit on backtracking.
 * -EINVAL with *reterr: PCRE2 does not take it. */
MUST_CHECK int encode_regex(const char *pattern, struct buf *out, struct err *reterr);

/* "hatchway-<instance>-hop-<digest>": the abstract socket that leads to an endpoint of a backend whose TLS has names, see
 * hop.h. All about it is in the digest. */
#define ENCODE_HOP_NAME 100
void encode_hop_name(const char *instance, const struct table_backend *backend, const struct table_endpoint *endpoint,
                     char ret[ENCODE_HOP_NAME]);

#endif
