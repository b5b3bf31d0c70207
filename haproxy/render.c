/* Table units → wanted items. Owns the reverse indexes and references to the units; reads nothing else, never talks.
 *
 * A node stands for a unit's key, also when only referenced. `unit` is what the table says, `shown` what the image
 * shows; a node in the dirty list may have them differ. One apply goes rules → backends → hosts: a rule decides
 * which backends are used, and its reference is what hosts show. */
#include "haproxy/render.h"

#include "haproxy/chain.h"
#include "haproxy/config.h"
#include "haproxy/encode.h"
#include "haproxy/rule.h"
#include "haproxy/weights.h"
#include "hatchway/base/hash.h"

/* A small list of nodes with repeats. One alone needs no array: most rules have one host. */
struct links {
	union {
		struct node *one; /* cap 0 */
		struct node **list;
	};
	uint32_t n, cap;
};

struct node {
	struct table_unit *unit, *shown;
	struct links users; /* rule: its hosts, once per entry; backend: rules whose weights depend on it */
	union {
		struct {
			char *reference; /* NULL: "!500", or a plain rule's backend */
			union {
				struct node *only;       /* simple: the one backend it names, if that is all it holds */
				struct backing *backing; /* else; NULL: nothing */
			};
		} rule;
		struct {
			uint32_t uses; /* by references and draws that name it */
			bool made;     /* the image has the backend */
		} backend;
		struct {
			struct digest *items; /* chains, then regexes, that it holds */
			uint32_t n_chains, n_items;
		} host;
	};
	uint32_t hash;
	uint8_t kind;
	bool dirty, refused;
	bool simple : 1, plain : 1; /* rule: see above; its reference is its only backend's name */
	bool listed : 1;            /* listener: the image has what it shows */
	char key[];
};

/* Open addressing with linear probing: there are three nodes for a route. */
struct nodes {
	struct node **slots; /* NULL: free */
	size_t n, n_slots;   /* n_slots: a power of two, or 0 */
};

struct dirty {
	struct node **list;
	size_t n, cap;
};

/* What a rule holds in the image besides its properties. */
struct backing {
	struct node **used; /* backends it names */
	uint32_t n_used;
	struct digest *edits; /* properties of single references: ids in the image */
	uint32_t n_edits;
	char *split;        /* name of its own backend, or NULL */
	char **servers;     /* of the split: full keys */
	uint32_t n_servers;
};

struct render {
	struct nodes nodes[TABLE_KINDS];
	struct dirty dirty[TABLE_KINDS];
	struct haproxy_refusal *refusals;
	size_t n_refusals, cap_refusals;
	char error_500[64], error_503[64], instance[41];
	struct image *wanted;
	struct arena scratch;
};

/* ---- links ---- */

static struct node *const *links_list(const struct links *links)
{
	return links->cap ? links->list : &links->one;
}

static void links_add(struct links *links, struct node *node)
{
	if (!links->n && !links->cap) {
		links->one = node;
		links->n = 1;
		return;
	}
	if (links->n >= links->cap) {
		uint32_t cap = links->cap ? links->cap * 2 : 4;
		struct node **list = xcalloc(cap, sizeof(*list));
		memcpy(list, links_list(links), links->n * sizeof(*list));
		if (links->cap)
			free(links->list);
		links->list = list;
		links->cap = cap;
	}
	links->list[links->n++] = node;
}

static void links_done(struct links *links)
{
	if (links->cap)
		free(links->list);
	*links = (struct links){0};
}

static void links_drop(struct links *links, const struct node *node)
{
	struct node *const *list = links_list(links);
	uint32_t i = links->n;
	while (i && list[i - 1] != node)
		i--;
	BUG_ON(!i);
	if (!--links->n)
		links_done(links);
	else
		links->list[i - 1] = links->list[links->n];
}

/* ---- nodes ---- */

static struct node **node_slot(const struct nodes *nodes, const char *key, uint32_t hash)
{
	size_t mask = nodes->n_slots - 1;
	for (size_t i = hash & mask;; i = (i + 1) & mask) {
		struct node *node = nodes->slots[i];
		if (!node || (node->hash == hash && !strcmp(node->key, key)))
			return &nodes->slots[i];
	}
}

static uint32_t key_hash(const char *key)
{
	return (uint32_t)hash_bytes(key, strlen(key), 0);
}

static struct node *node_find(const struct render *render, enum table_kind kind, const char *key)
{
	const struct nodes *nodes = &render->nodes[kind];
	return nodes->n_slots ? *node_slot(nodes, key, key_hash(key)) : NULL;
}

static void nodes_grow(struct nodes *nodes)
{
	struct nodes old = *nodes;
	nodes->n_slots = old.n_slots ? old.n_slots * 2 : 64;
	nodes->slots = xcalloc(nodes->n_slots, sizeof(*nodes->slots));
	for (size_t i = 0; i < old.n_slots; i++)
		if (old.slots[i])
			*node_slot(nodes, old.slots[i]->key, old.slots[i]->hash) = old.slots[i];
	free(old.slots);
}

static struct node *node_get(struct render *render, enum table_kind kind, const char *key)
{
	struct nodes *nodes = &render->nodes[kind];
	struct node *node = node_find(render, kind, key);
	if (node)
		return node;
	if ((nodes->n + 1) * 4 > nodes->n_slots * 3)
		nodes_grow(nodes);
	size_t n = strlen(key);
	node = xcalloc(1, sizeof(*node) + n + 1);
	node->kind = (uint8_t)kind;
	node->hash = key_hash(key);
	memcpy(node->key, key, n + 1);
	*node_slot(nodes, key, node->hash) = node;
	nodes->n++;
	return node;
}

/* Whoever stands behind the hole and belongs before it moves up. */
static void node_forget(struct nodes *nodes, const struct node *node)
{
	size_t mask = nodes->n_slots - 1, hole = (size_t)(node_slot(nodes, node->key, node->hash) - nodes->slots);
	for (size_t i = (hole + 1) & mask; nodes->slots[i]; i = (i + 1) & mask) {
		size_t home = nodes->slots[i]->hash & mask;
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			nodes->slots[hole] = nodes->slots[i];
			hole = i;
		}
	}
	nodes->slots[hole] = NULL;
	nodes->n--;
}

