"""Every kubectl command that needs no running container, with kubectl 1.36, 1.35 and 1.31, on a server without a node; Debian's python3-kubernetes; Helm 4 and Helm 3."""
import base64
import json
import os
import subprocess

import pytest
import yaml
from lab import tools
from lab.lab import sh, wait_for

VERSIONS = ["v36", "v35", "v31"]
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: "example.com/web:1", ports: [{containerPort: 80}], resources: {requests: {cpu: 500m}}}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data: {a: "1"}
"""


@pytest.fixture(scope="module")
def bare(lab):
    return lab.server("bare", "--disable-agent", image=False)


class Kubectl:
    def __init__(self, server, version, ns):
        self.server, self.version, self.ns, self.path = server, version, ns, tools.kubectl(version)
        self.folder = os.path.join(server.lab.folder, ns)
        os.makedirs(self.folder, exist_ok=True)

    def __call__(self, *words, **more):
        return self.server.kubectl("-n", self.ns, *words, kubectl=self.path, **more)

    def apply(self, text, *words, **more):
        return self("apply", "-f", "-", *words, stdin=text, **more)

    def get(self, *words):
        return json.loads(self("get", *words, "-o", "json"))

    def file(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w") as f:
            f.write(text)
        return path


@pytest.fixture(params=VERSIONS)
def k(bare, request):
    name = f"{request.param}-" + "".join(c if c.isalnum() else "-" for c in request.node.originalname.lower()[5:])[:40].strip("-")
    bare.kubectl("create", "namespace", name)
    wait_for("the default service account", lambda: bare.get("sa", "default", "-n", name))
    yield Kubectl(bare, request.param, name)
    bare.kubectl("delete", "namespace", name, "--wait=false", check=False)


def test_apply_get_and_describe(k):
    assert k.apply(DEPLOYMENT).splitlines() == ["deployment.apps/web created", "service/web created", "configmap/web created"]
    assert k.apply(DEPLOYMENT).count("unchanged") == 3
    assert k.apply(DEPLOYMENT.replace("replicas: 2", "replicas: 3")).splitlines()[0] == "deployment.apps/web configured"
    head, row = k("get", "deploy", "-o", "wide").splitlines()
    assert head.split() == "NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR".split()
    wait_for("three pods are made", lambda: k("get", "deploy", "web", "--no-headers").split()[:4] == ["web", "0/3", "3", "0"])
    assert yaml.safe_load(k("get", "deploy", "web", "-o", "yaml"))["spec"]["replicas"] == 3
    assert k("get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[*].image}") == "example.com/web:1"
    assert k("get", "cm", "web", "-o", "custom-columns=NAME:.metadata.name,A:.data.a").split() == ["NAME", "A", "web", "1"]
    assert k("get", "cm", "web", "-o", "go-template={{.data.a}}") == "1" and k("get", "cm", "web", "-o", "name") == "configmap/web\n"
    assert k("get", "all", "--show-labels").count("app=web") >= 4
    assert [line.split()[0] for line in k("get", "cm", "--sort-by=.metadata.name", "--no-headers").splitlines()] == ["kube-root-ca.crt", "web"]
    out = k("describe", "deploy/web", "svc/web", "cm/web") + k("describe", "deploy/web")
    for word in ("Replicas:               3 desired", "ScalingReplicaSet", "Selector:                 app=web", "a:\n----\n1"):
        assert word in out, out
    assert "FailedScheduling" in wait_for("the scheduler's word", lambda: (lambda t: t if "FailedScheduling" in t else None)(k("describe", "pods", "-l", "app=web", "--show-events")))


def test_server_side_apply_conflicts_force_and_upgrade(k):
    k.apply(DEPLOYMENT)
    out = k.apply(DEPLOYMENT.replace('"1"', '"2"'), "--server-side")
    assert out.count("serverside-applied") == 3, "what the client applied before is taken over"
    mine = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {a: '3'}\n"
    out = k.apply(mine, "--server-side", "--field-manager=other", check=False)
    assert 'conflict with "kubectl": .data.a' in out and "--force-conflicts" in out, out
    k.apply(mine, "--server-side", "--field-manager=other", "--force-conflicts")
    got = json.loads(k("get", "cm", "web", "-o", "json", "--show-managed-fields"))
    owners = {m["manager"]: m["fieldsV1"] for m in got["metadata"]["managedFields"]}
    assert got["data"] == {"a": "3"} and "f:a" in owners["other"]["f:data"] and "f:a" not in owners.get("kubectl", {}).get("f:data", {}), owners
    assert "serverside-applied" in k.apply(mine, "--server-side", "--field-manager=third"), "the same value is owned by both"


def test_create_of_every_generator(k):
    for words in (["configmap", "c", "--from-literal=a=b"], ["secret", "generic", "s", "--from-literal=p=q"], ["secret", "docker-registry", "d", "--docker-server=x", "--docker-username=u", "--docker-password=p"],
                  ["deployment", "d", "--image=x", "--replicas=0"], ["job", "j", "--image=x"], ["cronjob", "cj", "--image=x", "--schedule=* * * * *"], ["service", "clusterip", "s1", "--tcp=80"],
                  ["service", "nodeport", "s2", "--tcp=80"], ["service", "externalname", "s3", "--external-name=a.b"], ["ingress", "i", "--rule=a.b/*=s1:80"], ["quota", "q", "--hard=pods=5"],
                  ["poddisruptionbudget", "b", "--selector=a=b", "--min-available=1"], ["serviceaccount", "sa"], ["role", "r", "--verb=get", "--resource=pods"], ["rolebinding", "rb", "--role=r", "--serviceaccount=default:sa"]):
        assert k("create", *words).rstrip().endswith(" created"), words
    cluster = k.ns
    for words in (["clusterrole", cluster, "--verb=get", "--resource=nodes"], ["clusterrolebinding", cluster, f"--clusterrole={cluster}", "--user=u"], ["priorityclass", cluster, "--value=7"]):
        assert k("create", *words).rstrip().endswith(" created"), words
        k("delete", words[0], cluster)
    assert k("create", "token", "sa").count(".") == 2
    assert 'secrets "s" already exists' in k("create", "secret", "generic", "s", check=False)
    assert k("create", "cm", "dry", "--dry-run=server", "-o", "name").strip() == "configmap/dry" and "NotFound" in k("get", "cm", "dry", check=False)
    out = k("create", "-f", "-", "--validate=strict", stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: z}\nnonsense: 1\n", check=False)
    assert 'unknown field "nonsense"' in out, out
    made = k("create", "-f", "-", stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: g-}\n").split()[0]
    assert made.startswith("configmap/g-") and len(made) == len("configmap/g-") + 5


def test_edit_patch_label_annotate_scale_set_and_taint(k):
    k.apply(DEPLOYMENT)
    script = k.file("editor.sh", "#!/bin/sh\nsed -i 's/a: \"1\"/a: edited/' \"$1\"\n")
    os.chmod(script, 0o755)
    sh("nsenter", f"--net=/run/netns/{k.server.host.netns}", k.path, "--kubeconfig", k.server.kubeconfig, "-n", k.ns, "edit", "cm", "web", env=dict(os.environ, KUBE_EDITOR=script, HOME=k.folder))
    assert k.get("cm", "web")["data"] == {"a": "edited"}
    k("patch", "deploy", "web", "-p", '{"spec":{"template":{"spec":{"containers":[{"name":"c","tty":true}],"hostNetwork":null}}}}')
    k("patch", "deploy", "web", "--type=merge", "-p", '{"spec":{"minReadySeconds":5}}')
    k("patch", "deploy", "web", "--type=json", "-p", '[{"op":"test","path":"/spec/minReadySeconds","value":5},{"op":"replace","path":"/spec/paused","value":true}]', check=False)
    k("patch", "deploy", "web", "--type=json", "-p", '[{"op":"add","path":"/spec/paused","value":true}]')
    k("patch", "deploy", "web", "--subresource=scale", "--type=merge", "-p", '{"spec":{"replicas":4}}')
    spec = k.get("deploy", "web")["spec"]
    container = spec["template"]["spec"]["containers"][0]
    assert (container["tty"], container["image"], spec["minReadySeconds"], spec["paused"], spec["replicas"]) == (True, "example.com/web:1", 5, True, 4)
    k("label", "cm", "web", "x=1", "y=2")
    assert "already has a value" in k("label", "cm", "web", "x=3", check=False)
    k("label", "cm", "web", "x=3", "y-", "--overwrite")
    k("annotate", "cm", "web", "note=some text")
    meta = k.get("cm", "web")["metadata"]
    assert meta["labels"] == {"x": "3"} and meta["annotations"]["note"] == "some text"
    assert k("get", "cm", "-l", "x in (3,4)", "-o", "name").strip() == "configmap/web" and k("get", "cm", "-l", "!x", "--field-selector=metadata.name=web", "-o", "name") == ""
    k("scale", "deploy", "web", "--replicas=1", "--current-replicas=4")
    k("rollout", "resume", "deploy/web")
    k("set", "image", "deploy/web", "c=example.com/web:2")
    k("set", "resources", "deploy/web", "-c=c", "--limits=memory=64Mi")
    k("set", "env", "deploy/web", "A=b")
    k("set", "serviceaccount", "deploy/web", "default")
    k("set", "selector", "svc/web", "app=other")
    spec = k.get("deploy", "web")["spec"]["template"]["spec"]
    assert (spec["containers"][0]["image"], spec["containers"][0]["resources"]["limits"]["memory"], spec["containers"][0]["env"], spec["serviceAccountName"]) == ("example.com/web:2", "64Mi", [{"name": "A", "value": "b"}], "default")
    assert k.get("svc", "web")["spec"]["selector"] == {"app": "other"}
    assert "deployment.apps/web" in wait_for("history of the rollout", lambda: k("rollout", "history", "deploy/web"))
    k("autoscale", "deploy", "web", "--max=3", "--cpu=80%" if k.version in ("v35", "v36") else "--cpu-percent=80")
    assert k("get", "hpa", "web", "--no-headers").split()[:2] == ["web", "Deployment/web"]
    node = k.ns
    k.apply(f"apiVersion: v1\nkind: Node\nmetadata: {{name: {node}}}\n")
    k("taint", "nodes", node, "a=b:NoSchedule")
    k("cordon", node)
    assert {(t["key"], t["effect"]) for t in k.get("node", node)["spec"]["taints"]} >= {("a", "NoSchedule")} and k.get("node", node)["spec"]["unschedulable"]
    k("taint", "nodes", node, "a:NoSchedule-")
    k("delete", "node", node)


def test_replace_diff_wait_delete_and_watch(k):
    k.apply(DEPLOYMENT)
    with open(os.path.join(k.folder, "watch"), "w") as out:
        watch = subprocess.Popen(["nsenter", f"--net=/run/netns/{k.server.host.netns}", k.path, "--kubeconfig", k.server.kubeconfig, "-n", k.ns, "get", "cm", "web", "-w", "-o", "jsonpath={.data.a}{\"\\n\"}"],
                                 stdout=out, env=dict(os.environ, HOME=k.folder))
    try:
        wait_for("the watch began", lambda: open(out.name).read() == "1\n")
        k("replace", "-f", "-", stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {a: replaced}\n")
        wait_for("the change is seen", lambda: open(out.name).read() == "1\nreplaced\n")
    finally:
        watch.terminate()
        watch.wait()
    old = k.get("cm", "web")["metadata"]["resourceVersion"]
    k("label", "cm", "web", "z=1")
    stale = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: web, resourceVersion: \"{old}\"}}\n"
    assert "the object has been modified; please apply your changes to the latest version and try again" in k("replace", "-f", "-", stdin=stale, check=False)
    diff = k("diff", "-f", "-", stdin=DEPLOYMENT.replace("replicas: 2", "replicas: 7"), check=False)
    assert "-  replicas: 2" in diff and "+  replicas: 7" in diff, diff
    k.apply("apiVersion: v1\nkind: Service\nmetadata: {name: ssa}\nspec: {ports: [{port: 80}]}\n", "--server-side")
    assert k("diff", "--server-side", "-f", "-", stdin="apiVersion: v1\nkind: Service\nmetadata: {name: ssa}\nspec: {ports: [{port: 80}]}\n") == ""
    k("wait", "deploy/web", "--for=jsonpath={.status.observedGeneration}=1", "--timeout=30s")
    k("wait", "deploy/web", "--for=condition=Progressing", "--timeout=30s")
    wait_for("the ReplicaSet", lambda: k.get("rs")["items"])
    k("delete", "deploy", "web", "--cascade=orphan")
    assert "ownerReferences" not in wait_for("an orphaned ReplicaSet", lambda: next((r for r in k.get("rs")["items"] if not r["metadata"].get("ownerReferences")), None))["metadata"]
    k("delete", "rs", "-l", "app=web", "--cascade=foreground", "--timeout=60s")
    assert k.get("rs,pods")["items"] == []
    k("delete", "cm", "web", "--wait=false")
    k("wait", "cm/web", "--for=delete", "--timeout=30s")
    assert k("delete", "cm", "web", "--ignore-not-found") == "" and "NotFound" in k("delete", "cm", "web", check=False)
    k("delete", "svc", "--all")


def test_auth_certificates_and_events(k):
    assert k("auth", "can-i", "create", "pods").strip() == "yes" and k("auth", "can-i", "create", "pods", "--as=nobody", check=False).startswith("no")
    k("create", "role", "r", "--verb=get,list", "--resource=configmaps")
    k("create", "rolebinding", "r", "--role=r", "--user=jane")
    rows = {line.split()[0]: line for line in k("auth", "can-i", "--list", "--as=jane", "--as-group=system:authenticated").splitlines()}
    assert rows["configmaps"].endswith("[get list]") and "selfsubjectreviews.authentication.k8s.io" in rows and "Resources" in rows
    who = k("auth", "whoami", "--as=jane", "--as-group=dev", "--as-uid=7")
    assert "jane" in who and "dev" in who and "UID" in who
    assert "reconciled" in k("auth", "reconcile", "-f", "-", stdin=f"apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: r, namespace: {k.ns}}}\nrules: [{{apiGroups: [''], resources: [pods], verbs: [get]}}]\n")
    key, csr = os.path.join(k.folder, "key"), os.path.join(k.folder, "csr")
    sh("openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-subj", "/CN=jane/O=dev", "-out", csr)
    request = base64.b64encode(open(csr, "rb").read()).decode()
    k.apply(f"apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{name: {k.ns}}}\nspec: {{request: {request}, signerName: kubernetes.io/kube-apiserver-client, usages: [client auth]}}\n")
    assert "Pending" in k("get", "csr", k.ns)
    k("certificate", "approve", k.ns)
    cert = wait_for("the certificate", lambda: k("get", "csr", k.ns, "-o", "jsonpath={.status.certificate}"))
    path = k.file("cert", base64.b64decode(cert).decode())
    assert "jane" in k("auth", "whoami", f"--client-certificate={path}", f"--client-key={key}", "--user=none", check=False) or "subject=CN = jane" in sh("openssl", "x509", "-in", path, "-noout", "-subject").replace("O = dev, ", "")
    assert "Approved,Issued" in k("get", "csr", k.ns)
    k("delete", "csr", k.ns)
    k.apply(DEPLOYMENT)
    assert "ScalingReplicaSet" in wait_for("an Event", lambda: (lambda t: t if "ScalingReplicaSet" in t else None)(k("events", "--for", "deployment/web")))
    assert k("get", "events", "--field-selector=reason=ScalingReplicaSet", "-o", "custom-columns=K:.involvedObject.kind", "--no-headers").split() == ["Deployment"]
    assert k("get", "events.v1.events.k8s.io", "--field-selector=reason=ScalingReplicaSet", "-o", "jsonpath={.items[0].regarding.name}") == "web"


def test_discovery_explain_config_and_kustomize(k):
    rows = {line.split()[-1]: line.split() for line in k("api-resources", "--no-headers").splitlines()}
    assert rows["Deployment"] == ["deployments", "deploy", "apps/v1", "true", "Deployment"] and rows["Node"] == ["nodes", "no", "v1", "false", "Node"]
    assert {"v1", "apps/v1", "batch/v1", "rbac.authorization.k8s.io/v1", "events.k8s.io/v1"} <= set(k("api-versions").split())
    out = k("explain", "deployment.spec.strategy", "--recursive")
    assert "rollingUpdate\t<RollingUpdateDeployment>" in out and "maxSurge\t<IntOrString>" in out and "how old pods give way to new ones" in out
    assert "Server Version: v1.36" in k("version") and "control plane" in k("cluster-info")
    config = yaml.safe_load(k("config", "view", "--minify"))
    assert config["contexts"][0]["name"] == k("config", "current-context").strip() and "DATA+OMITTED" in str(config)
    k.file("base.yaml", DEPLOYMENT)
    k.file("kustomization.yaml", "namePrefix: kz-\nresources: [base.yaml]\nimages: [{name: example.com/web, newTag: '9'}]\nconfigMapGenerator: [{name: gen, literals: [q=r]}]\n")
    out = k("apply", "-k", k.folder)
    assert "deployment.apps/kz-web created" in out and k.get("deploy", "kz-web")["spec"]["template"]["spec"]["containers"][0]["image"] == "example.com/web:9"
    k("delete", "-k", k.folder)


def test_every_kind_and_the_fields_of_its_spec_have_descriptions(bare):
    kinds = {line.split()[-1] for line in bare.kubectl("api-resources", "--no-headers").splitlines()}
    seen, bad = set(), []
    for path in json.loads(bare.kubectl("get", "--raw", "/openapi/v3"))["paths"]:
        if not path.startswith("api"):
            continue
        types = json.loads(bare.kubectl("get", "--raw", "/openapi/v3/" + path))["components"]["schemas"]
        for name, t in types.items():
            kind = (t.get("x-kubernetes-group-version-kind") or [{}])[0].get("kind")
            if kind not in kinds:
                continue
            seen.add(kind)
            spec = (t["properties"].get("spec", {}).get("allOf") or [{}])[0].get("$ref", "").rsplit("/", 1)[-1]
            bad += [f"{name}: no description"] if not t.get("description") else []
            bad += [f"{name}.{f}" for f, p in [*t["properties"].items(), *types.get(spec, {}).get("properties", {}).items()] if not p.get("description")]
    assert not bad, " ".join(bad)
    assert kinds <= seen


CHART = {
    "Chart.yaml": "apiVersion: v2\nname: plain\nversion: 1.0.0\nappVersion: '1'\n",
    "values.yaml": "word: first\nreplicas: 0\n",
    "templates/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-cm, labels: {chart: {{ .Chart.Name }}}}\ndata: {word: {{ .Values.word | quote }}}\n",
    "templates/deploy.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: {{ .Release.Name }}}\nspec:\n  replicas: {{ .Values.replicas }}\n  selector: {matchLabels: {r: {{ .Release.Name }}}}\n"
                             "  template: {metadata: {labels: {r: {{ .Release.Name }}}}, spec: {containers: [{name: c, image: x}]}}\n",
    "templates/svc.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: {{ .Release.Name }}}\nspec: {selector: {r: {{ .Release.Name }}}, ports: [{port: 80}]}\n",
}


@pytest.mark.parametrize("version", ["v36", "v31"], ids=["helm4", "helm3"])
def test_helm_installs_upgrades_rolls_back_and_uninstalls(bare, tmp_path, version):
    helm, ns = tools.helm(version), f"helm-{version}"
    for name, text in CHART.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    def run(*words):
        return sh("nsenter", f"--net=/run/netns/{bare.host.netns}", helm, "--kubeconfig", bare.kubeconfig, "-n", ns, *words, env=dict(os.environ, HOME=str(tmp_path)))

    def word():
        return bare.get("cm", "r-cm", "-n", ns)["data"]["word"]

    assert run("version", "--short").startswith({"v36": "v4.", "v31": "v3."}[version])
    run("install", "r", str(tmp_path), "--create-namespace", "--wait", "--timeout", "60s")
    assert word() == "first" and "deployed" in run("list")
    run("upgrade", "r", str(tmp_path), "--set", "word=second", "--wait", "--timeout", "60s")
    assert word() == "second" and [r["status"] for r in json.loads(run("history", "r", "-o", "json"))] == ["superseded", "deployed"]
    bare.kubectl("patch", "cm", "r-cm", "-n", ns, "--type=merge", "-p", '{"metadata":{"annotations":{"by":"hand"}}}')
    run("rollback", "r", "1", "--wait", "--timeout", "60s")
    assert word() == "first" and bare.get("cm", "r-cm", "-n", ns)["metadata"]["annotations"]["by"] == "hand", "what others set stays"
    run("uninstall", "r", "--wait", "--timeout", "60s")
    assert bare.get("deploy,svc,cm,secret", "-n", ns, "-l", "chart=plain")["items"] == [] and run("list", "-q") == ""


PYTHON = """
import sys, threading
from kubernetes import client, config, dynamic, utils, watch
config.load_kube_config(sys.argv[1])
core, apps = client.CoreV1Api(), client.AppsV1Api()
ns = core.create_namespace({"metadata": {"generateName": "py-"}}).metadata.name
made = core.create_namespaced_config_map(ns, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="a", labels={"l": "1"}), data={"x": "1"}))
assert made.data == {"x": "1"} and made.metadata.uid
seen = []
def follow():
    for event in watch.Watch().stream(core.list_namespaced_config_map, ns, label_selector="l", resource_version=made.metadata.resource_version, timeout_seconds=60):
        seen.append((event["type"], event["object"].data["x"]))
        if event["type"] == "DELETED":
            return
