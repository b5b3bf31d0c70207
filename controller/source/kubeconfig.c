/* Owns the meaning of a kubeconfig: contexts, clusters, users, data fields, paths beside the file. What would change
 * who we are and is not supported is an error, never left out. */
#include "controller/source/kubeconfig.h"

#include "controller/object/format.h"
#include "controller/object/schema.h"
#include "controller/source/yaml.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct reader {
	struct kube_access *access;
	const char *path;
	char dir[4096];
	struct err *err;
};

int kube_read_file(struct arena *arena, const char *path, const char **ret, size_t *ret_n, struct err *reterr)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	struct stat st;
	if (fd < 0)
		return err_set(reterr, -errno, "%s: %s", path, strerror(errno));
	char *bytes = xmalloc(KUBE_FILE_CEILING + 1);
	size_t n = 0;
	ssize_t got = fstat(fd, &st) || !S_ISREG(st.st_mode) ? -1 : 0;
	if (!got)
		while (n <= KUBE_FILE_CEILING && (got = read(fd, bytes + n, KUBE_FILE_CEILING + 1 - n)) > 0)
			n += (size_t)got;
	close(fd);
	int status = 0;
	if (got < 0)
		status = err_set(reterr, -EIO, "%s: cannot be read", path);
	else if (n > KUBE_FILE_CEILING)
		status = err_set(reterr, -EFBIG, "%s: larger than %u bytes", path, KUBE_FILE_CEILING);
	if (!status) {
		*ret = arena_strndup(arena, bytes, n);
		*ret_n = n;
	}
	free(bytes);
	return status;
}

void kube_access_done(struct kube_access *access)
{
	arena_done(&access->arena);
}

/* ---- pieces ---- */

static const char *text_of(struct reader *reader, const struct node *map, const char *key)
{
	const char *text = node_text(map, key);
	return text && *text ? arena_strdup(&reader->access->arena, text) : NULL;
}

static const char *path_of(struct reader *reader, const struct node *map, const char *key)
{
	const char *text = node_text(map, key);
	if (!text || !*text)
		return NULL;
	if (*text == '/')
		return arena_strdup(&reader->access->arena, text);
	return arena_printf(&reader->access->arena, "%s/%s", reader->dir, text);
}

/* field-data (base64) wins over field (a path), as with kubectl. */
static int read_pem(struct reader *reader, const struct node *map, const char *field, struct kube_pem *ret)
{
	char data_field[64];
	snprintf(data_field, sizeof(data_field), "%s-data", field);
	const char *data = node_text(map, data_field);
	ret->path = path_of(reader, map, field);
	if (!data || !*data)
		return 0;
	long size = format_base64(data, NULL);
	if (size < 0)
		return err_set(reader->err, -EINVAL, "%s: %s is not base64", reader->path, data_field);
	char *bytes = arena_alloc(&reader->access->arena, (size_t)size + 1);
	(void)format_base64(data, bytes);
	*ret = (struct kube_pem){NULL, bytes, (size_t)size};
	return 0;
}

/* The item called name of a list of {name: …, KIND: {…}}. */
static int find_named(struct reader *reader, const struct node *root, const char *list, const char *kind,
                      const char *name, const struct node **ret)
{
	const struct node *items = node_get(root, list);
	for (size_t i = 0; items && items->type == NODE_LIST && i < items->n; i++) {
		if (node_is(items->items[i], "name", name)) {
			*ret = node_get(items->items[i], kind);
			return 0;
		}
	}
	return err_set(reader->err, -ENOENT, "%s: no %s \"%s\"", reader->path, kind, name);
}

