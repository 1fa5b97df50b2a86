"""Workload controllers and the scheduler on real pods, seen through real kubectl: what an application's owner does all day."""
import json
import os

from lab.lab import wait_for

IMAGE = "sampan.io/busybox:1"
SLEEP = '["sh", "-c", "trap exit TERM; echo started; while true; do sleep 1; done"]'


def deployment(name, replicas, env="1", more=""):
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
{more}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - {{name: c, image: "{IMAGE}", command: {SLEEP}, env: [{{name: V, value: "{env}"}}]}}
"""


def names(server, ns, selector):
    return sorted(p["metadata"]["name"] for p in server.pods(ns, selector) if "deletionTimestamp" not in p["metadata"])


def test_a_deployment_rolls_out_is_undone_and_scaled(server, ns):
    server.apply(deployment("web", 2), "-n", ns)
    server.kubectl("rollout", "status", "deploy/web", "-n", ns, "--timeout=60s")
    before = names(server, ns, "app=web")
    assert len(before) == 2
    server.kubectl("set", "env", "deploy/web", "V=2", "-n", ns)
    out = server.kubectl("rollout", "status", "deploy/web", "-n", ns, "--timeout=60s")
    assert "successfully rolled out" in out
    assert not set(before) & set(names(server, ns, "app=web"))
    assert len(server.kubectl("rollout", "history", "deploy/web", "-n", ns).strip().splitlines()) == 4
    server.kubectl("rollout", "undo", "deploy/web", "-n", ns)
    server.kubectl("rollout", "status", "deploy/web", "-n", ns, "--timeout=60s")
    assert server.get("deploy", "web", "-n", ns)["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] == "1"
    assert server.get("deploy", "web", "-n", ns)["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    server.kubectl("scale", "deploy/web", "--replicas=1", "-n", ns)
    wait_for("one pod is left", lambda: len(server.pods(ns, "app=web")) == 1)
    described = server.kubectl("describe", "deploy", "web", "-n", ns)
    assert "Scaled up replica set" in described and "Scaled down replica set" in described


def test_what_a_deployment_owns_goes_with_it_or_stays(server, ns):
    server.apply(deployment("gone", 1), "-n", ns)
    server.apply(deployment("left", 1), "-n", ns)
    for name in ("gone", "left"):
        server.wait_pods_ready(ns, f"app={name}", 1)
    server.kubectl("delete", "deploy", "gone", "-n", ns, "--cascade=foreground", "--timeout=60s")
    assert not server.pods(ns, "app=gone")
    server.kubectl("delete", "deploy", "left", "-n", ns, "--cascade=orphan")
    sets = server.get("rs", "-n", ns, "-l", "app=left")["items"]
    assert len(sets) == 1 and "ownerReferences" not in sets[0]["metadata"]
    assert len(server.pods(ns, "app=left")) == 1
    server.apply(deployment("left", 1), "-n", ns)
    wait_for("the ReplicaSet is adopted", lambda: server.get("rs", "-n", ns, "-l", "app=left")["items"][0]["metadata"].get("ownerReferences"))


def test_a_stateful_set_keeps_names_and_order(server, ns):
    server.apply(f"""
