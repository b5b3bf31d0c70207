#!/usr/bin/env python3
"""make bench-cluster [FIGURES='served busy start ready weight loss'] [QUICK=1]: hatchway's figures on a real kube-apiserver and etcd,
in a network namespace of their own; each figure has new ones. A table on stdout and build/bench/results-cluster.json, as bench.py's.

Needs root; run it by e2e/cluster/node/with.sh. Every clock starts when the API server's
answer to the write has come back. All share the machine's cores with API server and etcd; HAProxy is not pinned."""
import contextlib
import functools
import json
import os
import pathlib
import random
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "cluster")]
import bed as b
from light import PATHS, VAR, Api, each_in_parallel, run_inside
from bed import Poller, check, gateway, route, rule, service, wait
from bench import MANY, QUICK, RESULTS, PeakMemory, measure, percentile, told

POD = "10.245.0.1"  # every address of 10.245.0.0/16 is the namespace's own: the API server refuses loopback endpoints
HTTPROUTES, SLICES = PATHS["HTTPRoute"], PATHS["EndpointSlice"]


def in_parallel(objects):
    """Creates them all, as `kubectl apply` of several at once would."""
    each_in_parallel(lambda api, o: api.create(o), objects)


# ---- the world ----

class World:
    """An API server with a Gateway, and hatchway with a HAProxy of its own."""

    def __init__(self, name):
        self.bed, self.api = b.Bed(name), Api()
        self.app = self.bed.app(ports=2, address="0.0.0.0")
        self.api.create({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "hatchway"},
                         "spec": {"controllerName": "hatchway.dev/controller"}}, gateway())

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.bed.__exit__(*what)

    def start(self):
        command = [b.BUILD / "hatchway", "run", "--kubeconfig", VAR / "kubeconfig", "--state-dir", self.bed.state, "--haproxy", b.HAPROXY,
                   "--port-map", f"80:{self.bed.port}"]
        with open(self.bed.log, "ab") as log:
            self.bed.hatchway = self.bed.spawn(*command, stdout=log, stderr=log)

    def ready(self):
        wait(lambda: self.bed.get("/")[0], 30, text="the Gateway's start")

    def service(self, name, ports):
        return service(name, [(f"{name}-{p}", POD, p) for p in ports])

    def plain(self, name, to="app"):
        return route(name, [rule({to: 1})], hostnames=[f"{name}.example.com"])

    def many(self, n):
        for i in range(n):
            yield from self.service(f"service-{i}", [self.app])
            yield self.plain(f"route-{i}", f"service-{i}")


def served_after(write, ask, is_new, fine, every=0.001):
    """Milliseconds from the write's answer to the first new answer; wrong: answers that are neither old nor new."""
    write()
    begin, wrong = time.perf_counter(), 0
    while True:
        answer = ask()
        if is_new(answer):
            return (time.perf_counter() - begin) * 1000, wrong
        wrong += answer[0] not in fine
        check(time.perf_counter() - begin < 20, "a change was not served within 20 s")
        time.sleep(every)


def told_times(figure, times, wrong, p50_goal, p99_goal):
    p50, p99 = percentile(times, 0.5), percentile(times, 0.99)
    told(f"{figure}, p50 / p99 / max", "ms", [round(p50, 2), round(p99, 2), round(max(times), 2)],
         f"<= {p50_goal} / {p99_goal}" if p50_goal else f"p99 <= {p99_goal}",
         (not p50_goal or p50 <= p50_goal) and p99 <= p99_goal and not wrong, {"n": len(times), "wrong_answers": wrong})


# ---- figures ----

def new_routes(world, n, prefix):
    poller, times, wrong = Poller(world.bed.port), [], 0
    for i in range(n):
        name = f"{prefix}-{i}"
        took, bad = served_after(lambda: world.api.create(world.plain(name)), lambda: poller.get(f"{name}.example.com", "/hello"),
                                 lambda a: a[0] == 200, (404,))
        times.append(took)
        wrong += bad
    return times, wrong


def served():
    n = 300 if QUICK else 3000
    with World("served") as world:
        world.api.create(*world.service("app", [world.app]))
        world.start()
        world.ready()
        times, wrong = new_routes(world, n, "new")
        told_times(f"HTTPRoute created → first 200, {n} routes one after the other", times, wrong, 5, 15)


