#!/usr/bin/env python3
"""The first figures, of a release build on this machine, in one run: start to ready, memory of each process with the example running, pod create to Running, GET per second, bytes written when
idle. Usage (as root, after `make release` and the packages of check.sh): bench/first.py [path of sampan]. Absolute times say more about the machine than about the program: compare within one run."""
import http.client
import os
import socket
import statistics
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests", "e2e"))
os.environ.setdefault("SAMPAN_BIN", sys.argv[1] if len(sys.argv) > 1 else os.path.join(TOP, "build", "release", "sampan"))
from lab import Lab, tools  # noqa: E402
from lab.lab import wait_for  # noqa: E402


class Unix(http.client.HTTPConnection):
    """HTTP over the server's local socket."""

    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def get(client, path):
    client.request("GET", path)
    reply = client.getresponse()
    return reply.status, reply.read()


def pss_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Pss:"))


def written(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/io") as f:
            total += next(int(line.split()[1]) for line in f if line.startswith("write_bytes:"))
    return total


def start_to_ready(server):
    begin = time.monotonic()
    from lab.lab import Process
    Process.start(server)
    path = os.path.join(server.data, "run", "api.sock")

    def ready():
        return get(Unix(path), "/readyz")[0] == 200
    wait_for("ready", ready, 30, every=0.002)
    return time.monotonic() - begin


POD = """{"apiVersion":"v1","kind":"Pod","metadata":{"name":"%s"},"spec":{"terminationGracePeriodSeconds":0,"containers":[{"name":"c","image":"sampan.io/busybox:1","command":["sleep","1000"]}]}}"""


def create_to_running(client, n):
    """Each pod by itself, asked for every 2 ms."""
    times = []
    for i in range(n):
        begin = time.monotonic()
        client.request("POST", "/api/v1/namespaces/default/pods", POD % f"p{i}", {"Content-Type": "application/json"})
        reply = client.getresponse()
        assert reply.status == 201, reply.read()
        reply.read()
        wait_for("Running", lambda: b'"phase":"Running"' in get(client, f"/api/v1/namespaces/default/pods/p{i}")[1], 30, every=0.002)
        times.append(time.monotonic() - begin)
    return times


def gets_per_second(client, seconds=3):
    n, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        assert get(client, "/api/v1/namespaces/default/configmaps/hello")[0] == 200
        n += 1
    return n / seconds


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        lab = Lab(folder, tools.kubectl("v36"), tools.busybox(os.path.join(folder, "busybox.tar"), "sampan.io/busybox:1"))
        try:
            host = lab.host("a")
            from lab.lab import Server
            s = Server(lab, host, "server", ["--node-name", "a", "--node-ip", host.ip, "--cgroup-root", f"sampan-{lab.tag}-a"])
            s.put_image(lab.image)
            first = start_to_ready(s)
            s.wait_ready()
            s.stop()
            again = start_to_ready(s)
            s.wait_ready()
            s.wait_node_ready("a")
            with open(os.path.join(TOP, "examples", "hello.yaml")) as f:
                s.apply(f.read())
            s.wait_pods_ready("default", "app=hello", 2)
            client = Unix(os.path.join(s.data, "run", "api.sock"))
            print(f"start to ready: first {first * 1000:.0f} ms, again {again * 1000:.0f} ms")
            for name, pid in [("supervisor", s.proc.pid), *sorted(s.children().items())]:
                print(f"PSS {name}, example running: {pss_kib(pid) / 1024:.1f} MiB")
            times = create_to_running(client, 10)
            print(f"pod create to Running, one after another: median {statistics.median(times) * 1000:.0f} ms, slowest {max(times) * 1000:.0f} ms")
            print(f"GET of a ConfigMap, one connection, this client (Python): {gets_per_second(client):.0f}/s")
            time.sleep(15)
            pids = [s.proc.pid, *s.children().values()]
            before = written(pids)
            time.sleep(60)
            print(f"written to disk in an idle minute: {written(pids) - before} bytes")
        finally:
            lab.close()


if __name__ == "__main__":
    main()
