#!/usr/bin/env python3
"""The controller as in a Pod, on a real etcd and kube-apiserver: known by the files of its ServiceAccount, whose token rotates;
and etcd compacted under it while it sleeps, a real 410. Needs root; run it by e2e/cluster/node/with.sh."""
import json
import os
import shutil
import signal
import subprocess

from light import (BASE, HAPROXY, HATCHWAY, INSIDE, NODE, ROOT, VAR, Controller, allow, api_server, apply, crds, inside, kubectl, light, ok, settle,
                   until, wait_for, walkthrough)

FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
# In a mount namespace of its own, so that nothing of the machine's /run is touched.
POD = f'mount -t tmpfs tmpfs /run && mkdir -p {FOLDER} && mount --bind "$0" {FOLDER} && exec "$@"'
ACCOUNT = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: hatchway, namespace: hatchway}
"""


class Pod(Controller):
    def start(self):
        environment = {k: v for k, v in os.environ.items() if k != "KUBECONFIG"}
        environment |= {"KUBERNETES_SERVICE_HOST": NODE, "KUBERNETES_SERVICE_PORT": "6443"}
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                [*INSIDE, "unshare", "--mount", "--propagation", "private", "sh", "-c", POD,
                 str(self.kubeconfig), HATCHWAY, "run", "--haproxy", HAPROXY, "--state-dir", str(self.state),
                 "--haproxy-stop-on-exit", "--log-level", "debug"],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def write_token(folder):
    """As the kubelet does: whole, by a rename."""
    token = kubectl("-n", "hatchway", "create", "token", "hatchway", "--duration=10m").strip()
    (folder / "token.new").write_text(token)
    (folder / "token.new").rename(folder / "token")


def programmed():
    gateway = json.loads(kubectl("-n", "sample-ingress", "get", "gateway", "sample-gateway", "-o", "json"))
    return any(c["type"] == "Programmed" and c["status"] == "True" for c in gateway["status"]["conditions"])


def compact():
    """etcd forgets all versions but the newest."""
    def ask(path, body):
        return json.loads(inside("curl", "-sf", "--noproxy", "*", f"http://127.0.0.1:2379/v3/{path}", "-d", json.dumps(body)))

    revision = ask("kv/range", {"key": "AA=="})["header"]["revision"]
    ask("kv/compaction", {"revision": revision, "physical": True})


def scenario(pod, work, folder):
    apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: hatchway}\n")
    apply(ACCOUNT)
    allow(subject="kind: ServiceAccount, name: hatchway, namespace: hatchway")
    crds()
    shutil.copy(VAR / "pki/apiserver.crt", folder / "ca.crt")
    (folder / "namespace").write_text("hatchway")
    write_token(folder)
    apply(BASE)
    walkthrough()
    pod.start()
    settle(pod, work, "the walk-through, by a ServiceAccount")
    until("its status is written", programmed)

    # Another account of the same name: its tokens are good, the old one is not.
    kubectl("-n", "hatchway", "delete", "serviceaccount", "hatchway")
    apply(ACCOUNT)
    light("kill-api")
    light("start-api")
    wait_for(pod, "waiting", "the old token is refused")
    write_token(folder)
    (route,) = [(ROOT / "e2e/walkthrough/route.yaml").read_text()]
    apply(route.replace("/hello", "/rotated"))
    assert "/rotated" in settle(pod, work, "the token has rotated", 60)

    pod.process.send_signal(signal.SIGSTOP)
    kubectl("-n", "sample", "delete", "httproute", "helloworld")
    apply(route.replace("name: helloworld\n", "name: late\n", 1).replace("/hello", "/late"))
    light("kill-api")
    compact()
    light("start-api")
    pod.process.send_signal(signal.SIGCONT)
    table = settle(pod, work, "what changed while it slept, with etcd compacted", 60)
    assert "/late" in table and "/rotated" not in table, table
    assert "too old to go on, listed again kind=HTTPRoute" in pod.log.read_text(), "that was no 410"
    ok("the version to go on from was gone: a real 410")


if __name__ == "__main__":
    with api_server("pod") as work:
        account = work / "serviceaccount"
        account.mkdir()
        scenario(Pod(work, account), work, account)
