/* `hatchway run`: the source, the core and HAProxy tied together on one loop. */
#ifndef HATCHWAY_RUN_H
#define HATCHWAY_RUN_H

#include "controller/options.h"

/* Runs until SIGTERM or SIGINT; returns the exit code. */
int run(const struct options *options);

#endif