static void node_mark(struct render *render, struct node *node)
{
	struct dirty *dirty = &render->dirty[node->kind];
	if (node->dirty)
		return;
	node->dirty = true;
	if (dirty->n == dirty->cap) {
		dirty->cap = dirty->cap ? dirty->cap * 2 : 16;
		dirty->list = xrealloc(dirty->list, dirty->cap * sizeof(*dirty->list));
	}
	dirty->list[dirty->n++] = node;
}

static struct node *pop_dirty(struct render *render, enum table_kind kind)
{
	struct dirty *dirty = &render->dirty[kind];
	if (!dirty->n) {
		free(dirty->list);
		*dirty = (struct dirty){0};
		return NULL;
	}
	struct node *node = dirty->list[--dirty->n];
	node->dirty = false;
	return node;
}

static void mark_users(struct render *render, const struct node *node)
{
	for (uint32_t i = 0; i < node->users.n; i++)
		node_mark(render, links_list(&node->users)[i]);
}

static void backing_free(struct backing *backing)
{
	if (!backing)
		return;
	for (uint32_t i = 0; i < backing->n_servers; i++)
		free(backing->servers[i]);
	free(backing->servers);
	free(backing->split);
	free(backing->edits);
	free(backing->used);
	free(backing);
}

static void node_free(struct node *node)
{
	table_unit_unref(node->unit);
	table_unit_unref(node->shown);
	if (node->kind == TABLE_RULE) {
		free(node->rule.reference);
		if (!node->simple)
			backing_free(node->rule.backing);
	} else if (node->kind == TABLE_HOST) {
		free(node->host.items);
	}
	links_done(&node->users);
	free(node);
}

/* Away, if nothing needs it any more. */
static void node_collect(struct render *render, struct node *node)
{
	if (node->dirty || node->unit || node->shown || node->users.n ||
	    (node->kind == TABLE_BACKEND && (node->backend.uses || node->backend.made)))
		return;
	node_forget(&render->nodes[node->kind], node);
	node_free(node);
}

static void node_show(struct node *node)
{
	table_unit_unref(node->shown);
	node->shown = table_unit_ref(node->unit);
}

/* ---- refusals ---- */

static void refusal_drop(struct render *render, struct node *node)
{
	if (!node->refused)
		return;
	node->refused = false;
	for (size_t i = 0; i < render->n_refusals; i++) {
		struct haproxy_refusal *refusal = &render->refusals[i];
		if (refusal->kind != node->kind || strcmp(refusal->key, node->key) != 0)
			continue;
		free((void *)(uintptr_t)refusal->key);
		free((void *)(uintptr_t)refusal->text);
		*refusal = render->refusals[--render->n_refusals];
		return;
	}
}

/* The first one of a unit stays. */
static void refuse(struct render *render, struct node *node, const char *text)
{
	if (node->refused)
		return;
	node->refused = true;
	if (render->n_refusals == render->cap_refusals) {
		render->cap_refusals = render->cap_refusals ? render->cap_refusals * 2 : 8;
		render->refusals = xrealloc(render->refusals, render->cap_refusals * sizeof(*render->refusals));
	}
	render->refusals[render->n_refusals++] =
		(struct haproxy_refusal){.kind = node->kind, .key = xstrdup(node->key), .text = xstrdup(text)};
}

const struct haproxy_refusal *render_refusals(const struct render *render, size_t *ret_n)
{
	*ret_n = render->n_refusals;
	return render->refusals;
}

/* ---- CAs: counted, for several units may name the same ---- */

static const char *ca_text(const struct render *render, const char *key)
{
	const struct node *node = node_find(render, TABLE_CA, key);
	const struct table_ca *ca = node ? (const struct table_ca *)node->unit : NULL;
	return ca ? ca->pem : "";
}

/* NULL: none. */
static void hold_ca(struct render *render, const char *key)
{
	if (key)
		image_add(render->wanted, ITEM_CA, key, ca_text(render, key));
}

static void drop_ca(struct render *render, const char *key)
{
	if (key)
		image_drop(render->wanted, ITEM_CA, key);
}

static void refresh_cas(struct render *render)
{
	for (struct node *node; (node = pop_dirty(render, TABLE_CA));) {
		if (image_get(render->wanted, ITEM_CA, node->key))
			image_set(render->wanted, ITEM_CA, node->key, ca_text(render, node->key));
		node_show(node);
		node_collect(render, node);
	}
}

/* ---- what TLS to servers needs ---- */

static const char *cert_text(const struct render *render, const char *key)
{
	const struct node *node = node_find(render, TABLE_CERTIFICATE, key);
	const struct table_certificate *certificate = node ? (const struct table_certificate *)node->unit : NULL;
	return certificate ? certificate->pem : "";
}

static void hold_tls(struct render *render, const struct table_tls *tls)
{
	hold_ca(render, tls ? tls->ca : NULL);
	if (tls && tls->certificate)
		image_add(render->wanted, ITEM_CERT, tls->certificate, cert_text(render, tls->certificate));
}

static void drop_tls(struct render *render, const struct table_tls *tls)
{
	drop_ca(render, tls ? tls->ca : NULL);
	if (tls && tls->certificate)
		image_drop(render->wanted, ITEM_CERT, tls->certificate);
}

/* ---- backends ---- */

static const struct table_backend *backend_unit(const struct table_unit *unit)
{
	return (const struct table_backend *)unit;
}

/* Servers that take new requests. */
static uint32_t backend_ready(const struct node *node)
{
	const struct table_backend *backend = backend_unit(node->unit);
	uint32_t n = 0;
	for (size_t i = 0; backend && i < backend->n_endpoints; i++)
		n += !backend->endpoints[i].draining;
	return n;
}

/* "-tls-0123456789": a digest of how. */
static const char *tls_mark(struct render *render, const struct table_tls *tls)
{
	if (!tls || tls->n_names)
		return "";
	const char *all = arena_printf(&render->scratch, "%s %s %s", tls->name, tls->ca ? tls->ca : "-",
	                               tls->certificate ? tls->certificate : "-");
	return arena_printf(&render->scratch, "-tls-%.10s", digest_of(all, strlen(all)).text);
}

static bool has_hops(const struct table_backend *unit)
{
	return unit->tls && unit->tls->n_names;
}

