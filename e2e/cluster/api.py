"""The API server of e2e/cluster/light.sh over one keep-alive connection, for those whom kubectl would slow down."""
import http.client
import json
import os
import pathlib
import ssl
import threading

VAR = pathlib.Path(os.environ.get("VAR", "/nonexistent"))
NODE = "10.201.0.1"
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
