#!/usr/bin/env python3
"""make bench [FIGURES='throughput instructions change start canary loss'] [QUICK=1]: the figures of README.md, measured on this machine.

A table on stdout and build/bench/results.json, a list of {figure, unit, value, goal, met, samples}. A goal that is not met
is printed as such; the exit code is only about whether measuring worked. QUICK=1: fewer routes and samples, for trying
the harness; its figures are not for publication.

HAProxy has core 0 to itself as far as this script decides, everything else the other cores. Loopback only."""
import json
import os
import pathlib
import random
import re
import signal
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import bed as b
from bed import Bed, Failure, Poller, check, gateway, route, rule, service, wait

QUICK = bool(os.environ.get("QUICK"))
CORES = os.cpu_count() or 1
PROXY_CORE = "0"
OTHER_CORES = f"1-{CORES - 1}" if CORES > 1 else "0"
MANY = 1000 if QUICK else 10000
RESULTS = []


def told(figure, unit, value, goal, met, samples):
    """One row. samples: what the value was made from, short enough to keep."""
    RESULTS.append({"figure": figure, "unit": unit, "value": value, "goal": goal, "met": bool(met), "samples": samples})
    print(f"{'met    ' if met else 'NOT MET'}  {figure}: {value} {unit} (goal {goal})", flush=True)


def percentile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


# ---- worlds ----

WORLD = """apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: route-{i}
  namespace: team-{team}
spec:
  parentRefs:
  - name: gateway
    namespace: default
  hostnames:
  - h{i}.example.com
  rules:
  - matches:
    - path:
        type: PathPrefix
        value: /
    backendRefs:
    - name: service-{i}
      port: 80
---
apiVersion: v1
kind: Service
metadata:
  name: service-{i}
  namespace: team-{team}
spec:
  selector:
    app: app-{i}
  ports:
  - name: http
    port: 80
    targetPort: http
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
addressType: IPv4
metadata:
  name: service-{i}-x7k2p
  namespace: team-{team}
  labels:
    kubernetes.io/service-name: service-{i}
ports:
- name: http
  protocol: TCP
  port: {port}
endpoints:
- addresses: ["127.0.0.1"]
  conditions:
    ready: true
  targetRef:
    kind: Pod
    name: app-{i}-5d9c8b7f6-q4w8z
    namespace: team-{team}
"""


def host(i):
    return f"h{i}.example.com"


def world(bed, n, port):
    """n routes on n Services of one endpoint each, a file each, in folders of a hundred."""
    bed.save("gateway.yaml", gateway())
    for i in range(n):
        folder = bed.manifests / f"team-{i // 100}"
        folder.mkdir(exist_ok=True)
        (folder / f"route-{i}.yaml").write_text(WORLD.format(i=i, team=i // 100, port=port))


def application(bed, **options):
    port = bed.app(**options)
    subprocess.run(["taskset", "-apc", OTHER_CORES, str(bed.processes[-1].pid)], check=True, stdout=subprocess.DEVNULL)
    return port


def start(bed, **options):
    """HAProxy inherits core 0 from the hatchway that starts it; hatchway itself then goes to the others."""
    bed.pin = PROXY_CORE
    bed.start(**options)
    subprocess.run(["taskset", "-apc", OTHER_CORES, str(bed.hatchway.pid)], check=True, stdout=subprocess.DEVNULL)


def all_served(bed, n):
    """Every host answers; raises if one does not."""
    served = bed.finish(bed.load([(host(i), "/hello", 200, "Hello version:") for i in range(n)], connections=16, once=True), stop=False)
    check(served["lost"] == 0, f"not all served: {served}")


# ---- requests per second, CPU per request ----

HAND_WRITTEN = """# What one would write for one route, doing what hatchway does for every request: forwarded headers, one host, one path.
global
	nbthread 1
	maxconn 4000
	stats socket {socket} mode 600 level admin
defaults
	mode http
	timeout connect 5s
	timeout client 60s
	timeout server 60s
	option forwardfor
frontend http
	bind :{listen}
	http-request set-header X-Forwarded-Proto http
	use_backend app if {{ req.hdr(host) -i h0.example.com }} {{ path_beg / }}
backend app
	balance roundrobin
	server app-0-5d9c8b7f6-q4w8z 127.0.0.1:{port}
"""


def wrk(port, seconds, hostname):
    out = subprocess.run(["taskset", "-c", OTHER_CORES, "wrk", "-t1", "-c16", f"-d{seconds}s", "-H", f"Host: {hostname}",
                          f"http://127.0.0.1:{port}/hello"], stdout=subprocess.PIPE, text=True, check=True).stdout
    check("Non-2xx" not in out and "Socket errors" not in out, out)
    return int(re.search(r"(\d+) requests in", out)[1]), float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])


