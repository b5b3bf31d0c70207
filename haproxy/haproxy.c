/* include/hatchway/haproxy.h: table changes → render → sync, and back: refusals of items and binds → of the table's units.
 * Owns the wanted image and the listeners; everything that runs is in sync.c. */
#include "hatchway/haproxy.h"

#include "haproxy/config.h"
#include "haproxy/digest.h"
#include "haproxy/first.h"
#include "haproxy/hop.h"
#include "haproxy/plan.h"
#include "haproxy/render.h"
#include "haproxy/sync.h"

#include <sys/resource.h>
#include <unistd.h>


/* What the configuration depends on, beside the binds. */
struct settings {
	char instance[16];
	unsigned threads;
	bool adopt; /* somebody else starts HAProxy: its user and its limits are not ours */
};

struct haproxy {
	struct haproxy_events events;
	struct sync *sync;
	struct hops *hops;
	struct render *render;
	struct image *wanted;
	struct table *listeners; /* only those */
	struct settings settings;
	bool submitted;
	void (*close_cb)(void *ctx);
	void *close_ctx;
};

/* ---- refusals ---- */

/* "80/com.sample.www#" → "80 www.sample.com", "80/com.sample." → "80 *.sample.com", "80/" → "80 ". */
static char *host_unit_key(struct arena *arena, const char *key)
{
	const char *slash = strchr(key, '/');
	struct buf out;

	if (!slash)
		return arena_strdup(arena, key);
	buf_init(&out, 16384);
	buf_addf(&out, "%.*s ", (int)(slash - key), key);
	const char *host = slash + 1, *end = host + strcspn(host, "#/");
	if (end > host && end[-1] == '.') {
		buf_adds(&out, "*.");
		end--;
	}
	while (end > host) {
		const char *label = end;
		while (label > host && label[-1] != '.')
			label--;
		buf_add(&out, label, (size_t)(end - label));
		end = label > host ? label - 1 : host;
		if (end > host)
			buf_addc(&out, '.');
	}
	char *text = arena_strdup(arena, out.data);
	buf_done(&out);
	return text;
}

static struct haproxy_refusal unit_refusal(struct arena *arena, const struct sync_refusal *refusal)
{
	struct haproxy_refusal unit = {.key = refusal->key, .text = refusal->text};

	if (refusal->bind) {
		unit.kind = TABLE_LISTENER;
		return unit;
	}
	switch (refusal->kind) {
	case ITEM_BACKEND:
	case ITEM_SERVER:
		unit.kind = TABLE_BACKEND;
		unit.key = arena_strndup(arena, refusal->key, server_key_backend(refusal->key));
		break;
	case ITEM_PATH:
	case ITEM_HOST:
		unit.kind = TABLE_HOST;
		unit.key = host_unit_key(arena, refusal->key);
		break;
	case ITEM_NAME:
	case ITEM_LISTENER:
		unit.kind = TABLE_LISTENER;
		break;
	case ITEM_CA:
		unit.kind = TABLE_CA;
		break;
	case ITEM_CERT:
	case ITEM_SNI:
		unit.kind = TABLE_CERTIFICATE;
		if (strchr(unit.key, '/'))
			unit.key = strchr(unit.key, '/') + 1;
		break;
	default:
		/* Shared by everybody who wants the same: it has no owner of its own. */
		unit.kind = TABLE_RULE;
	}
	return unit;
}

static void on_applied(void *ctx, uint64_t generation, const struct sync_refusal *refusals, size_t n)
{
	struct haproxy *haproxy = ctx;
	struct arena arena;
	size_t n_render;
	const struct haproxy_refusal *render = render_refusals(haproxy->render, &n_render);
	struct haproxy_refusal *all = xcalloc(n + n_render, sizeof(*all));

	arena_init(&arena);
	for (size_t i = 0; i < n; i++)
		all[i] = unit_refusal(&arena, &refusals[i]);
	for (size_t i = 0; i < n_render; i++)
		all[n + i] = render[i];
	haproxy->events.applied(haproxy->events.ctx, generation, all, n + n_render);
	free(all);
	arena_done(&arena);
}

static void on_state(void *ctx, enum haproxy_state state, const char *text)
{
	struct haproxy *haproxy = ctx;

	haproxy->events.state(haproxy->events.ctx, state, text);
}

/* ---- configuration ---- */

static uint64_t fd_limit(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) ? 1024 : (uint64_t)limit.rlim_max;
}

static char *make_config(void *ctx, const struct config_bind *binds, size_t n)
{
	const struct settings *settings = ctx;
	struct buf text;

	buf_init(&text, (size_t)16 << 20);
	config_render(&(struct config_input){.binds = binds, .n_binds = n, .instance = settings->instance,
	                                     .fd_limit = settings->adopt ? 0 : fd_limit(), .threads = settings->threads,
	                                     .ipv6 = !access("/proc/net/if_inet6", R_OK),
	                                     .root = !settings->adopt && geteuid() == 0}, &text);
	BUG_ON(buf_failed(&text));
	return buf_take(&text);
}

static char *on_config(void *ctx, const struct config_bind *binds, size_t n)
{
	struct haproxy *haproxy = ctx;

	return make_config(&haproxy->settings, binds, n);
}

static struct settings make_settings(const struct haproxy_options *options)
{
	struct settings settings = {.threads = options->threads, .adopt = !options->binary};

	/* The same for every controller of this directory: the sockets it names are part of the configuration. */
	snprintf(settings.instance, sizeof(settings.instance), "%.12s",
	         digest_of(options->state_dir, strlen(options->state_dir)).text);
	return settings;
}