apiVersion: v1
kind: Service
metadata: {{name: db}}
spec: {{clusterIP: None, selector: {{app: db}}, ports: [{{port: 80}}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  serviceName: db
  replicas: 2
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {{name: c, image: "{IMAGE}", command: {SLEEP}}}
""", "-n", ns)
    server.kubectl("rollout", "status", "sts/db", "-n", ns, "--timeout=60s")
    pods = {p["metadata"]["name"]: p for p in server.pods(ns, "app=db")}
    assert sorted(pods) == ["db-0", "db-1"]
    assert pods["db-0"]["status"]["conditions"] and pods["db-0"]["metadata"]["creationTimestamp"] <= pods["db-1"]["metadata"]["creationTimestamp"]
    assert server.kubectl("exec", "db-0", "-n", ns, "--", "hostname").strip() == "db-0"
    uid = pods["db-0"]["metadata"]["uid"]
    server.kubectl("delete", "pod", "db-0", "-n", ns)
    wait_for("db-0 came back as another", lambda: any(p["metadata"]["name"] == "db-0" and p["metadata"]["uid"] != uid for p in server.pods(ns, "app=db")))
    server.wait_pods_ready(ns, "app=db", 2)


def test_a_daemon_set_runs_on_the_node(server, ns):
    server.apply(f"""
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: agent}}
spec:
  selector: {{matchLabels: {{app: agent}}}}
  template:
    metadata: {{labels: {{app: agent}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {{name: c, image: "{IMAGE}", command: {SLEEP}}}
""", "-n", ns)
    server.kubectl("rollout", "status", "ds/agent", "-n", ns, "--timeout=60s")
    assert [p["spec"]["nodeName"] for p in server.pods(ns, "app=agent")] == ["a"]


def test_jobs_complete_fail_and_come_from_cron_jobs(server, ns):
    server.kubectl("create", "job", "ok", "-n", ns, f"--image={IMAGE}", "--", "true")
    server.kubectl("wait", "job/ok", "-n", ns, "--for=condition=complete", "--timeout=60s")
    server.apply(f"""
apiVersion: batch/v1
kind: Job
metadata: {{name: bad}}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers:
      - {{name: c, image: "{IMAGE}", command: ["false"]}}
""", "-n", ns)
    server.kubectl("wait", "job/bad", "-n", ns, "--for=condition=failed", "--timeout=60s")
    reasons = {c["type"]: c["reason"] for c in server.get("job", "bad", "-n", ns)["status"]["conditions"]}
    assert reasons["Failed"] == "BackoffLimitExceeded"
    server.kubectl("create", "cronjob", "nightly", "-n", ns, f"--image={IMAGE}", "--schedule=0 3 * * *", "--", "echo", "done")
    server.kubectl("create", "job", "now", "-n", ns, "--from=cronjob/nightly")
    server.kubectl("wait", "job/now", "-n", ns, "--for=condition=complete", "--timeout=60s")
    assert server.kubectl("logs", "job/now", "-n", ns).strip() == "done"
    server.kubectl("delete", "job", "ok", "bad", "now", "-n", ns, "--timeout=60s")
    wait_for("their pods are gone", lambda: not server.pods(ns))


def test_an_indexed_job_knows_its_index(server, ns):
    server.apply(f"""
apiVersion: batch/v1
kind: Job
metadata: {{name: parts}}
spec:
  completions: 2
  parallelism: 2
  completionMode: Indexed
  template:
    spec:
      restartPolicy: Never
      containers:
      - {{name: c, image: "{IMAGE}", command: ["sh", "-c", "echo part $JOB_COMPLETION_INDEX"]}}
""", "-n", ns)
    server.kubectl("wait", "job/parts", "-n", ns, "--for=condition=complete", "--timeout=60s")
    assert server.get("job", "parts", "-n", ns)["status"]["completedIndexes"] == "0,1"
    said = sorted(server.kubectl("logs", p["metadata"]["name"], "-n", ns).strip() for p in server.pods(ns))
    assert said == ["part 0", "part 1"]


def test_a_pod_that_fits_nowhere_says_why(server, ns):
    server.apply(f"""
apiVersion: v1
kind: Pod
metadata: {{name: big}}
spec:
  containers:
  - {{name: c, image: "{IMAGE}", resources: {{requests: {{cpu: "5000"}}}}}}
""", "-n", ns)
    wait_for("the event", lambda: "0/1 nodes are available: 1 Insufficient cpu." in server.kubectl("describe", "pod", "big", "-n", ns))
    condition = [c for c in server.get("pod", "big", "-n", ns)["status"]["conditions"] if c["type"] == "PodScheduled"][0]
    assert condition["status"] == "False" and condition["reason"] == "Unschedulable"


def test_a_drain_respects_the_budget_and_a_cordon_holds(server, ns):
    server.apply(deployment("kept", 1), "-n", ns)
    server.wait_pods_ready(ns, "app=kept", 1)
    server.kubectl("create", "pdb", "kept", "-n", ns, "--selector=app=kept", "--min-available=1")
    wait_for("the budget counts", lambda: server.get("pdb", "kept", "-n", ns)["status"].get("currentHealthy") == 1)
    pod = names(server, ns, "app=kept")[0]
    body = json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": ns}})
    refused = server.kubectl("create", "--raw", f"/api/v1/namespaces/{ns}/pods/{pod}/eviction", "-f", "-", stdin=body, check=False)
    assert names(server, ns, "app=kept") == [pod], refused
    server.kubectl("cordon", "a")
    try:
        server.kubectl("delete", "pdb", "kept", "-n", ns)
        server.kubectl("create", "--raw", f"/api/v1/namespaces/{ns}/pods/{pod}/eviction", "-f", "-", stdin=body)
        wait_for("another pod waits", lambda: [p for p in server.pods(ns, "app=kept") if p["metadata"]["name"] != pod and "nodeName" not in p["spec"]])
    finally:
        server.kubectl("uncordon", "a")
    server.wait_pods_ready(ns, "app=kept", 1)


def test_a_namespace_goes_with_all_that_is_in_it(server):
    server.kubectl("create", "namespace", "doomed")
    server.apply(deployment("web", 2), "-n", "doomed")
    server.wait_pods_ready("doomed", "app=web", 2)
    server.kubectl("delete", "namespace", "doomed", "--timeout=60s", seconds=90)
    assert "doomed" not in server.kubectl("get", "namespaces", "-o", "name")


def test_rollouts_survive_the_death_of_the_api(server, ns):
    server.apply(deployment("web", 3, more="  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 1}}"), "-n", ns)
    server.wait_pods_ready(ns, "app=web", 3)
    for turn in range(3):
        value = f"turn-{turn}"
        server.kubectl("set", "env", "deploy/web", f"V={value}", "-n", ns)
        wait_for("it began", lambda: len(server.get("rs", "-n", ns)["items"]) == turn + 2, every=0.05)
        server.kill("api")
        wait_for("the api is back", lambda: server.kubectl("get", "--raw", "/readyz", check=False).strip() == "ok", 60)
        server.kubectl("rollout", "status", "deploy/web", "-n", ns, "--timeout=90s", seconds=100)
        wait_for("only new pods are left", lambda: [p["spec"]["containers"][0]["env"][0]["value"] for p in server.pods(ns, "app=web")] == [value] * 3, 60)


def test_top_tells_what_nodes_and_pods_use(server, ns):
    server.apply(f"""
apiVersion: v1
kind: Pod
metadata: {{name: busy, labels: {{app: busy}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {{name: spin, image: "{IMAGE}", command: ["sh", "-c", "while true; do :; done"], resources: {{limits: {{cpu: 200m}}}}}}
  - {{name: idle, image: "{IMAGE}", command: ["sleep", "1000"]}}
""", "-n", ns)
    server.wait_pods_ready(ns, "app=busy", 1)
    node = server.pods(ns, "app=busy")[0]["spec"]["nodeName"]
    rows = [line.split() for line in server.kubectl("top", "nodes", "--no-headers").strip().splitlines()]
    assert [r[0] for r in rows] == [node] and rows[0][1].endswith("m") and rows[0][3].endswith("Mi")
    def use():
        lines = server.kubectl("top", "pod", "-n", ns, "--containers", "--no-headers").strip().splitlines()
        return {line.split()[1]: int(line.split()[2].rstrip("m")) for line in lines}
    wait_for("the busy container is seen to be busy", lambda: 50 <= use().get("spin", 0) <= 300 and use()["idle"] < 20)
    metrics = f"/apis/metrics.k8s.io/v1beta1/namespaces/{ns}/pods"
    got = json.loads(server.kubectl("get", "--raw", f"{metrics}?labelSelector=app%3Dbusy"))
    assert [i["metadata"]["name"] for i in got["items"]] == ["busy"] and got["items"][0]["metadata"]["labels"] == {"app": "busy"}
    assert not json.loads(server.kubectl("get", "--raw", f"{metrics}?labelSelector=app%3Dnone"))["items"]
    text = server.kubectl("get", "--raw", f"/api/v1/nodes/{node}:10250/proxy/metrics/cadvisor")
    assert f'container_cpu_usage_seconds_total{{container="spin"' in text and f'pod="busy",cpu="total"}}' in text
    assert "kubelet_running_pods" in server.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/metrics")


def test_hooks_over_http_are_performed_and_a_sidecars_startup_probe_is_waited_for(server, ns):
    server.apply(f"""
apiVersion: v1
kind: Pod
metadata: {{name: web, labels: {{app: web}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {{name: c, image: "{IMAGE}", command: ["sh", "-c", "exec httpd -f -vv -p 8080 -h /"], readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}}}
""", "-n", ns)
    server.wait_pods_ready(ns, "app=web", 1)
    ip = server.pods(ns, "app=web")[0]["status"]["podIP"]
    server.apply(f"""
apiVersion: v1
kind: Pod
metadata: {{name: hooks}}
spec:
  terminationGracePeriodSeconds: 30
  initContainers:
  - name: side
    restartPolicy: Always
    image: "{IMAGE}"
    command: ["sh", "-c", "sleep 2; touch /tmp/up; trap exit TERM; while true; do sleep 0.2; done"]
    startupProbe: {{exec: {{command: ["cat", "/tmp/up"]}}, periodSeconds: 1, failureThreshold: 100}}
  containers:
  - name: main
    image: "{IMAGE}"
    command: {SLEEP}
    lifecycle:
      postStart: {{httpGet: {{host: "{ip}", path: /after-start, port: 8080}}}}
      preStop: {{httpGet: {{host: "{ip}", path: /before-stop, port: 8080}}}}
""", "-n", ns)
    wait_for("the pod runs", lambda: server.get("pod", "hooks", "-n", ns)["status"]["phase"] == "Running")
    status = server.get("pod", "hooks", "-n", ns)["status"]
    side, main = status["initContainerStatuses"][0], status["containerStatuses"][0]
    assert side["started"] and main["state"]["running"]["startedAt"] > side["state"]["running"]["startedAt"]
    events = server.kubectl("get", "events", "-n", ns, "--field-selector", "involvedObject.name=hooks,reason=Unhealthy")
    assert "cat: can't open '/tmp/up'" in events  # what the command said, not only how it ended
    wait_for("the first hook came", lambda: "after-start" in server.kubectl("logs", "web", "-n", ns))
    assert "before-stop" not in server.kubectl("logs", "web", "-n", ns)
    server.kubectl("delete", "pod", "hooks", "-n", ns, "--timeout=60s")
    assert "before-stop" in server.kubectl("logs", "web", "-n", ns)


def test_a_static_pod_runs_from_its_file_and_its_mirror_is_only_a_picture(server, ns):
    folder = os.path.join(server.data, "agent", "pod-manifests")

    def put(message):
        with open(os.path.join(folder, ".new"), "w") as f:
            f.write(f"""
apiVersion: v1
kind: Pod
metadata: {{name: keeper, namespace: {ns}, labels: {{app: keeper}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {{name: c, image: "{IMAGE}", command: ["sh", "-c", "echo {message}; sleep 1000"]}}
""")
        os.rename(os.path.join(folder, ".new"), os.path.join(folder, "keeper.yaml"))

    def mirror():
        return server.get("pod", "keeper-a", "-n", ns)

    put("first")
    server.wait_pods_ready(ns, "app=keeper", 1)
    first = mirror()
    assert first["metadata"]["ownerReferences"][0]["kind"] == "Node" and first["spec"]["nodeName"] == "a"
    wait_for("its log is read by the mirror's name", lambda: "first" in server.kubectl("logs", "keeper-a", "-n", ns))
    assert "hello" in server.kubectl("exec", "keeper-a", "-n", ns, "--", "echo", "hello")
    server.kubectl("delete", "pod", "keeper-a", "-n", ns, "--wait=false")
    wait_for("the mirror is made again", lambda: mirror()["metadata"]["uid"] != first["metadata"]["uid"])
    wait_for("it shows the same container", lambda: mirror()["status"]["containerStatuses"][0]["containerID"] == first["status"]["containerStatuses"][0]["containerID"])
    put("second")
    wait_for("the new version runs", lambda: "second" in server.kubectl("logs", "keeper-a", "-n", ns))
    with open(os.path.join(folder, "wrong.yaml"), "w") as f:
        f.write("kind: Pod\nthis is: [no manifest\n")
    os.unlink(os.path.join(folder, "keeper.yaml"))
    wait_for("pod and mirror are gone", lambda: not server.pods(ns, "app=keeper"))
    assert "static pod wrong.yaml" in server.log()
    os.unlink(os.path.join(folder, "wrong.yaml"))


def test_debug_sees_the_processes_of_its_target_and_the_folders_of_a_node(server, ns):
    server.apply(f"""
apiVersion: v1
kind: Pod
metadata: {{name: patient, labels: {{app: patient}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {{name: c, image: "{IMAGE}", command: ["sleep", "98765"]}}
""", "-n", ns)
    server.wait_pods_ready(ns, "app=patient", 1)
    server.kubectl("debug", "pod/patient", "-n", ns, f"--image={IMAGE}", "--target=c", "-c", "doctor", "--profile=general", "--", "ps")
    wait_for("it looked", lambda: "sleep 98765" in server.kubectl("logs", "patient", "-c", "doctor", "-n", ns))
    status = server.get("pod", "patient", "-n", ns)["status"]
    assert status["phase"] == "Running" and status["ephemeralContainerStatuses"][0]["name"] == "doctor"
    server.kubectl("debug", "node/a", "-n", ns, f"--image={IMAGE}", "--profile=sysadmin", "--", "ls", "/host")
    name = next(p["metadata"]["name"] for p in server.pods(ns) if p["metadata"]["name"].startswith("node-debugger-a-"))
    wait_for("it saw the node's root", lambda: {"etc", "proc", "usr"} <= set(server.kubectl("logs", name, "-n", ns).split()))


def test_a_runtime_class_names_the_oci_runtime(server, ns):
    for name, handler in (("usual", "crun"), ("none", "nosuch")):
        server.apply(f"apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {{name: {name}-{ns}}}\nhandler: {handler}\noverhead: {{podFixed: {{cpu: 10m}}}}\n")
        server.apply(f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  runtimeClassName: {name}-{ns}
  terminationGracePeriodSeconds: 0
  containers:
  - {{name: c, image: "{IMAGE}", command: ["sleep", "1000"]}}
""", "-n", ns)
    server.wait_pods_ready(ns, "app=usual", 1)
    assert server.get("pod", "usual", "-n", ns)["spec"]["overhead"] == {"cpu": "10m"}
    wait_for("the reason is told", lambda: 'no runtime for "nosuch" is configured' in server.kubectl("get", "events", "-n", ns, "--field-selector", "involvedObject.name=none"))
    server.kubectl("delete", "pod", "none", "-n", ns, "--timeout=30s")
    server.kubectl("delete", "runtimeclass", f"usual-{ns}", f"none-{ns}")


def test_a_resize_that_fits_is_done_and_one_that_does_not_is_told(server, ns):
    server.apply(f"""
apiVersion: v1
kind: Pod
metadata: {{name: elastic, labels: {{app: elastic}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: "{IMAGE}"
    command: ["sleep", "1000"]
    resources: {{requests: {{cpu: 10m, memory: 16Mi}}, limits: {{cpu: 20m, memory: 32Mi}}}}
    resizePolicy: [{{resourceName: memory, restartPolicy: RestartContainer}}]
""", "-n", ns)
    server.wait_pods_ready(ns, "app=elastic", 1)

    def resize(resources):
        server.kubectl("patch", "pod", "elastic", "-n", ns, "--subresource=resize", "-p", json.dumps({"spec": {"containers": [{"name": "c", "resources": resources}]}}))

    def status():
        return server.get("pod", "elastic", "-n", ns)["status"]

    def of_c():
        return next(c for c in status()["containerStatuses"] if c["name"] == "c")

    resize({"limits": {"cpu": "30m"}})
    wait_for("more cpu without a restart", lambda: of_c()["resources"]["limits"]["cpu"] == "30m" and of_c()["restartCount"] == 0)
    resize({"limits": {"memory": "48Mi"}})
    wait_for("more memory by a restart", lambda: of_c()["resources"]["limits"]["memory"] == "48Mi" and of_c()["restartCount"] == 1)
    resize({"requests": {"cpu": "900"}, "limits": {"cpu": "900"}})
    wait_for("Infeasible", lambda: any(c["type"] == "PodResizePending" and c["reason"] == "Infeasible" for c in status()["conditions"]))
    assert of_c()["allocatedResources"]["cpu"] == "10m" and of_c()["resources"]["limits"]["cpu"] == "30m"
    server.apply(f"""
apiVersion: v1
kind: Pod
metadata: {{name: reaching}}
spec:
  securityContext: {{sysctls: [{{name: kernel.msgmax, value: "65536"}}]}}
  containers:
  - {{name: c, image: "{IMAGE}", command: ["sleep", "1000"]}}
""", "-n", ns)
    wait_for("a sysctl beyond the safe ones is refused", lambda: server.get("pod", "reaching", "-n", ns)["status"].get("reason") == "SysctlForbidden")