def busy():
    """Ten thousand routes there, one changed a second, an endpoint every two."""
    n = 100 if QUICK else 1000
    with World("busy") as world:
        in_parallel(world.many(MANY))
        world.api.create(*world.service("app", [world.app]))
        world.start()
        world.ready()
        wait(lambda: world.bed.get("/hello", host=f"route-{MANY - 1}.example.com")[0] == 200, 60, text="the world")
        time.sleep(5)
        over = threading.Event()

        def elsewhere():
            api, turn = Api(), 0
            while not over.wait(1):
                turn += 1
                i = random.randrange(MANY)
                api.merge(f"{HTTPROUTES}/route-{i}", {"spec": world.plain(f"route-{i}", f"service-{(i + turn) % MANY}")["spec"]})
                if turn % 2:
                    api.merge(f"{SLICES}/service-{i}-{world.app}", {"endpoints": [{"addresses": [f"10.245.1.{turn % 200 + 1}"], "conditions": {"ready": True}}]})

        thread = threading.Thread(target=elsewhere)
        thread.start()
        try:
            times, wrong = new_routes(world, n, "busy")
        finally:
            over.set()
            thread.join()
        told_times(f"the same with {MANY} routes present, changes elsewhere", times, wrong, 6, 20)


def started(world, sample):
    """Seconds until all of the sample are served, by a hatchway and a HAProxy that have nothing yet; and the controller's memory from then on."""
    shutil.rmtree(world.bed.state)
    world.bed.state.mkdir(mode=0o700)
    begin = time.perf_counter()
    world.start()
    memory, poller = PeakMemory(world.bed.hatchway.pid), Poller(world.bed.port)

    def there(i):
        poller.close()
        return poller.get(f"route-{i}.example.com", "/hello")[0] == 200

    for i in sample:
        wait(lambda: there(i), 120, text=f"route {i}")
    return time.perf_counter() - begin, memory


def stop(world):
    world.bed.end()
    for pid in list(b.processes_naming(str(world.bed.state))):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    wait(lambda: not list(b.processes_naming(str(world.bed.state))), 20, text="HAProxy's end")


def start():
    with World("start") as world:
        in_parallel(world.many(MANY))
        sample = random.Random(1).sample(range(MANY), min(MANY, 300))
        took, peaks, steady = [], [], []
        for _ in range(5):
            seconds, memory = started(world, sample)
            took.append(round(seconds, 2))
            time.sleep(10)
            memory.stop = True
            memory.join()
            peaks.append(round(memory.peak / 2**20, 1))
            steady.append(round(b.pss_bytes(world.bed.hatchway.pid) / 2**20, 1))
            stop(world)
        told(f"controller's start → all of {MANY} routes served, median of 5", "s", statistics.median(took), "<= 3", statistics.median(took) <= 3,
             {"sampled_routes": len(sample), "s": took})
        told(f"controller's memory (PSS), {MANY} routes, Services and EndpointSlices, peak / steady", "MiB", [max(peaks), max(steady)],
             "<= 40", max(peaks) <= 40, {"every_ms": 20, "peaks": peaks, "steady": steady})


def ready():
    """An endpoint that is no longer ready: the last request it is sent."""
    n, times = 50 if QUICK else 300, []
    with World("ready") as world:
        world.api.create(*world.service("app", [world.app, world.app + 1]), world.plain("both"))
        world.start()
        world.ready()
        poller, last = Poller(world.bed.port), f"-{world.app + 1}"
        path = f"{SLICES}/app-{world.app + 1}"

        def state(value):
            world.api.merge(path, {"endpoints": [{"addresses": [POD], "conditions": {"ready": value}, "targetRef": {
                "kind": "Pod", "name": f"app-{world.app + 1}", "namespace": "default"}}]})

        for _ in range(n):
            wait(lambda: last in poller.get("both.example.com", "/hello")[2], 10, text="the endpoint's return")
            state(False)
            begin = seen = time.perf_counter()
            while time.perf_counter() - begin < 0.08:
                sent = time.perf_counter()
                if last in poller.get("both.example.com", "/hello")[2]:
                    seen = sent
                time.sleep(0.0005)  # a client that never rests would take a core from who is measured
            times.append((seen - begin) * 1000)
            state(True)
        told_times("EndpointSlice ready: false → last request sent to the endpoint", times, 0, None, 15)


