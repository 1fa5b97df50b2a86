"""A hub in a third network, the cluster joined to it by token: kubectl through the hub to a pod on the second node, behind both uplinks."""
import os
import subprocess

import pytest
from lab.lab import wait_for

CLUSTER = """
apiVersion: management.cattle.io/v3
kind: Cluster
metadata: {name: c-shop}
spec: {displayName: Shop}
"""


@pytest.fixture(scope="module")
def hub(lab):
    h = lab.hub("cloud", "--https-listen-port", "6443")
    h.kubectl("apply", "--validate=false", "-f", "-", stdin=CLUSTER)
    return h


def token(hub):
    """From the command that the hub says to run: ... --token K10<hash of its CA>::<token>."""
    items = wait_for("a registration token", lambda: [i for i in hub.get("clusterregistrationtokens", "-n", "c-shop")["items"] if i.get("status", {}).get("token")])
    word = items[0]["status"]["nodeCommand"].split()[-1]
    assert word.startswith("K10") and word.endswith("::" + items[0]["status"]["token"])
    return word


@pytest.fixture(scope="module")
def site(lab, hub):
    """The cluster: a server that joins the hub by its configuration, and an agent."""
    file = os.path.join(lab.folder, "hub.token")
    with open(file, "w") as f:
        f.write(token(hub))
    s = lab.server("a", "--hub", f"https://{hub.host.ip}:6443", "--hub-token-file", file)
    lab.agent("b", s)
    s.wait_node_ready("a")
    s.wait_node_ready("b")
    wait_connected(hub)
    s.apply("""
apiVersion: v1
kind: Pod
metadata: {name: far, labels: {app: far}}
spec:
  nodeSelector: {kubernetes.io/hostname: b}
  terminationGracePeriodSeconds: 0
  containers:
  - {name: c, image: "sampan.io/busybox:1", command: [sh, -c, "echo I am far; sleep 100000"]}
""")
    s.wait_pods_ready("default", "app=far", 1)
    wait_whole(hub, s)
    return s


def conditions(hub):
    return {c["type"]: c for c in hub.get("cluster.management.cattle.io", "c-shop").get("status", {}).get("conditions", [])}


def wait_connected(hub, seconds=60):
    wait_for("Connected", lambda: conditions(hub).get("Connected", {}).get("status") == "True", seconds)


def wait_whole(hub, site):
    """Both uplinks carry again: the site's to the hub, and node b's to its server, which goes over the same wire and comes back in its own time."""
    wait_connected(hub, 90)
    site.wait_node_ready("b", 90)
    wait_for("node b's uplink", lambda: site.kubectl("exec", "far", "--", "hostname", check=False) == "far\n", 90)
    wait_for("both uplinks", lambda: through(hub, "exec", "far", "--", "hostname", check=False) == "far\n", 90)


def through(hub, *words, **more):
    return hub.kubectl("--server", "https://127.0.0.1:6443/k8s/clusters/c-shop", *words, **more)


WEB = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  nodeSelector: {kubernetes.io/hostname: b}
  terminationGracePeriodSeconds: 0
  containers:
  - {name: c, image: "sampan.io/busybox:1", command: [sh, -c, "mkdir /w; echo far web >/w/index.html; httpd -p 8080 -h /w; while true; do echo tick; sleep 0.2; done"]}
