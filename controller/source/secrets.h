/* Which Secrets the Gateways refer to: only these are watched, each by its name. */
#ifndef HATCHWAY_SOURCE_SECRETS_H
#define HATCHWAY_SOURCE_SECRETS_H

#include "controller/source/watch.h"

#include <uthash.h>

struct secret_watch {
	UT_hash_handle hh;
	struct watch *watch;
	uint32_t uses; /* by Gateways */
	char path[];   /* "namespace/name" */
};

struct secrets {
	struct secret_watch *watches; /* to be read by the owner */
	struct secret_referrer *referrers;
	struct watch *(*open)(void *ctx, const char *namespace, const char *name);
	void (*close)(void *ctx, struct watch *watch);
	void *ctx;
};

/* What the Gateway refers to now; NULL: nothing any more. */
void secrets_refer(struct secrets *secrets, const char *namespace, const char *name, const struct gateway *gateway);
/* Closes all. */
void secrets_done(struct secrets *secrets);

#endif
