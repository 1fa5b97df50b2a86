#!/usr/bin/env python3
"""Makes the container image of `sampan connect` (docker format, as `docker save` writes it) from a built binary and the shared libraries that it names.

Usage: connect_image.py BINARY OUT.tar NAME:TAG
The archive is the same byte for byte each time for the same binary and libraries."""
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile

FOLDERS = ["etc", "etc/ssl", "etc/ssl/certs", "lib64", "usr", "usr/bin", "usr/lib", "tmp", "proc", "sys", "dev", "run", "var", "var/lib"]
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/false\nsampan:x:650:650:sampan:/nonexistent:/bin/false\n",
    "etc/group": "root:x:0:\nsampan:x:650:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


def entry(name, mode, kind=tarfile.REGTYPE, size=0):
    t = tarfile.TarInfo(name)
    t.mode, t.type, t.size, t.mtime = mode, kind, size, 0
    return t


def libraries(binary):
    """{path in the image: file here} of everything that ldd finds, and what glibc loads by itself for names."""
    found = {}
    for line in subprocess.check_output(["ldd", binary], text=True).splitlines():
        words = line.split()
        path = words[2] if "=>" in words and len(words) > 2 else words[0]
        if path.startswith("/"):
            found[path] = path
    folder = os.path.dirname(next(p for p in found if "/libc.so" in p))
    for name in ("libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2"):
        if os.path.exists(os.path.join(folder, name)):
            found[os.path.join(folder, name)] = os.path.join(folder, name)
    return found


def layer(binary):
    files = {path.lstrip("/"): open(os.path.realpath(here), "rb").read() for path, here in libraries(binary).items()}
    files["usr/bin/sampan"] = open(binary, "rb").read()
    files.update({name: text.encode() for name, text in FILES.items()})
    if os.path.exists(AUTHORITIES):
        files[AUTHORITIES.lstrip("/")] = open(AUTHORITIES, "rb").read()
    folders = set(FOLDERS)
    for name in files:
        while "/" in name:
            name = os.path.dirname(name)
            folders.add(name)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for folder in sorted(folders):
            tar.addfile(entry(folder + "/", 0o1777 if folder == "tmp" else 0o755, tarfile.DIRTYPE))
        for name, data in sorted(files.items()):
            program = name == "usr/bin/sampan" or ".so" in name
            tar.addfile(entry(name, 0o755 if program else 0o644, size=len(data)), io.BytesIO(data))
    return out.getvalue()


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    binary, out, name = sys.argv[1:]
    data = layer(binary)
    diff = hashlib.sha256(data).hexdigest()
    machine = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}.get(os.uname().machine, os.uname().machine)
    config = json.dumps({
        "architecture": machine, "os": "linux", "created": "1970-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/usr/bin"], "Entrypoint": ["/usr/bin/sampan"], "Cmd": ["connect"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + diff]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "connect_image.py"}],
    }, sort_keys=True).encode()
    ident = hashlib.sha256(config).hexdigest()
    manifest = json.dumps([{"Config": ident + ".json", "RepoTags": [name], "Layers": [diff + "/layer.tar"]}]).encode()
    with tarfile.open(out, "w", format=tarfile.GNU_FORMAT) as tar:
        for member, body in ((diff + "/layer.tar", data), (ident + ".json", config), ("manifest.json", manifest)):
            tar.addfile(entry(member, 0o644, size=len(body)), io.BytesIO(body))
    print(f"{out}: {name}, {len(data) >> 20} MiB")


main()
