#!/usr/bin/env python3
"""The cluster source against a real etcd and kube-apiserver: what `hatchway run --kubeconfig` programs must at every point be
what a folder with the same objects programs (`kubectl get -o yaml`, then `hatchway dump table --manifests`).

Needs root, BIN (folder of etcd, kube-apiserver, kubectl), HATCHWAY_HAPROXY, and the Gateway API's CRDs: CRDS and OLD_CRDS
(folders of YAML; else the Go module sigs.k8s.io/gateway-api v1.6.3 and v1.1.0 from the module cache)."""
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
HATCHWAY = os.environ.get("HATCHWAY_BINARY", str(ROOT / "build/hatchway"))
HAPROXY = os.environ.get("HATCHWAY_HAPROXY", str(ROOT / "build/haproxy/haproxy"))
NAME = os.environ.setdefault("NAME", f"hatchway-source-{os.getpid()}")
VAR = pathlib.Path(os.environ.setdefault("VAR", f"/var/lib/{NAME}"))
SEED = int(os.environ.get("HATCHWAY_SEED") or random.randrange(1 << 32))
NODE = "10.201.0.1"
KINDS = "namespaces,services,endpointslices,gatewayclasses,gateways,httproutes,grpcroutes,referencegrants"


def run(*command, text=None, check=True, timeout=120):
    done = subprocess.run(command, input=text, text=True, capture_output=True, timeout=timeout)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def light(*words, **more):
    return run(str(ROOT / "e2e/cluster/light.sh"), *words, **more)


def inside(*words, **more):
    return run("nsenter", f"--net=/run/netns/{NAME}", "--", *words, **more)


def kubectl(*words, **more):
    return inside(os.environ["BIN"] + "/kubectl", f"--kubeconfig={VAR}/kubeconfig", *words, **more)


def apply(text):
    kubectl("apply", "-f", "-", text=text)


def crds(variable, version):
    if variable in os.environ:
        return os.environ[variable]
    module = json.loads(run("go", "mod", "download", "-json", f"sigs.k8s.io/gateway-api@{version}"))
    return module["Dir"] + "/config/crd/standard"


class Controller:
    def __init__(self, work, kubeconfig, *more):
        self.state, self.log = work / "state", work / "log"
        self.kubeconfig, self.more = kubeconfig, more
        self.process = None

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{NAME}", "--", HATCHWAY, "run", "--kubeconfig", str(self.kubeconfig), "--haproxy",
                 HAPROXY, "--state-dir", str(self.state), "--haproxy-stop-on-exit", "--log-level", "debug", *self.more],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def ask(self, *words):
        return run(HATCHWAY, *words, "--state-dir", str(self.state), check=False)

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            self.process.wait(10)
        self.process = None


def oracle(work):
    """The same objects in a folder."""
    folder = work / "oracle"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for kind in KINDS.split(","):
        # A kind without CRD is an error of kubectl's, and no objects.
        (folder / f"{kind}.yaml").write_text(kubectl("get", kind, "-A", "-o", "yaml", check=False) or "---\n")
    return run(HATCHWAY, "dump", "table", "--manifests", str(folder), "--class", "none", check=False)


def settle(controller, work, what, seconds=20):
    wanted, got, began = None, None, time.monotonic()
    while time.monotonic() - began < seconds:
        wanted, got = oracle(work), controller.ask("dump", "table")
        if wanted == got and "generation" in controller.ask("counters"):
            took = time.monotonic() - began
            print(f"ok {what} ({took:.1f} s, {len(got.splitlines())} lines of table)", flush=True)
            return got
        time.sleep(0.2)
    raise SystemExit(f"NOT {what}\n--- wanted\n{wanted}--- got\n{got}\n{controller.ask('counters')}"
                     f"{pathlib.Path(controller.log).read_text()[-4000:]}")


def wait_for(controller, pattern, what, seconds=20):
    began = time.monotonic()
    while not re.search(pattern, controller.ask("counters")):
        if time.monotonic() - began > seconds:
            raise SystemExit(f"NOT {what}: no {pattern} in\n{controller.ask('counters')}")
        time.sleep(0.05)
    print(f"ok {what} ({time.monotonic() - began:.1f} s)", flush=True)


