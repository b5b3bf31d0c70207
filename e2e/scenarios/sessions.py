"""Sessions on the real HAProxy with several threads: sticky canaries under changing weights and endpoints, two routes with one cookie name,
what cookies look like, ages, headers, TLS, and what outlives a killed HAProxy and controller."""
import collections
import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from bed import HOST, check, free_port, gateway, route, rule, run, service, wait
from tls import ask, certificate, listener, secret

INSTANCES = {"old": 2, "new": 1}


def session(**parts):
    return {"sessionPersistence": parts}


class Client:
    """A browser: what it is given it shows again."""
    def __init__(self, bed, path="/hello", host=HOST):
        self.bed, self.path, self.host, self.cookies, self.given = bed, path, host, {}, 0

    def go(self):
        """The Pod that answers, or the status."""
        headers = {"Cookie": "; ".join(f"{k}={v}" for k, v in {"theirs": "1", **self.cookies}.items())}
        status, got, body = self.bed.get(self.path, host=self.host, headers=headers)
        self.line = got.get("set-cookie")
        if self.line:
            name, _, value = self.line.split(";")[0].partition("=")
            self.cookies[name] = value
            self.given += 1
        check("hatchway-server" not in str(got) + body, f"what is between HAProxy and Lua is seen: {got}")
        return body.split("instance: ")[1].strip() if status == 200 and "instance: " in body else status

    def stays(self, pod, times=5):
        before = self.given
        seen = {self.go() for _ in range(times)}
        check(seen == {pod} and self.given == before, f"a client of {pod} went to {seen} and was given {self.given - before} cookies")


def canary(bed, old, new):
    name = {"sessionName": "SID"}
    bed.save("route.yaml", route("canary", [rule({"old": old, "new": new}, path="/hello", **session(**name))]))


def endpoints(bed, **ports):
    """{service: {pod: (port, conditions)}}"""
    bed.save("services.yaml", *[o for name, pods in ports.items() for o in service(name, [(p, "127.0.0.1", *rest) for p, rest in pods.items()])])


def sticky_canary(bed, ports):
    """The canary's share grows and shrinks; those who are there stay there."""
    clients = collections.defaultdict(list)
    for old, new in ((90, 10), (50, 50), (0, 100), (99, 1), (100, 0)):
        canary(bed, old, new)
        pods = {f"old-{i}" for i in range(2)} if not new else {"new-0"} if not old else None
        wait(lambda: pods is None or {Client(bed).go() for _ in range(8)} <= pods, text=f"weights {old} and {new}")
        time.sleep(0.2)
        fresh = collections.Counter()
        for _ in range(200):
            client = Client(bed)
            pod = client.go()
            fresh[pod.split("-")[0]] += 1
            clients[pod].append(client)
        # Exact for each of HAProxy's threads.
        check(abs(fresh["new"] - 2 * new) <= 4, f"of 200 new sessions with weights {old} and {new}: {dict(fresh)}")
        for pod, all_of in clients.items():
            for client in all_of[::7]:
                client.stays(pod, 2)
        print(f"weights {old} and {new}: {dict(fresh)} of 200 new sessions, {sum(map(len, clients.values()))} in all stay")
    return clients


def a_pod_goes(bed, ports, clients):
    canary(bed, 50, 50)
    now = {"old": {"old-0": (ports["old-0"],), "old-1": (ports["old-1"],)}, "new": {"new-0": (ports["new-0"],)}}
    ending = {"ready": False, "serving": True, "terminating": True}
    endpoints(bed, old={**now["old"], "old-1": (ports["old-1"], ending)}, new=now["new"])
    wait(lambda: {Client(bed).go() for _ in range(12)} == {"old-0", "new-0"}, text="old-1 to drain")
    for client in clients["old-1"][:20]:
        client.stays("old-1", 2)
    endpoints(bed, old={"old-0": now["old"]["old-0"]}, new=now["new"])
    wait(lambda: clients["old-1"][0].go() != "old-1", text="old-1 to go")
    for client in clients["old-1"][1:40]:
        client.stays(client.go(), 2)
        check(client.given == 2, f"{client.given} cookies")
    for pod in ("old-0", "new-0"):
        for client in clients[pod][:20]:
            client.stays(pod, 2)
    endpoints(bed, **now)
    wait(lambda: {Client(bed).go() for _ in range(12)} == {"old-0", "old-1", "new-0"}, text="old-1 to come back")
    clients["old-1"][60].stays("old-1")
    # One that is there and refuses connections.
    endpoints(bed, old=now["old"], new={"new-0": (free_port(),)})
    wait(lambda: clients["new-0"][0].go() != "new-0", text="new-0 to move")
    check(clients["new-0"][1].go() in ("old-0", "old-1"), "a refused connection was not tried elsewhere")
    endpoints(bed, **now)
    wait(lambda: "new-0" in {Client(bed).go() for _ in range(8)}, text="new-0 to be back")
    clients["new-0"][2].stays("new-0")  # who was away meanwhile


