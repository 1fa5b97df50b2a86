"""Who may do what: local users, tokens, global roles at the hub; cluster and project roles, projects and quotas at a site behind its uplink."""
import json
import os
import re

import pytest
from lab.lab import wait_for

PASSWORD = "correct horse battery"


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
def admin(hub):
    """The password that the first start shows, and a session of that user."""
    found = wait_for("the first password", lambda: re.search(r'administrator "admin", password "([^"]+)"', hub.log()))
    return login(hub, "admin", found.group(1))


@pytest.fixture(scope="module")
def site(lab, hub):
    file = os.path.join(lab.folder, "hub.token")
    tokens = wait_for("a registration token", lambda: [i for i in hub.get("clusterregistrationtokens", "-n", "c-shop")["items"] if i.get("status", {}).get("nodeCommand")])
    with open(file, "w") as f:
        f.write(tokens[0]["status"]["nodeCommand"].split()[-1])
    s = lab.server("a", "--disable-agent", "--hub", f"https://{hub.host.ip}:6443", "--hub-token-file", file)
    wait_for("Connected", lambda: "Connected" in hub.kubectl("get", "clusters.management.cattle.io").split(), 60)
    # the uplink may stand before the site's own API serves it
    wait_for("an answer of the site", lambda: "gitVersion" in hub.kubectl("--server", "https://127.0.0.1:6443/k8s/clusters/c-shop", "get", "--raw", "/version", check=False), 60)
    return s


def curl(hub, path, *words, data=None, token=None):
    """(status, body)"""
    words = list(words) + (["-H", f"Authorization: Bearer {token}"] if token else []) + (["-d", json.dumps(data)] if data is not None else [])
    out = hub.host.run("curl", "-sk", "-m", "30", "-w", "\n%{http_code}", *words, f"https://127.0.0.1:6443{path}")
    body, _, status = out.rpartition("\n")
    return int(status), body


def login(hub, name, password, **more):
    status, body = curl(hub, "/v3-public/localProviders/local?action=login", data=dict(username=name, password=password, **more))
    assert status == 201, (status, body)
    return json.loads(body)["token"]


def user(hub, name):
    hub.apply(f"""
apiVersion: management.cattle.io/v3
kind: User
metadata: {{name: {name}}}
username: {name}
password: {PASSWORD}
""", "--validate=false")
    return login(hub, name, PASSWORD)


def as_user(hub, token, *words, cluster=None, **more):
    where = "https://127.0.0.1:6443" + (f"/k8s/clusters/{cluster}" if cluster else "")
    empty = os.path.join(hub.lab.folder, "empty.kubeconfig")
    open(empty, "a").close()
    return hub.kubectl("--server", where, "--insecure-skip-tls-verify", "--token", token, *words, kubeconfig=empty, **more)


def may(hub, token, *words):
    return as_user(hub, token, "auth", "can-i", *words, cluster="c-shop", check=False).strip().endswith("yes")


def test_the_first_admin_logs_in_with_the_password_that_was_shown_once(hub, admin):
    assert admin.startswith("token-") and ":" in admin
    who = as_user(hub, admin, "auth", "whoami", "-o", "jsonpath={.status.userInfo}")
    assert json.loads(who)["username"] == "admin" and "system:cattle:authenticated" in json.loads(who)["groups"]
    assert "c-shop" in wait_for("the admin's rights", lambda: as_user(hub, admin, "get", "clusters.management.cattle.io"))
    stored = hub.get("users.management.cattle.io", "admin")["password"]
    assert stored.startswith("$argon2id$")
    for t in hub.get("tokens.management.cattle.io")["items"]:
        assert t["token"].startswith("$sha256$") and admin.split(":")[1] not in json.dumps(t)
    hub.stop()
    hub.start()
    assert len(re.findall("shown once", hub.log())) == 1
    assert "c-shop" in as_user(hub, admin, "get", "clusters.management.cattle.io")


def test_wrong_passwords_are_counted_and_lock_the_name(hub, admin):
    user(hub, "eve")
    seen = [curl(hub, "/v1/sampan/login", data={"username": "eve", "password": f"wrong number {i}"})[0] for i in range(6)]
    assert seen[:5] == [401] * 5 and seen[5] == 429, seen
    status, body = curl(hub, "/v1/sampan/login", data={"username": "eve", "password": PASSWORD})
    assert status == 429 and "retryAfterSeconds" in body
    assert curl(hub, "/v1/sampan/login", data={"username": "nobody-at-all", "password": "x" * 12})[0] == 401
    assert curl(hub, "/v1/sampan/login", data=["no", "object"])[0] == 400


