#!/usr/bin/env python3
"""What `sampan server --disable-agent` costs and carries, beside Debian's etcd-server where that is a peer, in one run: first and later start, memory, idle processor time and disk writes, then the
load of bench-api. Usage (as root, after `make release && ninja -C build/release bench/bench-api bench/bench-api-etcd`): bench/api.py [build folder]. Everything is on loopback, the load generator on the
same processors. Absolute figures say more about the machine than about the program: compare within one run, and on a busy machine by processor time."""
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(TOP, "build", "release"))
OBJECTS = 10000


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def say(what, value):
    print(f"{what:<44} {value}", flush=True)


def proc_field(pid, file, name):
    with open(f"/proc/{pid}/{file}") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(name))


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return [int(p) for p in f.read().split()]


def cpu_ticks(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
    return total


class Server:
    def __init__(self, folder):
        self.data, self.run, self.port = os.path.join(folder, "data"), os.path.join(folder, "run"), free_port()
        self.log = open(os.path.join(folder, "log"), "ab")

    def start(self):
        """Seconds until /readyz says ok."""
        begin = time.monotonic()
        self.proc = subprocess.Popen([os.path.join(BUILD, "sampan"), "server", "--disable-agent", "--data-dir", self.data, "--run-dir", self.run, "--bind-address", "127.0.0.1",
                                      "--https-listen-port", str(self.port), "--write-kubeconfig", os.path.join(self.data, "kubeconfig")], stdout=self.log, stderr=self.log)
        while True:
            try:
                c = Unix(os.path.join(self.run, "api.sock"))
                c.request("GET", "/readyz")
                if c.getresponse().status == 200:
                    return time.monotonic() - begin
            except (OSError, http.client.HTTPException):
                pass
            if self.proc.poll() is not None or time.monotonic() - begin > 60:
                sys.exit(f"the server did not start; see {self.log.name}")
            time.sleep(0.001)

    def pids(self):
        return [self.proc.pid, *children(self.proc.pid)]

    def api(self):
        return children(self.proc.pid)[0]

    def pss(self):
        return sum(proc_field(p, "smaps_rollup", "Pss:") for p in self.pids()) / 1024

    def written(self):
        return sum(proc_field(p, "io", "write_bytes:") for p in self.pids())

    def stop(self):
        self.proc.send_signal(signal.SIGTERM)
        self.proc.wait(30)

    def load(self, *words):
        subprocess.run([os.path.join(BUILD, "bench", "bench-api"), "-a", f"127.0.0.1:{self.port}", "-t", os.path.join(self.data, "server", "tls"), "-p", str(self.api()), *words], check=True)


def sampan(folder):
    s = Server(folder)
    try:
        say("first start to /readyz", f"{s.start() * 1000:9.1f} ms   (keys, CAs and bootstrap objects are made)")
        time.sleep(5)
        say("idle PSS, all processes", f"{s.pss():9.1f} MiB")
        s.load("create", "get", "list", "gzip", "watch", "watchers")
        s.load("-n", str(OBJECTS - 5000), "create")
        time.sleep(60)  # what was cached for a while goes
        say(f"PSS with {OBJECTS + 2000:,} objects", f"{s.pss():9.1f} MiB")
        s.stop()
        say(f"later start to /readyz, {OBJECTS + 2000:,} objects", f"{min(restart(s) for _ in range(3)) * 1000:9.1f} ms   (best of 3)")
        s.start()
        time.sleep(20)
        say(f"idle PSS after it, {OBJECTS + 2000:,} objects", f"{s.pss():9.1f} MiB")
        ticks, written = cpu_ticks(s.pids()), s.written()
        time.sleep(60)
        say("idle for a minute", f"{(cpu_ticks(s.pids()) - ticks) / os.sysconf('SC_CLK_TCK') / 60 * 100:9.2f} % of a processor, {s.written() - written} bytes written to disk")
    finally:
        if s.proc.poll() is None:
            s.stop()


def restart(s):
    took = s.start()
    s.stop()
    return took


def etcd(folder):
    if not shutil.which("etcd"):
        print("etcd: not installed (Debian's etcd-server), no peer")
        return
    client, peer = free_port(), free_port()
    begin = time.monotonic()
    with open(os.path.join(folder, "etcd.log"), "ab") as log:
        proc = subprocess.Popen(["etcd", "--data-dir", os.path.join(folder, "etcd"), "--auto-tls", "--listen-client-urls", f"https://127.0.0.1:{client}", "--advertise-client-urls",
                                 f"https://127.0.0.1:{client}", "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}", "--initial-cluster",
                                 f"default=http://127.0.0.1:{peer}"], stdout=log, stderr=log)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", client), 1).close()
                break
            except OSError:
                if proc.poll() is not None or time.monotonic() - begin > 60:
                    sys.exit(f"etcd did not start; see {folder}/etcd.log")
                time.sleep(0.005)
        say("etcd: first start to its port", f"{(time.monotonic() - begin) * 1000:9.1f} ms")
        time.sleep(3)
        say("etcd: idle PSS", f"{proc_field(proc.pid, 'smaps_rollup', 'Pss:') / 1024:9.1f} MiB")
        subprocess.run([os.path.join(BUILD, "bench", "bench-api-etcd"), "-a", f"127.0.0.1:{client}", "-p", str(proc.pid)], check=True)
        say("etcd: PSS after the load", f"{proc_field(proc.pid, 'smaps_rollup', 'Pss:') / 1024:9.1f} MiB")
    finally:
        proc.terminate()
        proc.wait(30)


def main():
    with tempfile.TemporaryDirectory(prefix="sampan-bench-", dir=os.environ.get("BENCH_DIR")) as folder:
        os.chmod(folder, 0o755)
        with open("/proc/loadavg") as f:
            print(f"load average before: {f.read().split()[0]}, {os.cpu_count()} processors")
        sampan(folder)
        etcd(folder)


main()
