/* The files HAProxy starts from, kept equal to what it holds: maps/X.map, backends/NN.cfg, certs/, and the texts of the
 * configuration. Whoever starts HAProxy on them, with the controller dead, gets the last state. */
#ifndef HATCHWAY_HAPROXY_DISK_H
#define HATCHWAY_HAPROXY_DISK_H

#include "haproxy/image.h"

#include <uv.h>

struct disk;

/* Makes the folders. */
MUST_CHECK int disk_open(uv_loop_t *loop, const char *state_dir, struct disk **ret, struct err *reterr);

/* This thing of the held image changed; its file is written by the next flush. */
void disk_touch(struct disk *disk, enum item_kind kind, const char *key);
/* Nobody knows what the files hold: the next flush makes and compares them all. */
void disk_touch_all(struct disk *disk);
/* A file in state_dir with a text of its own, e.g. "haproxy.cfg"; written after all others, in the order first named. */
void disk_text(struct disk *disk, const char *name, const char *text);

/* The lists of certificates that haproxy.cfg names, each with a newline; they are there before it is. */
void disk_lists(struct disk *disk, const char *lists);

/* The description of haproxy.cfg as it is on the disk, or ""; to free(). */
char *disk_read_mark(const struct disk *disk);

bool disk_dirty(const struct disk *disk);
bool disk_busy(const struct disk *disk);

/* Somebody has made, renamed or removed files beside ours since the last flush. Cheap; for once a second. */
bool disk_disturbed(const struct disk *disk);

/* Takes from the image what is to be written and writes it in a worker thread (tmp, fsync, rename); cb on the loop. Not
 * while disk_busy(). On an error everything is dirty again. image NULL: nothing is known; the map files that HAProxy needs
 * are made if they are missing, and the texts written. hurry: without waiting for the disk; it is dirty until the next
 * flush, which does. Folders that are gone are made again. A file in backends/ that is not ours, and that HAProxy would
 * load, gets the name NAME.ignored whenever all is compared. */
void disk_flush(struct disk *disk, const struct image *image, bool hurry,
                void (*cb)(void *ctx, int error, const char *why), void *ctx);

/* Not while disk_busy(). */
void disk_close(struct disk *disk);

#endif
