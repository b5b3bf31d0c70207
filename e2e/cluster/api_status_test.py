#!/usr/bin/env python3
"""Status on a real kube-apiserver: what is written, what survives, and how many writes it takes, counted in the audit log; who
writes when there are several; Events. Needs root; run it by e2e/cluster/node/with.sh."""
import json
import subprocess
import time

from light import (BASE, INSIDE, KUBECTL, OLD_CRDS, ROOT, VAR, Controller, allow, api_server, apply, crds, kubectl, light, no_crds, ok, until,
                   wait_for, walkthrough)

ROUTE = (ROOT / "e2e/walkthrough/route.yaml").read_text()
OTHER = {"controllerName": "example.com/other", "parentRef": {"name": "elsewhere", "group": "gateway.networking.k8s.io",
                                                              "kind": "Gateway"},
         "conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted", "message": "ours, \u00e4 \"quoted\"",
                         "observedGeneration": 1, "lastTransitionTime": "2020-01-01T00:00:00Z"},
                        {"type": "example.com/Extra", "status": "Unknown", "reason": "X", "message": "",
                         "lastTransitionTime": "2020-01-01T00:00:00Z"}]}


def get(kind, name, namespace="sample"):
    return json.loads(kubectl("-n", namespace, "get", kind, name, "-o", "json"))


def audit():
    """Of every write of the controller's the line of the audit log, but for the lease's, which never end."""
    log = VAR / "audit.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [line for line in lines if '"resource":"leases"' not in line and '"resource":"events"' not in line]


def writes(since=0):
    """(verb, resource/subresource, name, code) of every write from the since-th on."""
    found = []
    for line in map(json.loads, audit()[since:]):
        ref = line["objectRef"]
        found.append((line["verb"], "/".join(filter(None, (ref["resource"], ref.get("subresource")))), ref.get("name"),
                      line["responseStatus"]["code"]))
    return found


def mark():
    return len(audit())


def quiet(seconds=2.0):
    """Until nothing has been written for so long; how many writes there have been."""
    n, since = mark(), time.monotonic()
    while time.monotonic() - since < seconds:
        time.sleep(0.1)
        if mark() != n:
            n, since = mark(), time.monotonic()
    return n


def conditions(of):
    return {c["type"]: c for c in of.get("conditions", [])}


def our_parents(route):
    return [p for p in route.get("status", {}).get("parents", []) if p["controllerName"] == "hatchway.dev/controller"]


def accepted(name="helloworld"):
    route = get("httproute", name)
    ours = our_parents(route)
    return len(ours) == 1 and all(
        conditions(ours[0]).get(t, {}).get("status") == "True"
        and conditions(ours[0])[t]["observedGeneration"] == route["metadata"]["generation"]
        for t in ("Accepted", "ResolvedRefs")) and route


def gateway():
    return get("gateway", "sample-gateway", "sample-ingress")


def programmed():
    now = gateway()
    return conditions(now["status"]).get("Programmed", {}).get("status") == "True" and \
        conditions(now["status"])["Programmed"]["observedGeneration"] == now["metadata"]["generation"] and now


def attached(n):
    return programmed() and [x["attachedRoutes"] for x in gateway()["status"]["listeners"]] == [n]


def restart_writes_nothing(controller, what):
    quiet()
    before = mark()
    controller.stop()
    controller.start()
    wait_for(controller, r"applied 1", f"restarted, {what}")
    quiet()
    assert writes(before) == [], writes(before)
    ok(f"0 writes on a restart, {what}")


def first_status(controller):
    until("a route is accepted", accepted)
    until("its Gateway is programmed and counts it", lambda: attached(1))
    status = get("gatewayclass", "hatchway")["status"]
    names = [f["name"] for f in status["supportedFeatures"]]
    assert names == sorted(names) and "HTTPRoute" in names, names
    assert "HTTPRouteRetry" not in names, "the standard channel has no such field"
    assert conditions(status)["SupportedVersion"]["status"] == "True", status
    assert conditions(status)["Accepted"]["status"] == "True", status
    assert "True" in kubectl("get", "gatewayclass", "hatchway"), "ACCEPTED column"
    restart_writes_nothing(controller, "nothing changed")