def test_a_user_begins_with_nothing_and_gets_no_more_than_its_giver_has(hub, admin):
    ann = user(hub, "ann")
    assert "forbidden" in as_user(hub, ann, "get", "users.management.cattle.io", check=False)
    grant = """
apiVersion: management.cattle.io/v3
kind: GlobalRoleBinding
metadata: {{name: {0}-{1}}}
userName: {0}
globalRoleName: {1}
"""
    as_user(hub, admin, "apply", "--validate=false", "-f", "-", stdin=grant.format("ann", "users-manage"))
    wait_for("ann may list users", lambda: "admin" in as_user(hub, ann, "get", "users.management.cattle.io", check=False))
    out = as_user(hub, ann, "apply", "--validate=false", "-f", "-", stdin=grant.format("ann", "admin"), check=False)
    assert "not currently held" in out, out
    out = as_user(hub, ann, "patch", "users.management.cattle.io", "admin", "--type=merge", "-p", '{"password":"mine from now on"}', check=False)
    assert "not currently held" in out, out
    status, out = curl(hub, "/apis/management.cattle.io/v3/clusters", "-H", "Impersonate-User: admin", token=ann)
    assert status == 403 and "cannot impersonate" in out, out
    status, out = curl(hub, "/k8s/clusters/c-shop/version", "-H", "Impersonate-User: admin", token=ann)
    assert status == 403 and "cannot impersonate" in out, out
    out = hub.kubectl("patch", "roletemplates", "cluster-member", "--type=merge", "-p", '{"rules":[]}', "--as", "ann", check=False)
    assert "forbidden" in out, out
    hub.kubectl("delete", "globalrolebindings", "ann-users-manage")
    wait_for("it is taken away", lambda: "forbidden" in as_user(hub, ann, "get", "users.management.cattle.io", check=False))


def test_tokens_end_are_scoped_and_belong_to_their_user(hub, site, admin):
    bob = user(hub, "bob")
    status, body = curl(hub, "/v1/sampan/tokens", data={"description": "ci", "ttl": 3600000}, token=bob)
    made = json.loads(body)
    assert status == 201 and made["ttl"] == 3600000 and made["expiresAt"]
    assert [t["description"] for t in json.loads(curl(hub, "/v1/sampan/tokens", token=made["token"])[1]) if t["name"] == made["name"]] == ["ci"]
    assert curl(hub, f"/v1/sampan/tokens/{made['name']}", "-X", "DELETE", token=admin)[0] == 404
    assert curl(hub, f"/v1/sampan/tokens/{made['name']}", "-X", "DELETE", token=bob)[0] == 200
    wait_for("the token has ended", lambda: curl(hub, "/version", token=made["token"])[0] == 401)
    scoped = json.loads(curl(hub, "/v1/sampan/tokens", data={"clusterName": "c-shop"}, token=admin)[1])["token"]
    assert curl(hub, "/k8s/clusters/c-shop/version", token=scoped)[0] == 200
    assert curl(hub, "/apis/management.cattle.io/v3/clusters", token=scoped)[0] == 401
    hub.kubectl("patch", "users.management.cattle.io", "bob", "--type=merge", "-p", '{"enabled":false}')
    wait_for("a disabled user's token", lambda: curl(hub, "/version", token=bob)[0] == 401)
    assert curl(hub, "/v1/sampan/login", data={"username": "bob", "password": PASSWORD})[0] == 401


def test_passwords_change_and_sessions_end(hub, admin):
    cat = user(hub, "cat")
    assert curl(hub, "/v1/sampan/password", data={"currentPassword": PASSWORD, "newPassword": "short"}, token=cat)[0] == 422
    assert curl(hub, "/v1/sampan/password", data={"currentPassword": "not this one", "newPassword": "another long one"}, token=cat)[0] == 401
    assert curl(hub, "/v1/sampan/password", data={"currentPassword": PASSWORD, "newPassword": "another long one"}, token=cat)[0] == 200
    assert curl(hub, "/v1/sampan/login", data={"username": "cat", "password": PASSWORD})[0] == 401
    again = login(hub, "cat", "another long one")
    assert curl(hub, "/v1/sampan/logout", "-X", "POST", token=again)[0] == 200
    wait_for("the session has ended", lambda: curl(hub, "/version", token=again)[0] == 401)
    assert curl(hub, "/version", token=cat)[0] == 200


