/* Owns the list of binds and their refusals. A port that cannot be bound would make HAProxy refuse the whole
 * configuration, so each new one is tried here first; the others go on.
 *
 * The configuration tells its own digest and binds in `description`, which `show info` repeats: that, and not the file,
 * is what runs. */
#include "haproxy/binds.h"

#include "haproxy/process.h"
#include "hatchway/base/hash.h"

#include <errno.h>
#include <inttypes.h>

/* `show info` tells it from a buffer of 16 KB. What does not fit is marked: then any port may be ours. */
#define MARK_MAX 12000
#define MARK_CUT "/more"

void binds_init(struct binds *binds)
{
	*binds = (struct binds){.running = xstrdup("")};
}

static void list_done(struct binds *binds)
{
	for (size_t i = 0; i < binds->n; i++) {
		free(binds->list[i].key);
		free(binds->list[i].address);
		free(binds->list[i].refused);
	}
	free(binds->list);
	binds->list = NULL;
	binds->n = 0;
}

void binds_done(struct binds *binds)
{
	list_done(binds);
	free(binds->running);
	free(binds->text);
	free(binds->mark);
	*binds = (struct binds){0};
}

void binds_want(struct binds *binds, const struct sync_bind *list, size_t n)
{
	struct bind *copy = xcalloc(n, sizeof(*copy));

	for (size_t i = 0; i < n; i++)
		copy[i] = (struct bind){xstrdup(list[i].key), xstrdup(list[i].address), list[i].port, NULL};
	list_done(binds);
	binds->list = copy;
	binds->n = n;
}

void binds_running(struct binds *binds, const char *description)
{
	char *copy = xstrdup(strncmp(description, "hatchway-", 9) ? "" : description);

	free(binds->running);
	binds->running = copy;
}

static void bind_name(const struct bind *bind, char out[80])
{
	snprintf(out, 80, "%.64s:%u", bind->address, bind->port);
}

/* The same port on another address of ours counts too: HAProxy's own sockets do not stand in its way. */
static bool runs(const struct binds *binds, const struct bind *bind)
{
	char port[16];
	size_t n = (size_t)snprintf(port, sizeof(port), ":%u", bind->port);

	for (const char *p = binds->running; (p = strstr(p, port)); p += n)
		if (p[n] == '/' || !p[n])
			return true;
	return strstr(binds->running, MARK_CUT) != NULL;
}

static char *why_not(const struct bind *bind, int error)
{
	struct err err;
	bool low = bind->port < 1024 && error == -EACCES;

	err_set(&err, 0, "port %u%s%s cannot be bound: %s%s", bind->port, *bind->address ? " of " : "", bind->address,
	        strerror(-error),
	        low                     ? "; ports below 1024 need root, or map it elsewhere with --port-map"
	        : error == -EADDRINUSE  ? "; another program has it: stop it, or map the port elsewhere with --port-map"
	                                : "");
	return xstrdup(err.text);
}

static void make_text(struct binds *binds, const struct sync_events *events)
{
	struct sync_bind *good = xcalloc(binds->n, sizeof(*good));
	struct buf text, mark;
	size_t n = 0;

	buf_init(&mark, MARK_MAX + 200);
	for (size_t i = 0; i < binds->n; i++)
		if (!binds->list[i].refused)
			good[n++] = (struct sync_bind){binds->list[i].key, binds->list[i].address, binds->list[i].port};
	char *config = events->config(events->ctx, good, n);
	buf_addf(&mark, "hatchway-%016" PRIx64, hash_bytes(config, strlen(config), 0));
	/* One word: a line of the configuration has room for 64. No comma: `show info` would quote it. */
	for (size_t i = 0; i < binds->n && mark.len < MARK_MAX; i++) {
		char name[80];
		bind_name(&binds->list[i], name);
		if (!binds->list[i].refused)
			buf_addf(&mark, "/%s", name);
	}
	if (mark.len >= MARK_MAX)
		buf_adds(&mark, MARK_CUT);
	buf_init(&text, (size_t)16 << 20);
	buf_addf(&text, "%s\n# What hatchway recognizes this configuration by, in `show info`.\nglobal\n\tdescription %s\n", config,
	         mark.data);
	BUG_ON(buf_failed(&text) || buf_failed(&mark));
	free(config);
	free(good);
	free(binds->text);
	free(binds->mark);
	binds->text = buf_take(&text);
	binds->mark = buf_take(&mark);
}

bool binds_probe(struct binds *binds, const struct sync_events *events)
{
	bool changed = false;

	for (size_t i = 0; i < binds->n; i++) {
		struct bind *bind = &binds->list[i];
		int r = runs(binds, bind) ? 0 : process_probe(bind->address, bind->port);
		changed |= !r != !bind->refused;
		free(bind->refused);
		bind->refused = r ? why_not(bind, r) : NULL;
	}
	make_text(binds, events);
	return changed;
}

void binds_refuse_new(struct binds *binds, const char *why, const struct sync_events *events)
{
	for (size_t i = 0; i < binds->n; i++) {
		struct bind *bind = &binds->list[i];
		if (bind->refused || runs(binds, bind))
			continue;
		bind->refused = xstrdup(why);
	}
	make_text(binds, events);
}

bool binds_differ(const struct binds *binds)
{
	return binds->mark && strcmp(binds->mark, binds->running) != 0;
}

size_t binds_refused(const struct binds *binds)
{
	size_t n = 0;

	for (size_t i = 0; i < binds->n; i++)
		n += binds->list[i].refused != NULL;
	return n;
}
