"""HTTPS listeners: certificates by name, several, rotated under load without a failed handshake and without a reload; what is
bad harms nobody else and cannot say anything to HAProxy; connections belong to listeners (421); and HAProxy starts alone
with all of it."""
import json
import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from bed import HAPROXY, alive, check, free_port, gateway, meta, processes_naming, route, rule, run, service, wait
from tls import ALL, TLS, Handshakes, Stream, ask, certificate, echo, listener, refused, secret, served, shake, status_of


def names_and_listeners(bed, base):
    port = base + TLS
    rsa = certificate(bed, "rsa", ["a.example.com"], ("rsa:2048",))
    ec = certificate(bed, "ec", ["a.example.com"])
    wild = certificate(bed, "wild", ["*.wild.org", "x.y.wild.org"])
    other = certificate(bed, "other", ["*.example.com", "deep.a.b", "fourth.wild.org"])
    bed.save("secrets.yaml", secret("rsa", rsa), secret("ec", ec), secret("wild", wild), secret("other", other))
    bed.save("gateway.yaml", gateway(listeners=[
        listener("one", port, ["rsa", "ec"], "a.example.com"), listener("wild", port, ["wild"], "*.wild.org"),
        listener("fourth", port, ["other"], "fourth.wild.org"), listener("any", port, ["other"])]))
    wait(lambda: served(port, "a.example.com", ec), text="an HTTPS listener")
    check(served(port, "a.example.com", rsa, algorithms="ECDHE-RSA-AES128-GCM-SHA256"), "clients of RSA got another certificate")
    check(served(port, "a.example.com", ec, algorithms="ECDHE-ECDSA-AES128-GCM-SHA256"), "clients of ECDSA got another certificate")
    check(served(port, "A.Example.COM", ec), "a name in upper case got another certificate")
    for name, pair in {"b.wild.org": wild, "x.y.wild.org": wild, "fourth.wild.org": other, "elsewhere.net": other, "b.example.com": other,
                       None: other, "deep.a.b": other}.items():
        check(served(port, name, pair), f"{name} got another certificate")
    check(shake(port, "b.wild.org", alpn=["h2", "http/1.1"])[1] == "h2", "no HTTP/2")
    check(shake(port, "b.wild.org", alpn=["http/1.1"])[1] == "http/1.1", "no HTTP/1.1")

    # Gateway API, misdirected requests: its own table, with these names.
    table = {("elsewhere.net", "elsewhere.net"): 200, ("elsewhere.net", "a.example.com"): 421, ("elsewhere.net", "unknown.net"): 404,
             ("a.example.com", "a.example.com"): 200, ("a.example.com", "elsewhere.net"): 421, ("a.example.com", "unknown.net"): 421,
             ("b.wild.org", "b.wild.org"): 200, ("b.wild.org", "c.wild.org"): 200, ("b.wild.org", "fourth.wild.org"): 421,
             ("b.wild.org", "a.example.com"): 421, ("fourth.wild.org", "fourth.wild.org"): 200, ("fourth.wild.org", "b.wild.org"): 421}
    wait(lambda: ask(port, "elsewhere.net")[0] == 200, text="the routes")
    for (sni, host), status in table.items():
        check(ask(port, sni, host)[0] == status, f"{host} on a connection for {sni}: {ask(port, sni, host)[0]}, not {status}")
    headers = json.loads(ask(port, "a.example.com")[2])
    check(headers["x-forwarded-proto"] == "https", f"the backend saw {headers}")
    answer = ask(port, "a.example.com", path="/away")
    check(answer[0] == 302 and answer[1]["location"] == f"https://elsewhere.com:{port}/away", f"redirected to {answer[1]}")
    code, out = bed.command("explain", "--state-dir", bed.state, f"https://b.wild.org:{port}/")
    check(code == 0 and "TLS, for the name *.wild.org" in out and "forwarded to" in out, out)
    code, out = bed.command("explain", "--state-dir", bed.state, f"https://b.wild.org:{port}/", "-H", "Host: a.example.com")
    check("421" in out, out)


def two_gateways(bed, base):
    """The same name on two ports, with different certificates."""
    one, two = certificate(bed, "first", ["same.com"]), certificate(bed, "second", ["same.com"])
    bed.save("two.yaml", secret("first", one), secret("second", two),
             gateway("g1", listeners=[listener("https", base + TLS + 1, ["first"], "same.com")]),
             gateway("g2", listeners=[listener("https", base + TLS + 2, ["second"], "same.com")]))
    wait(lambda: served(base + TLS + 1, "same.com", one) and served(base + TLS + 2, "same.com", two), text="two Gateways")
    check(refused(base + TLS + 1, "unknown.com") and refused(base + TLS + 1, None), "a name without certificate was answered")


