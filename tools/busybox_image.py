#!/usr/bin/env python3
"""Makes a container image archive (docker format, as `docker save` writes it) from Debian's busybox-static.

Usage: busybox_image.py OUT.tar NAME:TAG [--file PATH=TEXT]... [--cmd WORD]... [--gzip]
The archive is the same byte for byte each time."""
import argparse
import gzip
import hashlib
import io
import json
import subprocess
import tarfile

BUSYBOX = "/bin/busybox"
FOLDERS = ["bin", "etc", "tmp", "root", "proc", "sys", "dev", "var", "var/run", "usr", "usr/bin", "home"]


def entry(name, mode, kind=tarfile.REGTYPE, size=0, link=""):
    t = tarfile.TarInfo(name)
    t.mode, t.type, t.size, t.linkname, t.mtime = mode, kind, size, link, 0
    return t


def layer(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for folder in FOLDERS:
            tar.addfile(entry(folder + "/", 0o1777 if folder == "tmp" else 0o755, tarfile.DIRTYPE))
        with open(BUSYBOX, "rb") as f:
            program = f.read()
        tar.addfile(entry("bin/busybox", 0o755, size=len(program)), io.BytesIO(program))
        for applet in subprocess.check_output([BUSYBOX, "--list"], text=True).split():
            if applet != "busybox":
                tar.addfile(entry("bin/" + applet, 0o777, tarfile.SYMTYPE, link="busybox"))
        base = {"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", "etc/group": "root:x:0:\nnobody:x:65534:\n"}
        for path, text in {**base, **files}.items():
            data = text.encode()
            tar.addfile(entry(path.lstrip("/"), 0o644, size=len(data)), io.BytesIO(data))
    return out.getvalue()


def main():
    args = argparse.ArgumentParser()
    args.add_argument("out")
    args.add_argument("name")
    args.add_argument("--file", action="append", default=[])
    args.add_argument("--cmd", action="append", default=[])
    args.add_argument("--gzip", action="store_true")
    a = args.parse_args()
    data = layer(dict(f.split("=", 1) for f in a.file))
    diff = hashlib.sha256(data).hexdigest()
    blob = gzip.compress(data, mtime=0) if a.gzip else data
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/usr/bin:/bin"], "Cmd": a.cmd or ["sh"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + diff]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "busybox_image.py"}],
    }, sort_keys=True).encode()
    ident = hashlib.sha256(config).hexdigest()
    manifest = json.dumps([{"Config": ident + ".json", "RepoTags": [a.name], "Layers": [diff + "/layer.tar"]}]).encode()
    with tarfile.open(a.out, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, body in ((diff + "/layer.tar", blob), (ident + ".json", config), ("manifest.json", manifest)):
            tar.addfile(entry(name, 0o644, size=len(body)), io.BytesIO(body))


main()
