"""Real kubectl 1.36 on one server with its node: what a new user types first."""
import json
import os
import subprocess

import pytest
from lab.lab import sh, wait_for
from lab.tools import TOP

HELLO = open(os.path.join(TOP, "examples", "hello.yaml")).read()


@pytest.fixture(scope="module")
def hello(server):
    server.kubectl("create", "namespace", "hello")
    server.apply(HELLO, "-n", "hello")
    server.wait_pods_ready("hello", "app=hello", 2)
    return "hello"


def test_the_node_is_listed_as_kubectl_shows_nodes(server):
    head, row = server.kubectl("get", "nodes", "-o", "wide").strip().splitlines()
    assert head.split() == "NAME STATUS ROLES AGE VERSION INTERNAL-IP EXTERNAL-IP OS-IMAGE KERNEL-VERSION CONTAINER-RUNTIME".split()
    assert row.split()[:2] == ["a", "Ready"] and server.host.ip in row and "v1.36" in row


def test_an_applied_deployment_runs_and_is_shown_as_a_table(server, hello):
    lines = server.kubectl("get", "pods", "-n", hello, "-o", "wide").strip().splitlines()
    assert lines[0].split()[:7] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]
    assert len(lines) == 3 and all(line.split()[1:3] == ["1/1", "Running"] for line in lines[1:])
    assert server.kubectl("get", "deploy", "hello", "-n", hello, "--no-headers").split()[:4] == ["hello", "2/2", "2", "2"]


def test_applying_the_same_again_changes_nothing(server, hello):
    out = server.apply(HELLO, "-n", hello)
    assert out.count("unchanged") == 3, out


def test_get_as_yaml_json_jsonpath_and_columns(server, hello):
    assert "kind: Deployment" in server.kubectl("get", "deploy", "hello", "-n", hello, "-o", "yaml")
    assert server.get("deploy", "hello", "-n", hello)["status"]["readyReplicas"] == 2
    assert server.kubectl("get", "deploy", "hello", "-n", hello, "-o", "jsonpath={.spec.replicas}") == "2"
    assert server.kubectl("get", "cm", "hello", "-n", hello, "-o", "custom-columns=N:.metadata.name", "--no-headers").strip() == "hello"


def test_watch_shows_changes_as_they_come(server, ns):
    path = os.path.join(server.lab.folder, "watch.out")
    with open(path, "w") as out:
        watch = subprocess.Popen(["nsenter", f"--net=/run/netns/{server.host.netns}", server.lab.kubectl_path, "--kubeconfig", server.kubeconfig, "get", "cm", "-n", ns, "-w", "--output-watch-events"], stdout=out)
    try:
        wait_for("the watch began", lambda: "kube-root-ca.crt" in open(path).read())
        server.kubectl("create", "configmap", "seen", "-n", ns, "--from-literal=a=b")
        server.kubectl("delete", "configmap", "seen", "-n", ns)
        wait_for("both events", lambda: [line.split()[0] for line in open(path) if "seen" in line] == ["ADDED", "DELETED"], 10)
    finally:
        watch.terminate()
        watch.wait()


def test_create_refuses_what_exists_and_what_is_wrong(server, ns):
    server.kubectl("create", "configmap", "x", "-n", ns)
    assert 'configmaps "x" already exists' in server.kubectl("create", "configmap", "x", "-n", ns, check=False)
    bad = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: b}\nspec: {replicas: -1, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c}]}}}\n"
    out = server.apply(bad, "-n", ns, check=False)
    assert "spec.replicas" in out and "must be greater than or equal to 0" in out and "spec.template.spec.containers[0].image: Required value" in out, out
    assert 'unknown field "spec.nonsense"' in server.apply(bad.replace("replicas: -1", "nonsense: 1"), "-n", ns, check=False)


def test_edit_changes_the_object(server, ns):
    server.kubectl("create", "configmap", "e", "-n", ns, "--from-literal=k=before")
    script = os.path.join(server.lab.folder, "editor.sh")
    with open(script, "w") as f:
        f.write("#!/bin/sh\nsed -i 's/k: before/k: after/' \"$1\"\n")
    os.chmod(script, 0o755)
    sh("nsenter", f"--net=/run/netns/{server.host.netns}", server.lab.kubectl_path, "--kubeconfig", server.kubeconfig, "edit", "configmap", "e", "-n", ns, env=dict(os.environ, EDITOR=script))
    assert server.get("cm", "e", "-n", ns)["data"]["k"] == "after"