def side(pid, port, seconds, hostname):
    before = b.cpu_ns(pid)
    requests, rate = wrk(port, seconds, hostname)
    return rate, (b.cpu_ns(pid) - before) / requests / 1000


def throughput():
    seconds, pairs = (1, 3) if QUICK else (3, 11)
    for n in (1, MANY // 10, MANY):
        with Bed("bench") as bed:
            port = application(bed)
            world(bed, n, port)
            start(bed)
            wait(lambda: all(bed.get("/hello", host=host(i))[0] == 200 for i in (0, n - 1)), 30, text="the world")
            listen = b.free_port()
            config = bed.dir / "hand.cfg"
            config.write_text(HAND_WRITTEN.format(listen=listen, port=port, socket=bed.dir / "hand.sock"))
            hand = bed.spawn("taskset", "-c", PROXY_CORE, b.HAPROXY, "-db", "-f", config, stderr=subprocess.DEVNULL)
            wait(lambda: bed.get("/hello", host=host(0), port=listen)[0] == 200, text="the hand-written HAProxy")
            ours = bed.haproxy_pids()[1][0]
            # Some of the hosts, first and last among them: what was measured must not be one lucky place of a map.
            hosts = [host(0), host(n - 1), host(n // 2)]
            side(ours, bed.port, 1, hosts[0]), side(hand.pid, listen, 1, host(0))
            rates, costs, rows = [], [], []
            for pair in range(pairs):
                measure = {"ours": lambda: side(ours, bed.port, seconds, hosts[pair % 3]), "hand": lambda: side(hand.pid, listen, seconds, host(0))}
                got = {name: measure[name]() for name in (("ours", "hand") if pair % 2 else ("hand", "ours"))}
                first, second = got["ours"], got["hand"]
                rates.append(first[0] / second[0])
                costs.append(first[1] / second[1])
                rows.append([round(x, 2) for x in (*first, *second)])
            rate, cost = 100 * statistics.median(rates), 100 * statistics.median(costs)
            told(f"requests/s, {n} routes, of a hand-written config", "%", round(rate, 1), ">= 97", rate >= 97,
                 {"pairs": rows, "columns": "ours 1/s, us; hand-written 1/s, us"})
            told(f"CPU per request, {n} routes, of a hand-written config", "%", round(cost, 1), "<= 103", cost <= 103,
                 {"ours_us": statistics.median(r[1] for r in rows), "hand_us": statistics.median(r[3] for r in rows)})


# ---- instructions per request ----

def filtered(name, **spec):
    """A rule's filters with one HatchwayFilter, and that."""
    own = {"apiVersion": "hatchway.dev/v1alpha1", "kind": "HatchwayFilter", "metadata": {"name": name, "namespace": "default"}, "spec": spec}
    return [{"type": "ExtensionRef", "extensionRef": {"group": "hatchway.dev", "kind": "HatchwayFilter", "name": name}}], [own]


def instructions_of(bed, command, port, hostname):
    """User instructions of one keep-alive request: what 2,000 more of them cost."""
    counts = []
    for n in (500, 2500):
        out = bed.dir / "callgrind.out"
        proxy = bed.spawn("valgrind", "--tool=callgrind", "--trace-children=yes", f"--callgrind-out-file={out}", b.HAPROXY, "-db", *command, cwd=bed.state,
                          stderr=subprocess.DEVNULL)
        wait(lambda: bed.get("/hello", host=hostname, port=port)[0], 60, text="HAProxy in valgrind")
        poller = Poller(port)
        check({poller.get(hostname, "/hello")[0] for _ in range(n)} == {200}, hostname)
        poller.close()
        proxy.send_signal(signal.SIGTERM)
        proxy.wait(60)
        bed.processes.remove(proxy)
        counts.append(int(re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.M)[1]))
    return (counts[1] - counts[0]) / 2000


def instructions():
    """A plain rule, a hand-written configuration, and what each kind of filter adds. Each on the files of a hatchway that is gone."""
    header = lambda kind: [{"type": kind, kind[0].lower() + kind[1:]: {"set": [{"name": "a", "value": "b"}]}}]
    kinds = {"plain": ([], []), "request header": (header("RequestHeaderModifier"), []), "response header": (header("ResponseHeaderModifier"), []),
             "addresses": filtered("addresses", addresses={"deny": ["10.0.0.0/8"]}),
             "rate limit": filtered("limit", rateLimit={"requests": 1000000, "unit": "Hour"})}
    with Bed("bench") as bed:
        port, listen, counts = application(bed), b.free_port(), {}
        bed.save("world.yaml", gateway(), *service("web", [("pod", "127.0.0.1", port)]))
        for i, (filters, objects) in enumerate(kinds.values()):
            bed.save(f"route-{i}.yaml", route(f"route-{i}", [rule({"web": 1}, filters=filters)], hostnames=(host(i),)), *objects)
        bed.start("--threads", "1", "--haproxy-stop-on-exit")
        wait(lambda: all(bed.get("/hello", host=host(i))[0] == 200 for i in range(len(kinds))), 30, text="the routes")
        time.sleep(2)  # what is written lags by a second
        bed.end()
        for i, kind in enumerate(kinds):
            counts[kind] = instructions_of(bed, ["-C", bed.state, "-f", "haproxy.cfg", "-f", "backends"], bed.port, host(i))
        (bed.dir / "hand.cfg").write_text(HAND_WRITTEN.format(listen=listen, port=port, socket=bed.dir / "hand.sock"))
        counts["hand-written"] = instructions_of(bed, ["-f", bed.dir / "hand.cfg"], listen, host(0))
    for kind, count in counts.items():
        told(f"user instructions per request, {kind}", "thousand", round(count / 1000, 1), "told only", True, {})


# ---- saved → served ----

def timed(act, seen, every=0.0002, limit=10.0):
    """From the moment a file is saved (the rename that puts it in place has returned) to the first answer that shows it, in
    ms. Not from before the rename: replacing a file may wait for the file system's journal, whoever is watching."""
    act()
    begin = time.perf_counter()
    while not seen():
        if time.perf_counter() - begin > limit:
            raise Failure("a change was not served within 10 s")
        time.sleep(every)
    return (time.perf_counter() - begin) * 1000


class Prober:
    """One of each kind of change, each seen by the first answer that is different."""

    def __init__(self, bed, ports):
        self.bed, self.ports, self.n, self.wrong, self.wrong_statuses = bed, ports, 0, 0, {}
        self.poller = Poller(bed.port)
        for staged in (self.service("probe", [0]), self.service("first", [0]), self.service("second", [1]), self.filter("0"), self.weights(1, 0)):
            staged()
        wait(lambda: all(bed.get("/hello", host=f"{name}.example.com")[0] == 200 for name in ("filter", "weight")), 20, text="the probe routes")

    def ask(self, name):
        try:
            return self.poller.get(name, "/hello")
        except OSError:  # a connection that was cut is a wrong answer, and no reason to stop measuring
            return 0, {}, ""

    def service(self, name, numbers):
        return self.bed.stage(f"probe-{name}.yaml", *service(name, [(f"{name}-{i}", "127.0.0.1", self.ports + i) for i in numbers]))

    def filter(self, value):
        return self.bed.stage("probe-filter.yaml", route("filter", [rule({"probe": 1}, filters=[
            {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "X-Probe", "value": value}]}}])],
            hostnames=["filter.example.com"]))

    def weights(self, first, second):
        return self.bed.stage("probe-weight.yaml", route("weight", [rule({"first": first, "second": second})], hostnames=["weight.example.com"]))

    def expect(self, answer, statuses, seen):
        if answer[0] not in statuses:
            self.wrong += 1
            self.wrong_statuses[answer[0]] = self.wrong_statuses.get(answer[0], 0) + 1
        return seen(answer)

    def new_route(self):
        self.n += 1
        name = f"new-{self.n}"
        return timed(self.bed.stage(f"probe-{name}.yaml", route(name, [rule({"probe": 1})], hostnames=[f"{name}.example.com"])),
                     lambda: self.expect(self.ask(f"{name}.example.com"), (200, 404), lambda a: a[0] == 200))

    def new_weight(self):
        self.n += 1
        to = self.n % 2
        return timed(self.weights(1 - to, to),
                     lambda: self.expect(self.ask("weight.example.com"), (200,), lambda a: f"-{self.ports + to}" in a[2]))

    def new_endpoint(self):
        # Another one takes the place of the one there was, so that the next answer tells.
        self.n += 1
        to = self.n % 2
        return timed(self.service("probe", [to]),
                     lambda: self.expect(self.ask("filter.example.com"), (200,), lambda a: f"-{self.ports + to}" in a[2]))

    def changed_filter(self):
        self.n += 1
        return timed(self.filter(str(self.n)),
                     lambda: self.expect(self.ask("filter.example.com"), (200,), lambda a: a[1].get("x-probe") == str(self.n)))