static struct sync_options make_options(const struct haproxy_options *options, const struct sync_file *lua)
{
	return (struct sync_options){.state_dir = options->state_dir, .binary = options->binary,
	                             .pool_base = options->pool_base, .pool_size = options->pool_size,
	                             .stop_on_exit = options->stop_on_exit, .files = lua, .n_files = 1};
}

/* ---- the contract ---- */

static void haproxy_free(struct haproxy *haproxy)
{
	render_free(haproxy->render);
	image_free(haproxy->wanted);
	table_free(haproxy->listeners);
	free(haproxy);
}

int haproxy_init(const struct haproxy_options *options, struct err *reterr)
{
	const struct sync_file lua = {"hatchway.lua", config_lua};
	struct settings settings = make_settings(options);
	struct sync_options sync_options = make_options(options, &lua);

	return first_write(&sync_options, &(struct sync_events){.config = make_config, .ctx = &settings}, reterr);
}

int haproxy_open(uv_loop_t *loop, const struct haproxy_options *options, const struct haproxy_events *events,
                 struct haproxy **ret, struct err *reterr)
{
	const struct sync_file lua = {"hatchway.lua", config_lua};
	struct haproxy *haproxy = xcalloc(1, sizeof(*haproxy));
	struct sync_options sync_options = make_options(options, &lua);

	haproxy->events = *events;
	haproxy->settings = make_settings(options);
	haproxy->render = render_new();
	haproxy->wanted = image_new();
	haproxy->listeners = table_new();
	render_set_instance(haproxy->render, haproxy->settings.instance);
	int r = sync_open(loop, &sync_options, &(struct sync_events){on_applied, on_state, on_config, haproxy}, haproxy->wanted,
	                  &haproxy->sync, reterr);
	if (r) {
		haproxy_free(haproxy);
		return r;
	}
	haproxy->hops = hops_open(loop, haproxy->settings.instance);
	*ret = haproxy;
	return 0;
}

static bool take_listeners(struct haproxy *haproxy, const struct table_changes *changes)
{
	bool any = false;

	for (size_t i = 0; i < changes->n; i++) {
		const struct table_change *change = &changes->list[i];
		const struct table_unit *unit = change->new ? change->new : change->old;
		if (unit->kind != TABLE_LISTENER)
			continue;
		any = true;
		if (change->new)
			table_put(haproxy->listeners, table_unit_ref(change->new));
		else
			table_delete(haproxy->listeners, TABLE_LISTENER, unit->key);
	}
	return any;
}

void haproxy_submit(struct haproxy *haproxy, const struct table_changes *changes, uint64_t generation)
{
	struct sync_bind *binds = NULL;
	size_t n = 0;

	if (take_listeners(haproxy, changes) || !haproxy->submitted) {
		struct table_unit **units = table_sorted(haproxy->listeners, TABLE_LISTENER, &n);
		binds = xcalloc(n, sizeof(*binds));
		for (size_t i = 0; i < n; i++) {
			const struct table_listener *listener = table_listener(haproxy->listeners, units[i]->key);
			binds[i] = (struct sync_bind){units[i]->key, listener->bind_address, listener->bind_port,
			                              listener->sni != NULL};
		}
		free(units);
	}
	haproxy->submitted = true;
	hops_submit(haproxy->hops, changes);
	render_apply(haproxy->render, changes->list, changes->n, haproxy->wanted);
	sync_submit(haproxy->sync, generation, binds, n);
	free(binds);
}

struct haproxy_counters haproxy_counters(const struct haproxy *haproxy)
{
	return sync_counters(haproxy->sync);
}

static void on_closed(void *ctx)
{
	struct haproxy *haproxy = ctx;
	void (*cb)(void *) = haproxy->close_cb;
	void *cb_ctx = haproxy->close_ctx;

	haproxy_free(haproxy);
	cb(cb_ctx);
}

static void on_hops_closed(void *ctx)
{
	struct haproxy *haproxy = ctx;

	sync_close(haproxy->sync, on_closed, haproxy);
}

void haproxy_close(struct haproxy *haproxy, void (*cb)(void *ctx), void *ctx)
{
	haproxy->close_cb = cb;
	haproxy->close_ctx = ctx;
	hops_close(haproxy->hops, on_hops_closed, haproxy);
}

/* ---- offline ---- */

/* Into an empty image, by a render that the caller frees. */
static struct image *render_table(const struct table *table, struct render *render)
{
	struct table *nothing = table_new();
	struct table_changes changes = {0};
	struct image *image = image_new();

	table_diff(nothing, table, &changes);
	render_apply(render, changes.list, changes.n, image);
	table_changes_done(&changes);
	table_free(nothing);
	return image;
}

void haproxy_check(const struct table *table, void (*cb)(void *ctx, const struct haproxy_refusal *refusals, size_t n), void *ctx)
{
	struct render *render = render_new();
	struct image *image = render_table(table, render);
	size_t n;
	const struct haproxy_refusal *refusals = render_refusals(render, &n);

	cb(ctx, refusals, n);
	render_free(render);
	image_free(image);
}

void haproxy_dump_image(const struct table *table, struct buf *out)
{
	struct render *render = render_new();
	struct image *image = render_table(table, render);

	image_dump(image, out);
	render_free(render);
	image_free(image);
}

void haproxy_dump_plan(const struct table *table, struct buf *out)
{
	struct render *render = render_new();
	struct image *wanted = render_table(table, render), *held = image_new();
	struct plan plan;

	plan_init(&plan);
	plan_build(&plan, held, wanted, NULL, 0);
	plan_dump(&plan, out);
	plan_done(&plan);
	render_free(render);
	image_free(held);
	image_free(wanted);
}
