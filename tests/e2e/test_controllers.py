"""Controllers under faults, on real pods: api killed at random while things roll, a node's link cut and healed, the manifests folder, a node that is its own master."""
import json
import os
import random

import pytest
from lab.lab import wait_for

IMAGE = "sampan.io/busybox:1"
SLEEP = '["sh", "-c", "trap exit TERM; while true; do sleep 1; done"]'


def deployment(name, replicas, value="1", more=""):
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
{more}
      containers:
      - {{name: c, image: "{IMAGE}", command: {SLEEP}, env: [{{name: V, value: "{value}"}}]}}
"""


def put(server, name, text, mode=0o644):
    """As an editor or cp writes it: beside it, then renamed."""
    path = os.path.join(server.data, "server", "manifests", name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".tmp", "w") as f:
        f.write(text)
    os.chmod(path + ".tmp", mode)
    os.rename(path + ".tmp", path)
    return path


def addon(server, name):
    out = server.kubectl("get", "addon", name, "-n", "kube-system", "-o", "json", check=False)
    return json.loads(out) if out.startswith("{") else None


def state(server, name):
    a = addon(server, name)
    return a.get("status", {}).get("state") if a else None


def test_a_manifest_is_applied_changed_and_pruned(server):
    cm = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: from-file}\ndata: {k: %s}\n"
    put(server, "site/app.yaml", cm % "one" + "---\n" + deployment("from-file", 1), mode=0o600)  # only root may read it, as secrets are kept
    wait_for("the file applied", lambda: state(server, "site-app") == "Applied", 60)
    server.wait_pods_ready("default", "app=from-file", 1)
    path = put(server, "site/app.yaml", cm % "two")
    wait_for("the Deployment pruned", lambda: "NotFound" in server.kubectl("get", "deploy", "from-file", check=False), 60)
    assert server.get("cm", "from-file")["data"]["k"] == "two"
    put(server, "broken.yaml", "kind: [")
    wait_for("the broken file told", lambda: state(server, "broken") == "Failed", 60)
    assert "ParseManifestFailed" in server.kubectl("describe", "addon", "broken", "-n", "kube-system")
    server.kill("api")
    os.unlink(path)  # while nobody looks
    server.wait_ready()
    wait_for("pruned after the restart", lambda: addon(server, "site-app") is None, 60)
    assert "NotFound" in server.kubectl("get", "cm", "from-file", check=False)


def test_rollouts_end_although_api_is_killed_at_random_and_nothing_else_restarts(server, ns):
    """Killed between any two writes; the pods of an application that does not roll must not notice."""
    dice = random.Random(7)
    server.apply(deployment("still", 2), "-n", ns)
    server.apply(deployment("rolls", 3), "-n", ns)
    still = {p["metadata"]["uid"] for p in server.wait_pods_ready(ns, "app=still", 2)}
    server.wait_pods_ready(ns, "app=rolls", 3)
    for turn in range(2):
        server.kubectl("set", "env", "deploy/rolls", f"V=turn-{turn}", "-n", ns)
        for _ in range(2):
            old = server.pid("api")
            events = dice.randrange(1, 8)  # let the rollout come some steps further first
            seen = set()
            wait_for("some steps", lambda: len(seen.update((p["metadata"]["uid"], p["metadata"]["resourceVersion"]) for p in server.pods(ns, "app=rolls")) or seen) >= 3 + events
                     or done(server, ns, f"turn-{turn}"), 60)
            server.kill("api")
            wait_for("a new api", lambda: server.children().get("api", old) != old)
            server.wait_ready()
        wait_for("the rollout's end", lambda: done(server, ns, f"turn-{turn}"), 120)
    now = server.wait_pods_ready(ns, "app=still", 2)
    assert {p["metadata"]["uid"] for p in now} == still
    assert all(c["restartCount"] == 0 for p in server.pods(ns) for c in p["status"].get("containerStatuses", []))
    sets = [r for r in server.get("rs", "-n", ns)["items"] if r["metadata"]["labels"]["app"] == "rolls"]
    assert sum(r["spec"]["replicas"] for r in sets) == 3 and sum(1 for r in sets if r["spec"]["replicas"]) == 1


def done(server, ns, value):
    d = server.get("deploy", "rolls", "-n", ns)
    s = d.get("status", {})
    env = d["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"]
    pods = [p for p in server.pods(ns, "app=rolls") if "deletionTimestamp" not in p["metadata"]]
    return (env == value and s.get("observedGeneration") == d["metadata"]["generation"] and s.get("updatedReplicas") == 3 == s.get("readyReplicas") == s.get("replicas")
            and len(pods) == 3 and all(p["spec"]["containers"][0]["env"][0]["value"] == value for p in pods))


@pytest.fixture(scope="module")
def agent(lab, server):
    a = lab.agent("b", server, "--autonomous")
    server.wait_node_ready("b")
    return a


def ids(server, ns):
    return {c["containerID"] for p in server.pods(ns, "app=edge") for c in p["status"]["containerStatuses"]}


def test_a_node_cut_off_again_and_again_keeps_its_pods(server, agent, ns):
    """Short cuts, as a bad mobile link makes them: no pod is restarted, moved or made twice."""
    server.apply(deployment("edge", 2, more="      nodeSelector: {kubernetes.io/hostname: b}"), "-n", ns)
    before = {p["metadata"]["uid"] for p in server.wait_pods_ready(ns, "app=edge", 2)}
    containers = ids(server, ns)
    for turn in range(100):
        agent.host.cut()
        if turn % 10 == 0:
            server.kubectl("annotate", "deploy", "edge", f"turn={turn}", "-n", ns, "--overwrite")
        agent.host.heal()
    server.wait_node_ready("b")
    server.kubectl("run", "after", "-n", ns, f"--image={IMAGE}", "--restart=Never", "--overrides",
                   json.dumps({"spec": {"nodeName": "b", "terminationGracePeriodSeconds": 1}}), "--", "sh", "-c", "sleep 600")
    wait_for("the link does its work", lambda: server.get("pod", "after", "-n", ns)["status"]["phase"] == "Running", 90)
    now = server.wait_pods_ready(ns, "app=edge", 2)
    assert {p["metadata"]["uid"] for p in now} == before
    assert all(c["restartCount"] == 0 for p in now for c in p["status"]["containerStatuses"])
    assert containers <= ids(server, ns), "no container was made anew"


def test_an_autonomous_node_out_of_reach_is_not_evicted(server, agent, ns):
    """Longer than the grace for nodes: its pods stay, none is made elsewhere, a StatefulSet makes no second pod of the same name."""
    server.apply(f"""
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  serviceName: db
  replicas: 1
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec:
      terminationGracePeriodSeconds: 1
      nodeSelector: {{kubernetes.io/hostname: b}}
      tolerations: [{{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1}}]
      containers: [{{name: c, image: "{IMAGE}", command: {SLEEP}}}]
