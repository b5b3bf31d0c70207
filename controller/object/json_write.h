/* Trees as JSON, for what is sent and what is remembered. Pure. */
#ifndef HATCHWAY_OBJECT_JSON_WRITE_H
#define HATCHWAY_OBJECT_JSON_WRITE_H

#include "controller/object/decode.h"
#include "hatchway/base/buf.h"

void json_write(struct buf *out, const struct node *node);
void json_write_text(struct buf *out, const char *text);

#endif
