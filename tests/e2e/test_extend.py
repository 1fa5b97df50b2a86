"""What extends the API: custom resources, webhooks, policies in CEL, conversion, aggregated servers. With real kubectl, against a server without a node; the
extending server stands on the same host, behind a Service whose endpoints are written by hand."""
import base64
import json
import os
import re
import subprocess
import sys
import threading

import pytest
from lab.client import Client, enter
from lab.lab import sh, wait_for

CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crontabs.stable.example.com}
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: crontabs, kind: CronTab, shortNames: [ct], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}
    selectableFields: [{jsonPath: .spec.image}]
    additionalPrinterColumns:
    - {name: Spec, type: string, jsonPath: .spec.cronSpec}
    - {name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status'}
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            required: [cronSpec]
            x-kubernetes-validations:
            - {rule: 'self.replicas <= self.max', messageExpression: '"replicas " + string(self.replicas) + " beyond " + string(self.max)', fieldPath: .replicas}
            - {rule: 'self.image == oldSelf.image', message: the image stays}
            properties:
              cronSpec: {type: string, pattern: '^[^ ]+( [^ ]+){4}$', description: when it runs}
              image: {type: string, default: nginx}
              replicas: {type: integer, minimum: 1, default: 1}
              max: {type: integer, default: 5}
              mode: {type: string, enum: [a, b]}
              ports:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items: {type: object, required: [name], properties: {name: {type: string}, port: {x-kubernetes-int-or-string: true}}}
              raw: {type: object, x-kubernetes-preserve-unknown-fields: true}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
"""


def crontab(name, **spec):
    return json.dumps({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": name}, "spec": dict({"cronSpec": "* * * * *"}, **spec)})


@pytest.fixture(scope="module")
def api(lab):
    return lab.server("x", "--disable-agent", image=False)


@pytest.fixture(scope="module")
def crd(api):
    api.apply(CRD)
    api.kubectl("wait", "--for=condition=Established", "crd/crontabs.stable.example.com", "--timeout=30s")
    return api


@pytest.fixture(scope="module")
def far(api, lab):
    """The extending server; its certificate is its own CA. Gives what a clientConfig needs."""
    cert, key = os.path.join(lab.folder, "far.crt"), os.path.join(lab.folder, "far.key")
    sh("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert, "-days", "30", "-subj", "/CN=far",
       "-addext", f"subjectAltName=DNS:far.default.svc,IP:{api.host.ip}")
    proc = subprocess.Popen(["nsenter", f"--net=/run/netns/{api.host.netns}", sys.executable, os.path.join(os.path.dirname(__file__), "extend_server.py"), api.host.ip, "9443", cert, key],
                            stdout=subprocess.PIPE, text=True)
    assert proc.stdout.readline().strip() == "ready"
    api.apply(f"""
{{apiVersion: v1, kind: Service, metadata: {{name: far}}, spec: {{ports: [{{port: 443, targetPort: 9443}}]}}}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: far-1, labels: {{kubernetes.io/service-name: far}}}}
addressType: IPv4
ports: [{{port: 9443, name: ""}}]
endpoints: [{{addresses: [{api.host.ip}]}}]
""")
    with open(cert, "rb") as f:
        yield base64.b64encode(f.read()).decode()
    proc.terminate()
    proc.wait()


def hook(name, path, kind, bundle, **more):
    rule = {"operations": ["CREATE", "UPDATE", "DELETE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
    one = dict({"name": f"{name}.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": [rule], "namespaceSelector": {"matchLabels": {"hooked": "yes"}},
                "clientConfig": {"caBundle": bundle, "service": {"namespace": "default", "name": "far", "path": path}}}, **more)
    return json.dumps({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "webhooks": [one]})


@pytest.fixture
def hooked(api):
    api.apply("{apiVersion: v1, kind: Namespace, metadata: {name: hooked, labels: {hooked: 'yes'}}}")
    yield "hooked"
    api.kubectl("delete", "validatingwebhookconfigurations,mutatingwebhookconfigurations", "--all")
    api.kubectl("delete", "namespace", "hooked")


def test_a_custom_resource_is_defaulted_pruned_and_judged_in_kubernetes_words(crd):
    out = crd.apply(crontab("one", bogus=1, raw={"x": {"y": 1}}), "--validate=false")
    assert "created" in out
    one = crd.get("ct", "one")
    assert one["spec"] == {"cronSpec": "* * * * *", "image": "nginx", "replicas": 1, "max": 5, "raw": {"x": {"y": 1}}}
    assert one["metadata"]["generation"] == 1
    out = crd.apply(crontab("one", cronSpec="bad", mode="z", ports=[{"name": "a"}, {"name": "a"}]), check=False)
    for says in ("spec.cronSpec: Invalid value: \"bad\": spec.cronSpec in body should match", "spec.mode: Unsupported value: \"z\": supported values: \"a\", \"b\"", "spec.ports[1]: Duplicate value"):
        assert says in out, out
    out = crd.apply(crontab("two", bogus=1), "--validate=strict", check=False)
    assert 'unknown field "spec.bogus"' in out, out
    crd.kubectl("delete", "ct", "one")


def test_rules_in_cel_see_what_was_there_before(crd):
    crd.apply(crontab("ruled", replicas=2))
    out = crd.apply(crontab("ruled", replicas=9), check=False)
    assert "spec.replicas: Invalid value: \"object\": replicas 9 beyond 5" in out, out
    out = crd.apply(crontab("ruled", replicas=2, image="other"), check=False)
    assert "the image stays" in out, out
    broken = CRD.replace("crontabs", "crontubs").replace("CronTab", "CronTub").replace("[ct]", "[cu]").replace("self.replicas <= self.max", "self.replicas <= self.nowhere")
    out = crd.apply(broken, check=False)
    assert "undefined field 'nowhere'" in out, out
    crd.kubectl("delete", "ct", "ruled")


def test_columns_selectors_subresources_and_discovery_are_served(crd):
    crd.apply(crontab("cols"))
    crd.kubectl("patch", "ct", "cols", "--subresource=status", "--type=merge", "-p", '{"status":{"replicas":4,"conditions":[{"type":"Ready","status":"True"}]}}')
    table = crd.kubectl("get", "ct").splitlines()
    assert re.match(r"NAME +SPEC +READY$", table[0]) and re.match(r"cols +\* \* \* \* \* +True$", table[1]), table
    assert "crontab.stable.example.com/cols" in crd.kubectl("get", "all")
    assert "cols" in crd.kubectl("get", "ct", "--field-selector=spec.image=nginx", "-o", "name")
    assert crd.kubectl("get", "ct", "--field-selector=spec.image=x", "-o", "name") == ""
    crd.kubectl("scale", "ct/cols", "--replicas=3")
    scale = json.loads(crd.kubectl("get", "--raw", "/apis/stable.example.com/v1/namespaces/default/crontabs/cols/scale"))
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (3, 4)
    one = crd.get("ct", "cols")
    assert one["metadata"]["generation"] == 2 and one["status"]["replicas"] == 4
    assert re.search(r"crontabs +ct +stable.example.com/v1 +true +CronTab", crd.kubectl("api-resources"))
    assert "when it runs" in crd.kubectl("explain", "ct.spec.cronSpec")
    crd.kubectl("delete", "ct", "cols")


def test_two_appliers_share_a_keyed_list(crd):
    def apply(who, **spec):
        return crd.apply(crontab("shared", **spec), "--server-side", f"--field-manager={who}", check=False)
    assert "serverside-applied" in apply("a", ports=[{"name": "x", "port": 1}])
    apply("b", ports=[{"name": "y", "port": "http"}])
    assert [p["name"] for p in crd.get("ct", "shared")["spec"]["ports"]] == ["x", "y"]
    out = apply("b", ports=[{"name": "x", "port": 2}])
    assert 'conflict with "a"' in out and '.spec.ports[name="x"].port' in out, out
    apply("a", ports=[])
    assert [p["name"] for p in crd.get("ct", "shared")["spec"]["ports"]] == ["y"]
    crd.kubectl("delete", "ct", "shared")


def test_custom_resources_outlive_the_server_and_die_with_their_definition(crd):
    crd.apply(crontab("kept"))
    crd.stop()
    crd.start()
    assert crd.get("ct", "kept")["spec"]["image"] == "nginx"
    seen = []

    def watch():
        enter(crd.host.netns)
        seen.extend(e["type"] for e in Client(crd, timeout=60).watch("/apis/stable.example.com/v1/namespaces/default/crontabs?watch=1"))
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    wait_for("the watch has begun", lambda: seen)
    crd.kubectl("delete", "crd", "crontabs.stable.example.com")
    watcher.join(30)
    assert not watcher.is_alive() and seen[-1] == "DELETED", seen
    wait_for("it is served no more", lambda: "NotFound" in crd.kubectl("get", "--raw", "/apis/stable.example.com/v1/crontabs", check=False))
    crd.apply(CRD)
    crd.kubectl("wait", "--for=condition=Established", "crd/crontabs.stable.example.com", "--timeout=30s")
    assert crd.kubectl("get", "ct", "-A", "-o", "name") == ""


def test_names_that_another_definition_has_are_not_accepted(crd):
    crd.apply(CRD.replace("crontabs", "crontics"))
    why = wait_for("the conflict is told", lambda: [c for c in crd.get("crd", "crontics.stable.example.com").get("status", {}).get("conditions", []) if c["type"] == "NamesAccepted"])
    assert (why[0]["status"], why[0]["message"]) == ("False", '"CronTabList" is already in use'), why
    crd.kubectl("delete", "crd", "crontics.stable.example.com")


def test_a_namespace_takes_its_custom_resources_along(crd):
    crd.kubectl("create", "namespace", "going")
    crd.apply(crontab("passenger"), "-n", "going")
    crd.kubectl("delete", "namespace", "going", "--timeout=60s")
    assert crd.kubectl("get", "ct", "-A", "-o", "name") == ""


def test_webhooks_change_and_refuse_writes_through_a_service(api, far, hooked):
    api.apply(hook("mutating", "/mutate", "MutatingWebhookConfiguration", far))
    api.apply(hook("validating", "/validate", "ValidatingWebhookConfiguration", far, matchConditions=[{"name": "not-spared", "expression": "!object.metadata.name.endsWith('-spared')"}]))
    out = api.kubectl("create", "configmap", "good", "-n", hooked)
    assert "it was mutated" in out
    assert api.get("configmap", "good", "-n", hooked)["metadata"]["labels"] == {"mutated": "yes"}
    out = api.kubectl("create", "configmap", "bad", "-n", hooked, check=False)
    assert 'admission webhook "validating.example.com" denied the request: CREATE of bad things' in out, out
    api.kubectl("create", "configmap", "bad-spared", "-n", hooked)
    assert "created" in api.kubectl("create", "configmap", "bad", "-n", "default"), "another namespace"
    api.kubectl("delete", "configmap", "bad", "-n", "default")


def test_a_webhook_that_does_not_answer_fails_as_its_policy_says(api, far, hooked):
    api.apply(hook("slow", "/hang", "ValidatingWebhookConfiguration", far, timeoutSeconds=1))
    out = api.kubectl("create", "configmap", "a", "-n", hooked, check=False)
    assert 'failed calling webhook "slow.example.com"' in out and "context deadline exceeded" in out, out
    api.apply(hook("slow", "/hang", "ValidatingWebhookConfiguration", far, timeoutSeconds=1, failurePolicy="Ignore"))
    assert "created" in api.kubectl("create", "configmap", "a", "-n", hooked)


def test_a_wrong_webhook_is_refused_by_name(api, far):
    out = api.apply(hook("wrong", "/validate", "ValidatingWebhookConfiguration", far, matchConditions=[{"name": "x", "expression": "object."}], sideEffects="Some"), check=False)
    assert "compilation failed" in out and 'webhooks[0].sideEffects: Unsupported value: "Some"' in out, out


POLICY = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: few}
spec:
  paramKind: {apiVersion: v1, kind: ConfigMap}
  matchConstraints:
    resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}]
  variables: [{name: wanted, expression: 'object.spec.replicas'}]
  validations:
  - expression: 'variables.wanted <= int(params.data.max)'
    messageExpression: '"at most " + params.data.max + ", not " + string(variables.wanted)'
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: few}
spec: {policyName: few, validationActions: [Deny], paramRef: {name: limits, namespace: default, parameterNotFoundAction: Deny}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: limits}, data: {max: "3"}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: mark}
spec:
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}]
  mutations:
  - {patchType: ApplyConfiguration, applyConfiguration: {expression: 'Object{metadata: Object.metadata{labels: {"marked": "yes"}}}'}}
  - {patchType: JSONPatch, jsonPatch: {expression: '[JSONPatch{op: "add", path: "/metadata/annotations", value: {"by": request.userInfo.username}}]'}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: mark}
spec: {policyName: mark}
"""


