/* What HAProxy holds, or shall hold, as a set of items: (kind, key) → value, all text. `render` makes the image wanted,
 * `reader` the image held; `plan` is the diff of the two. One type for both, so that like is compared with like.
 *
 * An item is counted: rules are content-addressed and many paths may want the same item. Items are immutable and shared
 * between images. Order never matters: image_dump() sorts.
 *
 *   kind      key                               value
 *   ca        "<digest>"                        PEM; "" held: not filled yet      certs/<digest>.ca
 *   cert      "<digest>"                        PEM, secret; "" held: not known   certs/<digest>.pem
 *   sni       "<bind>/<digest>"                 names the certificate is for; "[<digest of a ca>] names":
 *                                               clients must show one of it, "[?…": are asked for one
 *                                                                                  certs/<bind>.list
 *   listener  "<bind port>" | "<addr>:<port>"   listener's key in the table;    maps/listener.map
 *                                               with TLS "<bind>@", and then for each SNI:
 *   name      "<bind>@/com.sample.www#"         the listener's key                    maps/name.map
 *             "*<listener's key>/"              "valid": clients must show a certificate; "any": are asked for one
 *   host      "80/com.sample.www#"              host key it falls to, or "-"          maps/host.map
 *   path      "<host key>/hello/#"              rule reference                        maps/path.map
 *   rule      "<rule id>"                       its properties, fields parted by "|"  maps/rule.map
 *   chain     "<chain id>"                      ordered tests → rule references       maps/chain.map
 *   regex     "<id>" (bucket by id)             the pattern                           maps/regex-NN.map
 *   backend   HAProxy backend name              named defaults it is made from
 *   server    "<backend>/<server>"              server_value, see below
 */
#ifndef HATCHWAY_HAPROXY_IMAGE_H
#define HATCHWAY_HAPROXY_IMAGE_H

#include "hatchway/base/buf.h"
#include "hatchway/base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* In the order things are made; removal is the other way round. */
enum item_kind {
	ITEM_CA, ITEM_CERT, ITEM_SNI, ITEM_BACKEND, ITEM_SERVER, ITEM_REGEX, ITEM_CHAIN, ITEM_RULE, ITEM_PATH, ITEM_HOST,
	ITEM_NAME, ITEM_LISTENER, ITEM_KINDS
};
extern const char *const item_kind_names[ITEM_KINDS];

/* What people may see of a value: not a private key, nor pages of PEM. */
const char *item_shown(enum item_kind kind, const char *value);

struct item {
	uint32_t refs;      /* images and lists that point here */
	uint32_t uses;      /* in the image that made it: image_add() less image_drop() */
	uint32_t hash;      /* of kind and key */
	uint8_t kind;
	const char *value;  /* points behind key in the same block */
	char key[];
};

struct image;
struct image *image_new(void);
void image_free(struct image *image);

/* NULL if not there. */
const struct item *image_get(const struct image *image, enum item_kind kind, const char *key);
size_t image_count(const struct image *image, enum item_kind kind);

/* One more use of (kind, key) with that value. A second use must have the same value (content-addressed) or replace it:
 * image_add() on an existing item with another value sets the value and keeps the count + 1. */
void image_add(struct image *image, enum item_kind kind, const char *key, const char *value);
/* Sets the value, whatever it was, with count 1 if new; used by `reader`, and for items with one owner. */
void image_set(struct image *image, enum item_kind kind, const char *key, const char *value);
/* Shares `item` into this image: after a command was answered, held takes wanted's item. Uses are counted only by the
 * image that made the item: what is shared goes by image_delete(). */
void image_share(struct image *image, const struct item *item);
/* One use less; at none the item goes. It is a bug to drop what is not there. */
void image_drop(struct image *image, enum item_kind kind, const char *key);
/* Away, whatever the count; ignores what is not there. */
void image_delete(struct image *image, enum item_kind kind, const char *key);

/* Every key touched (added, set, dropped) since the last image_touched_clear() is in this list, as (kind, key) with
 * repeats. Off until image_track() switches it on. */
void image_track(struct image *image, bool on);
const struct item *const *image_touched(const struct image *image, size_t *ret_n);
void image_touched_clear(struct image *image);

/* Every item in no special order: *cursor 0 at first; NULL at the end. The image must not change meanwhile. */
const struct item *image_next(const struct image *image, size_t *cursor);
/* Those of the kinds from..to, referenced, in no special order: to be read by another thread while the image changes. */
const struct item **image_snapshot(const struct image *image, enum item_kind from, enum item_kind to, size_t *ret_n);
void image_snapshot_free(const struct item **items, size_t n);

/* Sorted by kind, then key bytes; an array to free(). */
const struct item **image_sorted(const struct image *image, size_t *ret_n);

/* "kind key value\n" sorted, values as item_shown(); parse(dump(x)) = x but for these. Keys hold no blanks. */
void image_dump(const struct image *image, struct buf *out);
MUST_CHECK int image_parse(struct image *image, const char *text, struct err *reterr);

/* The named defaults a backend is made from. HAProxy does not tell which they were, so its name does. */
const char *backend_defaults(const char *name);
/* In the names of those whose servers have cookies. */
#define BACKEND_STICKY "-sticky"
/* What sessions know a server by, from its key: the same on every HAProxy and whatever other servers and rules there are; says
 * nothing of name or address. NULL: of none. */
#define SERVER_COOKIE 11
const char *server_cookie(const char *key, char ret[SERVER_COOKIE]);
/* Servers that are no endpoint, in backends of several references. */
#define SERVER_ERROR "error-"

/* ---- the value of a server item: "127.0.0.1:5000 weight 1 ready", "[::1]:80 weight 256 drain h2c",
 *      "unix@/state/500.sock weight 1 ready", "10.0.0.7:8443 weight 1 ready tls a.b <digest of a ca> <digest of a cert>": "-"
 *      is the system's authorities, and no certificate of our own ---- */
/* In the name of a server that is reached by a socket of ours: a digest of all about it follows. */
#define SERVER_HOP "-hop-"

enum server_state { SERVER_READY, SERVER_DRAIN, SERVER_MAINT };

struct server_value {
	char address[160]; /* as on the add server line */
	unsigned weight;   /* 0..256 */
	enum server_state state;
	bool h2c;          /* proto h2; fixed for a server's life */
	/* The same is TLS, and of servers whose name tells so; HAProxy does not say it. name "": in clear. */
	struct server_tls {
		char name[254], ca[65], cert[65];
	} tls;
};

void server_value_dump(const struct server_value *value, struct buf *out);
MUST_CHECK bool server_value_parse(const char *text, struct server_value *ret);

#endif