/* SERVER_HOP and a digest: its address is one of ours, see hop.h. */
static const char *hop_mark(struct render *render, const struct table_backend *unit, const struct table_endpoint *endpoint)
{
	char name[ENCODE_HOP_NAME];
	if (!has_hops(unit))
		return "";
	encode_hop_name(render->instance, unit, endpoint, name);
	return arena_printf(&render->scratch, SERVER_HOP "%.10s", strstr(name, SERVER_HOP) + strlen(SERVER_HOP));
}

/* "<backend>/<prefix><endpoint>[-tls-<digest> | -hop-<digest>][-h2c]" or NULL: the name cannot stand there. How a server is spoken to is fixed
 * for its life, so it is part of the name. */
static const char *server_key(struct render *render, const char *backend, const char *prefix,
                              const struct table_backend *unit, const struct table_endpoint *endpoint)
{
	if (!encode_name_ok(endpoint->name))
		return NULL;
	return arena_printf(&render->scratch, "%s/%s%s%s%s%s", backend, prefix, endpoint->name, tls_mark(render, unit->tls),
	                    hop_mark(render, unit, endpoint),
	                    unit->protocol == TABLE_H2C ? "-h2c" : "");
}

/* NULL: not an address. */
static const char *server_text(struct render *render, const struct table_backend *unit,
                               const struct table_endpoint *endpoint, unsigned weight)
{
	struct server_value value = {.weight = weight, .state = endpoint->draining ? SERVER_DRAIN : SERVER_READY,
	                             .h2c = unit->protocol == TABLE_H2C};
	struct buf text;
	buf_init(&text, sizeof(value.address) - 1);
	bool ok = encode_address(endpoint->address, endpoint->port, &text);
	snprintf(value.address, sizeof(value.address), "%s", text.data);
	if (has_hops(unit)) {
		char name[ENCODE_HOP_NAME];
		encode_hop_name(render->instance, unit, endpoint, name);
		snprintf(value.address, sizeof(value.address), "abns@%s", name);
	}
	buf_done(&text);
	if (!ok)
		return NULL;
	if (unit->tls && !has_hops(unit)) {
		snprintf(value.tls.name, sizeof(value.tls.name), "%s", unit->tls->name);
		snprintf(value.tls.ca, sizeof(value.tls.ca), "%s", unit->tls->ca ? unit->tls->ca : "-");
		snprintf(value.tls.cert, sizeof(value.tls.cert), "%s", unit->tls->certificate ? unit->tls->certificate : "-");
	}
	buf_init(&text, 1024);
	server_value_dump(&value, &text);
	const char *ret = arena_strndup(&render->scratch, text.data, text.len);
	buf_done(&text);
	return ret;
}

/* Ends with what `unit` says; old names not in it go. Endpoints are sorted by name: the two lists are merged. */
static void backend_servers(struct render *render, struct node *node, const struct table_backend *was,
                            const struct table_backend *unit)
{
	for (size_t i = 0; unit && i < unit->n_endpoints; i++) {
		const char *key = server_key(render, node->key, "", unit, &unit->endpoints[i]);
		const char *text = server_text(render, unit, &unit->endpoints[i], 1);
		if (key && text)
			image_set(render->wanted, ITEM_SERVER, key, text);
		else
			refuse(render, node, "an endpoint whose name or address cannot be used");
	}
	size_t j = 0;
	for (size_t i = 0; was && i < was->n_endpoints; i++) {
		const char *name = was->endpoints[i].name;
		while (unit && j < unit->n_endpoints && strcmp(unit->endpoints[j].name, name) < 0)
			j++;
		bool stays = unit && j < unit->n_endpoints && !strcmp(unit->endpoints[j].name, name) &&
			     (unit->protocol == TABLE_H2C) == (was->protocol == TABLE_H2C) &&
			     !strcmp(tls_mark(render, unit->tls), tls_mark(render, was->tls)) &&
			     !strcmp(hop_mark(render, unit, &unit->endpoints[j]), hop_mark(render, was, &was->endpoints[i])) &&
			     server_text(render, unit, &unit->endpoints[j], 1);
		const char *key = stays ? NULL : server_key(render, node->key, "", was, &was->endpoints[i]);
		if (key)
			image_delete(render->wanted, ITEM_SERVER, key);
	}
}

static void backend_refresh(struct render *render, struct node *node)
{
	bool wanted = node->backend.uses;
	refusal_drop(render, node);
	/* Also if only rules of several backends have its servers. */
	if (node->unit)
		hold_tls(render, backend_unit(node->unit)->tls);
	if (node->shown)
		drop_tls(render, backend_unit(node->shown)->tls);
	if (wanted)
		image_set(render->wanted, ITEM_BACKEND, node->key, backend_defaults(node->key));
	backend_servers(render, node, node->backend.made ? backend_unit(node->shown) : NULL,
	                wanted ? backend_unit(node->unit) : NULL);
	if (!wanted && node->backend.made)
		image_delete(render->wanted, ITEM_BACKEND, node->key);
	node->backend.made = wanted;
	node_show(node);
}

static void backend_use(struct render *render, struct node *node)
{
	if (!node->backend.uses++)
		node_mark(render, node);
}

static void backend_unuse(struct render *render, struct node *node)
{
	BUG_ON(!node->backend.uses);
	if (!--node->backend.uses)
		node_mark(render, node);
}

/* One that turns out to be needed by nobody goes at the end of the apply. */
static struct node *backend_get(struct render *render, const char *key)
{
	struct node *node = node_get(render, TABLE_BACKEND, key);
	if (!node->unit)
		node_mark(render, node);
	return node;
}

/* ---- rules: where the requests go ---- */

/* The references of a rule by backend, sorted by key, invalid ones (one group, backend NULL) first. */
struct target {
	const char *key;
	struct node *backend;
	uint64_t share;
	struct weights_group group;
};

static int target_cmp(const void *a, const void *b)
{
	const struct target *x = a, *y = b;
	return strcmp(x->key ? x->key : "", y->key ? y->key : "");
}

static struct target *rule_targets(struct render *render, const struct table_rule *rule, size_t *ret_n, uint64_t *ret_total)
{
	struct target *list = arena_array(&render->scratch, rule->n_refs + 1, sizeof(*list));
	*ret_total = 0;
	for (size_t i = 0; i < rule->n_refs; i++) {
		/* A key that cannot be a backend's name cannot be a Service's either. */
		const char *key = rule->refs[i].backend;
		list[i] = (struct target){.key = key && encode_name_ok(key) ? key : NULL, .share = rule->refs[i].weight};
		*ret_total += rule->refs[i].weight;
	}
	qsort(list, rule->n_refs, sizeof(*list), target_cmp);
	size_t n = 0;
	for (size_t i = 0; i < rule->n_refs; i++) {
		if (n && !target_cmp(&list[n - 1], &list[i]))
			list[n - 1].share += list[i].share;
		else
			list[n++] = list[i];
	}
	*ret_n = n;
	return list;
}

