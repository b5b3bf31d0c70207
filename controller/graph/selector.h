/* Kubernetes label selectors. */
#ifndef HATCHWAY_GRAPH_SELECTOR_H
#define HATCHWAY_GRAPH_SELECTOR_H

#include "controller/object/object.h"

/* namespace: its name, which is also its label kubernetes.io/metadata.name, as an API server sets it.
 * object: the Namespace, or NULL: it has no other labels. An empty selector selects everything. */
bool selector_matches(const struct label_selector *selector, const char *namespace, const struct namespace *object);

#endif
