/* Something of a Gateway's infrastructure that is not in the API server as it should be. */
#ifndef HATCHWAY_OBJECT_INFRA_CHANGE_H
#define HATCHWAY_OBJECT_INFRA_CHANGE_H

#include "controller/object/object.h"

/* kind, path of its group, plural */
#define INFRA_KINDS(X)                                                                                                 \
	X(SERVICE, "Service", "/api/v1", "services")                                                                   \
	X(SLICE, "EndpointSlice", "/apis/discovery.k8s.io/v1", "endpointslices")                                       \
	X(ENDPOINTS, "Endpoints", "/api/v1", "endpoints")

enum infra_kind {
#define X(id, name, path, plural) INFRA_##id,
	INFRA_KINDS(X)
#undef X
	INFRA_KIND_COUNT
};

enum infra_verb {
	INFRA_APPLY,  /* what is ours of it: a server-side apply */
	INFRA_CLEAR,  /* a field that is not ours, and so stays whatever is applied: a merge patch */
	INFRA_DELETE,
	INFRA_VERB_COUNT
};

struct infra_change {
	enum infra_kind kind;
	enum infra_verb verb;
	const char *namespace, *name;
	const char *gateway; /* whose, in the same namespace */
	const char *text;    /* JSON; NULL: delete */
	const char *uid;     /* delete: only this one; NULL: whichever it is */
	const char *note;    /* what people are told once it is done; NULL: nothing */
};

typedef void infra_cb(void *ctx, const struct infra_change *change);

static inline const char *infra_kind_name(enum infra_kind kind)
{
	static const char *const names[] = {
#define X(id, name, path, plural) name,
	    INFRA_KINDS(X)
#undef X
	};
	return names[kind];
}

#endif
