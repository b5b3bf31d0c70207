"""GRPCRoutes with gRPC's own client and servers: methods, metadata, shares, headers, what is answered where nobody serves,
HTTPRoutes beside them, mirrors, and streams in both directions held open across 1,000 changes."""
import concurrent.futures
import os
import pathlib
import queue
import sys
import time

DEBIANS_PYTHON = "/usr/bin/python3"
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from bed import HOST, check, free_port, gateway, route, rule, run, service, wait

try:
    import grpc
except ImportError:  # Debian's python3-grpcio is for Debian's python3
    if sys.executable == DEBIANS_PYTHON:
        raise
    os.execv(DEBIANS_PYTHON, [DEBIANS_PYTHON, *sys.argv])

ECHO = "pkg.Echo"
KEPT = bytes(range(256))
UNIMPLEMENTED, UNAVAILABLE = grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAVAILABLE


# ---- a server: every service, every method; bytes in, bytes out ----

seen = []  # what servers were asked: name, path, whether the metadata was there that mirrored() sends, request


def server(name):
    """Answers with its name, the path and the metadata of the request; a method that begins with Stream answers each message."""
    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            head = "\n".join([name, details.method, *(f"{k}: {v}" for k, v in details.invocation_metadata if isinstance(v, str))])

            def unary(request, context):
                seen.append((name, details.method, ("x-keep-bin", KEPT) in details.invocation_metadata, request))
                context.set_trailing_metadata((("x-trailer", name),))
                return head.encode() + b"\n" + request

            def stream(requests, context):
                for request in requests:
                    seen.append((name, details.method, True, request))
                    yield name.encode() + b" " + request

            if details.method.split("/")[-1].startswith("Stream"):
                return grpc.stream_stream_rpc_method_handler(stream)
            return grpc.unary_unary_rpc_method_handler(unary)

    made = grpc.server(concurrent.futures.ThreadPoolExecutor(16), handlers=[Handler()])
    port = free_port()
    check(made.add_insecure_port(f"127.0.0.1:{port}") == port, "a server's port")
    made.start()
    return made, port


# ---- manifests ----

def grpc_route(name, rules, hostnames=(HOST,)):
    made = route(name, rules, hostnames)
    return {**made, "kind": "GRPCRoute"}


def method(service, name=None, **more):
    return {"method": {"service": service, **({"method": name} if name else {})}, **more}


def grpc_rule(refs, *matches, **more):
    return {**({"matches": list(matches)} if matches else {}), "backendRefs": [{"name": n, "port": 80, "weight": w} for n, w in refs.items()], **more}


