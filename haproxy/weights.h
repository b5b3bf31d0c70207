/* Shares as server weights: HAProxy's round robin is exact, so integers 0..256 per server can carry a canary. */
#ifndef HATCHWAY_HAPROXY_WEIGHTS_H
#define HATCHWAY_HAPROXY_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEIGHT_MAX 256

/* A Service's part of a split: every one of its servers gets the same weight. */
struct weights_group {
	uint64_t share;   /* what is wanted, relative to the others' sum */
	uint32_t servers; /* that take new requests; > 0 where share > 0 */
	unsigned weight;  /* the answer, 0 only for share 0 */
};

/* The integers that come nearest, as large as they may be. false: no integers come within 0.5 % of each share (of the share itself, not of
 * the whole); weights are then untouched. At least one share must be > 0. */
bool weights_solve(struct weights_group *groups, size_t n);
/* The nearest, however far off. */
void weights_nearest(struct weights_group *groups, size_t n);

#endif
