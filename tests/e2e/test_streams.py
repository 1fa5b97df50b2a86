"""Real kubectl's long-lived streams into pods: exec, attach, logs -f, port-forward, proxy."""
import os
import subprocess
import threading
import time

import pytest
from lab.lab import wait_for

POD = """
apiVersion: v1
kind: Pod
metadata: {name: box, labels: {app: box}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: sampan.io/busybox:1
    command: [sh, -c, "mkdir -p /www; echo from the pod >/www/index.html; httpd -p 8080 -h /www; while read line; do echo \\"got $line\\"; done; echo end of input; sleep 1000"]
    stdin: true
  - name: noise
    image: sampan.io/busybox:1
    command: [sh, -c, "i=0; while true; do i=$((i+1)); echo out $i; echo err $i >&2; sleep 0.1; done"]
"""


@pytest.fixture(scope="module")
def box(server):
    server.kubectl("create", "namespace", "streams")
    server.apply(POD, "-n", "streams")
    server.wait_pods_ready("streams", "app=box", 1)
    return "streams"


def start(server, *words, **more):
    return subprocess.Popen(["nsenter", f"--net=/run/netns/{server.host.netns}", server.lab.kubectl_path, "--kubeconfig", server.kubeconfig, *words],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(os.environ, HOME=server.lab.folder), **more)


def test_exec_carries_megabytes_both_ways_unchanged(server, box):
    data = os.urandom(5 << 20)
    p = start(server, "exec", "-i", "-n", box, "box", "-c", "main", "--", "sh", "-c", "cat; exit 0", stdin=subprocess.PIPE)
    out, _ = p.communicate(data, timeout=60)
    assert out == data and p.returncode == 0


def test_exec_keeps_stdout_and_stderr_apart(server, box):
    p = subprocess.run(["nsenter", f"--net=/run/netns/{server.host.netns}", server.lab.kubectl_path, "--kubeconfig", server.kubeconfig, "exec", "-n", box, "box", "-c", "main", "--",
                        "sh", "-c", "echo one; echo two >&2; exit 42"], capture_output=True, text=True, timeout=60)
    assert p.stdout == "one\n" and p.stderr.startswith("two\n") and p.returncode == 42


def test_exec_by_spdy_as_older_clients_do(server, box):
    env = dict(os.environ, HOME=server.lab.folder, KUBECTL_REMOTE_COMMAND_WEBSOCKETS="false")
    p = subprocess.run(["nsenter", f"--net=/run/netns/{server.host.netns}", server.lab.kubectl_path, "--kubeconfig", server.kubeconfig, "exec", "-i", "-n", box, "box", "-c", "main", "--", "wc", "-c"],
                       input=b"x" * 100000, capture_output=True, timeout=60, env=env)
    assert p.stdout.split() == [b"100000"], p.stderr


def test_exec_of_what_is_not_there_says_so(server, box):
    out = server.kubectl("exec", "-n", box, "box", "-c", "main", "--", "no-such-command", check=False)
    assert "no-such-command" in out and "exit code" in out, out
    assert "container nix is not valid for pod box" in server.kubectl("exec", "-n", box, "box", "-c", "nix", "--", "true", check=False)
    assert 'pods "nix" not found' in server.kubectl("exec", "-n", box, "nix", "--", "true", check=False)


def test_attach_shows_output_and_carries_input(server, box):
    p = start(server, "attach", "-i", "-n", box, "box", "-c", "main", stdin=subprocess.PIPE)
    try:
        time.sleep(1)
        p.stdin.write(b"words\n")
        p.stdin.flush()
        lines = []
        while not lines or b"got words" not in lines[-1]:
            lines.append(p.stdout.readline())
            assert lines[-1], lines
    finally:
        p.kill()
        p.wait()
    wait_for("the log has it too", lambda: "got words" in server.kubectl("logs", "-n", box, "box", "-c", "main"))


