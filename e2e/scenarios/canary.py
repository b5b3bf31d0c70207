"""Weights move shares exactly, at once, while requests are running: none is lost, nothing is reloaded."""
import collections
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from bed import HOST, Poller, check, gateway, route, rule, run, service, wait


def shares(bed, n):
    poller = Poller(bed.port)
    counted = collections.Counter(poller.get(HOST, "/hello")[2].split()[2].strip(",") for _ in range(n))
    poller.close()
    return counted


def canary(bed):
    stable = bed.app(ports=3, instance="stable", version="v1")
    fresh = bed.app(instance="fresh", version="v2")
    bed.save("gateway.yaml", gateway())
    bed.save("services.yaml", *service("v1", [(f"stable-{i}", "127.0.0.1", stable + i) for i in range(3)]),
             *service("v2", [("fresh", "127.0.0.1", fresh)]))
    bed.save("route.yaml", route("app", [rule({"v1": 100, "v2": 0})]))
    bed.start()
    wait(lambda: bed.get("/hello")[0] == 200, text="the route")
    client = bed.load([(HOST, "/hello", 200, "Hello version:")], connections=16, rate=3000)
    poller = Poller(bed.port)
    # The last ones move all of it at once: there must be no moment at which nobody has a weight.
    for weight in (0, 1, 10, 33, 50, 90, 99, 100, 50, 10, 0, 100, 0, 100, 0, 100, 0):
        bed.save("route.yaml", route("app", [rule({"v1": 100 - weight, "v2": weight}, filters=[
            {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "X-Weight", "value": str(weight)}]}}])]))
        took = wait(lambda: poller.get(HOST, "/hello")[1].get("x-weight") == str(weight), 1, text=f"weight {weight}")
        # The strict client takes part in the round robin: a share of what is counted here may be one round off.
        got = shares(bed, 1000)
        share = got["v2"]
        print(f"weight {weight}: {share} of 1,000, {took * 1000:.1f} ms after saving")
        check(sum(got.values()) == 1000, f"answers of unknown versions: {got}")
        check(weight not in (0, 100) or share == weight * 10, f"weight {weight} gave {share} of 1,000")
        check(abs(share - weight * 10) <= 45, f"weight {weight} gave {share} of 1,000 beside other traffic")
    result = bed.finish(client)
    print(result)
    check(result["lost"] == 0, "requests were lost")
    check(result["sent"] > 2000, "the client hardly ran")

    # Alone, the shares are exact.
    for weight in (10, 1, 37, 90):
        bed.save("route.yaml", route("app", [rule({"v1": 100 - weight, "v2": weight})]))
        wait(lambda: "x-weight" not in poller.get(HOST, "/hello")[1], 1, text="the filter's end")
        wait(lambda: abs(shares(bed, 1000)["v2"] - weight * 10) <= 2, 1, text=f"{weight} of 100 within 2 of 1,000")
    check(bed.reloads() == 0, "HAProxy was reloaded")


run("canary", canary)
