#!/usr/bin/env python3
"""Gateways' Services and EndpointSlices on a real etcd and kube-apiserver (light.sh): what hatchway makes, keeps as it should be,
follows and leaves alone; that a hundred Gateways come and go without a reload. There is no kube-controller-manager and no load
balancer: this test plays them, it writes the EndpointSlices of the Pods, gives addresses, and collects what lost its owner.

Needs root; run it by e2e/cluster/node/with.sh."""
import json
import os
import signal
import subprocess
import sys
import time

from light import (BASE, HATCHWAY, INSIDE, KUBECTL, NODE, ROOT, VAR, Controller, allow, api_server, apply, crds, inside, kubectl, ok, serve, until)

GROUP = "gateway.networking.k8s.io"

ALL = "list, watch, create, patch, delete"
PODS = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: hatchway-system}}
---
apiVersion: v1
kind: Service
metadata: {{name: hatchway, namespace: hatchway-system}}
spec: {{clusterIP: None, selector: {{app: hatchway}}, ports: [{{name: health, port: 8081}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: hatchway-x
  namespace: hatchway-system
  labels: {{kubernetes.io/service-name: hatchway}}
addressType: IPv4
ports: [{{name: health, port: 8081}}]
endpoints:
- addresses: [{NODE}]
  nodeName: node-a
  zone: zone-1
  conditions: {{ready: true, serving: true, terminating: false}}
  targetRef: {{kind: Pod, namespace: hatchway-system, name: hatchway-1}}
"""


def gateway(name, more=""):
    return f"""
apiVersion: {GROUP}/v1
kind: Gateway
metadata: {{name: {name}, namespace: sample-ingress}}
spec:
  gatewayClassName: hatchway
{more}  listeners: [{{name: http, port: 80, protocol: HTTP, allowedRoutes: {{namespaces: {{from: All}}}}}}]
"""


def get(kind, name, namespace="sample-ingress"):
    text = kubectl("-n", namespace, "get", kind, name, "-o", "json", "--ignore-not-found")
    return json.loads(text) if text.strip() else None


def service(name):
    return get("service", f"{name}-hatchway")


def patch(kind, name, what, *more, namespace="sample-ingress"):
    kubectl("-n", namespace, "patch", kind, name, "--type=merge", "-p", json.dumps(what), *more)


def give_address(name, address):
    patch("service", f"{name}-hatchway", {"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}, "--subresource=status")


def status(controller, name):
    return next((line.split() for line in controller.ask("status").splitlines() if line.startswith(f"sample-ingress/{name} ")), None)


def counter(controller, name):
    line = next((x for x in controller.ask("counters").splitlines() if x.startswith(name + " ")), f"{name} -1")
    return int(line.split()[1])


def target(name):
    found = service(name)
    return found and found["spec"]["ports"][0]["targetPort"]


def slice_of(name):
    return get("endpointslice", f"{name}-hatchway-ipv4")


def answers(port):
    return inside("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--noproxy", "*", "--max-time", "5", "-H",
                  "Host: helloworld.sample.com", f"http://{NODE}:{port}/hello", check=False)


def collect():
    """The garbage collector's part."""
    uids = {x["metadata"]["uid"] for x in json.loads(kubectl("get", "gateways", "-A", "-o", "json"))["items"]}
    for kind in ("services", "endpointslices"):
        for item in json.loads(kubectl("-n", "sample-ingress", "get", kind, "-o", "json"))["items"]:
            owners = item["metadata"].get("ownerReferences", [])
            if owners and not any(o["uid"] in uids for o in owners):
                kubectl("-n", "sample-ingress", "delete", kind, item["metadata"]["name"], "--wait=false")


# ---- the parts ----

def events(name):
    return [x for x in json.loads(kubectl("-n", "sample-ingress", "get", "events", "-o", "json"))["items"]
            if x["involvedObject"]["name"] == name]

def made(controller):
    apply(gateway("gw", "  infrastructure: {labels: {team: red}, annotations: {note: x}}\n"))
    found = until("a Service is made for a Gateway", lambda: service("gw"))
    meta, spec = found["metadata"], found["spec"]
    assert spec["type"] == "LoadBalancer" and "selector" not in spec, spec
    assert [(p["port"], p["targetPort"], p["protocol"]) for p in spec["ports"]] == [(80, 20000, "TCP")], spec
    assert meta["labels"]["team"] == "red" and meta["annotations"]["note"] == "x", meta
    assert meta["labels"][f"{GROUP}/gateway-name"] == "gw" and meta["labels"][f"{GROUP}/gateway-class-name"] == "hatchway", meta
    assert meta["ownerReferences"][0]["uid"] == get("gateway", "gw")["metadata"]["uid"], meta
    found = until("and an EndpointSlice", lambda: slice_of("gw"))
    assert found["metadata"]["labels"]["kubernetes.io/service-name"] == "gw-hatchway", found
    assert found["ports"] == [{"name": "port-80", "port": 20000, "protocol": "TCP"}], found
    endpoint = found["endpoints"][0]
    assert endpoint["addresses"] == [NODE] and endpoint["nodeName"] == "node-a" and endpoint["zone"] == "zone-1", endpoint
    assert endpoint["targetRef"]["name"] == "hatchway-1" and endpoint["conditions"]["ready"], endpoint
    assert status(controller, "gw")[-1] == "False", status(controller, "gw")
    assert "AddressNotAssigned" in controller.ask("status"), controller.ask("status")
    give_address("gw", "192.0.2.10")
    until("its address is the Gateway's, which is programmed", lambda: status(controller, "gw")[2:] == ["192.0.2.10", "True", "True"])
    until("as its status says", lambda: condition("gw", "Programmed") == "True")
    time.sleep(0.5)
    assert not events("gw"), events("gw")
    ok("and of what it has waited for there is no Event")


def served():
    text = (ROOT / "e2e/walkthrough/application.yaml").read_text().replace("127.0.5.", "10.245.0.")
    apply(text)
    apply((ROOT / "e2e/walkthrough/route.yaml").read_text().replace("name: sample-gateway", "name: gw"))
    until("requests are answered at the pool's port", lambda: answers(20000) == "200")


def kept(controller):
    patch("service", "gw-hatchway", {"metadata": {"annotations": {"others": "y"}}, "spec": {"sessionAffinity": "ClientIP"}})
    node_port = service("gw")["spec"]["ports"][0]["nodePort"]
    kubectl("-n", "sample-ingress", "patch", "service", "gw-hatchway", "--type=json", "-p",
            '[{"op":"replace","path":"/spec/ports/0/targetPort","value":80},{"op":"remove","path":"/metadata/labels/team"},'
            '{"op":"remove","path":"/metadata/labels/app.kubernetes.io~1managed-by"}]')
    until("what a hand changed is put right", lambda: target("gw") == 20000 and service("gw")["metadata"]["labels"].get("team") == "red")
    found = service("gw")
    assert found["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "hatchway", found
    assert found["metadata"]["annotations"]["others"] == "y" and found["spec"]["sessionAffinity"] == "ClientIP", found
    assert found["spec"]["ports"][0]["nodePort"] == node_port, found
    assert found["status"]["loadBalancer"]["ingress"][0]["ip"] == "192.0.2.10", found
    ok("and others' fields, its nodePort and its address stay")
    patch("gateway", "gw", {"spec": {"infrastructure": {"labels": {"team": None, "colour": "blue"}}}})
    until("a label of the infrastructure changes", lambda: service("gw")["metadata"]["labels"].get("colour") == "blue")
    assert "team" not in service("gw")["metadata"]["labels"], service("gw")
    ok("and the old one goes")
    kubectl("-n", "sample-ingress", "delete", "service", "gw-hatchway")
    kubectl("-n", "sample-ingress", "delete", "endpointslice", "gw-hatchway-ipv4")
    until("what is deleted is made again, with its port", lambda: target("gw") == 20000 and slice_of("gw"))
    give_address("gw", "192.0.2.10")
    until("and serves again", lambda: status(controller, "gw")[-1] == "True")


STRAY = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: gw-hatchway-{0}, namespace: sample-ingress, labels: {{kubernetes.io/service-name: gw-hatchway, app.kubernetes.io/managed-by: hatchway, {1}}}}}
addressType: IPv4
ports: [{{name: port-80, port: 5000}}]
endpoints: [{{addresses: [10.245.0.1]}}]
---
"""
MAKER = "endpointslice.kubernetes.io/managed-by: "


def condition(name, kind):
    return next((c["status"] for c in get("gateway", name)["status"]["conditions"] if c["type"] == kind), None)


def selected():
    """Kubernetes' own controllers are played, too: what they make of a selector, and leave when it goes."""
    before = service("gw")["spec"]
    patch("service", "gw-hatchway", {"spec": {"selector": {"app": "other"}}})
    apply(STRAY.format("aaaaa", MAKER + "endpointslice-controller.k8s.io") + STRAY.format("bbbbb", MAKER + "endpointslicemirroring-controller.k8s.io") +
          STRAY.format("by-hand", MAKER + "somebody.example.com"))
    apply("{apiVersion: v1, kind: Endpoints, metadata: {name: gw-hatchway, namespace: sample-ingress}, subsets: [{addresses: [{ip: 10.245.0.1}], ports: [{port: 5000}]}]}")
    until("a selector put on the Service by hand goes", lambda: "selector" not in service("gw")["spec"])
    until("and the EndpointSlice that Kubernetes made of it", lambda: not get("endpointslice", "gw-hatchway-aaaaa"))
    until("and the Endpoints, which Kubernetes would mirror", lambda: not get("endpoints", "gw-hatchway"))
    kubectl("-n", "sample-ingress", "delete", "endpointslice", "gw-hatchway-bbbbb")  # as Kubernetes does then
    assert get("endpointslice", "gw-hatchway-by-hand"), "somebody else's EndpointSlice is gone"
    kubectl("-n", "sample-ingress", "delete", "endpointslice", "gw-hatchway-by-hand")
    assert service("gw")["spec"] == before, (before, service("gw")["spec"])
    said = until("and an Event of the Gateway tells", lambda: [x for x in events("gw") if x["reason"] == "InfrastructureRepaired"])
    assert "gw-hatchway had a selector" in said[0]["message"], said
    patch("service", "gw-hatchway", {"spec": {"type": "ExternalName", "externalName": "elsewhere.example.com"}})
    until("a type that leads elsewhere is put right", lambda: service("gw")["spec"]["type"] == "LoadBalancer")
    give_address("gw", "192.0.2.10")


def follows():
    kubectl("-n", "hatchway-system", "patch", "endpointslice", "hatchway-x", "--type=json", "-p", json.dumps([
        {"op": "replace", "path": "/endpoints/0/conditions", "value": {"ready": False, "serving": True, "terminating": True}},
        {"op": "add", "path": "/endpoints/-", "value": {"addresses": ["10.245.9.9"], "nodeName": "node-b", "conditions": {"ready": True}}}]))
    until("another Pod comes into the EndpointSlice", lambda: len(slice_of("gw")["endpoints"]) == 2)
    by = {e["addresses"][0]: e for e in slice_of("gw")["endpoints"]}
    assert by[NODE]["conditions"] == {"ready": False, "serving": True, "terminating": True}, by
    assert by["10.245.9.9"]["nodeName"] == "node-b" and by["10.245.9.9"]["conditions"]["ready"], by
    ok("and one that goes is told as going")
    apply(PODS)
    until("and goes", lambda: len(slice_of("gw")["endpoints"]) == 1)


def last(controller):
    """The Pod ends, and no other is there: nobody will be there to say so."""
    going = {"ready": False, "serving": True, "terminating": True}
    kubectl("-n", "hatchway-system", "patch", "endpointslice", "hatchway-x", "--type=json", "-p",
            json.dumps([{"op": "replace", "path": "/endpoints/0/conditions", "value": going}]))
    until("the last Pod is told as going", lambda: slice_of("gw")["endpoints"][0]["conditions"] == going)
    controller.stop()
    assert not slice_of("gw")["endpoints"], slice_of("gw")
    ok("and as gone when it has ended")
    apply(PODS)
    controller.start()
    until("the next one is there again", lambda: len(slice_of("gw")["endpoints"] or []) == 1)


def figures():
    return dict(line.rsplit(" ", 1) for line in inside("curl", "-s", "--noproxy", "*", "http://127.0.0.1:8081/metrics").splitlines())


def counted():
    seen = figures()
    name = 'hatchway_infrastructure_writes_total{kind="%s",verb="%s",result="%s"}'
    for kind, verb, result in (("Service", "apply", "written"), ("EndpointSlice", "apply", "written"), ("Service", "apply", "refused")):
        assert int(seen[name % (kind, verb, result)]) > 0, (kind, verb, result, seen)
    assert int(seen['hatchway_status_writes_total{kind="Gateway",result="written"}']) > 0, seen
    assert int(seen['hatchway_events_total{result="written"}']) > 0 and seen["hatchway_leader"] == "1", seen
    for family in ("leader", "status_writes_total", "events_total", "infrastructure_writes_total"):
        kind = "gauge" if family == "leader" else "counter"
        assert f"# TYPE hatchway_{family} {kind}" in (f"{k} {v}" for k, v in seen.items()), (family, seen)
    ok("what was written, and refused, is in /metrics")


def pending(controller):
    """HAProxy does not answer for a while: what the change on its way does not touch is shown as it is."""
    asked = inside("socat", "-t5", "-", str(controller.state / "master.sock"), text="show proc\n")
    worker = next(int(line.split()[0]) for line in asked.splitlines() if line.split()[1:2] == ["worker"])
    os.kill(worker, signal.SIGSTOP)
    try:
        apply(gateway("slow"))
        give_address("slow", (until("one Gateway more", lambda: service("slow")), "192.0.2.13")[1])
        until("a Gateway on its way is Unknown", lambda: (status(controller, "slow") or [""])[-1] == "Unknown", every=0.01)
        done = subprocess.run([HATCHWAY, "status", "--state-dir", str(controller.state)], capture_output=True, text=True)
        assert status(controller, "gw")[-1] == "True" and "does not hold" not in done.stdout, done.stdout
        ok("and the others are as they are held")
        until("until it takes too long", lambda: "HAProxy does not hold this" in controller.ask("status"))
        assert status(controller, "gw")[-1] == "Unknown", controller.ask("status")
    finally:
        os.kill(worker, signal.SIGCONT)
    until("it is programmed then", lambda: status(controller, "gw")[-1] == "True" and status(controller, "slow")[-1] == "True", 40)
    kubectl("-n", "sample-ingress", "delete", "gateway", "slow")
    collect()


def restarted(controller):
    before = service("gw")["metadata"]["resourceVersion"], slice_of("gw")["metadata"]["resourceVersion"]
    restart(controller)
    time.sleep(1)
    assert counter(controller, "infrastructure_applied") == 0, controller.ask("counters")
    assert before == (service("gw")["metadata"]["resourceVersion"], slice_of("gw")["metadata"]["resourceVersion"])
    ok("and writes nothing")


def left_alone(controller):
    apply("{apiVersion: v1, kind: Service, metadata: {name: taken-hatchway, namespace: sample-ingress}, spec: {ports: [{port: 7}]}}")
    apply(gateway("taken"))
    until("somebody else's Service is not taken over, the Gateway says so", lambda: "taken-hatchway is in the way" in controller.ask("status"))
    assert service("taken")["spec"]["type"] == "ClusterIP", service("taken")
    kubectl("-n", "sample-ingress", "delete", "service", "taken-hatchway")
    until("once it is gone the Gateway has its own", lambda: target("taken") == 20001)
    kubectl("-n", "sample-ingress", "delete", "gateway", "taken")
    collect()


def left(controller):
    """A Gateway that is given to another controller."""
    apply("{apiVersion: %s/v1, kind: GatewayClass, metadata: {name: other}, spec: {controllerName: example.com/other}}" % GROUP)
    apply(gateway("leaves"))
    apply((ROOT / "e2e/walkthrough/route.yaml").read_text().replace("name: sample-gateway", "name: leaves").replace("name: helloworld\n  namespace", "name: leaver\n  namespace"))
    give_address("leaves", (until("a Gateway comes", lambda: service("leaves")), "192.0.2.12")[1])
    until("and is programmed", lambda: condition("leaves", "Programmed") == "True" and get("gateway", "leaves")["status"].get("addresses"))
    until("its route says so", lambda: (get("httproute", "leaver", "sample") or {}).get("status", {}).get("parents"))
    patch("gateway", "leaves", {"spec": {"gatewayClassName": "other"}})
    until("when it goes to another controller its Service goes", lambda: not service("leaves"))
    until("and the EndpointSlice", lambda: not slice_of("leaves"))
    until("its status is as if nobody had seen it", lambda: condition("leaves", "Programmed") == "Unknown")
    now = get("gateway", "leaves")["status"]
    assert set(now) == {"conditions"} and {c["message"] for c in now["conditions"]} == {"Waiting for controller"}, now
    until("and the route's says nothing of it", lambda: not get("httproute", "leaver", "sample")["status"]["parents"])
    word = {"lastTransitionTime": "2026-01-01T00:00:00Z", "message": "m", "reason": "Accepted", "status": "True", "type": "Accepted"}
    patch("gateway", "leaves", {"status": {"conditions": [word]}}, "--subresource=status", "--field-manager=other")
    version = get("gateway", "leaves")["metadata"]["resourceVersion"]
    restart(controller)
    time.sleep(0.5)
    assert get("gateway", "leaves")["metadata"]["resourceVersion"] == version, get("gateway", "leaves")
    ok("what its controller says then stays")
    patch("gateway", "leaves", {"spec": {"gatewayClassName": "hatchway"}})
    until("when it comes back it has a Service again", lambda: service("leaves"))
    until("and a status", lambda: condition("leaves", "Programmed") == "False")
    kubectl("-n", "sample-ingress", "delete", "gateway", "leaves")
    kubectl("-n", "sample", "delete", "httproute", "leaver")
    collect()


def restart(controller):
    controller.stop()
    controller.start()
    until("a restarted controller serves", lambda: counter(controller, "applied") > 0 and status(controller, "gw")[-1] == "True")


def addresses(controller):
    apply(gateway("wants", "  addresses: [{type: example.com/other, value: x}, {value: 198.51.100.1}]\n"))
    until("an address of an unknown type is refused", lambda: "UnsupportedAddress" in controller.ask("status"))
    apply(gateway("wants", "  addresses: [{value: 198.51.100.1}]\n"))
    until("one that is not given is not usable", lambda: "AddressNotUsable" in controller.ask("status"))
    assert until("the Service asks for it", lambda: service("wants"))["spec"]["loadBalancerIP"] == "198.51.100.1"
    apply(gateway("wants", "  addresses: [{value: 192.0.2.11}]\n"))
    until("another one is asked for", lambda: service("wants")["spec"]["loadBalancerIP"] == "192.0.2.11")
    give_address("wants", "192.0.2.11")
    until("and is the Gateway's when it is given", lambda: status(controller, "wants")[2:] == ["192.0.2.11", "True", "True"])
    kubectl("-n", "sample-ingress", "delete", "gateway", "wants")
    collect()


def parameters(controller):
    reference = "  infrastructure: {parametersRef: {group: hatchway.dev, kind: HatchwayParameters, name: p}}\n"
    apply(gateway("tuned", reference))
    until("missing parameters are told", lambda: "HatchwayParameters sample-ingress/p does not exist" in controller.ask("status"))
    assert not service("tuned")
    document = "{{apiVersion: hatchway.dev/v1alpha1, kind: HatchwayParameters, metadata: {{name: p, namespace: sample-ingress}}, spec: {{service: {{{0}}}}}}}"
    for bad in ("type: ExternalName", "type: ClusterIP, externalTrafficPolicy: Local", "type: NodePort, loadBalancerClass: a/b", "labels: {'a b': c}"):
        refused = inside(*KUBECTL, "apply", "-f", "-", text=document.format(bad), check=False)
        assert not refused, refused
    ok("the CRD refuses what a Service would")
    apply(document.format("externalTrafficPolicy: Local, annotations: {of: parameters}, allocateLoadBalancerNodePorts: false"))
    spec = until("once they are there the Service is made as they say", lambda: service("tuned"))
    assert spec["spec"]["externalTrafficPolicy"] == "Local" and spec["spec"]["allocateLoadBalancerNodePorts"] is False, spec
    assert spec["metadata"]["annotations"]["of"] == "parameters", spec
    apply(document.format("type: ClusterIP"))
    until("and changed with them", lambda: service("tuned")["spec"]["type"] == "ClusterIP")
    until("its address is the cluster's own then", lambda: status(controller, "tuned")[2:] == [service("tuned")["spec"]["clusterIP"], "True", "True"])
    kubectl("-n", "sample-ingress", "delete", "gateway", "tuned")
    collect()


def own_filters(controller):
    document = "{{apiVersion: hatchway.dev/v1alpha1, kind: HatchwayFilter, metadata: {{name: f, namespace: sample-ingress}}, spec: {0}}}"
    for bad in ("{}", "{addresses: {}}", "{addresses: {allow: []}}", "{addresses: {allow: [10.0.0.1]}}", "{addresses: {deny: ['10.0.0.0/8 ']}}",
                "{addresses: {deny: [\"10.0.0.0/8\\n\"]}}", "{addresses: {deny: [10.0.0.0/8, 10.0.0.0/8]}}", "{addresses: {deny: [10.0.0.0/8], alow: ['::/0']}}",
                "{rateLimit: {requests: 0, unit: Second}}", "{rateLimit: {requests: 1, unit: Day}}", "{rateLimit: {requests: 1, unit: Hour, header: 'a b'}}",
                "{basicAuth: {}}", "{basicAuth: {secretRef: {}}}", "{basicAuth: {secretRef: {name: s}, realm: 'a\"b'}}"):
        refused = inside(*KUBECTL, "apply", "-f", "-", text=document.format(bad), check=False)
        assert not refused, (bad, refused)
    ok("the CRD refuses what a folder's filters may not say")

    def says(kind, name, path, *words):
        found = kubectl("-n", "sample-ingress", "get", kind, name, "--ignore-not-found", "-o", f"jsonpath={{{path}}}")
        return all(word in found for word in words)

    conditions = lambda kind, name, path: (lambda *words: (lambda: says(kind, name, path, *words)))
    filter_says = conditions("hatchwayfilter", "f", ".status.conditions[*]['type','status','observedGeneration','message']")
    route_says = conditions("httproute", "filtered", ".status.parents[*].conditions[?(@.type=='ResolvedRefs')]['status','reason']")
    apply(gateway("filters"))
    apply("{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: filtered, namespace: sample-ingress}, spec: {parentRefs: [{name: filters}], "
          "rules: [{filters: [{type: ExtensionRef, extensionRef: {group: hatchway.dev, kind: HatchwayFilter, name: f}}, "
          "{type: RequestRedirect, requestRedirect: {hostname: other.z}}]}]}}")
    until("a filter that is not there is told", route_says("False", "BackendNotFound"))
    apply(document.format("{addresses: {allow: [10.0.0.0/8]}}"))
    until("once it is, it has its condition", filter_says("Accepted", "True", "1"))
    until("and the route is resolved", route_says("True"))
    apply(document.format("{addresses: {allow: [10.0.0.0/99]}}"))
    until("what only looks like a network is told of the filter", filter_says("Accepted", "False", "2", "spec.addresses.allow[0]"))
    until("and of the route", route_says("False", "InvalidFilter"))
    # A Secret is watched by its name, from when a filter names it.
    apply(document.format("{rateLimit: {requests: 5, unit: Minute, header: X-Key}, basicAuth: {secretRef: {name: users}, realm: Staff only!}}"))
    until("users that are not there are told", filter_says("Accepted", "False", "3", "Secret sample-ingress/users not found"))
    apply("{apiVersion: v1, kind: Secret, metadata: {name: users, namespace: sample-ingress}, type: kubernetes.io/basic-auth, stringData: {username: a, password: b}}")
    until("once they are, the filter is accepted", filter_says("Accepted", "True", "3"))
    until("and the route resolved", route_says("True"))
    kubectl("-n", "sample-ingress", "delete", "secret", "users")
    until("and without them no more", route_says("False", "InvalidFilter"))
    kubectl("-n", "sample-ingress", "delete", "hatchwayfilter", "f")
    until("and so is one that is gone", route_says("False", "BackendNotFound"))
    kubectl("-n", "sample-ingress", "delete", "httproute", "filtered")
    kubectl("-n", "sample-ingress", "delete", "gateway", "filters")
    collect()


def forbidden(controller):
    allow(slices=ALL)
    time.sleep(1)
    apply(gateway("refused"))
    until("a Service that may not be written is a condition", lambda: "NoResources" in controller.ask("status"))
    assert "cannot patch resource" in controller.ask("status"), controller.ask("status")
    allow(services=ALL, slices=ALL)
    until("and is made once it may be", lambda: service("refused"), 90)
    until("and the condition is gone", lambda: "NoResources" not in controller.ask("status"))
    kubectl("-n", "sample-ingress", "delete", "gateway", "refused")
    collect()


class Load:
    def __init__(self, work, port):
        targets = work / "targets"
        targets.write_text("helloworld.sample.com /hello 200 from\n")
        self.process = subprocess.Popen([*INSIDE, str(ROOT / "build/e2e/load"), "--to", f"{NODE}:{port}", "--targets", str(targets), "--connections", "8", "--rate", "1000"], stdout=subprocess.PIPE)

    def finish(self):
        self.process.send_signal(signal.SIGTERM)
        return json.loads(self.process.communicate(timeout=30)[0])


def hundred(controller, work):
    load, reloads, took, port = Load(work, 20000), counter(controller, "reloads"), [], None
    code = ("import socket,sys,time\n"
            "for port in sys.stdin:\n"
            "    began, code = time.monotonic(), b''\n"
            "    while b' 404 ' not in code and time.monotonic() - began < 5:\n"
            "        try:\n"
            f"            s = socket.create_connection(('{NODE}', int(port)), 1)\n"
            "            s.sendall(b'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'); code = s.recv(100); s.close()\n"
            "        except OSError: pass\n"
            "    print(1000 * (time.monotonic() - began) if code else -1, flush=True)\n")
    probe = subprocess.Popen([*INSIDE, sys.executable, "-c", code], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)
    for i in range(100):
        apply(gateway(f"g{i}"))
        began = time.monotonic()
        while not (port := target(f"g{i}")):
            assert time.monotonic() - began < 10, f"no Service for g{i}"
        probe.stdin.write(f"{port}\n")
        probe.stdin.flush()
        took.append(float(probe.stdout.readline()))
        assert took[-1] >= 0, f"g{i} is not served at {port}"
        kubectl("-n", "sample-ingress", "delete", f"gateway/g{i}", f"service/g{i}-hatchway", f"endpointslice/g{i}-hatchway-ipv4",
                "--wait=false", "--ignore-not-found")
    probe.stdin.close()
    probe.wait(10)
    result = load.finish()
    assert counter(controller, "reloads") == reloads, controller.ask("counters")
    assert result["lost"] == 0 and result["ok"] > 1000, result
    assert answers(20000) == "200"
    ok(f"a hundred Gateways come and go: 0 reloads, 0 of {result['ok']} requests to another one lost, answered "
       f"{sorted(took)[50]:.1f} ms (median), {max(took):.1f} ms (longest) after their Service was seen")
    collect()
    rest = kubectl("-n", "sample-ingress", "get", "services", "-o", "name").split()
    assert rest == ["service/gw-hatchway"], rest


def at_once(controller):
    """Many in one burst: each has a port of its own."""
    apply("---".join(gateway(f"b{i}") for i in range(30)))
    until("thirty Gateways at once", lambda: len(json.loads(kubectl("-n", "sample-ingress", "get", "services", "-o", "json"))["items"]) == 31)
    time.sleep(0.5)
    items = json.loads(kubectl("-n", "sample-ingress", "get", "services", "-o", "json"))["items"]
    ports = [x["spec"]["ports"][0]["targetPort"] for x in items]
    assert len(set(ports)) == 31, ports
    until("all of them served; the pool has grown", lambda: all(answers(p) in ("200", "404") for p in sorted(ports)))
    assert answers(20000) == "200"


def scenario(controller, work):
    controller.start()
    made(controller)
    served()
    kept(controller)
    selected()
    follows()
    last(controller)
    restarted(controller)
    pending(controller)
    left_alone(controller)
    left(controller)
    addresses(controller)
    parameters(controller)
    own_filters(controller)
    forbidden(controller)
    counted()
    hundred(controller, work)
    at_once(controller)


if __name__ == "__main__":
    with api_server("infra") as folder:
        crds()
        crds(ROOT / "crds")
        allow(services=ALL, slices=ALL)
        apply(BASE)
        apply(PODS)
        server = serve()
        try:
            scenario(Controller(folder, VAR / "kubeconfig.hatchway", "--service", "hatchway-system/hatchway", "--pool-ports", "20000:16",
                                "--health-address", "127.0.0.1:8081"), folder)
        finally:
            server.kill()
            server.wait()
