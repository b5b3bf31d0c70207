"""The two containers of a Pod: hatchway, which starts no HAProxy, and HAProxy, restarted by somebody else whenever it ends, where
that is possible in a PID namespace of its own. They share a folder and the network. Any of them first, any of them killed."""
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from bed import HAPROXY, HOST, check, free_port, gateway, route, rule, run, service, wait

UNSHARE = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]
SIZE = 8


class Container:
    """HAProxy, started again as soon as it ends, as the kubelet does."""

    def __init__(self, bed):
        self.bed, self.alone = bed, UNSHARE if subprocess.run([*UNSHARE, "true"], stderr=subprocess.DEVNULL).returncode == 0 else []
        self.log, self.process, self.starts, self.stopped = bed.dir / "haproxy.log", None, 0, threading.Event()
        print("HAProxy has", "a PID namespace of its own" if self.alone else "no PID namespace of its own: not permitted here")

    def start(self):
        self.stopped.clear()
        self.thread = threading.Thread(target=self.keep, daemon=True)
        self.thread.start()

    def keep(self):
        while not self.stopped.is_set():
            with open(self.log, "ab") as log:
                self.process = subprocess.Popen(
                    [*self.alone, HAPROXY, "-W", "-db", "-C", self.bed.state, "-S", "unix@master.sock,mode,600", "-f", "haproxy.cfg", "-f", "backends"],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
            self.starts += 1
            self.process.wait()
            self.stopped.wait(0.2)

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)

    def stop(self):
        self.stopped.set()
        while self.thread.is_alive():
            with contextlib.suppress(ProcessLookupError):
                self.kill()
            self.thread.join(0.1)


def on(name, port):
    return gateway(name, listeners=[{"name": "web", "port": port, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}}])


def version(bed, n):
    """Generation n of the route, to be told by a header; on every Gateway there may be."""
    bed.save("route.yaml", route("app", [rule({"app": 1}, filters=[
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "X-N", "value": str(n)}]}}])],
        parents=[{"name": name, "namespace": "default"} for name in ("gateway", "other")]))
    bed.n = n


def right(bed, port=None):
    status, headers, _ = bed.get("/hello", port=port or bed.base)
    return status == 200 and headers.get("x-n") == str(bed.n)


def refused(bed, port):
    try:
        bed.get("/hello", port=port)
        return False
    except OSError:
        return True


def init(bed):
    code, out = bed.command("init", "--state-dir", bed.state, "--pool-ports", f"{bed.base}:{SIZE}")
    check(code == 0, f"init: {out}")


def files(bed):
    return {p.relative_to(bed.state): (p.read_bytes(), p.stat().st_mtime_ns) for p in bed.state.rglob("*.*") if p.is_file()}


def init_completes(bed):
    init(bed)
    before = files(bed)
    check(f"bind 0.0.0.0:{bed.base}-{bed.base + SIZE - 1}" in (bed.state / "haproxy.cfg").read_text(), "the pool is not bound")
    init(bed)
    check(files(bed) == before, "a second init changed files")
    (bed.state / "maps/path.map").unlink()
    (bed.state / "maps/host.map").write_text("kept by init\n")
    init(bed)
    check(set(files(bed)) == set(before), "init did not complete the files")
    check((bed.state / "maps/host.map").read_text() == "kept by init\n", "init wrote over a map")
    (bed.state / "maps/host.map").write_text("")


