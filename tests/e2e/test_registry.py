"""Images from registries: pulled, shared, resumed after cuts and kill -9, refused when wrong, retried with back-off, with pull secrets and mirrors."""
import base64
import crypt
import json
import os
import warnings

import pytest
from lab import tools
from lab.lab import SAMPAN, wait_for
from lab.registry import Registry

USER, PASSWORD = "puller", "correct-horse-battery"


@pytest.fixture(scope="module")
def registry(lab):
    r = Registry(lab, lab.host("r"), 5000)
    yield r
    r.close()


@pytest.fixture(scope="module")
def private(lab):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        r = Registry(lab, lab.host("r"), 5001, f"{USER}:{crypt.crypt(PASSWORD, crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16))}")
    yield r
    r.close()


@pytest.fixture(scope="module")
def server(lab, registry, private):
    path = os.path.join(lab.folder, "registries.yaml")
    with open(path, "w") as f:
        json.dump({"mirrors": {registry.name: {"endpoint": [f"http://{registry.name}"]}, private.name: {"endpoint": [f"http://{private.name}"]},
                               "upstream.example.com": {"endpoint": [f"http://{lab.host('r').ip}:9", f"http://{registry.name}"], "rewrite": {"^team/(.*)$": "copies/$1"}}}}, f)
    os.chmod(path, 0o600)
    s = lab.server("a", "--private-registry", path, image=False)
    s.wait_node_ready("a")
    return s


@pytest.fixture(autouse=True)
def calm(registry):
    yield
    registry.cuts, registry.stall, registry.spoil = 0, False, False
    registry.go_on.set()
    registry.stalled.clear()


@pytest.fixture
def make(tmp_path):
    """An image archive like no other: its layer holds this text."""
    def one(text):
        return tools.busybox(str(tmp_path / f"{text}.tar"), f"made/{text}:1", "--file", f"etc/what={text}\n")
    return one


def pod(name, image, policy="IfNotPresent", secret=None):
    spec = {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": image, "imagePullPolicy": policy, "command": ["sleep", "1000"]}]}
    if secret:
        spec["imagePullSecrets"] = [{"name": secret}]
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})


def status(server, ns, name):
    return server.get("pod", name, "-n", ns)["status"]["containerStatuses"][0]


def waiting(server, ns, name):
    return status(server, ns, name)["state"].get("waiting", {})


def running(server, ns, name, seconds=60):
    return wait_for(f"pod {name} runs", lambda: "running" in status(server, ns, name)["state"] and status(server, ns, name), seconds)


def events(server, ns, name, reason):
    return [e for e in server.get("events", "-n", ns)["items"] if e["involvedObject"]["name"] == name and e["reason"] == reason]


def what(server, ns, name):
    return server.kubectl("exec", "-n", ns, name, "--", "cat", "/etc/what").strip()


def test_an_image_is_pulled_once_and_is_there_for_the_next_pod(server, ns, registry, make):
    image = registry.push(make("plain"), "plain:1")
    server.apply(pod("one", image), "-n", ns)
    got = running(server, ns, "one")
    assert got["image"] == image and got["imageID"].startswith("sha256:")
    assert what(server, ns, "one") == "plain"
    assert wait_for("Pulling", lambda: events(server, ns, "one", "Pulling"))[0]["message"] == f'Pulling image "{image}"'
    done = wait_for("Pulled", lambda: events(server, ns, "one", "Pulled"))[0]["message"]
    assert done.startswith(f'Successfully pulled image "{image}" in ') and " including waiting). Image size: " in done and done.endswith(" bytes.")
    before = len(registry.sent)
    server.apply(pod("two", image), "-n", ns)
    running(server, ns, "two")
    assert wait_for("Pulled", lambda: events(server, ns, "two", "Pulled"))[0]["message"] == f'Container image "{image}" already present on machine'
    assert not events(server, ns, "two", "Pulling")
    assert len(registry.sent) == before, "the registry was not asked"
    folder = os.path.join(server.data, "agent", "gate", "pull", "blobs", "sha256")
    assert os.path.isdir(folder) and os.listdir(folder) == [], "nothing is kept twice"


