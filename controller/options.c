/* Flags by getopt_long; every flag with a value has an environment variable, which the flag overrides. */
#include "controller/options.h"

#include "controller/health.h"
#include "hatchway/base/log.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_POOL_BASE 20000
#define DEFAULT_POOL_SIZE 64

#define ALNUM "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define TOKEN ALNUM "!#$%&'*+-.^_`|~" /* RFC 9110 */

enum { OPT_MANIFESTS = 256, OPT_KUBECONFIG, OPT_CONTEXT, OPT_STATE, OPT_STATUS, OPT_LEASE, OPT_IDENTITY, OPT_HAPROXY, OPT_CLASS, OPT_PORTS, OPT_POOL, OPT_SERVICE, OPT_THREADS, OPT_STOP, OPT_HEALTH, OPT_LISTENER,
       OPT_LOG };

static const struct {
	struct option option;
	const char *variable;
} flags[] = {
	{{"manifests", required_argument, NULL, OPT_MANIFESTS}, "HATCHWAY_MANIFESTS"},
	{{"kubeconfig", required_argument, NULL, OPT_KUBECONFIG}, "KUBECONFIG"},
	{{"context", required_argument, NULL, OPT_CONTEXT}, "HATCHWAY_CONTEXT"},
	{{"state-dir", required_argument, NULL, OPT_STATE}, "HATCHWAY_STATE_DIR"},
	{{"status-dir", required_argument, NULL, OPT_STATUS}, "HATCHWAY_STATUS_DIR"},
	{{"lease", required_argument, NULL, OPT_LEASE}, "HATCHWAY_LEASE"},
	{{"identity", required_argument, NULL, OPT_IDENTITY}, "HATCHWAY_IDENTITY"},
	{{"haproxy", required_argument, NULL, OPT_HAPROXY}, "HATCHWAY_HAPROXY"},
	{{"class", required_argument, NULL, OPT_CLASS}, "HATCHWAY_CLASS"},
	{{"port-map", required_argument, NULL, OPT_PORTS}, "HATCHWAY_PORT_MAP"},
	{{"pool-ports", required_argument, NULL, OPT_POOL}, "HATCHWAY_POOL_PORTS"},
	{{"service", required_argument, NULL, OPT_SERVICE}, "HATCHWAY_SERVICE"},
	{{"threads", required_argument, NULL, OPT_THREADS}, "HATCHWAY_THREADS"},
	{{"haproxy-stop-on-exit", no_argument, NULL, OPT_STOP}, "HATCHWAY_HAPROXY_STOP_ON_EXIT"},
	{{"health-address", required_argument, NULL, OPT_HEALTH}, "HATCHWAY_HEALTH_ADDRESS"},
	{{"log-level", required_argument, NULL, OPT_LOG}, "HATCHWAY_LOG_LEVEL"},
	{{"listener", required_argument, NULL, OPT_LISTENER}, NULL},
	{{"request", required_argument, NULL, 'X'}, NULL},
	{{"header", required_argument, NULL, 'H'}, NULL},
	{{"help", no_argument, NULL, 'h'}, NULL},
};

static bool parse_number(const char *text, unsigned long max, unsigned long *ret, const char **ret_end)
{
	char *end;
	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret = strtoul(text, &end, 10);
	*ret_end = end;
	return !errno && *ret <= max;
}

static int parse_port_map(struct options *options, const char *text, struct err *reterr)
{
	options->n_port_map = 0;
	for (const char *p = text;; p++) {
		unsigned long port, bind_port;
		if (options->n_port_map == MAX_PORT_MAP)
			return err_set(reterr, -EINVAL, "--port-map: more than %d pairs", MAX_PORT_MAP);
		if (!parse_number(p, 65535, &port, &p) || *p != ':' || !parse_number(p + 1, 65535, &bind_port, &p) || !port ||
		    !bind_port || (*p && *p != ','))
			return err_set(reterr, -EINVAL, "--port-map: expected PORT:BOUND,… like 80:8080,443:8443, not \"%s\"",
			               text);
		for (size_t i = 0; i < options->n_port_map; i++)
			if (options->port_map[i].port == port || options->port_map[i].bind_port == bind_port)
				return err_set(reterr, -EINVAL, "--port-map: a port is in two pairs of \"%s\"", text);
		options->port_map[options->n_port_map++] = (struct port_map){(uint16_t)port, (uint16_t)bind_port};
		if (!*p)
			return 0;
	}
}

/* Both become parts of URLs. */
static bool is_kube_name(const char *text, size_t n, size_t max)
{
	return n && n <= max && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-.") >= n && *text != '.' && *text != '-';
}

