"""TLS to Services by BackendTLSPolicy: names and authorities are checked before a byte is sent, client certificates are shown,
policies and authorities change under load without a lost request and without a reload, and HAProxy starts alone with all of
it."""
import base64
import http.server
import json
import os
import pathlib
import signal
import ssl
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from bed import HAPROXY, alive, check, free_port, gateway, meta, processes_naming, route, rule, run, service, wait
from tls import Authority

NAME = "abc.example.com"


class Server:
    """HTTPS: answers with what it saw of the handshake; counts what came beyond one."""

    def __init__(self, pair, clients=None, alpn=("http/1.1",)):
        outer = self
        self.handshakes, self.requests, self.protocols = 0, 0, []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                outer.handshakes += 1
                outer.protocols.append(self.connection.selected_alpn_protocol())

            def do_GET(self):
                outer.requests += 1
                subject = dict(pair[0] for pair in (self.connection.getpeercert() or {}).get("subject", ()))
                body = json.dumps({"sni": self.connection.asked, "client": subject.get("commonName")}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                outer.requests += 1
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pair)
        context.set_alpn_protocols(list(alpn))
        if clients:
            context.verify_mode = ssl.CERT_OPTIONAL
            context.load_verify_locations(clients.crt)

        def on_name(connection, name, _):
            connection.asked = name

        context.sni_callback = on_name
        self.server = Quiet(("127.0.0.1", free_port()), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def dns(name):
    return {"type": "Hostname", "hostname": name}


def uri(name):
    return {"type": "URI", "uri": name}


# What the certificate has of these is one of two names and the URI; SNI asks for the first name.
NAMES = {
    "uri": (200, [uri("spiffe://abc.example.com/test-identity")]), "uri-wrong": (502, [uri("spiffe://abc.example.com/test-identit")]),
    "dns": (200, [dns("other.example.com")]), "dns-wrong": (502, [dns("no.example.com")]), "wild": (200, [dns("*.example.com")]),
    "many": (200, [uri("spiffe://no.example.com/"), dns("no.example.com"), dns("other.example.com")]),
    "many-wrong": (502, [uri("spiffe://no.example.com/"), dns("example.com"), dns("*.abc.example.com")])}


def policy(name, target, ca="ca", hostname=NAME, created=None, section=None, **validation):
    refs = {"caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": c} for c in ca.split(",")]} if ca else {}
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "BackendTLSPolicy",
            "metadata": meta(name, "default", **({"creationTimestamp": created} if created else {})),
            "spec": {"targetRefs": [{"group": "", "kind": "Service", "name": target, **({"sectionName": section} if section else {})}],
                     "validation": {"hostname": hostname, **refs, **validation}}}


def get(bed, path, **more):
    status, _, body = bed.get(path, **more)
    return status, json.loads(body) if status == 200 else body


def status_of(bed, name):
    return "".join(p.read_text() for p in bed.status.rglob("*") if p.is_file() and "policy" in str(p).lower() and name in p.name)


def told(bed, name, *words):
    wait(lambda: all(w in status_of(bed, name) for w in words), 3, text=f"{words} of policy {name}")


def verified(bed, good):
    """Names and authorities; what fails is a 5xx, and the server is sent nothing."""
    check(get(bed, "/good") == (200, {"sni": NAME, "client": None}), f"a valid policy: {get(bed, '/good')}")
    told(bed, "good", "reason: Accepted", "reason: ResolvedRefs", "name: gateway")
    before = good.requests
    for path in ("/wrong-name", "/wrong-ca"):
        check(get(bed, path)[0] == 503, f"{path}: {get(bed, path)}")
    check(get(bed, "/no-ca")[0] == 500, f"no authority at all: {get(bed, '/no-ca')}")
    told(bed, "no-ca", "reason: NoValidCACertificate", "reason: InvalidCACertificateRef")
    check(get(bed, "/name-of-other")[0] == 500, f"a name of another kind: {get(bed, '/name-of-other')}")
    told(bed, "name-of-other", "reason: Invalid\n")
    check(good.requests == before, "a request was sent to a server that was not verified")
    check(get(bed, "/clear")[0] in (400, 502), f"in clear, to a server with TLS: {get(bed, '/clear')}")
    bed.get("/h2")
    check(good.protocols[-1] == "http/1.1", f"ALPN for HTTP/1.1: {good.protocols[-3:]}")


