/* Whether an object in the API server has all that a document says, whatever else it has. */
#include "controller/infra/infra.h"

#include <string.h>

/* The API's merge keys (listType=map) of the lists that documents hold; other lists are one value. */
static const char *merge_key(enum object_kind kind, const char *field)
{
	if (strcmp(field, "ownerReferences") == 0)
		return "uid";
	return kind == KIND_SERVICE && strcmp(field, "ports") == 0 ? "port" : NULL;
}

static bool is_within(enum object_kind kind, const char *field, const json_t *wanted, const json_t *live);

static const json_t *find_item(const json_t *list, const char *key, const json_t *like)
{
	size_t i;
	json_t *item;
	json_array_foreach((json_t *)(uintptr_t)list, i, item)
		if (json_equal(json_object_get(item, key), json_object_get(like, key)))
			return item;
	return NULL;
}

static bool is_list_within(enum object_kind kind, const char *field, const json_t *wanted, const json_t *live)
{
	const char *key = merge_key(kind, field);
	if (!key && json_array_size(wanted) != json_array_size(live))
		return false;
	for (size_t i = 0; i < json_array_size(wanted); i++) {
		const json_t *item = json_array_get(wanted, i);
		const json_t *there = key ? find_item(live, key, item) : json_array_get(live, i);
		if (!is_within(kind, "", item, there))
			return false;
	}
	return true;
}

static bool is_within(enum object_kind kind, const char *field, const json_t *wanted, const json_t *live)
{
	const char *key;
	json_t *value;
	if (json_is_array(wanted))
		return is_list_within(kind, field, wanted, live);
	if (!json_is_object(wanted))
		return json_equal(wanted, live);
	json_object_foreach((json_t *)(uintptr_t)wanted, key, value)
		if (!is_within(kind, key, value, json_object_get(live, key)))
			return false;
	return true;
}

bool infra_is_applied(enum object_kind kind, const json_t *document, const char *live)
{
	json_t *object = json_loads(live, 0, NULL);
	bool applied = object && is_within(kind, "", document, object);
	json_decref(object);
	return applied;
}
