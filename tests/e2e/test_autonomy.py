"""Life without the upper tier: the hub and the api process gone, kill -9 of everything, a start without any link."""
import os
import shutil
import threading

import pytest
from lab.lab import Process, wait_for
from lab.tools import TOP

HELLO = open(os.path.join(TOP, "examples", "hello.yaml")).read()


@pytest.fixture(scope="module")
def running(server):
    server.kubectl("create", "namespace", "run")
    server.apply(HELLO, "-n", "run")
    server.wait_pods_ready("run", "app=hello", 2)
    return server


def fetch(process, ip):
    return process.host.run("curl", "-s", "-m", "2", f"http://{ip}/")


def running_ip(server):
    return server.get("svc", "hello", "-n", "run")["spec"]["clusterIP"]


def test_killed_processes_come_back_and_containers_do_not_notice(running):
    before = running.container_pids()
    for name in ("gate", "node", "api"):
        old = running.pid(name)
        running.kill(name)
        wait_for(f"a new {name}", lambda: running.children().get(name, old) != old)
    running.wait_ready()
    running.wait_node_ready("a")
    running.wait_pods_ready("run", "app=hello", 2)
    assert before <= running.container_pids(), "no container was restarted"
    assert all(c["restartCount"] == 0 for p in running.pods("run") for c in p["status"]["containerStatuses"])


def test_no_acknowledged_write_is_lost_by_kill_9(running):
    acknowledged, stop = [], threading.Event()
    running.kubectl("create", "namespace", "load")

    def writer(n):
        i = 0
        while not stop.is_set():
            name = f"w{n}-{i}"
            if "created" in running.kubectl("create", "configmap", name, "-n", "load", "--from-literal=a=b", check=False, seconds=20):
                acknowledged.append(name)
            i += 1

    threads = [threading.Thread(target=writer, args=(n,)) for n in range(3)]
    for t in threads:
        t.start()
    for _ in range(3):
        goal = len(acknowledged) + 5
        wait_for("some writes", lambda: len(acknowledged) >= goal)
        running.kill("api")
        running.wait_ready()
    stop.set()
    for t in threads:
        t.join()
    there = {c["metadata"]["name"] for c in running.get("cm", "-n", "load")["items"]}
    assert set(acknowledged) <= there, set(acknowledged) - there


def test_a_node_rebooted_without_any_link_serves_its_pods_by_name_and_cluster_ip(lab, server):
    """kill -9 of everything on the second node, its link cut, a start: pods, Service and name answer from the node's own disk."""
    agent = lab.agent("b", server)
    server.wait_node_ready("b")
    server.kubectl("create", "namespace", "edge")
    server.apply(HELLO.replace("    spec:\n      termination", "    spec:\n      nodeSelector: {kubernetes.io/hostname: b}\n      termination"), "-n", "edge")
    server.wait_pods_ready("edge", "app=hello", 2)
    assert {p["spec"]["nodeName"] for p in server.pods("edge")} == {"b"}
    ip = server.get("svc", "hello", "-n", "edge")["spec"]["clusterIP"]
    wait_for("the Service answers on b", lambda: fetch(agent, ip) == "hello from sampan\n")
    agent.kill_everything()
    agent.host.cut()
    agent.start()
    try:
        wait_for("the Service answers without a link", lambda: fetch(agent, ip) == "hello from sampan\n", 60)
        assert agent.host.run("dig", "+short", "+time=2", "+tries=1", "@10.43.0.10", "hello.edge.svc.cluster.local").strip() == ip
    finally:
        agent.host.heal()
    server.wait_node_ready("b")
    server.wait_pods_ready("edge", "app=hello", 2)


def test_with_the_api_process_gone_pods_and_names_go_on(running):
    """The store is damaged, so the api process cannot serve; kill -9 of everything and a start: the node needs none of it."""
    ip = running_ip(running)
    db = os.path.join(running.data, "server", "db")
    running.kill_everything()
    os.rename(db, db + ".away")
    os.mkdir(db)
    with open(os.path.join(db, "store.db"), "w") as f:
        f.write("this is no database " * 1000)
        shutil.chown(f.name, "sampan")
    Process.start(running)
    try:
        wait_for("the Service answers", lambda: fetch(running, ip) == "hello from sampan\n", 60)
        assert running.host.run("dig", "+short", "+time=2", "+tries=1", "@10.43.0.10", "hello.run.svc.cluster.local").strip() == ip
        assert "damaged" in running.log() or "not a database" in running.log()
    finally:
        running.stop()
        shutil.rmtree(db)
        os.rename(db + ".away", db)
    running.start()
    running.wait_node_ready("a")
    running.wait_pods_ready("run", "app=hello", 2)