def test_layers_that_another_image_brought_are_not_fetched_again(server, ns, registry, make):
    tar = make("shared")
    server.apply(pod("one", registry.push(tar, "shared:1")), "-n", ns)
    running(server, ns, "one")
    server.apply(pod("two", registry.push(tar, "other:1")), "-n", ns)
    running(server, ns, "two")
    assert len(registry.blobs("shared")) == 1 and registry.blobs("other") == []
    assert what(server, ns, "two") == "shared"


def test_a_layer_that_is_cut_three_times_comes_once(server, ns, registry, make):
    image = registry.push(make("cut"), "cut:1")
    registry.cuts = 3
    server.apply(pod("p", image), "-n", ns)
    running(server, ns, "p")
    sent = registry.blobs("cut")
    assert len(sent) == 4, sent
    at = 0
    for asked, count in sent:
        assert asked == (f"bytes={at}-" if at else None), sent
        at += count
    assert what(server, ns, "p") == "cut"


def test_a_gate_that_is_killed_goes_on_where_it_was(server, ns, registry, make):
    image = registry.push(make("killed"), "killed:1")
    registry.stall = True
    registry.go_on.clear()
    server.apply(pod("p", image), "-n", ns)
    assert registry.stalled.wait(30)
    folder = os.path.join(server.data, "agent", "gate", "pull", "blobs", "sha256")
    wait_for("what was sent is on disk", lambda: any(f.endswith(".part") and os.path.getsize(os.path.join(folder, f)) == registry.cut_at for f in os.listdir(folder)))
    server.kill("gate")
    registry.stall = False
    registry.go_on.set()
    running(server, ns, "p")
    sent = registry.blobs("killed")
    assert [r for r, _ in sent] == [None, f"bytes={registry.cut_at}-"], sent


def test_a_blob_that_is_not_what_its_digest_says_is_refused(server, ns, registry, make):
    image = registry.push(make("spoilt"), "spoilt:1")
    registry.spoil = True
    server.apply(pod("p", image), "-n", ns)
    why = wait_for("ErrImagePull", lambda: waiting(server, ns, "p").get("reason") == "ErrImagePull" and waiting(server, ns, "p"), every=0.2)
    assert "its digest is sha256:" in why["message"]
    assert any("Failed to pull image" in e["message"] for e in wait_for("Failed", lambda: events(server, ns, "p", "Failed")))
    registry.spoil = False
    running(server, ns, "p")
    assert what(server, ns, "p") == "spoilt"


def test_a_missing_image_is_asked_for_again_and_again_with_back_off(server, ns, registry, make):
    image = f"{registry.name}/missing:1"
    server.apply(pod("p", image), "-n", ns)
    why = wait_for("ErrImagePull", lambda: waiting(server, ns, "p").get("reason") == "ErrImagePull" and waiting(server, ns, "p"), every=0.2)
    assert "not found" in why["message"] and "MANIFEST_UNKNOWN" in why["message"]
    why = wait_for("ImagePullBackOff", lambda: waiting(server, ns, "p").get("reason") == "ImagePullBackOff" and waiting(server, ns, "p"), every=0.2)
    assert why["message"].startswith(f'Back-off pulling image "{image}": ErrImagePull: ')
    assert wait_for("BackOff", lambda: events(server, ns, "p", "BackOff"))[0]["message"] == f'Back-off pulling image "{image}"'
    assert server.get("pod", "p", "-n", ns)["status"]["phase"] == "Pending"
    registry.push(make("missing"), "missing:1")
    running(server, ns, "p")


