/* Owns the rounds of questions: GET /apis/GROUP says the versions, GET /apis/GROUP/VERSION the kinds, an annotation of a
 * CRD the release. Only the groups of CRDs are asked for; the other kinds are part of every Kubernetes. */
#include "controller/source/discovery.h"

#include "controller/object/schema.h"
#include "controller/source/json.h"
#include "hatchway/base/log.h"

#define ANSWER_CEILING (1u << 20)
#define AGAIN_MS 500     /* an absence is looked at again after this */
#define ABSENCES_FIRST 2 /* that many in a row: it is not served */
#define ABSENCES_LATER 5 /* what was served: its objects are going to be dropped */

static const char *const versions[] = {"v1", "v1beta1", "v1alpha1"}; /* the better one first */

/* hatchway's own kinds may be missing for good, as may those that are younger than the rest; the Gateway API is waited for. */
enum { GATEWAY_API, OPTIONAL };
static const char *const groups[] = {"gateway.networking.k8s.io", "hatchway.dev"};

#define RELEASE_CRD "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gatewayclasses.gateway.networking.k8s.io"
#define RELEASE "\"gateway.networking.k8s.io/bundle-version\":"
#define CHANNEL "\"gateway.networking.k8s.io/channel\":"
#define RELEASE_CEILING 64

struct finding {
	const char *version; /* one of versions; NULL: not served */
	char plural[64];
};

struct discovery {
	struct kube_client *client;
	struct discovery_times times;
	struct discovery_events events;
	uv_timer_t timer;
	struct kube_request *request;
	struct buf answer;
	size_t group; /* asked for: of groups */
	size_t at; /* 0: the group, i: versions[i - 1] */
	bool has[ARRAY_LEN(versions)];
	struct finding found[KIND_COUNT], told[KIND_COUNT];
	unsigned absences[KIND_COUNT]; /* rounds in a row that did not find it */
	bool known[KIND_COUNT];        /* told at least once */
	char release[RELEASE_CEILING], why_not[256];
	bool release_told, experimental;
	bool again, failing;
	unsigned silences; /* in a row */
	void (*closed)(void *ctx);
	void *closed_ctx;
};

static bool is_of(enum object_kind kind, size_t group)
{
	return !strcmp(object_kind_group(kind), groups[group]);
}

static bool is_optional(enum object_kind kind)
{
	return is_of(kind, OPTIONAL) || kind == KIND_BACKENDTLSPOLICY || kind == KIND_LISTENERSET;
}

static bool is_ours(enum object_kind kind)
{
	return is_of(kind, GATEWAY_API) || is_of(kind, OPTIONAL);
}

static void ask(struct discovery *discovery);

static void on_timer(uv_timer_t *timer)
{
	ask(timer->data);
}

static void ask_in(struct discovery *discovery, uint64_t ms)
{
	uv_timer_start(&discovery->timer, on_timer, ms, 0);
}

/* ---- what a round has found ---- */

static void tell(struct discovery *discovery, enum object_kind kind)
{
	const struct finding *found = &discovery->found[kind];
	struct finding *told = &discovery->told[kind];
	if (discovery->known[kind] && found->version == told->version && !strcmp(found->plural, told->plural))
		return;
	discovery->known[kind] = true;
	*told = *found;
	discovery->events.served(discovery->events.ctx, kind, told->version, told->plural);
}

/* So many answers in a row without it until it is told. A server that knows the Gateway API knows its CRDs. */
static unsigned absences_needed(const struct discovery *discovery, enum object_kind kind)
{
	if (discovery->told[kind].version)
		return ABSENCES_LATER;
	return is_optional(kind) && discovery->found[KIND_GATEWAY].version ? 1 : ABSENCES_FIRST;
}

static void end_round(struct discovery *discovery)
{
	uint64_t ms = discovery->times.poll_ms;
	for (enum object_kind kind = 0; kind < KIND_COUNT; kind++) {
		if (!is_ours(kind))
			continue;
		bool absent = !discovery->found[kind].version;
		unsigned *absences = &discovery->absences[kind];
		*absences = absent ? *absences + (*absences < ABSENCES_LATER) : 0;
		if (absent && !is_optional(kind) && ms > discovery->times.missing_ms)
			ms = discovery->times.missing_ms;
		if (!absent || *absences >= absences_needed(discovery, kind))
			tell(discovery, kind);
		else if (ms > AGAIN_MS)
			ms = AGAIN_MS;
	}
	if (discovery->again)
		ms = AGAIN_MS;
	discovery->again = false;
	ask_in(discovery, ms);
}