static int read_cluster(struct reader *reader, const struct node *cluster)
{
	struct kube_access *access = reader->access;
	const char *server = node_text(cluster, "server");
	if (!server || (strncmp(server, "https://", 8) && strncmp(server, "http://", 7)))
		return err_set(reader->err, -EINVAL, "%s: the cluster's server is no http(s) URL", reader->path);
	size_t n = strlen(server);
	while (n && server[n - 1] == '/')
		n--;
	access->server = arena_strndup(&access->arena, server, n);
	access->tls_server_name = text_of(reader, cluster, "tls-server-name");
	access->proxy_url = text_of(reader, cluster, "proxy-url");
	access->insecure = node_bool(cluster, "insecure-skip-tls-verify", false);
	return read_pem(reader, cluster, "certificate-authority", &access->ca);
}

static const char **read_list(struct reader *reader, const struct node *list, bool pairs, size_t *ret_n)
{
	struct arena *arena = &reader->access->arena;
	size_t n = list && list->type == NODE_LIST ? list->n : 0;
	const char **texts = arena_array(arena, n, sizeof(*texts));
	*ret_n = 0;
	for (size_t i = 0; i < n; i++) {
		const struct node *item = list->items[i];
		const char *name = pairs ? node_text(item, "name") : NULL,
		           *value = pairs ? node_text(item, "value") : item->text;
		if (pairs ? name && value : value != NULL)
			texts[(*ret_n)++] =
			    pairs ? arena_printf(arena, "%s=%s", name, value) : arena_strdup(arena, value);
	}
	return texts;
}

static int read_exec(struct reader *reader, const struct node *exec)
{
	struct kube_exec *ret = &reader->access->exec;
	const char *command = node_text(exec, "command");
	if (!exec)
		return 0;
	if (!command || !*command)
		return err_set(reader->err, -EINVAL, "%s: the exec plug-in has no command", reader->path);
	/* Like kubectl: a name with a slash is a path beside the kubeconfig, one without is looked for on PATH. */
	ret->command = strchr(command, '/') ? path_of(reader, exec, "command") : text_of(reader, exec, "command");
	ret->api_version = text_of(reader, exec, "apiVersion");
	if (!ret->api_version || (strcmp(ret->api_version, "client.authentication.k8s.io/v1") &&
	                          strcmp(ret->api_version, "client.authentication.k8s.io/v1beta1")))
		return err_set(reader->err, -EINVAL,
		               "%s: the exec plug-in's apiVersion must be client.authentication.k8s.io/v1 or v1beta1",
		               reader->path);
	if (node_is(exec, "interactiveMode", "Always"))
		return err_set(reader->err, -EINVAL, "%s: the exec plug-in wants a terminal (interactiveMode Always)",
		               reader->path);
	ret->args = read_list(reader, node_get(exec, "args"), false, &ret->n_args);
	ret->env = read_list(reader, node_get(exec, "env"), true, &ret->n_env);
	ret->cluster_info = node_bool(exec, "provideClusterInfo", false);
	return 0;
}

/* They become part of a header's line. */
static bool is_plain(const char *text)
{
	for (; text && *text; text++)
		if ((unsigned char)*text <= ' ' || *text == 127)
			return false;
	return true;
}

static int read_user(struct reader *reader, const struct node *user)
{
	static const char *const foreign[] = {"auth-provider", "as-uid", "as-groups", "as-user-extra"};
	struct kube_access *access = reader->access;
	for (size_t i = 0; i < ARRAY_LEN(foreign); i++)
		if (node_get(user, foreign[i]))
			return err_set(reader->err, -EINVAL, "%s: the user's %s is not supported", reader->path,
			               foreign[i]);
	access->token = text_of(reader, user, "token");
	access->token_file = path_of(reader, user, "tokenFile");
	access->username = text_of(reader, user, "username");
	access->password = text_of(reader, user, "password");
	access->as = text_of(reader, user, "as");
	if (!is_plain(access->token) || !is_plain(access->as))
		return err_set(reader->err, -EINVAL, "%s: the user's token or name holds blanks or control characters",
		               reader->path);
	int ret = read_pem(reader, user, "client-certificate", &access->cert);
	if (!ret)
		ret = read_pem(reader, user, "client-key", &access->key);
	return ret ? ret : read_exec(reader, node_get(user, "exec"));
}

