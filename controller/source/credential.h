/* Who we are right now: the token that rotates in its file, or what an exec plug-in says. Never logs a secret. */
#ifndef HATCHWAY_SOURCE_CREDENTIAL_H
#define HATCHWAY_SOURCE_CREDENTIAL_H

#include "controller/source/kubeconfig.h"

#include <uv.h>

struct credential;

/* access must outlive it. changed: what was asked for by ready() has come, or failed. */
struct credential *credential_open(uv_loop_t *loop, const struct kube_access *access, void (*changed)(void *ctx),
                                   void *ctx);
void credential_close(struct credential *credential, void (*cb)(void *ctx), void *ctx);

/* 1: there is one. 0: a plug-in has been asked, changed() comes. -errno: it has failed, *reterr; asked again next time.
 */
MUST_CHECK int credential_ready(struct credential *credential, struct err *reterr);
/* Of the last ready(); NULL: none, certificates or nothing. */
const char *credential_token(const struct credential *credential);
/* The client certificate and key a plug-in gave, else the kubeconfig's. */
const struct kube_pem *credential_cert(const struct credential *credential);
const struct kube_pem *credential_key(const struct credential *credential);
/* The API server has said 401. */
void credential_refused(struct credential *credential);

#endif
