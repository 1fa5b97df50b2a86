"""A CSI node plugin with its registrar, small and real: a tmpfs per volume, mounted at the staging path and bound to the target. gRPC by Debian's
python3-grpcio with messages read and written by hand; every call is a line of JSON in the log file. While <log>.fail exists staging fails.

usage: csi_plugin.py <kubelet folder> <driver> <log>"""
import json
import os
import signal
import subprocess
import sys
import threading
from concurrent import futures

import grpc


def varint(n):
    out = b""
    while n > 0x7f:
        out += bytes([n & 0x7f | 0x80])
        n >>= 7
    return out + bytes([n])


def text(number, value):
    raw = value if isinstance(value, bytes) else value.encode()
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def number(field, value):
    return varint(field << 3) + varint(value)


def fields(raw):
    """[(number, bytes or int)] of a message."""
    out, at = [], 0

    def take():
        nonlocal at
        value = shift = 0
        while True:
            byte = raw[at]
            at += 1
            value |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return value
    while at < len(raw):
        tag = take()
        if tag & 7 == 2:
            n = take()
            out.append((tag >> 3, raw[at:at + n]))
            at += n
        else:
            out.append((tag >> 3, take()))
    return out


def mapping(raw, field):
    pairs = [dict(fields(v)) for n, v in fields(raw) if n == field]
    return {p[1].decode(): p.get(2, b"").decode() for p in pairs}


def one(raw, field, default=b""):
    return dict(fields(raw)).get(field, default)


class Plugin:
    def __init__(self, root, driver, log):
        self.root, self.driver, self.log = root, driver, log
        self.folder = f"{root}/plugins/{driver}"
        os.makedirs(self.folder, exist_ok=True)

    def note(self, call, **more):
        with open(self.log, "a") as f:
            f.write(json.dumps({"call": call, **more}) + "\n")

    def get_info(self, raw, context):
        return text(1, "CSIPlugin") + text(2, self.driver) + text(3, f"{self.folder}/csi.sock") + text(4, "1.0.0")

    def notify(self, raw, context):
        self.note("registered", good=one(raw, 1, 0), error=one(raw, 2).decode())
        return b""

    def node_info(self, raw, context):
        return text(1, "node-id-1") + number(2, 7) + text(3, text(1, text(1, f"topology.{self.driver}/zone") + text(2, "z1")))

    def capabilities(self, raw, context):
        return text(1, text(1, number(1, 1))) + text(1, text(1, number(1, 3)))

    def stage(self, raw, context):
        handle, staging = one(raw, 1).decode(), one(raw, 3).decode()
        self.note("stage", handle=handle, staging=staging, secrets=mapping(raw, 5), context=mapping(raw, 6), publish_context=mapping(raw, 2),
                  fs=one(one(one(raw, 4), 2), 1).decode(), mode=one(one(one(raw, 4), 3), 1, 0), made=os.path.isdir(staging))
        if os.path.exists(self.log + ".fail"):
            context.abort(grpc.StatusCode.INTERNAL, "the disk is on fire")
        if not os.path.ismount(staging):
            subprocess.run(["mount", "-t", "tmpfs", "csi-test", staging], check=True)
        return b""

    def unstage(self, raw, context):
        self.note("unstage", handle=one(raw, 1).decode())
        staging = one(raw, 2).decode()
        if os.path.ismount(staging):
            subprocess.run(["umount", staging], check=True)
        return b""

    def publish(self, raw, context):
        staging, target = one(raw, 3).decode(), one(raw, 4).decode()
        self.note("publish", handle=one(raw, 1).decode(), target=target, readonly=one(raw, 6, 0), context=mapping(raw, 8))
        os.makedirs(target, exist_ok=True)
        if not os.path.ismount(target):
            words = ["--bind", staging] if staging else ["-t", "tmpfs", "csi-inline"]
            subprocess.run(["mount", *words, target], check=True)
        return b""

    def unpublish(self, raw, context):
        target = one(raw, 2).decode()
        self.note("unpublish", handle=one(raw, 1).decode(), target=target)
        if os.path.ismount(target):
            subprocess.run(["umount", target], check=True)
        if os.path.isdir(target):
            os.rmdir(target)
        return b""

    def expand(self, raw, context):
        path = one(raw, 2).decode()
        self.note("expand", handle=one(raw, 1).decode(), bytes=one(one(raw, 3), 1, 0), mounted=os.path.ismount(path))
        return number(1, one(one(raw, 3), 1, 0))

    def serve(self, path, service, methods):
        if os.path.exists(path):
            os.unlink(path)
        server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
        handlers = {name: grpc.unary_unary_rpc_method_handler(fn) for name, fn in methods.items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        server.add_insecure_port(f"unix:{path}")
        server.start()
        return server

    def run(self):
        node = self.serve(f"{self.folder}/csi.sock", "csi.v1.Node", {
            "NodeGetInfo": self.node_info, "NodeGetCapabilities": self.capabilities, "NodeStageVolume": self.stage, "NodeUnstageVolume": self.unstage,
            "NodePublishVolume": self.publish, "NodeUnpublishVolume": self.unpublish, "NodeExpandVolume": self.expand})
        registration = f"{self.root}/plugins_registry/{self.driver}-reg.sock"
        registrar = self.serve(registration, "pluginregistration.Registration", {"GetInfo": self.get_info, "NotifyRegistrationStatus": self.notify})
        end = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: end.set())
        end.wait()
        for server in (registrar, node):
            server.stop(0)
        if os.path.exists(registration):
            os.unlink(registration)


if __name__ == "__main__":
    Plugin(*sys.argv[1:]).run()