/* What a rule shall hold; lists in the scratch arena. */
struct wish {
	const char *target;  /* backend's name or "!500", or the draw's text */
	bool draw;
	const char *split;   /* or NULL */
	struct node **used;
	uint32_t n_used;
	struct rule_properties *edits; /* of a draw's single references */
	uint32_t n_edits;
	const char **servers, **values; /* of the split */
	uint32_t n_servers, cap_servers;
};

/* Names the route and the set of references, never weights; the rule's key keeps two rules of one route apart. */
static const char *split_name(struct render *render, const struct table_rule *rule, const struct target *targets, size_t n)
{
	struct buf b;
	buf_init(&b, (size_t)1 << 20);
	buf_adds(&b, rule->name ? rule->name : rule->unit.key);
	for (size_t i = 0; i < n; i++)
		buf_addf(&b, "\n%s", targets[i].key ? targets[i].key : "");
	struct digest digest = digest_of(b.data, b.len);
	buf_done(&b);
	const char *last = targets[n - 1].key; /* invalid ones come first, and kinds do not mix */
	bool grpc = last && strcmp(backend_defaults(last), "http") != 0;
	return arena_printf(&render->scratch, "%s:split-%.10s%s%s", rule->origin, digest.text,
	                    rule->edits->session ? BACKEND_STICKY : "", grpc ? TABLE_GRPC : "");
}

static bool wish_has(const struct wish *wish, const char *key)
{
	for (uint32_t i = 0; i < wish->n_servers; i++)
		if (!strcmp(wish->servers[i], key))
			return true;
	return false;
}

static void wish_server(struct wish *wish, const char *key, const char *value)
{
	BUG_ON(wish->n_servers == wish->cap_servers);
	wish->servers[wish->n_servers] = key;
	wish->values[wish->n_servers++] = value;
}

static void wish_error_server(struct render *render, struct wish *wish, const char *name, const char *address, unsigned weight)
{
	const char *key = arena_printf(&render->scratch, "%s/%s", wish->split, name);
	wish_server(wish, key, arena_printf(&render->scratch, "%s weight %u ready", address, weight));
}

/* The endpoints of one Service. A Pod behind two of the Services has two servers, the second with a longer name. */
static bool wish_endpoints(struct render *render, struct wish *wish, const struct target *target)
{
	const struct table_backend *unit = backend_unit(target->backend->unit);
	bool ok = true;
	for (size_t i = 0; unit && i < unit->n_endpoints; i++) {
		const char *key = server_key(render, wish->split, "", unit, &unit->endpoints[i]);
		if (key && wish_has(wish, key))
			key = server_key(render, wish->split, arena_printf(&render->scratch, "%s:", target->key), unit,
			                 &unit->endpoints[i]);
		const char *value = server_text(render, unit, &unit->endpoints[i], target->group.weight);
		if (key && value && !wish_has(wish, key))
			wish_server(wish, key, value);
		else
			ok = false;
	}
	return ok;
}

/* Invalid references answer 500, Services without a ready endpoint 503, each by one server with the share. */
static bool wish_split(struct render *render, struct wish *wish, const struct target *targets, size_t n)
{
	unsigned weight_503 = 0;
	bool ok = true, empty = false;
	for (size_t i = 0; i < n; i++)
		wish->cap_servers += targets[i].backend && targets[i].backend->unit
					     ? (uint32_t)backend_unit(targets[i].backend->unit)->n_endpoints : 0;
	wish->cap_servers += 2;
	wish->servers = arena_array(&render->scratch, wish->cap_servers, sizeof(*wish->servers));
	wish->values = arena_array(&render->scratch, wish->cap_servers, sizeof(*wish->values));
	for (size_t i = 0; i < n; i++)
		if (!targets[i].key)
			wish_error_server(render, wish, SERVER_ERROR "500", render->error_500, targets[i].group.weight);
	for (size_t i = 0; i < n; i++) {
		if (targets[i].backend && !backend_ready(targets[i].backend) && targets[i].share) {
			weight_503 += targets[i].group.weight;
			empty = true;
		}
	}
	if (empty)
		wish_error_server(render, wish, SERVER_ERROR "503", render->error_503, weight_503);
	for (size_t i = 0; i < n; i++)
		if (targets[i].backend)
			ok &= wish_endpoints(render, wish, &targets[i]);
	wish->target = wish->split;
	return ok && weight_503 <= WEIGHT_MAX;
}

/* "90:sample.a:80 10:!500", over single-Service backends. */
static void wish_draw(struct render *render, struct wish *wish, const struct target *targets, size_t n)
{
	struct buf b;
	buf_init(&b, ENCODE_VALUE_LIMIT);
	wish->draw = true;
	wish->split = NULL;
	wish->n_servers = 0;
	wish->used = arena_array(&render->scratch, n, sizeof(struct node *));
	for (size_t i = 0; i < n; i++) {
		if (!targets[i].share)
			continue;
		buf_addf(&b, "%s%llu:%s", b.len ? " " : "", (unsigned long long)targets[i].share,
		         targets[i].key ? targets[i].key : "!500");
		if (targets[i].backend)
			wish->used[wish->n_used++] = targets[i].backend;
	}
	wish->target = buf_failed(&b) ? "!500" : arena_strndup(&render->scratch, b.data, b.len);
	buf_done(&b);
}

