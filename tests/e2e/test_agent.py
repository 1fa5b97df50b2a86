"""A second node joins over its one uplink; pods land there; logs and exec work through it; the two nodes' pods reach each other."""
import os

import pytest
from lab.lab import SAMPAN, Process, wait_for
from lab.tools import TOP

HELLO = open(os.path.join(TOP, "examples", "hello.yaml")).read()


@pytest.fixture(scope="module")
def agent(lab, server):
    a = lab.agent("b", server)
    server.wait_node_ready("b")
    return a


def pod_on(server, ns, node, name, *command):
    server.apply(f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  nodeSelector: {{kubernetes.io/hostname: {node}}}
  terminationGracePeriodSeconds: 0
  containers:
  - {{name: c, image: "sampan.io/busybox:1", command: {list(command)}}}
""", "-n", ns)
    server.wait_pods_ready(ns, f"app={name}", 1)


def test_both_nodes_are_ready(server, agent):
    rows = server.kubectl("get", "nodes", "--no-headers").strip().splitlines()
    assert sorted(row.split()[:2] for row in rows) == [["a", "Ready"], ["b", "Ready"]]


def test_nothing_listens_on_the_agent_for_control(agent):
    sockets = agent.host.run("ss", "-Hltn")
    assert ":10250" not in sockets, sockets


def test_logs_and_exec_reach_a_pod_on_the_second_node(server, agent, ns):
    pod_on(server, ns, "b", "far", "sh", "-c", "echo started here; sleep 1000")
    assert server.get("pod", "far", "-n", ns)["spec"]["nodeName"] == "b"
    assert server.kubectl("logs", "far", "-n", ns) == "started here\n"
    assert server.kubectl("exec", "far", "-n", ns, "--", "hostname") == "far\n"


def test_pods_of_two_nodes_reach_each_other_and_the_service(server, agent, ns):
    server.apply(HELLO, "-n", ns)
    server.wait_pods_ready(ns, "app=hello", 2)
    pod_on(server, ns, "a", "near", "sleep", "1000")
    pod_on(server, ns, "b", "far", "sleep", "1000")
    far_ip = server.get("pod", "far", "-n", ns)["status"]["podIP"]
    assert "1 packets received" in server.kubectl("exec", "near", "-n", ns, "--", "ping", "-c1", "-W5", far_ip)
    for pod in ("near", "far"):
        assert server.kubectl("exec", pod, "-n", ns, "--", "wget", "-qO-", "http://hello/") == "hello from sampan\n"


def test_a_wrong_token_is_refused_with_one_clear_line(lab, server):
    host = lab.host("stranger")
    out = host.run("timeout", "20", os.environ.get("SAMPAN_BIN", os.path.join(TOP, "build", "check", "sampan")), "agent", "--data-dir", os.path.join(lab.folder, "stranger"), "--server",
                   f"https://{server.host.ip}:6443", "--token", server.token()[:-4] + "0000", "--node-name", "stranger", check=False)
    assert "token" in out.lower() and ("refused" in out.lower() or "unauthorized" in out.lower() or "not valid" in out.lower()), out
    wait_for("no such node", lambda: 'nodes "stranger" not found' in server.kubectl("get", "node", "stranger", check=False))


def test_a_node_that_loses_its_link_becomes_not_ready_and_comes_back(server, agent):
    agent.host.cut()
    try:
        wait_for("NotReady", lambda: "NotReady" in server.kubectl("get", "node", "b", "--no-headers"), 70)
    finally:
        agent.host.heal()
    server.wait_node_ready("b")


def test_an_agent_learns_ranges_names_and_domain_from_the_server(lab):
    s = lab.server("s", "--cluster-cidr=10.98.0.0/16", "--service-cidr=10.99.0.0/16", "--cluster-domain=shop.local")
    lab.agent("t", s)
    s.wait_node_ready("t")
    s.kubectl("create", "namespace", "learn")
    pod_on(s, "learn", "t", "far", "sleep", "1000")
    assert s.get("pod", "far", "-n", "learn")["status"]["podIP"].startswith("10.98.")
    conf = s.kubectl("exec", "far", "-n", "learn", "--", "cat", "/etc/resolv.conf")
    assert "nameserver 10.99.0.10" in conf and "learn.svc.shop.local" in conf, conf
    assert "10.99.0.1" in s.kubectl("exec", "far", "-n", "learn", "--", "nslookup", "kubernetes.default.svc.shop.local")


def test_bootstrap_tokens_join_nodes_until_they_are_deleted(lab, server):
    token = lambda *words, check=True: server.host.run(SAMPAN, "token", *words, "--data-dir", server.data, check=check).strip()
    made = token("create", "--description", "for node c", "--ttl", "1h")
    assert made.startswith(server.token().split("::")[0] + "::"), made
    name, secret = made.split("::")[1].split(".")
    listed = token("list")
    assert name in listed and "for node c" in listed and secret not in listed, listed
    assert "--ttl" in token("create", "--ttl", "soon", check=False)
    host = lab.host("c")
    flags = ["--server", f"https://{server.host.ip}:6443", "--node-name", "c", "--node-ip", host.ip, "--cgroup-root", f"sampan-{lab.tag}-c"]
    joined = Process(lab, host, "agent", [*flags, "--token", made])
    joined.start()
    server.wait_node_ready("c")
    assert "deleted" in token("delete", name)
    late = lab.host("late")
    out = late.run("timeout", "20", SAMPAN, "agent", "--data-dir", os.path.join(lab.folder, "late"), "--server", f"https://{server.host.ip}:6443", "--node-name", "late", "--node-ip", late.ip, "--token", made, check=False)
    assert "the join token is not valid" in out, out
    joined.stop()
    joined.start()  # its key is known now: it needs no token
    server.wait_node_ready("c")
