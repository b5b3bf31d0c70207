"""/healthz, /readyz and /metrics of a running controller: ready while HAProxy serves all that is known, and figures that
follow what happens; conditions are logged as they turn."""
import os
import pathlib
import re
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from bed import HOST, check, free_port, gateway, route, rule, run, service, wait


def figures(bed, port):
    code, headers, text = bed.get("/metrics", port=port)
    check(code == 200 and headers["content-type"].startswith("text/plain; version=0.0.4"), f"/metrics: {code} {headers}")
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))}


def logged(bed, *words):
    return any(all(w in line for w in words) for line in bed.log.read_text().splitlines())


def health(bed):
    port = free_port()
    app = bed.app()
    bed.save("base.yaml", gateway(), *service("app", [("pod-a", "127.0.0.1", app)]))
    bed.start("--health-address", f"127.0.0.1:{port}")
    wait(lambda: bed.get("/readyz", port=port)[::2] == (200, "ready\n"), 5, text="ready")
    check(bed.get("/healthz", port=port)[::2] == (200, "ok\n"), "/healthz")
    before = figures(bed, port)
    check(before['hatchway_objects{kind="HTTPRoute"}'] == 0 and before["hatchway_haproxy_up"] == 1 and before["hatchway_ready"] == 1, before)

    bed.save("route.yaml", route("app", [rule({"app": 1, "nobody": 1}, path="/hello")]))
    wait(lambda: figures(bed, port)['hatchway_bad_conditions{kind="HTTPRoute"}'] == 1, 5, text="a bad condition")
    after = figures(bed, port)
    check(after['hatchway_objects{kind="HTTPRoute"}'] == 1, after)
    check(after["hatchway_haproxy_commands_total"] > before["hatchway_haproxy_commands_total"], after)
    check(after["hatchway_apply_duration_seconds_count"] > before["hatchway_apply_duration_seconds_count"], after)
    check(after["hatchway_haproxy_reloads_total"] == before["hatchway_haproxy_reloads_total"], after)
    check(after["process_resident_memory_bytes"] > 1 << 20, after)
    check(logged(bed, " warn ", "condition kind=HTTPRoute", "name=app", "ResolvedRefs", "BackendNotFound", "default/nobody"), "not logged")
    bed.save("route.yaml", route("app", [rule({"app": 1}, path="/hello")]))
    wait(lambda: logged(bed, " info ", "condition good again kind=HTTPRoute", "type=ResolvedRefs"), 5, text="good again")
    check(figures(bed, port)['hatchway_bad_conditions{kind="HTTPRoute"}'] == 0, "still bad")

    # A change that HAProxy does not take makes unready, and says why; what is served goes on being ready once it is taken.
    workers = bed.haproxy_pids()[1]
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        bed.save("late.yaml", route("late", [rule({"app": 1})], hostnames=["late.sample.com"]))
        wait(lambda: bed.get("/readyz", port=port)[0] == 503, 8, text="unready")
        text = bed.get("/readyz", port=port)[2]
        check(re.match(r"not ready: (a change has been waiting for HAProxy for \d+ ms|HAProxy is down: .+)\n", text), text)
        check(bed.get("/healthz", port=port)[0] == 200, "/healthz is about the controller alone")
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
    wait(lambda: bed.get("/readyz", port=port)[0] == 200, 15, text="ready again")
    wait(lambda: bed.get("/hello", host="late.sample.com")[0] == 200, 5, text="the late route")
    bed.end()
    check(bed.get("/hello", host=HOST)[0] == 200, "HAProxy goes on")


run("health", health)
