"""Two Pods of hatchway under load: the application restarts, grows to ten Pods and shrinks, then hatchway itself restarts. Not a
request is lost, and every Pod of the application gets its share."""
import json
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from kube import NAMESPACE, Release, check, kubectl, load, main, ok, run, story, wait

HOST_HEADER = "Host: helloworld.sample.com"


def instances(at):
    out = run("curl", "-s", "--noproxy", "*", "-m", "60", "-H", HOST_HEADER, f"http://{at}/hello?[1-200]")
    return set(re.findall(r"instance: (\S+)", out))


def running(namespace="sample"):
    listed = json.loads(kubectl("-n", namespace, "get", "pod", "-o", "json"))["items"]
    return {p["metadata"]["name"] for p in listed if "deletionTimestamp" not in p["metadata"]}


def answers_come_from_all(at):
    wait(lambda: instances(at) == running(), 20, "answers from every Pod, and from no other", 0.5)


def restart(namespace, *deployments):
    kubectl("-n", namespace, "rollout", "restart", *(f"deployment/{d}" for d in deployments))
    for deployment in deployments:
        kubectl("-n", namespace, "rollout", "status", f"deployment/{deployment}", "--timeout=180s", timeout=200)


def gone(namespace, pods):
    """Terminating Pods still have connections: the load goes on until they are gone."""
    wait(lambda: not any(p in kubectl("-n", namespace, "get", "pod", "-o", "name") for p in pods), 120, f"the end of {pods}", 0.5)


def scale(at, n):
    kubectl("-n", "sample", "scale", "deployment/helloworld-v1", f"--replicas={n}")
    kubectl("-n", "sample", "rollout", "status", "deployment/helloworld-v1", "--timeout=60s")
    wait(lambda: len(running()) == n + 1, 30, f"{n} Pods")
    answers_come_from_all(at)


def scenario():
    with Release(replicas=2) as release:
        at = story()
        before = release.reloads()

        with load(at) as kept, load(at, close=True, rate=100) as fresh:
            old = running()
            restart("sample", "helloworld-v1", "helloworld-v2")
            gone("sample", old)
            answers_come_from_all(at)
        ok(f"the application restarted: {kept['sent'] + fresh['sent']} requests, 0 lost")

        with load(at) as kept, load(at, close=True, rate=100) as fresh:
            scale(at, 10)
            scale(at, 1)
        ok(f"the application from 1 to 10 Pods and back: {kept['sent'] + fresh['sent']} requests, 0 lost")
        check(release.reloads() == before, f"HAProxy was reloaded: {before}, now {release.reloads()}")

        with load(at) as kept, load(at, close=True, rate=100) as fresh:
            old = set(release.pods())
            restart(NAMESPACE, "hatchway")
            gone(NAMESPACE, old)
            answers_come_from_all(at)
        check(not old & set(release.pods()), "hatchway's Pods are the old ones")
        ok(f"hatchway restarted, Pod by Pod: {kept['sent'] + fresh['sent']} requests, 0 lost")


main(scenario)
