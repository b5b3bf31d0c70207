/* How a write to the API server ended, for figures. */
#ifndef HATCHWAY_SOURCE_API_RESULT_H
#define HATCHWAY_SOURCE_API_RESULT_H

#include "controller/source/kube_client.h"

enum api_result {
	API_WRITTEN,
	API_CONFLICT, /* somebody else was faster */
	API_REFUSED,
	API_FAILED, /* the server is away, or wants to be asked later */
	API_RESULT_COUNT
};

static inline const char *api_result_name(enum api_result result)
{
	static const char *const names[API_RESULT_COUNT] = {"written", "conflict", "refused", "failed"};
	return names[result];
}

static inline enum api_result api_result_of(const struct kube_result *result)
{
	const long status = result->status;
	if (result->error || status == 401 || status == 429 || status >= 500)
		return API_FAILED;
	return status < 300 ? API_WRITTEN : status == 409 ? API_CONFLICT : API_REFUSED;
}

#endif
