"""What the scenarios about TLS share: certificates and authorities, HTTPS listeners, clients, and an application that tells what it
was sent."""
import base64
import contextlib
import http.client
import http.server
import json
import socket
import ssl
import subprocess
import threading
import time

from bed import free_port, meta

ALL = {"namespaces": {"from": "All"}}
TLS = 4096  # so far behind the ports for HTTP are those for HTTPS


def certificate(bed, name, names, key=("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"), days=30):
    """(certificate, key), both PEM."""
    crt, out = bed.dir / f"{name}.crt", bed.dir / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", *key, "-nodes", "-keyout", out, "-out", crt, "-days", str(days), "-subj",
                    f"/CN={name}", "-addext", "subjectAltName=" + ",".join(f"DNS:{n}" for n in names)], check=True, capture_output=True)
    return crt.read_bytes(), out.read_bytes()


def secret(name, pair, namespace="default"):
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta(name, namespace), "type": "kubernetes.io/tls",
            "data": {"tls.crt": base64.b64encode(pair[0]).decode(), "tls.key": base64.b64encode(pair[1]).decode()}}


def listener(name, port, secrets, hostname=None, **more):
    refs = [{"name": s} if isinstance(s, str) else s for s in secrets]
    return {"name": name, "port": port, "protocol": "HTTPS", "tls": {"mode": "Terminate", "certificateRefs": refs}, "allowedRoutes": ALL,
            **({"hostname": hostname} if hostname else {}), **more}


def shake(port, name, algorithms=None, alpn=None):
    """The certificate that is served for the name, DER; and the protocol chosen."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(alpn)
    if algorithms:  # of TLS 1.2, where they are chosen by the ciphers
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(algorithms)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain, context.wrap_socket(plain, server_hostname=name) as s:
        return s.getpeercert(True), s.selected_alpn_protocol()


def served(port, name, pair, **more):
    return shake(port, name, **more)[0] == ssl.PEM_cert_to_DER_cert(pair[0].decode())


def refused(port, name):
    try:
        shake(port, name)
    except ssl.SSLError as error:
        return error.reason
    except OSError:
        return "closed"
    return None


def ask(port, sni, host=None, path="/", headers=()):
    """(status, headers, body) over a connection for `sni`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain, context.wrap_socket(plain, server_hostname=sni) as s:
        connection = http.client.HTTPConnection("127.0.0.1")
        connection.sock = s
        connection.request("GET", path, headers={"Host": host or sni, **dict(headers)})
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()


def status_of(bed, name="gateway"):
    """What stands in the Gateway's status document, as text."""
    return "".join(p.read_text() for p in bed.status.rglob("*") if p.is_file() and f"{name}" in p.name)


class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/stream":
            self.stream()
            return
        body = json.dumps({k.lower(): v for k, v in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self):
        """Without an end."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while True:
            self.wfile.write(b"5\r\ntick\n\r\n")
            time.sleep(0.05)

    def handle(self):
        with contextlib.suppress(OSError):
            super().handle()

    def log_message(self, *args):
        pass


def echo():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


class Handshakes:
    """New connections without a pause, from several threads."""

    def __init__(self, port, name, threads=4):
        self.done, self.failed, self.stop = 0, [], False
        self.threads = [threading.Thread(target=self.work, args=(port, name), daemon=True) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def work(self, port, name):
        while not self.stop:
            try:
                shake(port, name)
                self.done += 1
            except OSError as error:
                self.failed.append(str(error))

    def finish(self):
        self.stop = True
        for thread in self.threads:
            thread.join()
        return self.done, self.failed


class Stream:
    """Reads what never ends, in a thread of its own; n pieces so far."""

    def __init__(self, port, name, stop):
        self.n, self.stop = 0, stop
        threading.Thread(target=self.read, args=(port, name), daemon=True).start()

    def read(self, port, name):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", port), timeout=5) as plain, context.wrap_socket(plain, server_hostname=name) as s:
            s.sendall(f"GET /stream HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
            while not self.stop and s.recv(4096):
                self.n += 1


class Authority:
    """Of one's own: certificates come as (path of the certificate, path of the key)."""

    def __init__(self, bed, name):
        self.dir, self.name = bed.dir, name
        self.crt, self.key = bed.dir / f"{name}.crt", bed.dir / f"{name}.key"
        self.openssl("req", "-x509", "-days", "30", "-subj", f"/CN={name}", "-out", self.crt, *self.new_key(self.key))

    @staticmethod
    def new_key(path):
        return "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path

    @staticmethod
    def openssl(*args):
        subprocess.run(["openssl", *args], check=True, capture_output=True)

    def issue(self, name, *alt_names, days=30):
        crt, key, csr = (self.dir / f"{name}.{end}" for end in ("crt", "key", "csr"))
        self.openssl("req", "-new", "-subj", f"/CN={name}", "-addext", "subjectAltName=" + ",".join(alt_names), "-out", csr, *self.new_key(key))
        self.openssl("x509", "-req", "-in", csr, "-CA", self.crt, "-CAkey", self.key, "-days", str(days), "-copy_extensions", "copy", "-out", crt)
        return crt, key

    def config_map(self, name=None):
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta(name or self.name, "default"), "data": {"ca.crt": self.crt.read_text()}}
