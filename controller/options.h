/* The command line: flags, their environment variables and defaults. Owns nothing; strings live as long as argv. */
#ifndef HATCHWAY_OPTIONS_H
#define HATCHWAY_OPTIONS_H

#include "controller/core.h"

#define MAX_PORT_MAP 64

struct options {
	const char *manifests;  /* --manifests; NULL */
	const char *kubeconfig; /* --kubeconfig; NULL: the Pod's own, or ~/.kube/config */
	const char *context;    /* --context; NULL: the kubeconfig's current one */
	const char *state_dir;  /* --state-dir */
	const char *status_dir; /* --status-dir; NULL: DIR/.status */
	char lease_namespace[64];
	const char *lease_name; /* --lease; NULL: no other controller */
	const char *identity;   /* --identity; the host's name */
	const char *haproxy;    /* --haproxy; NULL: none found, or none to be started */
	bool adopt;             /* --haproxy none: somebody else starts it */
	const char *class;      /* --class */
	const char *health_address; /* --health-address; NULL: nobody is told */
	struct port_map port_map[MAX_PORT_MAP];
	size_t n_port_map;
	uint16_t pool_base;     /* --pool-ports BASE:SIZE */
	unsigned pool_size;     /* 0: no pool */
	char service_namespace[64];
	const char *service_name; /* --service NAMESPACE/NAME: of hatchway's own Pods; NULL: no infrastructure */
	unsigned threads;       /* --threads; 0: HAProxy's own choice */
	bool stop_on_exit;      /* --haproxy-stop-on-exit */
	const char *method;     /* explain -X */
	const char *headers[64]; /* explain -H */
	size_t n_headers;
	const char *listener;   /* explain --listener */
	char **words;           /* what is left: arguments of the command */
	int n_words;
};

/* argv from the command's name on. 0; 1: help was printed; -EINVAL: *reterr says what is wrong with which flag. */
MUST_CHECK int options_parse(struct options *options, int argc, char **argv, struct err *reterr);
/* The i-th flag, without dashes, and its environment variable or NULL; NULL: there are no more. */
const char *options_flag(size_t i, const char **ret_variable);
void options_core(const struct options *options, struct core_options *ret);

#endif
