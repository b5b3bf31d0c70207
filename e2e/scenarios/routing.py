"""Every kind of match, filter and failure the first issue names, asked of the real thing."""
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from bed import check, gateway, route, rule, run, service, wait

H = "x.sample.com"


def ref(name, **more):
    return {"name": name, "port": 80, **more}


def header_filter(kind, **parts):
    key = kind[0].lower() + kind[1:]
    return {"type": kind, key: parts}


def redirect(**parts):
    return {"type": "RequestRedirect", "requestRedirect": parts}


def rewrite(**parts):
    return {"type": "URLRewrite", "urlRewrite": parts}


def nv(**pairs):
    return [{"name": k.replace("_", "-"), "value": v} for k, v in pairs.items()]


def manifests(app):
    pod = lambda name, i: service(name, [(f"{name}-pod", "127.0.0.1", app + i)])
    objects = [gateway(), *pod("one", 0), *pod("two", 1), *service("empty", []),
               *service("foreign", [("foreign-pod", "127.0.0.1", app + 2)], namespace="elsewhere"),
               *service("closed", [("closed-pod", "127.0.0.1", app + 2)], namespace="locked"),
               {"apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant", "metadata": {"name": "g", "namespace": "elsewhere"},
                "spec": {"from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "default"}],
                         "to": [{"group": "", "kind": "Service"}]}}]
    one, two = {"one": 1}, {"two": 1}
    objects.append(route("paths", [
        rule(one, path="/exact", path_type="Exact"), rule(two, path="/exact/deeper"), rule(one, path="/echo"),
        rule(two, path="/echo/[0-9]+", path_type="RegularExpression"),
        rule(two, path="/echo", headers=nv(x_to="two")), rule(two, path="/echo", headers=[{"type": "RegularExpression", "name": "x-re", "value": "t[w]o+"}]),
        rule(two, path="/echo", queryParams=nv(to="two")), rule(two, path="/echo", method="PUT"),
    ], hostnames=[H]))
    objects.append(route("filters", [
        rule(one, path="/echo/req", filters=[header_filter("RequestHeaderModifier", set=nv(x_set="s p a c e \"q\" \\b;%[x]"), add=nv(x_add="more"), remove=["x-gone"])]),
        rule(one, path="/echo/resp", filters=[header_filter("ResponseHeaderModifier", set=nv(x_instance="hidden"), add=nv(x_new="1, 2"), remove=["date"])]),
        rule(None, path="/r302", filters=[redirect(hostname="new.sample.com", statusCode=302)]),
        rule(None, path="/r301", filters=[redirect(scheme="https", statusCode=301)]),
        rule(None, path="/r307", filters=[redirect(port=8888, statusCode=307, path={"type": "ReplaceFullPath", "replaceFullPath": "/full"})]),
        rule(None, path="/r308", filters=[redirect(statusCode=308, path={"type": "ReplacePrefixMatch", "replacePrefixMatch": "/to"})]),
        rule(one, path="/full", filters=[rewrite(hostname="inner.local", path={"type": "ReplaceFullPath", "replaceFullPath": "/echo/full"})]),
        rule(one, path="/prefix", filters=[rewrite(path={"type": "ReplacePrefixMatch", "replacePrefixMatch": "/echo"})]),
        rule(one, path="/cut/echo", path_type="PathPrefix", filters=[rewrite(path={"type": "ReplacePrefixMatch", "replacePrefixMatch": "/echo/cut"})]),
    ], hostnames=["f.sample.com"]))
    objects.append(route("refs", [
        rule([ref("foreign", namespace="elsewhere")], path="/granted"), rule([ref("closed", namespace="locked")], path="/refused"),
        rule([ref("nothing")], path="/missing"), rule([ref("empty")], path="/empty"), rule({"one": 0, "two": 0}, path="/zero"),
        rule([ref("one", weight=1), ref("nothing", weight=1)], path="/half"), rule(None, path="/none"),
        rule([{"name": "one", "port": 81}], path="/port"),
    ], hostnames=["r.sample.com"]))
    objects += [route("wild", [rule(two)], hostnames=["*.sample.com"]), route("deep", [rule(one)], hostnames=["*.deep.sample.com"]),
                route("any", [rule(one, path="/any"), rule(None, path="/nowhere", filters=[redirect(statusCode=302)])], hostnames=())]
    return objects


def echo(bed, path, **more):
    status, headers, body = bed.get(path, **{"host": H, **more})
    check(status == 200, f"{path} {more}: {status} {body}")
    return json.loads(body), headers


def who(bed, path, **more):
    status, headers, _ = bed.get(path, **{"host": H, **more})
    return headers.get("x-instance", "-").rpartition("-")[2], status


