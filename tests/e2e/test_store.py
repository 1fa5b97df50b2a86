"""What the store promises, seen through the API: kill -9 under load, a full disk, two servers on one folder, damage, backup and restore, silence when idle."""
import http.client
import os
import subprocess
import threading
import time

import pytest
from lab.client import workers
from lab.lab import ENV, SAMPAN, Server, sh, wait_for

CM = "/api/v1/namespaces/default/configmaps"
BROKEN = (OSError, http.client.HTTPException, ValueError)


def configmap(name, value="v"):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"v": value}}


def once(server, fn, seconds=60):
    """fn(client) inside the server's namespace; what it returns."""
    out = []
    for t in workers(server, 1, lambda n, client: out.append(fn(client))):
        t.join(seconds)
    assert out, "the request did not come back"
    return out[0]


def alone(lab, name, kind=Server, start=True):
    """A server that serves the API only."""
    host = lab.host(name)
    s = kind(lab, host, "server", ["--disable-agent", "--node-name", name, "--node-ip", host.ip])
    if start:
        s.start()
    return s


@pytest.fixture(scope="module")
def store(lab):
    return alone(lab, "s")


def test_kill_9_under_load_loses_no_acknowledged_write_and_no_watch_told_what_is_not_there(store):
    acknowledged, told, stop = {}, {}, threading.Event()

    def write(n, client):
        i = 0
        while not stop.is_set():
            i += 1
            try:
                status, doc = client.request("POST", CM, configmap(f"k{n}-{i}"))
                if status == 201:
                    acknowledged[doc["metadata"]["name"]] = int(doc["metadata"]["resourceVersion"])
            except BROKEN:
                time.sleep(0.05)

    def watch(n, client):
        client.timeout = 3
        while not stop.is_set():
            try:
                for event in client.watch(CM + "?watch=1"):
                    if event["type"] == "ADDED":
                        meta = event["object"]["metadata"]
                        told[meta["name"]] = int(meta["resourceVersion"])
                    if stop.is_set():
                        break
            except BROKEN + (AssertionError,):
                time.sleep(0.05)

    threads = workers(store, 8, write) + workers(store, 2, watch)
    rounds, newest = 5, 0
    for _ in range(rounds):
        goal = len(acknowledged) + 200
        wait_for("two hundred writes", lambda: len(acknowledged) >= goal, 60)
        seen = dict(acknowledged), dict(told)
        store.kill("api")
        wait_for("the API to be back", lambda: once(store, lambda c: c.request("GET", "/readyz")[0]) == 200, 30)
        there = once(store, lambda c: c.request("GET", CM))[1]
        there = {o["metadata"]["name"]: int(o["metadata"]["resourceVersion"]) for o in there["items"]}
        for what in seen:
            assert {k: there.get(k) for k in what} == what
        assert max(there.values()) > newest, "revisions rise across lives"
        newest = max(there.values())
    stop.set()
    for t in threads:
        t.join(30)
    assert len(acknowledged) >= 200 * rounds and told


def test_a_watch_is_resumed_across_a_restart_without_a_hole(store):
    status, doc = once(store, lambda c: c.request("POST", CM, configmap("resume-0")))
    assert status == 201
    revision = doc["metadata"]["resourceVersion"]
    for i in range(1, 4):
        assert once(store, lambda c: c.request("POST", CM, configmap(f"resume-{i}")))[0] == 201
    assert once(store, lambda c: c.request("DELETE", f"{CM}/resume-2"))[0] == 200
    store.kill("api")
    wait_for("the API to be back", lambda: once(store, lambda c: c.request("GET", "/readyz")[0]) == 200, 30)

    def read(client):
        client.timeout, got = 10, []
        for event in client.watch(f"{CM}?watch=1&resourceVersion={revision}"):
            got.append((event["type"], event["object"]["metadata"]["name"]))
            if len(got) == 4:
                return got
        return got
    assert once(store, read) == [("ADDED", "resume-1"), ("ADDED", "resume-2"), ("ADDED", "resume-3"), ("DELETED", "resume-2")]


def test_an_idle_server_writes_nothing(store):
    api = store.pid("api")

    def written():
        with open(f"/proc/{api}/io") as f:
            return int(dict(line.split(": ") for line in f.read().splitlines())["write_bytes"])
    time.sleep(5)
    before = written()
    time.sleep(20)
    assert written() == before


