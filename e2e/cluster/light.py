"""An API server of light.sh and what scripts on it share: commands, rights, the walk-through's objects, the controller, and the API
itself over one keep-alive connection for those whom kubectl would slow down. e2e/cluster/node/with.sh says where BIN, CRDS and OLD_CRDS
are. What a command or a wait is told to expect and does not find ends the script."""
import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "e2e"))
from bed import processes_naming
HATCHWAY = os.environ.get("HATCHWAY_BINARY", str(ROOT / "build/hatchway"))
HAPROXY = os.environ.get("HATCHWAY_HAPROXY", str(ROOT / "build/haproxy/haproxy"))
if not {"BIN", "CRDS", "OLD_CRDS"} <= os.environ.keys():
    sys.exit("run it as e2e/cluster/node/with.sh " + sys.argv[0])
CRDS, OLD_CRDS = os.environ["CRDS"], os.environ["OLD_CRDS"]
NAME = os.environ.setdefault("NAME", f"hatchway-light-{os.getpid()}")
VAR = pathlib.Path(os.environ.setdefault("VAR", f"/var/lib/{NAME}"))
NODE = "10.201.0.1"
INSIDE = ["nsenter", f"--net=/run/netns/{NAME}", "--"]
KUBECTL = [os.environ["BIN"] + "/kubectl", f"--kubeconfig={VAR}/kubeconfig"]


# ---- commands ----

def run(*command, text=None, check=True, timeout=120):
    done = subprocess.run([str(c) for c in command], input=text, text=True, capture_output=True, timeout=timeout)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def light(*words, **more):
    return run(ROOT / "e2e/cluster/light.sh", *words, **more)


def inside(*words, **more):
    return run(*INSIDE, *words, **more)


def kubectl(*words, **more):
    return inside(*KUBECTL, *words, **more)


def apply(text):
    kubectl("apply", "-f", "-", text=text)


def crds(folder=CRDS):
    kubectl("apply", "--server-side", "-f", folder)
    kubectl("wait", "--for=condition=Established", "crd", "--all")


def no_crds():
    """The API server waits up to two minutes for requests that are under way, before it lets a kind go. The policy of new releases that
    forbids old ones goes with them, but is obeyed until the API server's admission has seen that."""
    kubectl("delete", "-f", CRDS, "--wait=true", timeout=300)
    until("old CRDs are allowed again", lambda: kubectl("apply", "--server-side", "--dry-run=server", "-f", OLD_CRDS, check=False).count(
        "serverside-applied") == len(list(pathlib.Path(OLD_CRDS).glob("*.yaml"))), 60)


def local_pods():
    """Every address of 10.245.0.0/16 is the namespace's own: the API server refuses loopback endpoints."""
    inside("ip", "route", "add", "local", "10.245.0.0/16", "dev", "lo")


def until(text, check, seconds=20, every=0.05):
    """Waits until check() is true, and returns that."""
    began, last = time.monotonic(), None
    while not (last := check()):
        if time.monotonic() - began > seconds:
            raise SystemExit(f"NOT {text}: {last}")
        time.sleep(every)
    ok(f"{text} ({time.monotonic() - began:.2f} s)")
    return last


def ok(text):
    print(f"ok {text}", flush=True)


# ---- an API server for the time of a script ----

@contextlib.contextmanager
def api_server(name):
    """Yields a folder for what stands on it. Controllers end with it; after a failure their logs are told, and the objects."""
    work = pathlib.Path(tempfile.mkdtemp(prefix=f"hatchway-{name}-"))
    try:
        light("up")
        yield work
        print("all well")
    except BaseException:
        print(kubectl("get", "gatewayclasses,gateways,listenersets,httproutes", "-A", "-o", "yaml", check=False)[:6000])
        for controller in Controller.all:
            print(controller.log.read_text()[-6000:] if controller.log.exists() else "")
        raise
    finally:
        for controller in Controller.all:
            controller.stop()
        for pid in list(processes_naming(str(work))):  # a HAProxy outlives a controller that was killed
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        light("down", check=False)
        shutil.rmtree(work, ignore_errors=True)


def run_inside(script):
    """Returns once the script runs in the network of an API server with the Gateway API's CRDs, where 10.245.0.0/16 is local. Before,
    the first time: brings that up, runs the script again within, takes it down, and exits as the script did."""
    if os.environ.get("HATCHWAY_LIGHT") == NAME:
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        light("up")
        local_pods()
        crds()
        code = subprocess.run([*INSIDE, sys.executable, script, *sys.argv[1:]], env=os.environ | {"HATCHWAY_LIGHT": NAME}).returncode
    finally:
        light("down")
    sys.exit(code)


# ---- the controller ----

KINDS = "namespaces,services,endpointslices,gatewayclasses,gateways,listenersets,httproutes,grpcroutes,referencegrants,backendtlspolicies"


