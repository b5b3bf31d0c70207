/* What a status of the API server's has of ours, and how ours gets into it without a change to anybody else's. Ours are:
 * of a GatewayClass and a Gateway the fields that its document can have, but for conditions whose type has a prefix
 * ("example.com/X") and those that nobody has judged yet (Unknown); of a route the parents[] with our controllerName. Of a
 * Gateway that another controller has judged since nothing is. Pure. */
#ifndef HATCHWAY_SOURCE_STATUS_MERGE_H
#define HATCHWAY_SOURCE_STATUS_MERGE_H

#include "controller/object/decode.h"
#include "hatchway/base/buf.h"

struct status_seen {
	uint64_t digest; /* of ours, whenever its conditions changed; 63 bits; 0: there is nothing of ours */
	bool others;     /* there are parents[] or conditions of others */
};

/* status NULL: there is none. */
struct status_seen status_see(enum object_kind kind, const struct node *status, const char *controller);
/* Gateways and ListenerSets: their status counts routes, and who wrote it is looked for in metadata.managedFields. */
bool status_has_listeners(enum object_kind kind);
/* The same of an object as the API server gives it, whose metadata.managedFields tell who wrote its status. NULL: none. */
struct status_seen status_see_object(enum object_kind kind, const struct node *object, const char *controller);
#define STATUS_MANAGER "hatchway" /* fieldManager of what we write */
/* The same of a Gateway's, without how many routes are attached. */
uint64_t status_digest_uncounted(enum object_kind kind, const struct node *status);

/* Appends the body of a merge PATCH that brings old (NULL: none) to wanted (NULL: nothing of ours). lastTransitionTime is
 * old's where a condition's status is. wanted is changed, and lives in scratch. version: the resourceVersion that must
 * still be the object's. */
void status_merge(enum object_kind kind, struct node *wanted, const struct node *old, const char *controller,
                  const char *version, struct arena *scratch, struct buf *out);

/* Calls cb for each condition of wanted that is bad, and in old is not, or for another reason. What only waits for somebody
 * (the address of a new Gateway) is no news to anybody. */
void status_turned(const struct node *wanted, const struct node *old,
                   void (*cb)(void *ctx, const char *type, const char *reason, const char *message), void *ctx);

#endif
