#!/usr/bin/env python3
"""Objects change at random on a real API server while the controller is killed, the API server dies, and many routes come and go at
once. After each round, what HAProxy holds (its maps and servers, read through its own socket) must be what the same objects render to
from scratch, and a strict client, at work all the time on a route that nobody touches, has lost nothing. Not one reload.

Needs root; run it by e2e/cluster/node/with.sh. HATCHWAY_SEED replays the choices; ROUNDS, MANY: how much."""
import http.client
import os
import pathlib
import random
import re
import shlex
import signal
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import bed as b
from light import PATHS, VAR, Api, ApiError, each_in_parallel, light, objects_as_files, run_inside
from bed import check, gateway, route, rule, service, wait

POD = "10.245.0."
ROUNDS = int(os.environ.get("ROUNDS", 12))
MANY = [int(n) for n in os.environ.get("MANY", "1000 5000").split()]
STABLE = "stable.example.com"


# ---- the random world ----

class Dice:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def refs(self):
        r = self.random
        return [{"name": f"s{r.randrange(10)}", "port": r.choice((80, 80, 80, 81)), "weight": r.choice((0, 1, 1, 5, 90))} for _ in range(r.randint(1, 3))]

    def rule(self):
        r, more = self.random, {}
        if r.random() < 0.3:
            more["headers"] = [{"name": "X-To", "value": str(r.randrange(3))}]
        if r.random() < 0.2:
            more["queryParams"] = [{"name": "q", "value": str(r.randrange(3)), "type": r.choice(("Exact", "RegularExpression"))}]
        filters = [{"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "X-N", "value": str(r.randrange(100))}]}}]
        return rule(self.refs(), path=f"/{r.choice('abc')}", path_type=r.choice(("PathPrefix", "Exact")), filters=r.choice((None, filters)), **more)

    def object(self):
        """Something to put, or to delete: (object, deleted)."""
        r = self.random
        kind = r.choice(("route", "route", "service", "slice", "slice", "gateway"))
        if kind == "route":
            o = route(f"r{r.randrange(30)}", [self.rule() for _ in range(r.randint(1, 4))],
                      hostnames=r.choice(((), (f"h{r.randrange(6)}.example.com",), ("*.example.com", f"h{r.randrange(6)}.example.com"))),
                      parents=[{"name": r.choice(("gateway", "gateway", "second"))}])
        elif kind == "gateway":
            o = gateway("second", listeners=[{"name": "http", "port": 80, "protocol": "HTTP", "hostname": r.choice(("*.example.com", "h1.example.com"))}])
        else:
            o = service(f"s{r.randrange(10)}", [(f"p{i}", POD + str(r.randrange(1, 200)), 5000, {"ready": r.random() < 0.8}) for i in range(r.randint(1, 4))])
            o = o[kind == "slice"]
        return o, r.random() < 0.25


def change(api, what):
    o, deleted = what
    for _ in range(200):
        try:
            return api.delete(f"{PATHS[o['kind']]}/{o['metadata']['name']}") if deleted else api.put(o)
        except (OSError, http.client.HTTPException):  # the API server is away: so would kubectl be
            time.sleep(0.1)
        except ApiError as error:  # and not quite back
            if not re.search(r": (40[139]|429|5\d\d) ", str(error)):
                raise
            time.sleep(0.1)
    raise ApiError(f"{o['kind']} {o['metadata']['name']}: the API server did not come back")


# ---- the oracle ----

def from_scratch(bed):
    """What the API server's objects render to, as the lines of `hatchway dump image`."""
    folder = bed.dir / "oracle"
    objects_as_files(folder)
    code, text = bed.command("dump", "image", "--manifests", folder, "--port-map", f"80:{bed.port}")
    check(code == 0, text)
    return text.splitlines()


def maps_and_servers(image):
    """The part of an image that HAProxy's socket can be asked for: lines of maps, and (weight, state) of servers."""
    lines, servers = set(), {}
    for line in image:
        kind, _, rest = line.partition(" ")
        if kind == "server":
            name, _, value = rest.partition(" ")
            weight, state = re.search(r" weight (\d+) (\w+)", value).groups()
            servers[name] = (int(weight), state)
        elif kind in ("path", "host", "listener", "rule", "chain"):
            lines.add(" ".join(shlex.split(line)))
    return lines, servers


def held(bed):
    lines, servers = set(), {}
    for number, name in re.findall(r"^(\d+) \(maps/(path|host|listener|rule|chain)\.map\)", bed.cli("show map"), re.M):
        lines.update(f"{name} {entry.split(' ', 1)[1]}" for entry in bed.cli(f"show map #{number}").splitlines() if entry)
    for row in bed.cli("show servers state").splitlines()[2:]:
        word = row.split()
        if len(word) > 7 and "." in word[1]:  # namespace.service:port; the others are the routing program's own
            admin = int(word[6])
            servers[f"{word[1]}/{word[3]}"] = (int(word[7]), "maint" if admin & 1 else "drain" if admin & 8 else "ready")
    return lines, servers


def difference(wanted, got):
    names = sorted(k for k in wanted[1].keys() | got[1].keys() if wanted[1].get(k) != got[1].get(k))
    # What is no longer wanted is out of use at once, and removed a little later.
    names = [k for k in names if not (k not in wanted[1] and got[1][k][1] == "maint")]
    return [f"missing: {x}" for x in sorted(wanted[0] - got[0])] + [f"too much: {x}" for x in sorted(got[0] - wanted[0])] + [
        f"server {k}: wanted {wanted[1].get(k)}, held {got[1].get(k)}" for k in names]


def settle(bed, what, seconds=30):
    began, wanted = time.monotonic(), maps_and_servers(from_scratch(bed))
    while True:
        wrong = difference(wanted, held(bed))
        if not wrong:
            print(f"ok {what} ({time.monotonic() - began:.1f} s; {len(wanted[0])} items of maps, {len(wanted[1])} servers)", flush=True)
            return
        check(time.monotonic() - began < seconds, f"{what}: {len(wrong)} differences, the first: " + "\n".join(wrong[:10]))
        time.sleep(0.2)
        wanted = maps_and_servers(from_scratch(bed))


# ---- the scenario ----

def start(bed):
    command = [b.BUILD / "hatchway", "run", "--kubeconfig", VAR / "kubeconfig", "--state-dir", bed.state, "--haproxy", b.HAPROXY, "--port-map", f"80:{bed.port}"]
    with open(bed.log, "ab") as log:
        bed.hatchway = bed.spawn(*command, stdout=log, stderr=log)


def torment(bed, dice):
    """While objects change: the controller dies, or the API server, or both, or nobody."""
    what = dice.random.choice(("nobody", "controller", "controller", "api", "both"))
    changes = [dice.object() for _ in range(dice.random.randrange(20, 120))]
    half = len(changes) // 2
    each_in_parallel(change, changes[:half])
    if what in ("api", "both"):
        light("kill-api")
    if what in ("controller", "both"):
        time.sleep(dice.random.random() * 0.05)
        bed.end(signal.SIGKILL)
    if what in ("api", "both"):
        light("start-api")
    if what in ("controller", "both"):
        start(bed)
    each_in_parallel(change, changes[half:])
    return what


def many(bed, n):
    routes = [route(f"many-{i}", [rule({f"s{i % 10}": 1})], hostnames=[f"many-{i}.example.com"]) for i in range(n)]
    began = time.monotonic()
    each_in_parallel(lambda api, o: api.create(o), routes)
    wait(lambda: bed.get("/", host=f"many-{n - 1}.example.com")[0] != 404, 30, text="the last route")
    print(f"   {n} routes created in {time.monotonic() - began:.1f} s", flush=True)
    settle(bed, f"{n} routes created in parallel")
    each_in_parallel(lambda api, o: api.delete(f"{PATHS['HTTPRoute']}/{o['metadata']['name']}"), routes)
    settle(bed, f"{n} routes deleted")


def scenario(bed, seed):
    dice, api = Dice(seed), Api()
    app = bed.app(address="0.0.0.0")
    api.create({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "hatchway"},
                "spec": {"controllerName": "hatchway.dev/controller"}}, gateway(), *service("stable", [("stable-pod", POD + "250", app)]),
               route("stable", [rule({"stable": 1})], hostnames=[STABLE]))
    start(bed)
    wait(lambda: bed.get("/hello", host=STABLE)[0] == 200, 30, text="the stable route")
    reloads, pids = bed.reloads(), bed.haproxy_pids()
    client = bed.load([(STABLE, "/hello", 200, "Hello version:")], connections=8, rate=500)
    for turn in range(ROUNDS):
        settle(bed, f"round {turn + 1}, killed: {torment(bed, dice)}", 60)
    for n in MANY:
        many(bed, n)
    got = bed.finish(client)
    check(got["sent"] > 1000 and got["lost"] == 0, f"requests were lost: {got}")
    check(bed.reloads() == reloads and bed.haproxy_pids() == pids, "HAProxy was reloaded, or another one came")
    print(f"ok {got['sent']} requests, none lost, no reload", flush=True)


run_inside(__file__)
SEED = int(os.environ.get("HATCHWAY_SEED") or random.randrange(1 << 32))
print(f"HATCHWAY_SEED={SEED}", flush=True)
b.run("chaos", lambda bed: scenario(bed, SEED))
