#!/usr/bin/env python3
"""Includes point one way (README.md, "Rooms"): haproxy/ sees itself and include/, include/ sees itself, controller/ sees
include/ and inside it only rooms of lower rank. The pure rooms know no event loop and no log. Prints every breach."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
RANKS = {"object": 1, "source": 2, "store": 2, "graph": 3, "compile": 4, "status": 4, "infra": 4}
TOP = 9
PURE = ["controller/object/", "controller/store/", "controller/graph/", "controller/compile/", "controller/status/", "controller/infra/",
        "controller/core.", "haproxy/image.", "haproxy/render.", "haproxy/plan.", "haproxy/command."]
IMPURE_HEADERS = ["uv.h", "hatchway/base/log.h"]
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


def room(path):
    parts = path.split("/")
    if parts[0] == "include":
        return "include"
    if parts[0] == "controller" and len(parts) > 2:
        return "controller/" + parts[1]
    return parts[0]


def rank(name):
    if name == "controller":
        return TOP
    return RANKS.get(name.partition("/")[2])


def allowed(source, target):
    if target == "include" or source == target:
        return True
    if not (source.startswith("controller") and target.startswith("controller")):
        return False
    return rank(target) < rank(source)


def is_test(name):
    return "_test." in name or "_fuzz." in name


def breaches(path, text):
    name = str(path)
    here = room(name)
    for quote, header in INCLUDE.findall(text):
        if header in IMPURE_HEADERS and any(name.startswith(p) for p in PURE) and not is_test(name):
            yield f"{name}: a pure room includes {header}"
        if quote == "<":
            continue
        found = next((base / header for base in (ROOT, ROOT / "include", (ROOT / path).parent) if (base / header).is_file()), None)
        if found is None:
            yield f'{name}: "{header}" is not in the repository'
            continue
        there = room(str(found.resolve().relative_to(ROOT)))
        # Tests may make their input with any room of their half: a decoder's cases are written as YAML.
        if is_test(name) and {here.split("/")[0], there.split("/")[0]} == {"controller"}:
            continue
        if not allowed(here, there):
            yield f"{name}: {here}/ must not include {there}/ ({header})"


def main():
    bad, seen = [], 0
    for top in ("include", "haproxy", "controller"):
        for path in sorted((ROOT / top).rglob("*.[ch]")):
            relative = path.relative_to(ROOT)
            if rank(room(str(relative))) is None and str(relative).startswith("controller/"):
                bad.append(f"{relative}: a room without a rank; give it one in e2e/checks/includes.py")
                continue
            seen += 1
            bad += breaches(relative, path.read_text())
    # The check itself must be able to fail.
    assert not allowed("haproxy", "controller/object") and not allowed("controller/object", "controller/store")
    assert not allowed("include", "haproxy") and not allowed("controller", "haproxy") and allowed("controller", "controller/graph")
    assert seen > 5, "no sources found"
    print("\n".join(bad) if bad else f"{seen} files, every include points the right way")
    return bool(bad)


sys.exit(main())
