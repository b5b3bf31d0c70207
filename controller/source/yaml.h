/* YAML (and so JSON) text into neutral trees, one document at a time, by the rules Kubernetes reads manifests with: YAML 1.1
 * booleans (yes, on, …) and numbers for plain scalars, quoted ones are strings. Text is hostile: depth, size and what
 * aliases may blow up to are bounded; duplicate keys, NUL, unknown tags and keys that are no scalars are errors. */
#ifndef HATCHWAY_SOURCE_YAML_H
#define HATCHWAY_SOURCE_YAML_H

#include "controller/object/decode.h"

#define YAML_TEXT_CEILING (64u << 20) /* bytes of one stream */
#define YAML_NODE_CEILING 2000000u    /* nodes of one document, aliases counted in full */
#define YAML_DEPTH_CEILING 64u

struct yaml;

/* bytes must outlive the reader. */
struct yaml *yaml_open_bytes(const void *bytes, size_t n);
/* Reads fd from where it stands; closing fd is the caller's. */
struct yaml *yaml_open_fd(int fd);
void yaml_close(struct yaml *yaml);

/* 1: *ret is the next document, in scratch. 0: no more. -EINVAL (or the errno of reading): *reterr, *ret_line (0 unknown);
 * nothing more can be read then. NODE_NUMBER's text is decimal if the value is whole, NODE_BOOL's is true or false. */
MUST_CHECK int yaml_next(struct yaml *yaml, struct arena *scratch, struct node **ret, unsigned *ret_line,
                         struct err *reterr);

#endif