def test_patches_of_three_kinds(server, ns):
    server.kubectl("create", "deployment", "p", "-n", ns, "--image=sampan.io/busybox:1", "--replicas=0")
    server.kubectl("patch", "deploy", "p", "-n", ns, "--type=merge", "-p", '{"metadata":{"labels":{"m":"1"}}}')
    server.kubectl("patch", "deploy", "p", "-n", ns, "--type=json", "-p", '[{"op":"add","path":"/metadata/labels/j","value":"1"}]')
    server.kubectl("patch", "deploy", "p", "-n", ns, "-p", '{"spec":{"template":{"spec":{"containers":[{"name":"busybox","tty":true}]}}}}')
    got = server.get("deploy", "p", "-n", ns)
    assert got["metadata"]["labels"].items() >= {"m": "1", "j": "1"}.items()
    assert [(c["name"], c["tty"], c["image"]) for c in got["spec"]["template"]["spec"]["containers"]] == [("busybox", True, "sampan.io/busybox:1")]


def test_scale_up_and_down(server, ns):
    server.apply(HELLO, "-n", ns)
    server.kubectl("scale", "deploy", "hello", "-n", ns, "--replicas=3")
    server.wait_pods_ready(ns, "app=hello", 3)
    server.kubectl("scale", "deploy", "hello", "-n", ns, "--replicas=1")
    server.wait_pods_ready(ns, "app=hello", 1)


def test_a_rolling_update_replaces_every_pod(server, ns):
    server.apply(HELLO, "-n", ns)
    before = {p["metadata"]["uid"] for p in server.wait_pods_ready(ns, "app=hello", 2)}
    server.kubectl("set", "env", "deploy/hello", "-n", ns, "ROUND=2")
    server.kubectl("rollout", "status", "deploy/hello", "-n", ns, "--timeout=60s", seconds=70)
    after = server.wait_pods_ready(ns, "app=hello", 2)
    assert not before & {p["metadata"]["uid"] for p in after}


def test_describe_names_events_and_mounts(server, hello):
    out = server.kubectl("describe", "pods", "-n", hello, "-l", "app=hello")
    for word in ("Scheduled", "Started", "/www from page", "Ready:          True", "QoS Class:"):
        assert word in out, out
    assert "ScalingReplicaSet" in server.kubectl("describe", "deploy", "hello", "-n", hello)


def test_logs_follow_a_container(server, ns):
    server.kubectl("run", "talk", "-n", ns, "--image=sampan.io/busybox:1", "--restart=Never", "--", "sh", "-c", "for i in 1 2 3; do echo line $i; sleep 0.3; done")
    wait_for("the pod started", lambda: server.get("pod", "talk", "-n", ns)["status"].get("containerStatuses", [{}])[0].get("state", {}).keys() & {"running", "terminated"})
    assert server.kubectl("logs", "-f", "talk", "-n", ns).splitlines() == ["line 1", "line 2", "line 3"]
    assert server.kubectl("logs", "--tail=1", "talk", "-n", ns).splitlines() == ["line 3"]
    wait_for("it completed", lambda: server.get("pod", "talk", "-n", ns)["status"]["phase"] == "Succeeded")


def test_exec_with_output_exit_code_and_stdin(server, hello):
    assert server.kubectl("exec", "-n", hello, "deploy/hello", "--", "cat", "/www/index.html") == "hello from sampan\n"
    assert "exit code 3" in server.kubectl("exec", "-n", hello, "deploy/hello", "--", "sh", "-c", "exit 3", check=False)
    assert server.kubectl("exec", "-i", "-n", hello, "deploy/hello", "--", "cat", stdin="through stdin\n") == "through stdin\n"


def test_exec_with_a_terminal(server, hello):
    out = sh("script", "-qec", f"nsenter --net=/run/netns/{server.host.netns} {server.lab.kubectl_path} --kubeconfig {server.kubeconfig} exec -it -n {hello} deploy/hello -- sh -c 'tty; stty size'", "/dev/null", stdin=subprocess.DEVNULL)
    assert "/dev/pts/" in out, out


def test_api_resources_lists_the_ga_kinds(server):
    out = server.kubectl("api-resources", "--no-headers")
    kinds = {line.split()[-1] for line in out.splitlines()}
    for kind in ("Pod", "Deployment", "StatefulSet", "Job", "CronJob", "NetworkPolicy", "Ingress", "HorizontalPodAutoscaler", "PodDisruptionBudget", "ClusterRole", "StorageClass", "Lease", "EndpointSlice"):
        assert kind in kinds, out


def test_every_listable_kind_answers_list_and_watch(server):
    for line in server.kubectl("api-resources", "--verbs=list,watch", "-o", "name").split():
        server.get(line, "-A")


def test_a_service_answers_by_name_and_by_cluster_ip(server, hello):
    ip = server.get("svc", "hello", "-n", hello)["spec"]["clusterIP"]
    assert server.host.run("curl", "-s", "-m", "5", f"http://{ip}/") == "hello from sampan\n"
    assert server.kubectl("exec", "-n", hello, "deploy/hello", "--", "wget", "-qO-", "http://hello/") == "hello from sampan\n"
    assert server.kubectl("exec", "-n", hello, "deploy/hello", "--", "wget", "-qO-", f"http://hello.{hello}.svc.cluster.local/") == "hello from sampan\n"


