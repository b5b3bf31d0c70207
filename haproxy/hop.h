/* TLS to servers that HAProxy cannot verify by itself: whose certificate must have one of several names, or a URI, and not the
 * name that SNI asks for. HAProxy speaks to such a server in clear, through a socket of ours for each of them; from there it
 * goes on with TLS. All is verified in the handshake: nothing is read from HAProxy before it has ended well.
 *
 * Runs on the caller's loop. While the controller is away these servers cannot be reached. */
#ifndef HATCHWAY_HAPROXY_HOP_H
#define HATCHWAY_HAPROXY_HOP_H

#include "hatchway/table.h"

#include <uv.h>

struct hops;

struct hops *hops_open(uv_loop_t *loop, const char *instance);
/* Before HAProxy hears of the changes. A socket that is not needed any more stays for a while. */
void hops_submit(struct hops *hops, const struct table_changes *changes);
void hops_close(struct hops *hops, void (*cb)(void *ctx), void *ctx);

#endif