def test_logs_with_timestamps_since_tail_and_a_limit(server, box):
    time.sleep(1)
    assert len(server.kubectl("logs", "-n", box, "box", "-c", "noise", "--tail=7").splitlines()) == 7
    stamped = server.kubectl("logs", "-n", box, "box", "-c", "noise", "--tail=1", "--timestamps").split()
    assert stamped[0].startswith("20") and stamped[0].endswith("Z") and len(stamped[0]) == 30
    assert len(server.kubectl("logs", "-n", box, "box", "-c", "noise", "--limit-bytes=10")) == 10
    recent = server.kubectl("logs", "-n", box, "box", "-c", "noise", "--since=1s").splitlines()
    assert 5 < len(recent) < 60
    assert "previous terminated container" in server.kubectl("logs", "-n", box, "box", "-c", "noise", "--previous", check=False)


def test_the_log_of_the_run_before_is_kept(server, box):
    server.kubectl("run", "again", "-n", box, "--image=sampan.io/busybox:1", "--restart=Always", "--command", "--", "sh", "-c", "echo run of $(cat /proc/sys/kernel/random/uuid); sleep 2; exit 1")
    wait_for("a restart", lambda: server.get("pod", "again", "-n", box)["status"]["containerStatuses"][0]["restartCount"] == 1, 40)
    before, now = (server.kubectl("logs", "-n", box, "again", *more) for more in (["--previous"], []))
    assert before.startswith("run of ") and now.startswith("run of ") and before != now


def test_cp_there_and_back(server, box, tmp_path):
    file, back = tmp_path / "file", tmp_path / "back"
    file.write_bytes(os.urandom(1 << 20))
    server.kubectl("cp", str(file), f"{box}/box:/tmp-copy", "-c", "main")
    server.kubectl("cp", f"{box}/box:/tmp-copy", str(back), "-c", "main")
    assert back.read_bytes() == file.read_bytes()


def test_a_followed_log_comes_as_it_is_written(server, box):
    p = start(server, "logs", "-f", "-n", box, "box", "-c", "noise", "--tail=1")
    try:
        seen, begun = [], time.monotonic()
        while len(seen) < 40:
            seen.append(p.stdout.readline())
            assert seen[-1]
        assert 1 < time.monotonic() - begun < 15
    finally:
        p.kill()
        p.wait()


def forwarded(server, box, env=None):
    p = subprocess.Popen(["nsenter", f"--net=/run/netns/{server.host.netns}", server.lab.kubectl_path, "--kubeconfig", server.kubeconfig, "port-forward", "-n", box, "pod/box", "18080:8080", "18081:81"],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ, HOME=server.lab.folder, **(env or {})))
    line = p.stdout.readline()
    assert "Forwarding from" in line, line
    return p


def fetch(server, port):
    return server.host.run("curl", "-s", "-m", "10", f"http://127.0.0.1:{port}/", check=False)


@pytest.mark.parametrize("env", [{}, {"KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"}], ids=["websocket", "spdy"])
def test_port_forward(server, box, env):
    p = forwarded(server, box, env)
    try:
        for _ in range(5):
            assert fetch(server, 18080) == "from the pod\n"
        got = []
        many = [threading.Thread(target=lambda: got.append(fetch(server, 18080))) for _ in range(10)]
        [t.start() for t in many]
        [t.join() for t in many]
        assert got == ["from the pod\n"] * 10
        if env:  # kubectl gives up the whole session after a port that nobody listens on
            fetch(server, 18081)
            wait_for("the error is told", lambda: "error forwarding port 81" in p.stdout.readline(), 10)
    finally:
        p.kill()
        p.wait()


def test_the_api_servers_proxy_reaches_pods_and_nodes(server, box):
    assert server.kubectl("get", "--raw", f"/api/v1/namespaces/{box}/pods/box:8080/proxy/") == "from the pod\n"
    assert server.kubectl("get", "--raw", "/api/v1/nodes/a/proxy/healthz") == "ok"
    assert '"nodeName":"a"' in server.kubectl("get", "--raw", "/api/v1/nodes/a/proxy/stats/summary")
    metrics = server.kubectl("get", "--raw", "/api/v1/nodes/a/proxy/metrics/resource")
    assert 'container_memory_working_set_bytes{container="noise",namespace="streams",pod="box"}' in metrics
