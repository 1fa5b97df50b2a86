#!/usr/bin/env python3
"""A node's figures, of a release build on this machine, in one run, beside podman and plain crun where they are installed:

  pod create-to-Running through the API, ten one after another and fifty at once (image present);
  PSS of gate and node with 0, 10 and 50 pods, PSS per pod of what runs for it (pause, conmon, the container itself left out);
  CPU of all our processes and bytes written while fifty pods do nothing;
  cold start: everything killed, as a reboot does, and started with no server: until ten known pods run.

Usage (as root, after `make release` and the packages of check.sh): bench/node.py [path of sampan]. Absolute times say more about the machine than about the program: compare within one run."""
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests", "e2e"))
os.environ.setdefault("SAMPAN_BIN", sys.argv[1] if len(sys.argv) > 1 else os.path.join(TOP, "build", "release", "sampan"))
from lab import Lab, tools  # noqa: E402
from lab.client import Client, enter  # noqa: E402
from lab.lab import Process, wait_for  # noqa: E402

TICK = os.sysconf("SC_CLK_TCK")


def pod(name):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "bench"}},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "sampan.io/busybox:1", "command": ["sleep", "100000"]}]}}


def pss(pid):
    try:
        with open(f"/proc/{pid}/smaps_rollup") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("Pss:"))
    except OSError:
        return 0