def test_rbac_lets_a_service_account_do_what_its_role_says(server, ns):
    server.kubectl("create", "serviceaccount", "reader", "-n", ns)
    server.kubectl("create", "role", "r", "-n", ns, "--verb=get,list", "--resource=configmaps")
    server.kubectl("create", "rolebinding", "r", "-n", ns, "--role=r", f"--serviceaccount={ns}:reader")
    token = server.kubectl("create", "token", "reader", "-n", ns).strip()
    as_reader = ["--token", token, "--kubeconfig", "/dev/null", "--server", "https://127.0.0.1:6443", "--insecure-skip-tls-verify"]

    def run(*words, check=True):
        return sh("nsenter", f"--net=/run/netns/{server.host.netns}", server.lab.kubectl_path, *as_reader, *words, check=check)

    assert "kube-root-ca.crt" in run("get", "cm", "-n", ns)
    out = run("get", "secrets", "-n", ns, check=False)
    assert f'User "system:serviceaccount:{ns}:reader" cannot list resource "secrets" in API group "" in the namespace "{ns}"' in out, out
    assert run("auth", "can-i", "delete", "cm", "-n", ns, check=False).strip() == "no"
    assert server.kubectl("auth", "can-i", "get", "cm", "-n", ns, "--as", f"system:serviceaccount:{ns}:reader").strip() == "yes"


def test_a_pod_reaches_the_api_with_its_own_token(server, ns):
    script = ('T=$(cat /var/run/secrets/kubernetes.io/serviceaccount/token); test -s /var/run/secrets/kubernetes.io/serviceaccount/ca.crt && '
              'cat /var/run/secrets/kubernetes.io/serviceaccount/namespace && test -n "$T" && nc -w 3 $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT </dev/null && echo " reached"')
    server.kubectl("run", "inside", "-n", ns, "--image=sampan.io/busybox:1", "--restart=Never", "--", "sh", "-c", script)
    wait_for("it ended well", lambda: server.get("pod", "inside", "-n", ns)["status"]["phase"] == "Succeeded")
    assert server.kubectl("logs", "inside", "-n", ns).strip() == f"{ns} reached"


def test_deleting_a_deployment_leaves_nothing_behind(server, ns):
    server.apply(HELLO, "-n", ns)
    server.wait_pods_ready(ns, "app=hello", 2)
    server.kubectl("delete", "deploy", "hello", "-n", ns)
    wait_for("pods and replica sets gone", lambda: not server.get("pods,rs", "-n", ns)["items"])


def test_a_deleted_namespace_takes_everything_with_it(server):
    server.kubectl("create", "namespace", "gone")
    server.apply(HELLO, "-n", "gone")
    server.wait_pods_ready("gone", "app=hello", 2)
    server.kubectl("delete", "namespace", "gone", "--timeout=60s", seconds=70)
    assert 'namespaces "gone" not found' in server.kubectl("get", "namespace", "gone", check=False)
    assert server.kubectl("get", "pods", "-n", "gone", check=False).startswith("No resources found")


def test_limits_and_seccomp_hold_in_the_container(server, hello):
    status = server.kubectl("exec", "-n", hello, "deploy/hello", "--", "cat", "/proc/self/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Seccomp"].strip() == "2" and fields["NoNewPrivs"].strip() in ("0", "1")
    assert int(fields["CapEff"], 16) == 0xA80425FB, "the default set of capabilities"
    groups = server.kubectl("exec", "-n", hello, "deploy/hello", "--", "cat", "/proc/self/cgroup")
    assert "pod" in groups
    mine = server.kubectl("exec", "-n", hello, "deploy/hello", "--", "ip", "addr")
    assert "eth0" in mine and server.host.ip not in mine


def test_the_processes_run_as_they_should(server):
    users = {}
    for name, pid in server.children().items():
        with open(f"/proc/{pid}/status") as f:
            fields = dict(line.split(":\t", 1) for line in f if ":\t" in line)
        users[name] = (int(fields["Uid"].split()[0]) == 0, fields["NoNewPrivs"].strip())
    assert users.keys() >= {"api", "gate", "node"}
    assert users["api"] == (False, "1") and users["gate"] == (False, "1") and users["node"][0]
    for pid in server.children().values():
        with open(f"/proc/{pid}/cmdline") as f:
            assert server.token().split(":")[-1] not in f.read(), "no secret in argv"


def test_status_errors_are_shaped_as_kubernetes(server):
    out = server.kubectl("get", "--raw", "/api/v1/namespaces/default/configmaps/none", check=False)
    assert "NotFound" in out or "not found" in out
    body = server.host.run("curl", "-sk", "https://127.0.0.1:6443/api/v1/namespaces/default/configmaps/none")
    status = json.loads(body)
    assert (status["kind"], status["code"], status["reason"]) == ("Status", 403, "Forbidden")
    assert status["message"] == 'configmaps "none" is forbidden: User "system:anonymous" cannot get resource "configmaps" in API group "" in the namespace "default"'