def test_a_second_server_on_the_folder_is_refused_in_one_line(lab, store):
    done = subprocess.run(["ip", "netns", "exec", store.host.netns, SAMPAN, "server", "--data-dir", store.data, "--disable-agent", "--https-listen-port", "7443"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30, env=ENV)
    assert done.returncode not in (0, 2), done.stdout
    lines = [line for line in done.stdout.splitlines() if str(store.proc.pid) in line]
    assert len(lines) == 1 and store.data in lines[0], done.stdout
    assert once(store, lambda c: c.request("GET", "/readyz")[0]) == 200


def test_backup_works_beside_the_server_and_restore_brings_it_back(lab, store, tmp_path):
    assert once(store, lambda c: c.request("POST", CM, configmap("before")))[0] == 201
    file = str(tmp_path / "backup.db")
    sh(SAMPAN, "backup", "--data-dir", store.data, file, env=ENV)
    assert os.stat(file).st_mode & 0o777 == 0o600
    assert once(store, lambda c: c.request("POST", CM, configmap("after")))[0] == 201
    again = alone(lab, "r", start=False)
    sh(SAMPAN, "restore", "--data-dir", again.data, file, env=ENV)
    again.start()
    assert once(again, lambda c: c.request("GET", f"{CM}/before")[0]) == 200
    assert once(again, lambda c: c.request("GET", f"{CM}/after")[0]) == 404
    again.stop()


class SmallDisk(Server):
    """Its database lies on a file system of 24 MiB, in the mount namespace that `ip netns exec` makes, so the machine sees nothing of it."""

    def start(self):
        db = os.path.join(self.data, "server", "db")
        script = 'mkdir -p "$0" && mount -t tmpfs -o size=24m none "$0" && exec "$@"'
        with open(self.log_path, "ab") as log:
            self.proc = subprocess.Popen(["ip", "netns", "exec", self.host.netns, "sh", "-c", script, db, SAMPAN, self.kind, *self.flags],
                                         stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=ENV, start_new_session=True)
        self.lab.running.append(self)
        self.wait_ready()
        return self


def test_a_full_disk_answers_507_lets_deletes_pass_and_recovers(lab):
    s = alone(lab, "f", SmallDisk)
    big = "x" * 200000

    def fill(client):
        for i in range(400):
            status, doc = client.request("POST", CM, configmap(f"big-{i}", big))
            if status != 201:
                return i, status, doc
        return None
    full = once(s, fill, 120)
    assert full, "the disk did not fill"
    made, status, doc = full
    assert status == 507 and doc["kind"] == "Status" and doc["reason"] == "InsufficientStorage", doc
    assert made > 10
    there = once(s, lambda c: c.request("GET", CM))[1]["items"]
    assert len([o for o in there if o["metadata"]["name"].startswith("big-")]) == made
    for i in range(made):
        assert once(s, lambda c: c.request("DELETE", f"{CM}/big-{i}"))[0] == 200
    wait_for("writes again", lambda: once(s, lambda c: c.request("POST", CM, configmap("again", big))[0]) == 201, 20)
    assert s.proc.poll() is None
    s.stop()


def test_a_damaged_database_stops_the_start_with_the_way_back(lab):
    s = alone(lab, "d")
    for i in range(20):
        assert once(s, lambda c: c.request("POST", CM, configmap(f"c-{i}", "x" * 3000)))[0] == 201
    s.stop()
    db = os.path.join(s.data, "server", "db", "store.db")
    with open(db, "r+b") as f:
        f.seek(0)
        f.write(b"\x5a" * 2048)
    done = subprocess.run(["ip", "netns", "exec", s.host.netns, SAMPAN, s.kind, *s.flags], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, env=ENV)
    assert done.returncode != 0
    assert "sampan restore" in done.stdout and db.rsplit("/", 1)[0] in done.stdout, done.stdout


def test_secrets_are_sealed_at_rest_and_plain_again_without_the_flag(lab):
    host = lab.host("sealed")
    flags = ["--disable-agent", "--node-name", "sealed", "--node-ip", host.ip]
    s = Server(lab, host, "server", flags + ["--secrets-encryption"])
    s.start()
    s.kubectl("create", "secret", "generic", "s", "--from-literal=password=kept-from-the-disk")
    s.kubectl("create", "configmap", "c", "--from-literal=a=shown-on-the-disk")

    def on_disk(word):
        folder = os.path.join(s.data, "server", "db")
        return any(word in open(os.path.join(folder, f), "rb").read() for f in os.listdir(folder) if f.startswith("store.db"))

    assert on_disk(b"shown-on-the-disk") and not on_disk(b"a2VwdC1mcm9tLXRoZS1kaXNr")  # base64 of the password
    s.stop()
    s.start()
    read = s.kubectl("get", "secret", "s", "-o", "jsonpath={.data.password}")
    assert read == "a2VwdC1mcm9tLXRoZS1kaXNr"
    command = lambda *words: s.host.run(SAMPAN, "secrets-encrypt", *words, "--data-dir", s.data, check=False)
    assert "Encryption Status: Enabled" in command("status")
    keys = os.path.join(s.data, "server", "tls", "secrets-encryption.keys")
    before = len(open(keys).read().split())
    out = command("rotate-keys")
    assert "keys rotated" in out, out
    assert len(open(keys).read().split()) == before * 2 and "Keys: 2" in command("status")
    assert s.kubectl("get", "secret", "s", "-o", "jsonpath={.data.password}") == read
    assert s.kubectl("get", "--raw", "/v1-sampan/encrypt/status", "--as", "nobody", check=False).startswith("Error from server (Forbidden)")
    s.stop()
    s.flags.remove("--secrets-encryption")
    s.start()
    assert "Encryption Status: Disabled" in command("status") and "disabled" in command("rotate-keys")
    assert s.kubectl("get", "secret", "s", "-o", "jsonpath={.data.password}") == read
    assert on_disk(b"a2VwdC1mcm9tLXRoZS1kaXNr")


def test_certificates_are_shown_and_made_anew_at_the_next_start(lab):
    host = lab.host("certs")
    s = Server(lab, host, "server", ["--disable-agent", "--node-name", "certs", "--node-ip", host.ip])
    s.start()
    command = lambda *words: host.run(SAMPAN, "certificate", *words, "--data-dir", s.data, check=False)
    rows = command("check").splitlines()
    assert rows[0].split()[:2] == ["FILENAME", "SUBJECT"]
    assert any(r.startswith("serving-kube-apiserver.crt") and r.endswith("OK") and "ServerAuth" in r for r in rows), rows
    assert any(r.startswith("client-admin.crt") and "ClientAuth" in r for r in rows), rows
    assert "stop it first" in command("rotate")
    path = os.path.join(s.data, "server", "tls", "serving-kube-apiserver.crt")
    old = open(path).read()
    s.stop()
    assert "the next start" in command("rotate")
    s.start()
    assert open(path).read() != old
    assert s.kubectl("get", "namespaces", "-o", "name").startswith("namespace/default")