static int read_config(struct reader *reader, const struct node *root, const char *context)
{
	const struct node *chosen = NULL, *cluster = NULL, *user = NULL;
	if (!context)
		context = node_text(root, "current-context");
	if (!context || !*context)
		return err_set(reader->err, -EINVAL, "%s: no current-context; name one with --context", reader->path);
	int ret = find_named(reader, root, "contexts", "context", context, &chosen);
	const char *cluster_name = ret ? NULL : node_text(chosen, "cluster"),
	           *user_name = ret ? NULL : node_text(chosen, "user");
	if (!ret && !cluster_name)
		return err_set(reader->err, -EINVAL, "%s: context \"%s\" names no cluster", reader->path, context);
	if (!ret)
		ret = find_named(reader, root, "clusters", "cluster", cluster_name, &cluster);
	if (!ret && user_name && *user_name)
		ret = find_named(reader, root, "users", "user", user_name, &user);
	if (!ret)
		ret = read_cluster(reader, cluster);
	return ret ? ret : read_user(reader, user);
}

/* ---- where from ---- */

static int load_file(struct kube_access *access, const char *path, const char *context, struct err *reterr)
{
	struct reader reader = {.access = access, .path = path, .err = reterr};
	struct arena scratch;
	struct node *root;
	const char *bytes = "", *slash = strrchr(path, '/');
	struct err why = {""};
	size_t n = 0;
	unsigned line = 0;
	snprintf(reader.dir, sizeof(reader.dir), "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
	arena_init(&scratch);
	int ret = kube_read_file(&scratch, path, &bytes, &n, reterr);
	if (!ret) {
		struct yaml *yaml = yaml_open_bytes(bytes, n);
		int got = yaml_next(yaml, &scratch, &root, &line, &why);
		yaml_close(yaml);
		if (got < 0)
			ret = err_set(reterr, got, "%s:%u: %s", path, line, why.text);
		else if (!got || root->type != NODE_MAP)
			ret = err_set(reterr, -EINVAL, "%s: no kubeconfig", path);
		else
			ret = read_config(&reader, root, context);
	}
	arena_done(&scratch);
	return ret;
}

static int load_in_cluster(struct kube_access *ret, const char *host, const char *port, struct err *reterr)
{
	bool ipv6 = strchr(host, ':') != NULL;
	if (access(SERVICE_ACCOUNT_DIR "/token", R_OK))
		return err_set(reterr, -errno, "%s/token: %s", SERVICE_ACCOUNT_DIR, strerror(errno));
	ret->token_file = SERVICE_ACCOUNT_DIR "/token";
	ret->server = arena_printf(&ret->arena, "https://%s%s%s:%s", ipv6 ? "[" : "", host, ipv6 ? "]" : "", port);
	ret->ca.path = SERVICE_ACCOUNT_DIR "/ca.crt";
	return 0;
}

static int load(struct kube_access *ret, const char *path, const char *context, struct err *reterr)
{
	const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
	const char *home = getenv("HOME");
	if (!path && host && *host && port && *port)
		return load_in_cluster(ret, host, port, reterr);
	if (!path)
		path = arena_printf(&ret->arena, "%s/.kube/config", home ? home : "");
	/* kubectl would merge them; a controller that picks one of several silently might be on the wrong cluster. */
	if (strchr(path, ':') && access(path, R_OK))
		return err_set(reterr, -EINVAL, "%s: several kubeconfig files; name one with --kubeconfig", path);
	return load_file(ret, path, context, reterr);
}

int kube_access_load(struct kube_access *access, const char *path, const char *context, struct err *reterr)
{
	*access = (struct kube_access){0};
	arena_init(&access->arena);
	int ret = load(access, path, context, reterr);
	if (ret)
		kube_access_done(access);
	return ret;
}