"""


def background(hub, *words, env=None, **more):
    return subprocess.Popen(["nsenter", f"--net=/run/netns/{hub.host.netns}", hub.lab.kubectl_path, "--kubeconfig", hub.kubeconfig, "--server", "https://127.0.0.1:6443/k8s/clusters/c-shop", *words],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(os.environ, HOME=hub.lab.folder, **(env or {})), **more)


def test_get_clusters_shows_it_connected(hub, site):
    out = hub.kubectl("get", "clusters.management.cattle.io")
    assert "c-shop" in out and "Connected" in out, out


def test_kubectl_get_and_watch_through_the_hub(hub, site):
    assert sorted(line.split()[0] for line in through(hub, "get", "nodes", "--no-headers").splitlines()) == ["a", "b"]
    assert "far" in through(hub, "get", "pods")
    out = through(hub, "wait", "pod/far", "--for=condition=Ready", "--timeout=10s")
    assert "condition met" in out


def test_logs_and_exec_reach_a_pod_behind_both_uplinks(hub, site):
    assert through(hub, "logs", "far") == "I am far\n"
    assert through(hub, "exec", "far", "--", "hostname") == "far\n"
    assert through(hub, "exec", "-i", "far", "--", "cat", stdin="down and up\n") == "down and up\n"
    assert "exit code 7" in through(hub, "exec", "far", "--", "sh", "-c", "exit 7", check=False)


def test_port_forward_and_streams_through_both_uplinks(hub, site):
    site.apply(WEB)
    site.wait_pods_ready("default", "app=web", 1)
    for env in ({}, {"KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"}):
        p = background(hub, "port-forward", "pod/web", "18080:8080", env=env)
        try:
            assert b"Forwarding from" in p.stdout.readline()
            for _ in range(3):
                assert hub.host.run("curl", "-s", "-m", "10", "http://127.0.0.1:18080/") == "far web\n"
        finally:
            p.kill()
            p.wait()
    p = background(hub, "logs", "-f", "web")
    try:
        for _ in range(20):
            assert p.stdout.readline() == b"tick\n"
    finally:
        p.kill()
        p.wait()
    data = os.urandom(3 << 20)
    out, _ = background(hub, "exec", "-i", "web", "--", "cat", stdin=subprocess.PIPE).communicate(data, timeout=60)
    assert out == data


def test_writes_run_as_the_hubs_user_at_the_site(hub, site):
    through(hub, "create", "configmap", "from-the-hub", "--from-literal=a=b")
    assert site.get("cm", "from-the-hub")["data"] == {"a": "b"}
    who = through(hub, "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")
    assert who.startswith("hub:") and not who.startswith("system:")


def test_without_rights_on_the_hub_nothing_goes_down(hub, site):
    out = through(hub, "get", "pods", "--as", "nobody", check=False)
    assert 'cannot get resource "clusters/proxy"' in out, out


def test_a_token_that_was_redeemed_lets_no_other_key_in(lab, hub, site):
    thief = lab.host("thief")
    file = os.path.join(lab.folder, "hub.token")
    out = thief.run("timeout", "15", os.environ.get("SAMPAN_BIN") or "build/check/sampan", "connect", "--data-dir", os.path.join(lab.folder, "thief"), "--hub", f"https://{hub.host.ip}:6443", "--token-file", file,
                    "--kubeconfig", site.kubeconfig, check=False)
    assert "redeemed" in out, out
    assert conditions(hub)["Connected"]["status"] == "True"


def test_a_cut_link_shows_within_seconds_and_heals(hub, site):
    site.host.cut()
    try:
        wait_for("Disconnected", lambda: conditions(hub)["Connected"]["status"] == "False", 30)
        assert "not connected" in through(hub, "get", "pods", check=False)
        out = hub.kubectl("get", "clusters.management.cattle.io")
        assert "Disconnected" in out, out
    finally:
        site.host.heal()
    wait_whole(hub, site)
    assert "far" in through(hub, "get", "pods")


def test_a_request_waits_for_an_uplink_that_is_just_coming_back(lab, hub, site):
    """Either gate is killed; what is asked before its new connection stands is held, not refused."""
    agent = next(p for p in lab.running if p.kind == "agent")
    for process in (agent, site):
        before = process.pid("gate")
        process.kill("gate")
        wait_for("a new gate", lambda: process.children().get("gate") not in (None, before), every=0.01)
        assert through(hub, "exec", "far", "--", "hostname") == "far\n"
    wait_whole(hub, site)


def test_with_the_hub_gone_the_site_goes_on(lab, hub, site):
    hub.stop()
    site.kubectl("create", "configmap", "alone")
    assert site.kubectl("exec", "far", "--", "hostname") == "far\n"
    hub.start()
    wait_whole(hub, site)