/* All empty Services share one server, so they are one group when weights are sought. */
static bool solve_targets(struct target *targets, size_t n, bool nearest)
{
	struct weights_group groups[64];
	size_t n_groups = 0, map[64], empty = SIZE_MAX;
	if (n > ARRAY_LEN(groups) - 1)
		return false;
	for (size_t i = 0; i < n; i++) {
		uint32_t ready = targets[i].backend ? backend_ready(targets[i].backend) : 1;
		map[i] = SIZE_MAX;
		if (!ready && !targets[i].share)
			continue;
		if (!ready && empty == SIZE_MAX) {
			empty = n_groups;
			groups[n_groups++] = (struct weights_group){.servers = 1};
		}
		map[i] = ready ? n_groups : empty;
		if (ready)
			groups[n_groups++] = (struct weights_group){.servers = ready};
		groups[map[i]].share += targets[i].share;
	}
	if (nearest)
		weights_nearest(groups, n_groups);
	else if (!weights_solve(groups, n_groups))
		return false;
	bool told = false;
	for (size_t i = 0; i < n; i++) {
		bool is_empty = map[i] != SIZE_MAX && map[i] == empty;
		targets[i].group.weight = map[i] == SIZE_MAX || (is_empty && told) ? 0 : groups[map[i]].weight;
		told |= is_empty;
	}
	return true;
}

/* A reference with filters of its own is drawn as "=<letters>.<id>", which names them and its backend. */
static const char *wish_edits(struct render *render, struct node *node, struct wish *wish, const struct table_ref *ref)
{
	struct err err;
	struct rule_properties *properties = &wish->edits[wish->n_edits];
	const struct table_rule rule = {.action = TABLE_FORWARD, .edits = ref->edits, .request_timeout_ms = -1, .backend_timeout_ms = -1};
	if (rule_properties(&rule, ref->backend, false, &render->scratch, properties, &err)) {
		refuse(render, node, err.text);
		return "!500";
	}
	if (!*properties->letters)
		return ref->backend;
	wish->n_edits++;
	return arena_printf(&render->scratch, "=%s.%s", properties->letters, properties->id.text);
}

static bool ref_valid(const struct table_ref *ref)
{
	return ref->backend && encode_name_ok(ref->backend);
}

/* As wish_draw(), but of every reference by itself. */
static void wish_draw_refs(struct render *render, struct node *node, struct wish *wish, const struct table_rule *rule)
{
	struct buf b;
	buf_init(&b, ENCODE_VALUE_LIMIT);
	wish->draw = true;
	wish->used = arena_array(&render->scratch, rule->n_refs, sizeof(struct node *));
	wish->edits = arena_array(&render->scratch, rule->n_refs, sizeof(*wish->edits));
	for (size_t i = 0; i < rule->n_refs; i++) {
		const struct table_ref *ref = &rule->refs[i];
		if (!ref->weight)
			continue;
		const char *to = !ref_valid(ref) ? "!500" : ref->edits ? wish_edits(render, node, wish, ref) : ref->backend;
		buf_addf(&b, "%s%u:%s", b.len ? " " : "", ref->weight, to);
		if (strcmp(to, "!500") != 0)
			wish->used[wish->n_used++] = backend_get(render, ref->backend);
	}
	wish->target = buf_failed(&b) ? "!500" : arena_strndup(&render->scratch, b.data, b.len);
	buf_done(&b);
}

static bool has_edits(const struct table_rule *rule)
{
	for (size_t i = 0; i < rule->n_refs; i++)
		if (rule->refs[i].edits && rule->refs[i].weight && ref_valid(&rule->refs[i]))
			return true;
	return false;
}

static void wish_mirrors(struct render *render, struct wish *wish, const struct table_rule *rule)
{
	struct node **used = arena_array(&render->scratch, wish->n_used + rule->n_mirrors, sizeof(struct node *));
	if (wish->n_used)
		memcpy(used, wish->used, wish->n_used * sizeof(*used));
	wish->used = used;
	for (size_t i = 0; i < rule->n_mirrors; i++)
		if (rule_mirrors(&rule->mirrors[i]))
			wish->used[wish->n_used++] = backend_get(render, rule->mirrors[i].backend);
}

static void make_wish(struct render *render, struct node *node, struct wish *wish)
{
	const struct table_rule *rule = (const struct table_rule *)node->unit;
	size_t n;
	uint64_t total;
	struct target *targets = rule_targets(render, rule, &n, &total);
	wish->target = "!500";
	if (!total)
		return;
	if (has_edits(rule) && rule->edits->session) {
		refuse(render, node, "sessions beside filters of single references");
		return;
	}
	if (has_edits(rule)) {
		wish_draw_refs(render, node, wish, rule);
		return;
	}
	for (size_t i = 0; i < n; i++)
		targets[i].backend = targets[i].key ? backend_get(render, targets[i].key) : NULL;
	const bool sticky = rule->edits->session;
	if (n == 1 && (!sticky || !targets[0].key)) {
		if (!targets[0].key)
			return;
		wish->target = targets[0].key;
		wish->used = arena_array(&render->scratch, 1, sizeof(struct node *));
		wish->used[wish->n_used++] = targets[0].backend;
		return;
	}
	wish->split = split_name(render, rule, targets, n);
	if (encode_name_ok(wish->split) && solve_targets(targets, n, sticky) && wish_split(render, wish, targets, n))
		return;
	if (sticky) {
		refuse(render, node, "sessions: a backend of the rule's own cannot be made");
		*wish = (struct wish){.target = "!500"};
	} else {
		wish_draw(render, wish, targets, n);
	}
}

/* ---- rules ---- */

/* The rule in its node's users: of the backends its weights depend on. */
static void rule_link(struct render *render, struct node *node, const struct table_unit *unit, bool on)
{
	const struct table_rule *rule = (const struct table_rule *)unit;
	if (!rule || rule->action != TABLE_FORWARD || (rule->n_refs < 2 && !rule->edits->session))
		return;
	for (size_t i = 0; i < rule->n_refs; i++) {
		if (!rule->refs[i].backend || !encode_name_ok(rule->refs[i].backend))
			continue;
		struct node *backend = node_get(render, TABLE_BACKEND, rule->refs[i].backend);
		if (on) {
			links_add(&backend->users, node);
		} else {
			links_drop(&backend->users, node);
			node_mark(render, backend); /* perhaps nobody's now */
		}
	}
}

/* Properties are dropped by the id in the reference that named them. */
static void reference_drop(struct render *render, const char *reference)
{
	if (reference && *reference == '=')
		image_drop(render->wanted, ITEM_RULE, strchr(reference, '.') + 1);
}