def rotate(bed, base):
    port = base + TLS + 1
    pairs = [certificate(bed, f"r{i}", ["same.com"], days=10 + i) for i in range(8)]
    shakes, took = Handshakes(port, "same.com"), []
    for i in range(40):
        put = bed.stage("rotated.yaml", secret("rotated", pairs[i % 8]))
        if i == 0:
            put()
            bed.save("two.yaml", gateway("g1", listeners=[listener("https", port, ["rotated"], "same.com")]))
            wait(lambda: served(port, "same.com", pairs[0]), 2, text="another Secret")
            continue
        begin = time.monotonic()
        put()
        wait(lambda: served(port, "same.com", pairs[i % 8]), 2, every=0, text="the new certificate")
        took.append(time.monotonic() - begin)
    done, failed = shakes.finish()
    took.sort()
    print(f"{done} handshakes, {len(failed)} failed; Secret to served {1e3 * took[len(took) // 2]:.1f} ms (median), {1e3 * took[-1]:.1f} ms (longest)")
    check(not failed, f"failed handshakes: {failed[:3]}")
    check(took[len(took) // 2] < 0.05, "a Secret takes more than 50 ms until it is served")
    wait(lambda: sorted(f"certs/{p.name}" for p in bed.state.joinpath("certs").glob("*.pem")) == [
        line for line in bed.cli("show ssl cert").splitlines() if line.startswith("certs/")] and len(bed.cli("show ssl cert").split()) < 10,
         15, text="the end of old private keys")


def hundreds(bed, base):
    """Three hundred certificates on five ports: each for its name, and one replaced is served at once."""
    names = [[f"n{i}.g{g}.net" for i in range(60)] for g in range(5)]
    pairs = {name: certificate(bed, name, [name]) for group in names for name in group}
    secrets = {name: secret(name, pair) for name, pair in pairs.items()}
    ports = {name: base + TLS + 4 + g for g, group in enumerate(names) for name in group}
    for name, object_ in secrets.items():
        bed.save(f"hundreds/{name}.yaml", object_)
    bed.save("hundreds.yaml", *(gateway(f"g{g}", listeners=[listener(f"l{i}", ports[name], [name], name) for i, name in enumerate(group)])
                                for g, group in enumerate(names)))
    took = wait(lambda: all(served(ports[name], name, pairs[name]) for name in (group[-1] for group in names)), 10, text="300 certificates")
    wrong = [name for name in pairs if not served(ports[name], name, pairs[name])]
    check(not wrong, f"{len(wrong)} of 300 names got another certificate: {wrong[:3]}")
    shakes, replaced = Handshakes(ports[names[0][0]], names[0][0], 1), []
    for name in [group[i] for group in names for i in (7, 21, 35, 49)]:
        fresh = certificate(bed, f"{name}-new", [name])
        put = bed.stage(f"hundreds/{name}.yaml", secret(name, fresh))
        begin = time.monotonic()
        put()
        wait(lambda: served(ports[name], name, fresh), 2, every=0, text="one of 300 replaced")
        replaced.append(time.monotonic() - begin)
        pairs[name] = fresh
    done, failed = shakes.finish()
    replaced.sort()
    print(f"300 certificates served {1e3 * took:.0f} ms after their Gateways were saved; one replaced {1e3 * replaced[10]:.1f} ms (median), "
          f"{1e3 * replaced[-1]:.1f} ms (longest); {done} handshakes meanwhile, {len(failed)} failed")
    check(not failed and replaced[10] < 0.05, "among hundreds a Secret takes more than 50 ms until it is served, or handshakes failed")
    wrong = [name for name in pairs if not served(ports[name], name, pairs[name])]
    check(not wrong, f"after replacing, {len(wrong)} names got another certificate: {wrong[:3]}")
    for name in secrets:
        bed.remove(f"hundreds/{name}.yaml")
    bed.remove("hundreds.yaml")
    wait(lambda: bed.cli("show ssl cert").count("certs/") < 30, 15, text="the end of 300 certificates")


def held(bed, base):
    """Streams that began before a thousand changes of certificates, routes, endpoints and listeners are there after them."""
    port, stop = base + TLS + 4, []
    pairs = [certificate(bed, f"held{i}", ["held.com"]) for i in range(2)]

    def state(i):
        extra = [listener("extra", base + TLS + 5, ["held"], "extra.com")] if i % 4 > 1 else []
        pods = [("one", "127.0.0.1", bed.echo)] + [("two", "127.0.0.2", bed.echo)] * (i % 8 > 3)
        said = {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "X-N", "value": str(i)}]}}
        return [secret("held", pairs[i % 2]), gateway("held", listeners=[listener("held", port, ["held"], "held.com"), *extra]), *service("held", pods),
                route("held", [rule({"held": 1}, filters=[said])], hostnames=["held.com"], parents=[{"name": "held", "namespace": "default"}])]

    bed.save("held.yaml", *state(0))
    wait(lambda: ask(port, "held.com")[1].get("x-n") == "0", text="the first state")
    streams = [Stream(port, "held.com", stop) for _ in range(20)]
    for i in range(1, 1001):
        bed.save("held.yaml", *state(i))
        if i % 10 == 0:
            wait(lambda: ask(port, "held.com")[1].get("x-n") == str(i), text=f"change {i}")
        else:
            time.sleep(0.004)
    before = [s.n for s in streams]
    time.sleep(0.5)
    check(all(s.n > n for s, n in zip(streams, before)), f"{sum(s.n <= n for s, n in zip(streams, before))} of 20 streams ended in 1,000 changes")
    stop.append(True)
    bed.remove("held.yaml")
    print(f"20 streams over TLS held open across 1,000 changes; the shortest had {min(before)} pieces")


