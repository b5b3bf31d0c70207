"""kill -9 at random under load, KILLS=200 times.

The controller killed (most of the kills, often in the middle of its work): not one request is lost, nothing is reloaded,
and its successor converges within 1 s.
HAProxy killed, worker or master or both, while the controller lives: what is in flight is lost with the process that held
it; service is back and right within 1 s.
HAProxy killed while the controller is dead too: started alone from its files, it serves the last state that had been
applied a second before."""
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from bed import HOST, alive, check, command_line, gateway, route, rule, run, service, wait

KILLS = int(os.environ.get("KILLS", "200"))
ROUTES = 60


def world(bed, n):
    """Generation n of everything: a header to be seen by, weights, and some routes that come and go."""
    bed.save("route.yaml", route("app", [rule({"a": 1 + n % 7, "b": 1 + n % 3}, filters=[
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "X-N", "value": str(n)}]}}])]))
    extra = [route(f"extra-{i}", [rule({f"extra-{i}": 1}, path=f"/g{n}")], hostnames=[f"e{i}.sample.com"]) for i in range(n % ROUTES)]
    services = [s for i in range(n % ROUTES) for s in service(f"extra-{i}", [(f"extra-{n}-{i}", "127.0.0.1", bed.app_port)])]
    bed.save("extra.yaml", *extra, *services, text=None if extra else "# none\n")


def right(bed, n):
    """Is generation n, and nothing older, what is served?"""
    status, headers, _ = bed.get("/hello")
    if status != 200 or headers.get("x-n") != str(n):
        return False
    last = n % ROUTES - 1
    return (last < 0 or bed.get(f"/g{n}/x", host=f"e{last}.sample.com")[0] == 404 and "no /g" in bed.get(f"/g{n}/x", host=f"e{last}.sample.com")[2]) \
        and bed.get(f"/g{n}/x", host=f"e{last + 1}.sample.com")[0] == 404


def clean(bed, n):
    """Nothing left behind: HAProxy's backends are those of generation n."""
    wanted = n % ROUTES
    backends = {line.strip() for line in bed.cli("show backend").splitlines() if ".extra-" in line}
    return len(backends) == wanted


def kill_each(pids):
    """A worker whose master has just died may be gone by itself."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_controller(bed, n):
    world(bed, n)
    time.sleep(bed.random.choice((0, 0.001, 0.002, 0.004, 0.008, 0.02, 0.1)) * bed.random.random())
    bed.end(signal.SIGKILL)
    if bed.random.random() < 0.5:
        time.sleep(bed.random.random() * 0.05)
    bed.start(wait_for_gateway=False)
    return wait(lambda: right(bed, n), 1, text=f"generation {n} after the controller's death")


def kill_haproxy(bed, n):
    masters, workers = bed.haproxy_pids()
    victims = bed.random.choice((masters, workers, masters + workers))
    world(bed, n)
    time.sleep(bed.random.random() * 0.02)
    kill_each(victims)
    took = wait(lambda: right(bed, n), 1, text=f"generation {n} after the death of HAProxy's {'master' if victims[0] in masters else 'worker'}")
    wait(lambda: bed.haproxy_pids()[1], 5, text="HAProxy's list of processes")
    return took


def kill_everything(bed, n):
    world(bed, n)
    wait(lambda: right(bed, n), 2, text=f"generation {n}")
    time.sleep(1.2)  # disk is at most a second behind
    masters, workers = bed.haproxy_pids()
    command = command_line(masters[0])
    bed.end(signal.SIGKILL)
    kill_each(masters + workers)
    wait(lambda: not any(alive(pid) for pid in masters + workers), 5, text="the end of HAProxy")
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20, cwd=bed.state)
    check(done.returncode == 0, f"HAProxy does not start from its files: {done.stdout}")
    wait(lambda: right(bed, n), 1, text=f"generation {n} by HAProxy alone")
    bed.start(wait_for_gateway=False)
    world(bed, n + 1)
    return wait(lambda: right(bed, n + 1), 2, text="the controller's return")


def kill(bed):
    bed.app_port = bed.app(ports=4)
    bed.save("base.yaml", gateway(), *service("a", [("a-0", "127.0.0.1", bed.app_port), ("a-1", "127.0.0.1", bed.app_port + 1)]),
             *service("b", [("b-0", "127.0.0.1", bed.app_port + 2)]))
    world(bed, 1)
    bed.start()
    wait(lambda: right(bed, 1), 5, text="the beginning")
    controller, haproxy, both = KILLS * 6 // 10, KILLS * 3 // 10, KILLS // 10
    n, reloads = 1, bed.reloads()
    times = []

    clients = [bed.load([(HOST, "/hello", 200, "Hello")], connections=8, rate=1500),
               bed.load([(HOST, "/hello", 200, "Hello")], connections=4, rate=300, close=True)]
    pids = bed.haproxy_pids()
    for _ in range(controller):
        n += bed.random.randrange(1, 40)
        times.append(kill_controller(bed, n))
    for client in clients:
        result = bed.finish(client)
        print(result)
        check(result["lost"] == 0, f"requests were lost while the controller was killed {controller} times")
    check(pids == bed.haproxy_pids() and bed.reloads() == reloads, "HAProxy was reloaded or replaced")
    wait(lambda: clean(bed, n), 10, text="the end of what is no longer wanted")
    print(f"controller killed {controller} times: back within {max(times):.3f} s")

    times = []
    client = bed.load([(HOST, "/hello", 200, "Hello")], connections=8, rate=500)
    for _ in range(haproxy):
        n += bed.random.randrange(1, 40)
        times.append(kill_haproxy(bed, n))
    result = bed.finish(client)
    print(result)
    check(result["wrong_text"] == 0 and set(result["statuses"]) <= {"200"}, f"wrong answers, not only missing ones: {result}")
    print(f"HAProxy killed {haproxy} times: back within {max(times):.3f} s")

    for _ in range(both):
        n += bed.random.randrange(2, 40)
        kill_everything(bed, n)
        n += 1
    wait(lambda: clean(bed, n), 10, text="the end of what is no longer wanted")
    print(f"both killed {both} times")


run("kill", kill)
