/* Which Secrets and ConfigMaps the Gateways, ListenerSets, BackendTLSPolicies and HatchwayFilters refer to: only these are
 * watched, each by its name. */
#ifndef HATCHWAY_SOURCE_SECRETS_H
#define HATCHWAY_SOURCE_SECRETS_H

#include "controller/source/watch.h"

#include <uthash.h>

struct secret_watch {
	UT_hash_handle hh;
	struct watch *watch;
	uint32_t uses;
	char path[];   /* "Secret/namespace/name" */
};

struct secrets {
	struct secret_watch *watches; /* to be read by the owner */
	struct secret_referrer *referrers;
	struct watch *(*open)(void *ctx, enum object_kind kind, const char *namespace, const char *name);
	void (*close)(void *ctx, struct watch *watch);
	void *ctx;
};

/* What an object of the kind refers to now; NULL: nothing any more. */
void secrets_refer(struct secrets *secrets, enum object_kind kind, const char *namespace, const char *name,
                   const struct object *object);
/* Closes all. */
void secrets_done(struct secrets *secrets);

#endif