def mirror(name, **share):
    return {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": name, "port": 80}, **share}}


# ---- clients ----

class Client:
    def __init__(self, bed, host=HOST):
        self.channel = grpc.insecure_channel(f"127.0.0.1:{bed.port}", options=[("grpc.default_authority", host), ("grpc.enable_retries", 0)])

    def call(self, path, metadata=()):
        """(the server's name, its answer's lines, trailers), or the status code."""
        try:
            answer, call = self.channel.unary_unary(path).with_call(b"ping", timeout=10, metadata=metadata)
        except grpc.RpcError as error:
            return error.code()
        lines = answer.decode().split("\n")
        return lines[0], lines[1:], dict(call.trailing_metadata())

    def name(self, path, metadata=()):
        answer = self.call(path, metadata)
        return answer[0] if isinstance(answer, tuple) else answer

    def message(self, path):
        try:
            self.channel.unary_unary(path)(b"", timeout=10)
        except grpc.RpcError as error:
            return error.details()
        return None


class Stream:
    """Both directions open; exchange() sends one message and waits for its answer."""
    def __init__(self, client, path):
        self.messages = queue.Queue()
        self.answers = client.channel.stream_stream(path)(iter(self.messages.get, None))

    def exchange(self, text):
        self.messages.put(text.encode())
        return next(self.answers).decode()

    def end(self):
        self.messages.put(None)
        return next(self.answers, None)


# ---- the scenario ----

def methods(client):
    wait(lambda: client.name(f"/{ECHO}/One") == "a", text="the routes")
    for path, metadata, expected in (
            (f"/{ECHO}/One", (), "a"), (f"/{ECHO}/Two", (), "b"), (f"/{ECHO}/Three", (), UNIMPLEMENTED), (f"/{ECHO}x/One", (), UNIMPLEMENTED),
            ("/pkg.Whole/Any", (), "a"), ("/pkg.Whole/Other", (), "a"), ("/pkg.WholeX/Any", (), "c"),
            ("/other.Service/Ping", (), "b"), ("/pkg.Whole/Ping", (), "a"),
            ("/v7.Some/Get7", (), "c"), ("/v7.Some/Get", (), UNIMPLEMENTED),
            ("/none/None", (("version", "two"),), "b"), ("/none/None", (("version", "two"), ("color", "orange")), "c"),
            ("/none/None", (("color", "orange"),), UNIMPLEMENTED)):
        check(client.name(path, metadata) == expected, f"{path} {metadata}: {client.call(path, metadata)}, not {expected}")


def headers(client):
    name, lines, trailers = client.call("/pkg.Headers/Any", (("x-set", "mine"), ("x-add", "mine"), ("x-remove", "mine")))
    check("x-set: new" in lines and "x-set: mine" not in lines, lines)
    check("x-add: mine" in lines and "x-add: added" in lines, lines)
    check(not any(line.startswith("x-remove") for line in lines), lines)
    check(trailers.get("x-trailer") == name, trailers)
    call = client.channel.unary_unary("/pkg.Headers/Any").with_call(b"", timeout=10)[1]
    check(dict(call.initial_metadata()).get("x-response") == "made", call.initial_metadata())


def nobody(client):
    for path, message in (("/pkg.Gone/Any", "cannot be served"), ("/pkg.Empty/Any", "the service"), ("/pkg.Refusing/Any", "the service")):
        check(client.name(path) == UNAVAILABLE, f"{path}: {client.call(path)}")
        check(message in client.message(path), f"{path}: {client.message(path)}")
    check("no route" in client.message("/pkg.None/None"), client.message("/pkg.None/None"))
    answers = [client.name("/pkg.Half/Any") for _ in range(100)]
    check(answers.count(UNAVAILABLE) == 50 and answers.count("a") == 50, answers)
    answers = [client.name("/pkg.HalfEmpty/Any") for _ in range(100)]
    check(answers.count(UNAVAILABLE) == 50 and answers.count("a") == 50, answers)


def shares(client):
    answers = [client.name("/pkg.Shares/Any") for _ in range(1000)]
    check((answers.count("a"), answers.count("b"), answers.count("c")) == (700, 300, 0), [answers.count(n) for n in "abc"])


def beside_http(bed, both):
    """One hostname, both kinds of routes: gRPC's content type decides, then each kind's own matches."""
    wait(lambda: both.name("/any.Service/Any") == "c", text="the GRPCRoute")
    wait(lambda: bed.get("/hello", host="both.sample.com")[0] == 200, text="the HTTPRoute")
    for headers in ({}, {"Content-Type": "application/grpc-web"}):
        status, _, body = bed.request("/any.Service/Any", host="both.sample.com", headers=headers)
        check(status == 404 and "pod has no /any.Service/Any" in body, (headers, status, body))


def mirrored(bed, client):
    """Calls reach the mirror's server byte by byte, long ones and streams only the route's own, and that at once."""
    def copies(path, request):
        return seen.count(("copies", path, True, request))

    for path, n, request in (("/pkg.Mirrored/One", 20, KEPT), ("/pkg.Mirrored/Long", 10, b"x" * 11900), ("/pkg.Mirrored/TooLong", 5, b"y" * 12000),
                             ("/pkg.MirroredShare/One", 500, b""), ("/pkg.MirroredShare/Two", 500, KEPT)):
        for _ in range(n):
            answer = client.channel.unary_unary(path)(request, timeout=10, metadata=(("x-keep-bin", KEPT),))
            check(answer.startswith(b"a\n") and answer.endswith(b"\n" + request), f"{path}: {answer}")
    wait(lambda: copies("/pkg.Mirrored/One", KEPT) == 20 and copies("/pkg.Mirrored/Long", b"x" * 11900) == 10, text="the copies")
    waits = []
    for i in range(10):
        begin, stream = time.monotonic(), Stream(client, f"/pkg.Mirrored/Stream{i}")
        check(stream.exchange("first") == "a first", "a stream that is not mirrored")
        waits.append(time.monotonic() - begin)
        check(stream.exchange("second") == "a second" and stream.end() is None, "a stream that is not mirrored")
    print(f"a stream's first answer beside a mirror: {min(waits) * 1000:.1f} to {max(waits) * 1000:.1f} ms")
    check(min(waits) < 0.2, f"streams wait for a mirror: {waits}")
    time.sleep(0.5)
    copied = [one for one in seen if one[0] == "copies"]
    check(copies("/pkg.Mirrored/One", KEPT) == 20 and not [one for one in copied if one[1].startswith(("/pkg.Mirrored/Stream", "/pkg.Mirrored/TooLong"))],
          f"copied: {[one[1] for one in copied]}")
    code, out = bed.command("explain", "--state-dir", bed.state, f"{HOST}/pkg.MirroredShare/One")
    check(code == 0 and "mirrored to default.copies:80-grpc, 25 of 100" in out, f"explain: {out}")
    # Shares are exact for each of HAProxy's threads.
    for path, request, expected in (("/pkg.MirroredShare/One", b"", 125), ("/pkg.MirroredShare/Two", KEPT, 125)):
        check(abs(copies(path, request) - expected) <= 8, f"{path}: {copies(path, request)} copies, not {expected}")


def streams(bed, client):
    """1,000 changes of the route itself, of its shares, and of its server's neighbours; then the route goes."""
    held = [Stream(client, f"/{ECHO}/Stream{i}") for i in range(4)] + [Stream(Client(bed), f"/{ECHO}/Stream9")]
    for stream in held:
        check(stream.exchange("first") == "a first", "a stream")
    for i in range(1000):
        weight = i % 100
        bed.save("streams.yaml", grpc_route("streams", [
            grpc_rule({"a": 1}, *[method(ECHO, f"Stream{m}") for m in range(10)]),
            grpc_rule({"a": weight, "b": 100 - weight}, method("pkg.Moving", f"M{i % 7}"))]))
        if i % 50 == 0:
            for stream in held:
                check(stream.exchange(str(i)) == f"a {i}", f"a stream after {i} changes")
    wait(lambda: client.name("/pkg.Moving/M5") in ("a", "b") and client.name("/pkg.Moving/M4") == UNIMPLEMENTED, text="the last change")
    bed.save("streams.yaml", grpc_route("streams", [grpc_rule({"b": 1}, method(ECHO, "Stream0"))]))
    wait(lambda: Stream(client, f"/{ECHO}/Stream0").exchange("x") == "b x", text="the new server")
    for stream in held:
        check(stream.exchange("last") == "a last" and stream.end() is None, "a stream whose route is gone")


def scenario(bed):
    servers = {name: server(name) for name in ("a", "b", "c", "copies")}
    made = [s for name, (_, port) in servers.items()
            for s in service(name, [(f"pod-{name}", "127.0.0.1", port)], app_protocol="kubernetes.io/h2c" if name == "c" else None)]
    bed.save("base.yaml", gateway(), *made, *service("empty", []), *service("refusing", [("pod-r", "127.0.0.1", free_port())]),
             *service("web", [("pod-web", "127.0.0.1", bed.app())]))
    modify = [{"type": "RequestHeaderModifier", "requestHeaderModifier": {
                  "set": [{"name": "X-Set", "value": "new"}], "add": [{"name": "X-Add", "value": "added"}], "remove": ["X-Remove"]}},
              {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "X-Response", "value": "made"}]}}]
    bed.save("routes.yaml", grpc_route("methods", [
        grpc_rule({"a": 1}, method(ECHO, "One")), grpc_rule({"b": 1}, method(ECHO, "Two")), grpc_rule({"a": 1}, method("pkg.Whole")),
        grpc_rule({"c": 1}, method("pkg.WholeX", "Any"), {"method": {"type": "RegularExpression", "service": "v[0-9].*", "method": "Get[0-9]"}}),
        grpc_rule({"b": 1}, {"method": {"method": "Ping"}}),
        grpc_rule({"b": 1}, {"headers": [{"name": "version", "value": "two"}]}),
        grpc_rule({"c": 1}, {"headers": [{"name": "Version", "value": "two"}, {"name": "color", "value": "orange"}]}),
    ]), grpc_route("edges", [
        grpc_rule({"a": 1}, method("pkg.Headers"), filters=modify, name="named"),
        grpc_rule({"gone": 1}, method("pkg.Gone")), grpc_rule({"empty": 1}, method("pkg.Empty")), grpc_rule({"refusing": 1}, method("pkg.Refusing")),
        grpc_rule({"a": 1, "gone": 1}, method("pkg.Half")), grpc_rule({"a": 1, "empty": 1}, method("pkg.HalfEmpty")),
        grpc_rule({"a": 70, "b": 30, "c": 0}, method("pkg.Shares")),
        grpc_rule({"a": 1}, method("pkg.Mirrored"), filters=[mirror("copies"), mirror("gone"), mirror("refusing")]),
        grpc_rule({"a": 1}, method("pkg.MirroredShare"), filters=[mirror("copies", percent=25)]),
    ]), grpc_route("both", [grpc_rule({"c": 1})], ["both.sample.com"]), route("both", [rule({"web": 1})], ["both.sample.com"]))
    bed.save("streams.yaml", grpc_route("streams", [grpc_rule({"a": 1}, *[method(ECHO, f"Stream{m}") for m in range(10)])]))
    bed.start()
    client = Client(bed)
    methods(client)
    headers(client)
    nobody(client)
    shares(client)
    mirrored(bed, client)
    check(Client(bed, "elsewhere.org").name(f"/{ECHO}/One") == UNIMPLEMENTED, "another host")
    beside_http(bed, Client(bed, "both.sample.com"))
    streams(bed, client)
    for one, _ in servers.values():
        one.stop(None)


run("grpcroute", scenario)
