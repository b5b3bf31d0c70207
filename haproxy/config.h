/* The configuration file: a fixed program (routing.cfg) with binds. It does not grow with routes and changes only when a
 * bind or a setting does.
 *
 * HAProxy runs with its working directory in state_dir (-C): every path in the text is relative to it. */
#ifndef HATCHWAY_HAPROXY_CONFIG_H
#define HATCHWAY_HAPROXY_CONFIG_H

#include "hatchway/base/buf.h"

#include <stdbool.h>
#include <stdint.h>

/* Where HAProxy listens. */
struct config_bind {
	const char *address; /* "" = every address, else IPv4 or IPv6 text */
	uint16_t port, last; /* ports port..last; last 0: only port */
	bool tls;            /* each port has its own list of certificates: certs/<port>.list, certs/<address>:<port>.list */
};

static inline uint16_t config_last_port(const struct config_bind *bind)
{
	return bind->last > bind->port ? bind->last : bind->port;
}

struct config_input {
	const struct config_bind *binds; /* any order; some may be equal */
	size_t n_binds;
	const char *instance; /* as render_set_instance(): [a-z0-9]{1,40}, unique among the HAProxys of a network namespace */
	uint64_t fd_limit;    /* hard limit of descriptors HAProxy will have; 0: not known, HAProxy sizes itself */
	unsigned threads;     /* 0: HAProxy's own choice */
	bool ipv6;            /* the machine has IPv6: binds without address bind [::] too */
	bool root;            /* HAProxy starts as root */
};

/* The name by which the list of a bind's certificates, and its items in maps/listener.map, are known. */
#define CONFIG_BIND_NAME 64
void config_bind_name(const char *address, uint16_t port, char out[CONFIG_BIND_NAME]);
/* A bind with TLS begins with this certificate, whose key no client takes: who asks for a name that no certificate has is
 * refused. Without one HAProxy would not start; and with strict-sni it knew no certificate for clients without SNI. */
#define CONFIG_CERT_NONE "certs/none.pem"

/* Every map the program reads; all must exist, empty or not, before HAProxy starts: "maps/host.map", …, NULL. */
extern const char *const config_maps[];
#define CONFIG_REGEX_BUCKETS 8 /* by the first byte of a regex's id, modulo this */

/* hatchway.lua, to be written beside the configuration. */
extern const char *const config_lua;

/* Connections at once that fit the descriptors: one to the client, one to the server each; two for a port (IPv4 and
 * IPv6), and some for HAProxy itself. */
unsigned config_maxconn(uint64_t fd_limit, size_t n_ports);

/* Same input, same bytes. A bind whose address or port cannot be one is left out; render refuses its listener. */
void config_render(const struct config_input *input, struct buf *out);

#endif
