/* Content addresses: what one tenant writes must not be able to take the address of what another wrote, so these are
 * SHA-256, cut to 128 bits, in lower-case base32 (a word for map keys and server names). */
#ifndef HATCHWAY_HAPROXY_DIGEST_H
#define HATCHWAY_HAPROXY_DIGEST_H

#include <stddef.h>

#define DIGEST_LEN 26

struct digest {
	char text[DIGEST_LEN + 1];
};

struct digest digest_of(const void *p, size_t n);

#endif