def propagation(bed, ports, n, samples):
    prober = Prober(bed, ports)
    for name, kind in (("new route", prober.new_route), ("new weight", prober.new_weight),
                       ("new endpoint", prober.new_endpoint), ("changed filter", prober.changed_filter)):
        times = []
        prober.wrong, prober.wrong_statuses = 0, {}
        for _ in range(samples):
            times.append(kind())
            time.sleep(random.uniform(0.005, 0.025))
        p50, p99 = percentile(times, 0.5), percentile(times, 0.99)
        told(f"{name}: saved to served, {n} routes, p50 / p99", "ms", [round(p50, 2), round(p99, 2)], "<= 5 / 15",
             p50 <= 5 and p99 <= 15 and not prober.wrong, {"n": samples, "max": round(max(times), 2), "wrong_answers": prober.wrong_statuses})


def cpu_of_changes(bed, ports, n):
    prober = Prober(bed, ports)
    changes = 100 if QUICK else 400
    pid = bed.hatchway.pid
    time.sleep(3)
    before = b.cpu_ns(pid)
    for i in range(changes):
        (prober.new_route, prober.new_weight, prober.new_endpoint, prober.changed_filter)[i % 4]()
        time.sleep(0.01)
    time.sleep(2)
    each = (b.cpu_ns(pid) - before) / changes / 1e6
    told(f"controller's CPU per change, {n} routes", "ms", round(each, 3), "<= 1", each <= 1, {"changes": changes})
    time.sleep(1)
    seconds = 3 if QUICK else 20
    before = b.cpu_ns(pid)
    time.sleep(seconds)
    idle = 100 * (b.cpu_ns(pid) - before) / 1e9 / seconds
    told(f"controller's CPU while idle, {n} routes", "% of a core", round(idle, 4), "< 0.1", idle < 0.1, {"seconds": seconds})


