/* The program's door: which command, its help, and the commands that need no loop. */
#include "controller/admin.h"
#include "controller/help.h"
#include "controller/options.h"
#include "controller/question.h"
#include "controller/run.h"
#include "controller/source/file.h"
#include "controller/state_dir.h"

static const char help_text[] =
	"hatchway - Kubernetes Gateway API on a running HAProxy\n"
	"\n"
	"usage: hatchway COMMAND [FLAGS] [ARGUMENTS]\n"
	"\n"
	"  run                      serve the Gateways and routes of a Kubernetes cluster\n"
	"  run --manifests DIR      serve the Gateways and routes of a folder of YAML; saving a file is kubectl apply\n"
	"  init                     write HAProxy's first configuration, with the pool and without a route, into --state-dir;\n"
	"                           what is there already stays. For a HAProxy that is not started by hatchway\n"
	"  check DIR                read a folder once; print every error and every condition that is not as it should be\n"
	"  explain URL              which listener, host, rule and backends answer a request, and why\n"
	"                           (URL: http://host[:port]/path?query or host/path; -X METHOD, -H 'Name: value')\n"
	"  status                   what is there and how it is, as kubectl get shows it\n"
	"  dump WHAT                graph | table | image | plan: each stage between the objects and HAProxy's commands\n"
	"  counters                 commands, reloads, starts and reads since the controller started\n"
	"  version, help\n"
	"\n"
	"hatchway COMMAND --help tells more of each, with examples.\n"
	"\n"
	"explain, status and dump ask the controller running on --state-dir; with --manifests DIR they read that folder\n"
	"themselves and need no controller.\n"
	"\n"
	"flags (environment variable):\n"
	"  --manifests DIR          folder of manifests (HATCHWAY_MANIFESTS)\n"
	"  --kubeconfig FILE        how to reach the cluster (KUBECONFIG; in a Pod its service account, else ~/.kube/config)\n"
	"  --context NAME           the kubeconfig's context (HATCHWAY_CONTEXT; its current one)\n"
	"  --state-dir DIR          everything hatchway writes: haproxy.cfg, maps/, backends/, haproxy.sock (the stats socket,\n"
	"                           level admin), master.sock, hatchway.sock (HATCHWAY_STATE_DIR; /run/hatchway as root)\n"
	"  --status-dir DIR         status of the objects, one file each (HATCHWAY_STATUS_DIR; the manifests' .status);\n"
	"                           on a cluster: there, and nothing to the API server\n"
	"  --lease NAMESPACE/NAME   of several controllers only the holder of this Lease writes (HATCHWAY_LEASE; no other is there)\n"
	"  --identity NAME          ours as its holder, of no other controller (HATCHWAY_IDENTITY; the host's name)\n"
	"  --haproxy PATH           HAProxy 3.4 or newer (HATCHWAY_HAPROXY; beside hatchway, else on PATH); none: it is started by\n"
	"                           somebody else, as haproxy -W -C STATE -S unix@master.sock -f haproxy.cfg -f backends\n"
	"  --port-map L:B,...       listener port L is bound as B, e.g. 80:8080,443:8443 (HATCHWAY_PORT_MAP)\n"
	"  --pool-ports BASE:SIZE   ports bound in advance, for Gateways that come and go without a reload; they double when they\n"
	"                           are used up. As many from BASE+4096 on are for HTTPS (HATCHWAY_POOL_PORTS; none)\n"
	"  --service NAMESPACE/NAME the Service of hatchway's own Pods: each Gateway then gets a Service and addresses of its own,\n"
	"                           and its ports from the pool, by default 20000:64 (HATCHWAY_SERVICE; none)\n"
	"  --class NAME             the GatewayClass that is ours without being written down (HATCHWAY_CLASS; hatchway)\n"
	"  --threads N              HAProxy threads, 0 = HAProxy's choice (HATCHWAY_THREADS; 0)\n"
	"  --haproxy-stop-on-exit   end HAProxy with the controller (HATCHWAY_HAPROXY_STOP_ON_EXIT); else it serves on and is\n"
	"                           taken over by the next controller\n"
	"  --health-address A:P     run: /healthz, /readyz and /metrics over HTTP, e.g. :8081 (HATCHWAY_HEALTH_ADDRESS; none)\n"
	"  --log-level LEVEL        error, warn, info, debug (HATCHWAY_LOG_LEVEL; info)\n"
	"  -X, --request METHOD     explain: the request's method (GET)\n"
	"  -H, --header 'N: V'      explain: one request header; may be repeated\n"
	"  --listener KEY           explain: the listener, where the port alone does not say\n"
	"\n"
	"exit codes: 0 fine; 1 problems were found, or the work failed; 2 wrong usage\n";

/* ---- a folder read once ---- */

struct offline {
	struct core *core;
	size_t problems;
};

static void on_put(void *ctx, struct object *object)
{
	struct offline *offline = ctx;
	core_put(offline->core, object);
}

static void on_delete(void *ctx, enum object_kind kind, const char *namespace, const char *name)
{
	struct offline *offline = ctx;
	core_delete(offline->core, kind, namespace, name);
}

static void on_refusals(void *ctx, const struct haproxy_refusal *refusals, size_t n)
{
	core_refused(ctx, refusals, n);
}

/* What a running controller would hear from HAProxy's side, as far as no HAProxy is needed to know it. */
static void on_settled(void *ctx)
{
	struct offline *offline = ctx;
	struct table_changes changes = {0};
	core_update(offline->core, &changes);
	table_changes_done(&changes);
	haproxy_check(core_table(offline->core), on_refusals, offline->core);
}

