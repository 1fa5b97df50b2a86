"""What the hub knows of a site, also while it is away; what a site lets a hub do and see at all."""
import json
import os

import pytest
from lab.lab import ENV, SAMPAN, sh, wait_for


@pytest.fixture(scope="module")
def hub(lab):
    h = lab.hub("cloud", "--https-listen-port", "6443")
    h.apply("""
apiVersion: management.cattle.io/v3
kind: Cluster
metadata: {name: c-shop}
spec: {displayName: Shop}
""", "--validate=false")
    return h


@pytest.fixture(scope="module")
def site(lab, hub):
    file = os.path.join(lab.folder, "hub.token")
    tokens = wait_for("a registration token", lambda: [i for i in hub.get("clusterregistrationtokens", "-n", "c-shop")["items"] if i.get("status", {}).get("nodeCommand")])
    with open(file, "w") as f:
        f.write(tokens[0]["status"]["nodeCommand"].split()[-1])
    s = lab.server("a", "--hub", f"https://{hub.host.ip}:6443", "--hub-token-file", file)
    s.wait_node_ready("a")
    s.apply("""
apiVersion: v1
kind: Pod
metadata: {name: till, annotations: {secret-note: "do not tell"}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: "sampan.io/busybox:1"
    command: [sh, -c, "sleep 100000"]
    env: [{name: PIN, value: "4711-secret"}]
    resources: {requests: {cpu: 100m, memory: 32Mi}}
""")
    return s


def view(hub, kind, **query):
    path = f"/v1/sampan/view/{kind}" + ("?" + "&".join(f"{k}={v}" for k, v in query.items()) if query else "")
    return json.loads(hub.kubectl("get", "--raw", path))


def rows(hub, kind, **query):
    doc = view(hub, kind, **query)
    return [dict(zip(doc["columns"], r)) for r in doc["rows"]]


def status(hub):
    return hub.get("cluster.management.cattle.io", "c-shop").get("status", {})


def test_the_hub_sees_nodes_pods_and_what_they_ask_for_and_nothing_else(hub, site):
    pod = wait_for("the pod's row", lambda: [r for r in rows(hub, "pods") if r["name"] == "till" and r["state"] == "Running"], 60)[0]
    assert (pod["cluster"], pod["namespace"], pod["node"], pod["ready"], pod["cpu"], pod["memory"]) == ("c-shop", "default", "a", "1/1", "100m", "32Mi")
    node = rows(hub, "nodes")[0]
    assert node["name"] == "a" and node["ready"] == "True" and node["version"].startswith("v1.36")
    s = wait_for("the sum in the Cluster", lambda: (lambda s: s if s.get("requested", {}).get("cpu") == "100m" else None)(status(hub)), 30)
    assert s["nodeCount"] == 1 and s["capacity"]["cpu"] == site.get("node", "a")["status"]["capacity"]["cpu"]
    sh("sh", "-c", f"grep -q till {hub.data}/server/tls/view.db*")
    assert sh("sh", "-c", f"grep -c -e 4711-secret -e 'do not tell' {hub.data}/server/tls/view.db* | grep -v ':0' || true").strip() == ""
    line = hub.kubectl("get", "clusters.management.cattle.io").splitlines()[1].split()
    assert line[:3] == ["c-shop", "Shop", "Connected"]
    out = hub.host.run(SAMPAN, "clusters", "--run-dir", os.path.join(hub.data, "run"), env=ENV)
    assert "c-shop" in out and "Connected" in out and "100m/" in out
    assert "till" in hub.host.run(SAMPAN, "search", "till", "--run-dir", os.path.join(hub.data, "run"), env=ENV)


def test_changes_arrive_and_removed_objects_leave(hub, site):
    site.kubectl("create", "deployment", "web", "--image=sampan.io/busybox:1", "--replicas=0")
    wait_for("the deployment's row", lambda: [r for r in rows(hub, "deployments", q="web") if r["wanted"] == "0"])
    site.kubectl("delete", "deployment", "web")
    wait_for("it has left", lambda: not rows(hub, "deployments", q="web"))


