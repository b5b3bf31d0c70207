"""The Gateway API's own conformance suite, profiles GATEWAY-HTTP and GATEWAY-GRPC, whole, with the features that GatewayClass hatchway
itself claims; on a cluster that e2e/run.sh has brought up. The CRDs are those of the experimental channel: with the standard
ones some features have no fields, and must not be claimed. The official report: e2e/conformance/report.yaml."""
import json
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))
from kube import ROOT, Release, check, kubectl, main, ok, wait

EXPERIMENTAL = {"HTTPRouteRetry", "HTTPRouteRetryBackendTimeout", "HTTPRouteRetryConnectionError"}  # fields of that channel only
REPORT = pathlib.Path(__file__).with_name("report.yaml")


def version():
    return re.search(r"project\(hatchway VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())[1]


def claimed():
    """The features in the GatewayClass' status, once it is accepted."""
    def features():
        status = json.loads(kubectl("get", "gatewayclass", "hatchway", "-o", "json")).get("status", {})
        accepted = any(c["type"] == "Accepted" and c["status"] == "True" for c in status.get("conditions", []))
        return accepted and {f["name"] for f in status.get("supportedFeatures", [])}
    return wait(features, 20, "GatewayClass hatchway accepted, with features")


def suite(only):
    """(passed, failed, exit code)"""
    command = ["conformance.test", "-test.run=TestConformance", "-test.v", "-test.timeout=40m", "-gateway-class=hatchway",
               "-conformance-profiles=GATEWAY-HTTP,GATEWAY-GRPC", "-organization=hatchway", "-project=hatchway",
               "-url=https://hatchway.dev", f"-version=v{version()}", "-contact=https://hatchway.dev",
               "-usable-address=192.168.10.200", "-unusable-address=192.0.2.1", *([f"-run-test={only[0]}"] if only else
                                                                                [f"-report-output={REPORT}"])]
    passed, failed = [], []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
                          errors="replace") as run:
        for line in run.stdout:
            print(line, end="", flush=True)
            if found := re.match(r"    --- (PASS|FAIL): TestConformance/(\S+)", line):
                (passed if found[1] == "PASS" else failed).append(found[2])
    return passed, failed, run.returncode


def scenario():
    only = sys.argv[1:]
    with Release("v1.6.3", namespaces=(), replicas=1):
        check(not claimed() & EXPERIMENTAL, "with CRDs of the standard channel a feature of the experimental one is claimed")
    with Release("v1.6.3-experimental", namespaces=(), replicas=1) as release:
        check(claimed() > EXPERIMENTAL, "with CRDs of the experimental channel its features are not claimed")
        before = sum(release.reloads().values())
        passed, failed, code = suite(only)
        reloads = sum(release.reloads().values()) - before
    print(f"passed ({len(passed)}): {' '.join(sorted(passed))}\nfailed ({len(failed)}): {' '.join(sorted(failed))}")
    if not only:
        REPORT.write_text(f"# Reloads of HAProxy while the suite ran: {reloads}\n{REPORT.read_text()}")
        REPORT.chmod(0o644)
    check(passed and not failed and code == 0, f"the suite: {len(failed)} tests failed, exit code {code}")
    check(reloads == 0, f"HAProxy was reloaded {reloads} times")
    ok(f"{len(passed)} conformance tests, 0 reloads of HAProxy")


main(scenario)
