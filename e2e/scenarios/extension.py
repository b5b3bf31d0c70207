"""HatchwayFilters on the real HAProxy: lists of addresses, limits and users edited under load, a filter that is deleted or turns invalid, and
one that comes back. Nothing of it is a reload, and a rule whose filter is of no use lets nobody in."""
import base64
import hashlib
import pathlib
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from bed import check, gateway, route, rule, run, service, wait

REF = {"type": "ExtensionRef", "extensionRef": {"group": "hatchway.dev", "kind": "HatchwayFilter", "name": "f"}}


def filter_of(**spec):
    return {"apiVersion": "hatchway.dev/v1alpha1", "kind": "HatchwayFilter", "metadata": {"name": "f"}, "spec": spec}


def own_filter(**addresses):
    return filter_of(addresses=addresses)


def htpasswd(**users):
    lines = "".join(f"{name}:{{SHA}}{base64.b64encode(hashlib.sha1(password.encode()).digest()).decode()}\n" for name, password in users.items())
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "users"}, "stringData": {".htpasswd": lines}}


def shown(name, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def limits(bed, ask):
    """100 an hour, then 3: who has had more than that waits; by a header, everybody has three of their own."""
    limit = lambda requests, unit="Hour", **more: bed.save("f.yaml", filter_of(rateLimit={"requests": requests, "unit": unit, **more}))
    # New properties come first, then the key that leads to them, then the old ones go.
    def told(text):
        held = lambda: [line for line in bed.cli("show map maps/rule.map").splitlines() if "guard" in line]
        wait(lambda: len(held()) == 1 and held()[0].endswith(text), 3, text=text)
    limit(100)
    told("guard limit=100:hour:default/f")
    explained = bed.command("explain", "--state-dir", bed.state, "http://closed.sample.com/hello")[1]
    check("100 requests an hour of one client, else 429; counted for default/f" in explained, explained)
    check([ask() for _ in range(5)] == [200] * 5, "below the limit")
    limit(3)
    told("limit=3:hour:default/f")
    check(ask() == 429, "what was let through before counts")
    check("default/f\\ 127.0.0.1" in bed.cli("show table limit-hour"), "the table speaks of the filter and the client")
    limit(3, header="X-Key")
    told("limit=3:hour:default/f:X-Key")
    for key in ("a", "b"):
        check([ask({"X-Key": key}) for _ in range(4)] == [200, 200, 200, 429], f"key {key}")
    check(ask() == 429, "without the header, the address")
    # Every address of an IPv6 network of 64 bits is one client.
    with socket.create_connection(("::1", bed.ports[80]), timeout=10) as six:
        six.sendall(b"GET /hello HTTP/1.1\r\nHost: closed.sample.com\r\nConnection: close\r\n\r\n")
        check(six.recv(65536).startswith(b"HTTP/1.1 200"), "another client")
    check("default/f\\ 0:0:0:0::/64" in bed.cli("show table limit-hour"), "counted by its network")
    # Two a second, for two seconds: HAProxy's mean lets through what it promises, and not much more.
    limit(10, "Second")
    told("limit=10:second:default/f")
    end, good, other = time.time() + 2, 0, set()
    while time.time() < end:
        code = ask()
        good, other = good + (code == 200), other | {code}
    check(other == {200, 429} and 18 <= good <= 32, f"{good} of {other} in two seconds at 10 a second")


def users(bed, ask):
    bed.save("f.yaml", filter_of(basicAuth={"secretRef": {"name": "users"}, "realm": "Staff only"}))
    wait(lambda: ask() == 500, 3, text="a Secret that is not there")
    wait(lambda: "Secret default/users not found" in said(bed, "f"), 3, text="its condition")
    bed.save("users.yaml", htpasswd(anna="first"))
    wait(lambda: ask() == 401, 3, text="a password is wanted")
    check(ask(shown("anna", "first")) == 200 and ask(shown("anna", "second")) == 401 and ask(shown("zoe", "first")) == 401, "one user")
    bed.save("users.yaml", htpasswd(anna="second", zoe="third"))
    wait(lambda: ask(shown("anna", "second")) == 200, 3, text="a new password")
    check(ask(shown("anna", "first")) == 401 and ask(shown("zoe", "third")) == 200, "the old one, and a new user")
    bed.save("users.yaml", {**htpasswd(), "stringData": {"auth": "anna:$apr1$x$y"}})
    wait(lambda: "line 1: HAProxy can check passwords only as" in said(bed, "f") and ask(shown("anna", "second")) == 500, 3, text="a hash of another kind")
    bed.save("users.yaml", {**htpasswd(), "type": "kubernetes.io/basic-auth", "stringData": {"username": "r2", "password": "d2"}})
    wait(lambda: ask(shown("r2", "d2")) == 200, 3, text="a Secret of type kubernetes.io/basic-auth")
    secrets = ("first", "second", "third", "d2", htpasswd(anna="second")["stringData"][".htpasswd"][5:])
    log = bed.log.read_text() + said(bed, "")
    check(not [s for s in secrets if f'"{s}"' in log or f":{s}" in log], "a password was told")


def said(bed, name):
    return "\n".join(p.read_text() for p in bed.status.rglob("*") if p.is_file() and name in p.name)


def extension(bed):
    app = bed.app(version="one")
    closed = rule({"web": 1})
    closed["filters"] = [REF]
    bed.save("app.yaml", *service("web", [("pod", "127.0.0.1", app)]))
    bed.save("g.yaml", gateway())
    bed.save("open.yaml", route("open", [rule({"web": 1})], hostnames=("open.sample.com",)))
    bed.save("closed.yaml", route("closed", [closed], hostnames=("closed.sample.com",)))
    bed.save("f.yaml", own_filter(allow=["127.0.0.0/8"]))
    bed.start()
    answers = lambda host, code: (lambda: bed.get("/hello", port=bed.ports[80], host=host)[0] == code)
    wait(answers("closed.sample.com", 200), text="a client that is let in")
    client = bed.load([("open.sample.com", "/hello", 200, "version: one")], connections=8, rate=2000)
    reloads = bed.reloads()

    for addresses, code in (({"allow": ["127.0.0.0/8"], "deny": ["127.0.0.1/32"]}, 403), ({"deny": ["10.0.0.0/8", "::/0"]}, 200),
                            ({"allow": ["::/0"]}, 403), ({"allow": ["0.0.0.0/0"]}, 200)):
        bed.save("f.yaml", own_filter(**addresses))
        wait(answers("closed.sample.com", code), 3, text=f"{addresses}: {code}")
        wait(lambda: "reason: Accepted" in said(bed, "f"), 3, text="the filter's condition")

    # Pattern and all are right, and yet it is no network: nobody is let in, and the object says so.
    bed.save("f.yaml", own_filter(allow=["127.0.0.0/99"]))
    wait(answers("closed.sample.com", 500), 3, text="an invalid filter")
    wait(lambda: "spec.addresses.allow[0]" in said(bed, "closed") and "InvalidFilter" in said(bed, "closed"), 3, text="its condition")
    bed.save("f.yaml", own_filter(deny=["10.0.0.0/8"]))
    wait(answers("closed.sample.com", 200), 3, text="a filter that is valid again")

    # A manifest that the API server would refuse keeps its last good content.
    for addresses in ({}, {"deny": []}, {"allow": ["127.0.0.1/8 "]}, {"deny": ["a\nb/1"]}, {"allow": ["127.0.0.0/8", "127.0.0.0/8"]},
                      {"deny": ["10.0.0.0/8"], "alow": ["::/0"]}):
        bed.save("f.yaml", own_filter(**addresses))
        bed.save("mark.yaml", route("mark", [rule({"web": 1})], hostnames=(f"m{abs(hash(str(addresses)))}.sample.com",)))
        wait(answers(f"m{abs(hash(str(addresses)))}.sample.com", 200), 3, text="what was saved behind it")
        check(answers("closed.sample.com", 200)(), f"{addresses} was taken")

    bed.remove("f.yaml")
    wait(answers("closed.sample.com", 500), 3, text="a filter that is gone")
    wait(lambda: "BackendNotFound" in said(bed, "closed"), 3, text="its route's condition")
    bed.save("f.yaml", own_filter(deny=["127.0.0.0/8"]))
    wait(answers("closed.sample.com", 403), 3, text="a filter that is there again")

    ask = lambda headers={}: bed.get("/hello", port=bed.ports[80], host="closed.sample.com", headers=headers)[0]
    limits(bed, ask)
    users(bed, ask)
    check(bed.reloads() == reloads, "a filter was a reload")
    result = bed.finish(client)
    print(result)
    check(result["lost"] == 0, "requests were lost")


run("extension", extension, ports=(80,))