def change():
    samples = 20 if QUICK else 300
    with Bed("bench") as bed:
        ports = application(bed, ports=2)
        world(bed, 10, ports)
        start(bed)
        propagation(bed, ports, 10, samples)


# ---- start, memory ----

class PeakMemory(threading.Thread):
    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.stop = pid, 0, False
        self.start()

    def run(self):
        while not self.stop:
            try:
                self.peak = max(self.peak, b.pss_bytes(self.pid))
            except (OSError, Failure):
                pass
            time.sleep(0.02)


def cold_start(bed, n):
    sample = random.Random(1).sample(range(n), min(n, 300))
    begin = time.perf_counter()
    start(bed, wait_for_gateway=False)
    memory = PeakMemory(bed.hatchway.pid)
    poller = Poller(bed.port)

    def served(i):
        # A connection of its own for every try: what counts is when the route is there for those who come.
        poller.close()
        return poller.get(host(i), "/hello")[0] == 200

    for i in sample:
        wait(lambda: served(i), 60, text=f"route {i}")
    took = time.perf_counter() - begin
    all_served(bed, n)
    told(f"start with {n} routes, HAProxy empty, until all are served", "s", round(took, 2), "<= 3", took <= 3, {"sampled_routes": len(sample)})
    return memory


def warm_start(bed, n, ports):
    """A change made while the controller is dead must be served within a second of its return."""
    bed.save("late.yaml", route("late", [rule({"late": 1})], hostnames=["late.example.com"]), *service("late", [("late-0", "127.0.0.1", ports)]))
    wait(lambda: bed.get("/hello", host="late.example.com")[0] == 200, 10, text="the late route")
    time.sleep(2)
    times = []
    for turn in range(3 if QUICK else 7):
        bed.end(signal.SIGKILL)
        bed.save("late.yaml", route("late", [rule({"late": 1}, filters=[
            {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "X-Turn", "value": str(turn)}]}}])],
            hostnames=["late.example.com"]), *service("late", [("late-0", "127.0.0.1", ports)]))
        begin = time.perf_counter()
        start(bed, wait_for_gateway=False)
        poller = Poller(bed.port)
        wait(lambda: poller.get("late.example.com", "/hello")[1].get("x-turn") == str(turn), 30, text="the late change")
        times.append(time.perf_counter() - begin)
    time.sleep(2)
    # Nothing changed while it was dead, and what had to go is gone: not one changing command.
    wait(lambda: bed.counters()["pending_removals"] == 0, 20, text="the end of what is no longer wanted")
    time.sleep(1)
    bed.end(signal.SIGKILL)
    start(bed, wait_for_gateway=False)
    wait(lambda: "applied 1" in bed.command("counters", "--state-dir", bed.state)[1], 30, text="the restart")
    time.sleep(2)
    counted = bed.counters()
    value = statistics.median(times)
    told(f"start with {n} routes, HAProxy holding them", "s", round(value, 2), "<= 1", value <= 1, {"seconds": [round(t, 2) for t in times]})
    told(f"changing commands of a restart, {n} routes", "commands", counted["commands"], "0", counted["commands"] == 0, counted)


