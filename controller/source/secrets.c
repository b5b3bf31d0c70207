/* Owns who refers to what; opening and closing is the owner's. */
#include "controller/source/secrets.h"

/* A Gateway, and the Secrets it refers to, each as often as it does. */
struct secret_referrer {
	UT_hash_handle hh;
	struct secret_watch **list;
	size_t n;
	char path[];
};

static struct secret_watch *want(struct secrets *secrets, const char *namespace, const char *name)
{
	char path[512];
	struct secret_watch *found;
	snprintf(path, sizeof(path), "%s/%s", namespace, name);
	HASH_FIND_STR(secrets->watches, path, found);
	if (!found) {
		found = xcalloc(1, sizeof(*found) + strlen(path) + 1);
		strcpy(found->path, path);
		found->watch = secrets->open(secrets->ctx, namespace, name);
		HASH_ADD_STR(secrets->watches, path, found);
	}
	found->uses++;
	return found;
}

static void release(struct secrets *secrets, struct secret_watch *watch)
{
	BUG_ON(!watch->uses);
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

static bool is_secret(const struct certificate_ref *ref)
{
	return strcmp(ref->group, "") == 0 && strcmp(ref->kind, "Secret") == 0;
}

static void add(struct secrets *secrets, const char *path, const struct gateway *gateway)
{
	struct secret_referrer *referrer = xcalloc(1, sizeof(*referrer) + strlen(path) + 1);
	strcpy(referrer->path, path);
	for (size_t l = 0; l < gateway->n_listeners; l++) {
		const struct listener *listener = &gateway->listeners[l];
		referrer->list = xrealloc(referrer->list, (referrer->n + listener->n_certificate_refs + 1) * sizeof(*referrer->list));
		for (size_t i = 0; i < listener->n_certificate_refs; i++)
			if (is_secret(&listener->certificate_refs[i]))
				referrer->list[referrer->n++] =
				        want(secrets, listener->certificate_refs[i].namespace, listener->certificate_refs[i].name);
	}
	HASH_ADD_STR(secrets->referrers, path, referrer);
}

/* What is referred to before and after stays open. */
void secrets_refer(struct secrets *secrets, const char *namespace, const char *name, const struct gateway *gateway)
{
	char path[512];
	struct secret_referrer *old;
	snprintf(path, sizeof(path), "%s/%s", namespace, name);
	HASH_FIND_STR(secrets->referrers, path, old);
	if (old)
		HASH_DEL(secrets->referrers, old);
	if (gateway)
		add(secrets, path, gateway);
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
