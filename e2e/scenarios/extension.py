"""HatchwayFilters on the real HAProxy: lists of addresses edited under load, a filter that is deleted or turns invalid, and one that comes
back. Nothing of it is a reload, and a rule whose filter is of no use lets nobody in."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from bed import check, gateway, route, rule, run, service, wait

REF = {"type": "ExtensionRef", "extensionRef": {"group": "hatchway.dev", "kind": "HatchwayFilter", "name": "f"}}


def own_filter(**addresses):
    return {"apiVersion": "hatchway.dev/v1alpha1", "kind": "HatchwayFilter", "metadata": {"name": "f"}, "spec": {"addresses": addresses}}


def said(bed, name):
    return "\n".join(p.read_text() for p in bed.status.rglob("*") if p.is_file() and name in p.name)


def extension(bed):
    app = bed.app(version="one")
    closed = rule({"web": 1})
    closed["filters"] = [REF]
    bed.save("app.yaml", *service("web", [("pod", "127.0.0.1", app)]))
    bed.save("g.yaml", gateway())
    bed.save("open.yaml", route("open", [rule({"web": 1})], hostnames=("open.sample.com",)))
    bed.save("closed.yaml", route("closed", [closed], hostnames=("closed.sample.com",)))
    bed.save("f.yaml", own_filter(allow=["127.0.0.0/8"]))
    bed.start()
    answers = lambda host, code: (lambda: bed.get("/hello", port=bed.ports[80], host=host)[0] == code)
    wait(answers("closed.sample.com", 200), text="a client that is let in")
    client = bed.load([("open.sample.com", "/hello", 200, "version: one")], connections=8, rate=2000)
    reloads = bed.reloads()

    for addresses, code in (({"allow": ["127.0.0.0/8"], "deny": ["127.0.0.1/32"]}, 403), ({"deny": ["10.0.0.0/8", "::/0"]}, 200),
                            ({"allow": ["::/0"]}, 403), ({"allow": ["0.0.0.0/0"]}, 200)):
        bed.save("f.yaml", own_filter(**addresses))
        wait(answers("closed.sample.com", code), 3, text=f"{addresses}: {code}")
        wait(lambda: "reason: Accepted" in said(bed, "f"), 3, text="the filter's condition")

    # Pattern and all are right, and yet it is no network: nobody is let in, and the object says so.
    bed.save("f.yaml", own_filter(allow=["127.0.0.0/99"]))
    wait(answers("closed.sample.com", 500), 3, text="an invalid filter")
    wait(lambda: "spec.addresses.allow[0]" in said(bed, "closed") and "InvalidFilter" in said(bed, "closed"), 3, text="its condition")
    bed.save("f.yaml", own_filter(deny=["10.0.0.0/8"]))
    wait(answers("closed.sample.com", 200), 3, text="a filter that is valid again")

    # A manifest that the API server would refuse keeps its last good content.
    for addresses in ({}, {"deny": []}, {"allow": ["127.0.0.1/8 "]}, {"deny": ["a\nb/1"]}, {"allow": ["127.0.0.0/8", "127.0.0.0/8"]},
                      {"deny": ["10.0.0.0/8"], "alow": ["::/0"]}):
        bed.save("f.yaml", own_filter(**addresses))
        bed.save("mark.yaml", route("mark", [rule({"web": 1})], hostnames=(f"m{abs(hash(str(addresses)))}.sample.com",)))
        wait(answers(f"m{abs(hash(str(addresses)))}.sample.com", 200), 3, text="what was saved behind it")
        check(answers("closed.sample.com", 200)(), f"{addresses} was taken")

    bed.remove("f.yaml")
    wait(answers("closed.sample.com", 500), 3, text="a filter that is gone")
    wait(lambda: "BackendNotFound" in said(bed, "closed"), 3, text="its route's condition")
    bed.save("f.yaml", own_filter(deny=["127.0.0.0/8"]))
    wait(answers("closed.sample.com", 403), 3, text="a filter that is there again")
    check(bed.reloads() == reloads, "a filter was a reload")
    result = bed.finish(client)
    print(result)
    check(result["lost"] == 0, "requests were lost")


run("extension", extension, ports=(80,))
