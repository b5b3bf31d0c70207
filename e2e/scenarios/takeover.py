"""A controller that ends, well or badly, leaves HAProxy serving; the next one takes it over as it is."""
import concurrent.futures
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from bed import HOST, check, gateway, route, rule, run, service, wait


def held(bed):
    servers = "\n".join(" ".join(line.split()[:8]) for line in bed.cli("show servers state").splitlines())
    return [bed.cli(f"show map maps/{m}.map") for m in ("path", "host", "rule")] + [servers, bed.cli("show backend")]


def takeover(bed):
    app = bed.app(ports=2)
    bed.save("base.yaml", gateway(), *service("app", [("pod-a", "127.0.0.1", app), ("pod-b", "127.0.0.1", app + 1)]), *service("next", [("pod-n", "127.0.0.1", app)]))
    for i in range(100):
        bed.save(f"route-{i}.yaml", route(f"r{i}", [rule({"app": 3, "next": 1} if i % 3 else {"app": 1}, path=f"/p{i}", filters=[
            {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "X-I", "value": str(i % 5)}]}}] if i % 2 else None)],
            hostnames=[f"h{i % 10}.sample.com"]))
    bed.save("route.yaml", route("app", [rule({"app": 1})]))
    bed.start()
    wait(lambda: bed.get("/hello")[0] == 200 and bed.get("/p99", host="h9.sample.com")[0] == 404 and "no /p99" in bed.get("/p99", host="h9.sample.com")[2], text="the routes")
    client = bed.load([(HOST, "/hello", 200, "Hello")], connections=8, rate=2000)
    time.sleep(1)
    before, pids, reloads = held(bed), bed.haproxy_pids(), bed.reloads()
    for how in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
        bed.end(how)
        time.sleep(0.3)
        check(bed.get("/hello")[0] == 200, f"HAProxy went with the controller on {how!r}")
        bed.start()
        time.sleep(1)
        check(held(bed) == before, "a restart without changes changed something")
        check(bed.counters()["commands"] == 0, f"a restart without changes sent commands: {bed.counters()}")
    # Changed while it was away.
    bed.end(signal.SIGKILL)
    bed.remove("route-0.yaml")
    bed.save("new.yaml", route("new", [rule({"app": 1})], hostnames=["new.sample.com"]))
    bed.start()
    wait(lambda: bed.get("/hello", host="new.sample.com")[0] == 200, 1, text="a route made while the controller was away")
    wait(lambda: "no /p0" not in bed.get("/p0", host="h0.sample.com")[2], 1, text="the end of a route deleted meanwhile")
    check((pids, reloads) == (bed.haproxy_pids(), bed.reloads()), "HAProxy was reloaded or replaced")
    result = bed.finish(client)
    print(result)
    check(result["lost"] == 0, "requests were lost")

    # And with the flag it ends with its controller; a request that is on its way is answered first.
    slow = bed.app(delay_ms=1500)
    bed.save("slow.yaml", *service("slow", [("pod-slow", "127.0.0.1", slow)]), route("slow", [rule({"slow": 1})], hostnames=["slow.sample.com"]))
    bed.end()
    bed.start("--haproxy-stop-on-exit")
    wait(lambda: "applied 1" in bed.command("counters", "--state-dir", bed.state)[1], text="the takeover")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(lambda: bed.get("/hello", host="slow.sample.com")[0])
        time.sleep(0.5)
        begin = time.monotonic()
        bed.end()
        check(answer.result() == 200, "a request was cut when HAProxy was to stop")
        check(time.monotonic() - begin < 5, "HAProxy took its time to stop")
    wait(lambda: gone(bed), 5, text="the end of HAProxy")


def gone(bed):
    try:
        bed.get("/hello")
        return False
    except OSError:
        return True


run("takeover", takeover)
