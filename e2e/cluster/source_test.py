#!/usr/bin/env python3
"""The cluster source against a real etcd and kube-apiserver: what `hatchway run --kubeconfig` programs must at every point be
what a folder with the same objects programs (`kubectl get -o yaml`, then `hatchway dump table --manifests`).

Needs root; run it by e2e/cluster/node/with.sh."""
import os
import random
import signal
import subprocess
import sys
import time

from light import (ALL_KINDS, BASE, INSIDE, NODE, OLD_CRDS, ROOT, VAR, Controller, allow, api_server, apply, crds, inside, kubectl, light, no_crds,
                   ok, serve, settle, wait_for, walkthrough)

SEED = int(os.environ.get("HATCHWAY_SEED") or random.randrange(1 << 32))


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
        self.process = subprocess.Popen([*INSIDE, sys.executable, "-c", self.SCRIPT, str(seed)],
                                        stdout=subprocess.PIPE)
        self.process.stdout.readline()

    def stop(self):
        self.process.kill()
        self.process.wait()


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
    crds()
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
        ok("requests are answered by both")
        kubectl("-n", "sample", "patch", "httproute", "helloworld", "--type=json", "-p",
                '[{"op":"replace","path":"/spec/rules/0/backendRefs","value":[{"name":"helloworld-v1","port":5000,"weight":0},'
                '{"name":"helloworld-v2","port":5000,"weight":1}]}]')
        settle(controller, work, "a canary by kubectl patch")
        time.sleep(0.1)
        assert get() == {"from 10.245.0.2"}, get()
        ok("requests follow the weight")
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

    no_crds()
    wait_for(controller, r"GatewayClass - not served objects 0[^$]*HTTPRoute - not served objects 0", "CRDs that go are dropped", 40)
    settle(controller, work, "no CRDs")
    crds(OLD_CRDS)
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


if __name__ == "__main__":
    print(f"HATCHWAY_SEED={SEED}")
    with api_server("source") as folder:
        scenario(Controller(folder, VAR / "kubeconfig.hatchway"), folder)
