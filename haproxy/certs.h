/* STATE/certs: what HAProxy's binds with TLS start from. Blocking, for a worker thread; it has the private keys, mode 600. */
#ifndef HATCHWAY_HAPROXY_CERTS_H
#define HATCHWAY_HAPROXY_CERTS_H

#include "haproxy/image.h"

/* Writes what differs: certificates, CAs, lists with their entries, and lists named in `lists` ("certs/443.list\n…") that have
 * none. items: all of the kinds ITEM_CA to ITEM_SNI; NULL: not known, only what is missing is made. */
MUST_CHECK int certs_write(const char *dir, const struct item *const *items, size_t n, const char *lists, bool durable,
                           bool *ret_written, struct err *reterr);
/* Private keys and lists that nothing names any more. */
void certs_clean(const char *dir, const struct item *const *items, size_t n, const char *lists);

#endif