class Cutter:
    """A proxy in the cluster's network that cuts connections after a random number of bytes."""

    SCRIPT = """
import random, select, socket, sys
random.seed(int(sys.argv[1]))
server = socket.create_server(("10.201.0.1", 7443))
print("ready", flush=True)
pairs, left = {}, {}
while True:
    for s in select.select([server, *pairs], [], [])[0]:
        if s is server:
            a, b = s.accept()[0], socket.create_connection(("10.201.0.1", 6443))
            pairs[a], pairs[b] = b, a
            left[a] = left[b] = [random.choice([3000, 9000, 30000]) + random.randrange(3000)]
            continue
        if s not in pairs:
            continue
        try:
            data = s.recv(700)
            left[s][0] -= len(data)
            if data and left[s][0] > 0:
                pairs[s].sendall(data)
                continue
        except OSError:
            pass
        other = pairs.pop(s)
        pairs.pop(other)
        for x in (s, other):
            left.pop(x)
            x.close()
"""

    def __init__(self, seed):
        self.process = subprocess.Popen(["nsenter", f"--net=/run/netns/{NAME}", "--", sys.executable, "-c", self.SCRIPT, str(seed)],
                                        stdout=subprocess.PIPE)
        self.process.stdout.readline()

    def stop(self):
        self.process.kill()
        self.process.wait()


RBAC = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: hatchway}}
rules:
- apiGroups: [""]
  resources: [namespaces, services]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
- apiGroups: [gateway.networking.k8s.io]
  resources: [{kinds}]
  verbs: [list, watch]
- apiGroups: [gateway.networking.k8s.io]
  resources: [{statuses}]
  verbs: [get, patch]
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  resourceNames: [gatewayclasses.gateway.networking.k8s.io]
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, create, patch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: hatchway}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: hatchway}}
subjects: [{{kind: User, name: hatchway}}]
"""
ALL_KINDS = "gatewayclasses, gateways, httproutes, grpcroutes, referencegrants"
ALL_STATUSES = "gatewayclasses/status, gateways/status, httproutes/status, grpcroutes/status"
BASE = """
apiVersion: v1
kind: Namespace
metadata: {name: sample}
---
apiVersion: v1
kind: Namespace
metadata: {name: sample-ingress}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: hatchway}
spec: {controllerName: hatchway.dev/controller}
"""


def allow(kinds=ALL_KINDS, statuses=ALL_STATUSES):
    apply(RBAC.format(kinds=kinds, statuses=statuses))


def walkthrough():
    folder = ROOT / "e2e/walkthrough"
    # The API server refuses loopback endpoints: Pods' addresses instead, all of them this namespace's own.
    apply(re.sub(r"127\.0\.5\.", "10.245.0.", (folder / "application.yaml").read_text()))
    apply((folder / "gateway.yaml").read_text())
    apply((folder / "route.yaml").read_text())


def serve():
    code = """