/* The name of "NAMESPACE/NAME"; NULL: it is no such thing. */
static const char *split_names(const char *text, size_t max, char ret_namespace[64])
{
	const char *slash = strchr(text, '/');
	size_t n = slash ? (size_t)(slash - text) : 0;
	if (!is_kube_name(text, n, 63) || memchr(text, '.', n) || !is_kube_name(slash + 1, strlen(slash + 1), max))
		return NULL;
	snprintf(ret_namespace, 64, "%.*s", (int)n, text);
	return slash + 1;
}

static int parse_lease(struct options *options, const char *text, struct err *reterr)
{
	const char *name = split_names(text, 253, options->lease_namespace);
	if (!name)
		return err_set(reterr, -EINVAL, "--lease: NAMESPACE/NAME, not \"%s\"", text);
	options->lease_name = name;
	return 0;
}

static int parse_pool(struct options *options, const char *text, struct err *reterr)
{
	unsigned long base, size;
	const char *p = text;
	if (!parse_number(p, 65535, &base, &p) || *p != ':' || !parse_number(p + 1, 65535, &size, &p) || *p || !base || !size ||
	    base + size > 65536)
		return err_set(reterr, -EINVAL, "--pool-ports: expected BASE:SIZE like 20000:64, ports up to 65535, not \"%s\"",
		               text);
	options->pool_base = (uint16_t)base;
	options->pool_size = (unsigned)size;
	return 0;
}

static int parse_service(struct options *options, const char *text, struct err *reterr)
{
	const char *name = split_names(text, 63, options->service_namespace);
	if (!name || strchr(name, '.'))
		return err_set(reterr, -EINVAL, "--service: expected NAMESPACE/NAME, not \"%s\"", text);
	options->service_name = name;
	return 0;
}

static int parse_log_level(const char *text, struct err *reterr)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (!strcmp(text, names[i])) {
			log_level = (enum log_level)i;
			return 0;
		}
	}
	return err_set(reterr, -EINVAL, "--log-level: error, warn, info or debug, not \"%s\"", text);
}

static int take(struct options *options, int id, const char *value, struct err *reterr)
{
	unsigned long number;
	const char *end;
	switch (id) {
	case OPT_MANIFESTS:
		options->manifests = value;
		return 0;
	case OPT_KUBECONFIG:
		options->kubeconfig = value;
		return 0;
	case OPT_CONTEXT:
		options->context = value;
		return 0;
	case OPT_STATE:
		options->state_dir = value;
		return 0;
	case OPT_STATUS:
		options->status_dir = value;
		return 0;
	case OPT_LEASE:
		return parse_lease(options, value, reterr);
	case OPT_IDENTITY:
		options->identity = value;
		return 0;
	case OPT_HAPROXY:
		options->adopt = !strcmp(value, "none");
		options->haproxy = options->adopt ? NULL : value;
		return 0;
	case OPT_CLASS:
		if (!is_kube_name(value, strlen(value), 253))
			return err_set(reterr, -EINVAL, "--class: the name of a GatewayClass, not \"%s\"", value);
		options->class = value;
		return 0;
	case OPT_PORTS:
		return parse_port_map(options, value, reterr);
	case OPT_POOL:
		return parse_pool(options, value, reterr);
	case OPT_SERVICE:
		return parse_service(options, value, reterr);
	case OPT_THREADS:
		if (!parse_number(value, 1024, &number, &end) || *end)
			return err_set(reterr, -EINVAL, "--threads: a number from 0 to 1024, not \"%s\"", value);
		options->threads = (unsigned)number;
		return 0;
	case OPT_STOP:
		options->stop_on_exit = !value || (strcmp(value, "0") && strcmp(value, "false"));
		return 0;
	case OPT_HEALTH:
		options->health_address = value;
		return health_check_address(value, reterr);
	case OPT_LOG:
		return parse_log_level(value, reterr);
	case OPT_LISTENER:
		options->listener = value;
		return 0;
	case 'X':
		options->method = value;
		return 0;
	default:
		BUG_ON(id != 'H');
		if (options->n_headers == ARRAY_LEN(options->headers) ||
		    !strspn(value, TOKEN) || value[strspn(value, TOKEN)] != ':')
			return err_set(reterr, -EINVAL, "-H: expected 'Name: value', not \"%s\"", value);
		options->headers[options->n_headers++] = value;
		return 0;
	}
}

/* Root: /run/hatchway. Others: the session's runtime folder, else a private one under /tmp. Short: it holds sockets. */
static const char *default_state_dir(void)
{
	static char path[108];
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	if (geteuid() == 0)
		return "/run/hatchway";
	if (runtime && *runtime == '/' && strlen(runtime) < 60)
		snprintf(path, sizeof(path), "%s/hatchway", runtime);
	else
		snprintf(path, sizeof(path), "/tmp/hatchway-%u", (unsigned)geteuid());
	return path;
}