def others_survive():
    ours = our_parents(get("httproute", "helloworld"))
    patch = json.dumps({"status": {"parents": [OTHER] + ours}})
    kubectl("-n", "sample", "patch", "httproute", "helloworld", "--subresource=status", "--type=merge", "-p", patch)
    foreign = next(p for p in get("httproute", "helloworld")["status"]["parents"] if p not in ours)
    since = conditions(ours[0])["Accepted"]["lastTransitionTime"]
    time.sleep(1.1)
    before = mark()
    kubectl("-n", "sample", "patch", "httproute", "helloworld", "--type=json", "-p",
            '[{"op":"replace","path":"/spec/rules/0/backendRefs/0/name","value":"nowhere"}]')
    route = until("a missing Service turns ResolvedRefs", lambda: (
        lambda r: conditions(our_parents(r)[0])["ResolvedRefs"]["status"] == "False" and r)(get("httproute", "helloworld")))
    assert json.dumps(foreign) in [json.dumps(p) for p in route["status"]["parents"]], route["status"]
    assert conditions(our_parents(route)[0])["Accepted"]["lastTransitionTime"] == since
    assert conditions(our_parents(route)[0])["ResolvedRefs"]["lastTransitionTime"] != since
    quiet()
    assert writes(before) == [("patch", "httproutes/status", "helloworld", 200)], writes(before)
    ok("another controller's entry survived, times moved on transition only, one write")

    kubectl("-n", "sample", "patch", "httproute", "helloworld", "--subresource=status", "--type=merge", "-p",
            json.dumps({"status": {"parents": [foreign]}}))
    until("our entry is back when somebody removes it", lambda: our_parents(get("httproute", "helloworld")))
    apply(ROUTE)
    until("the route as it was", accepted)
    kubectl("-n", "sample", "patch", "httproute", "helloworld", "--type=merge", "-p",
            '{"spec":{"parentRefs":[{"name":"elsewhere"}]}}')
    until("our entry goes with the parentRef", lambda: not our_parents(get("httproute", "helloworld")))
    assert get("httproute", "helloworld")["status"]["parents"] == [foreign]
    apply(ROUTE)
    until("and comes back with it", accepted)


def gone_while_away(controller):
    controller.stop()
    kubectl("-n", "sample", "patch", "httproute", "helloworld", "--type=merge", "-p",
            '{"spec":{"parentRefs":[{"name":"elsewhere"}]}}')
    controller.start()
    until("our entry goes when the parentRef went while we were away", lambda: not our_parents(get("httproute", "helloworld")))
    apply(ROUTE)
    until("the route as it was", accepted)


def one_more():
    quiet()
    before = mark()
    apply(ROUTE.replace("name: helloworld\n", "name: second\n", 1))
    until("a second route", lambda: accepted("second"))
    until("is counted", lambda: attached(2))
    quiet()
    done = writes(before)
    assert [w for w in done if w[1] == "httproutes/status"] == [("patch", "httproutes/status", "second", 200)], done
    assert len(done) == 2, done
    ok("one write for the route, one for the Gateway")
    kubectl("-n", "sample", "delete", "httproute", "second")
    until("and counted no more", lambda: attached(1))


def burst(n=1000):
    quiet()
    before, began = mark(), time.monotonic()
    parts = [[] for _ in range(8)]
    for i in range(n):
        parts[i % len(parts)].append(ROUTE.replace("name: helloworld\n", f"name: r{i}\n", 1).replace("/hello", f"/r{i}", 1))
    processes = []
    for i, part in enumerate(parts):
        file = VAR / f"burst{i}.yaml"
        file.write_text("\n---\n".join(part))
        processes.append(subprocess.Popen([*INSIDE, *KUBECTL, "create", "-f", str(file)], stdout=subprocess.DEVNULL))
    assert all(p.wait(300) == 0 for p in processes)
    took = time.monotonic() - began
    until(f"{n} routes ({took:.1f} s to create) are counted", lambda: attached(n + 1), 60)
    quiet()
    done = writes(before)
    routes = [w for w in done if w[1] == "httproutes/status"]
    gateways = [w for w in done if w[1] == "gateways/status"]
    assert {w[2] for w in routes} == {f"r{i}" for i in range(n)}, len(routes)
    good = [w for w in routes if w[3] == 200]
    assert len(good) == n, (len(good), len(routes))
    assert len(gateways) <= 20, len(gateways)
    ok(f"{n} routes: {len(routes)} route writes ({len(routes) - n} of them refused as conflicts), {len(gateways)} Gateway writes")
    kubectl("delete", "--raw", "/apis/gateway.networking.k8s.io/v1/namespaces/sample/httproutes")
    until("all routes gone", lambda: attached(0), 60)
    apply(ROUTE)
    until("the first one again", accepted)


