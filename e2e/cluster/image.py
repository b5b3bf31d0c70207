#!/usr/bin/env python3
"""image.py OUT.tar ITEM...: a docker-archive of one-layer images, made without a container daemon. Same input, same bytes.

ITEM is one of the project's own images, made from build/ (the names that the chart and the walk-through's manifests use):
  hatchway     the controller: the program, its shared libraries, CA certificates, passwd; and socat, to look at HAProxy's
               sockets from inside the Pod. No shell, nothing else
  haproxy      HAProxy as build/haproxy has it, laid out as the official image is
  helloworld   the application of the walk-through, in two versions
or NAME[,NAME...]=PROGRAM: a program with its shared libraries, run as user 65534.

image.py --root DIR hatchway: the files of the image into a folder (Containerfile)."""
import hashlib
import io
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HATCHWAY_BUILD", ROOT / "build"))
EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH", 0))
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
PASSWD = "root:x:0:0:root:/:/sbin/nologin\nhaproxy:x:99:99:haproxy:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n"
GROUP = "root:x:0:\nhaproxy:x:99:\nnogroup:x:65534:\n"


class Files:
    """What an image holds: path → (mode, bytes) or (None, where the link points)."""

    def __init__(self):
        self.entries = {"etc/passwd": (0o644, PASSWD.encode()), "etc/group": (0o644, GROUP.encode())}

    def add(self, path, data, mode=0o644):
        self.entries[path.lstrip("/")] = (mode, data)

    def link(self, path, target):
        self.entries[path.lstrip("/")] = (None, target)

    def program(self, path, source):
        """The program without its symbols, with the libraries the loader would take."""
        with tempfile.TemporaryDirectory() as folder:
            stripped = folder + "/program"
            subprocess.run(["strip", "-o", stripped, str(source)], check=True)
            self.add(path, pathlib.Path(stripped).read_bytes(), 0o755)
        # A static program has none: ldd says so, with an exit code.
        listed = subprocess.run(["ldd", str(source)], capture_output=True, text=True).stdout
        libraries = re.findall(r"^\t(?:\S+ => )?(/\S+) \(0x", listed, re.M)
        if "not found" in listed:
            raise SystemExit(f"image.py: {source} lacks a library:\n{listed}")
        home = next((os.path.dirname(name) for name in libraries if "/libc.so" in name), None)
        for name in libraries:
            # One folder that the loader searches by itself; the loader alone has its place in the program.
            place = name if "/ld-linux" in name else f"{home}/{os.path.basename(name)}"
            self.add(place, pathlib.Path(name).read_bytes(), 0o755)

    def tree(self, folder):
        for path in sorted(folder.rglob("*")):
            place = str(path.relative_to(folder))
            if path.is_symlink():
                self.link(place, os.readlink(path))
            elif path.is_file():
                self.add(place, path.read_bytes(), path.stat().st_mode & 0o755)

    def layer(self):
        folders = {"tmp": 0o1777}
        for path in self.entries:
            folders.update({str(p): 0o755 for p in pathlib.PurePath(path).parents if str(p) != "."})
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for path, mode in sorted(folders.items()):
                info = tarfile.TarInfo(path)
                info.type, info.mode, info.mtime = tarfile.DIRTYPE, mode, EPOCH
                tar.addfile(info)
            for path, (mode, content) in sorted(self.entries.items()):
                info = tarfile.TarInfo(path)
                info.mtime = EPOCH
                if mode is None:
                    info.type, info.linkname = tarfile.SYMTYPE, content
                    tar.addfile(info)
                else:
                    info.mode, info.size = mode, len(content)
                    tar.addfile(info, io.BytesIO(content))
        return buffer.getvalue()

    def unpack(self, folder):
        with tarfile.open(fileobj=io.BytesIO(self.layer())) as tar:
            tar.extractall(folder)


def hatchway():
    files = Files()
    files.program("/usr/bin/hatchway", BUILD / "hatchway")
    files.program("/usr/bin/socat", shutil.which("socat"))
    certificates = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.exists():
        files.add(str(certificates), certificates.read_bytes())
    return files


def haproxy():
    files = Files()
    unpacked = BUILD / "haproxy/root"
    if unpacked.exists():  # Debian's, unpacked by e2e/tools/haproxy.sh with libraries of its own
        files.tree(unpacked)
        # What the system's packages would have made; the loader's name is in the program.
        files.link("lib", "usr/lib")
        files.link("lib64", "usr/lib64")
        files.link("usr/local/sbin/haproxy", "../../sbin/haproxy")
    else:
        files.program("/usr/local/sbin/haproxy", (BUILD / "haproxy/haproxy").resolve())
    return files


def helloworld():
    files = Files()
    files.program("/usr/bin/helloworld", BUILD / "e2e/helloworld")
    return files


def image(names, files, entrypoint=None, command=None, user="65534:65534", **more):
    return names, files.layer(), {"User": user, "Entrypoint": entrypoint, "Cmd": command, **more,
                                  "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}


def version():
    return re.search(r"project\(hatchway VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())[1]


def images(item):
    if item == "hatchway":
        return [image([f"docker.io/library/hatchway:{version()}"], hatchway(), ["/usr/bin/hatchway"], user="99:99")]
    if item == "haproxy":  # the official image's user, stop signal and command
        return [image(["docker.io/library/haproxy:3.4"], haproxy(), command=["haproxy", "-f", "/usr/local/etc/haproxy/haproxy.cfg"],
                      user="99:99", StopSignal="SIGUSR1", WorkingDir="/var/lib/haproxy")]
    if item == "helloworld":
        files = helloworld()
        return [image([f"docker.io/istio/examples-helloworld-{v}:1.0"], files,
                      ["/usr/bin/helloworld", "--address", "0.0.0.0", "--port", "5000", "--version", v]) for v in ("v1", "v2")]
    names, found, program = item.partition("=")
    if not found:
        raise SystemExit(f"image.py: {item}: no such image\n{__doc__}")
    files, path = Files(), "/" + os.path.basename(program)
    files.program(path, program)
    return [image(names.split(","), files, [path], user="")]


def write(path, items):
    def add(out, name, data):
        info = tarfile.TarInfo(name)
        info.size, info.mtime = len(data), EPOCH
        out.addfile(info, io.BytesIO(data))

    manifest, written = [], set()
    fresh = f"{path}.new"
    with tarfile.open(fresh, "w") as out:
        for names, layer, config in (made for item in items for made in images(item)):
            digest = hashlib.sha256(layer).hexdigest()
            about = json.dumps({"architecture": ARCHITECTURE, "os": "linux", "created": time.strftime("%FT%TZ", time.gmtime(EPOCH)),
                                "config": {k: v for k, v in config.items() if v},
                                "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest]}}).encode()
            name = hashlib.sha256(about).hexdigest() + ".json"
            for file, data in ((name, about), (digest + ".tar", layer)):
                if file not in written:
                    add(out, file, data)
                    written.add(file)
            manifest.append({"Config": name, "RepoTags": names, "Layers": [digest + ".tar"]})
        add(out, "manifest.json", json.dumps(manifest).encode())
    os.replace(fresh, path)


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "--root" and sys.argv[3] == "hatchway":
        hatchway().unpack(sys.argv[2])
    elif len(sys.argv) > 2 and not sys.argv[1].startswith("-"):
        write(sys.argv[1], sys.argv[2:])
    else:
        raise SystemExit(__doc__)


main()