t = threading.Thread(target=follow)
t.start()
made.data = {"x": "2"}
made = core.replace_namespaced_config_map("a", ns, made)
core.patch_namespaced_config_map("a", ns, {"data": {"x": "3"}})
try:
    core.replace_namespaced_config_map("a", ns, made)
    raise AssertionError("a stale write was taken")
except client.ApiException as e:
    assert e.status == 409 and '"reason":"Conflict"' in e.body.replace(" ", ""), e.body
page = core.list_namespaced_config_map(ns, limit=1)
assert len(page.items) == 1 and page.metadata._continue
assert len(core.list_namespaced_config_map(ns, limit=5, _continue=page.metadata._continue).items) == 1
apps.create_namespaced_deployment(ns, client.V1Deployment(metadata=client.V1ObjectMeta(name="d"), spec=client.V1DeploymentSpec(replicas=0, selector=client.V1LabelSelector(match_labels={"a": "b"}),
    template=client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels={"a": "b"}), spec=client.V1PodSpec(containers=[client.V1Container(name="c", image="x")])))))
assert apps.patch_namespaced_deployment_scale("d", ns, {"spec": {"replicas": 2}}).spec.replicas == 2
assert apps.read_namespaced_deployment("d", ns).spec.template.spec.containers[0].image_pull_policy == "Always"
d = dynamic.DynamicClient(client.ApiClient())
jobs = d.resources.get(api_version="batch/v1", kind="Job")
jobs.create(namespace=ns, body={"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"suspend": True, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}}})
assert jobs.get(name="j", namespace=ns).spec.suspend is True
utils.create_from_dict(client.ApiClient(), {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": ns}, "stringData": {"k": "v"}})
assert core.read_namespaced_secret("s", ns).data == {"k": "dg=="}
token = core.create_namespaced_service_account_token("default", ns, client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[]))) if hasattr(client, "AuthenticationV1TokenRequest") else None
review = client.AuthorizationV1Api().create_self_subject_access_review({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}})
assert review.status.allowed
core.delete_namespaced_config_map("a", ns)
t.join(60)
assert seen == [("MODIFIED", "2"), ("MODIFIED", "3"), ("DELETED", "3")], seen
assert len(client.ApisApi().get_api_versions().groups) > 15
core.delete_namespace(ns)
print("all well")
"""


def test_debians_python_client_works(bare, tmp_path):
    script = tmp_path / "client.py"
    script.write_text(PYTHON)
    assert bare.host.run("/usr/bin/python3", str(script), bare.kubeconfig).strip().endswith("all well")
