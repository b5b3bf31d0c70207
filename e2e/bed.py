"""The test bed of the scenarios and the benchmark: a private folder, helloworld servers, hatchway and its HAProxy, and
clients. Everything started is ended by pid, nothing outside the folder is touched, all traffic stays on loopback.
Ports come from HATCHWAY_E2E_PORTS (23000-23999)."""
import contextlib
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = pathlib.Path(os.environ.get("HATCHWAY_BUILD", ROOT / "build"))
HAPROXY = os.environ.get("HATCHWAY_HAPROXY") or str(ROOT / "build/haproxy/haproxy")
HOST = "helloworld.sample.com"


# ---- manifests ----

def yaml(value, indent=0):
    """Block YAML of dicts, lists and scalars (strings quoted as JSON does, which YAML reads alike)."""
    pad = "  " * indent
    if isinstance(value, dict) and value:
        return "".join(f"{pad}{json.dumps(k)}:" + (_inline(v) if _flat(v) else "\n" + yaml(v, indent + 1)) for k, v in value.items())
    if isinstance(value, list) and value:
        return "".join(f"{pad}-" + (_inline(v) if _flat(v) else "\n" + yaml(v, indent + 1)) for v in value)
    return pad + _inline(value).lstrip()


def _flat(value):
    return not (isinstance(value, (dict, list)) and value)


def _inline(value):
    return " " + json.dumps(value) + "\n"


def documents(*objects):
    return "".join("---\n" + yaml(o) for o in objects)


def meta(name, namespace, **more):
    return {"name": name, "namespace": namespace, **more}


def gateway(name="gateway", namespace="default", listeners=None, **spec):
    listeners = listeners or [{"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}}]
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": meta(name, namespace),
            "spec": {"gatewayClassName": "hatchway", "listeners": listeners, **spec}}


def route(name, rules, hostnames=(HOST,), namespace="default", parents=None):
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": meta(name, namespace),
            "spec": {"parentRefs": parents or [{"name": "gateway", "namespace": "default"}],
                     **({"hostnames": list(hostnames)} if hostnames else {}), "rules": rules}}


def rule(refs, path="/", path_type="PathPrefix", filters=None, **match_and_more):
    """refs: {"service": weight} or a list of backendRefs; headers=, queryParams=, method= go to the match."""
    match = {"path": {"type": path_type, "value": path}}
    for part in ("headers", "queryParams", "method"):
        if part in match_and_more:
            match[part] = match_and_more.pop(part)
    if isinstance(refs, dict):
        refs = [{"name": n, "port": 80, "weight": w} for n, w in refs.items()]
    return {"matches": [match], **({"filters": filters} if filters else {}), **({"backendRefs": refs} if refs else {}), **match_and_more}


def service(name, endpoints, namespace="default", app_protocol=None):
    """A Service with port 80, and a slice per address and port: endpoints are (pod name, address, port[, conditions])."""
    port = {"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http", **({"appProtocol": app_protocol} if app_protocol else {})}
    objects = [{"apiVersion": "v1", "kind": "Service", "metadata": meta(name, namespace), "spec": {"selector": {"app": name}, "ports": [port]}}]
    by_port = {}
    for endpoint in endpoints:
        by_port.setdefault(endpoint[2], []).append(endpoint)
    for number, group in by_port.items():
        objects.append({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": meta(f"{name}-{number}", namespace, labels={"kubernetes.io/service-name": name}),
            "ports": [{"name": "http", "port": number, "protocol": "TCP"}],
            "endpoints": [{"addresses": [e[1]], "conditions": e[3] if len(e) > 3 else {"ready": True},
                           "targetRef": {"kind": "Pod", "name": e[0], "namespace": namespace}} for e in group]})
    return objects


# ---- small things ----

class Failure(Exception):
    pass


def check(ok, text):
    if not ok:
        raise Failure(text)


def wait(what, seconds=5.0, every=0.005, text="it"):
    """Waits until what() is true; returns how long it took."""
    begin = time.monotonic()
    while True:
        try:
            value = what()
        except (OSError, http.client.HTTPException):
            value = None
        took = time.monotonic() - begin
        if value:
            return took
        if took > seconds:
            raise Failure(f"{text} did not happen within {seconds} s")
        time.sleep(every)


_next_port = None