/* The reference for a wish; properties go to the image. */
static const char *rule_reference(struct render *render, struct node *node, const struct wish *wish)
{
	struct rule_properties properties;
	struct err err;
	const struct table_rule *rule = (const struct table_rule *)node->unit;
	if (rule->action == TABLE_FORWARD && !strcmp(wish->target, "!500"))
		return "!500";
	if (rule->action == TABLE_STATUS) {
		if (!rule_status_ok(rule->status))
			refuse(render, node, "a status that cannot be answered");
		return rule_status_ok(rule->status) ? arena_printf(&render->scratch, "!%u", rule->status) : "!500";
	}
	int r = rule_properties(rule, wish->target, wish->draw, &render->scratch, &properties, &err);
	if (r) {
		refuse(render, node, err.text);
		return "!500";
	}
	if (!*properties.letters)
		return wish->target;
	image_add(render->wanted, ITEM_RULE, properties.id.text, properties.value);
	return arena_printf(&render->scratch, "=%s.%s", properties.letters, properties.id.text);
}

/* Servers and the split backend's item: the old ones go, unless the wish has them too. */
static void split_show(struct render *render, const struct backing *was, const struct wish *wish)
{
	if (wish->split)
		image_set(render->wanted, ITEM_BACKEND, wish->split, backend_defaults(wish->split));
	for (uint32_t i = 0; i < wish->n_servers; i++)
		image_set(render->wanted, ITEM_SERVER, wish->servers[i], wish->values[i]);
	if (!was || !was->split)
		return;
	for (uint32_t i = 0; i < was->n_servers; i++)
		if (!wish_has(wish, was->servers[i]))
			image_delete(render->wanted, ITEM_SERVER, was->servers[i]);
	if (!wish->split || strcmp(was->split, wish->split) != 0)
		image_delete(render->wanted, ITEM_BACKEND, was->split);
}

static struct backing *backing_new(const struct wish *wish)
{
	if (wish->n_used < 2 && !wish->split && !wish->n_edits)
		return NULL;
	struct backing *backing = xcalloc(1, sizeof(*backing));
	backing->n_used = wish->n_used;
	if (wish->n_used) {
		backing->used = xcalloc(wish->n_used, sizeof(struct node *));
		memcpy(backing->used, wish->used, wish->n_used * sizeof(struct node *));
	}
	backing->n_edits = wish->n_edits;
	backing->edits = wish->n_edits ? xcalloc(wish->n_edits, sizeof(*backing->edits)) : NULL;
	for (uint32_t i = 0; i < wish->n_edits; i++)
		backing->edits[i] = wish->edits[i].id;
	if (!wish->split)
		return backing;
	backing->split = xstrdup(wish->split);
	backing->n_servers = wish->n_servers;
	backing->servers = xcalloc(wish->n_servers, sizeof(char *));
	for (uint32_t i = 0; i < wish->n_servers; i++)
		backing->servers[i] = xstrdup(wish->servers[i]);
	return backing;
}

static void rule_hold(struct render *render, struct node *node, const struct wish *wish)
{
	struct backing *was = node->simple ? NULL : node->rule.backing;
	struct node *only = node->simple ? node->rule.only : NULL;
	for (uint32_t i = 0; i < wish->n_used; i++)
		backend_use(render, wish->used[i]);
	split_show(render, was, wish);
	for (uint32_t i = 0; i < wish->n_edits; i++)
		image_add(render->wanted, ITEM_RULE, wish->edits[i].id.text, wish->edits[i].value);
	for (uint32_t i = 0; was && i < was->n_edits; i++)
		image_drop(render->wanted, ITEM_RULE, was->edits[i].text);
	for (uint32_t i = 0; was && i < was->n_used; i++)
		backend_unuse(render, was->used[i]);
	if (only)
		backend_unuse(render, only);
	node->rule.backing = backing_new(wish);
	node->simple = !node->rule.backing && wish->n_used;
	if (node->simple)
		node->rule.only = wish->used[0];
	backing_free(was);
}

/* What hosts show for it. */
static const char *rule_shown(const struct node *node)
{
	if (node->plain)
		return node->rule.only->key;
	return node->rule.reference ? node->rule.reference : "!500";
}

static void rule_refresh(struct render *render, struct node *node)
{
	const struct table_rule *rule = (const struct table_rule *)node->unit;
	struct wish wish = {0};
	const char *reference = "!500";
	refusal_drop(render, node);
	if (node->unit != node->shown) {
		rule_link(render, node, node->unit, true);
		rule_link(render, node, node->shown, false);
	}
	if (rule && rule->action == TABLE_FORWARD) {
		make_wish(render, node, &wish);
		wish_mirrors(render, &wish, rule);
	}
	if (rule)
		reference = rule_reference(render, node, &wish);
	if (!strcmp(reference, "!500"))
		wish = (struct wish){0}; /* refused: nothing is used */
	const char *was = rule_shown(node); /* a backend's node stays at least until refresh_backends() */
	char *owned = node->rule.reference;
	rule_hold(render, node, &wish);
	node->plain = node->simple && !strcmp(reference, node->rule.only->key);
	node->rule.reference = !node->plain && strcmp(reference, "!500") != 0 ? xstrdup(reference) : NULL;
	if (strcmp(was, reference) != 0)
		mark_users(render, node);
	reference_drop(render, owned);
	free(owned);
	node_show(node);
}

/* ---- hosts ---- */

static const char *host_reference(void *ctx, const char *rule)
{
	const struct node *node = node_find(ctx, TABLE_RULE, rule);
	return node ? rule_shown(node) : "!500";
}

static const char *no_reference(void *ctx, const char *rule)
{
	return "!500";
}

static void host_link(struct render *render, struct node *node, const struct table_unit *unit, bool on)
{
	const struct table_host *host = (const struct table_host *)unit;
	for (size_t i = 0; host && i < host->n_entries; i++) {
		struct node *rule = node_get(render, TABLE_RULE, host->entries[i].rule);
		if (on) {
			links_add(&rule->users, node);
		} else {
			links_drop(&rule->users, node);
			node_collect(render, rule);
		}
	}
}

static void host_hold(struct render *render, struct node *node, const struct chain_host *built)
{
	struct digest *was = node->host.items;
	uint32_t n_chains = node->host.n_chains, n_items = node->host.n_items;
	size_t n = built->n_chains + built->n_regexes;
	node->host.items = n ? xcalloc(n, sizeof(*node->host.items)) : NULL;
	node->host.n_chains = (uint32_t)built->n_chains;
	node->host.n_items = (uint32_t)n;
	for (size_t i = 0; i < n; i++) {
		bool chain = i < built->n_chains;
		const struct chain_item *item = chain ? &built->chains[i] : &built->regexes[i - built->n_chains];
		image_add(render->wanted, chain ? ITEM_CHAIN : ITEM_REGEX, item->id.text, item->text);
		node->host.items[i] = item->id;
	}
	for (uint32_t i = 0; i < n_items; i++)
		image_drop(render->wanted, i < n_chains ? ITEM_CHAIN : ITEM_REGEX, was[i].text);
	free(was);
}

