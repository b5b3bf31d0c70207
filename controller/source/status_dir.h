/* Status documents as files: DIR/<Kind>/<namespace>/<name>.yaml, without the namespace for kinds that have none. What a
 * cluster would hold under /status. A name too long for a file name is cut and has a digest of all of it. Each file is
 * replaced whole (rename), so that a reader never sees half of one. */
#ifndef HATCHWAY_SOURCE_STATUS_DIR_H
#define HATCHWAY_SOURCE_STATUS_DIR_H

#include "hatchway/base/err.h"

#include <stdbool.h>

struct status_dir;

/* Creates the folder if need be. -errno. */
MUST_CHECK int status_dir_open(const char *path, struct status_dir **ret, struct err *reterr);
void status_dir_close(struct status_dir *dir);

/* Writes, or removes if text is NULL (an absent one is no error). namespace "" or NULL: cluster-scoped.
 * -EINVAL: a name that is no file name; else -errno. */
MUST_CHECK int status_dir_write(struct status_dir *dir, const char *kind, const char *namespace, const char *name,
                                const char *text, struct err *reterr);

/* Removes every *.yaml that has not been written since open: what an earlier run left behind. Empty folders go too. */
MUST_CHECK int status_dir_sweep(struct status_dir *dir, struct err *reterr);

#endif
