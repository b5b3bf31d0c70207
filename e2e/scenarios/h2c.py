"""HTTP/2 without TLS: from clients on the same port as HTTP/1.1, and to servers whose Service says kubernetes.io/h2c."""
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from bed import HOST, check, free_port, gateway, route, rule, run, service, wait


def curl(bed, path, *args):
    done = subprocess.run(["curl", "-s", "-m", "10", "-w", "\n%{http_version} %{http_code}", *args, "-H", f"Host: {HOST}",
                           f"http://127.0.0.1:{bed.port}{path}"], stdout=subprocess.PIPE, text=True, timeout=20)
    return done.stdout


def h2c(bed):
    app, h2_port = bed.app(), free_port()
    docroot = bed.dir / "docroot"
    docroot.mkdir()
    (docroot / "hello").write_text("Hello over HTTP/2\n")
    bed.spawn("nghttpd", "--no-tls", "-a", "127.0.0.1", "-d", docroot, h2_port, stdout=subprocess.DEVNULL)
    bed.save("base.yaml", gateway(), *service("app", [("pod-a", "127.0.0.1", app)]),
             *service("h2", [("pod-h2", "127.0.0.1", h2_port)], app_protocol="kubernetes.io/h2c"))
    bed.save("route.yaml", route("app", [rule({"app": 1}), rule({"h2": 1}, path="/hello", headers=[{"name": "x-to", "value": "h2"}])]))
    bed.start()
    wait(lambda: bed.get("/hello")[0] == 200, text="the route")
    for way, version in ((["--http1.1"], "1.1"), (["--http2-prior-knowledge"], "2")):
        out = curl(bed, "/hello", *way)
        check("Hello version: v1" in out and out.endswith(f"{version} 200"), f"{way}: {out!r}")
        out = curl(bed, "/hello", *way, "-H", "x-to: h2")
        check("Hello over HTTP/2" in out and out.endswith(f"{version} 200"), f"{way} to an h2c server: {out!r}")
    out = subprocess.run(["h2load", "-n", "5000", "-c", "4", "-m", "10", "-H", f":authority: {HOST}", f"http://127.0.0.1:{bed.port}/hello"],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60).stdout
    check("5000 succeeded, 0 failed, 0 errored, 0 timeout" in out, out)
    check("status codes: 5000 2xx" in out, out)


run("h2c", h2c)