def test_a_cluster_member_reads_and_an_owner_rules(hub, site, admin):
    dan = user(hub, "dan")
    status, out = curl(hub, "/k8s/clusters/c-shop/api/v1/nodes", token=dan)
    assert status == 403 and "clusters/proxy" in out, out
    binding = """
apiVersion: management.cattle.io/v3
kind: ClusterRoleTemplateBinding
metadata: {{name: {0}-{1}, namespace: c-shop}}
clusterName: c-shop
userName: {0}
roleTemplateName: {1}
"""
    as_user(hub, admin, "apply", "--validate=false", "-f", "-", stdin=binding.format("dan", "cluster-member"))
    wait_for("dan reads nodes", lambda: may(hub, dan, "list", "nodes"))
    assert not may(hub, dan, "create", "pods") and not may(hub, dan, "get", "secrets", "-A")
    assert site.get("clusterrole", "hub-cluster-member")["metadata"]["labels"]["sampan.io/made-by"] == "hub"
    out = as_user(hub, dan, "apply", "--validate=false", "-f", "-", stdin=binding.format("dan", "cluster-owner"), check=False)
    assert "forbidden" in out, out
    as_user(hub, admin, "apply", "--validate=false", "-f", "-", stdin=binding.format("dan", "cluster-owner"))
    wait_for("dan rules", lambda: may(hub, dan, "*", "*", "-A"))
    as_user(hub, dan, "create", "configmap", "from-dan", cluster="c-shop")
    who = as_user(hub, dan, "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}", cluster="c-shop")
    assert who == "hub:dan"
    as_user(hub, admin, "delete", "clusterroletemplatebindings", "-n", "c-shop", "dan-cluster-owner")
    wait_for("it is taken away at the site", lambda: not may(hub, dan, "create", "pods") and may(hub, dan, "list", "nodes"))
    as_user(hub, admin, "delete", "clusterroletemplatebindings", "-n", "c-shop", "dan-cluster-member")
    wait_for("nor through the hub", lambda: curl(hub, "/k8s/clusters/c-shop/version", token=dan)[0] == 403)
    assert "hub:dan" not in json.dumps(site.get("clusterrolebindings"))


def test_a_project_groups_namespaces_with_quotas_and_a_custom_role_that_inherits(hub, site, admin):
    fay = user(hub, "fay")
    as_user(hub, admin, "apply", "--validate=false", "-f", "-", stdin="""
apiVersion: management.cattle.io/v3
kind: Project
metadata: {name: p-till, namespace: c-shop}
spec:
  displayName: Till
  clusterName: c-shop
  resourceQuota: {limit: {pods: "15"}}
  namespaceDefaultResourceQuota: {limit: {pods: "10"}}
  containerDefaultResourceLimit: {limitsMemory: 64Mi}
---
apiVersion: management.cattle.io/v3
kind: RoleTemplate
metadata: {name: till-operator}
displayName: Till operator
context: project
roleTemplateNames: [workloads-view]
rules:
- {apiGroups: [""], resources: [configmaps], verbs: [get, create]}
---
apiVersion: management.cattle.io/v3
kind: ProjectRoleTemplateBinding
metadata: {name: fay-till, namespace: c-shop}
projectName: "c-shop:p-till"
userName: fay
roleTemplateName: till-operator
""")
    for ns in ("till-one", "till-two"):
        as_user(hub, admin, "create", "-f", "-", cluster="c-shop",
                stdin=f'{{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{ns}","annotations":{{"field.cattle.io/projectId":"c-shop:p-till"}}}}}}')
    wait_for("fay in the project", lambda: may(hub, fay, "create", "configmaps", "-n", "till-two"))
    assert may(hub, fay, "list", "pods", "-n", "till-one") and may(hub, fay, "get", "namespaces/till-one")
    assert not may(hub, fay, "delete", "configmaps", "-n", "till-one") and not may(hub, fay, "list", "pods", "-n", "default")
    hard = {ns: site.get("resourcequota", "hub-project", "-n", ns)["spec"]["hard"]["pods"] for ns in ("till-one", "till-two")}
    assert sorted(hard.values()) == ["0", "10"], hard
    assert site.get("limitrange", "hub-project", "-n", "till-one")["spec"]["limits"][0]["default"]["memory"] == "64Mi"
    as_user(hub, admin, "patch", "roletemplates", "till-operator", "--type=merge", "-p", '{"roleTemplateNames":["workloads-view","configmaps-manage"]}')
    wait_for("what it inherits now", lambda: may(hub, fay, "delete", "configmaps", "-n", "till-one"))
    as_user(hub, admin, "delete", "projectroletemplatebindings", "-n", "c-shop", "fay-till")
    as_user(hub, admin, "delete", "projects.management.cattle.io", "-n", "c-shop", "p-till")
    left = wait_for("nothing is left", lambda: site.kubectl("get", "rolebindings,resourcequotas,limitranges", "-n", "till-one", "-o", "name").strip() == "" or None)
    assert left