static void on_problem(void *ctx, const char *path, unsigned line, const char *text)
{
	struct offline *offline = ctx;
	if (!text)
		return;
	offline->problems++;
	if (line)
		fprintf(stderr, "%s:%u: %s\n", path, line, text);
	else
		fprintf(stderr, "%s: %s\n", path, text);
}

static int offline_read(struct offline *offline, const struct options *options, const char *dir)
{
	const struct source_events events = {on_put, on_delete, on_settled, on_problem, offline};
	struct core_options core_options;
	struct err err = {""};
	options_core(options, &core_options);
	*offline = (struct offline){.core = core_new(&core_options)};
	int ret = file_source_read(dir, &events, &err);
	if (ret)
		fprintf(stderr, "hatchway: %s\n", err.text);
	return ret;
}

/* ---- commands ---- */

static int check(const struct options *options)
{
	const char *dir = options->n_words == 1 ? options->words[0] : options->manifests;
	struct offline offline;
	struct buf out, named;
	size_t remarks;
	if (!dir || options->n_words > 1) {
		fprintf(stderr, "usage: hatchway check DIR\n");
		return 2;
	}
	int ret = offline_read(&offline, options, dir);
	buf_init(&out, (size_t)256 << 20);
	buf_init(&named, (size_t)256 << 20);
	if (!ret) {
		const char *status[] = {"status"};
		question_answer(offline.core, status, 1, &out); /* names the problems, too */
		offline.problems += core_problems(offline.core, &named);
		remarks = core_remarks(offline.core, &named);
		printf("%s\n%zu problem%s", out.data, offline.problems, offline.problems == 1 ? "" : "s");
		if (remarks)
			printf(", %zu remark%s", remarks, remarks == 1 ? "" : "s");
		putchar('\n');
	}
	buf_done(&out);
	buf_done(&named);
	core_free(offline.core);
	return ret || offline.problems ? 1 : 0;
}

static int ask_offline(const struct options *options, const char **words, int n)
{
	struct offline offline;
	struct buf out;
	int code = 1;
	buf_init(&out, (size_t)256 << 20);
	if (!offline_read(&offline, options, options->manifests)) {
		code = question_answer(offline.core, words, n, &out);
		if (!code && offline.problems && !strcmp(words[0], "status"))
			code = 1; /* the files' problems are named already */
		fputs(out.data, code > 1 ? stderr : stdout);
	}
	buf_done(&out);
	core_free(offline.core);
	return code;
}

static int ask_running(const struct options *options, const char **words, int n)
{
	char path[4096];
	snprintf(path, sizeof(path), "%.4000s/hatchway.sock", options->state_dir);
	int code = admin_ask(path, words, n);
	if (code >= 0)
		return code;
	fprintf(stderr, "hatchway: %s: %s; is `hatchway run` running with this --state-dir? (--manifests DIR reads a folder instead)\n",
	        path, strerror(-code));
	return 1;
}

static int ask(const char *command, const struct options *options)
{
	const char *words[80] = {command};
	int n = 1;
	bool explaining = !strcmp(command, "explain"), dumping = !strcmp(command, "dump");
	if (options->n_words != (explaining || dumping)) {
		fprintf(stderr, "usage: hatchway %s%s\n", command, explaining ? " URL" : dumping ? " graph|table|image|plan" : "");
		return 2;
	}
	if (options->n_words)
		words[n++] = options->words[0];
	if (explaining) {
		words[n++] = options->method;
		words[n++] = options->listener ? options->listener : "";
		for (size_t i = 0; i < options->n_headers; i++)
			words[n++] = options->headers[i];
	}
	return options->manifests ? ask_offline(options, words, n) : ask_running(options, words, n);
}

static int no_command(const char *command)
{
	fprintf(stderr, "hatchway: no command \"%s\"; see hatchway --help\n", command);
	return 2;
}

/* The command's page, and the flags of all. */
static int help(const char *command)
{
	const char *page = help_of(command);
	if (!page)
		return no_command(command);
	printf("%s\n%s", page, strstr(help_text, "flags (environment variable):"));
	return 0;
}

int main(int argc, char **argv)
{
	struct options options;
	struct err err = {""};
	const char *command = argc > 1 ? argv[1] : "help";
	if (!strcmp(command, "help") && argc > 2)
		return help(argv[2]);
	if (!strcmp(command, "help") || !strcmp(command, "--help") || !strcmp(command, "-h")) {
		fputs(help_text, argc > 1 ? stdout : stderr);
		return argc > 1 ? 0 : 2;
	}
	if (!strcmp(command, "version") || !strcmp(command, "--version")) {
		printf("hatchway %s\n", HATCHWAY_VERSION);
		return 0;
	}
	int ret = options_parse(&options, argc - 1, argv + 1, &err);
	if (ret > 0)
		return help(command);
	if (ret < 0) {
		fprintf(stderr, "hatchway: %s\n", err.text);
		return 2;
	}
	if (!strcmp(command, "check"))
		return check(&options);
	if (!strcmp(command, "explain") || !strcmp(command, "status") || !strcmp(command, "dump") ||
	    !strcmp(command, "counters"))
		return ask(command, &options);
	if (!help_of(command))
		return no_command(command);
	if (options.n_words) {
		fprintf(stderr, "usage: hatchway %s [FLAGS]; see hatchway %s --help\n", command, command);
		return 2;
	}
	return !strcmp(command, "init") ? state_dir_init(&options) : run(&options);
}
