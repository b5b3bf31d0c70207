"""A thousand HTTPRoutes made in parallel, all of them served, and deleted again: few writes to the Gateway, no reload, and the
memory of none of it."""
import concurrent.futures
import json
import os
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from kube import BUILD, Release, check, kubectl, main, ok, run, story, wait

N = int(os.environ.get("ROUTES", 1000))
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: route-{i}, namespace: sample, labels: {{many: "true"}}}}
spec:
  parentRefs: [{{name: sample-gateway, namespace: sample-ingress}}]
  hostnames: [route-{i}.sample.com]
  rules: [{{matches: [{{path: {{type: Exact, value: /hello}}}}], backendRefs: [{{name: helloworld, port: 5000}}]}}]
"""


def gateway():
    return json.loads(kubectl("-n", "sample-ingress", "get", "gateway", "sample-gateway", "-o", "json"))


def attached():
    return gateway()["status"]["listeners"][0]["attachedRoutes"]


def create(numbers):
    kubectl("create", "-f", "-", text="---".join(ROUTE.format(i=i) for i in numbers))


def ask_all(at, status):
    """Every one of them once, by the strict client."""
    with tempfile.NamedTemporaryFile("w", prefix="hatchway-targets-") as targets:
        targets.writelines(f"route-{i}.sample.com /hello {status} {'Hello version:' if status == 200 else 'no route'}\n" for i in range(N))
        targets.flush()
        return json.loads(run(BUILD / "e2e/load", "--to", f"{at}:80", "--targets", targets.name, "--once"))


def served(at, status):
    result = ask_all(at, status)
    return result["lost"] == 0 and result["ok"] == N


def accepted():
    routes = json.loads(kubectl("-n", "sample", "get", "httproute", "-l", "many=true", "-o", "json"))["items"]
    done = [r for r in routes if any(c["type"] == "Accepted" and c["status"] == "True"
                                     for p in r.get("status", {}).get("parents", []) for c in p["conditions"])]
    return len(done) == N


def scenario():
    with Release(replicas=2) as release:
        at = story()
        before = release.reloads()
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            list(pool.map(create, (range(i, N, 10) for i in range(10))))
        ok(f"{N} HTTPRoutes created")
        wait(lambda: served(at, 200), 30, "an answer from every route", 0.5)
        ok("every one of them answers")
        wait(accepted, 60, "Accepted in every route's status", 0.5)
        wait(lambda: attached() == N + 1, 10, f"attachedRoutes {N + 1}")
        ok("every one has its status, the Gateway counts them")
        kubectl("-n", "sample", "delete", "httproute", "-l", "many=true", "--wait=false")
        wait(lambda: served(at, 404), 60, "404 for every route", 0.5)
        wait(lambda: attached() == 1, 10, "attachedRoutes 1")
        check(release.reloads() == before, f"HAProxy was reloaded: {before}, now {release.reloads()}")
        for pod in release.pods():
            left = release.socket(pod, "show map maps/host.map")
            check("route-" not in left, f"what is left in HAProxy:\n{left[:1000]}")
        ok("all deleted: nothing is left in HAProxy, and it was not reloaded")


main(scenario)
