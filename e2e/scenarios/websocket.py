"""A WebSocket is upgraded, echoes, and stays open across changes of its own route, weights and endpoints."""
import base64
import hashlib
import os
import pathlib
import socket
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from bed import HOST, Poller, check, free_port, gateway, route, rule, run, service, wait

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_key(key):
    return base64.b64encode(hashlib.sha1(key + GUID).digest())


def exactly(connection, n):
    data = b""
    while len(data) < n:
        part = connection.recv(n - len(data))
        if not part:
            raise ConnectionError("closed")
        data += part
    return data


def read_frame(connection):
    head = exactly(connection, 2)
    size, mask = head[1] & 0x7f, head[1] & 0x80
    check(size < 126, "a longer frame than was sent")
    key = exactly(connection, 4) if mask else bytes(4)
    return bytes(b ^ key[i % 4] for i, b in enumerate(exactly(connection, size)))


def head_of(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        data += exactly(connection, 1)
    return data


def serve_one(connection):
    with connection:
        head = head_of(connection)
        key = next((line.split(b":", 1)[1].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:")), None)
        if key is None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nplain\n")
            return
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
                           + accept_key(key) + b"\r\n\r\n")
        try:
            while True:
                text = read_frame(connection)
                connection.sendall(bytes([0x81, len(text)]) + text)
        except ConnectionError:
            pass


def echo_server(port):
    listening = socket.create_server(("127.0.0.1", port))

    def serve():
        while True:
            threading.Thread(target=serve_one, args=(listening.accept()[0],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()


def open_websocket(port):
    key = base64.b64encode(os.urandom(16))
    connection = socket.create_connection(("127.0.0.1", port), timeout=5)
    connection.sendall(b"GET /chat HTTP/1.1\r\nHost: " + HOST.encode() + b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n")
    head = head_of(connection)
    check(head.startswith(b"HTTP/1.1 101 "), f"no upgrade: {head!r}")
    check(accept_key(key) in head, "a wrong Sec-WebSocket-Accept")
    return connection


def says_back(connection, text):
    mask = os.urandom(4)
    connection.sendall(bytes([0x81, 0x80 | len(text)]) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(text)))
    return read_frame(connection) == text


def websocket(bed):
    port, other = free_port(), bed.app()
    echo_server(port)
    for app_protocol in (None, "kubernetes.io/ws"):
        bed.save("app.yaml", gateway(), *service("chat", [("chat-pod", "127.0.0.1", port)], app_protocol=app_protocol),
                 *service("other", [("other-pod", "127.0.0.1", other)]))
        bed.save("route.yaml", route("chat", [rule({"chat": 1}, path="/chat")]))
        if bed.hatchway is None:
            bed.start()
        wait(lambda: bed.get("/chat")[0] == 200, text="the route")
        sockets = [open_websocket(bed.port) for _ in range(20)]
        poller = Poller(bed.port)
        for n in range(40):
            refs = {"chat": 1, "other": 0} if n % 2 else {"chat": 1}
            bed.save("route.yaml", route("chat", [rule(refs, path="/chat", filters=[
                {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "X-N", "value": str(n)}]}}])]))
            wait(lambda: poller.get(HOST, "/chat")[1].get("x-n") == str(n), 2, text=f"change {n}")
            check(all(says_back(s, f"change {n}".encode()) for s in sockets), f"a WebSocket was lost at change {n}")
        fresh = open_websocket(bed.port)
        check(says_back(fresh, b"fresh"), "a new WebSocket after the changes")
        for s in [*sockets, fresh]:
            s.close()
    check(bed.reloads() == 0, "HAProxy was reloaded")


run("websocket", websocket)