/* ---- the release ---- */

static void tell_release(struct discovery *discovery, const char *release, bool experimental, const char *why_not)
{
	if (discovery->release_told && !strcmp(release, discovery->release) && experimental == discovery->experimental &&
	    !strcmp(why_not, discovery->why_not))
		return;
	discovery->release_told = true;
	discovery->experimental = experimental;
	snprintf(discovery->release, sizeof(discovery->release), "%s", release);
	snprintf(discovery->why_not, sizeof(discovery->why_not), "%s", why_not);
	discovery->events.release(discovery->events.ctx, *release ? discovery->release : NULL, experimental,
	                          discovery->why_not);
}

/* One annotation of many: not worth a tree. The same inside another text has its quotes escaped. */
static void read_annotation(const struct discovery *discovery, const char *name, char ret[RELEASE_CEILING])
{
	const char *at = strstr(discovery->answer.data, name);
	*ret = 0;
	if (at)
		at += strlen(name) + strspn(at + strlen(name), " ");
	if (at && *at == '"' && strspn(at + 1, "v0123456789.-abcdefghijklmnopqrstuvwxyz") < RELEASE_CEILING)
		snprintf(ret, RELEASE_CEILING, "%.*s", (int)strcspn(at + 1, "\""), at + 1);
}

static void read_release(struct discovery *discovery)
{
	char release[RELEASE_CEILING], channel[RELEASE_CEILING];
	read_annotation(discovery, RELEASE, release);
	read_annotation(discovery, CHANNEL, channel);
	tell_release(discovery, release, !strcmp(channel, "experimental"), *release ? "" : "the CRDs do not say their version");
}

/* ---- what is served ---- */

static void read_group(struct discovery *discovery, const struct node *root)
{
	const struct node *list = node_get(root, "versions");
	for (size_t i = 0; list && list->type == NODE_LIST && i < list->n; i++)
		for (size_t k = 0; k < ARRAY_LEN(versions); k++)
			if (node_is(list->items[i], "version", versions[k]))
				discovery->has[k] = true;
}

static bool has_verb(const struct node *resource, const char *verb)
{
	const struct node *verbs = node_get(resource, "verbs");
	for (size_t i = 0; verbs && verbs->type == NODE_LIST && i < verbs->n; i++)
		if (verbs->items[i]->type == NODE_STRING && !strcmp(verbs->items[i]->text, verb))
			return true;
	return false;
}

/* The plural becomes part of URLs: letters only, as the API server itself demands (RFC 1035). */
static bool good_plural(const char *plural)
{
	size_t n = plural ? strspn(plural, "abcdefghijklmnopqrstuvwxyz0123456789-") : 0;
	return n && n < sizeof(((struct finding *)0)->plural) && !plural[n];
}

static void read_resources(struct discovery *discovery, const struct node *root, const char *version)
{
	const struct node *list = node_get(root, "resources");
	for (size_t i = 0; list && list->type == NODE_LIST && i < list->n; i++) {
		const char *name = node_text(list->items[i], "name");
		if (!good_plural(name) || !has_verb(list->items[i], "list") || !has_verb(list->items[i], "watch"))
			continue;
		for (enum object_kind kind = 0; kind < KIND_COUNT; kind++) {
			struct finding *found = &discovery->found[kind];
			if (!is_of(kind, discovery->group) || found->version ||
			    !node_is(list->items[i], "kind", object_kind_name(kind)))
				continue;
			found->version = version;
			strcpy(found->plural, name);
		}
	}
}

/* ---- questions ---- */

static bool on_bytes(void *ctx, const char *bytes, size_t n)
{
	struct discovery *discovery = ctx;
	buf_add(&discovery->answer, bytes, n);
	return !buf_failed(&discovery->answer);
}

static void next_question(struct discovery *discovery);

static void on_failure(struct discovery *discovery, const struct kube_result *result)
{
	if (!discovery->failing)
		log_line(LOG_WARN, "API server does not say what it serves", "error", result->text, NULL);
	discovery->failing = true;
	ask_in(discovery, result->retry_after_ms ? result->retry_after_ms : discovery->times.missing_ms);
	/* A busy server may be late once. */
	discovery->silences = result->error == -ETIMEDOUT ? discovery->silences + 1 : 0;
	if (discovery->silences > 1)
		discovery->events.silent(discovery->events.ctx, result->text);
}

