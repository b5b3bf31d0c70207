/* The first files of a state directory, for a HAProxy that somebody else starts, perhaps before there is a controller. */
#ifndef HATCHWAY_HAPROXY_FIRST_H
#define HATCHWAY_HAPROXY_FIRST_H

#include "haproxy/sync.h"

/* haproxy.cfg with the pool, what it loads, empty maps and the folders, each unless it is there. Of the events only
 * config() is asked. -EBUSY: a controller is at work there. */
MUST_CHECK int first_write(const struct sync_options *options, const struct sync_events *events, struct err *reterr);

#endif
