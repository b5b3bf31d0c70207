"""What is legal and large: more listeners than a line of haproxy.cfg has words; paths longer than PCRE2's JIT stack."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from bed import HOST, check, free_port, gateway, route, rule, run, service, wait

LISTENERS = 140


def gateways(first, count):
    """Gateways of at most 64 listeners, one on each port from `first` on."""
    ports = list(range(first, first + count))
    return [gateway(f"many-{i // 60}", listeners=[{"name": f"p{port}", "port": port, "protocol": "HTTP"} for port in ports[i:i + 60]])
            for i in range(0, count, 60)]


def limits(bed):
    app, other = bed.app(version="app"), bed.app(version="other")
    bed.save("base.yaml", gateway(), *service("app", [("pod-a", "127.0.0.1", app)]), *service("other", [("pod-o", "127.0.0.1", other)]))
    hello = [{"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/hello"}}}]
    bed.save("route.yaml", route("app", [rule({"app": 1}, path=r"/f/([a-z]|[0-9]|-|/)+", path_type="RegularExpression", filters=hello),
                                         rule({"other": 1}, path="/", filters=hello)]))
    bed.start()
    wait(lambda: bed.get("/f/x")[0] == 200, text="the route")

    # However long, a path does not slip past the route it matches: where PCRE2 gives up, the answer is 500.
    for size in (10, 1000, 2000, 6000, 12000):
        status, _, body = bed.get("/f/" + "x" * size)
        check(status == 200 and "version: app" in body or size > 1000 and status == 500, f"{size} characters that match: {status} {body}")
        status, _, body = bed.get("/g/" + "x" * size)
        check(status == 200 and "version: other" in body, f"{size} characters that do not match: {status} {body}")

    # A hundred and more binds, in one reload; then one more.
    reloads, first = bed.reloads(), free_port(LISTENERS + 1)
    bed.save("many.yaml", *gateways(first, LISTENERS))
    for port in (first, first + 61, first + LISTENERS - 1):
        wait(lambda: bed.get("/", port=port)[0] == 404, 10, text=f"listener on {port}")
    check(bed.reloads() == reloads + 1, f"{bed.reloads() - reloads} reloads for {LISTENERS} binds")
    bed.save("one-more.yaml", gateway("one-more", listeners=[{"name": "p", "port": first + LISTENERS, "protocol": "HTTP"}]))
    wait(lambda: bed.get("/", port=first + LISTENERS)[0] == 404, 10, text="one more")
    check(bed.get("/f/x", host=HOST)[0] == 200, "the first listener is gone")
    check(bed.reloads() == reloads + 2, f"{bed.reloads() - reloads} reloads in all")


run("limits", limits)
