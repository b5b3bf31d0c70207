/* What explain prints, and what it refuses. */
#include "controller/explain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static const char table_text[] =
	"listener 80 port 80 bind 8080 origin sample-ingress/sample-gateway\n"
	"backend sample.v1:5000 http1\n"
	"\tendpoint v1-a 127.0.0.1 5001\n"
	"\tendpoint v1-b ::1 5001 draining\n"
	"backend sample.v2:5000 http1\n"
	"rule sample/helloworld/0 forward\n"
	"\torigin sample.helloworld\n"
	"\tname canary\n"
	"\tcors max-age 5 credentials\n"
	"\tcors origin https://a\n"
	"\tcors origin https://*.b\n"
	"\tcors method PUT\n"
	"\trequest set X-A 1\n"
	"\tmirror sample.v2:5000 share 20 of 100\n"
	"\tretry 2 backoff 20 code 500 code 503\n"
	"\trequest-timeout 500\n"
	"\tto sample.v1:5000 weight 90\n"
	"\tto sample.v2:5000 weight 9\n"
	"\tto-request set X-Canary yes\n"
	"\tto !500 weight 1\n"
	"rule sample/helloworld/1 redirect code 301\n"
	"\torigin sample.helloworld\n"
	"\tscheme https\n"
	"rule sample/helloworld/2 redirect code 302\n"
	"\torigin sample.helloworld\n"
	"\trewrite-host new.org\n"
	"\trewrite-prefix /moved/ /new/\n"
	"\tport 8443\n"
	"host 80 \"\"\n"
	"\tprefix /old -> sample/helloworld/1\n"
	"\tprefix /broken -> nowhere\n"
	"host 80 r.org\n"
	"\tprefix /moved -> sample/helloworld/2\n"
	"host 80 t.org falls-to t.org.R0\n"
	"\texact /hello -> nowhere\n"
	"host 80 t.org.R0\n"
	"\tprefix / -> sample/helloworld/1\n"
	"host 80 *.sample.com falls-to \"\"\n"
	"\texact /hello header X-V = 2 -> sample/helloworld/0\n"
	"\texact /hello -> sample/helloworld/0\n";

struct explain_case {
	const char *url, *header;
	int ret;
	const char *expected; /* the whole answer, or the error */
	struct haproxy_refusal refused;
};

#define NONE {TABLE_KINDS, NULL, NULL} /* nothing refused */

