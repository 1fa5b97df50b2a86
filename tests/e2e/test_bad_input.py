"""Bad input gets one clear line each, and nothing half-done."""
import http.client
import itertools
import json
import os
import socket
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from lab.client import enter
from lab.lab import ENV, SAMPAN, sh, wait_for


def sampan(*words, env=None, timeout=30):
    done = subprocess.run([SAMPAN, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(ENV, **(env or {})), timeout=timeout)
    return done.returncode, done.stdout.strip()


@pytest.mark.parametrize("words, says", [
    (["server", "--nonsense"], "flag provided but not defined: -nonsense"),
    (["server", "--https-listen-port", "70000"], 'invalid value "70000" for --https-listen-port'),
    (["server", "--https-listen-port"], "flag needs an argument: --https-listen-port"),
    (["server", "--cluster-cidr", "ten"], 'invalid value "ten" for --cluster-cidr'),
    (["server", "--node-name", "UPPER"], 'invalid value "UPPER" for --node-name'),
    (["server", "--node-taint", "a=b:Never"], "effect must be NoSchedule, PreferNoSchedule or NoExecute"),
    (["server", "--flannel-backend", "ipsec"], "must be vxlan, host-gw or none"),
    (["server", "--kubelet-arg", "x=y"], "there is no kubelet inside"),
    (["server", "--kube-apiserver-arg", "x=y"], "this flag of kube-apiserver has no meaning here"),
    (["server", "--kube-apiserver-arg", "max-requests-inflight=0"], "must be a number from 1 to 1000000"),
    (["server", "extra"], 'unexpected argument "extra"'),
    (["agent", "--token", "x"], "--server is required"),
    (["agent", "--server", "https://127.0.0.1:1"], "--token is required"),
    (["agent", "--server", "http://127.0.0.1", "--token", "x"], "must be an https:// URL"),
    (["connect"], "--hub is required"),
    (["image", "import"], "usage: sampan image import"),
    (["nonsense"], 'unknown command "nonsense"'),
])
def test_a_wrong_command_line_is_one_line_and_exit_code_2(words, says):
    code, out = sampan(*words)
    assert (code, len(out.splitlines())) == (2, 1) and says in out, out


def test_a_wrong_config_file_names_file_and_key(tmp_path):
    file = tmp_path / "config.yaml"
    for text, says in (("nonsense: 1\n", 'unknown key "nonsense"'), ("tls-san: {a: b}\n", "tls-san: must be a list"), ("- a\n", "must be a map"), ("a: [\n", "line"), ("https-listen-port: x\n", 'invalid value "x" for --https-listen-port')):
        file.write_text(text)
        code, out = sampan("server", "--config", str(file))
        assert code in (1, 2) and says in out and str(file) in out and len(out.splitlines()) == 1, out
    code, out = sampan("server", env={"SAMPAN_HTTPS_LISTEN_PORT": "0"})
    assert code == 2 and "SAMPAN_HTTPS_LISTEN_PORT" in out, out


def test_a_port_in_use_is_said_and_nothing_is_started(tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        code, out = sampan("server", "--disable-agent", "--data-dir", str(tmp_path / "d"), "--bind-address", "127.0.0.1", "--https-listen-port", str(port), "--write-kubeconfig", str(tmp_path / "k"))
    assert code == 1 and f"127.0.0.1:{port}" in out and "in use" in out.lower() and len(out.splitlines()) == 1, out
    assert not (tmp_path / "k").exists()


def test_an_unknown_user_is_said_with_the_remedy(tmp_path):
    code, out = sampan("server", "--disable-agent", "--data-dir", str(tmp_path / "d"), "--user", "no-such-user")
    assert code == 1 and "useradd" in out, out


def test_a_missing_crun_is_said_in_one_line(tmp_path):
    code, out = sampan("server", "--data-dir", str(tmp_path / "d"), "--https-listen-port", "16443", env={"PATH": "/nonexistent"})
    assert code == 1 and "crun" in out and len(out.splitlines()) == 1, out


def test_a_second_server_on_one_folder_refuses(lab):
    first = solo(lab)
    out = first.host.run(SAMPAN, "server", "--disable-agent", "--data-dir", first.data, "--https-listen-port", "7443", check=False)
    assert f"another sampan (pid {first.proc.pid})" in out and len(out.strip().splitlines()) == 1, out


def test_a_damaged_image_is_refused_whole(tmp_path):
    good = tmp_path / "good.tar"
    sh(sys.executable, "tools/busybox_image.py", str(good), "sampan.io/x:1")
    data = bytearray(good.read_bytes())
    at = data.index(b"\x7fELF") + 5000
    data[at] ^= 1  # one bit of the layer
    bad = tmp_path / "bad.tar"
    bad.write_bytes(data)
    code, out = sampan("image", "--data-dir", str(tmp_path / "d"), "import", str(bad))
    assert code == 1 and len(out.splitlines()) == 1 and "sha256:" in out and "when unpacked, not" in out, out
    bad.write_text("this is no archive")
    code, out = sampan("image", "--data-dir", str(tmp_path / "d"), "import", str(bad))
    assert code == 1 and len(out.splitlines()) == 1, out
    code, out = sampan("image", "--data-dir", str(tmp_path / "d"), "ls")
    assert code == 0 and "sampan.io/x" not in out


@pytest.mark.parametrize("path, body, code", [
    ("/api/v1/namespaces/default/configmaps", "{", 400),
    ("/api/v1/namespaces/default/configmaps", "[]", 400),
    ("/api/v1/namespaces/default/configmaps", '{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x"}}', 400),
    ("/api/v1/namespaces/default/configmaps", '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"X"}}', 422),
    ("/api/v1/namespaces/default/configmaps", '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"a":1}}', 400),
    ("/api/v1/namespaces/default/configmaps", "{\"a\":" * 20000, 400),
    ("/api/v1/namespaces/none/configmaps", '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}}', 404),
    ("/api/v1/namespaces/default/nonsense", "{}", 404),
])
def test_malformed_bodies_get_a_status_that_names_what_is_wrong(lab, path, body, code):
    s = solo(lab)
    file = os.path.join(lab.folder, "body.json")
    with open(file, "w") as f:
        f.write(body)
    out = s.host.run("curl", "-s", "--unix-socket", os.path.join(s.data, "run", "api.sock"), "-H", "Content-Type: application/json", "--data-binary", "@" + file, "http://x" + path)
    assert f'"code":{code}' in out.replace(" ", "") and '"kind":"Status"' in out.replace(" ", ""), out[:500]


def solo(lab):
    return next((p for p in lab.running if p.host.name == "solo"), None) or lab.server("solo", "--disable-agent", "--kube-apiserver-arg=max-mutating-requests-inflight=2", image=False)


DEPLOY = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}
CM = "/api/v1/namespaces/default/configmaps"
JSON = {"Content-Type": "application/json"}
OBJECT = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bad"}}'


@pytest.mark.parametrize("method, path, headers, body, code, says", [
    # bodies
    ("POST", CM, JSON, "", 400, ""),
    ("POST", CM, JSON, '{"a":1}x', 400, "invalid character"),
    ("POST", CM, JSON, "\xff\xfe", 400, ""),
    ("POST", CM, {"Content-Type": "text/plain"}, OBJECT, 415, "media type"),
    ("POST", CM, {"Content-Type": "application/cbor"}, OBJECT, 415, "media type"),
    ("POST", CM, {"Content-Type": "application/vnd.kubernetes.protobuf"}, "k8s\0\xff\xff\xff", 400, ""),
    ("POST", CM, {"Content-Type": "application/vnd.kubernetes.protobuf"}, OBJECT, 400, ""),
    ("POST", CM, {"Content-Type": "application/yaml"}, "a: [", 400, "yaml"),
    ("POST", CM, {"Content-Type": "application/yaml"}, "a: &x [*x, *x]\n", 400, ""),
    ("POST", CM, {**JSON, "Accept": "text/html"}, OBJECT, 406, "media types are accepted"),
    ("POST", CM, JSON, '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bad","namespace":"other"}}', 400, "namespace"),
    ("POST", CM, JSON, '{"apiVersion":"v2","kind":"ConfigMap","metadata":{"name":"bad"}}', 400, "v2"),
    ("POST", CM, JSON, '{"apiVersion":"v1","kind":"ConfigMap","metadata":{}}', 422, "name or generateName is required"),
    ("POST", CM, JSON, '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bad","labels":{"a b":"c"}}}', 422, "metadata.labels"),
    ("POST", CM, JSON, '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bad","resourceVersion":"7"}}', 400, "resourceVersion should not be set"),
    ("POST", CM, JSON, '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bad","ownerReferences":[{}]}}', 422, "metadata.ownerReferences[0].uid"),
    ("POST", "/apis/apps/v1/namespaces/default/deployments", JSON, json.dumps({**DEPLOY, "spec": {**DEPLOY["spec"], "replicas": 1e300}}), 400, "replicas"),
    ("POST", "/apis/apps/v1/namespaces/default/deployments", JSON, json.dumps({**DEPLOY, "spec": {**DEPLOY["spec"], "replicas": "1"}}), 400, "replicas"),
    ("POST", "/apis/apps/v1/namespaces/default/deployments", JSON, json.dumps({**DEPLOY, "spec": {}}), 422, "spec.selector: Required value"),
    ("POST", CM + "?fieldValidation=Strict", JSON, OBJECT[:-1] + ',"metadata":{"name":"again"}}', 400, 'duplicate field "metadata"'),
    ("POST", CM + "?fieldValidation=Sometimes", JSON, OBJECT, 422, "fieldValidation"),
    ("POST", CM + "?dryRun=Maybe", JSON, OBJECT, 422, "dryRun"),
    ("POST", CM + "?fieldManager=" + "x" * 200, JSON, OBJECT, 422, "fieldManager"),
    ("PUT", CM + "/other", JSON, OBJECT, 400, "name"),
    # selectors, options, paths
    ("GET", CM + "?labelSelector=a%20in%20", {}, None, 400, "unable to parse requirement"),
    ("GET", CM + "?labelSelector=" + "a" * 70 + "%3Db", {}, None, 400, "no more than 63 bytes"),
    ("GET", CM + "?fieldSelector=spec.nodeName%3Dx", {}, None, 400, "field label not supported: spec.nodeName"),
    ("GET", CM + "?fieldSelector=a", {}, None, 400, "invalid selector"),
    ("GET", CM + "?limit=x", {}, None, 400, "limit"),
    ("GET", CM + "?continue=%21%21", {}, None, 400, "continue"),
    ("GET", CM + "?continue=e30", {}, None, 400, "continue"),
    ("GET", CM + "?resourceVersion=x", {}, None, 400, "resourceVersion"),
    ("GET", CM + "?resourceVersionMatch=Exact", {}, None, 422, "resourceVersionMatch"),
    ("GET", CM + "?watch=1&timeoutSeconds=x", {}, None, 400, "timeoutSeconds"),
    ("GET", CM + "?watch=1&sendInitialEvents=true", {}, None, 422, "resourceVersionMatch"),
    ("GET", "/api/v1/namespaces/default/configmaps/a%2Fb", {}, None, 404, "not found"),
    ("GET", "/apis/apps/v9/deployments", {}, None, 404, "could not find the requested resource"),
    ("FROB", CM, {}, None, 405, "does not allow this method"),
    ("DELETE", CM + "/none?propagationPolicy=Never", {}, None, 422, "propagationPolicy"),
    ("DELETE", CM + "/none?gracePeriodSeconds=x", {}, None, 400, "gracePeriodSeconds"),
    # patches
    ("PATCH", CM + "/kube-root-ca.crt", JSON, "{}", 415, "media type"),
    ("PATCH", CM + "/kube-root-ca.crt", {"Content-Type": "application/merge-patch+json"}, "[]", 400, ""),
    ("PATCH", CM + "/kube-root-ca.crt", {"Content-Type": "application/merge-patch+json"}, '{"metadata":{"uid":"x"}}', 409, "UID in precondition: x"),
    ("PATCH", CM + "/kube-root-ca.crt", {"Content-Type": "application/json-patch+json"}, "{}", 400, ""),
    ("PATCH", CM + "/kube-root-ca.crt", {"Content-Type": "application/json-patch+json"}, '[{"op":"frob","path":"/data"}]', 400, "frob"),
    ("PATCH", CM + "/kube-root-ca.crt", {"Content-Type": "application/json-patch+json"}, '[{"op":"remove","path":"/data/none"}]', 422, "/data/none"),
    ("PATCH", CM + "/kube-root-ca.crt", {"Content-Type": "application/json-patch+json"}, json.dumps([{"op": "copy", "from": "/data", "path": f"/data/x{i}"} for i in range(10001)]), 413, "maximum operations in a JSON patch"),
    ("PATCH", CM + "/kube-root-ca.crt", {"Content-Type": "application/strategic-merge-patch+json"}, '{"metadata":{"$patch":"frob"}}', 400, "frob"),
    ("PATCH", CM + "/kube-root-ca.crt?fieldManager=t", {"Content-Type": "application/apply-patch+yaml"}, "a: [", 400, "yaml"),
    ("PATCH", CM + "/kube-root-ca.crt", {"Content-Type": "application/apply-patch+yaml"}, OBJECT, 422, "fieldManager"),
    ("PATCH", CM + "/kube-root-ca.crt?fieldManager=t", {"Content-Type": "application/apply-patch+yaml"}, '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"managedFields":[{"manager":"x"}]}}', 400, "managedFields"),
    ("PATCH", CM + "/kube-root-ca.crt?force=true", {"Content-Type": "application/merge-patch+json"}, "{}", 422, "force"),
    # tokens and impersonation
    ("GET", CM, {"Authorization": "Bearer nonsense"}, None, 401, "Unauthorized"),
    ("GET", CM, {"Authorization": "Bearer " + "e30." * 3000 + "x"}, None, 401, "Unauthorized"),
    ("GET", CM, {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJzeXN0ZW06YWRtaW4ifQ."}, None, 401, "Unauthorized"),
    ("GET", CM, {"Impersonate-Group": "system:masters"}, None, 400, "without impersonating a user"),
], ids=itertools.count())
def test_whatever_is_wrong_in_a_request_gets_a_status_that_says_what(lab, method, path, headers, body, code, says):
    s = solo(lab)
    names = [w for k, v in headers.items() for w in ("-H", f"{k}: {v}")]
    data = os.path.join(lab.folder, "hostile")
    if body is not None:
        with open(data, "wb") as f:
            f.write(body.encode("latin-1"))
    out = s.host.run("curl", "-s", "-m", "20", "-X", method, "--unix-socket", os.path.join(s.data, "run", "api.sock"), *names, *([] if body is None else ["--data-binary", "@" + data]), "-w", "\\n%{http_code}", "http://x" + path)
    text, _, status = out.rpartition("\n")
    got = json.loads(text)
    assert (int(status), got["kind"], got["status"], got["code"]) == (code, "Status", "Failure", code), out[:600]
    assert says in got["message"], got["message"]


def test_one_request_too_many_is_told_to_come_again(lab):
    s = solo(lab)
    s.kubectl("create", "serviceaccount", "many", "-n", "default")
    s.kubectl("create", "clusterrolebinding", "many", "--clusterrole=cluster-admin", "--serviceaccount=default:many")
    token = s.kubectl("create", "token", "many", "-n", "default").strip()
    held, context = [], ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def post(whole):
        raw = http.client.HTTPSConnection(s.host.ip, s.port, timeout=60, context=context)  # without the admin's certificate: the token counts
        body = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"m-"}}'
        raw.putrequest("POST", CM)
        for name, value in (("Authorization", "Bearer " + token), ("Content-Type", "application/json"), ("Content-Length", str(len(body)))):
            raw.putheader(name, value)
        raw.endheaders()
        raw.send(body if whole else body[:10])
        return raw, body

    def count():
        text = s.kubectl("get", "--raw", "/metrics")
        return [line.split()[-1] for line in text.splitlines() if line.startswith("apiserver_current_inflight_requests") and "mutating" in line]

    def run():
        enter(s.host.netns)
        held.extend(post(False) for _ in range(2))
        wait_for("both are under way", lambda: count() == ["2"])
        reply = post(True)[0].getresponse()
        status = json.loads(reply.read())
        assert (reply.status, reply.headers["Retry-After"], status["reason"]) == (429, "1", "TooManyRequests"), status
        for raw, body in held:
            raw.send(body[10:])
            assert raw.getresponse().status == 201
        wait_for("none is under way", lambda: count() == ["0"])
        assert post(True)[0].getresponse().status == 201

    with ThreadPoolExecutor(1) as pool:
        pool.submit(run).result()
