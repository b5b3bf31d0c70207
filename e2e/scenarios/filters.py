"""Filters on the real HAProxy: CORS as the Gateway API's conformance suite asks for it, filters of single backendRefs."""
import json
import pathlib
import sys

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


def manifests(app):
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
    ], hostnames=["b.sample.com"])]


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
    same("filters of single backendRefs", {s: seen.count(s) for s in seen}, {(200, "first", "1", None): 30, (200, "second", "1", "second"): 10})


def filters(bed):
    app = bed.app(ports=1, instance="app")
    bed.save("all.yaml", *manifests(app))
    bed.start()
    wait(lambda: bed.get("/echo/1", host=H)[0] == 200, text="the routes")
    wrong = []

    def same(what, got, wanted):
        print("ok" if got == wanted else "NOT OK", what)
        if got != wanted:
            wrong.append(f"{what}: got {got!r}, wanted {wanted!r}")

    cross_origin(bed, same)
    one_by_one(bed, same)
    check(not wrong, f"{len(wrong)} wrong: {wrong[:5]}")
    check(bed.reloads() == 0, "HAProxy was reloaded")


run("filters", filters)