""", "-n", ns)
    uid = server.wait_pods_ready(ns, "app=db", 1)[0]["metadata"]["uid"]
    agent.host.cut()
    try:
        def unreachable():
            return [t for t in server.get("node", "b")["spec"].get("taints", []) if t["key"] == "node.kubernetes.io/unreachable"]
        wait_for("the node Unknown", unreachable, 120)
        assert {t["effect"] for t in unreachable()} == {"NoSchedule"}
        pods = server.pods(ns, "app=db")
        assert [p["metadata"]["uid"] for p in pods] == [uid] and "deletionTimestamp" not in pods[0]["metadata"]
    finally:
        agent.host.heal()
    server.wait_node_ready("b")
    pod = server.wait_pods_ready(ns, "app=db", 1)[0]
    assert pod["metadata"]["uid"] == uid and pod["status"]["containerStatuses"][0]["restartCount"] == 0


def test_an_autoscaler_follows_what_pods_really_use(server, ns):
    """Figures from the node's cgroups, through metrics.k8s.io."""
    server.apply(f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: burn}}
spec:
  selector: {{matchLabels: {{app: burn}}}}
  template:
    metadata: {{labels: {{app: burn}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {{name: c, image: "{IMAGE}", command: ["sh", "-c", "trap exit TERM; while true; do :; done"], resources: {{requests: {{cpu: 20m}}, limits: {{cpu: 60m}}}}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: burn}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: burn}}
  maxReplicas: 2
  metrics: [{{type: Resource, resource: {{name: cpu, target: {{type: Utilization, averageUtilization: 50}}}}}}]
""", "-n", ns)
    wait_for("a second replica", lambda: server.get("deploy", "burn", "-n", ns)["spec"]["replicas"] == 2, 150)
    described = server.kubectl("describe", "hpa", "burn", "-n", ns)
    assert "SuccessfulRescale" in described and "New size: 2; reason: cpu resource utilization (percentage of request) above target" in described
    wait_for("figures in the status", lambda: (server.get("hpa", "burn", "-n", ns)["status"].get("currentMetrics") or [{}])[0].get("resource", {}).get("current", {}).get("averageUtilization", 0) > 50, 60)
