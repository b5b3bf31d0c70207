"""However a file comes to be saved, moved or deleted, the route follows; a file half written never shows."""
import os
import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from bed import HOST, Poller, documents, gateway, route, rule, run, service, wait


def generation(n):
    return documents(route("app", [rule({"app": 1}, filters=[
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "X-Generation", "value": str(n)}]}}])]))


def in_place(path, text):
    path.write_text(text)


def in_two_parts(path, text):
    with open(path, "w") as out:
        out.write(text[:len(text) // 2])
        out.flush()
        os.fsync(out.fileno())
        out.write(text[len(text) // 2:])


def renamed_over(path, text):
    fresh = path.with_name(path.name + ".tmp123")
    fresh.write_text(text)
    os.rename(fresh, path)


def from_outside(path, text):
    fresh = path.parent.parent / "fresh.yaml"
    fresh.write_text(text)
    os.rename(fresh, path)


def as_vim(path, text):
    probe = path.with_name("4913")
    probe.write_text("")
    probe.unlink()
    backup = path.with_name(path.name + "~")
    os.rename(path, backup)
    path.write_text(text)
    backup.unlink()


def as_vim_with_swap(path, text):
    swap = path.with_name(f".{path.name}.swp")
    swap.write_bytes(b"b0VIM 9.0" + bytes(4000))
    in_place(path, text)
    swap.unlink()


def as_emacs(path, text):
    backup = path.with_name(path.name + "~")
    shutil.copy(path, backup)
    lock = path.with_name(f".#{path.name}")
    os.symlink("someone@somewhere.1:2", lock)
    in_place(path, text)
    lock.unlink()


def deleted_and_made_anew(path, text):
    path.unlink()
    path.write_text(text)


def truncated_first(path, text):
    path.write_text("")
    path.write_text(text)


def hard_linked(path, text):
    fresh = path.with_name(path.name + ".link")
    fresh.write_text(text)
    path.unlink()
    os.link(fresh, path)
    fresh.unlink()


def saves(bed):
    app = bed.app()
    path = bed.manifests / "route.yaml"
    bed.save("base.yaml", gateway(), *service("app", [("pod-a", "127.0.0.1", app)]))
    path.write_text(generation(0))
    bed.start()
    poller = Poller(bed.port)
    shown = lambda: poller.get(HOST, "/hello")[1].get("x-generation")
    wait(lambda: shown() == "0", text="the first generation")
    n = 0
    for way in (in_place, in_two_parts, renamed_over, from_outside, as_vim, as_vim_with_swap, as_emacs, deleted_and_made_anew,
                truncated_first, hard_linked) * 3:
        n += 1
        way(path, generation(n))
        took = wait(lambda: shown() == str(n), 2, text=way.__name__)
        print(f"{way.__name__}: {took * 1000:.1f} ms")

    # Deleted: gone. Moved into a folder made later, folder below folder: back. The folder removed: gone again.
    os.rename(path, bed.dir / "aside.yaml")
    wait(lambda: poller.get(HOST, "/hello")[0] == 404, 2, text="the end of a deleted file's route")
    below = bed.manifests / "team" / "blue"
    below.mkdir(parents=True)
    os.rename(bed.dir / "aside.yaml", below / "route.yaml")
    wait(lambda: poller.get(HOST, "/hello")[0] == 200, 2, text="a file in a new folder")
    (below / "route.yaml").write_text(generation("below"))
    wait(lambda: shown() == "below", 2, text="a save in a new folder")
    os.rename(bed.manifests / "team", bed.dir / "team")
    wait(lambda: poller.get(HOST, "/hello")[0] == 404, 2, text="the end of a folder moved away")
    os.rename(bed.dir / "team", bed.manifests / "team2")
    wait(lambda: shown() == "below", 2, text="a folder moved in")
    shutil.rmtree(bed.manifests / "team2")
    wait(lambda: poller.get(HOST, "/hello")[0] == 404, 2, text="the end of a removed folder")


run("saves", saves)