def free_port(n=1):
    """The first of n neighbouring ports nobody listens on."""
    global _next_port
    low, high = (int(x) for x in os.environ.get("HATCHWAY_E2E_PORTS", "23000-23999").split("-"))
    if _next_port is None:
        _next_port = low + (os.getpid() * 37) % max(1, high - low - 200)
    for _ in range(2 * (high - low)):
        first = _next_port if _next_port + n <= high else low
        _next_port = first + n
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + n):
                    probe = stack.enter_context(socket.socket())
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("", port))
                return first
            except OSError:
                continue
    raise Failure("no free port")


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return False


def command_line(pid):
    return [a.decode() for a in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]]


def processes_naming(folder):
    """Pids whose command line names the (unique) folder: HAProxy's processes are nobody's children."""
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and int(entry.name) != os.getpid() and any(folder in word for word in command_line(entry.name)):
                yield int(entry.name)


def cpu_ns(pid):
    """CPU time of the living threads of a process, from the scheduler (nanoseconds, not ticks)."""
    return sum(int(p.read_text().split()[0]) for p in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"))


def pss_bytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise Failure("no PSS")


class Poller:
    """One keep-alive connection for fast polling: get() → (status, headers lower-cased, body)."""

    def __init__(self, port, address="127.0.0.1"):
        self.to, self.socket, self.rest = (address, port), None, b""

    def close(self):
        if self.socket:
            self.socket.close()
        self.socket, self.rest = None, b""

    def get(self, host, path):
        if not self.socket:
            self.socket = socket.create_connection(self.to, timeout=10)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            while b"\r\n\r\n" not in self.rest:
                self.more()
            head, _, self.rest = self.rest.partition(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
            size = int(headers.get("content-length", 0))
            while len(self.rest) < size:
                self.more()
            body, self.rest = self.rest[:size], self.rest[size:]
        except OSError:
            self.close()
            raise
        if headers.get("connection", "").lower() == "close":
            self.close()
        return int(lines[0].split()[1]), headers, body.decode("latin-1")

    def more(self):
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("closed")
        self.rest += data


# ---- the bed ----

class Bed:
    def __init__(self, name, ports=(80,), args=(), pin=None):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"hatchway-{name}-", dir="/tmp"))
        self.manifests, self.state, self.status = self.dir / "manifests", self.dir / "state", self.dir / "status"
        for folder in (self.manifests, self.state, self.status):
            folder.mkdir(mode=0o700)
        self.ports = {port: free_port() for port in ports}
        self.port = next(iter(self.ports.values()))
        self.args, self.pin = list(args), pin
        self.hatchway, self.processes = None, []
        self.log = self.dir / "hatchway.log"
        self.random = random.Random(int(os.environ.get("HATCHWAY_SEED") or 0) or time.time_ns())

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
        for pid in processes_naming(str(self.dir)):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if kind and self.log.exists():
            print(f"---- end of hatchway's log ({kind.__name__}: {error})")
            print("\n".join(self.log.read_text(errors="replace").splitlines()[-25:]))
        if not (kind and os.environ.get("KEEP")):
            shutil.rmtree(self.dir, ignore_errors=True)
        else:
            print(f"kept: {self.dir}")

    # -- processes --

    def spawn(self, *command, **more):
        # In a session of its own, and gone with this script.
        process = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, start_new_session=True, **more)
        self.processes.append(process)
        return process

    def app(self, ports=1, instance="pod", version="v1", address="127.0.0.1", per_version=0, delay_ms=0):
        """helloworld on `ports` neighbouring ports; returns the first. Several: instances are NAME-PORT."""
        first = free_port(ports)
        self.spawn(BUILD / "e2e/helloworld", "--address", address, "--port", first, "--ports", ports, "--version", version, "--instance",
                   instance, "--ports-per-version", per_version, "--delay-ms", delay_ms)
        wait(lambda: socket.create_connection((address, first + ports - 1)).close() is None, text="the application's start")
        return first

    def start(self, *args, wait_for_gateway=True):
        command = [BUILD / "hatchway", "run", "--manifests", self.manifests, "--state-dir", self.state, "--status-dir", self.status,
                   "--haproxy", HAPROXY, "--port-map", ",".join(f"{a}:{b}" for a, b in self.ports.items()), *self.args, *args]
        if self.pin is not None:
            command = ["taskset", "-c", self.pin, *command]
        with open(self.log, "ab") as log:
            self.hatchway = self.spawn(*command, stdout=log, stderr=log)
        if wait_for_gateway:
            wait(lambda: self.hatchway.poll() is not None or self.get("/")[0], 10, text="the Gateway's start")
            check(self.hatchway.poll() is None, f"hatchway ended with {self.hatchway.returncode}")
        return self.hatchway

    def end(self, how=signal.SIGTERM):
        self.hatchway.send_signal(how)
        self.hatchway.wait(20)
        self.processes.remove(self.hatchway)

    def command(self, *args, timeout=30):
        """hatchway ARGS → (exit code, output)."""
        done = subprocess.run([str(BUILD / "hatchway"), *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=timeout, text=True)
        return done.returncode, done.stdout

    def counters(self):
        """What the running hatchway counted: commands, refused, reloads, starts, reads, pending_removals …"""
        code, out = self.command("counters", "--state-dir", self.state)
        check(code == 0, f"counters: {out}")
        return {name: int(value) for name, value in (line.split() for line in out.splitlines())}

    # -- manifests --

    def stage(self, name, *objects, text=None):
        """Writes the file under a name that is ignored; what is returned makes it visible, in one rename."""
        path = str(self.manifests / name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        fresh = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.new")
        with open(fresh, "w") as out:
            out.write(documents(*objects) if text is None else text)
        return lambda: os.rename(fresh, path)

    def save(self, name, *objects, text=None):
        """All or nothing, as `kubectl apply` is."""
        self.stage(name, *objects, text=text)()

    def remove(self, name):
        (self.manifests / name).unlink()

    # -- HAProxy --

    def talk(self, name, line, timeout=10):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(timeout)
            s.connect(str(self.state / name))
            s.sendall(line.encode() + b"\n")
            s.shutdown(socket.SHUT_WR)  # the master's socket waits for more otherwise
            parts = []
            while part := s.recv(1 << 16):
                parts.append(part)
        return b"".join(parts).decode("latin-1")

    def cli(self, line):
        return self.talk("haproxy.sock", line)

    def info(self):
        return dict(line.split(": ", 1) for line in self.cli("show info").splitlines() if ": " in line)

    def processes_of_haproxy(self):
        """(type, pid, reloads) of master and workers."""
        rows = (line.split() for line in self.talk("master.sock", "show proc").splitlines())
        return [(r[1], int(r[0]), int(r[2])) for r in rows if len(r) >= 3 and r[0].isdigit()]

    def haproxy_pids(self):
        rows = self.processes_of_haproxy()
        return [p for t, p, _ in rows if t == "master"], [p for t, p, _ in rows if t == "worker"]

    def reloads(self):
        return next(n for t, _, n in self.processes_of_haproxy() if t == "master")

    # -- clients --

    def request(self, path="/", host=HOST, method="GET", headers=(), port=None, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=10)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in [("Host", host), *(headers.items() if isinstance(headers, dict) else headers)]:
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode("latin-1")
        finally:
            connection.close()

    def get(self, path="/", host=HOST, **more):
        return self.request(path, host, **more)

    def load(self, targets, **options):
        """The strict client in the background; targets: (host, path, status, text). finish() ends it."""
        path = self.dir / f"targets-{len(self.processes)}-{time.time_ns()}"
        path.write_text("".join(f"{h} {p} {s} {t}\n" for h, p, s, t in targets))
        command = [BUILD / "e2e/load", "--to", f"127.0.0.1:{options.pop('port', self.port)}", "--targets", path]
        pin = options.pop("pin", None)
        for name, value in options.items():
            command += [f"--{name}"] if value is True else [f"--{name}", value]
        return self.spawn(*(["taskset", "-c", pin] if pin is not None else []), *command, stdout=subprocess.PIPE)

    def finish(self, client, stop=True):
        if stop:
            client.send_signal(signal.SIGTERM)
        out, _ = client.communicate(timeout=300)
        self.processes.remove(client)
        return json.loads(out)


def run(name, scenario, **options):
    """A scenario's main: its result is the exit code."""
    try:
        with Bed(name, **options) as bed:
            scenario(bed)
    except (Failure, AssertionError, OSError, subprocess.SubprocessError, http.client.HTTPException) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
