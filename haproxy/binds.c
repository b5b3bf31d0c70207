/* Owns the list of binds and their refusals. A port that cannot be bound would make HAProxy refuse the whole
 * configuration, so each new one is tried here first; the others go on.
 *
 * The configuration tells its own digest and binds in `description`, which `show info` repeats: that, and not the file,
 * is what runs. */
#include "haproxy/binds.h"

#include "haproxy/command.h"
#include "haproxy/process.h"
#include "hatchway/base/hash.h"
#include "hatchway/base/log.h"

#include <errno.h>
#include <inttypes.h>

/* `show info` tells it from a buffer of 16 KB. What does not fit is marked: then any port may be ours. */
#define MARK_MAX 12000
#define MARK_CUT "/more"

void binds_init(struct binds *binds, uint16_t pool_base, unsigned pool_size)
{
	*binds = (struct binds){.running = xstrdup("")};
	for (int i = 0; i < 2; i++) {
		binds->pools[i].base = (uint16_t)(pool_base + i * HAPROXY_POOL_TLS);
		binds->pools[i].tls = binds->running_pools[i].tls = i;
		pool_resize(&binds->pools[i], pool_size);
	}
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
	for (int i = 0; i < 2; i++) {
		pool_done(&binds->pools[i]);
		pool_done(&binds->running_pools[i]);
	}
	free(binds->lists);
	free(binds->running);
	free(binds->text);
	free(binds->mark);
	*binds = (struct binds){0};
}

static int bind_cmp(const void *a, const void *b)
{
	const struct bind *x = *(struct bind *const *)a, *y = *(struct bind *const *)b;
	int order = x->port != y->port ? x->port - y->port : strcmp(x->address, y->address);

	return order ? order : (x > y) - (x < y);
}

static void mark_again(struct binds *binds)
{
	struct bind **sorted = xcalloc(binds->n + 1, sizeof(struct bind *));

	for (size_t i = 0; i < binds->n; i++)
		sorted[i] = &binds->list[i];
	qsort(sorted, binds->n, sizeof(struct bind *), bind_cmp);
	for (size_t i = 1; i < binds->n; i++)
		sorted[i]->again = sorted[i]->port == sorted[i - 1]->port && !strcmp(sorted[i]->address, sorted[i - 1]->address);
	free(sorted);
}

void binds_want(struct binds *binds, const struct sync_bind *list, size_t n)
{
	struct bind *copy = xcalloc(n, sizeof(*copy));

	for (size_t i = 0; i < n; i++)
		copy[i] = (struct bind){xstrdup(list[i].key), xstrdup(list[i].address), list[i].port, list[i].tls, false, NULL};
	list_done(binds);
	binds->list = copy;
	binds->n = n;
	mark_again(binds);
}

void binds_running(struct binds *binds, const char *description)
{
	char *copy = xstrdup(strncmp(description, "hatchway-", 9) ? "" : description);

	free(binds->running);
	binds->running = copy;
	for (int i = 0; i < 2; i++)
		pool_parse(&binds->running_pools[i], copy);
}

/* NULL: it is in none. */
static const struct pool *pool_of(const struct pool pools[2], uint16_t port)
{
	return pool_covers(&pools[0], port) ? &pools[0] : pool_covers(&pools[1], port) ? &pools[1] : NULL;
}

static void bind_name(const struct bind *bind, char out[80])
{
	snprintf(out, 80, "%.64s:%u", bind->address, bind->port);
}

/* The same port on another address of ours counts too: HAProxy's own sockets do not stand in its way. */
static bool runs(const struct binds *binds, uint16_t number)
{
	char port[16];
	size_t n = (size_t)snprintf(port, sizeof(port), ":%u", number);

	if (pool_binds(&binds->running_pools[0], number) || pool_binds(&binds->running_pools[1], number))
		return true;
	for (const char *p = binds->running; (p = strstr(p, port)); p += n)
		if (p[n] == '/' || !p[n])
			return true;
	return strstr(binds->running, MARK_CUT) != NULL;
}

static char *why_not(const struct binds *binds, const struct bind *bind, int error)
{
	struct err err;
	bool low = bind->port < 1024 && error == -EACCES, pooled = pool_of(binds->pools, bind->port);

	err_set(&err, 0, "port %u%s%s cannot be bound: %s%s%s", bind->port, *bind->address ? " of " : "", bind->address,
	        strerror(-error),
	        low                     ? "; ports below 1024 need root, or map it elsewhere with --port-map"
	        : error == -EADDRINUSE  ? "; another program has it: stop it, or "
	                                : "",
	        error != -EADDRINUSE || low ? ""
	        : pooled                    ? "take other ports with --pool-ports"
	                                    : "map the port elsewhere with --port-map");
	return xstrdup(err.text);
}

/* ---- text and mark ---- */

/* It has a line of the configuration to itself. */
static bool is_own(const struct binds *binds, const struct bind *bind)
{
	return !bind->refused && !bind->again && !pool_of(binds->pools, bind->port);
}

/* What is bound: the pool, and what is not in it. */
static struct config_bind *all_binds(const struct binds *binds, size_t *ret_n)
{
	size_t n, n_tls;
	struct config_bind *list = pool_ranges(&binds->pools[0], &n), *tls = pool_ranges(&binds->pools[1], &n_tls);

	list = xrealloc(list, (n + n_tls + binds->n + 1) * sizeof(*list));
	for (size_t i = 0; i < n_tls; i++)
		list[n++] = tls[i];
	free(tls);
	for (size_t i = 0; i < binds->n; i++) {
		const struct bind *bind = &binds->list[i];
		if (is_own(binds, bind))
			list[n++] = (struct config_bind){bind->address, bind->port, 0, bind->tls};
	}
	*ret_n = n;
	return list;
}