def test_policies_in_cel_change_and_refuse_writes(api):
    api.apply(POLICY)
    api.kubectl("create", "deployment", "ok", "--image=x", "--replicas=2")
    ok = api.get("deployment", "ok")["metadata"]
    assert ok["labels"] == {"app": "ok", "marked": "yes"} and ok["annotations"]["by"] == "system:admin", ok
    out = api.kubectl("create", "deployment", "many", "--image=x", "--replicas=4", check=False)
    assert "ValidatingAdmissionPolicy 'few' with binding 'few' denied request: at most 3, not 4" in out, out
    api.kubectl("delete", "configmap", "limits")
    out = api.kubectl("create", "deployment", "none", "--image=x", check=False)
    assert "no params found for policy binding with `Deny` parameterNotFoundAction" in out, out
    api.kubectl("delete", "validatingadmissionpolicies,validatingadmissionpolicybindings,mutatingadmissionpolicies,mutatingadmissionpolicybindings", "--all")
    api.kubectl("delete", "deployment", "ok")


def test_versions_are_converted_by_a_webhook(api, far):
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    crd = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "doors.far.test.io"},
           "spec": {"group": "far.test.io", "scope": "Namespaced", "names": {"plural": "doors", "kind": "Door"},
                    "conversion": {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": {"caBundle": far, "service": {"namespace": "default", "name": "far", "path": "/convert"}}}},
                    "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}, {"name": "v2", "served": True, "storage": False, "schema": schema}]}}
    api.apply(json.dumps(crd))
    api.kubectl("wait", "--for=condition=Established", "crd/doors.far.test.io", "--timeout=30s")
    for n in ("a", "b"):
        api.apply(json.dumps({"apiVersion": "far.test.io/v2", "kind": "Door", "metadata": {"name": n}, "host": n, "port": "80"}))
    assert api.get("doors.v1.far.test.io", "a")["hostPort"] == "a:80"
    assert [(d["host"], d["port"]) for d in api.get("doors.v2.far.test.io")["items"]] == [("a", "80"), ("b", "80")]
    api.kubectl("patch", "doors.v2.far.test.io", "a", "--type=merge", "-p", '{"port":"90"}')
    assert api.get("doors.v1.far.test.io", "a")["hostPort"] == "a:90"
    api.kubectl("delete", "crd", "doors.far.test.io")


def test_an_aggregated_server_is_asked_as_the_user(api, far):
    api.apply(f"""
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {{name: v1.far.example.com}}
spec: {{group: far.example.com, version: v1, groupPriorityMinimum: 100, versionPriority: 10, caBundle: {far}, service: {{namespace: default, name: far}}}}
""")
    api.kubectl("wait", "--for=condition=Available", "apiservice/v1.far.example.com", "--timeout=60s")
    assert re.search(r"stars +st +far.example.com/v1 +false +Star", api.kubectl("api-resources"))
    who = api.get("stars")["items"][0]["who"]
    assert who["user"] == "system:admin" and "system:masters" in who["groups"] and who["token"] is None, who
    out = api.kubectl("get", "stars", "--as=nobody", check=False)
    assert 'User "nobody" cannot list resource "stars" in API group "far.example.com"' in out, out
    config = wait_for("the request-header CA is told", lambda: api.get("configmap", "extension-apiserver-authentication", "-n", "kube-system"))
    assert "BEGIN CERTIFICATE" in config["data"]["requestheader-client-ca-file"] and "system:auth-proxy" in config["data"]["requestheader-allowed-names"]
    api.kubectl("delete", "apiservice", "v1.far.example.com")
    wait_for("its group is gone", lambda: "far.example.com" not in api.kubectl("api-versions"))
