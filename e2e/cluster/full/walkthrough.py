"""The walk-through on a real Kubernetes, as its user types it: first on the Gateway API's CRDs of v1.1.0, then, with everything
running, on the newest."""
import json
import pathlib
import re
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from kube import (HOST, NAMESPACE, ROOT, Release, address, apply, application, check, crds, get, kubectl, load, main, ok, patch_weights,
                  versions, wait)

STORY = ROOT / "e2e/walkthrough"


def gateway():
    apply(STORY / "gateway.yaml")
    at = address()
    service = json.loads(kubectl("-n", "sample-ingress", "get", "service", "sample-gateway-hatchway", "-o", "json"))
    check(service["spec"]["type"] == "LoadBalancer", service["spec"]["type"])
    check(service["status"]["loadBalancer"]["ingress"][0]["ip"] == at, f"the Gateway's address {at} is not its Service's")
    row = kubectl("-n", "sample-ingress", "get", "gateway", "sample-gateway", "--no-headers").split()
    check(row[:4] == ["sample-gateway", "hatchway", at, "True"], f"kubectl get gateway says {row}")
    ok(f"the Gateway has Service sample-gateway-hatchway, address {at}, PROGRAMMED True")
    return at


def ten_curls(at):
    wait(lambda: get(f"http://{at}/hello")[0] == 200, 10, "the route's first answer")
    got = versions(f"http://{at}/hello", 10)
    check(got == {"v1": 5, "v2": 5}, f"ten requests: {got}")
    ok("both versions answer, five times each")
    for path, host in (("/hello/", HOST), ("/hellox", HOST), ("/", HOST), ("/hello", "other.sample.com"), ("/hello", "other.example.com")):
        status, body = get(f"http://{at}{path}", host)
        check(status == 404, f"{host}{path}: {status} {body}")
    ok("/hello/, /hellox and other hosts: 404")


def port_forward(release):
    port = kubectl("-n", "sample-ingress", "get", "service", "sample-gateway-hatchway", "-o", "jsonpath={.spec.ports[0].targetPort}")
    forward = subprocess.Popen(["kubectl", "-n", NAMESPACE, "port-forward", "deployment/hatchway", f"8080:{port}"],
                               stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        wait(lambda: get("http://127.0.0.1:8080/hello")[0] == 200, 10, "an answer through kubectl port-forward")
        got = versions("http://127.0.0.1:8080/hello", 10)
        check(sum(got.values()) == 10, f"through kubectl port-forward: {got}")
    finally:
        forward.kill()
        forward.wait()
    ok("kubectl port-forward")


def shares(at, v1):
    got = versions(f"http://{at}/hello", 1000)
    check(sum(got.values()) == 1000 and abs(got["v1"] - 10 * v1) <= 2, f"of 1,000 requests with weight {v1}: {got}")
    ok(f"of 1,000 requests {got['v1']} and {got['v2']}")


def canary(at, release):
    apply(ROOT / "e2e/walkthrough-canary/route.yaml")
    url = f"http://{at}/hello"
    wait(lambda: versions(url, 100)["v2"] <= 11, 10, "the canary")
    shares(at, 90)
    reloads = release.reloads()
    with load(at) as result:
        for v1 in (50, 10, 0, 100, 75):
            patch_weights(v1, 100 - v1)
            wait(lambda: abs(versions(url, 200)["v1"] - 2 * v1) <= 8, 5, f"weight {v1}")
    check(release.reloads() == reloads, f"HAProxy was reloaded: {reloads}, now {release.reloads()}")
    ok(f"weights patched under load: {result['sent']} requests, 0 lost, 0 reloads")
    shares(at, 75)


def readme_commands():
    """What the README has its reader type on HAProxy's socket, right after the canary."""
    found = re.findall(r"^echo '([^']+)' \| kubectl .*haproxy\.sock$", (ROOT / "README.md").read_text(), re.M)
    check(found, "the README has no command for HAProxy's socket in a cluster")
    return found


def operators_eyes(release):
    pods = kubectl("-n", "sample", "get", "pod", "-o", "name").replace("pod/", "").split()
    pod = release.pods()[0]
    stat = release.socket(pod, "show stat")
    for name in pods:
        check(re.search(rf"^sample[./]\S*,{name},", stat, re.M), f"show stat has no server {name}:\n{stat}")
    for command in readme_commands():
        said = release.socket(pod, command)
        check(all(name in said for name in pods), f"{command} does not name the Pods:\n{said}")
    kubectl("apply", "-f", STORY / "route.yaml")
    wait(lambda: all(name in release.socket(pod, "show servers state sample.helloworld:5000") for name in pods), 5,
         "the Pods' names in show servers state sample.helloworld:5000")
    maps = release.socket(pod, "show map maps/path.map")
    check("/hello/#" in maps and "sample.helloworld:5000" in maps, f"show map maps/path.map:\n{maps}")
    check("Version: 3.4" in release.socket(pod, "show info"), "show info")
    ok("show stat, show servers state, show map, show info read like the objects")
    explained = release.hatchway(pod, "explain", f"{HOST}/hello")
    for word in ("sample-gateway", "sample/helloworld", "sample.helloworld:5000"):
        check(word in explained, f"hatchway explain has no {word}:\n{explained}")
    ok("hatchway explain names listener, route and backends")
    status = release.hatchway(pod, "status")
    check("sample-gateway" in status and "helloworld" in status, f"hatchway status:\n{status}")
    ok("hatchway status")


def story(release):
    application()
    at = gateway()
    apply(STORY / "route.yaml")
    ten_curls(at)
    port_forward(release)
    canary(at, release)
    operators_eyes(release)
    return at


def newest_crds(release, at):
    """As an administrator does it: the new CRDs over the old ones, with everything running."""
    with load(at) as result:
        crds("v1.6.3")
        release.crds_version = "v1.6.3"
        time.sleep(3)
        apply(STORY / "gateway.yaml", STORY / "route.yaml")
        check(address() == at, "the Gateway's address changed")
    ok(f"CRDs of v1.6.3 over those of v1.1.0: {result['sent']} requests, 0 lost")
    ten_curls(at)
    canary(at, release)


def goes_away(at):
    kubectl("-n", "sample-ingress", "delete", "gateway", "sample-gateway")
    # Kubernetes' garbage collector looks for new kinds, as Gateways are here, every half minute.
    wait(lambda: not kubectl("-n", "sample-ingress", "get", "service,endpointslice", "-o", "name").split(), 90,
         "the end of the Gateway's Service and EndpointSlice")
    wait(lambda: get(f"http://{at}/hello")[0] == 0, 10, "silence at the address")
    ok("a deleted Gateway takes its Service and its address with it")


def scenario():
    # One Pod: its round robin is the one that is counted.
    with Release("v1.1.0", replicas=1) as release:
        row = kubectl("get", "pod", "-n", NAMESPACE, "--no-headers").split()
        check(row[1] == "2/2", f"the Pod: {row}")
        wait(lambda: "True" in kubectl("get", "gatewayclass", "hatchway", "--no-headers"), 10, "GatewayClass hatchway accepted")
        ok("helm install: one Pod, two containers; GatewayClass hatchway")
        at = story(release)
        newest_crds(release, at)
        goes_away(at)


main(scenario)
