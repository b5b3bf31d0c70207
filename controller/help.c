#include "controller/help.h"

#include <stddef.h>
#include <string.h>

static const struct {
	const char *command, *text;
} pages[] = {
	{"run",
	 "usage: hatchway run [--manifests DIR | --kubeconfig FILE] [FLAGS]\n"
	 "\n"
	 "Serves Gateways and HTTPRoutes on a running HAProxy until SIGTERM, SIGINT or SIGHUP. HAProxy is started if none\n"
	 "serves from --state-dir yet, else taken over as it is, without a reload; it outlives hatchway unless\n"
	 "--haproxy-stop-on-exit is given. Every change is applied through HAProxy's stats socket; only a bind that comes or\n"
	 "goes is a reload.\n"
	 "\n"
	 "With --manifests the objects are the YAML files of a folder and its sub-folders: saving one is kubectl apply,\n"
	 "removing one is kubectl delete, a broken one keeps its last good content. Without, they are those of the API server\n"
	 "that --kubeconfig, the Pod's service account or ~/.kube/config names.\n"
	 "\n"
	 "One line is logged to standard error for each decision: what was put or deleted, applied, refused, and each\n"
	 "condition that turned bad (warn) or good again (info). --health-address answers GET /healthz (200: alive), /readyz\n"
	 "(200: HAProxy has all that is known, but for what it refused, which `hatchway status` tells; 503 and why not) and /metrics (Prometheus).\n"
	 "\n"
	 "examples:\n"
	 "  hatchway run --manifests ./manifests --state-dir ./state --port-map 80:8080\n"
	 "  hatchway run --kubeconfig ~/.kube/config --state-dir ./state --health-address :8081\n"
	 "  curl -s localhost:8081/readyz\n"},
	{"init",
	 "usage: hatchway init --state-dir DIR [--pool-ports BASE:SIZE] [--threads N]\n"
	 "\n"
	 "Writes HAProxy's first configuration into --state-dir, with the pool's ports and without a route, if none is there.\n"
	 "For a HAProxy that somebody else starts, such as the other container of a Pod; `hatchway run --haproxy none` then\n"
	 "takes it over. Whichever of the two starts first, the result is the same.\n"
	 "\n"
	 "example:\n"
	 "  hatchway init --state-dir /state --pool-ports 20000:64\n"},
	{"check",
	 "usage: hatchway check DIR [FLAGS]\n"
	 "\n"
	 "Reads a folder once, as `run --manifests` would, and prints what is there, every file that cannot be read (with its\n"
	 "line), every condition that is not as it should be, and remarks: what the API allows, but nobody means. Needs no\n"
	 "HAProxy and no controller.\n"
	 "\n"
	 "Exits with 0 without problems (remarks are none), 1 with some, 2 if called wrongly.\n"
	 "\n"
	 "examples:\n"
	 "  hatchway check ./manifests\n"
	 "  hatchway check ./manifests --port-map 80:8080 || echo 'not like this'\n"},
	{"explain",
	 "usage: hatchway explain URL [-X METHOD] [-H 'Name: value']... [--listener KEY] [--state-dir DIR | --manifests DIR]\n"
	 "\n"
	 "Walks a request through listener, hosts and rules as HAProxy would, prints each test on the way (* holds, - does not,\n"
	 "and which part), the rule that wins, and the backends with their shares and endpoints. Where the answer is 500, 503\n"
	 "or 404 it names the object and field behind it. Nothing is sent anywhere.\n"
	 "\n"
	 "URL is http://host[:port]/path?query, or host/path for port 80. The port is the Gateway's, or the one bound for it.\n"
	 "\n"
	 "Exits with 0 if the request was followed to its end, whatever that is, 2 if nobody listens there, 1 if no controller\n"
	 "answers.\n"
	 "\n"
	 "examples:\n"
	 "  hatchway explain helloworld.sample.com/hello\n"
	 "  hatchway explain -X POST -H 'X-Version: 2' 'http://shop.sample.com:8080/cart?item=7'\n"
	 "  hatchway explain --manifests ./manifests helloworld.sample.com/hello\n"},
	{"status",
	 "usage: hatchway status [--state-dir DIR | --manifests DIR]\n"
	 "\n"
	 "GatewayClasses, Gateways and routes as kubectl get shows them, then every condition that is not as it should be\n"
	 "with its reason and message, what could not be read, and remarks.\n"
	 "\n"
	 "Exits with 0 if all is well, 1 if something is not (HAProxy is down, or has not all of it yet) or no controller\n"
	 "answers, 2 if it was asked wrongly.\n"
	 "\n"
	 "example:\n"
	 "  hatchway status --state-dir ./state\n"},
	{"dump",
	 "usage: hatchway dump graph|table|image|plan [--state-dir DIR | --manifests DIR]\n"
	 "\n"
	 "The stages between the objects and HAProxy: graph, who attaches to whom; table, what is to be done with which\n"
	 "request; image, the maps, backends and servers that HAProxy shall hold; plan, the commands that bring an empty\n"
	 "HAProxy there.\n"
	 "\n"
	 "examples:\n"
	 "  hatchway dump table --state-dir ./state\n"
	 "  hatchway dump plan --manifests ./manifests\n"},
	{"counters",
	 "usage: hatchway counters [--state-dir DIR]\n"
	 "\n"
	 "Since the controller started: changing commands sent to HAProxy, refused ones, reloads, starts of HAProxy, reads of\n"
	 "all it holds, removals that wait, the newest generation and the one served; in a cluster, each kind's watch.\n"
	 "--health-address tells the same as metrics.\n"
	 "\n"
	 "example:\n"
	 "  hatchway counters --state-dir ./state\n"},
};

const char *help_of(const char *command)
{
	for (size_t i = 0; i < sizeof(pages) / sizeof(*pages); i++)
		if (!strcmp(pages[i].command, command))
			return pages[i].text;
	return NULL;
}
