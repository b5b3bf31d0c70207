"""What the scenarios on a full cluster share: commands, the release, the walk-through's objects, clients. A scenario runs where
KUBECONFIG, kubectl and helm reach the cluster and its load balancers' addresses (run.sh sees to that), and leaves nothing behind."""
import collections
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from bed import BUILD, HOST, ROOT, Failure, check

CRDS = pathlib.Path(os.environ["HATCHWAY_E2E_CRDS"])  # folders v1.1.0, v1.6.3 and -experimental of each
OWN_CLUSTER = os.environ.get("HATCHWAY_E2E_NODE")     # e2e/cluster/node if the cluster is ours to break, else unset
NAMESPACE = "hatchway-system"


def ok(text):
    print(f"ok: {text}", flush=True)


def run(*command, text=None, check=True, timeout=180):
    done = subprocess.run([str(c) for c in command], input=text, text=True, capture_output=True, timeout=timeout)
    if check and done.returncode:
        raise Failure(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def kubectl(*words, **more):
    return run("kubectl", *words, **more)


def apply(*files, text=None):
    for file in files:
        kubectl("apply", "-f", file)
    if text:
        kubectl("apply", "-f", "-", text=text)


def wait(what, seconds=30, text="it", every=0.1):
    """Waits until what() is true, and returns that; a command that fails meanwhile is not yet."""
    end, value = time.monotonic() + seconds, None
    while time.monotonic() < end:
        with contextlib.suppress(Failure):
            value = what()
            if value:
                return value
        time.sleep(every)
    raise Failure(f"{text} did not happen within {seconds} s; last: {value!r}")


# ---- what is installed ----

def crds(version):
    """A new release's policy that forbids old ones is obeyed for a moment after it has gone."""
    words = ("apply", "--server-side", "--force-conflicts", "-f", CRDS / version)
    with contextlib.suppress(Failure):
        wait(lambda: kubectl(*words, "--dry-run=server"), 60)
    kubectl(*words)
    kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")


class Release:
    """hatchway by `helm install`; on the way out it and what belongs to it are gone, whatever happened."""

    def __init__(self, crds_version="v1.6.3", namespaces=("sample", "sample-ingress"), **values):
        self.crds_version, self.namespaces = crds_version, namespaces
        self.values = {"termination.pauseSeconds": 5, **values}

    def __enter__(self):
        try:
            crds(self.crds_version)
            sets = [word for name, value in self.values.items() for word in ("--set", f"{name}={value}")]
            run("helm", "install", "hatchway", ROOT / "charts/hatchway", "-n", NAMESPACE, "--create-namespace", "--wait",
                "--timeout", "90s", *sets)
        except BaseException:
            self.tell()
            self.leave()
            raise
        return self

    def __exit__(self, kind, error, trace):
        if kind:
            print(f"---- {kind.__name__}: {error}")
            self.tell()
        self.leave()

    def tell(self):
        for words in (["get", "pod,service,gateway,httproute,endpointslice", "-A", "-o", "wide"],
                      ["describe", "pod", "-n", NAMESPACE],
                      ["logs", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=hatchway", "--all-containers", "--prefix", "--tail=60"]):
            print(run("kubectl", *words, check=False)[-12000:])

    def leave(self):
        for namespace in self.namespaces:
            kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")
        for namespace in self.namespaces:
            kubectl("wait", "--for=delete", f"namespace/{namespace}", "--timeout=120s")
        run("helm", "uninstall", "hatchway", "-n", NAMESPACE, "--wait", "--ignore-not-found")
        kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
        if OWN_CLUSTER:
            kubectl("delete", "--ignore-not-found", "-f", CRDS / self.crds_version)

    # -- its Pods --

    def pods(self):
        listed = json.loads(kubectl("get", "pod", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=hatchway", "-o", "json"))["items"]
        return [p["metadata"]["name"] for p in listed if "deletionTimestamp" not in p["metadata"]]

    def hatchway(self, pod, *words):
        return kubectl("exec", "-n", NAMESPACE, pod, "-c", "hatchway", "--", "hatchway", *words)

    def counters(self, pod):
        return dict(line.rsplit(" ", 1) for line in self.hatchway(pod, "counters").splitlines() if " " in line)

    def socket(self, pod, command, name="haproxy.sock"):
        return kubectl("exec", "-i", "-n", NAMESPACE, pod, "-c", "hatchway", "--", "socat", "-t5", "-", f"/run/hatchway/{name}",
                       text=command + "\n")

    def reloads(self):
        """Of HAProxy, by Pod."""
        return {pod: int(next(line.split()[2] for line in self.socket(pod, "show proc", "master.sock").splitlines()
                              if line.split()[1:2] == ["master"])) for pod in self.pods()}


# ---- the walk-through's objects ----

def application(folder=ROOT / "e2e/walkthrough-cluster"):
    apply(folder / "application.yaml")
    for version in ("v1", "v2"):
        kubectl("-n", "sample", "rollout", "status", f"deployment/helloworld-{version}", "--timeout=60s")
    # Kubernetes tells a ready Pod to the Deployment first, and to those who follow the EndpointSlices some time later.
    wait(lambda: ready_endpoints("sample", "helloworld") == 2, 30, "both Pods in the EndpointSlices of Service helloworld")


def ready_endpoints(namespace, service):
    slices = json.loads(kubectl("-n", namespace, "get", "endpointslice", "-l", f"kubernetes.io/service-name={service}", "-o", "json"))
    return sum(e.get("conditions", {}).get("ready", True) for s in slices["items"] for e in s.get("endpoints") or [])


def address(gateway="sample-gateway", namespace="sample-ingress"):
    """Of a Gateway, as soon as it is programmed."""
    def programmed():
        status = json.loads(kubectl("get", "gateway", gateway, "-n", namespace, "-o", "json")).get("status", {})
        true = any(c["type"] == "Programmed" and c["status"] == "True" for c in status.get("conditions", []))
        return true and status.get("addresses") and status["addresses"][0]["value"]
    return wait(programmed, 30, f"Gateway {gateway} programmed, with an address")


def story(route="walkthrough"):
    """Application, Gateway and route are there, and the first request is answered; returns the Gateway's address."""
    application()
    apply(ROOT / "e2e/walkthrough/gateway.yaml", ROOT / f"e2e/{route}/route.yaml")
    at = address()
    wait(lambda: get(f"http://{at}/hello")[0] == 200, 10, "the route's first answer")
    return at


def patch_weights(v1, v2):
    kubectl("-n", "sample", "patch", "httproute", "helloworld", "--type=json", "-p", json.dumps([
        {"op": "replace", "path": "/spec/rules/0/backendRefs/0/weight", "value": v1},
        {"op": "replace", "path": "/spec/rules/0/backendRefs/1/weight", "value": v2}]))


# ---- clients ----

def get(url, host=HOST):
    """(status, body); 0 if nobody answered."""
    out = run("curl", "-s", "--noproxy", "*", "-m", "5", "-w", "\n%{http_code}", "-H", f"Host: {host}", url, check=False)
    body, _, status = out.rpartition("\n")
    return int(status or 0), body


def versions(url, n, host=HOST):
    """Who answered n requests, one after the other over one connection: {"v1": …, "v2": …}."""
    out = run("curl", "-s", "--noproxy", "*", "-m", "120", "-H", f"Host: {host}", f"{url}?[1-{n}]")
    return collections.Counter(re.findall(r"^Hello version: (\w+), instance: \S+$", out, re.M))


@contextlib.contextmanager
def load(at, rate=400, connections=16, close=False, text="Hello version:", path="/hello", host=HOST):
    """A strict client at work meanwhile; not one of its requests may be lost. Yields a dictionary that has the result at the end."""
    result = {}
    with tempfile.NamedTemporaryFile("w", prefix="hatchway-targets-") as targets:
        targets.write(f"{host} {path} 200 {text}\n")
        targets.flush()
        client = subprocess.Popen([BUILD / "e2e/load", "--to", at if ":" in at else f"{at}:80", "--targets", targets.name,
                                   "--connections", str(connections), "--rate", str(rate), *(["--close"] if close else [])],
                                  stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        try:
            yield result
        finally:
            client.send_signal(signal.SIGTERM)
            try:
                result.update(json.loads(client.communicate(timeout=30)[0] or "{}"))
            finally:
                client.kill()
    check(result.get("sent", 0) > 100, f"the client hardly ran: {result}")
    check(result["lost"] == 0, f"requests were lost: {result}")


def main(scenario):
    began = time.monotonic()
    try:
        scenario()
    except (Failure, AssertionError, subprocess.TimeoutExpired) as error:
        print(f"FAILED: {error}")
        sys.exit(1)
    print(f"all well ({time.monotonic() - began:.0f} s)")
