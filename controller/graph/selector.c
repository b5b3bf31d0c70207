#include "controller/graph/selector.h"

#include <string.h>

static const char *label(const char *key, const char *namespace, const struct namespace *object)
{
	for (size_t i = 0; object && i < object->n_labels; i++)
		if (strcmp(object->labels[i].key, key) == 0)
			return object->labels[i].value;
	return strcmp(key, "kubernetes.io/metadata.name") == 0 ? namespace : NULL;
}

static bool is_one_of(const char *value, const struct label_expression *e)
{
	for (size_t i = 0; value && i < e->n_values; i++)
		if (strcmp(value, e->values[i]) == 0)
			return true;
	return false;
}

static bool holds(const struct label_expression *e, const char *value)
{
	if (strcmp(e->op, "In") == 0)
		return is_one_of(value, e);
	if (strcmp(e->op, "NotIn") == 0)
		return !is_one_of(value, e);
	if (strcmp(e->op, "Exists") == 0)
		return value != NULL;
	return strcmp(e->op, "DoesNotExist") == 0 && !value;
}

bool selector_matches(const struct label_selector *selector, const char *namespace, const struct namespace *object)
{
	for (size_t i = 0; i < selector->n_match_labels; i++) {
		const char *value = label(selector->match_labels[i].key, namespace, object);
		if (!value || strcmp(value, selector->match_labels[i].value) != 0)
			return false;
	}
	for (size_t i = 0; i < selector->n_match_expressions; i++) {
		const struct label_expression *e = &selector->match_expressions[i];
		if (!holds(e, label(e->key, namespace, object)))
			return false;
	}
	return true;
}
