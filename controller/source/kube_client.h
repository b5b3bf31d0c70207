/* Requests to an API server on a libuv loop: libcurl's multi interface, so that all requests and watches share one
 * HTTP/2 connection where the server speaks it. Adds the credentials of the moment to each. Knows HTTP, not objects. */
#ifndef HATCHWAY_SOURCE_KUBE_CLIENT_H
#define HATCHWAY_SOURCE_KUBE_CLIENT_H

#include "controller/source/kubeconfig.h"

#include <uv.h>

/* How a request ended. status 0: no whole answer came. */
struct kube_result {
	int error; /* 0: the answer came whole, whatever its status. -ECANCELED: bytes() has stopped it; others: -errno
	            */
	long status;             /* HTTP's */
	uint64_t retry_after_ms; /* of the answer; 0: not given */
	const char *text;        /* why, for a person: the message of a refusal's Status object, or curl's words; "" */
};

struct kube_request_events {
	/* The head of a success (2xx) has come. May be NULL; must not start or cancel requests. */
	void (*began)(void *ctx);
	/* Bytes of a success's body. False: no more of this one, end() comes. NULL: nobody reads them. Must not start or
	 * cancel requests. */
	bool (*bytes)(void *ctx, const char *bytes, size_t n);
	/* Always comes once, unless cancelled; the request is gone then. May start and cancel others. */
	void (*end)(void *ctx, const struct kube_result *result);
	void *ctx;
};

struct kube_deadlines {
	unsigned connect_ms; /* until a connection stands */
	unsigned silence_s;  /* not one byte for so long: cut */
	unsigned total_ms;   /* 0: none */
};
/* Of a request whose whole answer is to come within ms. */
struct kube_deadlines kube_within(unsigned ms);

struct kube_client;
struct kube_request;

/* access must outlive it. */
MUST_CHECK int kube_client_open(uv_loop_t *loop, const struct kube_access *access, struct kube_client **ret,
                                struct err *reterr);
/* Cancels everything. */
void kube_client_close(struct kube_client *client, void (*cb)(void *ctx), void *ctx);

/* path begins with "/" and is a URL's. */
struct kube_request *kube_get(struct kube_client *client, const char *path, const struct kube_deadlines *deadlines,
                              const struct kube_request_events *events);
/* The same, of an object nothing but its metadata. */
struct kube_request *kube_get_metadata(struct kube_client *client, const char *path,
                                       const struct kube_deadlines *deadlines, const struct kube_request_events *events);
/* The same with a method and a body, which is copied; body NULL: none. method and content_type are literals. A request
 * whose connection died before the answer began may have been carried out, or be sent twice: what is sent must bear it. */
struct kube_request *kube_send(struct kube_client *client, const char *method, const char *path, const char *content_type,
                               const char *body, size_t n, const struct kube_deadlines *deadlines,
                               const struct kube_request_events *events);
void kube_cancel(struct kube_request *request);
/* The connection is not to be trusted any more: every request ends with -ETIMEDOUT, the next ones use a new one. */
void kube_client_reset(struct kube_client *client, const char *why);

#endif
