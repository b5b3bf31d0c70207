/* Owns who refers to what; opening and closing is the owner's. */
#include "controller/source/secrets.h"

/* An object, and what it refers to, each as often as it does. */
struct secret_referrer {
	UT_hash_handle hh;
	struct secret_watch **list;
	size_t n;
	char path[]; /* "Gateway/namespace/name" */
};

static void path_of(char path[512], enum object_kind kind, const char *namespace, const char *name)
{
	snprintf(path, 512, "%s/%s/%s", object_kind_name(kind), namespace, name);
}

static struct secret_watch *want(struct secrets *secrets, enum object_kind kind, const char *namespace, const char *name)
{
	char path[512];
	struct secret_watch *found;
	path_of(path, kind, namespace, name);
	HASH_FIND_STR(secrets->watches, path, found);
	if (!found) {
		found = xcalloc(1, sizeof(*found) + strlen(path) + 1);
		strcpy(found->path, path);
		found->watch = secrets->open(secrets->ctx, kind, namespace, name);
		HASH_ADD_STR(secrets->watches, path, found);
	}
	found->uses++;
	return found;
}

static void release(struct secrets *secrets, struct secret_watch *watch)
{
	BUG_ON(!watch->uses || !secrets->watches);
	if (--watch->uses)
		return;
	HASH_DEL(secrets->watches, watch);
	secrets->close(secrets->ctx, watch->watch);
	free(watch);
}

static void drop(struct secrets *secrets, struct secret_referrer *referrer)
{
	HASH_DEL(secrets->referrers, referrer);
	for (size_t i = 0; i < referrer->n; i++)
		release(secrets, referrer->list[i]);
	free(referrer->list);
	free(referrer);
}

static void add_name(struct secrets *secrets, struct secret_referrer *referrer, enum object_kind kind, const char *namespace,
                     const char *name)
{
	referrer->list = xrealloc(referrer->list, (referrer->n + 1) * sizeof(*referrer->list));
	referrer->list[referrer->n++] = want(secrets, kind, namespace, name);
}

/* Of the kind, in the core group. */
static void add_ref(struct secrets *secrets, struct secret_referrer *referrer, enum object_kind kind,
                    const struct certificate_ref *ref)
{
	if (strcmp(ref->group, "") == 0 && strcmp(ref->kind, object_kind_name(kind)) == 0)
		add_name(secrets, referrer, kind, ref->namespace, ref->name);
}

static void add_validation(struct secrets *secrets, struct secret_referrer *referrer, const struct client_validation *validation)
{
	for (size_t i = 0; validation && i < validation->n_ca_refs; i++)
		add_ref(secrets, referrer, KIND_CONFIGMAP, &validation->ca_refs[i]);
}

static void add_listeners(struct secrets *secrets, struct secret_referrer *referrer, const struct listener *listeners, size_t n)
{
	for (size_t l = 0; l < n; l++)
		for (size_t i = 0; i < listeners[l].n_certificate_refs; i++)
			add_ref(secrets, referrer, KIND_SECRET, &listeners[l].certificate_refs[i]);
}

static void add_gateway(struct secrets *secrets, struct secret_referrer *referrer, const struct gateway *gateway)
{
	add_listeners(secrets, referrer, gateway->listeners, gateway->n_listeners);
	add_validation(secrets, referrer, gateway->validation);
	for (size_t i = 0; i < gateway->n_port_validations; i++)
		add_validation(secrets, referrer, gateway->port_validations[i].validation);
	if (gateway->client_certificate)
		add_ref(secrets, referrer, KIND_SECRET, gateway->client_certificate);
}

static void add(struct secrets *secrets, const char *path, const struct object *object)
{
	struct secret_referrer *referrer = xcalloc(1, sizeof(*referrer) + strlen(path) + 1);
	strcpy(referrer->path, path);
	if (object->kind == KIND_GATEWAY)
		add_gateway(secrets, referrer, (const struct gateway *)object);
	if (object->kind == KIND_LISTENERSET) {
		const struct listener_set *set = (const struct listener_set *)object;
		add_listeners(secrets, referrer, set->listeners, set->n_listeners);
	}
	if (object->kind == KIND_BACKENDTLSPOLICY) {
		const struct backend_tls_policy *policy = (const struct backend_tls_policy *)object;
		for (size_t i = 0; i < policy->n_ca_refs; i++)
			add_ref(secrets, referrer, KIND_CONFIGMAP, &policy->ca_refs[i]);
	}
	if (object->kind == KIND_FILTER && ((const struct own_filter *)object)->secret)
		add_name(secrets, referrer, KIND_SECRET, object->namespace, ((const struct own_filter *)object)->secret);
	HASH_ADD_STR(secrets->referrers, path, referrer);
}

/* What is referred to before and after stays open. */
void secrets_refer(struct secrets *secrets, enum object_kind kind, const char *namespace, const char *name,
                   const struct object *object)
{
	char path[512];
	struct secret_referrer *old;
	if (kind != KIND_GATEWAY && kind != KIND_LISTENERSET && kind != KIND_BACKENDTLSPOLICY && kind != KIND_FILTER)
		return;
	path_of(path, kind, namespace, name);
	HASH_FIND_STR(secrets->referrers, path, old);
	if (old)
		HASH_DEL(secrets->referrers, old);
	if (object)
		add(secrets, path, object);
	for (size_t i = 0; old && i < old->n; i++)
		release(secrets, old->list[i]);
	if (old)
		free(old->list);
	free(old);
}

void secrets_done(struct secrets *secrets)
{
	struct secret_referrer *referrer, *next;
	HASH_ITER(hh, secrets->referrers, referrer, next)
		drop(secrets, referrer);
}
