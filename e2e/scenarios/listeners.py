"""Several Gateways and ports. Reloads happen for new binds alone; a port already taken is a condition, not a crash."""
import pathlib
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from bed import HOST, check, gateway, route, rule, run, service, wait


def listener(name, port, **more):
    return {"name": name, "port": port, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}, **more}


def to(gateway_name, **more):
    return [{"name": gateway_name, "namespace": "default", **more}]


def listeners(bed):
    one, two = bed.app(version="one"), bed.app(version="two")
    bed.save("apps.yaml", *service("one", [("pod-one", "127.0.0.1", one)]), *service("two", [("pod-two", "127.0.0.1", two)]))
    bed.save("g1.yaml", gateway("g1", listeners=[listener("web", 80)]))
    bed.save("r1.yaml", route("r1", [rule({"one": 1})], parents=to("g1"), hostnames=()))
    bed.start()
    says = lambda port, word, **more: (lambda: f"version: {word}" in bed.get("/hello", port=bed.ports[port], **more)[2])
    wait(says(80, "one"), text="the first Gateway")
    client = bed.load([(HOST, "/hello", 200, "version: one")], connections=8, rate=2000)
    reloads = bed.reloads()

    # A second Gateway on another port: one bind more, at most one reload, no request lost.
    bed.save("g2.yaml", gateway("g2", listeners=[listener("web", 8080)]))
    bed.save("r2.yaml", route("r2", [rule({"two": 1})], parents=to("g2", sectionName="web"), hostnames=()))
    wait(says(8080, "two"), 3, text="the second Gateway")
    check(says(80, "one")(), "the first Gateway answers for the second")
    check(bed.reloads() <= reloads + 1, f"{bed.reloads() - reloads} reloads for one bind")
    reloads = bed.reloads()

    # Another listener on the same port is data.
    bed.save("g2.yaml", gateway("g2", listeners=[listener("web", 8080), listener("blue", 8080, hostname="blue.sample.com")]))
    bed.save("r3.yaml", route("r3", [rule({"one": 1})], parents=to("g2", sectionName="blue"), hostnames=()))
    wait(says(8080, "one", host="blue.sample.com"), 2, text="a second listener on one port")
    check(says(8080, "two")(), "listener isolation")
    check(bed.reloads() == reloads, "a reload without a new bind")

    # A second Gateway on a port already taken by another Gateway: its condition tells; the first keeps it.
    bed.save("g3.yaml", gateway("g3", listeners=[listener("web", 80)]))
    wait(lambda: "PortUnavailable" in everything_in(bed.status) or "Conflict" in everything_in(bed.status), 2, text="the conflict's condition")
    check(says(80, "one")(), "the first Gateway lost its port")
    bed.remove("g3.yaml")

    # A port somebody else holds: told, not fatal; the others go on.
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of an earlier run may linger
        holder.bind(("0.0.0.0", bed.ports[9090]))
        holder.listen()
        bed.save("g4.yaml", gateway("g4", listeners=[listener("web", 9090)]))
        wait(lambda: gateway_says(bed, "g4", "PortUnavailable", "Invalid", "AddressNotUsable", 'status: "False"'), 5, text="the condition of a port in use")
        check(says(80, "one")() and says(8080, "two")(), "a port in use stopped the others")
    bed.remove("g4.yaml")

    bed.remove("g2.yaml")
    wait(lambda: refused(bed.ports[8080]), 3, text="the end of a bind")
    result = bed.finish(client)
    print(result)
    check(result["lost"] == 0, "requests were lost")


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return False
    except OSError:
        return True


def everything_in(folder):
    return "\n".join(p.read_text() for p in sorted(folder.rglob("*")) if p.is_file())


def gateway_says(bed, name, *words):
    text = "\n".join(p.read_text() for p in bed.status.rglob("*") if p.is_file() and name in p.name)
    return any(word in text for word in words)


run("listeners", listeners, ports=(80, 8080, 9090))