static int path_cmp(const void *a, const void *b)
{
	return strcmp(((const struct chain_path *)a)->key, ((const struct chain_path *)b)->key);
}

/* Path keys are the host's own: the new ones are set, and of the old ones those that are not among them go. */
static void host_paths(struct render *render, const struct table_unit *shown, const struct table_unit *unit,
                       struct chain_host *built)
{
	struct chain_host old;
	struct err err;
	for (size_t i = 0; i < built->n_paths; i++)
		image_set(render->wanted, ITEM_PATH, built->paths[i].key, built->paths[i].value);
	if (!shown || shown == unit ||
	    !chain_host_build((const struct table_host *)shown, no_reference, NULL, &render->scratch, &old, &err))
		return;
	if (built->n_paths)
		qsort(built->paths, built->n_paths, sizeof(*built->paths), path_cmp);
	for (size_t i = 0; i < old.n_paths; i++)
		if (!built->n_paths ||
		    !bsearch(&old.paths[i], built->paths, built->n_paths, sizeof(*built->paths), path_cmp))
			image_delete(render->wanted, ITEM_PATH, old.paths[i].key);
	if (!built->key)
		image_delete(render->wanted, ITEM_HOST, old.key);
}

static void host_refresh(struct render *render, struct node *node)
{
	struct chain_host built = {0};
	struct err err;
	refusal_drop(render, node);
	if (node->unit && !chain_host_build((const struct table_host *)node->unit, host_reference, render, &render->scratch,
	                                    &built, &err)) {
		built = (struct chain_host){.refusal = err.text};
	}
	if (built.key)
		image_set(render->wanted, ITEM_HOST, built.key, built.falls);
	if (built.refusal)
		refuse(render, node, built.refusal);
	host_paths(render, node->shown, node->unit, &built);
	host_hold(render, node, &built);
	node_show(node);
}

/* ---- listeners: few, so all of them at once ---- */

static const char *bind_name(struct render *render, const struct table_listener *listener)
{
	char name[CONFIG_BIND_NAME];
	config_bind_name(listener->bind_address, listener->bind_port, name);
	return arena_strdup(&render->scratch, name);
}

/* With TLS the bind leads to "<bind>@", and that with the name asked for to the listener. */
static const char *name_key(struct render *render, const struct table_listener *listener)
{
	const char *sni = listener->sni;
	struct buf key;
	buf_init(&key, 1024);
	buf_addf(&key, "%s@/", bind_name(render, listener));
	bool wild = !strncmp(sni, "*.", 2);
	encode_reverse(sni + 2 * wild, &key);
	buf_adds(&key, wild ? "." : *sni ? "#" : "");
	const char *text = arena_strdup(&render->scratch, key.data);
	buf_done(&key);
	return text;
}

static const char *bind_value(struct render *render, const struct table_listener *listener)
{
	return arena_printf(&render->scratch, "%s@", bind_name(render, listener));
}

/* ---- certificates: counted, several binds may have the same ---- */

static const char *sni_text(struct render *render, const struct table_certificate *certificate)
{
	struct buf text;
	buf_init(&text, ENCODE_VALUE_LIMIT);
	if (certificate->ca)
		buf_addf(&text, "[%s%s] ", certificate->ca_optional ? "?" : "", certificate->ca);
	for (size_t i = 0; i < certificate->n_names; i++)
		buf_addf(&text, "%s%s", i ? " " : "", certificate->names[i]);
	const char *value = arena_strdup(&render->scratch, buf_failed(&text) || !text.data ? "" : text.data);
	buf_done(&text);
	return value;
}

static const char *sni_key(struct render *render, const struct table_listener *listener, size_t i)
{
	return arena_printf(&render->scratch, "%s/%s", bind_name(render, listener), listener->certificates[i]);
}

/* What the listener asks of its clients. */
static const char *clients_key(struct render *render, const struct table_listener *listener)
{
	return arena_printf(&render->scratch, "*%s/", listener->unit.key);
}

static void hold_certificates(struct render *render, const struct table_listener *listener)
{
	for (size_t i = 0; listener->sni && i < listener->n_certificates; i++) {
		const struct node *node = node_find(render, TABLE_CERTIFICATE, listener->certificates[i]);
		const struct table_certificate *certificate = node ? (const struct table_certificate *)node->unit : NULL;
		hold_ca(render, certificate ? certificate->ca : NULL);
		if (certificate && certificate->ca)
			image_add(render->wanted, ITEM_NAME, clients_key(render, listener), certificate->ca_optional ? "any" : "valid");
		image_add(render->wanted, ITEM_CERT, listener->certificates[i], certificate ? certificate->pem : "");
		image_add(render->wanted, ITEM_SNI, sni_key(render, listener, i), certificate ? sni_text(render, certificate) : "");
	}
}

/* Of a listener that was shown, as its certificates were then. */
static void drop_certificates(struct render *render, const struct table_listener *listener)
{
	for (size_t i = 0; listener->sni && i < listener->n_certificates; i++) {
		const struct node *node = node_find(render, TABLE_CERTIFICATE, listener->certificates[i]);
		const struct table_certificate *certificate = node ? (const struct table_certificate *)node->shown : NULL;
		drop_ca(render, certificate ? certificate->ca : NULL);
		if (certificate && certificate->ca)
			image_drop(render->wanted, ITEM_NAME, clients_key(render, listener));
		image_drop(render->wanted, ITEM_CERT, listener->certificates[i]);
		image_drop(render->wanted, ITEM_SNI, sni_key(render, listener, i));
	}
}

static int node_cmp(const void *a, const void *b)
{
	const struct node *const *x = a, *const *y = b;
	return strcmp((*x)->key, (*y)->key);
}

/* Another listener has the bind: the first by key, unless both are of TLS, with different patterns. */
static bool is_taken(struct render *render, const struct table_listener *listener)
{
	const struct item *bind = image_get(render->wanted, ITEM_LISTENER, bind_name(render, listener));
	if (!listener->sni || !bind)
		return bind;
	return strcmp(bind->value, bind_value(render, listener)) != 0 ||
	       image_get(render->wanted, ITEM_NAME, name_key(render, listener));
}