static const char *default_identity(void)
{
	static char name[256];
	if (gethostname(name, sizeof(name) - 1) || !*name)
		snprintf(name, sizeof(name), "hatchway-%ld", (long)getpid());
	return name;
}

static bool runnable(const char *path)
{
	struct stat st;
	return !access(path, X_OK) && !stat(path, &st) && S_ISREG(st.st_mode);
}

/* The private one beside our own binary (build/haproxy/haproxy), else the first on PATH. */
static const char *default_haproxy(void)
{
	static char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 32);
	if (n > 0) {
		path[n] = 0;
		char *slash = strrchr(path, '/');
		if (slash) {
			strcpy(slash, "/haproxy/haproxy");
			if (runnable(path))
				return path;
		}
	}
	const char *dirs = getenv("PATH");
	for (const char *dir = dirs ? dirs : "/usr/sbin:/usr/bin"; *dir;) {
		size_t length = strcspn(dir, ":");
		int written = snprintf(path, sizeof(path), "%.*s/haproxy", (int)length, dir);
		if (length && written > 0 && (size_t)written < sizeof(path) && runnable(path))
			return path;
		dir += length + (dir[length] == ':');
	}
	return NULL;
}

int options_parse(struct options *options, int argc, char **argv, struct err *reterr)
{
	struct option list[ARRAY_LEN(flags) + 1] = {0};
	*options = (struct options){.class = "hatchway", .method = "GET"};
	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		const char *value = flags[i].variable ? getenv(flags[i].variable) : NULL;
		list[i] = flags[i].option;
		int ret = value && *value ? take(options, flags[i].option.val, value, reterr) : 0;
		if (ret)
			return ret;
	}
	opterr = 0;
	for (int id; (id = getopt_long(argc, argv, ":X:H:h", list, NULL)) != -1;) {
		if (id == 'h')
			return 1;
		if (id == ':')
			return err_set(reterr, -EINVAL, "%s: needs a value", argv[optind - 1]);
		if (id == '?')
			return err_set(reterr, -EINVAL, "%s: no such flag; see hatchway --help", argv[optind - 1]);
		int ret = take(options, id, optarg, reterr);
		if (ret)
			return ret;
	}
	if (options->service_name && !options->pool_size) { /* infrastructure needs a pool */
		options->pool_base = DEFAULT_POOL_BASE;
		options->pool_size = DEFAULT_POOL_SIZE;
	}
	if (!options->state_dir)
		options->state_dir = default_state_dir();
	if (!options->haproxy && !options->adopt)
		options->haproxy = default_haproxy();
	if (!options->identity)
		options->identity = default_identity();
	if (options->adopt && options->stop_on_exit)
		return err_set(reterr, -EINVAL, "--haproxy-stop-on-exit: the HAProxy of --haproxy none is not ours to end");
	options->words = argv + optind;
	options->n_words = argc - optind;
	return 0;
}

const char *options_flag(size_t i, const char **ret_variable)
{
	if (i >= ARRAY_LEN(flags))
		return NULL;
	*ret_variable = flags[i].variable;
	return flags[i].option.name;
}

/* What a Gateway's spec.addresses may ask for: the addresses of this machine's interfaces, as inet_ntop() writes them. */
static const char *const *machine_addresses(size_t *ret_n)
{
	static char texts[256][INET6_ADDRSTRLEN];
	static const char *list[256];
	struct ifaddrs *all;
	size_t n = 0;
	if (getifaddrs(&all))
		all = NULL;
	for (struct ifaddrs *at = all; at && n < ARRAY_LEN(list); at = at->ifa_next) {
		const void *address = NULL;
		if (at->ifa_addr && at->ifa_addr->sa_family == AF_INET)
			address = &((struct sockaddr_in *)(void *)at->ifa_addr)->sin_addr;
		else if (at->ifa_addr && at->ifa_addr->sa_family == AF_INET6)
			address = &((struct sockaddr_in6 *)(void *)at->ifa_addr)->sin6_addr;
		if (address && inet_ntop(at->ifa_addr->sa_family, address, texts[n], sizeof(texts[n]))) {
			list[n] = texts[n];
			n++;
		}
	}
	if (all)
		freeifaddrs(all);
	*ret_n = n;
	return list;
}

void options_core(const struct options *options, struct core_options *ret)
{
	*ret = (struct core_options){
		.controller_name = CONTROLLER_NAME,
		.implicit_class = options->class,
		.port_map = options->port_map,
		.n_port_map = options->n_port_map,
		.implicit_namespaces = true,
	};
	if (options->service_name) {
		ret->pool_base = options->pool_base;
		ret->pods_namespace = options->service_namespace;
		ret->pods_service = options->service_name;
	}
	ret->addresses = machine_addresses(&ret->n_addresses);
}
