"""The light cluster (light.sh: etcd and kube-apiserver) and a controller on it, for every *_test.py of this folder.

Needs root, BIN (folder of etcd, kube-apiserver, kubectl), HATCHWAY_HAPROXY, and the Gateway API's CRDs: CRDS and OLD_CRDS
(folders of YAML; else the Go module sigs.k8s.io/gateway-api v1.6.3 and v1.1.0 from the module cache)."""
import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
HATCHWAY = os.environ.get("HATCHWAY_BINARY", str(ROOT / "build/hatchway"))
HAPROXY = os.environ.get("HATCHWAY_HAPROXY", str(ROOT / "build/haproxy/haproxy"))
NAME = os.environ.setdefault("NAME", f"hatchway-light-{os.getpid()}")
VAR = pathlib.Path(os.environ.setdefault("VAR", f"/var/lib/{NAME}"))
SEED = int(os.environ.get("HATCHWAY_SEED", random.randrange(1 << 32)))
NODE = "10.201.0.1"
KINDS = "namespaces,services,endpointslices,gatewayclasses,gateways,httproutes,referencegrants"


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
    def __init__(self, work, kubeconfig):
        self.state, self.log = work / "state", work / "log"
        self.kubeconfig = kubeconfig
        self.process = None

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{NAME}", "--", HATCHWAY, "run", "--kubeconfig", str(self.kubeconfig), "--haproxy",
                 HAPROXY, "--state-dir", str(self.state), "--haproxy-stop-on-exit", "--log-level", "debug"],
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
  verbs: [get, list, watch]
- apiGroups: [gateway.networking.k8s.io]
  resources: [{statuses}]
  verbs: [patch]
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
ALL_KINDS = "gatewayclasses, gateways, httproutes, referencegrants"
ALL_STATUSES = "gatewayclasses/status, gateways/status, httproutes/status"
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


def walkthrough():
    folder = ROOT / "e2e/walkthrough"
    # The API server refuses loopback endpoints: Pods' addresses instead, all of them this namespace's own.
    apply(re.sub(r"127\.0\.5\.", "10.245.0.", (folder / "application.yaml").read_text()))
    apply((folder / "gateway.yaml").read_text())
    apply((folder / "route.yaml").read_text())


def allow(kinds=ALL_KINDS, statuses=ALL_STATUSES):
    apply(RBAC.format(kinds=kinds, statuses=statuses))


@contextlib.contextmanager
def light_cluster():
    """Up for the length of a with; gives a folder of the test's own."""
    work = pathlib.Path(tempfile.mkdtemp(prefix="hatchway-light-"))
    print(f"HATCHWAY_SEED={SEED}", flush=True)
    try:
        light("up")
        yield work
        print("all well", flush=True)
    finally:
        light("down", check=False)
        shutil.rmtree(work, ignore_errors=True)