def bad(bed, base):
    """Each in a Gateway of its own; the others go on."""
    good = certificate(bed, "good", ["good.com"])
    swapped = (good[0], certificate(bed, "swapped", ["good.com"])[1])
    end = b"\n\nEND\n;add map maps/path.map a b\nset ssl cert certs/none.pem <<END\n"
    hostile = {
        "missing": None, "empty": (b"", b""), "swapped": swapped, "text": (b"hello", b"world"), "huge": (good[0] * 2000, good[1]),
        "nul": (good[0][:100] + b"\0" + good[0][101:], good[1]), "cut": (good[0][:-40], good[1]),
        "ed25519": certificate(bed, "ed", ["good.com"], ("ed25519",)), "weak": certificate(bed, "weak", ["good.com"], ("rsa:1024",)),
    }
    fine = {
        "cr": (good[0].replace(b"\n", b"\r\n"), good[1].replace(b"\n", b"\r\n")), "trailing": (end + good[0] + end, end + good[1] + end),
    }
    reloads = bed.reloads()
    shakes = Handshakes(base + TLS + 1, "same.com", 1)
    for i, (name, pair) in enumerate({**hostile, **fine}.items()):
        port = base + TLS + 3
        objects = [secret(name, pair)] if pair and pair[0] else []
        bed.save("bad.yaml", *objects, gateway("bad", listeners=[listener("https", port, [name], "good.com"), {
            "name": "plain", "port": base + 3, "protocol": "HTTP", "allowedRoutes": ALL}]))
        if name in fine:
            wait(lambda: served(port, "good.com", good), 2, text=f"the certificate of {name}")
        else:
            wait(lambda: "InvalidCertificateRef" in status_of(bed, "bad") and f"default/{name}" in status_of(bed, "bad"), 2, text=f"the condition of {name}")
            check(refused(port, "good.com"), f"{name} is served")
        wait(lambda: bed.get("/", host="good.com", port=base + 3)[0] == 200, 2, text="the HTTP listener beside it")
        wait(lambda: "PRIVATE" not in status_of(bed, "bad"), 0.1, text="no key in a status")
    # Of another namespace, without and with a grant.
    elsewhere = {"name": "far", "namespace": "other"}
    bed.save("bad.yaml", secret("far", good, "other"), gateway("bad", listeners=[listener("https", base + TLS + 3, [elsewhere], "good.com")]))
    wait(lambda: "RefNotPermitted" in status_of(bed, "bad"), 2, text="the condition without a grant")
    check(refused(base + TLS + 3, "good.com"), "a certificate of another namespace is served without a grant")
    bed.save("grant.yaml", {"apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant", "metadata": meta("far", "other"), "spec": {
        "from": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "default"}], "to": [{"group": "", "kind": "Secret"}]}})
    wait(lambda: served(base + TLS + 3, "good.com", good), 2, text="the certificate, with the grant")
    bed.remove("grant.yaml")
    wait(lambda: refused(base + TLS + 3, "good.com"), 2, text="the end of it, without the grant")
    done, failed = shakes.finish()
    check(done and not failed, f"another Gateway's handshakes failed: {failed[:3]}")
    check(bed.reloads() == reloads, "bad certificates made HAProxy reload")
    check("add map" not in bed.cli("show map maps/path.map") and "a b" not in bed.cli("show map maps/path.map"), "a Secret spoke to HAProxy")


