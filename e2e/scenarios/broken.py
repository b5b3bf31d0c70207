"""A broken file keeps its last good content and is named with its line; one bad object never blocks another."""
import pathlib
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from bed import HOST, check, documents, gateway, route, rule, run, service, wait


def broken(bed):
    app = bed.app()
    good = documents(route("app", [rule({"app": 1})]))
    bed.save("base.yaml", gateway(), *service("app", [("pod-a", "127.0.0.1", app)]))
    bed.save("route.yaml", text=good)
    bed.start()
    wait(lambda: bed.get("/hello")[0] == 200, text="the route")
    bad_line = good.count("\n") + 1
    for text in (good + "]: broken\n", good + "\tx: [1\n", good + "a: *nowhere\n", good.replace('"port": 80', '"port": 8000000'),
                 good.replace('"name": "app"', '"name": "App!"'), good.replace("PathPrefix", "Prefix"), "\0" * 100, "a: " + "[" * 5000):
        bed.save("route.yaml", text=text)
        time.sleep(0.1)
        check(bed.get("/hello")[0] == 200, f"a broken file took its route away: {text[-60:]!r}")
        code, out = bed.command("check", bed.manifests)
        check(code != 0, f"check found nothing wrong with {text[-60:]!r}")
        check("route.yaml" in out, f"check does not name the file: {out}")
        code, out = bed.command("explain", "--state-dir", bed.state, f"{HOST}/hello")
        check(code == 0 and "Not read" in out and "route.yaml" in out, f"explain does not name the file: {out}")
        if text.endswith("]: broken\n"):
            check(re.search(rf"route\.yaml:{bad_line}\b", out), f"check does not name line {bad_line}: {out}")
            check(re.search(rf"route\.yaml.*\b{bad_line}\b", bed.log.read_text()), f"the log does not name line {bad_line}")
    bed.save("other.yaml", route("other", [rule({"app": 1})], hostnames=["other.sample.com"]))
    wait(lambda: bed.get("/hello", host="other.sample.com")[0] == 200, 1, text="a good file beside a broken one")
    bed.save("route.yaml", text=good.replace('"/"', '"/hell"'))
    wait(lambda: bed.get("/hello")[0] == 404, 1, text="the mended file")
    code, out = bed.command("check", bed.manifests)
    check(code == 0, f"check still complains: {out}")
    bed.save("slice.yaml", *[o for o in service("nobody", [("pod-z", "127.0.0.1", app)]) if o["kind"] == "EndpointSlice"])
    code, out = bed.command("check", bed.manifests)
    check(code == 0 and "Service default/nobody not found" in out and out.endswith("0 problems, 1 remark\n"), f"a slice without Service: {out}")
    check(bed.hatchway.poll() is None, "hatchway ended")


run("broken", broken)