def routing(bed):
    app = bed.app(ports=3, instance="app")
    bed.save("all.yaml", *manifests(app))
    bed.start()
    wait(lambda: bed.get("/echo", host=H)[0] == 200, text="the routes")
    one, two, foreign = (str(app + i) for i in range(3))
    wrong = []

    def same(what, got, wanted):
        if got != wanted:
            wrong.append(f"{what}: got {got!r}, wanted {wanted!r}")
            print("NOT OK", wrong[-1])
        else:
            print("ok", what)

    for path, more, wanted in [
            ("/exact", {}, one), ("/exact/", {}, two), ("/exact/deeper", {}, two), ("/exact/deeper/x", {}, two), ("/echo", {}, one), ("/echo/x", {}, one),
            ("/echo/12", {}, two), ("/echo/12x", {}, one), ("/echo", {"headers": {"X-To": "two"}}, two), ("/echo", {"headers": {"X-To": "three"}}, one),
            ("/echo", {"headers": {"X-Re": "twooo"}}, two), ("/echo", {"headers": {"X-Re": "atwo"}}, one), ("/echo?to=two", {}, two), ("/echo?to=tw", {}, one),
            ("/echo?a=b&to=two&to=x", {}, two), ("/echo", {"method": "PUT"}, two), ("/echo", {"host": H.upper()}, one), ("/echo", {"host": H + ":8080"}, one),
            ("/echo", {"host": "y.sample.com"}, two), ("/echo", {"host": "a.b.sample.com"}, two), ("/echo", {"host": "a.deep.sample.com"}, one),
            ("/any", {"host": "other.org"}, one), ("/any/x", {"host": "1.2.3.4"}, one)]:
        # The catch-all prefix of a wildcard host takes /exact/ where the exact host has nothing: /exact/ is not /exact.
        same(f"{path} {more}", who(bed, path, **more)[0], wanted)
    for path, host, wanted in [("/echox", "other.org", 404), ("/anything", "other.org", 404), ("/refused", "r.sample.com", 500), ("/missing", "r.sample.com", 500),
                               ("/empty", "r.sample.com", 503), ("/zero", "r.sample.com", 500), ("/none", "r.sample.com", 500), ("/port", "r.sample.com", 500)]:
        same(f"{host}{path}", bed.get(path, host=host)[0], wanted)
    same("granted", who(bed, "/granted", host="r.sample.com")[0], foreign)
    halves = [bed.get("/half", host="r.sample.com")[0] for _ in range(20)]
    same("half of an invalid reference", (halves.count(404), halves.count(500)), (10, 10))

    got, _ = echo(bed, "/echo/req", host="f.sample.com", headers=[("X-Set", "old"), ("X-Add", "first"), ("X-Gone", "1"), ("X-Kept", "1")])
    headers = [(k.lower(), v) for k, v in got["headers"]]
    same("header set", [v for k, v in headers if k == "x-set"], ["s p a c e \"q\" \\b;%[x]"])
    same("header add", [v for k, v in headers if k == "x-add"], ["first", "more"])
    same("header remove", [v for k, v in headers if k in ("x-gone", "x-kept")], ["1"])
    same("X-Forwarded-Proto", [v for k, v in headers if k == "x-forwarded-proto"], ["http"])
    same("X-Forwarded-For", [v for k, v in headers if k == "x-forwarded-for"], ["127.0.0.1"])
    _, headers = echo(bed, "/echo/resp", host="f.sample.com")
    same("response headers", (headers.get("x-instance"), headers.get("x-new"), "date" in headers), ("hidden", "1, 2", False))
    for path, status, location in [("/r302/a?b=c", 302, "http://new.sample.com:80/r302/a?b=c"), ("/r301/a", 301, "https://f.sample.com/r301/a"),
                                   ("/r307/a?q", 307, "http://f.sample.com:8888/full?q"), ("/r308/a/b", 308, "http://f.sample.com:80/to/a/b")]:
        got = bed.get(path, host="f.sample.com")
        same(path, (got[0], got[1].get("location", "").replace(":80/", "/")), (status, location.replace(":80/", "/")))
    same("a redirect without Host", (bed.get("/nowhere", host="")[0], bed.get("/nowhere", host="x.org")[0]), (400, 302))
    got, _ = echo(bed, "/full/x?y=z", host="f.sample.com")
    same("full path rewrite", (got["path"], got["query"], dict(got["headers"])["Host"] if "Host" in dict(got["headers"]) else dict(got["headers"]).get("host")),
         ("/echo/full", [["y", "z"]], "inner.local"))
    for path, wanted in [("/prefix/a/b", "/echo/a/b"), ("/prefix", "/echo"), ("/prefix/", "/echo/"), ("/cut/echo/x", "/echo/cut/x")]:
        same(f"prefix rewrite of {path}", echo(bed, path, host="f.sample.com")[0]["path"], wanted)
    check(not wrong, f"{len(wrong)} wrong: {wrong[:5]}")
    check(bed.reloads() == 0, "HAProxy was reloaded")


run("routing", routing)