SET = """
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: team, namespace: sample}
spec:
  parentRef: {name: sample-gateway, namespace: sample-ingress}
  listeners: [{name: web, port: 80, protocol: HTTP, hostname: team.example.com}]
"""


def of_set(i):
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: of-set-{i}, namespace: sample}}
spec:
  parentRefs: [{{kind: ListenerSet, name: team}}]
  rules: [{{matches: [{{path: {{value: /{i}}}}}], backendRefs: [{{name: helloworld, port: 5000}}]}}]
"""


def listener_set(controller, n=200):
    said = lambda kind: conditions(get("listenerset", "team").get("status", {})).get(kind, {})
    apply(SET)
    until("a ListenerSet that nobody let in is told so", lambda: said("Accepted").get("reason") == "NotAllowed")
    kubectl("-n", "sample-ingress", "patch", "gateway", "sample-gateway", "--type=merge", "-p",
            '{"spec":{"allowedListeners":{"namespaces":{"from":"All"}}}}')
    until("one that is let in is served", lambda: all(said(k).get("status") == "True" for k in ("Accepted", "Programmed")))
    until("and counted", lambda: gateway()["status"].get("attachedListenerSets") == 1)
    quiet()
    before = mark()
    apply("\n---\n".join(of_set(i) for i in range(n)))
    until(f"{n} routes of the ListenerSet are counted",
          lambda: [x["attachedRoutes"] for x in get("listenerset", "team")["status"]["listeners"]] == [n], 60)
    quiet()
    sets = [w for w in writes(before) if w[1] == "listenersets/status"]
    assert 0 < len(sets) <= 20, len(sets)
    assert not [w for w in writes(before) if w[1] == "gateways/status"], "routes of a ListenerSet are not the Gateway's"
    ok(f"{len(sets)} writes to the ListenerSet")
    restart_writes_nothing(controller, "with a ListenerSet")
    kubectl("-n", "sample", "delete", "listenerset", "team")
    until("it is counted no more", lambda: gateway()["status"].get("attachedListenerSets") == 0)
    until("its routes' status is gone", lambda: our_parents(get("httproute", "of-set-0")) == [])
    kubectl("-n", "sample", "delete", "httproute", *[f"of-set-{i}" for i in range(n)])
    kubectl("-n", "sample-ingress", "patch", "gateway", "sample-gateway", "--type=json", "-p",
            '[{"op":"remove","path":"/spec/allowedListeners"}]')
    until("a Gateway without ListenerSets has no count of them", lambda: "attachedListenerSets" not in gateway()["status"] and programmed())


def away(controller):
    light("kill-api")
    time.sleep(1)
    assert controller.ask("status")
    light("start-api")
    kubectl("-n", "sample", "patch", "httproute", "helloworld", "--type=json", "-p",
            '[{"op":"replace","path":"/spec/rules/0/backendRefs/0/name","value":"nowhere"}]')
    until("status follows after the API server was away", lambda: conditions(
        our_parents(get("httproute", "helloworld"))[0])["ResolvedRefs"]["status"] == "False", 40)
    apply(ROUTE)
    until("the route as it was", accepted, 40)


def forbidden(controller):
    allow(statuses="gatewayclasses/status, gateways/status")
    time.sleep(1)
    kubectl("-n", "sample", "annotate", "httproute", "helloworld", "x=y", "--overwrite")
    apply(ROUTE.replace("/hello", "/other"))
    until("a right that is missing is named",
          lambda: "status may not be written" in controller.log.read_text() and "httproutes" in controller.log.read_text())
    kubectl("-n", "sample-ingress", "patch", "gateway", "sample-gateway", "--type=json", "-p",
            '[{"op":"add","path":"/spec/listeners/-","value":{"name":"more","port":8081,"protocol":"HTTP"}}]')
    until("while Gateways' status goes on", lambda: len(gateway()["status"]["listeners"]) == 2)
    allow()
    until("the right given back", accepted, 60)
    apply((ROOT / "e2e/walkthrough/gateway.yaml").read_text())
    until("the Gateway as it was", programmed)


def releases(controller):
    crd = "crd/gatewayclasses.gateway.networking.k8s.io"
    kubectl("annotate", crd, "gateway.networking.k8s.io/bundle-version=v1.9.0", "--overwrite")
    found = until("CRDs of an unknown release are told", lambda: (
        lambda c: c["status"] == "False" and c)(conditions(get("gatewayclass", "hatchway")["status"])["SupportedVersion"]))
    assert found["reason"] == "UnsupportedVersion" and "v1.9.0" in found["message"], found
    no_crds()
    crds(OLD_CRDS)
    until("CRDs of v1.1.0", lambda: "Established" in kubectl("get", "crd", "httproutes.gateway.networking.k8s.io", "-o", "yaml"))
    time.sleep(1)
    apply(BASE)
    walkthrough()
    until("a route is accepted on CRDs of v1.1.0", accepted, 40)
    until("its Gateway is programmed", programmed)
    status = get("gatewayclass", "hatchway")["status"]
    assert conditions(status)["SupportedVersion"]["status"] == "True" and "supportedFeatures" not in status, status
    restart_writes_nothing(controller, "on CRDs of v1.1.0")


def events():
    apply(ROUTE.replace("name: helloworld\n", "name: wrong\n", 1).replace("- name: helloworld\n", "- name: nowhere\n"))
    text = until("a refusal is an Event", lambda: (lambda t: "BackendNotFound" in t and t)(
        kubectl("-n", "sample", "describe", "httproute", "wrong")))
    assert "Warning" in text and "hatchway.dev/controller" in text, text
    kubectl("-n", "sample", "annotate", "httproute", "wrong", "x=y")
    quiet()
    found = json.loads(kubectl("-n", "sample", "get", "events", "-o", "json"))["items"]
    assert len([e for e in found if e["involvedObject"]["name"] == "wrong"]) == 1, found
    ok("and only one")
    kubectl("-n", "sample", "delete", "httproute", "wrong")


def leader(controller):
    return "leader 1" in controller.ask("counters")


def elect(first, second):
    """Two controllers, one Lease."""
    kubectl("create", "namespace", "hatchway")
    # As the chart brings it.
    kubectl("apply", "-f", "-", text="{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: hatchway, namespace: hatchway}}")
    for controller, name in ((first, "one"), (second, "two")):
        controller.stop()
        controller.more = (*controller.more, "--lease", "hatchway/hatchway", "--identity", name)
    first.start()
    until("the first leads", lambda: leader(first))
    second.start()
    wait_for(second, "lease held by one", "the second one knows")
    quiet()
    before = mark()
    apply(ROUTE.replace("name: helloworld\n", "name: second\n", 1))
    until("a route's status", lambda: accepted("second"))
    quiet()
    assert len([w for w in writes(before) if w[1] == "httproutes/status"]) == 1, writes(before)
    assert not leader(second) and "second" in second.ask("dump", "table")
    ok("only one of them writes, both route")
    began = time.monotonic()
    first.stop()
    until("a clean end hands over", lambda: leader(second))
    assert time.monotonic() - began < 5, "within a retry, not after the lease's duration"
    kubectl("-n", "sample", "delete", "httproute", "second")
    until("the successor writes", lambda: attached(1))
    second.process.kill()
    second.process.wait()
    began = time.monotonic()
    first.start()
    until("after a kill the lease runs out first", lambda: leader(first), 30)
    assert time.monotonic() - began > 8, "its holder could have been alive"
    lease = json.loads(kubectl("-n", "hatchway", "get", "lease", "hatchway", "-o", "json"))["spec"]
    assert lease["holderIdentity"] == "one" and lease["leaseTransitions"] >= 2, lease
    first.stop()
    assert json.loads(kubectl("-n", "hatchway", "get", "lease", "hatchway", "-o", "json"))["spec"].get("holderIdentity", "") == ""
    ok("given up at the end")


def scenario(controller, second):
    allow()
    crds()
    until("CRDs", lambda: "Established" in kubectl("get", "crd", "httproutes.gateway.networking.k8s.io", "-o", "yaml"))
    apply(BASE)
    walkthrough()
    controller.start()
    first_status(controller)
    events()
    others_survive()
    gone_while_away(controller)
    one_more()
    burst()
    listener_set(controller)
    away(controller)
    forbidden(controller)
    releases(controller)
    assert all(w[3] in (200, 403, 404, 409) for w in writes()), writes()
    elect(controller, second)


if __name__ == "__main__":
    with api_server("status") as folder:
        (folder / "second").mkdir()
        scenario(Controller(folder, VAR / "kubeconfig.hatchway"),
                 Controller(folder / "second", VAR / "kubeconfig.hatchway", "--port-map", "80:8180"))
