/* kubeconfig files as people have them, and as they should not be. */
#include "controller/source/kubeconfig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64], path[128];

static int setup(void **state)
{
	strcpy(dir, "/tmp/hatchway-kubeconfig-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/config", dir);
	unsetenv("KUBERNETES_SERVICE_HOST");
	return 0;
}

static int teardown(void **state)
{
	unlink(path);
	return rmdir(dir);
}

static int load(const char *text, const char *context, struct kube_access *access, struct err *err)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	return kube_access_load(access, path, context, err);
}

static const char two[] =
    "apiVersion: v1\n"
    "kind: Config\n"
    "clusters:\n"
    "- name: a\n"
    "  cluster: {server: 'https://a.example:6443//', certificate-authority: pki/ca.crt, tls-server-name: kubernetes}\n"
    "- name: b\n"
    "  cluster: {server: 'https://[::1]:6443', certificate-authority-data: UEVN, certificate-authority: x}\n"
    "users:\n"
    "- name: a\n"
    "  user: {client-certificate: /abs/crt, client-key: rel/key, token: ''}\n"
    "- name: b\n"
    "  user:\n"
    "    exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: aws, args: [eks, get-token],\n"
    "           env: [{name: A, value: b}], interactiveMode: IfAvailable, provideClusterInfo: true}\n"
    "- name: c\n"
    "  user: {tokenFile: tokens/x, client-certificate-data: Q1JU, client-key-data: S0VZ}\n"
    "contexts:\n"
    "- {name: a, context: {cluster: a, user: a}}\n"
    "- {name: b, context: {cluster: b, user: b}}\n"
    "- {name: c, context: {cluster: a, user: c}}\n"
    "- {name: nobody, context: {cluster: a}}\n"
    "- {name: lost, context: {cluster: z, user: a}}\n"
    "- {name: stranger, context: {cluster: a, user: z}}\n"
    "current-context: a\n";

static void contexts_are_followed(void **state)
{
	struct kube_access access;
	struct err err;
	char text[160];
	assert_int_equal(load(two, NULL, &access, &err), 0);
	assert_string_equal(access.server, "https://a.example:6443");
	assert_string_equal(access.tls_server_name, "kubernetes");
	snprintf(text, sizeof(text), "%s/pki/ca.crt", dir);
	assert_string_equal(access.ca.path, text);
	assert_string_equal(access.cert.path, "/abs/crt");
	snprintf(text, sizeof(text), "%s/rel/key", dir);
	assert_string_equal(access.key.path, text);
	assert_null(access.token);
	kube_access_done(&access);
	assert_int_equal(load(two, "nobody", &access, &err), 0);
	assert_null(access.cert.path);
	kube_access_done(&access);
}

static void data_wins_over_files(void **state)
{
	struct kube_access access;
	struct err err;
	char text[160];
	assert_int_equal(load(two, "b", &access, &err), 0);
	assert_null(access.ca.path);
	assert_int_equal(access.ca.size, 3);
	assert_string_equal(access.ca.bytes, "PEM");
	assert_string_equal(access.exec.command, "aws"); /* of PATH */
	assert_int_equal(access.exec.n_args, 2);
	assert_string_equal(access.exec.args[1], "get-token");
	assert_string_equal(access.exec.env[0], "A=b");
	assert_true(access.exec.cluster_info);
	kube_access_done(&access);
	assert_int_equal(load(two, "c", &access, &err), 0);
	snprintf(text, sizeof(text), "%s/tokens/x", dir);
	assert_string_equal(access.token_file, text);
	assert_string_equal(access.cert.bytes, "CRT");
	assert_string_equal(access.key.bytes, "KEY");
	kube_access_done(&access);
}

#define ONE(cluster, user)                                                                                             \
	"clusters: [{name: c, cluster: {" cluster "}}]\nusers: [{name: u, user: {" user "}}]\n"                        \
	"contexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n"

static void what_is_wrong_is_said(void **state)
{
	static const struct {
		const char *text, *context, *said;
	} cases[] = {
	    {two, "none", "no context \"none\""},
	    {two, "lost", "no cluster \"z\""},
	    {two, "stranger", "no user \"z\""},
	    {"contexts: []\n", NULL, "no current-context"},
	    {"", NULL, "no kubeconfig"},
	    {"- x\n", NULL, "no kubeconfig"},
	    {"a: [\n", NULL, "config:"},
	    {ONE("server: 'ftp://x'", ""), NULL, "no http(s) URL"},
	    {ONE("", ""), NULL, "no http(s) URL"},
	    {ONE("server: 'https://x', certificate-authority-data: '***'", ""), NULL,
	     "certificate-authority-data is not base64"},
	    {ONE("server: 'https://x'", "exec: {apiVersion: v0, command: x}"), NULL, "apiVersion must be"},
	    {ONE("server: 'https://x'", "exec: {apiVersion: client.authentication.k8s.io/v1}"), NULL, "no command"},
	    {ONE("server: 'https://x'",
	         "exec: {apiVersion: client.authentication.k8s.io/v1, command: x, interactiveMode: Always}"),
	     NULL, "wants a terminal"},
	    {ONE("server: 'https://x'", "token: \"a\\nHost: b\""), NULL, "control characters"},
	    /* To leave these out would make us somebody else. */
	    {ONE("server: 'https://x'", "auth-provider: {name: gcp}"), NULL, "auth-provider is not supported"},
	    {ONE("server: 'https://x'", "as-groups: [x]"), NULL, "as-groups is not supported"},
	};
	struct kube_access access;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = {""};
		assert_true(load(cases[i].text, cases[i].context, &access, &err) < 0);
		if (!strstr(err.text, cases[i].said))
			fail_msg("case %zu: \"%s\"", i, err.text);
	}
	struct err err = {""};
	assert_int_equal(kube_access_load(&access, "/nowhere/config", NULL, &err), -ENOENT);
	assert_true(kube_access_load(&access, dir, NULL, &err) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(contexts_are_followed),
	    cmocka_unit_test(data_wins_over_files),
	    cmocka_unit_test(what_is_wrong_is_said),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
