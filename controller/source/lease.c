/* Owns the try that is under way and the clocks between tries:
 *
 *   GET → ours, free or run out: PATCH (404: POST) → leader → … wait, GET again
 *
 * Every try begins with a GET, and its PATCH names the resourceVersion that was read: two who try at once cannot both win.
 * A try that fails changes nothing until the renewal has been missing for renew_ms. */
#include "controller/source/lease.h"

#include "controller/object/json_write.h"
#include "controller/object/schema.h"
#include "controller/source/back_off.h"
#include "controller/source/json.h"
#include "hatchway/base/log.h"

#define ANSWER_CEILING (1u << 20)
#define RELEASE_MS 2000 /* the end waits for a server's answer no longer */
#define PATH_CEILING 1024

struct lease {
	uv_loop_t *loop;
	struct kube_client *client;
	struct lease_options options;
	void (*changed)(void *ctx, bool leader);
	void *ctx;
	uv_timer_t retry, deadline;
	struct kube_request *request;
	struct buf answer;
	char path[PATH_CEILING];            /* of all leases of the namespace */
	char holder[256], version[64];      /* as read last; version: resourceVersion */
	int64_t transitions;
	char seen_renewal[64];              /* renewTime and holder that we saw first at seen_at_ms */
	char seen_holder[256];
	uint64_t seen_at_ms;
	uint64_t duration_ms;               /* the holder's */
	uint64_t tried_at_ms;
	bool leader, failing;
	unsigned handles;
	void (*closed)(void *ctx);          /* set: it ends */
	void *closed_ctx;
};

static void try(struct lease *lease);

void lease_time(int64_t seconds, unsigned microseconds, char *ret)
{
	time_t time = (time_t)seconds;
	struct tm tm;
	char text[24] = "";
	if (gmtime_r(&time, &tm))
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(ret, 32, "%s.%06uZ", text, microseconds % 1000000);
}

/* ---- what changes ---- */

static void set_leader(struct lease *lease, bool leader)
{
	if (leader == lease->leader || lease->closed)
		return;
	lease->leader = leader;
	log_line(LOG_INFO, leader ? "leads" : "does not lead", "identity", lease->options.identity, "holder", lease->holder, NULL);
	lease->changed(lease->ctx, leader);
}

static void on_deadline(uv_timer_t *timer)
{
	struct lease *lease = timer->data;
	log_line(LOG_WARN, "lease not renewed in time", "identity", lease->options.identity, NULL);
	set_leader(lease, false);
}

static void on_retry(uv_timer_t *timer)
{
	struct lease *lease = timer->data;
	try(lease);
}

/* A bit more or less, so that candidates do not all come at once. */
static void wait(struct lease *lease)
{
	unsigned ms = lease->options.retry_ms;
	if (!lease->closed)
		uv_timer_start(&lease->retry, on_retry, lease->leader ? ms : ms - ms / 5 + random_number() % (ms / 5 * 2 + 1), 0);
}

/* The lease is ours since before the try: others count from when they see it, which is later. */
static void won(struct lease *lease)
{
	uint64_t spent = uv_now(lease->loop) - lease->tried_at_ms;
	lease->failing = false;
	if (spent >= lease->options.renew_ms) {
		set_leader(lease, false);
		return;
	}
	uv_timer_start(&lease->deadline, on_deadline, lease->options.renew_ms - spent, 0);
	snprintf(lease->holder, sizeof(lease->holder), "%s", lease->options.identity);
	set_leader(lease, true);
}

/* Somebody else has it. */
static void lost(struct lease *lease)
{
	lease->failing = false;
	uv_timer_stop(&lease->deadline);
	set_leader(lease, false);
}

static void failed(struct lease *lease, const char *why)
{
	log_line(lease->failing ? LOG_DEBUG : LOG_WARN, "lease not reached", "namespace", lease->options.namespace, "name",
	         lease->options.name, "error", why, NULL);
	lease->failing = true;
}

/* ---- writing it ---- */

