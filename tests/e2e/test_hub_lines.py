"""The uplink over bad lines (tests/e2e/lab/impair.py): a slow one with a megabyte of buffer on the way, a satellite, one that loses, spoils, doubles and reorders, and silence."""
import os
import subprocess
import time

import pytest
from lab.impair import Line
from lab.lab import wait_for

HUB, SITE = "10.99.0.1", "10.99.0.2"
THROUGH = "https://127.0.0.1:6443/k8s/clusters/c-shop"


@pytest.fixture(scope="module")
def hub(lab):
    h = lab.hub("cloud", "--https-listen-port", "6443", "--tls-san", HUB)
    h.apply('{"apiVersion":"management.cattle.io/v3","kind":"Cluster","metadata":{"name":"c-shop"},"spec":{"displayName":"Shop"}}', "--validate=false")
    return h


@pytest.fixture(scope="module")
def line(lab, hub):
    made = Line(lab.host("cloud"), HUB, lab.host("a"), SITE)
    yield made
    made.close()


@pytest.fixture(scope="module")
def site(lab, hub, line):
    """Its only way to the hub is the line."""
    file = os.path.join(lab.folder, "hub.token")
    tokens = wait_for("a registration token", lambda: [i for i in hub.get("clusterregistrationtokens", "-n", "c-shop")["items"] if i.get("status", {}).get("nodeCommand")])
    with open(file, "w") as f:
        f.write(tokens[0]["status"]["nodeCommand"].split()[-1])
    s = lab.server("a", "--hub", f"https://{HUB}:6443", "--hub-token-file", file)
    s.wait_node_ready("a")
    wait_for("Connected", lambda: connected(hub), 60)
    s.apply("""
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {app: p}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: c, image: "sampan.io/busybox:1", command: [sh, -c, "sleep 100000"]}
""")
    s.wait_pods_ready("default", "app=p", 1)
    return s


def connected(hub):
    found = {c["type"]: c["status"] for c in hub.get("cluster.management.cattle.io", "c-shop").get("status", {}).get("conditions", [])}
    return found.get("Connected") == "True"


def through(hub, *words, **more):
    return hub.kubectl("--server", THROUGH, *words, **more)


def background(hub, *words, **more):
    return subprocess.Popen(["nsenter", f"--net=/run/netns/{hub.host.netns}", hub.lab.kubectl_path, "--kubeconfig", hub.kubeconfig, "--server", THROUGH, *words], env=dict(os.environ, HOME=hub.lab.folder), **more)


def slowest_answer(hub, times):
    worst = 0
    for _ in range(times):
        begin = time.monotonic()
        hub.host.run("curl", "-sfk", "-m", "60", "--cert", cert(hub), f"{THROUGH}/version")
        worst = max(worst, time.monotonic() - begin)
    return worst


def cert(hub):
    """The admin's certificate and key in one file, for curl."""
    import base64
    import yaml
    path = os.path.join(hub.lab.folder, "admin.pem")
    if not os.path.exists(path):
        with open(hub.kubeconfig) as f:
            user = yaml.safe_load(f)["users"][0]["user"]
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as f:
            f.write(base64.b64decode(user["client-certificate-data"]) + b"\n" + base64.b64decode(user["client-key-data"]))
    return path


def test_bulk_in_either_direction_does_not_hold_a_command_up(hub, site, line):
    """512 kbit/s with a buffer of a megabyte on the way, which is sixteen seconds of it: filled, a command would take as long."""
    line.tell("profile", "dsl")
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open("/dev/zero", "rb") as zero:
        ways = [lambda: background(hub, "exec", "p", "--", "cat", "/dev/zero", **quiet), lambda: background(hub, "exec", "-i", "p", "--", "sh", "-c", "cat >/dev/null", stdin=zero, **quiet)]
        for begin in ways:
            bulk = [begin() for _ in range(4)]
            try:
                time.sleep(6)  # for a queue to build up, if it may
                assert all(p.poll() is None for p in bulk)
                worst = slowest_answer(hub, 4)
                print(f"slowest answer: {worst:.1f} s")
                assert worst < 5, worst
            finally:
                for p in bulk:
                    p.kill()
                    p.wait()
    line.tell("profile", "clean")


@pytest.mark.parametrize("profile", ["satellite", "poor"])
def test_kubectl_works_over_a_bad_line(hub, site, line, profile):
    line.tell("profile", profile)
    wait_for("an answer", lambda: "p " in through(hub, "get", "pods", seconds=90), 180)
    assert wait_for("exec", lambda: through(hub, "exec", "p", "--", "hostname", check=False, seconds=90) == "p\n", 180)
    line.tell("profile", "clean")
    wait_for("Connected", lambda: connected(hub), 90)


def test_a_silent_line_is_found_dead_and_comes_back(hub, site, line):
    """Packets vanish and nobody is told: no reset, no unreachable."""
    wait_for("Connected", lambda: connected(hub), 60)
    line.tell("cut")
    wait_for("Disconnected", lambda: not connected(hub), 40)
    line.tell("heal")
    wait_for("Connected again", lambda: connected(hub), 90)
    wait_for("and it carries", lambda: through(hub, "exec", "p", "--", "hostname", check=False) == "p\n", 60)