def starting():
    with Bed("bench") as bed:
        ports = application(bed, ports=2)
        world(bed, MANY, ports)
        memory = cold_start(bed, MANY)
        time.sleep(3)
        steady = b.pss_bytes(bed.hatchway.pid) / 2**20
        propagation(bed, ports, MANY, 20 if QUICK else 300)
        cpu_of_changes(bed, ports, MANY)
        memory.stop = True
        memory.join()
        peak = memory.peak / 2**20
        after = b.pss_bytes(bed.hatchway.pid) / 2**20
        told(f"controller's memory (PSS), {MANY} routes, peak", "MiB", round(peak, 1), "<= 40", peak <= 40, {"every_ms": 20})
        told(f"controller's memory (PSS), {MANY} routes, steady", "MiB", round(after, 1), "<= 40", after <= 40, {"before_changes": round(steady, 1)})
        pids = bed.haproxy_pids()[1]
        told(f"HAProxy's memory (PSS), {MANY} routes and backends", "MiB", round(b.pss_bytes(pids[0]) / 2**20, 1), "told only", True, {"workers": len(pids)})
        warm_start(bed, MANY, ports)


# ---- the canary's shares ----

def canary():
    with Bed("bench") as bed:
        port = application(bed, ports=6)
        bed.save("gateway.yaml", gateway())
        names = ("a", "b", "c")
        # 1, 2 and 3 endpoints: shares must not follow the number of endpoints.
        owner, at = {}, port
        for count, name in enumerate(names, 1):
            bed.save(f"{name}.yaml", *service(name, [(f"{name}-{i}", "127.0.0.1", at + i) for i in range(count)]))
            owner.update({f"-{at + i}": name for i in range(count)})
            at += count
        start(bed)
        worst, rows = 0.0, []
        for n, weights in enumerate(((90, 10, 0), (99, 1, 0), (1, 1, 1), (70, 20, 10), (1, 2, 4), (999, 1, 0), (0, 33, 67), (50, 50, 0))):
            bed.save("route.yaml", route("canary", [rule(dict(zip(names, weights)), filters=[
                {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "X-N", "value": str(n)}]}}])]))
            wait(lambda: bed.get("/hello")[1].get("x-n") == str(n), 5, text=f"weights {weights}")
            got = bed.finish(bed.load([(b.HOST, "/hello", 200, "Hello")], connections=4, requests=10000), stop=False)
            check(got["lost"] == 0, f"lost: {got}")
            shares = dict.fromkeys(names, 0)
            for text, count in got["bodies"].items():
                shares[owner["-" + text.rsplit("-", 1)[1]]] += count
            off = max(abs(100 * shares[k] / 10000 - 100 * w / sum(weights)) for k, w in zip(names, weights))
            worst = max(worst, off)
            rows.append({"weights": weights, "got": list(shares.values()), "off": round(off, 3)})
        told("canary: largest deviation from the asked shares over 10,000 requests", "points", round(worst, 3), "<= 0.1", worst <= 0.1, rows)