static void write_spec(const struct lease *lease, bool release, struct buf *out)
{
	uv_timeval64_t now;
	char time[32];
	BUG_ON(uv_gettimeofday(&now));
	lease_time(now.tv_sec, (unsigned)now.tv_usec, time);
	bool mine = !strcmp(lease->holder, lease->options.identity);
	buf_adds(out, "\"spec\":{\"holderIdentity\":");
	json_write_text(out, release ? "" : lease->options.identity);
	buf_addf(out, ",\"leaseDurationSeconds\":%u,\"renewTime\":\"%s\"", release ? 1 : lease->options.duration_ms / 1000, time);
	if (!mine || release)
		buf_addf(out, ",\"acquireTime\":\"%s\"", time);
	buf_addf(out, ",\"leaseTransitions\":%lld}", (long long)lease->transitions + (!mine && *lease->version));
}

static void on_written(void *ctx, const struct kube_result *result)
{
	struct lease *lease = ctx;
	lease->request = NULL;
	if (!result->error && result->status < 300)
		won(lease);
	else if (result->error || result->status != 409) /* else another was faster: it is read next time */
		failed(lease, result->text);
	wait(lease);
}

static void send_write(struct lease *lease, bool release, unsigned ms, void (*end)(void *ctx, const struct kube_result *))
{
	const struct kube_deadlines deadlines = kube_within(ms);
	const struct kube_request_events events = {NULL, NULL, end, lease};
	struct buf path, body;
	bool create = !*lease->version;
	buf_init(&path, 2 * PATH_CEILING);
	buf_init(&body, 4096);
	buf_addf(&path, create ? "%s" : "%s/%s", lease->path, lease->options.name);
	if (create)
		buf_adds(&body, "{\"apiVersion\":\"coordination.k8s.io/v1\",\"kind\":\"Lease\",\"metadata\":{\"name\":");
	else
		buf_adds(&body, "{\"metadata\":{\"resourceVersion\":");
	json_write_text(&body, create ? lease->options.name : lease->version);
	buf_adds(&body, "},");
	write_spec(lease, release, &body);
	buf_addc(&body, '}');
	lease->request = kube_send(lease->client, create ? "POST" : "PATCH", path.data,
	                           create ? "application/json" : "application/merge-patch+json", body.data, body.len,
	                           &deadlines, &events);
	buf_done(&path);
	buf_done(&body);
}

/* ---- reading it ---- */

static void copy_text(char *ret, size_t size, const struct node *map, const char *key)
{
	const char *text = node_text(map, key);
	snprintf(ret, size, "%s", text ? text : "");
}

/* False: no lease. */
static bool read_answer(struct lease *lease)
{
	struct arena scratch;
	struct node *root;
	struct err err;
	char renewal[sizeof(lease->seen_renewal)];
	arena_init(&scratch);
	bool good = !json_node(lease->answer.data, lease->answer.len, &scratch, &root, &err);
	if (good) {
		const struct node *spec = node_get(root, "spec");
		copy_text(lease->version, sizeof(lease->version), node_get(root, "metadata"), "resourceVersion");
		copy_text(lease->holder, sizeof(lease->holder), spec, "holderIdentity");
		copy_text(renewal, sizeof(renewal), spec, "renewTime");
		lease->transitions = node_integer(spec, "leaseTransitions", 0);
		int64_t seconds = node_integer(spec, "leaseDurationSeconds", 0);
		lease->duration_ms = seconds > 0 && seconds < 86400 ? (uint64_t)seconds * 1000 : lease->options.duration_ms;
		if (strcmp(renewal, lease->seen_renewal) || strcmp(lease->holder, lease->seen_holder)) {
			strcpy(lease->seen_renewal, renewal);
			strcpy(lease->seen_holder, lease->holder);
			lease->seen_at_ms = uv_now(lease->loop);
		}
	}
	arena_done(&scratch);
	return good;
}