import http.server, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"from " + self.connection.getsockname()[0].encode())
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("0.0.0.0", 5000), H).serve_forever()
"""
    inside("ip", "route", "add", "local", "10.245.0.0/16", "dev", "lo")
    return subprocess.Popen(["nsenter", f"--net=/run/netns/{NAME}", "--", sys.executable, "-c", code])


def get(times=20):
    answers = set()
    for _ in range(times):
        answers.add(inside("curl", "-s", "--noproxy", "*", "--max-time", "5", "-H", "Host: helloworld.sample.com", f"http://{NODE}/hello"))
    return answers


def scenario(controller, work):
    rng = random.Random(SEED)
    allow()
    controller.start()
    wait_for(controller, r"applied 1", "without CRDs it serves, nothing")
    kubectl("apply", "--server-side", "-f", crds("CRDS", "v1.6.3"))
    wait_for(controller, r"HTTPRoute v1 watching[^$]*ReferenceGrant v1 watching", "CRDs are found when they come")
    apply(BASE)
    walkthrough()
    table = settle(controller, work, "the walk-through")
    assert "helloworld.sample.com" in table, table
    assert "10.245.0.1 5000" in table, table
    server = serve()
    try:
        time.sleep(0.5)
        assert get() == {"from 10.245.0.1", "from 10.245.0.2"}, get()
        print("ok requests are answered by both", flush=True)
        kubectl("-n", "sample", "patch", "httproute", "helloworld", "--type=json", "-p",
                '[{"op":"replace","path":"/spec/rules/0/backendRefs","value":[{"name":"helloworld-v1","port":5000,"weight":0},'
                '{"name":"helloworld-v2","port":5000,"weight":1}]}]')
        settle(controller, work, "a canary by kubectl patch")
        time.sleep(0.1)
        assert get() == {"from 10.245.0.2"}, get()
        print("ok requests follow the weight", flush=True)
    finally:
        server.kill()
        server.wait()

    kubectl("-n", "sample", "delete", "httproute", "helloworld")
    assert "helloworld.sample.com" not in settle(controller, work, "a deleted route")
    apply((ROOT / "e2e/walkthrough/route.yaml").read_text())
    settle(controller, work, "the route again")

    light("kill-api")
    time.sleep(1)
    assert "helloworld.sample.com" in controller.ask("dump", "table")
    light("start-api")
    kubectl("-n", "sample", "annotate", "httproute", "helloworld", "note=x")
    kubectl("-n", "sample", "label", "namespace", "sample", "a=b")
    settle(controller, work, "the API server restarted")

    # Away while objects change and history is forgotten: a real 410, or a new list.
    controller.process.send_signal(signal.SIGSTOP)
    kubectl("-n", "sample", "delete", "service", "helloworld-v1")
    kubectl("-n", "sample", "delete", "httproute", "helloworld")
    light("kill-api")
    light("start-api")
    apply((ROOT / "e2e/walkthrough/route.yaml").read_text().replace("/hello", "/other"))
    controller.process.send_signal(signal.SIGCONT)
    assert "/other" in settle(controller, work, "objects changed while it slept and the API server restarted")

    allow(ALL_KINDS.replace(", httproutes", ""))
    light("kill-api")  # ends the watches: a role is looked at when they begin
    light("start-api")
    wait_for(controller, r"HTTPRoute v1 waiting objects 1 forbidden", "a right taken away is named, and what was known stays", 40)
    kubectl("-n", "sample", "delete", "httproute", "helloworld")
    assert "/other" in controller.ask("dump", "table")
    allow()
    settle(controller, work, "the right given back", 40)

    tokens, token = VAR / "tokens.csv", VAR / "token.hatchway"
    old = token.read_text()
    tokens.write_text(tokens.read_text().replace(old, old + "new"))
    light("kill-api")
    light("start-api")
    apply((ROOT / "e2e/walkthrough/route.yaml").read_text())
    wait_for(controller, r"forbidden|Unauthorized|waiting", "a token refused")
    token.write_text(old + "new")
    settle(controller, work, "the token rotated", 40)

    # The API server waits up to two minutes for requests that are under way, before it lets a kind go.
    kubectl("delete", "-f", crds("CRDS", "v1.6.3"), "--wait=true", timeout=200)
    wait_for(controller, r"GatewayClass - not served objects 0[^$]*HTTPRoute - not served objects 0", "CRDs that go are dropped", 40)
    settle(controller, work, "no CRDs")
    kubectl("apply", "--server-side", "-f", crds("OLD_CRDS", "v1.1.0"))
    wait_for(controller, r"HTTPRoute v1 watching[^$]*ReferenceGrant v1beta1 watching", "CRDs of v1.1.0, ReferenceGrant as v1beta1")
    apply(BASE)
    walkthrough()
    settle(controller, work, "the walk-through on CRDs of v1.1.0")

    controller.stop()
    controller.kubeconfig = VAR / "kubeconfig.cert"
    controller.start()
    settle(controller, work, "known by a client certificate")
    controller.stop()

    cutter = Cutter(SEED)
    controller.kubeconfig = VAR / "kubeconfig.cut"
    controller.kubeconfig.write_text((VAR / "kubeconfig.hatchway").read_text().replace(
        ':6443"', ':7443", tls-server-name: kubernetes.default.svc'))
    controller.start()
    for i in range(25):
        route = (ROOT / "e2e/walkthrough/route.yaml").read_text().replace("name: helloworld\n  namespace", f"name: r{rng.randrange(8)}\n  namespace")
        if rng.randrange(3):
            apply(route.replace("/hello", f"/{rng.randrange(100)}"))
        else:
            kubectl("-n", "sample", "delete", "httproute", f"r{rng.randrange(8)}", "--ignore-not-found")
    settle(controller, work, "watches cut in the middle", 60)
    cutter.stop()


def main():
    print(f"HATCHWAY_SEED={SEED}")
    work = pathlib.Path(tempfile.mkdtemp(prefix="hatchway-source-"))
    controller = None
    try:
        light("up")
        controller = Controller(work, VAR / "kubeconfig.hatchway")
        scenario(controller, work)
        print("all well")
    finally:
        if controller:
            controller.stop()
        light("down", check=False)
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
