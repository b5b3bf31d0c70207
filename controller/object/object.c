/* Owns the reference count of objects and the names of kinds. */
#include "controller/object/object.h"

#include "hatchway/base/hash.h"

static const struct {
	const char *name, *group;
	bool namespaced, status;
} kinds[] = {
#define X(id, name, group, namespaced, status) {name, group, namespaced, status},
    OBJECT_KINDS(X)
#undef X
};

const char *object_kind_name(enum object_kind kind)
{
	BUG_ON((unsigned)kind >= KIND_COUNT);
	return kinds[kind].name;
}

const char *object_kind_group(enum object_kind kind)
{
	BUG_ON((unsigned)kind >= KIND_COUNT);
	return kinds[kind].group;
}

const char *object_version_name(enum object_version version)
{
	static const char *const names[VERSION_COUNT] = {[VERSION_V1] = "v1", [VERSION_V1BETA1] = "v1beta1",
	                                                [VERSION_V1ALPHA1] = "v1alpha1"};
	BUG_ON((unsigned)version >= VERSION_COUNT);
	return names[version];
}

enum object_kind parent_ref_kind(const struct parent_ref *ref)
{
	if (strcmp(ref->group, GATEWAY_API_GROUP) != 0)
		return KIND_COUNT;
	if (strcmp(ref->kind, kinds[KIND_GATEWAY].name) == 0)
		return KIND_GATEWAY;
	return strcmp(ref->kind, kinds[KIND_LISTENERSET].name) == 0 ? KIND_LISTENERSET : KIND_COUNT;
}

const struct data_item *secret_item(const struct secret *secret, const char *key)
{
	for (size_t i = 0; i < secret->n_data; i++)
		if (strcmp(secret->data[i].key, key) == 0)
			return &secret->data[i];
	return NULL;
}

bool extension_ref_is_ours(const struct extension_ref *ref)
{
	return strcmp(ref->group, kinds[KIND_FILTER].group) == 0 && strcmp(ref->kind, kinds[KIND_FILTER].name) == 0;
}

bool object_kind_namespaced(enum object_kind kind)
{
	BUG_ON((unsigned)kind >= KIND_COUNT);
	return kinds[kind].namespaced;
}

bool object_kind_has_status(enum object_kind kind)
{
	BUG_ON((unsigned)kind >= KIND_COUNT);
	return kinds[kind].status;
}

struct object *object_ref(struct object *object)
{
	BUG_ON(!object->refs || object->refs == UINT32_MAX);
	object->refs++;
	return object;
}

/* One block holds the object and all it points to. */
void object_unref(struct object *object)
{
	if (!object)
		return;
	BUG_ON(!object->refs);
	if (!--object->refs)
		free(object);
}

int object_cmp_key(const struct object *a, const struct object *b)
{
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	int cmp = strcmp(a->namespace, b->namespace);
	return cmp ? cmp : strcmp(a->name, b->name);
}

static uint64_t label_hash(const char *key, const char *value)
{
	return hash_bytes(value, strlen(value), hash_bytes(key, strlen(key), 1));
}

uint64_t object_labels_hash(const struct object *object)
{
	uint64_t sum = 0;
	if (object->kind == KIND_NAMESPACE) {
		const struct namespace *namespace = (const struct namespace *)object;
		for (size_t i = 0; i < namespace->n_labels; i++)
			sum += label_hash(namespace->labels[i].key, namespace->labels[i].value);
	} else if (object->kind == KIND_ENDPOINTSLICE) {
		const struct endpoint_slice *slice = (const struct endpoint_slice *)object;
		sum = slice->service ? label_hash(LABEL_SERVICE_NAME, slice->service) : 0;
		sum += slice->kept ? label_hash("live", slice->kept->live) : 0;
	} else if (object->kind == KIND_SERVICE) {
		const struct service *service = (const struct service *)object;
		sum = service->kept ? label_hash("live", service->kept->kept.live) : 0;
	}
	return sum;
}

/* A name that is too long, holds a dot or begins with a digit (all good for a Gateway, not for a Service) ends in a
 * digest of both names, so that no two are made the same. */
void gateway_service_name(const struct gateway *gateway, char ret[SERVICE_NAME_MAX + 1])
{
	const char *name = gateway->object.name, *class = gateway->gateway_class_name;
	char whole[2 * 253 + 2];
	bool digit = *name >= '0' && *name <= '9';
	size_t n = (size_t)snprintf(whole, sizeof(whole), "%.253s-%.253s", name, class);
	if (n <= SERVICE_NAME_MAX && !digit && !strchr(whole, '.')) {
		memcpy(ret, whole, n + 1);
		return;
	}
	uint64_t hash = hash_bytes(class, strlen(class), hash_bytes(name, strlen(name) + 1, 0));
	size_t room = SERVICE_NAME_MAX - 13 - 2 * digit;
	for (char *p = whole; *p; p++)
		if (*p == '.')
			*p = '-';
	snprintf(ret, SERVICE_NAME_MAX + 1, "%s%.*s-%012llx", digit ? "g-" : "", (int)room, whole,
	         (unsigned long long)(hash >> 16));
}

const struct service_port *service_tcp_port(const struct service *service, uint16_t port)
{
	for (size_t i = 0; i < service->n_ports; i++)
		if (service->ports[i].port == port && strcmp(service->ports[i].protocol, "TCP") == 0)
			return &service->ports[i];
	return NULL;
}

bool object_same_spec(const struct object *a, const struct object *b)
{
	return a->spec_hash - object_labels_hash(a) == b->spec_hash - object_labels_hash(b);
}