def secrets_kept(bed):
    certs = bed.state / "certs"
    for path in certs.iterdir():
        check(path.stat().st_mode & 0o777 == 0o600, f"{path.name} is {oct(path.stat().st_mode)}")
    texts = bed.log.read_text(errors="replace")
    for what in ("graph", "table", "image", "plan"):
        texts += bed.command("dump", what, "--manifests", bed.manifests)[1]
    check("PRIVATE KEY" not in texts and "BEGIN" not in texts, "a key in a log or a dump")


def alone(bed, base):
    """Both killed; HAProxy starts on the files, by itself."""
    before = shake(base + TLS + 1, "same.com")[0]
    time.sleep(1.2)
    bed.end(signal.SIGKILL)
    master = bed.haproxy_pids()[0][0]
    for pid in processes_naming(str(bed.dir)):
        os.kill(pid, signal.SIGKILL)
    wait(lambda: not alive(master), text="HAProxy's end")
    (bed.state / "haproxy.sock").unlink(missing_ok=True)
    bed.spawn(HAPROXY, "-W", "-db", "-C", bed.state, "-S", "unix@master.sock,mode,600", "-f", "haproxy.cfg", "-f", "backends")
    wait(lambda: shake(base + TLS + 1, "same.com")[0] == before, 5, text="the certificate from the files")
    check(ask(base + TLS, "a.example.com")[0] == 200, "the routes are not those of before")
    bed.start(wait_for_gateway=False)
    wait(lambda: "applied 1" in bed.command("counters", "--state-dir", bed.state)[1], text="the takeover")
    check(bed.counters()["commands"] == 0, f"the takeover sent commands: {bed.counters()}")


def folder(bed):
    """A port of its own, not of the pool: one reload, for the bind."""
    port, reloads = free_port(), bed.reloads()
    pair = certificate(bed, "bind", ["bind.com"])
    bed.save("bind.yaml", secret("bind", pair), gateway("bind", listeners=[listener("https", port, ["bind"], "bind.com")]))
    wait(lambda: served(port, "bind.com", pair), 5, text="a bind of its own")
    time.sleep(0.5)
    names = ["bind.com", "another.com", "*.third.com"]
    more = certificate(bed, "more", names)
    bed.save("bind.yaml", secret("bind", pair), secret("more", more),
             gateway("bind", listeners=[listener(f"https-{i}", port, ["more" if i else "bind"], name) for i, name in enumerate(names)]))
    wait(lambda: served(port, "another.com", more) and served(port, "a.third.com", more), 5, text="more listeners of that bind")
    time.sleep(0.5)
    check(bed.reloads() == reloads + 1, f"{bed.reloads() - reloads} reloads for one bind")
    bed.save("bind.yaml", secret("bind", pair), gateway("bind", listeners=[{"name": "http", "port": port, "protocol": "HTTP", "allowedRoutes": ALL}]))
    wait(lambda: bed.get("/", host="bind.com", port=port)[0] == 404, 5, text="HTTP on that port instead")


def https(bed):
    base = free_port(64)
    bed.args += ["--pool-ports", f"{base}:16"]
    app = bed.echo = echo()
    bed.save("app.yaml", *service("app", [("pod", "127.0.0.1", app)]))
    redirect = {"matches": [{"path": {"type": "PathPrefix", "value": "/away"}}], "filters": [{"type": "RequestRedirect", "requestRedirect": {"hostname": "elsewhere.com"}}]}
    bed.save("route.yaml", route("app", [rule({"app": 1}), redirect], hostnames=["a.example.com", "b.wild.org", "c.wild.org", "fourth.wild.org", "elsewhere.net", "deep.a.b"]),
             route("bad", [rule({"app": 1})], hostnames=["good.com"], parents=[{"name": "bad", "namespace": "default"}]))
    bed.save("first.yaml", gateway("first", listeners=[{"name": "http", "port": base, "protocol": "HTTP", "allowedRoutes": ALL}]))
    bed.start(wait_for_gateway=False)
    wait(lambda: bed.get("/", port=base)[0] == 404, 10, text="the start")
    reloads = bed.reloads()
    names_and_listeners(bed, base)
    two_gateways(bed, base)
    rotate(bed, base)
    hundreds(bed, base)
    held(bed, base)
    bad(bed, base)
    check(bed.reloads() == reloads, f"{bed.reloads() - reloads} reloads for HTTPS listeners in the pool")
    secrets_kept(bed)
    folder(bed)
    alone(bed, base)


run("https", https)
