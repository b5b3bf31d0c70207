/* Where HAProxy listens: what is wanted, what could be had, and the configuration text that follows; nothing of what
 * comes through. */
#ifndef HATCHWAY_HAPROXY_BINDS_H
#define HATCHWAY_HAPROXY_BINDS_H

#include "haproxy/pool.h"
#include "haproxy/sync.h"

struct bind {
	char *key, *address;
	uint16_t port;
	bool tls;
	bool again; /* another of the list is there for the same address and port: listeners with TLS share one */
	char *refused; /* why it cannot be had; NULL: it can */
};

struct binds {
	struct bind *list;
	size_t n;
	struct pool pools[2]; /* in clear and with TLS; wanted: at least what runs, while it runs */
	/* Of the configuration that runs, as it told itself: "hatchway-<digest>/20000+64/:80/10.0.0.1:80". "" = another's. */
	char *running;
	struct pool running_pools[2];
	/* Of the configuration wanted: text, ending with that mark. */
	char *text, *mark;
	char *lists; /* of its certificates, "certs/443.list\n…" */
};

void binds_init(struct binds *binds, uint16_t pool_base, unsigned pool_size);
void binds_done(struct binds *binds);
void binds_want(struct binds *binds, const struct sync_bind *list, size_t n);
void binds_running(struct binds *binds, const char *description);

/* Makes the pool large enough, tries what does not run yet, then makes text and mark. True if anything about refusals
 * changed. A port of the pool that nobody wants stays left out: it alone is no reason to reload. */
bool binds_probe(struct binds *binds, const struct sync_events *events);
/* All that do not run yet are refused for this reason. */
void binds_refuse_new(struct binds *binds, const char *why, const struct sync_events *events);

bool binds_differ(const struct binds *binds); /* what runs is not what is wanted */
size_t binds_refused(const struct binds *binds);

#endif
