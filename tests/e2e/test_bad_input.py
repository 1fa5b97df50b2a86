"""Bad input gets one clear line each, and nothing half-done."""
import os
import socket
import subprocess
import sys

import pytest
from lab.lab import ENV, SAMPAN, sh


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
    (["server", "--kubelet-arg", "x=y"], "--kubelet-arg is not supported: there is no kubelet inside"),
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
    first = lab.server("solo", "--disable-agent", image=False)
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
    s = next((p for p in lab.running if p.host.name == "solo"), None) or lab.server("solo", "--disable-agent", image=False)
    file = os.path.join(lab.folder, "body.json")
    with open(file, "w") as f:
        f.write(body)
    out = s.host.run("curl", "-s", "--unix-socket", os.path.join(s.data, "run", "api.sock"), "-H", "Content-Type: application/json", "--data-binary", "@" + file, "http://x" + path)
    assert f'"code":{code}' in out.replace(" ", "") and '"kind":"Status"' in out.replace(" ", ""), out[:500]