static const struct explain_case cases[] = {
	{"helloworld.sample.com/hello?a=b", "X-V: 1", 0,
	 "request   GET http://helloworld.sample.com/hello?a=b\n"
	 "listener  80 (port 80, bound to port 8080, from sample-ingress/sample-gateway)\n"
	 "host      *.sample.com\n"
	 "          - exact /hello header X-V = \"2\"  -> sample/helloworld/0  (no: header X-V)\n"
	 "          * exact /hello  -> sample/helloworld/0  matches\n"
	 "rule      sample/helloworld/0 (canary)\n"
	 "          CORS: preflights are answered 204, max age 5 s, with credentials\n"
	 "          CORS origins: https://a, https://*.b\n"
	 "          CORS methods: PUT\n"
	 "          request header set X-A: 1\n"
	 "          mirrored to sample.v2:5000, 20 of 100\n"
	 "          up to 2 more tries on broken connections, 500, 503, each after 20 ms\n"
	 "          request timeout 500 ms\n"
	 "answer    forwarded to\n"
	 "          sample.v1:5000                           weight 90    90.00 %\n"
	 "            v1-a 127.0.0.1:5001\n"
	 "            v1-b [::1]:5001 draining\n"
	 "          sample.v2:5000                           weight 9      9.00 %  no ready endpoint: answers 503\n"
	 "            its own request header set X-Canary: yes\n"
	 "          invalid reference: answers 500           weight 1      1.00 %\n", NONE},
	{"http://x.sample.com:8080/old/y", NULL, 0,
	 "request   GET http://x.sample.com:8080/old/y\n"
	 "listener  80 (port 80, bound to port 8080, from sample-ingress/sample-gateway)\n"
	 "host      *.sample.com\n"
	 "          - exact /hello header X-V = \"2\"  -> sample/helloworld/0  (no: path)\n"
	 "          - exact /hello  -> sample/helloworld/0  (no: path)\n"
	 "host      any (\"\")\n"
	 "          * prefix /old  -> sample/helloworld/1  matches\n"
	 "rule      sample/helloworld/1\n"
	 "answer    301 redirect, scheme https\n"
	 "          Location: https://x.sample.com/old/y\n", NONE},
	{"other/broken", NULL, 0,
	 "request   GET http://other/broken\n"
	 "listener  80 (port 80, bound to port 8080, from sample-ingress/sample-gateway)\n"
	 "host      any (\"\")\n"
	 "          - prefix /old  -> sample/helloworld/1  (no: path)\n"
	 "          * prefix /broken  -> nowhere  matches\n"
	 "rule      nowhere\n"
	 "answer    500: the rule cannot be served\n", NONE},
	{"r.org:8080/moved/x?a=b", NULL, 0,
	 "request   GET http://r.org:8080/moved/x?a=b\n"
	 "listener  80 (port 80, bound to port 8080, from sample-ingress/sample-gateway)\n"
	 "host      r.org\n"
	 "          * prefix /moved  -> sample/helloworld/2  matches\n"
	 "rule      sample/helloworld/2\n"
	 "          host becomes new.org\n"
	 "          path prefix /moved/ becomes \"/new/\"\n"
	 "answer    302 redirect, port 8443\n"
	 "          Location: http://new.org:8443/new/x?a=b\n", NONE},
	{"a/\xc3\xa9", NULL, 1,
	 "request   GET http://a/\xc3\xa9\n"
	 "listener  80 (port 80, bound to port 8080, from sample-ingress/sample-gateway)\n"
	 "answer    400: HAProxy itself takes no request with a path with anything but printable ASCII (percent-encode it)\n", NONE},
	{"a/old", "Host:", 0,
	 "request   GET http:///old\n"
	 "listener  80 (port 80, bound to port 8080, from sample-ingress/sample-gateway)\n"
	 "host      any (\"\")\n"
	 "          * prefix /old  -> sample/helloworld/1  matches\n"
	 "rule      sample/helloworld/1\n"
	 "answer    400: a redirect needs a Host\n", NONE},
	{"a/", "Host: a,b", 1,
	 "request   GET http://a,b/\n"
	 "listener  80 (port 80, bound to port 8080, from sample-ingress/sample-gateway)\n"
	 "answer    400: HAProxy itself takes no request with such a Host\n", NONE},
	{"a/", "Host: [::1", 1,
	 "request   GET http://[::1/\n"
	 "listener  80 (port 80, bound to port 8080, from sample-ingress/sample-gateway)\n"
	 "answer    400: HAProxy itself takes no request with such a Host\n", NONE},
	{"t.org/", NULL, 0,
	 "request   GET http://t.org/\n"
	 "listener  80 (port 80, bound to port 8080, from sample-ingress/sample-gateway)\n"
	 "host      t.org\n"
	 "          - exact /hello  -> nowhere  (no: path)\n"
	 "host      t.org, the HTTPRoutes that come next\n"
	 "          * prefix /  -> sample/helloworld/1  matches\n"
	 "rule      sample/helloworld/1\n"
	 "answer    301 redirect, scheme https\n"
	 "          Location: https://t.org/\n", NONE},
	{"other", NULL, 1,
	 "request   GET http://other/\n"
	 "listener  80 (port 80, bound to port 8080, from sample-ingress/sample-gateway)\n"
	 "host      any (\"\")\n"
	 "          - prefix /old  -> sample/helloworld/1  (no: path)\n"
	 "          - prefix /broken  -> nowhere  (no: path)\n"
	 "answer    404: no rule matches\n", NONE},
	{"other/broken/x", NULL, 0,
	 "request   GET http://other/broken/x\n"
	 "listener  80 (port 80, bound to port 8080, from sample-ingress/sample-gateway)\n"
	 "host      any (\"\")\n"
	 "          - prefix /old  -> sample/helloworld/1  (no: path)\n"
	 "          * prefix /broken  -> nowhere  matches\n"
	 "rule      nowhere\n"
	 "answer    500: the rule cannot be served\n",
	 {TABLE_RULE, "sample/helloworld/1", "another rule's refusal"}},
	{"other/old", NULL, 0,
	 "request   GET http://other/old\n"
	 "listener  80 (port 80, bound to port 8080, from sample-ingress/sample-gateway)\n"
	 "host      any (\"\")\n"
	 "          * prefix /old  -> sample/helloworld/1  matches\n"
	 "rule      sample/helloworld/1\n"
	 "answer    500: HAProxy refused this rule: header X-A: a value with a line break\n",
	 {TABLE_RULE, "sample/helloworld/1", "header X-A: a value with a line break"}},
	{"other/old", NULL, 0,
	 "request   GET http://other/old\n"
	 "listener  80 (port 80, bound to port 8080, from sample-ingress/sample-gateway)\n"
	 "host      any (\"\")\n"
	 "          * prefix /old  -> sample/helloworld/1  matches\n"
	 "answer    none: HAProxy does not listen there: port 8080 is taken\n",
	 {TABLE_LISTENER, "80", "port 8080 is taken"}},
	{"other/old", NULL, 0,
	 "request   GET http://other/old\n"
	 "listener  80 (port 80, bound to port 8080, from sample-ingress/sample-gateway)\n"
	 "host      any (\"\")\n"
	 "          HAProxy refused some of this host, its answers may differ: a path that no request can have\n"
	 "          * prefix /old  -> sample/helloworld/1  matches\n"
	 "rule      sample/helloworld/1\n"
	 "answer    301 redirect, scheme https\n"
	 "          Location: https://other/old\n",
	 {TABLE_HOST, "80 ", "a path that no request can have"}},
	{"helloworld.sample.com/hello", NULL, 0,
	 "request   GET http://helloworld.sample.com/hello\n"
	 "listener  80 (port 80, bound to port 8080, from sample-ingress/sample-gateway)\n"
	 "host      *.sample.com\n"
	 "          - exact /hello header X-V = \"2\"  -> sample/helloworld/0  (no: header X-V)\n"
	 "          * exact /hello  -> sample/helloworld/0  matches\n"
	 "rule      sample/helloworld/0 (canary)\n"
	 "          CORS: preflights are answered 204, max age 5 s, with credentials\n"
	 "          CORS origins: https://a, https://*.b\n"
	 "          CORS methods: PUT\n"
	 "          request header set X-A: 1\n"
	 "          mirrored to sample.v2:5000, 20 of 100\n"
	 "          up to 2 more tries on broken connections, 500, 503, each after 20 ms\n"
	 "          request timeout 500 ms\n"
	 "answer    forwarded to\n"
	 "          sample.v1:5000                           weight 90    90.00 %\n"
	 "            HAProxy refused this backend or an endpoint of it: server limit reached\n"
	 "            v1-a 127.0.0.1:5001\n"
	 "            v1-b [::1]:5001 draining\n"
	 "          sample.v2:5000                           weight 9      9.00 %  no ready endpoint: answers 503\n"
	 "            its own request header set X-Canary: yes\n"
	 "          invalid reference: answers 500           weight 1      1.00 %\n",
	 {TABLE_BACKEND, "sample.v1:5000", "server limit reached"}},
	{"other:81/", NULL, -EINVAL, "no listener on port 81; there are: 80", NONE},
	{"", NULL, -EINVAL, "\"\": no host in it", NONE},
	{"http://user:pw@m.org/", NULL, -EINVAL,
	 "\"http://user:pw@m.org/\": user and password are no part of a request; -H 'Authorization: …' is", NONE},
	{"other:x/", NULL, -EINVAL, "\"x\": no such port", NONE},
	{"ftp://other/", NULL, -EINVAL, "\"ftp://other/\": neither http:// nor https://", NONE},
};

static void explains(void **state)
{
	struct err err = {""};
	struct table *table = table_new();
	assert_int_equal(table_parse(table, table_text, &err), 0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct explain_request request = {.url = cases[i].url, .method = "GET", .headers = &cases[i].header, .n_headers = cases[i].header != NULL};
		struct buf out;
		buf_init(&out, 65536);
		assert_int_equal(explain(table, &cases[i].refused, cases[i].refused.key != NULL, &request, &out, &err), cases[i].ret);
		assert_string_equal(cases[i].ret < 0 ? err.text : out.data, cases[i].expected);
		buf_done(&out);
	}
	table_free(table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(explains)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