def test_a_hub_that_began_anew_takes_nothing_away(lab, hub, site, admin):
    """Rights whose source the hub does not know stay at the site."""
    site.apply("""
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: of-an-older-hub
  labels: {sampan.io/made-by: hub}
  annotations: {sampan.io/hub-source: 00000000-0000-0000-0000-000000000000}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: "hub:somebody"}]
""")
    gus = user(hub, "gus")
    as_user(hub, admin, "apply", "--validate=false", "-f", "-", stdin="""
apiVersion: management.cattle.io/v3
kind: ClusterRoleTemplateBinding
metadata: {name: gus, namespace: c-shop}
clusterName: c-shop
userName: gus
roleTemplateName: nodes-view
""")
    wait_for("a pass", lambda: may(hub, gus, "list", "nodes"))
    as_user(hub, admin, "delete", "clusterroletemplatebindings", "-n", "c-shop", "gus")
    assert site.get("clusterrolebinding", "of-an-older-hub")


def test_a_kubeconfig_for_one_cluster_and_for_all(hub, site, admin):
    status, text = curl(hub, "/v1/sampan/kubeconfig", token=admin)
    assert status == 200 and "/k8s/clusters/c-shop" in text
    path = os.path.join(hub.lab.folder, "mine.kubeconfig")
    with open(path, "w") as f:
        f.write(text)
    assert "c-shop" in hub.kubectl("get", "clusters.management.cattle.io", kubeconfig=path)
    assert "default" in hub.kubectl("--context", "c-shop", "get", "namespaces", kubeconfig=path)
    status, text = curl(hub, "/v1/sampan/kubeconfig?cluster=c-shop", token=admin)
    with open(path, "w") as f:
        f.write(text)
    assert status == 200 and "default" in hub.kubectl("get", "namespaces", kubeconfig=path)
    assert curl(hub, "/v1/sampan/kubeconfig?cluster=c-none", token=admin)[0] == 404
    assert curl(hub, "/v1/sampan/kubeconfig")[0] in (401, 403)


def test_the_import_manifest_needs_its_token_and_names_hub_and_image(hub, site, admin):
    status = hub.get("clusterregistrationtokens", "-n", "c-shop")["items"][0]["status"]
    assert status["command"] == f"kubectl apply -f {status['manifestUrl']}" and status["insecureCommand"].startswith("curl --insecure -sfL https://")
    as_user(hub, admin, "patch", "settings.management.cattle.io", "agent-image", "--type=merge", "-p", '{"value":"registry.example/connect:7"}')
    path = "/v3/import/" + status["manifestUrl"].rsplit("/", 1)[1]
    code, text = curl(hub, path)
    assert code == 200 and "registry.example/connect:7" in text and status["token"] in text and f"https://{hub.host.ip}:6443" in text
    out = site.kubectl("create", "--dry-run=client", "--validate=false", "-o", "name", "-f", "-", stdin=text)
    assert "deployment.apps/sampan-connect" in out and "secret/sampan-connect-token" in out
    assert curl(hub, path.replace(status["token"][:6], "aaaaaa"))[0] == 404 and curl(hub, "/v3/import/x")[0] == 404