/* Who may not read CRDs need not. */
static void on_release_end(void *ctx, const struct kube_result *result)
{
	struct discovery *discovery = ctx;
	discovery->request = NULL;
	if (result->error || (result->status != 200 && result->status != 403 && result->status != 404)) {
		on_failure(discovery, result);
		return;
	}
	if (result->status == 200)
		read_release(discovery);
	else
		tell_release(discovery, "", false, result->text);
	end_round(discovery);
}

static void on_end(void *ctx, const struct kube_result *result)
{
	struct discovery *discovery = ctx;
	struct arena scratch;
	struct node *root;
	struct err err;
	discovery->request = NULL;
	if (result->error || (result->status != 200 && result->status != 404)) {
		on_failure(discovery, result);
		return;
	}
	arena_init(&scratch);
	if (result->status == 200) {
		if (json_node(discovery->answer.data, discovery->answer.len, &scratch, &root, &err)) {
			const struct kube_result bad = {.error = -EINVAL, .text = err.text};
			arena_done(&scratch);
			on_failure(discovery, &bad);
			return;
		}
		if (!discovery->at)
			read_group(discovery, root);
		else
			read_resources(discovery, root, versions[discovery->at - 1]);
	}
	arena_done(&scratch);
	if (discovery->failing)
		log_line(LOG_INFO, "API server says again what it serves", NULL);
	discovery->failing = false;
	discovery->silences = 0;
	discovery->at++;
	next_question(discovery);
}

static void next_question(struct discovery *discovery)
{
	const struct kube_deadlines deadlines = kube_within(discovery->times.answer_ms);
	const struct kube_request_events events = {NULL, on_bytes, on_end, discovery};
	char path[128];
	while (discovery->at && discovery->at <= ARRAY_LEN(versions) && !discovery->has[discovery->at - 1])
		discovery->at++;
	buf_clear(&discovery->answer);
	if (discovery->at > ARRAY_LEN(versions)) {
		discovery->at = 0;
		discovery->group++;
		memset(discovery->has, 0, sizeof(discovery->has));
	}
	if (discovery->group == ARRAY_LEN(groups) && discovery->found[KIND_GATEWAYCLASS].version) {
		const struct kube_request_events release_events = {NULL, on_bytes, on_release_end, discovery};
		discovery->request = kube_get_metadata(discovery->client, RELEASE_CRD, &deadlines, &release_events);
		return;
	}
	if (discovery->group == ARRAY_LEN(groups)) {
		end_round(discovery);
		return;
	}
	snprintf(path, sizeof(path), "/apis/%s%s%s", groups[discovery->group], discovery->at ? "/" : "",
	         discovery->at ? versions[discovery->at - 1] : "");
	discovery->request = kube_get(discovery->client, path, &deadlines, &events);
}

static void ask(struct discovery *discovery)
{
	discovery->at = discovery->group = 0;
	memset(discovery->has, 0, sizeof(discovery->has));
	memset(discovery->found, 0, sizeof(discovery->found));
	next_question(discovery);
}

void discovery_now(struct discovery *discovery)
{
	if (discovery->request)
		discovery->again = true;
	else if (uv_timer_get_due_in(&discovery->timer) > AGAIN_MS)
		ask_in(discovery, 0);
}

/* ---- beginning and end ---- */

struct discovery *discovery_open(uv_loop_t *loop, struct kube_client *client, const struct discovery_times *times,
                                 const struct discovery_events *events)
{
	struct discovery *discovery = xcalloc(1, sizeof(*discovery));
	discovery->client = client;
	discovery->times = *times;
	discovery->events = *events;
	buf_init(&discovery->answer, ANSWER_CEILING);
	uv_timer_init(loop, &discovery->timer);
	discovery->timer.data = discovery;
	ask_in(discovery, 0);
	return discovery;
}

static void on_closed(uv_handle_t *handle)
{
	struct discovery *discovery = handle->data;
	void (*closed)(void *ctx) = discovery->closed;
	void *ctx = discovery->closed_ctx;
	buf_done(&discovery->answer);
	free(discovery);
	closed(ctx);
}

void discovery_close(struct discovery *discovery, void (*cb)(void *ctx), void *ctx)
{
	discovery->closed = cb;
	discovery->closed_ctx = ctx;
	if (discovery->request)
		kube_cancel(discovery->request);
	discovery->request = NULL;
	uv_close((uv_handle_t *)&discovery->timer, on_closed);
}
