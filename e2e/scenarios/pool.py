"""Ports bound in advance: a hundred Gateways come and go without a reload and without touching anybody's request; the
pool that is used up grows by one reload, and the next controller finds it grown."""
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from bed import HOST, check, free_port, gateway, route, rule, run, service, wait


def to(name):
    return [{"name": name, "namespace": "default"}]


def on(name, port):
    return gateway(name, listeners=[{"name": "web", "port": port, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}}])


def says(bed, port, status=200):
    try:
        return bed.get("/hello", port=port)[0] == status
    except OSError:
        return status is None


def pool(bed):
    base = free_port(64)
    bed.args += ["--pool-ports", f"{base}:16"]
    app = bed.app()
    bed.save("app.yaml", *service("app", [("pod", "127.0.0.1", app)]))
    bed.save("first.yaml", on("first", base))
    bed.save("route.yaml", route("app", [rule({"app": 1})], parents=to("first") + to("other")))
    bed.start(wait_for_gateway=False)
    wait(lambda: says(bed, base), text="the first Gateway")
    client = bed.load([(HOST, "/hello", 200, "Hello")], port=base, connections=8, rate=2000)
    reloads, served, gone = bed.reloads(), [], []
    for i in range(100):
        port = base + 1 + i % 15
        check(says(bed, port, None), f"port {port} is served before there is a listener")
        bed.save("other.yaml", on("other", port))
        served.append(wait(lambda: says(bed, port), 1, every=0.0005, text=f"the listener on {port}"))
        bed.remove("other.yaml")
        gone.append(wait(lambda: says(bed, port, None), 1, every=0.0005, text=f"the end of the listener on {port}"))
    result = bed.finish(client)
    print(result, f"served after {1e3 * sorted(served)[50]:.2f} ms (median), {1e3 * max(served):.2f} ms (longest)")
    check(result["lost"] == 0, "requests on the first Gateway were lost")
    check(bed.reloads() == reloads, f"{bed.reloads() - reloads} reloads for listeners in the pool")
    check(sorted(served)[50] < 0.02, "a listener in the pool takes longer than a change of a map")

    # Used up.
    client = bed.load([(HOST, "/hello", 200, "Hello")], port=base, connections=8, rate=2000)
    bed.save("other.yaml", on("other", base + 16))
    wait(lambda: says(bed, base + 16), 3, text="a listener behind the end of the pool")
    bed.save("other.yaml", on("other", base + 31))
    wait(lambda: says(bed, base + 31), 1, text="the last port of the pool")
    time.sleep(0.5)
    check(bed.reloads() == reloads + 1, f"{bed.reloads() - reloads} reloads to double the pool")
    result = bed.finish(client)
    print(result)
    check(result["lost"] == 0, "requests were lost when the pool grew")

    # Not smaller than it is, whatever the next controller is told.
    bed.remove("other.yaml")
    wait(lambda: says(bed, base + 31, None), 1, text="the end of the last listener")
    bed.end(signal.SIGKILL)
    bed.start(wait_for_gateway=False)
    wait(lambda: "applied 1" in bed.command("counters", "--state-dir", bed.state)[1], text="the takeover")
    bed.save("other.yaml", on("other", base + 30))
    wait(lambda: says(bed, base + 30), 1, text="a listener in the pool grown before")
    time.sleep(1.5)
    check(bed.reloads() == reloads + 1, "a new controller shrank the pool")


run("pool", pool)
