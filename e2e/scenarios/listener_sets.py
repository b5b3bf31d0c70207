"""ListenerSets on the real HAProxy: teams add listeners to a Gateway that lets them in, each with routes of its own; who comes second
to a hostname waits until it is free. Nothing of it is a reload once the ports are bound."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from bed import check, gateway, route, rule, run, service, wait


def listener(name, hostname, port=80):
    return {"name": name, "port": port, "protocol": "HTTP", "hostname": hostname, "allowedRoutes": {"namespaces": {"from": "All"}}}


def listener_set(name, *listeners, to="g"):
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "ListenerSet", "metadata": {"name": name},
            "spec": {"parentRef": {"name": to}, "listeners": list(listeners)}}


def in_set(name, **more):
    return [{"kind": "ListenerSet", "name": name, "namespace": "default", **more}]


def said(bed, name):
    return "\n".join(p.read_text() for p in bed.status.rglob("*") if p.is_file() and name in p.name)


def listener_sets(bed):
    one, two = bed.app(version="one"), bed.app(version="two")
    own = lambda allowed: gateway("g", listeners=[listener("web", "own.sample.com")], allowedListeners={"namespaces": {"from": allowed}})
    bed.save("apps.yaml", *service("one", [("pod-one", "127.0.0.1", one)]), *service("two", [("pod-two", "127.0.0.1", two)]))
    bed.save("g.yaml", own("Same"))
    bed.save("r.yaml", route("r", [rule({"one": 1})], parents=[{"name": "g", "namespace": "default"}], hostnames=()))
    bed.start()
    answer = lambda host: bed.get("/hello", port=bed.ports[80], host=host)
    says = lambda host, word: (lambda: f"version: {word}" in answer(host)[2])
    wait(says("own.sample.com", "one"), text="the Gateway's own listener")
    client = bed.load([("own.sample.com", "/hello", 200, "version: one")], connections=8, rate=2000)
    reloads = bed.reloads()

    # A team's listener, and its route: on the set's hostname alone, as the Gateway's route is on the Gateway's.
    bed.save("red.yaml", listener_set("red", listener("web", "red.sample.com")))
    bed.save("red-route.yaml", route("red", [rule({"two": 1})], parents=in_set("red"), hostnames=()))
    wait(says("red.sample.com", "two"), 3, text="the listener of a ListenerSet")
    check(says("own.sample.com", "one")(), "the Gateway's route is not the set's")
    wait(lambda: "attachedRoutes: 1" in said(bed, "red") and "attachedListenerSets: 1" in said(bed, "g"), 3, text="status")

    # Another team wants the same hostname: it waits, and has it once the first one lets go.
    bed.save("rose.yaml", listener_set("rose", listener("web", "red.sample.com")))
    bed.save("rose-route.yaml", route("rose", [rule({"one": 1})], parents=in_set("rose", sectionName="web"), hostnames=()))
    wait(lambda: "HostnameConflict" in said(bed, "rose"), 3, text="the conflict's condition")
    check(says("red.sample.com", "two")(), "who comes second has taken a hostname")
    bed.remove("red.yaml")
    wait(says("red.sample.com", "one"), 3, text="a hostname that became free")

    # A Gateway that lets nobody in any more.
    bed.save("g.yaml", own("None"))
    wait(lambda: answer("red.sample.com")[0] == 404, 3, text="the end of what is not let in")
    wait(lambda: "NotAllowed" in said(bed, "rose"), 3, text="its condition")
    bed.save("g.yaml", own("All"))
    wait(says("red.sample.com", "one"), 3, text="what is let in again")
    check(bed.reloads() == reloads, "a reload without a new bind")
    result = bed.finish(client)
    print(result)
    check(result["lost"] == 0, "requests were lost")


run("listener_sets", listener_sets, ports=(80,))
