"""The operator's eyes: status documents, status, explain, check and dump say what is, in the words of the objects."""
import os
import pathlib
import re
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from bed import HAPROXY, HOST, check, gateway, route, rule, run, service, wait


def text_of(bed, name):
    return "\n".join(p.read_text() for p in sorted(bed.status.rglob("*")) if p.is_file() and name in str(p))


def down(bed):
    """HAProxy killed, and not to be had again for a while."""
    bed.end()
    broken, binary = bed.dir / "broken", bed.dir / "haproxy"
    binary.write_text(f"#!/bin/sh\n[ -e {broken} ] && exit 1\nexec {HAPROXY} \"$@\"\n")
    binary.chmod(0o755)
    bed.start("--haproxy", os.path.relpath(binary))
    wait(lambda: bed.command("status", "--state-dir", bed.state)[0] == 0, 3, text="the controller's start")
    broken.touch()
    for pids in bed.haproxy_pids():
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    wait(lambda: "HAProxy does not serve" in text_of(bed, "gateway"), 3, text="the news that HAProxy is down")
    document = text_of(bed, "gateway")
    check("reason: Programmed" not in document and "type: Accepted" in document, f"while HAProxy is down:\n{document}")
    code, out = bed.command("status", "--state-dir", bed.state)
    check(code == 1 and "False" in out and "HAProxy does not hold this" in out, f"status while HAProxy is down: {out}")
    broken.unlink()
    wait(lambda: "HAProxy does not serve" not in text_of(bed, "gateway"), 10, text="the news that HAProxy is up again")
    check("reason: Programmed" in text_of(bed, "gateway") and bed.get("/hello")[0] == 200, "HAProxy is not up again")


def status(bed):
    app = bed.app(ports=2)
    bed.save("base.yaml", gateway("gateway", "infra"), *service("app", [("app-pod-1", "127.0.0.1", app)]), *service("next", [("next-pod-1", "127.0.0.1", app + 1)]))
    parents = [{"name": "gateway", "namespace": "infra"}]
    bed.save("route.yaml", route("app", [rule({"app": 90, "next": 10}, path="/hello", path_type="Exact"), rule({"app": 1}, path="/plain")], parents=parents))
    bed.start()
    wait(lambda: bed.get("/hello")[0] == 200, text="the route")
    wait(lambda: "Programmed" in text_of(bed, "gateway") and "ResolvedRefs" in text_of(bed, "app"), 3, text="the status documents")
    document = text_of(bed, "gateway")
    for word in ("kind: Gateway", "Accepted", "Programmed", "attachedRoutes: 1", "HTTPRoute"):
        check(word in document, f"the Gateway's status has no {word}:\n{document}")
    document = text_of(bed, "app")
    for word in ("kind: HTTPRoute", "hatchway.dev/controller", "Accepted", "ResolvedRefs"):
        check(word in document, f"the route's status has no {word}:\n{document}")

    code, out = bed.command("status", "--state-dir", bed.state)
    print(out)
    check(code == 0 and all(w in out for w in ("gateway", "infra", "hatchway", "True", "app")), f"status: {out}")
    code, out = bed.command("explain", "--state-dir", bed.state, f"{HOST}/hello")
    print(out)
    check(code == 0 and all(w in out for w in ("infra/gateway", "default/app", "app:80", "next:80", "90", "10")), f"explain: {out}")
    code, out = bed.command("explain", "--manifests", bed.manifests, f"http://{HOST}/hello")
    check(code == 0 and "default/app" in out, f"explain offline: {out}")
    code, out = bed.command("explain", "--state-dir", bed.state, f"{HOST}/nothing")
    check("404" in out, f"explain of what is not there: {out}")
    for what, word in (("graph", "gateway"), ("table", "default.app:80"), ("image", "com.sample.helloworld"), ("plan", "add")):
        code, out = bed.command("dump", what, "--manifests", bed.manifests)
        check(code == 0 and word in out, f"dump {what}: {out[:500]}")

    # HAProxy's own words.
    backends = bed.cli("show backend")
    check("default.app:80" in backends and "default.app:split-" in backends, f"show backend does not name Service and route: {backends}")
    state = bed.cli("show servers state")
    check("app-pod-1" in state and "next-pod-1" in state, "show servers state does not name the Pods")
    check("80/com.sample.helloworld#" in bed.cli("show map maps/host.map"), "show map does not read like the host")

    # What is wrong is said where the specification says it.
    bed.save("bad.yaml", route("bad", [rule([{"name": "nowhere", "port": 80}])], hostnames=["bad.sample.com"], parents=parents))
    wait(lambda: "BackendNotFound" in text_of(bed, "bad"), 2, text="BackendNotFound")
    code, out = bed.command("check", bed.manifests)
    check(code != 0 and "bad" in out and "BackendNotFound" in out, f"check: {out}")
    bed.save("bad.yaml", route("bad", [rule({"app": 1})], hostnames=["bad.sample.com"], parents=[{"name": "gateway", "namespace": "infra", "sectionName": "nope"}]))
    wait(lambda: "NoMatchingParent" in text_of(bed, "bad"), 2, text="NoMatchingParent")
    bed.remove("bad.yaml")
    wait(lambda: not re.search(r"name: bad$", text_of(bed, "bad"), re.M), 2, text="the end of a deleted object's status")

    # The status speaks after the fact: once it counts the route, the route answers.
    for n in range(20):
        name = f"late-{n}"
        bed.save(f"{name}.yaml", route(name, [rule({"app": 1})], hostnames=[f"{name}.sample.com"], parents=parents))
        wait(lambda: "Accepted" in text_of(bed, name), 2, every=0.0005, text="a status")
        check(bed.get("/hello", host=f"{name}.sample.com")[0] == 200, "Accepted was written before HAProxy held the route")
    down(bed)
    for command in (["--help"], ["--version"], ["run", "--help"]):
        code, out = bed.command(*command)
        check(code == 0 and len(out) > 5, f"{command}: {code} {out}")
    code, _ = bed.command("nonsense")
    check(code != 0, "an unknown command is no error")


run("status", status)
