"""A killed controller remembers: the last good content of a file that is broken by then, and who was first at a port."""
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from bed import check, documents, gateway, route, rule, run, service, wait


def restart(bed):
    app = bed.app()
    bed.save("base.yaml", gateway("main"), *service("app", [("pod-a", "127.0.0.1", app)]))
    good = documents(route("app", [rule({"app": 1})], parents=[{"name": "main"}]))
    bed.save("route.yaml", text=good)
    bed.start()
    wait(lambda: bed.get("/hello")[0] == 200, text="the route")
    wait(lambda: len(list(pathlib.Path(bed.state, "manifests").glob("*.copy"))) == 2, text="the copies")
    bed.save("route.yaml", text=good + "]: broken\n")
    kill(bed)
    check(bed.get("/hello")[0] == 200, "a file that was broken at the start took its route away")
    check("of an earlier run, stays" in bed.log.read_text(), "the log does not tell what holds")

    bed.save("a.yaml", gateway("a"))
    time.sleep(0.5)
    check(bed.get("/hello")[0] == 200, "a new Gateway with a smaller name took the port")
    kill(bed)
    check(bed.get("/hello")[0] == 200, "a new Gateway with a smaller name took the port at a restart")


def kill(bed):
    time.sleep(0.2)
    bed.end(signal.SIGKILL)
    bed.start()
    wait(lambda: "applied 1" in bed.command("counters", "--state-dir", bed.state)[1], text="the takeover")
    time.sleep(1)


run("restart", restart)
