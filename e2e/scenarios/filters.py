"""Filters and retries on the real HAProxy, as the Gateway API's conformance suite asks for them: CORS, header filters of single
backendRefs, retries against a server that fails on demand, mirrors."""
import collections
import http.server
import json
import pathlib
import sys
import threading
import time
import urllib.parse
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from bed import check, gateway, route, rule, run, service, wait

H = "x.sample.com"


def cors(**parts):
    return {"type": "CORS", "cors": parts}


def headers(side, **edits):
    pairs = {verb: [{"name": k, "value": v} for k, v in pairs] for verb, pairs in edits.items()}
    return {"type": f"{side}HeaderModifier", f"{side.lower()}HeaderModifier": pairs}


def ref(name, weight, *own):
    return {"name": name, "port": 80, "weight": weight, "filters": list(own)}


def url(kind, **parts):
    return {"type": kind, kind[0].lower() + kind[1:] if kind != "URLRewrite" else "urlRewrite": parts}


def full(path):
    return {"path": {"type": "ReplaceFullPath", "replaceFullPath": path}}


def prefix(path):
    return {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": path}}


def mirror(name, **share):
    return {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": name, "port": 80}, **share}}


class Flaky(http.server.BaseHTTPRequestHandler):
    """/retry/…?uuid=U&succeedAfter=N[&responseCode=C][&delayRetry=S]: of each U, the first N fail, by C or by a broken connection.
    What came is counted by port and path."""
    protocol_version = "HTTP/1.1"
    tries, seen, lock = collections.Counter(), collections.Counter(), threading.Lock()

    def fails(self, query):
        with self.lock:
            self.tries[query["uuid"]] += 1
            return self.tries[query["uuid"]] <= int(query["succeedAfter"])

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path, _, text = self.path.partition("?")
        query, code = dict(urllib.parse.parse_qsl(text)), 200
        with self.lock:
            self.seen[self.server.server_address[1], path, self.command, body] += 1
        if "uuid" in query and self.fails(query):
            time.sleep(float(query.get("delayRetry", 0)))
            code = int(query.get("responseCode", 0))
            if not code:
                self.close_connection = True
                return
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_PUT = do_PATCH = answer

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args):
        """HAProxy closes connections of tries that took too long."""


def flaky():
    server = Server(("127.0.0.1", 0), Flaky)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def retry(attempts, *codes, **more):
    return {"retry": {"attempts": attempts, **({"codes": list(codes)} if codes else {})}, **({"timeouts": more} if more else {})}


def manifests(app, flaky_port, copies):
    one = {"one": 1}
    every = dict(allowOrigins=["*"], allowMethods=["*"], allowHeaders=["*"])
    return [gateway(), *service("one", [("one-pod", "127.0.0.1", app)]), route("cors", [
        rule(one, path="/echo/1", filters=[cors(allowOrigins=["https://www.foo.com", "https://*.bar.com"], allowMethods=["GET", "OPTIONS"],
                                                allowHeaders=["x-header-1", "x-header-2"], exposeHeaders=["x-header-3", "x-header-4"],
                                                allowCredentials=True, maxAge=3600)]),
        rule(one, path="/echo/2", filters=[cors(allowOrigins=["https://www.foo.com"], allowMethods=["*"])]),
        rule(one, path="/echo/any", filters=[cors(allowOrigins=["*"], allowMethods=["PUT"], allowCredentials=False)]),
        rule(one, path="/echo/every", filters=[cors(**every, allowCredentials=True)]),
        rule(one, path="/echo/every-unauth", filters=[cors(**every, allowCredentials=False)]),
    ], hostnames=[H]), route("backends", [
        rule([ref("one", 3, headers("Request", set=[("X-To", "first")])), ref("one", 1, headers("Request", set=[("X-To", "second")]),
                                                                         headers("Response", add=[("X-By", "second")]))],
             path="/echo", filters=[headers("Request", set=[("X-To", "rule"), ("X-Rule", "1")])]),
        rule([ref("one", 1, url("URLRewrite", **full("/echo/full")))], path="/full"),
        rule([ref("one", 1, url("URLRewrite", hostname="inner.host", **prefix("/echo/prefix")))], path="/prefix"),
        rule([ref("one", 1, url("URLRewrite", **prefix("/")))], path="/echo-off"),
        rule([ref("one", 1, url("URLRewrite", **full("/echo/own"))), ref("one", 1), ref("one", 1, url("RequestRedirect", statusCode=301))],
             path="/three", filters=[url("URLRewrite", hostname="all.host", **prefix("/echo/all"))]),
        rule([ref("one", 1, url("RequestRedirect", **full("/redirected-full")), headers("Response", set=[("X-By", "redirect")]))], path="/go/full"),
        rule([ref("one", 1, url("RequestRedirect", scheme="https", hostname="other.org", port=8443, statusCode=308, **prefix("/redirected-prefix")))],
             path="/go/prefix"),
        rule([ref("nobody", 1, url("RequestRedirect", **full("/nowhere")))], path="/go/nobody"),
    ], hostnames=["b.sample.com"]),
        *service("flaky", [("flaky-pod", "127.0.0.1", flaky_port)]), *service("copies", [("copies-pod", "127.0.0.1", copies)]),
        route("retries", [
            rule({"flaky": 1}, path="/retry/code-500-attempts-3", **retry(3, 500)),
            rule({"flaky": 1}, path="/retry/code-all-attempts-2", **retry(2, 500, 502, 503, 504)),
            rule({"flaky": 1}, path="/retry/backend-request-timeout-200ms", **retry(2, backendRequest="200ms")),
            rule({"flaky": 1}, path="/retry/request-timeout-200ms", **retry(5, 500, backendRequest="200ms", request="400ms")),
            rule({"flaky": 1}, path="/retry/no-status-code-attempts-3", **retry(3)),
        ], hostnames=["retry.sample.com"]),
        route("mirrors", [
            rule({"flaky": 1}, path="/mirror/all", filters=[mirror("copies")]),
            rule({"flaky": 1}, path="/mirror/percent", filters=[mirror("copies", percent=20), mirror("nowhere")]),
            rule({"flaky": 1}, path="/mirror/fraction", filters=[mirror("copies", fraction={"numerator": 25, "denominator": 50})]),
        ], hostnames=["mirror.sample.com"])]


# method, path, Origin, requested method, requested headers → status, and the Access-Control-* headers without that prefix.
FULL = {"allow-methods": "GET, OPTIONS", "allow-headers": "x-header-1, x-header-2", "expose-headers": "x-header-3, x-header-4", "max-age": "3600",
        "allow-credentials": "true"}
SIMPLE = {"expose-headers": "x-header-3, x-header-4", "allow-credentials": "true"}
CORS = [
    ("OPTIONS", "1", "https://www.foo.com", "GET", "x-header-1, x-header-2", 204, {"allow-origin": "https://www.foo.com", **FULL}),
    ("OPTIONS", "1", "https://www.bar.com", "GET", "x-header-1, x-header-2", 204, {"allow-origin": "https://www.bar.com", **FULL}),
    ("OPTIONS", "1", "https://xpto.www.bar.com", "GET", "x-header-1", 204, {"allow-origin": "https://xpto.www.bar.com", **FULL}),
    ("OPTIONS", "1", "https://foobar.com", "GET", None, 204, {}),
    ("GET", "1", "https://www.foo.com", "GET", "x-header-1, x-header-2", 200, {"allow-origin": "https://www.foo.com", **SIMPLE}),
    ("GET", "1", "https://www.bar.com", "GET", "x-header-1, x-header-2", 200, {"allow-origin": "https://www.bar.com", **SIMPLE}),
    ("GET", "1", "https://foobar.com", "GET", None, 200, {}),
    ("GET", "1", None, None, None, 200, {}),
    ("OPTIONS", "1", "https://www.foo.com", None, None, 200, {"allow-origin": "https://www.foo.com", **SIMPLE}),
    ("OPTIONS", "2", "https://www.foo.com", "POST", None, 204, {"allow-origin": "https://www.foo.com", "allow-methods": "POST", "max-age": "5"}),
    ("OPTIONS", "any", "https://foobar.com", "PUT", None, 204, {"allow-origin": "*", "allow-methods": "PUT", "max-age": "5"}),
    ("OPTIONS", "any", "https://foobar.com:12345", "PUT", None, 204, {"allow-origin": "*", "allow-methods": "PUT", "max-age": "5"}),
    ("PUT", "any", "https://foobar.com:12345", None, None, 200, {"allow-origin": "*"}),
    ("PUT", "any", "https://foobar.com", None, None, 200, {"allow-origin": "*"}),
    ("OPTIONS", "every", "https://other.foo.com", "PUT", "x-header-1, x-header-2", 204,
     {"allow-origin": "https://other.foo.com", "allow-methods": "PUT", "allow-headers": "x-header-1, x-header-2", "allow-credentials": "true", "max-age": "5"}),
    ("OPTIONS", "every-unauth", "https://other.foo.com", "PUT", "x-header-1, x-header-2", 204,
     {"allow-origin": "*", "allow-methods": "PUT", "allow-headers": "x-header-1, x-header-2", "max-age": "5"}),
    ("GET", "every", "https://other.foo.com", None, None, 200, {"allow-origin": "https://other.foo.com", "allow-credentials": "true"}),
    ("GET", "every-unauth", "https://other.foo.com", None, None, 200, {"allow-origin": "*"}),
]


def cross_origin(bed, same):
    for method, path, origin, asked, headers, *wanted in CORS:
        sent = {"Origin": origin, "Access-Control-Request-Method": asked, "access-control-request-headers": headers}
        status, got, body = bed.get(f"/echo/{path}", host=H, method=method, headers={k: v for k, v in sent.items() if v})
        prefix = "access-control-"
        same(f"CORS: {method} {path} of {origin}", [status, {k[len(prefix):]: v for k, v in got.items() if k.startswith(prefix)}], wanted)
        check(status == 200 or not body, f"a preflight was answered with {body!r}")


def one_by_one(bed, same):
    seen = []
    for _ in range(40):
        status, got, body = bed.get("/echo", host="b.sample.com")
        sent = {k.lower(): v for k, v in json.loads(body)["headers"]}
        seen.append((status, sent.get("x-to"), sent.get("x-rule"), got.get("x-by")))
    first, second = (200, "first", "1", None), (200, "second", "1", "second")
    same(f"filters of single backendRefs: {seen.count(first)} to {seen.count(second)}", set(seen), {first, second})
    same("their shares, exact for each of HAProxy's threads", abs(seen.count(second) - 10) <= 4, True)


# path asked for → path and Host that the server saw
SEEN = [("/full/original?a=1", "/echo/full?a=1", "b.sample.com"), ("/prefix/original", "/echo/prefix/original", "inner.host"),
        ("/prefix", "/echo/prefix", "inner.host"), ("/echo-off/echo/x%20y?b=2", "/echo/x%20y?b=2", "b.sample.com")]
# path asked for → status, Location
AWAY = [("/go/full/original?a=1", 302, "http://b.sample.com/redirected-full?a=1"),
        ("/go/prefix/original", 308, "https://other.org:8443/redirected-prefix/original"), ("/go/nobody", 500, None)]


def elsewhere(bed, same):
    for path, seen, name in SEEN:
        status, _, body = bed.get(path, host="b.sample.com")
        got = json.loads(body) if status == 200 else {}
        host = next((v for k, v in got.get("headers", []) if k.lower() == "host"), None)
        query = "&".join(f"{k}={v}" if v is not None else k for k, v in got.get("query", []))
        same(f"a backendRef's URLRewrite: {path}", (status, got.get("path") + ("?" + query if query else ""), host), (200, seen, name))
    for path, status, location in AWAY:
        got = bed.get(path, host="b.sample.com")
        same(f"a backendRef's RequestRedirect: {path}", (got[0], got[1].get("location")), (status, location))
    same("its response header", bed.get("/go/full", host="b.sample.com")[1].get("x-by"), "redirect")
    seen = collections.Counter()
    for _ in range(60):
        status, got, body = bed.get("/three/x", host="b.sample.com")
        seen[json.loads(body)["path"] if status == 200 else got.get("location")] += 1
    same(f"a rule's URLRewrite and three backendRefs: {dict(seen)}", set(seen), {"/echo/own", "/echo/all/x", "http://b.sample.com/three/x"})
    same("their shares", min(seen.values()) >= 16, True)


# path, succeedAfter, responseCode, delayRetry → statuses that are right
RETRIES = [
    ("code-500-attempts-3", 2, 500, 0, (200,)), ("code-500-attempts-3", 4, 500, 0, (500,)), ("code-500-attempts-3", 2, 503, 0, (503,)),
    *[("code-all-attempts-2", after, code, 0, (200 if after == 1 else code,)) for code in (500, 502, 503, 504) for after in (1, 3)],
    ("backend-request-timeout-200ms", 2, 500, 0.3, (200,)), ("backend-request-timeout-200ms", 3, 500, 0.3, (504,)),
    ("request-timeout-200ms", 1, 500, 0, (200,)), ("request-timeout-200ms", 4, 500, 0.1, (504,)),
    ("no-status-code-attempts-3", 2, 0, 0, (200,)), ("no-status-code-attempts-3", 4, 0, 0, (500, 503)),
]


def again(bed, same):
    for path, after, code, delay, right in RETRIES:
        query = urllib.parse.urlencode({"uuid": uuid.uuid4(), "succeedAfter": after, "responseCode": code, "delayRetry": delay})
        begin = time.monotonic()
        status = bed.get(f"/retry/{path}?{query}", host="retry.sample.com")[0]
        same(f"retry: {path} succeeds after {after} × {code or 'reset'}: {status}", status in right, True)
        check(time.monotonic() - begin < 3, f"{path} took {time.monotonic() - begin:.1f} s")


def copied(bed, same, copies):
    for path, n, body in [("all", 20, b""), ("percent", 500, b""), ("fraction", 200, b""), ("all", 10, b"x" * 9000), ("all", 5, b"y" * 50000)]:
        for _ in range(n):
            check(bed.get(f"/mirror/{path}", host="mirror.sample.com", method="POST" if body else "GET", body=body)[0] == 200, f"{path} failed")
    time.sleep(0.5)
    seen = lambda path, body=b"": Flaky.seen[copies, f"/mirror/{path}", "POST" if body else "GET", body]
    same("every request is mirrored, bodies too", (seen("all"), seen("all", b"x" * 9000)), (20, 10))
    same("one with a long body is not", seen("all", b"y" * 50000), 0)
    # Shares are exact for each of HAProxy's threads.
    for path, wanted in [("percent", 100), ("fraction", 100)]:
        same(f"mirrored: {path}, {seen(path)} of {wanted}", abs(seen(path) - wanted) <= 8, True)


def filters(bed):
    app, flaky_port, copies = bed.app(ports=1, instance="app"), flaky(), flaky()
    bed.save("all.yaml", *manifests(app, flaky_port, copies))
    bed.start()
    wait(lambda: bed.get("/echo/1", host=H)[0] == 200, text="the routes")
    wrong = []

    def same(what, got, wanted):
        print("ok" if got == wanted else "NOT OK", what)
        if got != wanted:
            wrong.append(f"{what}: got {got!r}, wanted {wanted!r}")

    cross_origin(bed, same)
    one_by_one(bed, same)
    elsewhere(bed, same)
    again(bed, same)
    copied(bed, same, copies)
    check(not wrong, f"{len(wrong)} wrong: {wrong[:5]}")
    check(bed.reloads() == 0, "HAProxy was reloaded")


run("filters", filters)