def test_a_private_image_needs_the_pods_pull_secret(server, ns, private, make):
    image = private.push(make("secret"), "secret:1", f"{USER}:{PASSWORD}")
    server.apply(pod("without", image), "-n", ns)
    why = wait_for("ErrImagePull", lambda: waiting(server, ns, "without").get("reason") == "ErrImagePull" and waiting(server, ns, "without"), every=0.2)
    assert "may require authorization" in why["message"]
    server.kubectl("create", "secret", "docker-registry", "wrong", "-n", ns, f"--docker-server={private.name}", f"--docker-username={USER}", "--docker-password=guess")
    server.apply(pod("wrong", image, secret="wrong"), "-n", ns)
    why = wait_for("ErrImagePull", lambda: waiting(server, ns, "wrong").get("reason") == "ErrImagePull" and waiting(server, ns, "wrong"), every=0.2)
    assert "credentials are refused" in why["message"]
    server.kubectl("create", "secret", "docker-registry", "right", "-n", ns, f"--docker-server={private.name}", f"--docker-username={USER}", f"--docker-password={PASSWORD}")
    server.apply(pod("with", image, secret="right"), "-n", ns)
    running(server, ns, "with")
    running(server, ns, "without")  # IfNotPresent: it is here now
    assert PASSWORD not in server.log() and base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode() not in server.log()


def test_always_asks_for_the_digest_and_fails_without_the_registry(server, ns, registry, make):
    image = registry.push(make("first"), "moving:1")
    server.apply(pod("one", image, "Always"), "-n", ns)
    running(server, ns, "one")
    fetched = len(registry.blobs("moving"))
    server.apply(pod("same", image, "Always"), "-n", ns)
    running(server, ns, "same")
    assert len(registry.blobs("moving")) == fetched, "the same digest: nothing is fetched"
    registry.push(make("second"), "moving:1")
    server.apply(pod("two", image, "Always"), "-n", ns)
    running(server, ns, "two")
    assert what(server, ns, "two") == "second" and what(server, ns, "one") == "first"
    registry.stop()
    try:
        server.apply(pod("three", image, "Always"), "-n", ns)
        why = wait_for("ErrImagePull", lambda: waiting(server, ns, "three").get("reason") == "ErrImagePull" and waiting(server, ns, "three"), every=0.2)
        assert registry.name in why["message"]
        server.apply(pod("four", image, "IfNotPresent"), "-n", ns)
        running(server, ns, "four")
    finally:
        registry.start()
    running(server, ns, "three")


def test_an_image_is_pulled_by_its_digest(server, ns, registry, make):
    registry.push(make("bydigest"), "bydigest:1")
    image = f"{registry.name}/bydigest@{registry.digest('bydigest:1')}"
    server.apply(pod("p", image), "-n", ns)
    running(server, ns, "p")
    assert what(server, ns, "p") == "bydigest"


def test_a_mirror_serves_a_registry_that_nobody_reaches(server, ns, registry, make):
    """The first endpoint refuses connections, the second has the image under another name, the registry itself does not exist."""
    registry.push(make("mirrored"), "copies/mirrored:1")
    server.apply(pod("p", "upstream.example.com/team/mirrored:1"), "-n", ns)
    running(server, ns, "p")
    assert what(server, ns, "p") == "mirrored"


def test_names_that_are_none_and_never(server, ns):
    server.apply(pod("bad", "Not/A:Name:1"), "-n", ns)
    server.apply(pod("never", "sampan.io/not-there:1", "Never"), "-n", ns)
    assert wait_for("InvalidImageName", lambda: waiting(server, ns, "bad").get("reason") == "InvalidImageName")
    wait_for("ErrImageNeverPull", lambda: waiting(server, ns, "never").get("reason") == "ErrImageNeverPull")
    assert waiting(server, ns, "never")["message"] == 'Container image "sampan.io/not-there:1" is not present with pull policy of Never'


def test_a_node_without_its_registry_starts_what_it_ran_with_always_too(server, ns, registry, make):
    image = registry.push(make("offline"), "offline:1")
    server.apply(pod("p", image, "Always"), "-n", ns)
    old = running(server, ns, "p")["containerID"]
    wait_for("its status on the node's disk", lambda: status(server, ns, "p")["imageID"])
    before = server.children().values()
    server.kill_everything()
    wait_for("they are gone", lambda: not any(os.path.exists(f"/proc/{pid}") for pid in before))
    registry.stop()
    try:
        server.start()
        wait_for("it runs anew", lambda: running(server, ns, "p", 5)["containerID"] != old, 60)
    finally:
        registry.start()
    assert what(server, ns, "p") == "offline"


