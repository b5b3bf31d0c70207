/* The text patterns of the Gateway API's CRDs and of Kubernetes' own names, each as a small function; the pattern
 * beside its name is the API server's own, kept for messages and for format_test.c, which holds the function to it.
 * Pure. Never allocates. */
#ifndef HATCHWAY_OBJECT_FORMAT_H
#define HATCHWAY_OBJECT_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct format {
	bool (*matches)(const char *s);
	const char *pattern; /* Go's RE2 syntax, unanchored where it says so */
};

#define FORMAT_LABEL_PATTERN "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
#define FORMAT_DOMAIN_PATTERN FORMAT_LABEL_PATTERN "(\\." FORMAT_LABEL_PATTERN ")*"
#define FORMAT_TAIL_PATTERN "\\/[A-Za-z0-9\\/\\-._~%!$&'()*+,;=:]+$"

#define FORMATS(X)                                                                                                     \
	X(dns_label, "^" FORMAT_LABEL_PATTERN "$")                                                                     \
	X(dns1035_label, "^[a-z]([-a-z0-9]*[a-z0-9])?$")                                                               \
	X(dns_subdomain, "^" FORMAT_DOMAIN_PATTERN "$")                                                                \
	X(hostname, "^(\\*\\.)?" FORMAT_DOMAIN_PATTERN "$")                                                            \
	X(group, "^$|^" FORMAT_DOMAIN_PATTERN "$")                                                                     \
	X(kind, "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$")                                                               \
	X(header_name, "^[A-Za-z0-9!#$%&'*+\\-.^_\\x60|~]+$")                                                          \
	X(grpc_service, "^(?i)\\.?[a-z_][a-z_0-9]*(\\.[a-z_][a-z_0-9]*)*$")                                             \
	X(grpc_method, "^[A-Za-z_][A-Za-z_0-9]*$")                                                                     \
	X(protocol, "^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$|" FORMAT_DOMAIN_PATTERN "\\/[A-Za-z0-9]+$")              \
	X(address_type, "^Hostname|IPAddress|NamedAddress|" FORMAT_DOMAIN_PATTERN FORMAT_TAIL_PATTERN)                 \
	X(controller_name, "^" FORMAT_DOMAIN_PATTERN FORMAT_TAIL_PATTERN)                                              \
	X(http_path, "^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$")                                         \
	X(origin, "(^\\*$)|(^(http(s)?):\\/\\/(((\\*\\.)?([a-zA-Z0-9\\-]+\\.)*[a-zA-Z0-9-]+|\\*)(:([0-9]{1,5}))?)$)")  \
	X(duration, "^([0-9]{1,5}(h|m|s|ms)){1,4}$")                                                                   \
	X(qualified_name, "^(" FORMAT_DOMAIN_PATTERN "/)?([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]$")              \
	X(label_value, "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")                                                \
	X(network, "^[0-9a-fA-F:.]+/[0-9]{1,3}$")                                                                      \
	X(realm, "^[ !#-\\[\\]-~]+$")                                                                                     \
	X(data_key, "^[-._a-zA-Z0-9]+$")                                                                               \
	X(absolute_uri, "^(([^:/?#]+):)(//([^/?#]*))([^?#]*)(\\?([^#]*))?(#(.*))?")                                     \
	X(well_known_ca, "^(System|(" FORMAT_DOMAIN_PATTERN "/([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]))$")

#define X(name, pattern) extern const struct format format_##name;
FORMATS(X)
#undef X

/* What the API server calls format ipv4 and ipv6: no zone, no leading zeros, no mapped notation tricks. */
bool format_is_ipv4(const char *s);
bool format_is_ipv6(const char *s);

/* A GEP-2257 duration ("1h30m", "500ms") that format_duration has accepted. */
int64_t format_duration_ms(const char *s);

/* RFC 3339 as metadata.creationTimestamp has it; false if s is not. Fractions of a second are dropped. */
bool format_timestamp(const char *s, int64_t *ret_seconds);

/* Standard base64 with padding; line breaks are skipped, as Go's decoder does. Writes at most strlen(s) / 4 * 3 bytes
 * to out (may be NULL: only measure). -1 if s is not base64. */
long format_base64(const char *s, char *out);

/* Characters (not bytes) of UTF-8: what maxLength counts. */
size_t format_characters(const char *s);

#endif