def weight():
    n, times, wrong = 50 if QUICK else 300, [], 0
    with World("weight") as world:
        for i, name in enumerate("ab"):
            world.api.create(*world.service(name, [world.app + i]))
        world.api.create(route("canary", [rule({"a": 1, "b": 0})], hostnames=["canary.example.com"]))
        world.start()
        world.ready()
        poller = Poller(world.bed.port)
        wait(lambda: poller.get("canary.example.com", "/hello")[0] == 200, 10, text="the canary")
        for turn in range(1, n + 1):
            to = turn % 2
            took, bad = served_after(lambda: world.api.merge(f"{HTTPROUTES}/canary", {"spec": {"rules": [rule({"a": 1 - to, "b": to})]}}),
                                     lambda: poller.get("canary.example.com", "/hello"), lambda a: f"-{world.app + to}" in a[2], (200,), 0.0005)
            times.append(took)
            wrong += bad
        told_times("weight edited → first request with the new share", times, wrong, None, 15)


def loss():
    """Routes and endpoints change, those that stay must answer as if nothing were."""
    changes, requests = (100, 50000) if QUICK else (1000, 1000000)
    with World("loss") as world:
        world.api.create(*world.service("app", [world.app, world.app + 1]), *world.service("other", [world.app]), world.plain("stable"),
                         route("canary", [rule({"app": 1, "other": 1})], hostnames=["canary.example.com"]))
        world.start()
        world.ready()
        targets = [(f"{n}.example.com", "/hello", 200, "Hello version") for n in ("stable", "canary")]
        wait(lambda: all(world.bed.get("/hello", host=t[0])[0] == 200 for t in targets), 10, text="the stable routes")
        reloads, sent, lost, done = world.bed.reloads(), 0, 0, {"routes": 0, "endpoints": 0}
        while min(done.values()) < changes or sent < requests:
            clients = [world.bed.load(targets, connections=16), world.bed.load(targets, connections=4, close=True)]
            end = time.monotonic() + 20
            while time.monotonic() < end:
                i = done["routes"]
                world.api.create(world.plain(f"loss-{i}"))
                world.api.merge(f"{HTTPROUTES}/canary", {"spec": {"rules": [rule({"app": 1 + i % 9, "other": 1 + i % 4})]}})
                if i >= 20:
                    world.api.delete(f"{HTTPROUTES}/loss-{i - 20}")
                world.api.merge(f"{SLICES}/app-{world.app + 1}", {"endpoints": [{"addresses": [POD], "conditions": {"ready": i % 2 == 0}}]})
                done["routes"] += 1
                done["endpoints"] += 1
            for client in clients:
                got = world.bed.finish(client)
                sent, lost = sent + got["sent"], lost + got["lost"]
            print(f"... {sent} requests, {done}, {lost} lost", flush=True)
        told(f"requests lost of {sent} during {3 * done['routes']} changes of routes and {done['endpoints']} of endpoints", "requests", lost, "0",
             lost == 0, done)
        told("reloads of HAProxy meanwhile", "reloads", world.bed.reloads() - reloads, "0", world.bed.reloads() == reloads, {})


FIGURES = {"served": served, "busy": busy, "start": start, "ready": ready, "weight": weight, "loss": loss}


def alone(name):
    """On an API server of its own: one that has had ten thousand objects deleted is slow for minutes, and no measure of hatchway."""
    subprocess.run([sys.executable, __file__, name], check=True, env=os.environ | {"ALONE": "1"})
    RESULTS.extend(json.loads((b.ROOT / f"build/bench/results-cluster-{name}.json").read_text()))


if __name__ == "__main__":
    where = "real kube-apiserver and etcd on the same cores; one network namespace"
    if os.environ.get("ALONE"):
        run_inside(__file__)
        sys.exit(measure(FIGURES, sys.argv[1:], f"results-cluster-{sys.argv[1]}.json", where))
    sys.exit(measure({name: functools.partial(alone, name) for name in FIGURES}, sys.argv[1:], "results-cluster.json", where))
