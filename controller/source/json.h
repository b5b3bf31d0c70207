/* JSON as the API server streams it: cutting a stream into pieces that are small enough to hold, and one piece into a
 * neutral tree. The stream is hostile: depth and size of pieces are bounded. Never holds more than one piece. */
#ifndef HATCHWAY_SOURCE_JSON_H
#define HATCHWAY_SOURCE_JSON_H

#include "controller/object/decode.h"
#include "hatchway/base/buf.h"

#define JSON_PIECE_CEILING (2u << 20) /* bytes of one object */
#define JSON_DEPTH_CEILING 64u

enum json_stream {
	JSON_EVENTS, /* one JSON object after the other: a watch */
	JSON_LIST    /* one JSON object whose "items" are the pieces, and its "metadata" is one, too */
};

enum json_piece { JSON_ITEM, JSON_METADATA };

/* A piece has ended. whole false: it was over the ceiling, bytes are its beginning. False: stop here. */
typedef bool json_piece_cb(void *ctx, enum json_piece piece, const char *bytes, size_t n, bool whole);

struct json_split {
	enum json_stream stream;
	json_piece_cb *cb;
	void *ctx;
	struct buf held; /* the piece's bytes of earlier feeds */
	char key[16];    /* the last key or string at depth 1, cut */
	unsigned key_n, depth, end_depth;
	enum json_piece piece;
	bool string, escape, inside, in_items, ended;
};

void json_split_init(struct json_split *split, enum json_stream stream, json_piece_cb *cb, void *ctx);
void json_split_done(struct json_split *split);
/* 0; -EINVAL: this is no such stream; -ECANCELED: the callback has stopped it. Then only done() may follow. */
MUST_CHECK int json_split_feed(struct json_split *split, const char *bytes, size_t n);
/* Whether the stream may end here. */
bool json_split_whole(const struct json_split *split);

/* -EINVAL: *reterr. What no decoder reads is left out: of metadata.managedFields those who wrote no
 * conditions, and the annotation of kubectl apply. */
MUST_CHECK int json_node(const char *bytes, size_t n, struct arena *scratch, struct node **ret, struct err *reterr);

/* The same; the first metadata.managedFields is not even parsed, and is an empty list: what stands there is as large as
 * the object itself, and no longer needs to be JSON. */
MUST_CHECK int json_node_unmanaged(const char *bytes, size_t n, struct arena *scratch, struct node **ret, struct err *reterr);

#endif
