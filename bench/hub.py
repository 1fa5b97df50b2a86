#!/usr/bin/env python3
"""What a hub costs with many clusters, each a real uplink over TLS with a view of 2 nodes, 20 pods and 50 warnings: memory of the hub and of the kernel's sockets per cluster, idle CPU and bytes on the
wire, a storm in which all come back at once, and kubectl's way through it against the direct one. Of a release build (`make release`, `ninja -C build/release bench/bench-hub`), as root:

    bench/hub.py [COUNT] [path of the build folder]          COUNT: 10000

Absolute times say more about the machine than about the program: clusters and hub share its processors here."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = sys.argv[2] if len(sys.argv) > 2 else os.path.join(TOP, "build", "release")
COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 10000
PER_PROCESS = 5000
sys.path.insert(0, os.path.join(TOP, "tests", "e2e"))
os.environ["SAMPAN_BIN"] = os.path.join(BUILD, "sampan")
from lab import Lab, tools  # noqa: E402
from lab.lab import wait_for  # noqa: E402
from first import Unix, pss_kib  # noqa: E402

BENCH = os.path.join(BUILD, "bench", "bench-hub")


class Crowd:
    """The clusters, in a few processes."""

    def __init__(self, host, keys):
        self.procs, self.state = [], {}
        for begin in range(0, COUNT, PER_PROCESS):
            p = subprocess.Popen(["nsenter", f"--net=/run/netns/{host.netns}", BENCH, "run", "127.0.0.1", "6443", str(begin), str(min(begin + PER_PROCESS, COUNT)), keys],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            os.set_blocking(p.stdout.fileno(), False)
            self.procs.append(p)

    def totals(self):
        for p in self.procs:
            data = p.stdout.read() or b""
            found = re.findall(rb"connected (\d+) sent (\d+)", data)
            if found:
                self.state[p.pid] = tuple(map(int, found[-1]))
        return sum(c for c, s in self.state.values()), sum(s for c, s in self.state.values())

    def wait(self, seconds):
        begin = time.monotonic()
        while self.totals() != (COUNT, COUNT):
            if time.monotonic() - begin > seconds:
                raise SystemExit(f"after {seconds} s: connected, sent: {self.totals()} of {COUNT}")
            time.sleep(0.05)
        return time.monotonic() - begin

    def close(self):
        for p in self.procs:
            p.stdin.close()
            p.wait()


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        words = f.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def loopback_bytes(host):
    out = host.run("cat", "/proc/net/dev")
    return int(re.search(r"lo:\s*(\d+)", out).group(1))


def socket_kib(host):
    """The kernel's memory for TCP of this namespace: what ss says of its sockets."""
    out = host.run("ss", "-tmnH", "state", "established", "( sport = :6443 )")
    return sum(int(x) for x in re.findall(r"skmem:\(r(\d+)", out)) // 1024 + sum(int(x) for x in re.findall(r",t(\d+)", out)) // 1024


def make_clusters(hub, ids):
    client = Unix(os.path.join(hub.data, "run", "api.sock"))
    for n, key in enumerate(ids):
        body = {"apiVersion": "management.cattle.io/v3", "kind": "Cluster", "metadata": {"name": f"c-{n}", "annotations": {"sampan.io/uplink-key": key}}, "spec": {"displayName": f"Site {n}"}}
        client.request("POST", "/apis/management.cattle.io/v3/clusters", json.dumps(body), {"Content-Type": "application/json"})
        reply = client.getresponse()
        assert reply.status == 201, reply.read()
        reply.read()


def latency(hub, path, times=200):
    client = Unix(os.path.join(hub.data, "run", "api.sock"))
    took = []
    for _ in range(times):
        begin = time.monotonic()
        client.request("GET", path)
        reply = client.getresponse()
        reply.read()
        assert reply.status == 200, reply.status
        took.append(time.monotonic() - begin)
    return sorted(took)[times // 2] * 1000


def measure(lab, folder):
    hub = lab.hub("cloud", "--https-listen-port", "6443")
    keys = os.path.join(folder, "keys")
    os.makedirs(keys)
    ids = [line.split()[1] for line in subprocess.check_output([BENCH, "keys", str(COUNT), keys], text=True).splitlines()]
    api = hub.pid("api")
    make_clusters(hub, ids)
    wait_for("all have their registration tokens", lambda: cpu_idle(api), 600, every=0.5)
    alone = pss_kib(api)
    crowd = Crowd(hub.host, keys)
    try:
        print(f"{COUNT} clusters connected, each with its view: {crowd.wait(600):.1f} s")
        wait_for("quiet", lambda: cpu_idle(api), 600, every=0.5)
        full = pss_kib(api)
        print(f"memory of the hub's api process: {alone / 1024:.1f} MiB with {COUNT} Clusters and none connected, {full / 1024:.1f} MiB with all: {(full - alone) / COUNT:.1f} KiB each, "
              f"{full / COUNT:.1f} KiB with its objects; sockets in the kernel {socket_kib(hub.host) / COUNT:.2f} KiB each")
        begin, sent, cpu = time.monotonic(), loopback_bytes(hub.host), cpu_seconds(api)
        time.sleep(60)
        print(f"idle minute: {(loopback_bytes(hub.host) - sent) / COUNT:.0f} bytes on the wire each, both ways, all headers; CPU of the hub {(cpu_seconds(api) - cpu) / (time.monotonic() - begin) * 100:.1f} %")
        print(f"GET: {latency(hub, '/version'):.2f} ms at the hub, {latency(hub, '/k8s/clusters/c-0/version'):.2f} ms through it")
        hub.kill("api")
        begin = time.monotonic()
        wait_for("they are gone", lambda: crowd.totals()[0] < COUNT, 60, every=0.01)
        crowd.wait(600)
        print(f"storm: the hub was killed; all {COUNT} are back and in step after {time.monotonic() - begin:.1f} s")
    finally:
        crowd.close()


def cpu_idle(pid):
    before = cpu_seconds(pid)
    time.sleep(1)
    return cpu_seconds(pid) - before < 0.1


def main():
    folder = tempfile.mkdtemp(prefix="sampan-bench-hub-")
    try:
        lab = Lab(folder, tools.kubectl("v36"), tools.busybox(os.path.join(folder, "busybox.tar"), "sampan.io/busybox:1"))
        try:
            measure(lab, folder)
        finally:
            lab.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


main()
