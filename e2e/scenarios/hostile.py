"""Strings of objects are hostile: whatever they hold, they stay in their place. Where a value is legal it arrives byte for
byte; where it is not, the object is refused; neighbours, HAProxy and the controller never notice."""
import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from bed import check, gateway, route, rule, run, service, wait

VALUES = ["a\"b", "a b", "a;b", "a\\b", "\\", "a\\;shutdown frontend x", "%[src]", "%[", "%%", "${HOME}", "$(id)", "#x", "<<", "<<EOF", "a\tb", "'", "`id`",
          "\u00e9", "{}", "x" * 4000, "-m str", "a,b", "0", "%]", "\\x0d\\x0a", "a\\nb", "@1", "=", "?", "!500"]
BREAKING = ["a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\n\nshutdown frontend GLOBAL", "a\nEOF\n", "\r", "\n", "a\x01b", "\u0085", "\u2028", "a\nhttp-request deny", "a\n> "]
PATHS = ["/a;b", "/a,b", "/a%20b", "/a'b", "/a(b)", "/a$b", "/a&b=c", "/a:b@c", "/a~b!c*", "/=", "/!500", "/a%23", "/" + "p" * 1000]
BAD_PATHS = ["/a b", "/a\nb", "/a#b", "/a\\b", "/a\"b", "/a\tb", "/a?b", "/a//b", "/a/../b", "/a%2Fb", "a", "", "/" + "p" * 2000]
NAMES = ["a b", "a;b", "a\nb", "../../x", "a/b", "a%[src]", "A", "\u00e9", "x" * 300, "", "#", "a\\"]


def header_rule(value, kind="RequestHeaderModifier"):
    key = kind[0].lower() + kind[1:]
    return rule({"app": 1}, path="/echo", filters=[{"type": kind, key: {"set": [{"name": "X-Value", "value": value}]}}])


def hostile(bed):
    app = bed.app()
    bed.save("base.yaml", gateway(), *service("app", [("pod-a", "127.0.0.1", app)]))
    bed.save("stable.yaml", route("stable", [rule({"app": 1})], hostnames=["stable.sample.com"]))
    bed.start()
    wait(lambda: bed.get("/hello", host="stable.sample.com")[0] == 200, text="the stable route")
    pids, reloads, tried = bed.haproxy_pids(), bed.reloads(), 0

    def settled():
        """A change made after the hostile one is served: what came before has been decided."""
        nonlocal tried
        tried += 1
        name = f"after-{tried}"
        bed.save("after.yaml", route("after", [rule({"app": 1}, path=f"/{name}", path_type="Exact")], hostnames=["after.sample.com"]))
        wait(lambda: "has no /after" in bed.get(f"/{name}", host="after.sample.com")[2], 2, text=f"the change after hostile one {tried}")

    def unharmed(what):
        settled()
        check(bed.get("/hello", host="stable.sample.com")[0] == 200, f"{what!r} broke a neighbour")
        check(bed.hatchway.poll() is None, f"{what!r} ended hatchway")
        check((pids, reloads) == (bed.haproxy_pids(), bed.reloads()), f"{what!r} reloaded or replaced HAProxy")

    for value in VALUES:
        bed.save("route.yaml", route("app", [header_rule(value), header_rule(value, "ResponseHeaderModifier")]))
        unharmed(value)
        status, headers, body = bed.get("/echo")
        check(status == 200, f"{value!r}: {status}")
        got = [v for k, v in json.loads(body)["headers"] if k.lower() == "x-value"]
        wanted = value.strip(" \t").encode().decode("latin-1")
        check(got == [wanted], f"{value!r} arrived as {got!r}")
        bed.save("route.yaml", route("app", [header_rule(value, "ResponseHeaderModifier")]))
        settled()
        got = bed.get("/echo")[1].get("x-value")
        check(got == wanted, f"{value!r} came back as {got!r}")
    for value in BREAKING:
        for kind in ("RequestHeaderModifier", "ResponseHeaderModifier"):
            bed.save("route.yaml", route("app", [header_rule(value, kind)]))
            unharmed(value)
            status, headers, body = bed.get("/echo")
            check("x-evil" not in headers and '"X-Evil"' not in body and '"x-evil"' not in body, f"{value!r} made a header of its own")
    for path in PATHS:
        bed.save("route.yaml", route("app", [rule({"app": 1}, path=path, path_type="Exact")]))
        unharmed(path)
        check("pod" in bed.get(path)[1].get("x-instance", "") or bed.get(path)[2].startswith("pod"), f"path {path!r} is not routed")
        check(bed.get(path + "x")[0] == 404 and "has no" not in bed.get(path + "x")[2], f"path {path!r} takes more than itself")
    for path in BAD_PATHS:
        bed.save("route.yaml", route("app", [rule({"app": 1}, path=path)]))
        unharmed(path)
    for name in NAMES:
        bed.save("route.yaml", route("app", [rule([{"name": name, "port": 80}])]), route(name, [rule({"app": 1})]),
                 *service("odd", [(name, "127.0.0.1", app)]), *service(name, [("pod", "127.0.0.1", app)]))
        unharmed(name)
        bed.save("route.yaml", route("app", [rule({"odd": 1, "app": 1})]), *service("odd", [(name, "127.0.0.1", app)]))
        unharmed(name)
        bed.save("route.yaml", route("app", [rule({"app": 1})], hostnames=[name]))
        unharmed(name)
    for value in VALUES + BREAKING:
        for part in ("headers", "queryParams"):
            bed.save("route.yaml", route("app", [rule({"app": 1}, **{part: [{"name": "x-t", "value": value}]}),
                                                 rule({"app": 1}, **{part: [{"name": value[:200], "value": "x"}]}),
                                                 rule({"app": 1}, **{part: [{"type": "RegularExpression", "name": "x-t", "value": value}]})]))
            unharmed(value)

    # A pattern that would take ages to fail must not stop anybody.
    bed.save("route.yaml", route("app", [rule({"app": 1}, path="/(a+)+(a+)+(a+)+b", path_type="RegularExpression")]))
    settled()
    begin = time.monotonic()
    bed.get("/" + "a" * 5000)
    check(time.monotonic() - begin < 1, f"a hostile pattern held HAProxy up for {time.monotonic() - begin:.1f} s")
    unharmed("a hostile pattern")
    print(f"{tried} hostile changes")


run("hostile", hostile)
