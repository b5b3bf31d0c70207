/* HAProxy's `show` answers into the image it holds. Sends only `show`; changes nothing. */
#ifndef HATCHWAY_HAPROXY_READER_H
#define HATCHWAY_HAPROXY_READER_H

#include "haproxy/command.h"
#include "haproxy/session.h"

/* An entry that must go and has no name of its own: the second of duplicates, or one that is no item. */
struct reader_extra {
	unsigned map;
	char pointer[24]; /* "#0x…" */
};

struct strings {
	char **list;
	size_t n;
};

bool strings_have(const struct strings *strings, const char *text, size_t n);
void strings_done(struct strings *strings);

struct reading {
	int pid;           /* of the worker that answered */
	bool stopping;     /* it is being replaced: what it holds is worth nothing */
	char version[48];
	char *description; /* of `global`; config marks are told there; "" if none */
	struct map_names maps;
	struct strings lists;  /* binds whose lists of certificates HAProxy has: "443" */
	char *unfinished[ITEM_SNI]; /* digest of a CA, of a certificate that somebody has not finished; NULL: none */
	struct image *image;
	const struct image *like; /* lends the items that are equal; may be NULL */
	struct reader_extra *extras;
	size_t n_extras, cap_extras;
};

void reading_done(struct reading *reading);

/* Backends and servers of this name are ours: "namespace.name:port"; all else in HAProxy is left alone. */
bool reader_is_ours(const char *backend);

struct reader;

/* cb comes once, unless the session closes first. *reading is the callee's to keep or to reading_done(). error: -EPROTO,
 * an answer made no sense (*why); the session is still usable then. What equals an item of `like` (or NULL) is shared
 * with it, so that what is held and wanted costs memory once; it must stay until cb or reader_free(). */
struct reader *reader_start(struct session *session, const struct image *like,
                            void (*cb)(void *ctx, int error, const char *why, struct reading *reading), void *ctx);
/* At any time, also when cb was called. */
void reader_free(struct reader *reader);

/* `show info` alone, to see that the worker is still the one we know. The texts of reader and sync. */
#define READER_INFO "show info"
/* Takes one line of `show info`. */
void reader_info_line(const char *text, int *pid, bool *stopping, char version[48]);

/* Which map a line of `show map` is about; -1: none of ours. */
int reader_map_named(const char *line);

/* ---- parts, for tests and the fuzzer: one line of an answer ---- */
MUST_CHECK int reader_map_line(struct reading *reading, unsigned map, const char *line, struct err *reterr);
MUST_CHECK int reader_maps_line(struct reading *reading, const char *line, struct err *reterr);
MUST_CHECK int reader_server_line(struct reading *reading, char *line, struct err *reterr);
void reader_list_line(struct reading *reading, const char *line);
void reader_ca_line(struct reading *reading, const char *line);
void reader_cert_line(struct reading *reading, const char *line);
void reader_sni_line(struct reading *reading, size_t list, const char *line);
MUST_CHECK int reader_stat_line(struct reading *reading, char *line, struct err *reterr);

#endif