def dies(bed, clients):
    """HAProxy, then the controller, then both: sessions are in the clients' hands."""
    for kill in ("haproxy", "controller", "both"):
        time.sleep(1.2)
        if kill != "controller":
            if kill == "both":
                bed.end(signal.SIGKILL)
            masters, workers = bed.haproxy_pids()
            for pid in (*masters, *workers):
                os.kill(pid, signal.SIGKILL)
        else:
            bed.end(signal.SIGKILL)
        if kill != "haproxy":
            bed.start(wait_for_gateway=False)
        wait(lambda: bed.alive(), 10, text=f"HAProxy after the death of {kill}")
        for pod in ("old-0", "old-1", "new-0"):
            clients[pod][-1].stays(pod, 2)


def apart(bed):
    """A cookie is of its rule, also with the same name and the same Service."""
    bed.save("apart.yaml", route("apart", [
        rule({"old": 1}, path="/hello/a", **session(sessionName="SAME")), rule({"old": 0, "new": 1}, path="/hello/b", **session(sessionName="SAME")),
    ], hostnames=["apart.org"]))
    one = Client(bed, "/hello/a", "apart.org")
    wait(lambda: bed.get("/hello/a", host="apart.org")[1].get("set-cookie"), text="the route")
    one.go()
    one.path = "/hello/b"
    one.go()
    check(one.given == 2, "a cookie of another rule was taken")


def kinds(bed, port):
    permanent = {"absoluteTimeout": "2s", "cookieConfig": {"lifetimeType": "Permanent"}}
    bed.save("kinds.yaml", route("kinds", [
        rule({"old": 1}, path="/plain", **session()), rule({"old": 1}, path="/permanent", **session(**permanent)),
        rule({"old": 1}, path="/age", **session(absoluteTimeout="2s")),
        rule({"old": 1, "new": 1}, path="/header", **session(type="Header", sessionName="X-Session")),
        rule({"old": 1}, path="/bad", **session(sessionName="a b")),
    ], hostnames=["kinds.org"]))
    wait(lambda: bed.get("/plain", host="kinds.org")[1].get("set-cookie"), text="the route")
    line = bed.get("/plain", host="kinds.org")[1]["set-cookie"]
    name, _, rest = line.partition("=")
    check(name.startswith("hatchway-") and rest.endswith("; Path=/; HttpOnly; SameSite=Strict") and "127.0.0.1" not in line, line)
    line = bed.get("/permanent", host="kinds.org")[1]["set-cookie"]
    check("; Max-Age=2; Path=/; HttpOnly; SameSite=Strict" in line, line)
    client = Client(bed, "/age", "kinds.org")
    client.go()
    check("Max-Age" not in client.line and client.go() and client.given == 1, client.line)
    time.sleep(2.1)
    client.go()
    check(client.given == 2, "a session outlived its absoluteTimeout")
    status, got, _ = bed.get("/header", host="kinds.org")
    token = got["x-session"]
    check("set-cookie" not in got, got)
    seen = {(bed.get("/header", host="kinds.org", headers={"X-Session": token})[1]["x-session"]) for _ in range(10)}
    check(seen == {token}, f"{token} became {seen}")
    check(bed.get("/bad", host="kinds.org")[0] == 500, "a cookie's name with a blank")
    text = "".join(p.read_text() for p in bed.status.rglob("*") if "kinds" in p.name)
    check("UnsupportedValue" in text and "is no name of a cookie" in text, text)
    wait(lambda: ask(port, "kinds.org", path="/plain")[1].get("set-cookie"), text="HTTPS")
    line = ask(port, "kinds.org", path="/plain")[1]["set-cookie"]
    check(line.endswith("; SameSite=Strict; Secure"), line)
    code, out = bed.command("explain", "--state-dir", bed.state, "http://kinds.org/age")
    check(code == 0 and "sessions: a client stays with its endpoint by a cookie" in out, out)


def scenario(bed):
    tls = free_port()
    pods = {f"{name}-{i}": bed.app(instance=f"{name}-{i}") for name, n in INSTANCES.items() for i in range(n)}
    bed.alive = lambda: bed.get("/plain", host="kinds.org")[0] in (200, 404)
    pair = certificate(bed, "kinds", ["kinds.org"])
    bed.save("gateway.yaml", secret("kinds", pair), gateway(listeners=[
        {"name": "http", "port": 80, "protocol": "HTTP"}, listener("https", tls, ["kinds"], "kinds.org")]))
    endpoints(bed, old={p: (pods[p],) for p in ("old-0", "old-1")}, new={"new-0": (pods["new-0"],)})
    canary(bed, 90, 10)
    bed.start()
    wait(lambda: bed.get("/hello")[0] == 200, text="the route")
    clients = sticky_canary(bed, pods)
    a_pod_goes(bed, pods, clients)
    apart(bed)
    kinds(bed, tls)
    check(bed.reloads() == 0, "HAProxy was reloaded")
    dies(bed, clients)


run("sessions", scenario)