def shares(bed):
    """A rule of two Services, one with TLS and one without."""
    answers = [bed.get("/hello") for _ in range(10)]
    check(all(a[0] == 200 for a in answers), f"of two Services: {[a[0] for a in answers]}")
    secure = sum("sni" in a[2] for a in answers)
    check(secure == 5, f"{secure} of 10 went to the Service with TLS, not 5")


def several_names(bed, server, port):
    """By way of the controller: verified all the same, with the client's certificate, and with bodies of any size."""
    for name, (status, _) in NAMES.items():
        before = server.requests
        have = get(bed, f"/{name}")
        check(have == (200, {"sni": NAME, "client": None}) if status == 200 else have[0] == status, f"names {name}: {have}")
        check(server.requests == before + (status == 200), f"{name}: a request was sent to a server that was not verified")
    check(get(bed, "/dns", port=port) == (200, {"sni": NAME, "client": "client"}), f"with a certificate: {get(bed, '/dns', port=port)}")
    big = "0123456789abcdef" * 300000
    status, _, body = bed.request("/dns", method="POST", body=big.encode())
    check(status == 200 and body == big, f"{len(big)} bytes to and fro: {status}, {len(body)} bytes")


def conflicts(bed):
    """The older one counts; of a port, the one that names it."""
    bed.save("rival.yaml", policy("a-rival", "good", hostname="other.example.com", created="2026-01-02T00:00:00Z"))
    told(bed, "a-rival", "reason: Conflicted")
    check(get(bed, "/good") == (200, {"sni": NAME, "client": None}), "a younger policy took over")
    bed.save("rival.yaml", policy("a-rival", "good", hostname="other.example.com", section="http", created="2026-01-02T00:00:00Z"))
    wait(lambda: get(bed, "/good")[1] == {"sni": "other.example.com", "client": None}, 3, text="the policy of the port")
    bed.remove("rival.yaml")
    wait(lambda: get(bed, "/good")[1] == {"sni": NAME, "client": None}, 3, text="the policy of the Service")


def authorities(bed, ca):
    """Made, emptied and made again, as the objects come."""
    bed.save("late.yaml", ca.config_map("missing"))
    wait(lambda: get(bed, "/no-ca")[0] == 200, 3, text="the authority that came late")
    told(bed, "no-ca", "reason: Accepted")
    bed.save("late.yaml", {**ca.config_map("missing"), "data": {"ca.crt": ""}})
    wait(lambda: get(bed, "/no-ca")[0] == 500, 3, text="the end of the authority")
    bed.remove("late.yaml")


def client(bed, other_port):
    """A Gateway's certificate is shown by that Gateway alone."""
    check(get(bed, "/client")[1] == {"sni": NAME, "client": None}, f"without a certificate: {get(bed, '/client')}")
    answer = get(bed, "/client", port=other_port)
    check(answer == (200, {"sni": NAME, "client": "client"}), f"with one: {answer}")


def changes(bed, reloads):
    """Names and authorities go to and fro; every request is answered by a verified server."""
    stop, bad = threading.Event(), []

    def ask():
        while not stop.is_set():
            status, body = get(bed, "/good")
            if status != 200 or body["sni"] not in (NAME, "other.example.com"):
                bad.append((status, body))

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for i in range(30):
        bed.save("good.yaml", policy("good", "good", ca="ca,other" if i & 2 else "ca", hostname="other.example.com" if i & 1 else NAME,
                                     created="2026-01-01T00:00:00Z"))
        time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join()
    check(not bad, f"{len(bad)} answers of 30 changes of a policy: {bad[:3]}")
    check(bed.reloads() == reloads, "a policy's change made HAProxy reload")