def image_command(server, *words, check=True, **more):
    return server.host.run(SAMPAN, "image", *words, "--data-dir", server.data, check=check, **more)


def test_images_are_pulled_listed_exported_and_pruned_by_hand(server, ns, registry, private, make, tmp_path):
    config = dict(zip(server.flags, server.flags[1:]))["--private-registry"]
    image = registry.push(make("byhand"), "byhand:1")
    out = image_command(server, "pull", image, "--private-registry", config)
    assert f"pulled {image}" in out and " done, " in out
    assert "is here already" in image_command(server, "pull", image, "--private-registry", config)
    listed = json.loads(image_command(server, "ls", "-o", "json", "byhand"))["images"]
    assert [i["repoTags"] for i in listed] == [[image]] and listed[0]["repoDigests"][0].endswith(registry.digest("byhand:1"))
    assert image_command(server, "ls", "-q", "byhand").strip() == listed[0]["id"]
    # without the right password it is told, with it it works; nothing of either stays behind
    secret = private.push(make("secret"), "secret:1", f"{USER}:{PASSWORD}")
    assert "exit 1" in refused(server, "pull", secret, "--private-registry", config)
    image_command(server, "pull", "-q", secret, "--private-registry", config, "--creds", f"{USER}:{PASSWORD}")
    assert not [n for n in os.listdir(server.data + "/agent") if n.startswith("pull-")]
    # the node sees it at once and starts it without its registry; used images stay
    server.apply(pod("p", image), "-n", ns)
    running(server, ns, "p")
    assert what(server, ns, "p") == "byhand"
    assert f"used by pod {ns}/p" in refused(server, "rm", image)
    archive = str(tmp_path / "out.tar")
    image_command(server, "export", "-o", archive, image)
    image_command(server, "prune", "-a")
    left = image_command(server, "ls")
    assert "byhand" in left and "secret" not in left
    server.kubectl("delete", "pod", "p", "-n", ns)
    wait_for("the pod is off the node's disk", lambda: "removed" in image_command(server, "rm", image))
    assert image in image_command(server, "import", archive)
    server.apply(pod("q", image, "Never"), "-n", ns)
    running(server, ns, "q")
    assert what(server, ns, "q") == "byhand"


def refused(server, *words):
    """What a command that must fail says, with its exit code."""
    with pytest.raises(AssertionError) as e:
        image_command(server, *words)
    return str(e.value)


def test_a_full_disk_costs_the_images_that_nobody_uses_and_no_others(lab, make):
    """Thresholds below what any disk has used: collection begins at once, and ends when only pinned and used images are left."""
    s = lab.server("g", "--kubelet-arg", "image-gc-high-threshold=2", "--kubelet-arg", "image-gc-low-threshold=1")
    s.wait_node_ready("g")
    assert "used:1" in image_command(s, "import", make("used"))
    s.apply(pod("p", "made/used:1", "Never"))
    image_command(s, "import", make("idle"))
    wait_for("the idle image is collected", lambda: "made/idle" not in image_command(s, "ls"), 90)
    # "used" may have gone before its pod came: then it comes again, and stays
    if "made/used" not in image_command(s, "ls"):
        image_command(s, "import", make("used"))
    running(s, "default", "p")
    assert "is removed: the disk is" in s.log()
    left = image_command(s, "ls")
    assert "made/used" in left and "sampan.io/busybox" in left and "pinned" in left
    s.kubectl("delete", "pod", "p")
    wait_for("what nobody uses any more is collected too", lambda: "made/used" not in image_command(s, "ls"), 90)
    assert "sampan.io/busybox" in image_command(s, "ls")