def test_a_user_sees_and_counts_only_his_projects(hub, site):
    hub.apply("""
apiVersion: management.cattle.io/v3
kind: User
metadata: {name: ida}
username: ida
---
apiVersion: management.cattle.io/v3
kind: Project
metadata: {name: p-one, namespace: c-shop}
spec: {displayName: One, clusterName: c-shop}
---
apiVersion: management.cattle.io/v3
kind: ProjectRoleTemplateBinding
metadata: {name: ida, namespace: c-shop}
projectName: "c-shop:p-one"
userName: ida
roleTemplateName: read-only
""", "--validate=false")
    site.apply('{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"one","annotations":{"field.cattle.io/projectId":"c-shop:p-one"}}}')

    def hers():
        doc = json.loads(hub.kubectl("get", "--raw", "/v1/sampan/view/namespaces", "--as", "ida"))
        return doc if [r[2] for r in doc["rows"]] == ["one"] and doc["total"] == 1 else None
    wait_for("her namespace alone", hers)
    pods = json.loads(hub.kubectl("get", "--raw", "/v1/sampan/view/pods", "--as", "ida"))
    assert pods["rows"] == [] and pods["total"] == 0
    assert json.loads(hub.kubectl("get", "--raw", "/v1/sampan/view/pods", "--as", "somebody-else"))["total"] == 0


def test_a_grant_bounds_the_hub_and_only_the_site_writes_it(hub, site):
    through = ["--server", "https://127.0.0.1:6443/k8s/clusters/c-shop"]
    site.apply("""
apiVersion: v1
kind: Namespace
metadata: {name: sampan-system}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: hub-grant, namespace: sampan-system}
data: {verbs: "get, list, watch", namespaces: "default"}
""")

    def refused(*words):
        out = hub.kubectl(*through, *words, check=False)
        return out if "forbidden at the site" in out else None
    wait_for("the grant in force", lambda: refused("create", "configmap", "x"))
    assert "till" in hub.kubectl(*through, "get", "pods", "-n", "default")
    assert refused("get", "pods", "-n", "kube-system") and refused("get", "--raw", "/api/v1/nodes") and refused("exec", "till", "--", "true")
    assert refused("delete", "configmap", "hub-grant", "-n", "sampan-system")
    site.kubectl("patch", "configmap", "hub-grant", "-n", "sampan-system", "--type=json", "-p", '[{"op":"replace","path":"/data","value":{"verb":"get"}}]')
    wait_for("a grant that cannot be read grants nothing", lambda: refused("get", "--raw", "/version"))
    site.kubectl("delete", "configmap", "hub-grant", "-n", "sampan-system")
    wait_for("without it RBAC alone decides", lambda: "till" in hub.kubectl(*through, "get", "pods", check=False))
    assert refused("create", "configmap", "x", "-n", "sampan-system")


def test_what_was_last_known_answers_while_the_cluster_is_away(hub, site):
    wait_for("its row", lambda: [r for r in rows(hub, "pods", q="till") if r["state"] == "Running"])
    wait_for("its sum", lambda: status(hub).get("nodeCount") == 1)
    site.host.cut()
    try:
        wait_for("Disconnected", lambda: any(c["type"] == "Connected" and c["status"] == "False" for c in status(hub)["conditions"]), 40)
        assert [r["state"] for r in rows(hub, "pods", q="till")] == ["Running"]
        s = status(hub)
        assert s["nodeCount"] == 1 and s["lastSeen"]
        assert not any(c["type"] == "Ready" and c["status"] == "True" for c in s["conditions"])
        hub.stop()
        hub.start()
        assert [r["name"] for r in rows(hub, "pods", q="till")] == ["till"]
        assert "c-shop" in hub.host.run(SAMPAN, "clusters", "--run-dir", os.path.join(hub.data, "run"), env=ENV)
        site.kubectl("delete", "pod", "till")
    finally:
        site.host.heal()
    wait_for("what changed meanwhile", lambda: not rows(hub, "pods", q="till"), 90)


def test_a_site_opts_out_and_its_rows_go(hub, site):
    wait_for("rows", lambda: rows(hub, "nodes"))
    site.apply('{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"hub-grant","namespace":"sampan-system"},"data":{"view":"false"}}')
    wait_for("no rows", lambda: not rows(hub, "nodes") and not rows(hub, "namespaces"))
    site.kubectl("delete", "configmap", "hub-grant", "-n", "sampan-system")
    wait_for("rows again", lambda: rows(hub, "nodes"))