static void on_read(void *ctx, const struct kube_result *result)
{
	struct lease *lease = ctx;
	lease->request = NULL;
	if (!result->error && result->status == 404) {
		*lease->version = *lease->holder = 0;
		lease->transitions = 0;
		send_write(lease, false, lease->options.retry_ms, on_written);
		return;
	}
	if (result->error || result->status != 200 || !read_answer(lease)) {
		failed(lease, result->text);
		wait(lease);
		return;
	}
	bool mine = !strcmp(lease->holder, lease->options.identity);
	if (mine || !*lease->holder || uv_now(lease->loop) - lease->seen_at_ms >= lease->duration_ms) {
		send_write(lease, false, lease->options.retry_ms, on_written);
		return;
	}
	lost(lease);
	wait(lease);
}

static bool on_bytes(void *ctx, const char *bytes, size_t n)
{
	struct lease *lease = ctx;
	buf_add(&lease->answer, bytes, n);
	return !buf_failed(&lease->answer);
}

static void send_read(struct lease *lease, unsigned ms, void (*end)(void *ctx, const struct kube_result *))
{
	const struct kube_deadlines deadlines = kube_within(ms);
	const struct kube_request_events events = {NULL, on_bytes, end, lease};
	char path[2 * PATH_CEILING];
	buf_clear(&lease->answer);
	snprintf(path, sizeof(path), "%s/%s", lease->path, lease->options.name);
	lease->request = kube_get(lease->client, path, &deadlines, &events);
}

static void try(struct lease *lease)
{
	lease->tried_at_ms = uv_now(lease->loop);
	send_read(lease, lease->options.retry_ms, on_read);
}

/* ---- beginning and end ---- */

struct lease_options lease_defaults(void)
{
	return (struct lease_options){.duration_ms = 15000, .renew_ms = 10000, .retry_ms = 2000};
}

struct lease *lease_open(uv_loop_t *loop, struct kube_client *client, const struct lease_options *options,
                         void (*changed)(void *ctx, bool leader), void *ctx)
{
	struct lease *lease = xcalloc(1, sizeof(*lease));
	lease->loop = loop;
	lease->client = client;
	lease->options = *options;
	lease->changed = changed;
	lease->ctx = ctx;
	snprintf(lease->path, sizeof(lease->path), "/apis/coordination.k8s.io/v1/namespaces/%s/leases", options->namespace);
	buf_init(&lease->answer, ANSWER_CEILING);
	uv_timer_init(loop, &lease->retry);
	uv_timer_init(loop, &lease->deadline);
	lease->retry.data = lease->deadline.data = lease;
	lease->handles = 2;
	try(lease);
	return lease;
}

static void on_closed(uv_handle_t *handle)
{
	struct lease *lease = handle->data;
	void (*closed)(void *ctx) = lease->closed;
	void *ctx = lease->closed_ctx;
	if (--lease->handles)
		return;
	buf_done(&lease->answer);
	free(lease);
	closed(ctx);
}

static void close_handles(struct lease *lease)
{
	uv_close((uv_handle_t *)&lease->retry, on_closed);
	uv_close((uv_handle_t *)&lease->deadline, on_closed);
}

static void on_released(void *ctx, const struct kube_result *result)
{
	struct lease *lease = ctx;
	lease->request = NULL;
	if (result->error || result->status >= 300)
		failed(lease, result->text);
	close_handles(lease);
}

/* What was written last may have another resourceVersion than was read: it is read once more, and then given up. */
static void on_last_read(void *ctx, const struct kube_result *result)
{
	struct lease *lease = ctx;
	lease->request = NULL;
	if (!result->error && result->status == 200 && read_answer(lease) && !strcmp(lease->holder, lease->options.identity))
		send_write(lease, true, RELEASE_MS / 2, on_released);
	else
		close_handles(lease);
}

void lease_close(struct lease *lease, void (*cb)(void *ctx), void *ctx)
{
	lease->closed = cb;
	lease->closed_ctx = ctx;
	if (lease->request)
		kube_cancel(lease->request);
	lease->request = NULL;
	uv_timer_stop(&lease->retry);
	uv_timer_stop(&lease->deadline);
	/* Also when we do not lead: a PATCH that was just cancelled may have been carried out. */
	send_read(lease, RELEASE_MS / 2, on_last_read);
}

const char *lease_holder(const struct lease *lease)
{
	return lease->holder;
}