def any_order(bed, container):
    # HAProxy first: it serves nothing yet, and is adopted as it is.
    container.start()
    wait(lambda: bed.info()["Name"] == "HAProxy", text="HAProxy without a controller")
    bed.start(wait_for_gateway=False)
    wait(lambda: right(bed), text="HAProxy first, then hatchway")
    check(bed.reloads() == 0, "HAProxy was reloaded for its own first configuration")
    bed.end()
    container.stop()
    check(refused(bed, bed.base), "HAProxy was not stopped")
    # hatchway first.
    bed.start(wait_for_gateway=False)
    time.sleep(0.5)
    container.start()
    wait(lambda: right(bed), text="hatchway first, then HAProxy")
    check(bed.reloads() == 0, "HAProxy was reloaded for its own files")
    bed.end()
    container.stop()
    # hatchway first, in an empty folder; HAProxy fails until there is something to start from.
    for path in sorted(bed.state.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    container.start()
    bed.start(wait_for_gateway=False)
    wait(lambda: right(bed), 8, text="hatchway, HAProxy and no init")
    check(bed.reloads() == 0, "HAProxy was reloaded for what hatchway wrote first")


def controller_killed(bed):
    client = bed.load([(HOST, "/hello", 200, "Hello")], port=bed.base, connections=8, rate=1000)
    for _ in range(5):
        time.sleep(bed.random.random() * 0.2)
        bed.end(signal.SIGKILL)
        bed.start(wait_for_gateway=False)
        wait(lambda: "applied 1" in bed.command("counters", "--state-dir", bed.state)[1], text="the takeover")
        check(bed.counters()["commands"] == 0, f"a restart without changes sent commands: {bed.counters()}")
        version(bed, bed.n + 1)
        wait(lambda: right(bed), 1, text="a change after the controller's death")
    result = bed.finish(client)
    print(result)
    check(result["lost"] == 0, "requests were lost while hatchway was killed")
    check(bed.reloads() == 0, "a controller's death cost a reload")


def haproxy_killed(bed, container):
    took = []
    for i in range(8):
        starts = container.starts
        if i % 2:
            version(bed, bed.n + 1)
            time.sleep(bed.random.random() * 0.02)
        container.kill()
        if i % 3 == 2:
            time.sleep(0.05)
            version(bed, bed.n + 1)  # nobody there to take it
        wait(lambda: container.starts > starts, text="the container's restart")
        begin = time.monotonic()
        wait(lambda: right(bed), 2, text="HAProxy's return")
        took.append(time.monotonic() - begin)
        check(bed.reloads() == 0, "a HAProxy started from the files was reloaded")
    print(f"right {max(took):.3f} s after HAProxy's start at the latest")
    check(max(took) < 1, "HAProxy was adopted late")


def pool_grows(bed, container):
    bed.save("other.yaml", on("other", bed.base + SIZE - 1))
    wait(lambda: right(bed, bed.base + SIZE - 1), 1, text="a listener in the pool")
    check(bed.reloads() == 0, "a listener in the pool cost a reload")
    client = bed.load([(HOST, "/hello", 200, "Hello")], port=bed.base, connections=8, rate=1000)
    bed.save("other.yaml", on("other", bed.base + SIZE))
    wait(lambda: right(bed, bed.base + SIZE), 3, text="a listener behind the end of the pool")
    time.sleep(0.5)
    check(bed.reloads() == 1, f"{bed.reloads()} reloads for a pool that grew once")
    check(bed.finish(client)["lost"] == 0, "requests were lost while the pool grew")
    container.kill()
    wait(lambda: right(bed, bed.base + SIZE) and bed.reloads() == 0, 3, text="HAProxy's return with the pool grown")
    bed.end(signal.SIGKILL)
    bed.save("other.yaml", on("other", bed.base + 2 * SIZE - 1))
    bed.start(wait_for_gateway=False)
    wait(lambda: right(bed, bed.base + 2 * SIZE - 1), 2, text="the pool grown, adopted by the next controller")
    check(bed.reloads() == 0, "the next controller did not adopt the pool")
    bed.remove("other.yaml")


def both_killed(bed, container):
    for _ in range(4):
        bed.end(signal.SIGKILL)
        container.kill()
        version(bed, bed.n + 1)
        time.sleep(bed.random.random() * 0.5)
        bed.start(wait_for_gateway=False)
        wait(lambda: right(bed), 3, text="both containers' return")


def port_taken(bed, container):
    """A port of the pool that another container has: HAProxy cannot start on its files until hatchway leaves it out."""
    container.stop()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        wait(lambda: other.bind(("", bed.base + 3)) is None, text="the end of HAProxy's last process")
        other.listen()
        container.start()
        wait(lambda: right(bed), 10, text="HAProxy without one port of its pool")
        check(f"port {bed.base + 3} cannot be bound" in bed.log.read_text(), "the port is not named")
    bed.save("other.yaml", on("other", bed.base + 3))
    wait(lambda: right(bed, bed.base + 3), 8, text="the port, free again and wanted")


def pod(bed):
    bed.base = free_port(4 * SIZE)
    bed.args += ["--haproxy", "none", "--pool-ports", f"{bed.base}:{SIZE}"]
    bed.save("app.yaml", *service("app", [("pod", "127.0.0.1", bed.app())]))
    bed.save("gateway.yaml", on("gateway", bed.base))
    version(bed, 1)
    container = Container(bed)
    try:
        init_completes(bed)
        any_order(bed, container)
        controller_killed(bed)
        haproxy_killed(bed, container)
        pool_grows(bed, container)
        both_killed(bed, container)
        port_taken(bed, container)
        check(bed.counters()["starts"] == 0, "hatchway started a HAProxy")
    finally:
        container.stop()


run("pod", pod)
