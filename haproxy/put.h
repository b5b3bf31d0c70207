/* Files that are there whole or not at all. Mode 600. */
#ifndef HATCHWAY_HAPROXY_PUT_H
#define HATCHWAY_HAPROXY_PUT_H

#include "hatchway/base/buf.h"
#include "hatchway/base/err.h"

#include <stdio.h>

/* A file under its temporary name; put_file() makes it the file. NULL with *reterr. */
FILE *put_open(const char *path, struct err *reterr);
/* durable: the disk has it. */
MUST_CHECK int put_close(FILE *f, const char *path, bool durable, struct err *reterr);
MUST_CHECK int put_file(const char *path, struct err *reterr);
/* All of that, of a text. */
MUST_CHECK int put_text(const char *path, const char *text, bool durable, struct err *reterr);
/* The names in a folder, onto the disk. */
MUST_CHECK int put_sync_dir(const char *path, struct err *reterr);

#endif
