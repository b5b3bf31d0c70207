/* --state-dir. */
#ifndef HATCHWAY_STATE_DIR_H
#define HATCHWAY_STATE_DIR_H

#include "controller/options.h"

/* mkdir -p with mode 700 for what is made; ret is the absolute path. */
MUST_CHECK int state_dir_make(const char *path, char *ret, size_t size, struct err *reterr);

/* `hatchway init`: what a HAProxy that somebody else starts needs there, as far as it is missing. The exit code. */
MUST_CHECK int state_dir_init(const struct options *options);

#endif
