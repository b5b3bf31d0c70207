"""Certificates of clients (spec.tls.frontend): who is let in by default and by port; whom a ConfigMap names changes under load
without a failed handshake and without a reload; a session from before is no way in; what is broken lets nobody in and does no harm
beside; and HAProxy starts alone with all of it."""
import http.client
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from bed import HAPROXY, alive, check, free_port, gateway, processes_naming, route, rule, run, service, wait
from tls import ALL, TLS, Authority, certificate, echo, listener, secret, status_of

NAME = "a.example.com"


def context(pair=None, version=None):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    if version:
        made.minimum_version = made.maximum_version = version
    if pair:
        made.load_cert_chain(*pair)
    return made


def visit(port, made, session=None):
    """(status, the session to come again with, was one resumed); status None: not let in."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as plain, \
                made.wrap_socket(plain, server_hostname=NAME, session=session) as s:
            connection = http.client.HTTPConnection("127.0.0.1")
            connection.sock = s
            connection.request("GET", "/", headers={"Host": NAME})
            answer = connection.getresponse()
            answer.read()
            return answer.status, s.session, s.session_reused
    except (OSError, http.client.HTTPException):
        return None, None, False


def let_in(port, pair=None, version=None):
    return visit(port, context(pair, version))[0] == 200


def asked(port):
    """What the server says of certificates that it wants."""
    said = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", NAME], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=10).stdout
    return "Acceptable client certificate CA names" in said


def validation(*maps, mode="AllowValidOnly"):
    return {"validation": {"caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": m} for m in maps], "mode": mode}}


def gate(base, default, per_port=()):
    """Listeners: default, another port, and one in clear."""
    return gateway("g", listeners=[listener("default", base + TLS, ["server"], NAME), listener("other", base + TLS + 1, ["server"], NAME),
                                   {"name": "http", "port": base, "protocol": "HTTP", "allowedRoutes": ALL}],
                   tls={"frontend": {"default": default, "perPort": [{"port": base + TLS + 1, "tls": t} for t in per_port]}})


def by_port(bed, base, pairs):
    one, two = base + TLS, base + TLS + 1
    bed.save("gate.yaml", gate(base, validation("first"), [validation("second")]))
    wait(lambda: let_in(one, pairs["first"]) and let_in(two, pairs["second"]), text="listeners that ask")
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        for port, good in ((one, "first"), (two, "second")):
            for name, pair in {**pairs, "nothing": None}.items():
                check(let_in(port, pair, version) == (name == good), f"port {port}, {version.name}: {name} was {'kept out' if name == good else 'let in'}")
    check(bed.get("/", host=NAME, port=base)[0] == 200, "the listener in clear asks, too")
    for mode in ("AllowInsecureFallback", "AllowValidOnly", "AllowInsecureFallback"):
        bed.save("gate.yaml", gate(base, validation("first"), [validation("second", mode=mode)]))
        wait(lambda: let_in(two) == (mode != "AllowValidOnly"), 2, text=mode)
        check(let_in(two, pairs["stranger"]) == (mode != "AllowValidOnly"), f"{mode}: a stranger")
        check(asked(two) and asked(one), f"{mode}: clients are not asked")
        check(("InsecureFrontendValidationMode" in status_of(bed, "g")) == (mode != "AllowValidOnly"), f"{mode}: {status_of(bed, 'g')}")
        check(let_in(one, pairs["first"]) and not let_in(one, pairs["second"]), f"{mode} on a port changed another one")
    bed.save("gate.yaml", gate(base, validation("first"), [{}]))
    wait(lambda: not asked(two), 2, text="a port that asks nothing")
    check(let_in(two) and let_in(two, pairs["stranger"]) and not let_in(one), "ports are mixed up")


def sessions(bed, base, pairs):
    """Who came without a certificate before one was wanted, or with one whose authority has gone, does not come again."""
    port = base + TLS + 1
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        bed.save("gate.yaml", gate(base, validation("first"), [{}]))
        made = context(None, version)
        wait(lambda: visit(port, made)[1] is not None, 2, text="a session")
        session = visit(port, made)[1]
        check(visit(port, made, session)[2], "a session is not resumed")
        bed.save("gate.yaml", gate(base, validation("first"), [validation("first")]))
        wait(lambda: not let_in(port) and let_in(port, pairs["first"]), 2, text="a port that asks")
        check(visit(port, made, session)[0] is None, f"{version.name}: let in by a session without a certificate")
        made = context(pairs["first"], version)
        session = visit(port, made)[1]
        check(visit(port, made, session)[2], "a session with a certificate is not resumed")
        bed.save("gate.yaml", gate(base, validation("first"), [validation("second")]))
        wait(lambda: let_in(port, pairs["second"]), 2, text="another authority")
        check(visit(port, made)[0] is None, "a certificate of the authority before")
        check(visit(port, made, session)[0] is None, f"{version.name}: let in by a session of the authority before")


def changes(bed, base, authorities, pairs):
    """The ConfigMap's authorities come and go; who is of the one that stays never notices."""
    port, stop, failed, done, took = base + TLS, [], [], [0], []
    bed.save("gate.yaml", gate(base, validation("both")))

    def come():
        while not stop:
            if let_in(port, pairs["first"]):
                done[0] += 1
            else:
                failed.append(time.monotonic())

    both = {**authorities["first"].config_map("both"), "data": {"ca.crt": authorities["first"].crt.read_text() + authorities["second"].crt.read_text()}}
    maps = [authorities["first"].config_map("both"), both]
    bed.save("both.yaml", maps[0])
    wait(lambda: let_in(port, pairs["first"]) and not let_in(port, pairs["second"]), 2, text="one authority")
    threads = [threading.Thread(target=come, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(1, 31):
        put = bed.stage("both.yaml", maps[i % 2])
        begin = time.monotonic()
        put()
        wait(lambda: let_in(port, pairs["second"]) == bool(i % 2), 2, every=0, text="the new authorities")
        took.append(time.monotonic() - begin)
    stop.append(True)
    for thread in threads:
        thread.join()
    took.sort()
    print(f"{done[0]} visits, {len(failed)} failed; ConfigMap to in force {1e3 * took[15]:.1f} ms (median), {1e3 * took[-1]:.1f} ms (longest)")
    check(done[0] > 50 and not failed, f"{len(failed)} of {done[0]} visits failed while the authorities changed")
    check(took[15] < 0.1, "a ConfigMap takes more than 100 ms until it is in force, a visit included")
    wait(lambda: sorted(f"certs/{p.name}" for p in bed.state.joinpath("certs").glob("*.ca")) == sorted(
        line.split()[0] for line in bed.cli("show ssl ca-file").splitlines() if line.startswith("certs/")) and
         bed.cli("show ssl ca-file").count("certs/") <= 2, 15, text="the end of old authorities")


def unfinished(bed, base, authorities, pairs):
    """Somebody began a file of authorities, and fell; HAProxy has one under way at a time. The next controller makes it go on."""
    name = "certs/0123456789abcdef.ca"
    bed.end(signal.SIGKILL)
    said = bed.cli(f"new ssl ca-file {name}") + bed.cli(f"set ssl ca-file {name} <<\n{authorities['third'].crt.read_text()}")
    check("transaction created" in said and f"*{name}" in bed.cli("show ssl ca-file"), f"no transaction: {said}")
    bed.start(wait_for_gateway=False)
    bed.save("both.yaml", authorities["second"].config_map("both"))
    wait(lambda: let_in(base + TLS, pairs["second"]) and not let_in(base + TLS, pairs["first"]), 5, text="other authorities, after all")
    wait(lambda: name not in bed.cli("show ssl ca-file"), 15, text="the end of what was begun")


def broken(bed, base, authorities, pairs):
    one, two = base + TLS, base + TLS + 1
    text = authorities["second"].crt.read_text()
    good = authorities["second"].config_map("shaky")
    hostile = {"empty": "", "cut": text[:-40], "text": "hello", "key": pairs["second"][1].read_text(),
               "end": "\n\nEND\n;add map maps/path.map a b\nset ssl ca-file x <<END\n"}
    bed.save("shaky.yaml", good)
    bed.save("gate.yaml", gate(base, validation("first"), [validation("shaky")]))
    wait(lambda: let_in(two, pairs["second"]), 2, text="the good one")
    for name, value in hostile.items():
        bed.save("shaky.yaml", {**good, "data": {"ca.crt": value}})
        wait(lambda: "NoValidCACertificate" in status_of(bed, "g") and not let_in(two, pairs["second"]), 2, text=f"the condition of {name}")
        check(not let_in(two) and not let_in(two, pairs["first"]), f"{name}: somebody is let in")
        check(let_in(one, pairs["first"]) and bed.get("/", host=NAME, port=base)[0] == 200, f"{name}: another listener is not served")
        bed.save("shaky.yaml", {**good, "data": {"ca.crt": "before\n" + text + "behind\n"}})
        wait(lambda: let_in(two, pairs["second"]) and "NoValidCACertificate" not in status_of(bed, "g"), 2, text="the good one again")
    check("a b" not in bed.cli("show map maps/path.map"), "a ConfigMap spoke to HAProxy")


def alone(bed, base, pairs):
    """Both killed; HAProxy starts on the files, by itself, and keeps out whom it kept out."""
    bed.save("gate.yaml", gate(base, validation("first"), [validation("second", mode="AllowInsecureFallback")]))
    wait(lambda: let_in(base + TLS + 1), 2, text="the last state")
    time.sleep(1.2)
    bed.end(signal.SIGKILL)
    master = bed.haproxy_pids()[0][0]
    for pid in processes_naming(str(bed.dir)):
        os.kill(pid, signal.SIGKILL)
    wait(lambda: not alive(master), text="HAProxy's end")
    (bed.state / "haproxy.sock").unlink(missing_ok=True)
    bed.spawn(HAPROXY, "-W", "-db", "-C", bed.state, "-S", "unix@master.sock,mode,600", "-f", "haproxy.cfg", "-f", "backends")
    wait(lambda: let_in(base + TLS, pairs["first"]), 5, text="the files' state")
    check(not let_in(base + TLS) and not let_in(base + TLS, pairs["second"]), "somebody else is let in")
    check(let_in(base + TLS + 1) and let_in(base + TLS + 1, pairs["stranger"]), "somebody is kept out where anybody may come in")
    bed.start(wait_for_gateway=False)
    wait(lambda: "applied 1" in bed.command("counters", "--state-dir", bed.state)[1], text="the takeover")
    check(bed.counters()["commands"] == 0, f"the takeover sent commands: {bed.counters()}")


def clients(bed):
    base = free_port(64)
    bed.args += ["--pool-ports", f"{base}:16"]
    authorities = {name: Authority(bed, name) for name in ("first", "second", "third")}
    pairs = {name: authorities[name].issue(f"client-{name}", "DNS:client") for name in ("first", "second")}
    pairs["stranger"] = authorities["third"].issue("client-stranger", "DNS:client")
    pairs["expired"] = authorities["first"].issue("client-expired", "DNS:client", days=0)
    certificate(bed, "self", ["client"])
    pairs["self-signed"] = (bed.dir / "self.crt", bed.dir / "self.key")
    bed.save("app.yaml", *service("app", [("pod", "127.0.0.1", echo())]),
             route("app", [rule({"app": 1})], hostnames=[NAME], parents=[{"name": "g", "namespace": "default"}]))
    bed.save("tls.yaml", secret("server", certificate(bed, "server", [NAME])), *(a.config_map() for a in authorities.values()))
    bed.save("gate.yaml", gate(base, {}))
    bed.start(wait_for_gateway=False)
    wait(lambda: let_in(base + TLS), 10, text="the start")
    reloads = bed.reloads()
    by_port(bed, base, pairs)
    sessions(bed, base, pairs)
    changes(bed, base, authorities, pairs)
    unfinished(bed, base, authorities, pairs)
    broken(bed, base, authorities, pairs)
    check(bed.reloads() == reloads, f"{bed.reloads() - reloads} reloads for clients' certificates")
    alone(bed, base, pairs)


run("clients", clients)