static void listener_show(struct render *render, struct node *node)
{
	const struct table_listener *listener = (const struct table_listener *)node->unit;
	struct buf address;
	buf_init(&address, 128);
	bool ok = encode_listener_ok(node->key) && listener->bind_port &&
		  (!listener->sni || encode_pattern_ok(listener->sni)) &&
		  (!*listener->bind_address || encode_address(listener->bind_address, listener->bind_port, &address));
	buf_done(&address);
	if (!ok)
		refuse(render, node, "not an address and port that can be bound");
	else if (is_taken(render, listener))
		refuse(render, node, "another listener binds this address and port");
	node->listed = !node->refused;
	if (!node->listed)
		return;
	image_set(render->wanted, ITEM_LISTENER, bind_name(render, listener),
	          listener->sni ? bind_value(render, listener) : node->key);
	if (listener->sni)
		image_set(render->wanted, ITEM_NAME, name_key(render, listener), node->key);
	hold_certificates(render, listener);
}

static void listener_hide(struct render *render, const struct table_listener *listener)
{
	if (listener->sni)
		image_delete(render->wanted, ITEM_NAME, name_key(render, listener));
	image_delete(render->wanted, ITEM_LISTENER, bind_name(render, listener));
}

/* Certificates that stay are counted up before they are counted down: they stay the same items. */
static void listeners_refresh(struct render *render)
{
	const struct nodes *nodes = &render->nodes[TABLE_LISTENER];
	size_t n = 0, n_was = 0;
	struct node **list = arena_array(&render->scratch, nodes->n + 1, sizeof(*list));
	struct table_unit **was = arena_array(&render->scratch, nodes->n + 1, sizeof(*was));
	for (size_t i = 0; i < nodes->n_slots; i++) {
		struct node *node = nodes->slots[i];
		if (!node)
			continue;
		if (node->listed) {
			listener_hide(render, (const struct table_listener *)node->shown);
			was[n_was++] = table_unit_ref(node->shown);
		}
		node->listed = false;
		refusal_drop(render, node);
		node_show(node);
		if (node->unit)
			list[n++] = node;
	}
	qsort(list, n, sizeof(*list), node_cmp);
	for (size_t i = 0; i < n; i++)
		listener_show(render, list[i]);
	for (size_t i = 0; i < n_was; i++) {
		drop_certificates(render, (const struct table_listener *)was[i]);
		table_unit_unref(was[i]);
	}
}

/* ---- apply ---- */

static void take_change(struct render *render, const struct table_change *change)
{
	const struct table_unit *any = change->new ? change->new : change->old;
	if (!any)
		return; /* came and went between two applies */
	struct node *node = node_get(render, any->kind, any->key);
	if (node->unit == change->new)
		return;
	table_unit_unref(node->unit);
	node->unit = table_unit_ref(change->new);
	node_mark(render, node);
	if (any->kind == TABLE_BACKEND)
		mark_users(render, node);
}

static void refresh_hosts(struct render *render)
{
	struct node *node;
	while ((node = pop_dirty(render, TABLE_HOST))) {
		struct table_unit *was = table_unit_ref(node->shown);
		host_refresh(render, node);
		if (was != node->unit)
			host_link(render, node, was, false);
		table_unit_unref(was);
		node_collect(render, node);
		arena_done(&render->scratch);
	}
}

static void refresh_rules(struct render *render)
{
	struct node *node;
	while ((node = pop_dirty(render, TABLE_RULE))) {
		rule_refresh(render, node);
		node_collect(render, node);
		arena_done(&render->scratch);
	}
}

static void refresh_backends(struct render *render)
{
	struct node *node;
	while ((node = pop_dirty(render, TABLE_BACKEND))) {
		backend_refresh(render, node);
		node_collect(render, node);
		arena_done(&render->scratch);
	}
}

/* A host is in the users of its rules before these are refreshed, so that it hears of them. */
static void link_hosts(struct render *render)
{
	const struct dirty *dirty = &render->dirty[TABLE_HOST];
	for (size_t i = 0; i < dirty->n; i++)
		host_link(render, dirty->list[i], dirty->list[i]->unit, true);
}

void render_apply(struct render *render, const struct table_change *list, size_t n, struct image *wanted)
{
	render->wanted = wanted;
	for (size_t i = 0; i < n; i++)
		take_change(render, &list[i]);
	link_hosts(render);
	refresh_rules(render);
	refresh_backends(render);
	refresh_hosts(render);
	if (render->dirty[TABLE_LISTENER].n || render->dirty[TABLE_CERTIFICATE].n) {
		listeners_refresh(render);
		for (struct node *node; (node = pop_dirty(render, TABLE_LISTENER));)
			node_collect(render, node);
		for (struct node *node; (node = pop_dirty(render, TABLE_CERTIFICATE));) {
			node_show(node);
			node_collect(render, node);
		}
		arena_done(&render->scratch);
	}
	refresh_cas(render);
	render->wanted = NULL;
}

struct render *render_new(void)
{
	struct render *render = xcalloc(1, sizeof(*render));
	arena_init(&render->scratch);
	render_set_instance(render, "0");
	return render;
}

void render_set_instance(struct render *render, const char *instance)
{
	BUG_ON(!encode_name_ok(instance) || strlen(instance) > 40);
	snprintf(render->instance, sizeof(render->instance), "%s", instance);
	snprintf(render->error_500, sizeof(render->error_500), "abns@hatchway-%s-500", instance);
	snprintf(render->error_503, sizeof(render->error_503), "abns@hatchway-%s-503", instance);
}

void render_free(struct render *render)
{
	if (!render)
		return;
	for (unsigned kind = 0; kind < TABLE_KINDS; kind++) {
		for (size_t i = 0; i < render->nodes[kind].n_slots; i++)
			if (render->nodes[kind].slots[i])
				node_free(render->nodes[kind].slots[i]);
		free(render->nodes[kind].slots);
		free(render->dirty[kind].list);
	}
	for (size_t i = 0; i < render->n_refusals; i++) {
		free((void *)(uintptr_t)render->refusals[i].key);
		free((void *)(uintptr_t)render->refusals[i].text);
	}
	free(render->refusals);
	arena_done(&render->scratch);
	free(render);
}
