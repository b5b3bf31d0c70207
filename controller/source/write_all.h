/* write(2) until all is written. */
#ifndef HATCHWAY_SOURCE_WRITE_ALL_H
#define HATCHWAY_SOURCE_WRITE_ALL_H

#include "hatchway/base/err.h"

#include <stddef.h>

/* -errno. */
MUST_CHECK int write_all(int fd, const void *bytes, size_t n);

#endif
