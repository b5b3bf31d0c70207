"""A script inside the network of a light.sh of its own, and the API server there over one keep-alive connection, for those whom
kubectl would slow down. BIN and CRDS: what e2e/cluster/node/build.sh made, unless they say otherwise."""
import http.client
import json
import os
import pathlib
import signal
import ssl
import subprocess
import sys
import threading

NAME = os.environ.setdefault("NAME", f"hatchway-light-{os.getpid()}")
VAR = pathlib.Path(os.environ.setdefault("VAR", f"/var/lib/{NAME}"))
CACHE = pathlib.Path(os.environ.get("CACHE") or os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / (
    "" if "CACHE" in os.environ else "hatchway-e2e")
os.environ.setdefault("BIN", str(CACHE / "bin"))
KUBECTL = [os.environ["BIN"] + "/kubectl", f"--kubeconfig={VAR}/kubeconfig"]
CRDS = os.environ.get("CRDS", str(CACHE / "crds/v1.6.3"))
NODE = "10.201.0.1"
PATHS = {"HTTPRoute": "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes",
         "Gateway": "/apis/gateway.networking.k8s.io/v1/namespaces/default/gateways",
         "GatewayClass": "/apis/gateway.networking.k8s.io/v1/gatewayclasses",
         "EndpointSlice": "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
         "Service": "/api/v1/namespaces/default/services"}


def light(*words):
    command = [str(pathlib.Path(__file__).with_name("light.sh")), *map(str, words)]
    return subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True).stdout


def inside(script):
    """True once the script runs in the network of an API server with the Gateway API's CRDs, where every address of 10.245.0.0/16 is
    its own (the API server refuses loopback endpoints). Before, the first time: brings that up, runs the script again within,
    takes it down, and exits as the script did."""
    if os.environ.get("HATCHWAY_LIGHT") == NAME:
        return True
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        light("up")
        light("in", "ip", "route", "add", "local", "10.245.0.0/16", "dev", "lo")
        light("in", *KUBECTL, "apply", "--server-side", "-f", CRDS)
        light("in", *KUBECTL, "wait", "--for=condition=Established", "crd", "--all")
        code = subprocess.run(["nsenter", f"--net=/run/netns/{NAME}", "--", sys.executable, script, *sys.argv[1:]],
                              env=os.environ | {"HATCHWAY_LIGHT": NAME}).returncode
    finally:
        light("down")
    sys.exit(code)


class ApiError(Exception):
    pass


class Api:
    """A thread has its own."""

    def __init__(self):
        kubeconfig = (VAR / "kubeconfig").read_text()
        self.token = kubeconfig.split('token: "')[1].split('"')[0]
        context = ssl.create_default_context(cafile=str(VAR / "pki/apiserver.crt"))
        self.connection = http.client.HTTPSConnection(NODE, 6443, context=context, timeout=60)

    def ask(self, method, path, body=None, kind="application/json", good=(200, 201)):
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

    def delete_all(self, path):
        """Ten thousand objects are more than one request of a minute can delete. The API server's own Service would come back."""
        others = "?fieldSelector=metadata.name!=kubernetes"
        while self.ask("GET", path + others + "&limit=1")["items"]:
            try:
                self.ask("DELETE", path + others)
            except (ApiError, OSError, http.client.HTTPException):
                pass  # asked again: what is still there tells


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
