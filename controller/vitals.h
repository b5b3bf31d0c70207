/* How the running controller is: is it ready, and its figures. `run` tells what happens; it, /readyz and /metrics ask.
 * Telling costs nothing that grows with the number of objects. */
#ifndef HATCHWAY_VITALS_H
#define HATCHWAY_VITALS_H

#include "controller/core.h"
#include "controller/metrics.h"
#include "controller/source/cluster.h"
#include "controller/source/infra_api.h"
#include "controller/writer.h"

/* What was submitted so long ago and is not served yet makes the Pod unready; less is a change on its way. */
#define VITALS_PATIENCE_MS 2000

/* core, haproxy, cluster, writer, infra, problems: of whoever owns this; NULL while there is none. */
struct vitals {
	const struct core *core;
	const struct haproxy *haproxy;
	const struct cluster *cluster;
	const struct writer *writer;
	const struct infra_api *infra;
	size_t problems;                 /* files that could not be read */
	bool closing;
	uint64_t submitted, applied;     /* generations */
	uint64_t waiting_since_ns;       /* the oldest that is not applied; 0: none waits */
	enum haproxy_state state;
	char detail[256];                /* of the state */
	size_t refusals;
	uint64_t documents, failures;    /* of status: given, not written */
	struct histogram applies;
};

void vitals_submitted(struct vitals *vitals, uint64_t generation, uint64_t now_ns);
void vitals_applied(struct vitals *vitals, uint64_t generation, size_t refusals, uint64_t now_ns);
void vitals_state(struct vitals *vitals, enum haproxy_state state, const char *detail);

/* For how long the oldest change has been waiting for HAProxy; 0: none. */
uint64_t vitals_waiting_ms(const struct vitals *vitals, uint64_t now_ns);
/* Is everything known served, and will it go on? Else `out` says why not. True also while some kind is forbidden, which
 * is named. */
bool vitals_ready(const struct vitals *vitals, uint64_t now_ns, struct buf *out);
void vitals_metrics(const struct vitals *vitals, uint64_t now_ns, struct buf *out);

#endif