# ---- loss ----

STABLE = 8


class Churn:
    """Random changes around routes that must always answer: weights, endpoints, filters, other routes, backends."""

    def __init__(self, bed, ports, seed):
        self.bed, self.ports, self.random, self.counts, self.extra = bed, ports, random.Random(seed), {}, []
        self.endpoints = {(r, s): [0, 1] for r in range(STABLE) for s in "ab"}
        self.weights = {r: (1, 1) for r in range(STABLE)}
        self.filters = {r: 0 for r in range(STABLE)}
        self.n = 0

    def write_service(self, r, s):
        # Version r<N> is 6 ports: three for each of the route's two Services.
        base = self.ports + r * 6 + "ab".index(s) * 3
        pods = [(f"r{r}{s}-{i}", "127.0.0.1", base + i) for i in self.endpoints[r, s]]
        self.bed.save(f"service-{r}{s}.yaml", *service(f"r{r}{s}", pods))

    def write_route(self, r):
        a, z = self.weights[r]
        refs = {k: w for k, w in ((f"r{r}a", a), (f"r{r}b", z)) if w is not None}
        filters = [{"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "X-N", "value": str(self.filters[r])}]}},
                   {"type": "RequestHeaderModifier", "requestHeaderModifier": {"add": [{"name": "X-M", "value": "m" * (self.filters[r] % 50 + 1)}]}}]
        self.bed.save(f"stable-{r}.yaml", route(f"stable-{r}", [rule(refs, filters=filters if self.filters[r] else None)], hostnames=[stable(r)]))

    def all(self):
        for r in range(STABLE):
            self.write_route(r)
            for s in "ab":
                self.write_service(r, s)

    def change(self):
        r, kind = self.random.randrange(STABLE), self.random.choice(("weights", "endpoints", "filters", "routes", "backends"))
        self.n += 1
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if kind == "weights":
            self.weights[r] = self.random.choice(((1, 1), (90, 10), (1, 0), (0, 1), (self.random.randint(1, 1000), self.random.randint(1, 1000))))
            self.write_route(r)
        elif kind == "backends":  # the set of references: another HAProxy backend comes, one goes
            self.weights[r] = self.random.choice(((1, None), (None, 1), (1, 1)))
            self.write_route(r)
        elif kind == "endpoints":
            s = self.random.choice("ab")
            self.endpoints[r, s] = sorted(self.random.sample(range(3), self.random.randint(1, 3)))
            self.write_service(r, s)
        elif kind == "filters":
            self.filters[r] = self.random.choice((0, self.n))
            self.write_route(r)
        elif self.extra and self.random.random() < 0.5:
            self.bed.remove(self.extra.pop(self.random.randrange(len(self.extra))))
        else:
            name = f"extra-{self.n}"
            hostname = self.random.choice((f"{name}.example.com", stable(r)))
            self.bed.save(f"{name}.yaml", route(name, [rule({name: 1}, path=f"/{name}", path_type="Exact")], hostnames=[hostname]),
                          *service(name, [(f"{name}-pod", "127.0.0.1", self.ports)]))
            self.extra.append(f"{name}.yaml")


def stable(r):
    return f"stable-{r}.example.com"


def h2_client(bed, seconds):
    urls = [f"http://127.0.0.1:{bed.port}/hello"]
    return [bed.spawn("taskset", "-c", OTHER_CORES, "h2load", "-D", seconds, "-c", "2", "-m", "4", "--rps", "500", "-H", f":authority: {stable(r)}",
                      *urls, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for r in range(2)]


def h2_result(bed, client):
    out = client.communicate(timeout=120)[0].decode()
    bed.processes.remove(client)
    done = re.search(r"requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", out)
    check(done, f"h2load said: {out}")
    total, started, finished, good, failed, errored, late = map(int, done.groups())
    ok = int(re.search(r"status codes: (\d+) 2xx", out)[1])
    return finished, failed + errored + late + (finished - ok)


def loss():
    seed = int(os.environ.get("HATCHWAY_SEED") or 0) or random.randrange(1 << 30)
    changes, requests = (200, 50000) if QUICK else (2000, 1000000)
    with Bed("bench") as bed:
        ports = application(bed, ports=STABLE * 6, per_version=6)
        churn = Churn(bed, ports, seed)
        bed.save("gateway.yaml", gateway())
        churn.all()
        start(bed)
        wait(lambda: all(bed.get("/hello", host=stable(r))[0] == 200 for r in range(STABLE)), 10, text="the stable routes")
        reloads = bed.reloads()
        pids = bed.haproxy_pids()
        targets = [(stable(r), "/hello", 200, f"version: r{r},") for r in range(STABLE)]
        sent = lost = 0
        rows = []
        while churn.n < changes or sent < requests:
            clients = [bed.load(targets, connections=16, pin=OTHER_CORES), bed.load(targets, connections=8, close=True, pin=OTHER_CORES)]
            h2 = h2_client(bed, 20)
            end = time.monotonic() + 20
            while time.monotonic() < end:
                churn.change()
                time.sleep(churn.random.choice((0, 0.002, 0.01, 0.03)))
            for client in clients:
                got = bed.finish(client)
                sent, lost = sent + got["sent"], lost + got["lost"]
                rows.append({k: got[k] for k in ("sent", "lost", "wrong_status", "wrong_text", "refused", "cut", "late", "p99_ms", "first_loss")})
            for client in h2:
                done, bad = h2_result(bed, client)
                sent, lost = sent + done, lost + bad
                rows.append({"h2": True, "sent": done, "lost": bad})
            print(f"... {sent} requests, {churn.n} changes, {lost} lost", flush=True)
        same = pids == bed.haproxy_pids()
        told(f"requests lost of {sent} during {churn.n} changes", "requests", lost, "0", lost == 0,
             {"seed": seed, "changes": churn.counts, "clients": rows})
        told("reloads of HAProxy meanwhile", "reloads", bed.reloads() - reloads, "0", bed.reloads() == reloads and same, {"same_processes": same})


FIGURES = {"throughput": throughput, "instructions": instructions, "change": change, "start": starting, "canary": canary, "loss": loss}


def table():
    width = max(len(r["figure"]) for r in RESULTS)
    print("\n" + "figure".ljust(width) + "  value              goal         met")
    for r in RESULTS:
        value = " / ".join(map(str, r["value"])) if isinstance(r["value"], list) else str(r["value"])
        print(f"{r['figure'].ljust(width)}  {(value + ' ' + r['unit']).ljust(18)} {r['goal'].ljust(12)} {'yes' if r['met'] else 'NO'}")


def measure(figures, chosen, results, where):
    """Runs them; the exit code is only about whether measuring worked."""
    failures = []
    for name in chosen or list(figures):
        try:
            figures[name]()
        except Exception as error:  # the other figures are measured all the same; the exit code tells
            failures.append(name)
            print(f"the harness failed at {name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    folder = b.ROOT / "build/bench"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / results).write_text(json.dumps(RESULTS, indent=1) + "\n")
    if RESULTS:
        table()
    version = subprocess.run([b.HAPROXY, "-v"], stdout=subprocess.PIPE, text=True).stdout.split("\n")[0]
    print(f"\n{version}; {CORES} cores, {where}{'; QUICK: not for publication' if QUICK else ''}. Samples: {folder}/{results}")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(measure(FIGURES, sys.argv[1:], "results.json", "HAProxy on core 0; loopback"))
