/* How to reach an API server and who we are there: from a kubeconfig file, or from the Pod we run in. Reads files once;
 * what rotates (token files, exec plug-ins) is kept by name and is credential.h's. */
#ifndef HATCHWAY_SOURCE_KUBECONFIG_H
#define HATCHWAY_SOURCE_KUBECONFIG_H

#include "hatchway/base/arena.h"
#include "hatchway/base/err.h"

#define SERVICE_ACCOUNT_DIR "/var/run/secrets/kubernetes.io/serviceaccount"
#define KUBE_FILE_CEILING (1u << 20)

/* PEM: a file, which is read anew for every connection, or bytes. Neither: not given. */
struct kube_pem {
	const char *path;
	const char *bytes;
	size_t size;
};

struct kube_exec {
	const char *command;     /* NULL: no plug-in */
	const char *api_version; /* client.authentication.k8s.io/v1 or v1beta1 */
	const char **args;
	const char **env; /* NAME=value */
	size_t n_args, n_env;
	bool cluster_info; /* provideClusterInfo */
};

struct kube_access {
	struct arena arena;          /* all of the below */
	const char *server;          /* https://host:port[/path], without a slash at its end */
	const char *tls_server_name; /* NULL: the server's own */
	const char *proxy_url;       /* NULL: as the environment says */
	bool insecure;
	struct kube_pem ca, cert, key;
	const char *token;      /* NULL */
	const char *token_file; /* NULL; wins over token */
	const char *username, *password;
	struct kube_exec exec;
	const char *as; /* impersonation: Impersonate-User; NULL */
};

/* path NULL: in a Pod its service account; else the file $KUBECONFIG names, else ~/.kube/config. context NULL: the
 * current one. -errno: *reterr; *access needs no done() then. */
MUST_CHECK int kube_access_load(struct kube_access *access, const char *path, const char *context, struct err *reterr);
void kube_access_done(struct kube_access *access);

/* A small file, NUL-terminated, in arena. */
MUST_CHECK int kube_read_file(struct arena *arena, const char *path, const char **ret, size_t *ret_n,
                              struct err *reterr);

#endif