def cpu_ticks(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rsplit(") ", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total


def written(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/io") as f:
            total += next(int(line.split()[1]) for line in f if line.startswith("write_bytes:"))
    return total


PODS = "/api/v1/namespaces/default/pods"


def phases(client, url=PODS):
    return {p["metadata"]["name"]: p["status"].get("phase") for p in client.request("GET", url)[1]["items"]}


def one_by_one(client, n):
    times = []
    for i in range(n):
        begin = time.monotonic()
        status, body = client.request("POST", PODS, pod(f"seq-{i}"))
        assert status == 201, body
        while client.request("GET", f"{PODS}/seq-{i}")[1]["status"].get("phase") != "Running":
            time.sleep(0.002)
        times.append((time.monotonic() - begin) * 1000)
    return times


def at_once(client, n):
    begin = time.monotonic()
    for i in range(n):
        assert client.request("POST", PODS, pod(f"all-{i}"))[0] == 201
    while sum(p == "Running" for p in phases(client).values()) < n:
        time.sleep(0.02)
    return time.monotonic() - begin


def workload(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read().split(b"\0")[:2] == [b"sleep", b"100000"]
    except OSError:
        return False


def clear(client):
    client.request("DELETE", PODS)
    while phases(client):
        time.sleep(0.05)


def memory(server, label):
    kids = server.children()
    print(f"PSS with {label}: gate {pss(kids['gate']) / 1024:.2f} MiB, node {pss(kids['node']) / 1024:.2f} MiB")


def peers(folder, tar):
    """The same image and command under podman and crun, each as such a program is used: run, started, seen running."""
    if shutil.which("podman"):
        base = ["podman", "--root", os.path.join(folder, "podman"), "--runroot", os.path.join(folder, "podman-run"), "--cgroup-manager", "cgroupfs"]
        load = subprocess.run([*base, "load", "-q", "-i", tar], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        times = []
        for i in range(10 if load.returncode == 0 else 0):
            begin = time.monotonic()
            done = subprocess.run([*base, "run", "-d", "--network", "none", "--name", f"bench-{i}", "sampan.io/busybox:1", "sleep", "100000"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode:
                load = done
                break
            times.append((time.monotonic() - begin) * 1000)
        subprocess.run([*base, "rm", "-f", "-t", "0", "--all"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        subprocess.run([*base, "rmi", "-f", "--all"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if times:
            print(f"podman run -d, no network: median {statistics.median(times):.0f} ms")
        else:
            print(f"podman does not run here: {load.stdout.strip().splitlines()[-1] if load.stdout.strip() else load.returncode}")
    else:
        print("podman is not installed: not measured")
    crun(folder)


def crun(folder):
    bundle = os.path.join(folder, "bundle")
    os.makedirs(os.path.join(bundle, "rootfs", "bin"))
    shutil.copy(shutil.which("busybox"), os.path.join(bundle, "rootfs", "bin", "sleep"))
    subprocess.run(["crun", "spec"], cwd=bundle, check=True)
    with open(os.path.join(bundle, "config.json")) as f:
        config = json.load(f)
    config["process"].update({"args": ["/bin/sleep", "100000"], "terminal": False})
    config["mounts"] = [m for m in config["mounts"] if m["type"] not in ("cgroup", "cgroup2")]  # crun does not mount them on hybrid machines
    config["linux"].pop("resources", None)
    config["linux"]["namespaces"] = [n for n in config["linux"]["namespaces"] if n["type"] != "cgroup"]
    with open(os.path.join(bundle, "config.json"), "w") as f:
        json.dump(config, f)
    times, root = [], os.path.join(folder, "crun")
    for i in range(10):
        begin = time.monotonic()
        done = subprocess.run(["crun", "--cgroup-manager", "disabled", "--root", root, "run", "-d", "-b", bundle, f"bench-{i}"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(os.path.join(folder, "crun.err"), "w"))
        times.append((time.monotonic() - begin) * 1000)
        subprocess.run(["crun", "--root", root, "delete", "-f", f"bench-{i}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if done.returncode:
            print("crun alone does not run here:", open(os.path.join(folder, "crun.err")).read().strip())
            return
    print(f"crun run -d, no network, no monitor: median {statistics.median(times):.0f} ms")


def cold_start(lab, server, agent, client):
    """The agent's machine 'reboots' and finds no server: its ten pods from its own disk."""
    agent.kill_everything()
    server.host.cut()
    begin = time.monotonic()
    Process.start(agent)
    while (up := sum(map(workload, agent.container_pids()))) < 10:
        if time.monotonic() - begin > 60:
            raise SystemExit(f"cold start: {up} of 10 after 60 s")
        time.sleep(0.01)
    print(f"cold start of ten known pods, no network: {time.monotonic() - begin:.2f} s")
    server.host.heal()


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        lab = Lab(folder, tools.kubectl("v36"), tools.busybox(os.path.join(folder, "busybox.tar"), "sampan.io/busybox:1"))
        try:
            server = lab.server("a")
            server.wait_node_ready("a")
            enter(server.host.netns)
            client = Client(server)
            time.sleep(3)
            memory(server, "no pods")
            times = one_by_one(client, 10)
            print(f"create to Running, ten in sequence: p50 {statistics.median(times):.0f} ms, slowest {max(times):.0f} ms")
            memory(server, "10 pods")
            clear(client)
            print(f"create to Running, fifty at once: {at_once(client, 50):.2f} s")
            time.sleep(5)
            memory(server, "50 pods")
            own = [pid for pid in server.container_pids() if not workload(pid)]
            print(f"PSS per pod beside its workload: {sum(map(pss, own)) / 50 / 1024:.2f} MiB in {len(own) / 50:.1f} processes")
            pids = [server.proc.pid, *server.children().values()]
            node = [server.children()[n] for n in ("gate", "node")]
            start, bytes_before, ticks, node_ticks = time.monotonic(), written(pids), cpu_ticks(pids), cpu_ticks(node)
            time.sleep(60)
            seconds = time.monotonic() - start
            print(f"fifty idle pods: gate and node {(cpu_ticks(node) - node_ticks) / TICK / seconds * 100:.2f} % of a core, all of a server {(cpu_ticks(pids) - ticks) / TICK / seconds * 100:.2f} %, "
                  f"{written(pids) - bytes_before} bytes written in {seconds:.0f} s")
            clear(client)
            agent = lab.agent("b", server)
            server.wait_node_ready("b")
            server.kubectl("cordon", "a")
            for i in range(10):
                client.request("POST", PODS, pod(f"cold-{i}"))
            wait_for("ten on the agent", lambda: sum(p == "Running" for p in phases(client).values()) == 10, 60)
            time.sleep(3)
            cold_start(lab, server, agent, client)
            peers(folder, lab.image)
        finally:
            lab.close()


main()