def alone(bed, other_port):
    """Both killed; HAProxy starts on the files, by itself; and is taken over as it is."""
    time.sleep(1.5)
    bed.end(signal.SIGKILL)
    master = bed.haproxy_pids()[0][0]
    for pid in processes_naming(str(bed.dir)):
        os.kill(pid, signal.SIGKILL)
    wait(lambda: not alive(master), text="HAProxy's end")
    (bed.state / "haproxy.sock").unlink(missing_ok=True)
    bed.spawn(HAPROXY, "-W", "-db", "-C", bed.state, "-S", "unix@master.sock,mode,600", "-f", "haproxy.cfg", "-f", "backends")
    wait(lambda: get(bed, "/good")[0] == 200, 5, text="the Service with TLS, from the files")
    check(get(bed, "/client", port=other_port)[1] == {"sni": NAME, "client": "client"}, "the client's certificate from the files")
    check(get(bed, "/wrong-ca")[0] == 503, "the authorities from the files")
    check(get(bed, "/dns")[0] == 503, f"several names without the controller: {get(bed, '/dns')}")
    bed.start(wait_for_gateway=False)
    wait(lambda: "applied 1" in bed.command("counters", "--state-dir", bed.state)[1], text="the takeover")
    check(bed.counters()["commands"] == 0, f"the takeover sent commands: {bed.counters()}")
    check(get(bed, "/dns")[0] == 200, f"several names with the controller back: {get(bed, '/dns')}")


def backend_tls(bed):
    ca, other = Authority(bed, "ca"), Authority(bed, "other")
    pair = ca.issue("server", f"DNS:{NAME}", "DNS:other.example.com", "URI:spiffe://abc.example.com/test-identity")
    good, asking = Server(pair), Server(pair, clients=ca)
    h2 = Server(pair, alpn=("h2", "http/1.1"))
    plain = bed.app()
    key = {k: base64.b64encode(p.read_bytes()).decode() for k, p in zip(("tls.crt", "tls.key"), ca.issue("client", "DNS:client"))}
    paths = ("good", "wrong-name", "wrong-ca", "no-ca", "name-of-other", "clear", "client")
    for name in paths + tuple(NAMES):
        bed.save(f"service-{name}.yaml", *service(name, [("pod", "127.0.0.1", (asking if name == "client" or name in NAMES else good).port)]))
    bed.save("names.yaml", *(policy(name, name, subjectAltNames=names) for name, (_, names) in NAMES.items()))
    bed.save("service-h2.yaml", *service("h2", [("pod", "127.0.0.1", h2.port)], app_protocol="kubernetes.io/h2c"))
    bed.save("service-plain.yaml", *service("plain", [("pod", "127.0.0.1", plain)]))
    bed.save("ca.yaml", ca.config_map(), other.config_map())
    bed.save("good.yaml", policy("good", "good", created="2026-01-01T00:00:00Z"))
    bed.save("policies.yaml", policy("wrong-name", "wrong-name", hostname="no.example.com"), policy("wrong-ca", "wrong-ca", ca="other"),
             policy("no-ca", "no-ca", ca="missing"), policy("client", "client"), policy("h2", "h2"),
             policy("name-of-other", "name-of-other", ca=None, wellKnownCACertificates="x.y/z"))
    other_port = free_port()
    parents = [{"name": n, "namespace": "default"} for n in ("gateway", "second")]
    bed.save("route.yaml", route("all", [rule({n: 1}, path=f"/{n}") for n in (*paths, "h2", *NAMES)] + [rule({"good": 1, "plain": 1}, path="/hello")],
                                 parents=parents))
    bed.save("gateway.yaml", gateway(), gateway("second", tls={"backend": {"clientCertificateRef": {"name": "client"}}}, listeners=[
        {"name": "http", "port": other_port, "protocol": "HTTP"}]),
             {"apiVersion": "v1", "kind": "Secret", "metadata": meta("client", "default"), "type": "kubernetes.io/tls", "data": key})
    bed.start()
    wait(lambda: get(bed, "/good")[0] == 200, 5, text="the Service with TLS")
    reloads = bed.reloads()
    verified(bed, good)
    check("h2" in h2.protocols, f"ALPN for HTTP/2: {h2.protocols}")
    shares(bed)
    several_names(bed, asking, other_port)
    conflicts(bed)
    authorities(bed, ca)
    client(bed, other_port)
    changes(bed, reloads)
    alone(bed, other_port)


run("backend_tls", backend_tls)