static void make_mark(const struct binds *binds, const char *config, struct buf *mark)
{
	buf_addf(mark, "hatchway-%016" PRIx64, hash_bytes(config, strlen(config), 0));
	pool_mark(&binds->pools[0], MARK_MAX, mark);
	pool_mark(&binds->pools[1], MARK_MAX, mark);
	/* One word: a line of the configuration has room for 64. No comma: `show info` would quote it. */
	for (size_t i = 0; i < binds->n && mark->len < MARK_MAX; i++) {
		const struct bind *bind = &binds->list[i];
		char name[80];
		bind_name(bind, name);
		if (is_own(binds, bind))
			buf_addf(mark, "/%s", name);
	}
	if (mark->len >= MARK_MAX)
		buf_adds(mark, MARK_CUT);
}

static void make_lists(struct binds *binds, const struct config_bind *list, size_t n)
{
	char bind[CONFIG_BIND_NAME], name[CERTS_NAME_MAX];
	struct buf lists;

	buf_init(&lists, (size_t)16 << 20);
	for (size_t i = 0; i < n; i++)
		for (unsigned port = list[i].port; list[i].tls && port <= config_last_port(&list[i]); port++) {
			config_bind_name(list[i].address, (uint16_t)port, bind);
			command_list_name(bind, strlen(bind), name);
			buf_addf(&lists, "%s\n", name);
		}
	BUG_ON(buf_failed(&lists));
	free(binds->lists);
	binds->lists = buf_take(&lists);
}

static void make_text(struct binds *binds, const struct sync_events *events)
{
	struct config_bind *list;
	struct buf text, mark;
	size_t n;

	buf_init(&mark, MARK_MAX + 200);
	buf_init(&text, (size_t)16 << 20);
	list = all_binds(binds, &n);
	char *config = events->config(events->ctx, list, n);
	make_mark(binds, config, &mark);
	make_lists(binds, list, n);
	buf_addf(&text, "%s\n# What hatchway recognizes this configuration by, in `show info`.\nglobal\n\tdescription %s\n", config,
	         mark.data);
	BUG_ON(buf_failed(&text) || buf_failed(&mark));
	free(config);
	free(list);
	free(binds->text);
	free(binds->mark);
	binds->text = buf_take(&text);
	binds->mark = buf_take(&mark);
}

/* ---- the pool ---- */

static int port_cmp(const void *a, const void *b)
{
	return *(const uint16_t *)a - *(const uint16_t *)b;
}

/* In the order of ports, so that many new ones make it grow as one after the other would. */
static void pool_fit(struct binds *binds, struct pool *pool, const struct pool *running)
{
	uint16_t *ports = xcalloc(binds->n, sizeof(*ports));

	if (running->base == pool->base && pool->size && running->size > pool->size)
		pool_resize(pool, running->size);
	for (size_t i = 0; i < binds->n; i++)
		ports[i] = binds->list[i].port;
	if (binds->n)
		qsort(ports, binds->n, sizeof(*ports), port_cmp);
	for (size_t i = 0; i < binds->n; i++)
		pool_grow(pool, ports[i]);
	free(ports);
}

static bool wanted(const struct binds *binds, uint16_t port)
{
	for (size_t i = 0; i < binds->n; i++)
		if (binds->list[i].port == port)
			return true;
	return false;
}

static void pool_probe(struct binds *binds, struct pool *pool, const struct pool *running)
{
	for (unsigned i = 0; i < pool->size; i++) {
		uint16_t port = (uint16_t)(pool->base + i);
		struct bind bind = {.address = (char[]){""}, .port = port};
		int before = pool->errors[i];
		if (runs(binds, port)) {
			pool->errors[i] = 0;
			continue;
		}
		if (pool_covers(running, port) && !wanted(binds, port)) {
			pool->errors[i] = before ? before : -EADDRINUSE;
			continue;
		}
		pool->errors[i] = process_probe("", port);
		if (!pool->errors[i] || pool->errors[i] == before)
			continue;
		char *why = why_not(binds, &bind, pool->errors[i]);
		log_line(LOG_WARN, "the pool goes without a port", "error", why, (const char *)NULL);
		free(why);
	}
}

bool binds_probe(struct binds *binds, const struct sync_events *events)
{
	bool changed = false;

	for (int i = 0; i < 2; i++) {
		pool_fit(binds, &binds->pools[i], &binds->running_pools[i]);
		pool_probe(binds, &binds->pools[i], &binds->running_pools[i]);
	}
	for (size_t i = 0; i < binds->n; i++) {
		struct bind *bind = &binds->list[i];
		const struct pool *pool = pool_of(binds->pools, bind->port);
		int r = pool                      ? pool->errors[bind->port - pool->base]
		        : runs(binds, bind->port) ? 0
		                                  : process_probe(bind->address, bind->port);
		bool mixed = pool && pool->tls != bind->tls;
		changed |= (!r && !mixed) != !bind->refused;
		free(bind->refused);
		bind->refused = mixed ? xstrdup("the pool has this port for another protocol") : r ? why_not(binds, bind, r) : NULL;
	}
	make_text(binds, events);
	return changed;
}

void binds_refuse_new(struct binds *binds, const char *why, const struct sync_events *events)
{
	for (int i = 0; i < 2; i++)
		if (binds->running_pools[i].size && binds->running_pools[i].base == binds->pools[i].base)
			pool_copy(&binds->pools[i], &binds->running_pools[i]);
	for (size_t i = 0; i < binds->n; i++) {
		struct bind *bind = &binds->list[i];
		if (bind->refused || runs(binds, bind->port))
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
