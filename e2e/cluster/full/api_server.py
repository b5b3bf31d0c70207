"""The API server is killed and comes back while requests run; so is the controller. Nobody notices, and nothing is missed."""
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from kube import NAMESPACE, OWN_CLUSTER, Release, check, get, kubectl, load, main, ok, patch_weights, run, story, versions, wait


def answers_again():
    wait(lambda: "ok" in kubectl("get", "--raw", "/readyz"), 60, "the API server")


def kill_api_server():
    run(f"{OWN_CLUSTER}/in.sh", "-a", "kill", "-USR1", "1")
    wait(lambda: "ok" not in run("kubectl", "get", "--raw", "/readyz", "--request-timeout=1s", check=False), 10, "the API server's end", 0.05)


def restarts(release, container):
    path = ('{range .items[*]}{range .status.initContainerStatuses[?(@.name=="%s")]}{.restartCount} {end}'
            '{range .status.containerStatuses[?(@.name=="%s")]}{.restartCount} {end}{end}' % (container, container))
    return sum(int(n) for n in kubectl("-n", NAMESPACE, "get", "pod", "-l", "app.kubernetes.io/name=hatchway", "-o", f"jsonpath={path}").split())


def kill_container(name):
    """The oldest process of that name in the cluster."""
    run(f"{OWN_CLUSTER}/in.sh", "-a", "pkill", "-9", "-o", "-x", name)


def follows(at, v1):
    patch_weights(v1, 100 - v1)
    wait(lambda: abs(versions(f"http://{at}/hello", 100)["v1"] - v1) <= 3, 30, f"weight {v1}")


def scenario():
    check(OWN_CLUSTER, "this scenario breaks things: it needs a cluster of its own, not KUBECONFIG's")
    with Release(replicas=1) as release:
        at = story("walkthrough-canary")

        with load(at) as result:
            kill_api_server()
            time.sleep(1)
            answers_again()
            follows(at, 30)
        ok(f"the API server killed and back: {result['sent']} requests, 0 lost; a patch after it arrives")

        with load(at) as result:
            kill_container("hatchway")
            wait(lambda: restarts(release, "hatchway") == 1, 60, "the controller's restart")
            follows(at, 60)
        ok(f"the controller killed and back: {result['sent']} requests, 0 lost; a patch after it arrives")

        kill_container("haproxy")
        wait(lambda: restarts(release, "haproxy") == 1, 60, "HAProxy's restart")
        wait(lambda: get(f"http://{at}/hello")[0] == 200, 30, "an answer of the new HAProxy")
        check(abs(versions(f"http://{at}/hello", 100)["v1"] - 60) <= 3, "the new HAProxy does not have the last state")
        follows(at, 80)
        ok("HAProxy killed and back, with the last state, and follows again")


main(scenario)
