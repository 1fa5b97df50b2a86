"""The audit log: kube-apiserver's flags, policy and form."""
import json
import os
import subprocess

import pytest
from lab.lab import ENV, SAMPAN, wait_for

POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitManagedFields: true
rules:
- {level: None, nonResourceURLs: ["/readyz*", "/healthz*", "/livez*", "/api*", "/openapi*", "/version"]}
- {level: Metadata, resources: [{group: "", resources: [secrets, "serviceaccounts/*"]}]}
- {level: RequestResponse, omitStages: [RequestReceived], verbs: [create, delete], resources: [{group: "", resources: [configmaps]}]}
- {level: Metadata, verbs: [watch], resources: [{group: "", resources: [configmaps]}]}
- {level: Metadata, users: [jane], omitStages: [RequestReceived]}
"""


@pytest.fixture(scope="module")
def audited(lab, tmp_path_factory):
    policy = tmp_path_factory.mktemp("policy") / "audit.yaml"
    policy.write_text(POLICY)
    os.chmod(policy, 0o600)
    log = os.path.join(lab.folder, "logs", "audit", "audit.log")
    args = [f"audit-policy-file={policy}", f"audit-log-path={log}", "audit-log-maxsize=1", "audit-log-maxbackup=1"]
    server = lab.server("aud", "--disable-agent", *[f"--kube-apiserver-arg={a}" for a in args], image=False)

    def events(**want):
        with open(log) as f:
            return [e for e in map(json.loads, f) if all(e.get("objectRef", {}).get(k, e.get(k)) == v for k, v in want.items())]
    server.audit_log, server.events = log, events
    return server


def test_the_first_rule_that_fits_says_how_much_is_written(audited):
    audited.kubectl("create", "configmap", "c", "--from-literal=a=b")
    audited.kubectl("create", "secret", "generic", "s", "--from-literal=p=hidden")
    audited.kubectl("get", "configmaps")
    one, = audited.events(resource="configmaps", verb="create", name="c") or audited.events(resource="configmaps", verb="create")
    assert (one["kind"], one["apiVersion"], one["level"], one["stage"]) == ("Event", "audit.k8s.io/v1", "RequestResponse", "ResponseComplete")
    assert one["requestObject"]["data"] == {"a": "b"} and one["responseObject"]["metadata"]["uid"] and "managedFields" not in one["responseObject"]["metadata"]
    assert one["user"]["username"] == "system:admin" and "system:masters" in one["user"]["groups"] and one["userAgent"].startswith("kubectl/") and one["sourceIPs"] == ["127.0.0.1"]
    assert one["responseStatus"]["code"] == 201 and one["annotations"]["authorization.k8s.io/decision"] == "allow" and one["requestURI"].startswith("/api/v1/namespaces/default/configmaps?")
    stages = [(e["stage"], e["level"], "requestObject" in e) for e in audited.events(resource="secrets", verb="create")]
    assert stages == [("RequestReceived", "Metadata", False), ("ResponseComplete", "Metadata", False)]
    assert len({e["auditID"] for e in audited.events(resource="secrets", verb="create")}) == 1
    assert audited.events(resource="configmaps", verb="list") == [] and "hidden" not in open(audited.audit_log).read()


def test_impersonation_and_refusals_are_told(audited):
    assert "forbidden" in audited.kubectl("get", "pods", "--as=jane", "--as-group=dev", check=False)
    one = audited.events(resource="pods", verb="list")[-1]
    assert (one["user"]["username"], one["impersonatedUser"]["username"], one["impersonatedUser"]["groups"]) == ("system:admin", "jane", ["dev", "system:authenticated"])
    assert one["responseStatus"]["code"] == 403 and one["responseStatus"]["reason"] == "Forbidden" and one["annotations"]["authorization.k8s.io/decision"] == "forbid"


def test_a_watch_is_told_when_it_begins_and_when_it_ends(audited):
    audited.kubectl("get", "--raw", "/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=1")
    wait_for("three stages", lambda: len(audited.events(resource="configmaps", verb="watch")) == 3, 5)
    assert [e["stage"] for e in audited.events(resource="configmaps", verb="watch")] == ["RequestReceived", "ResponseStarted", "ResponseComplete"]


def test_a_full_log_is_put_aside_and_old_ones_go(audited):
    folder = os.path.dirname(audited.audit_log)
    big = "x" * 150000
    for i in range(9):
        audited.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"big{i}", "namespace": "default"}, "data": {"x": big}}))
    files = os.listdir(folder)
    assert len(files) == 2 and "audit.log" in files, files
    assert os.stat(audited.audit_log).st_size <= 1 << 20 and os.stat(audited.audit_log).st_mode & 0o777 == 0o600


def test_a_wrong_policy_names_the_field(tmp_path):
    policy = tmp_path / "p.yaml"
    for text, says in (("rules: []", "must be apiVersion: audit.k8s.io/v1, kind: Policy"), ("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: All}]", "rules[0].level: must be None, Metadata, Request or RequestResponse"),
                       ("a: [", "audit policy")):
        policy.write_text(text)
        done = subprocess.run([SAMPAN, "server", "--disable-agent", "--data-dir", str(tmp_path / "d"), "--bind-address", "127.0.0.1", "--https-listen-port", "16553", "--write-kubeconfig", str(tmp_path / "k"),
                               f"--kube-apiserver-arg=audit-policy-file={policy}", f"--kube-apiserver-arg=audit-log-path={tmp_path}/logs/a.log"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENV, timeout=60)
        assert done.returncode != 0 and says in done.stdout, done.stdout
