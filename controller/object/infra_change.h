/* Something of a Gateway's infrastructure that is not in the API server as it should be. */
#ifndef HATCHWAY_OBJECT_INFRA_CHANGE_H
#define HATCHWAY_OBJECT_INFRA_CHANGE_H

#include "controller/object/object.h"

struct infra_change {
	enum object_kind kind; /* KIND_SERVICE or KIND_ENDPOINTSLICE */
	const char *namespace, *name;
	const char *gateway; /* whose, in the same namespace */
	const char *text;    /* JSON for a server-side apply; NULL: delete it */
	const char *uid;     /* delete: only this one */
};

typedef void infra_cb(void *ctx, const struct infra_change *change);

#endif