class Controller:
    all = []

    def __init__(self, work, kubeconfig, *more):
        Controller.all.append(self)
        self.state, self.log = work / "state", work / "log"
        self.kubeconfig, self.more = kubeconfig, more
        self.process = None

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                [*INSIDE, HATCHWAY, "run", "--kubeconfig", str(self.kubeconfig), "--haproxy",
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


def objects_as_files(folder, check=True):
    """All that the API server has of the kinds we read, as a folder of manifests. Without check, a kind without CRD is no objects."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for kind in KINDS.split(","):
        (folder / f"{kind}.yaml").write_text(kubectl("get", kind, "-A", "-o", "yaml", check=check) or "---\n")


def oracle(work):
    """The same objects in a folder."""
    objects_as_files(work / "oracle", check=False)
    return run(HATCHWAY, "dump", "table", "--manifests", work / "oracle", "--class", "none", check=False)


def settle(controller, work, what, seconds=20):
    wanted, got, began = None, None, time.monotonic()
    while time.monotonic() - began < seconds:
        wanted, got = oracle(work), controller.ask("dump", "table")
        if wanted == got and "generation" in controller.ask("counters"):
            ok(f"{what} ({time.monotonic() - began:.1f} s, {len(got.splitlines())} lines of table)")
            return got
        time.sleep(0.2)
    raise SystemExit(f"NOT {what}\n--- wanted\n{wanted}--- got\n{got}\n{controller.ask('counters')}")


def wait_for(controller, pattern, what, seconds=20):
    """Until `hatchway counters` says so."""
    until(what, lambda: re.search(pattern, controller.ask("counters")), seconds)


# ---- rights, and the walk-through's objects ----

RBAC = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: hatchway}}
rules:
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [services]
  verbs: [{services}]
- apiGroups: [""]
  resources: [secrets]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [{slices}]
- apiGroups: [""]
  resources: [endpoints]
  verbs: [delete]
- apiGroups: [hatchway.dev]
  resources: [hatchwayparameters, hatchwayfilters]
  verbs: [list, watch]
- apiGroups: [hatchway.dev]
  resources: [hatchwayfilters/status]
  verbs: [get, patch]
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
subjects: [{{{subject}}}]
"""
ALL_KINDS = "gatewayclasses, gateways, listenersets, httproutes, grpcroutes, referencegrants, backendtlspolicies"
ALL_STATUSES = "gatewayclasses/status, gateways/status, listenersets/status, httproutes/status, grpcroutes/status, backendtlspolicies/status"
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


def allow(kinds=ALL_KINDS, statuses=ALL_STATUSES, services="list, watch", slices="list, watch", subject="kind: User, name: hatchway"):
    apply(RBAC.format(kinds=kinds, statuses=statuses, services=services, slices=slices, subject=subject))


def walkthrough():
    folder = ROOT / "e2e/walkthrough"
    # The API server refuses loopback endpoints: Pods' addresses instead, all of them this namespace's own.
    apply(re.sub(r"127\.0\.5\.", "10.245.0.", (folder / "application.yaml").read_text()))
    apply((folder / "gateway.yaml").read_text())
    apply((folder / "route.yaml").read_text())


def serve():
    """Every Pod's address, port 5000, answers with which it is."""
    code = """
import http.server, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"from " + self.connection.getsockname()[0].encode())
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("0.0.0.0", 5000), H).serve_forever()
"""
    local_pods()
    return subprocess.Popen([*INSIDE, sys.executable, "-c", code])


# ---- the API without kubectl ----

PATHS = {"HTTPRoute": "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes",
         "Gateway": "/apis/gateway.networking.k8s.io/v1/namespaces/default/gateways",
         "GatewayClass": "/apis/gateway.networking.k8s.io/v1/gatewayclasses",
         "EndpointSlice": "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
         "Service": "/api/v1/namespaces/default/services"}


class ApiError(Exception):
    pass


class Api:
    """A thread has its own."""

    def __init__(self):
        kubeconfig = (VAR / "kubeconfig").read_text()
        self.token = kubeconfig.split('token: "')[1].split('"')[0]
        context = ssl.create_default_context(cafile=str(VAR / "pki/apiserver.crt"))
        self.connection = http.client.HTTPSConnection(NODE, 6443, context=context, timeout=60)
        self.asked = time.monotonic()

    def ask(self, method, path, body=None, kind="application/json", good=(200, 201)):
        if time.monotonic() - self.asked > 20:
            self.connection.close()  # the server may be about to do that; the request makes a new one
        self.asked = time.monotonic()
        try:
            self.connection.request(method, path, json.dumps(body) if body is not None else None,
                                    {"Authorization": f"Bearer {self.token}", "Content-Type": kind})
            answer = self.connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()  # the next request makes a new one
            raise
        if answer.status not in good:
            raise ApiError(f"{method} {path}: {answer.status} {text[:300]}")
        return json.loads(text or "null")

    def create(self, *objects):
        """One that exists is left as it is."""
        for o in objects:
            self.ask("POST", PATHS[o["kind"]], o, good=(201, 409))

    def put(self, o):
        """Created, or replaced whatever was there."""
        path = f"{PATHS[o['kind']]}/{o['metadata']['name']}"
        self.ask("PATCH", f"{path}?fieldManager=test&force=true", o, "application/apply-patch+yaml")

    def merge(self, path, change):
        self.ask("PATCH", path, change, "application/merge-patch+json")

    def delete(self, path):
        self.ask("DELETE", path, good=(200, 404))


def each_in_parallel(work, items, threads=4):
    """work(api, item) for every item, in threads; raises the first failure when all are through."""
    items, failed = list(items), []

    def part(mine):
        try:
            api = Api()
            for item in mine:
                work(api, item)
        except (ApiError, OSError, http.client.HTTPException) as error:
            failed.append(error)

    workers = [threading.Thread(target=part, args=(items[i::threads],)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failed:
        raise failed[0]
