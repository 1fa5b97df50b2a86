"""A CSI node plugin beside a node: registration, CSINode, staging and publishing with all that the plugin is told, release, errors, restarts. The server
runs in a mount namespace of its own, so that the plugin's mounts are nobody else's."""
import base64
import json
import os
import subprocess

import pytest
from lab.lab import wait_for
from test_volumes import events, ready, sh
from test_volumes import pod as any_pod

DRIVER = "csi.test.example.com"
SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lab", "csi_plugin.py")


def pod(*words, **more):
    """With a grace: such a pod's object goes when all that it had on the node is gone."""
    return any_pod(*words, **more, grace=1)


class Plugin:
    def __init__(self, server):
        self.server, self.proc = server, None
        self.root = server.data + "/kubelet"
        self.log = server.data + ".csi.log"

    def start(self):
        wait_for("the kubelet's folders", lambda: os.path.isdir(self.root + "/plugins_registry"))
        self.proc = subprocess.Popen(["nsenter", f"--mount=/proc/{self.server.proc.pid}/ns/mnt", "/usr/bin/python3", SCRIPT, self.root, DRIVER, self.log])
        return self

    def stop(self):
        if self.proc:
            self.proc.terminate()
            self.proc.wait(30)
            self.proc = None

    def calls(self, *names):
        if not os.path.exists(self.log):
            return []
        with open(self.log) as f:
            return [c for c in map(json.loads, f) if not names or c["call"] in names]


@pytest.fixture(scope="module")
def server(lab):
    data = os.path.join(lab.folder, "a-server")
    s = lab.server("a", "--kubelet-root-dir", data + "/kubelet", before=["unshare", "--mount", "--propagation", "shared"])
    s.wait_node_ready("a")
    s.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER}, "spec": {
        "attachRequired": False, "podInfoOnMount": True, "volumeLifecycleModes": ["Persistent", "Ephemeral"]}}))
    return s


@pytest.fixture(scope="module")
def plugin(server):
    p = Plugin(server).start()
    wait_for("the plugin is registered", lambda: p.calls("registered"), 60)
    yield p
    p.stop()


def volume(server, ns, name, **csi):
    """A PersistentVolume of the driver with its claim."""
    server.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"{ns}-{name}"[-60:].strip("-")}, "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "", "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": ns, "name": name}, "csi": {"driver": DRIVER, "volumeHandle": f"handle-{name}", "fsType": "ext4", **csi}}},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": ns}, "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "1Gi"}}}}]}))


def mounts(server):
    with open(f"/proc/{server.proc.pid}/mounts") as f:
        return [line.split()[1] for line in f if "kubernetes" in line]


def test_a_plugin_is_registered_and_the_cluster_knows_it(server, plugin):
    assert plugin.calls("registered")[0]["good"] == 1
    node = wait_for("CSINode", lambda: server.get("csinode", "a"))
    assert node["spec"]["drivers"] == [{"name": DRIVER, "nodeID": "node-id-1", "topologyKeys": [f"topology.{DRIVER}/zone"], "allocatable": {"count": 7}}]
    assert node["metadata"]["ownerReferences"][0]["kind"] == "Node"
    wait_for("its label", lambda: server.get("node", "a")["metadata"]["labels"].get(f"topology.{DRIVER}/zone") == "z1")


def test_a_volume_is_staged_and_published_with_what_it_says_and_goes_with_its_pod(server, ns, plugin):
    server.kubectl("create", "secret", "generic", "key", "-n", ns, "--from-literal=password=open sesame")
    volume(server, ns, "data", volumeAttributes={"pool": "fast"}, nodeStageSecretRef={"name": "key", "namespace": ns})
    server.apply(pod("p", "echo here > /d/f", "{name: d, mountPath: /d}", "{name: d, persistentVolumeClaim: {claimName: data}}",
                     "securityContext: {runAsUser: 1000, fsGroup: 2000}"), "-n", ns)
    ready(server, ns, "p")
    assert sh(server, ns, "p", "cat /d/f; stat -c %g:%a /d; grep -c \" /d tmpfs\" /proc/mounts").split() == ["here", "2000:3777", "1"]
    uid = server.get("pod", "p", "-n", ns)["metadata"]["uid"]
    stage, publish = plugin.calls("stage")[-1], plugin.calls("publish")[-1]
    assert (stage["handle"], stage["secrets"], stage["fs"], stage["mode"], stage["made"]) == ("handle-data", {"password": "open sesame"}, "ext4", 1, True)
    assert stage["context"]["pool"] == "fast" and publish["context"]["pool"] == "fast"
    assert publish["context"]["csi.storage.k8s.io/pod.name"] == "p" and publish["context"]["csi.storage.k8s.io/ephemeral"] == "false"
    assert publish["target"].startswith(f"{plugin.root}/pods/{uid}/volumes/kubernetes.io~csi/") and publish["target"].endswith("/mount")
    assert stage["staging"].startswith(f"{plugin.root}/plugins/kubernetes.io/csi/{DRIVER}/") and stage["staging"].endswith("/globalmount")
    # gate's restart forgets nothing, and asks the plugin for nothing but who it is
    before = len(plugin.calls())
    server.kill(next(name for name in server.children() if "gate" in name))
    server.apply(pod("q", "true", "{name: d, mountPath: /d}", "{name: d, persistentVolumeClaim: {claimName: data}}"), "-n", ns)
    ready(server, ns, "q")
    assert sh(server, ns, "q", "cat /d/f").strip() == "here"

    def since():
        return [c["call"] for c in plugin.calls()[before:] if c["call"] != "registered"]
    assert since() == ["stage", "publish"]
    # one pod goes: the other keeps it staged; with the last it is unstaged, and nothing is left
    server.kubectl("delete", "pod", "p", "-n", ns)
    assert since()[2:] == ["unpublish"]
    assert sh(server, ns, "q", "cat /d/f").strip() == "here"
    server.kubectl("delete", "pod", "q", "-n", ns)
    assert since()[2:] == ["unpublish", "unpublish", "unstage"]
    assert mounts(server) == [] and os.listdir(plugin.root + "/pods") == []


def test_an_inline_volume_is_published_without_staging(server, ns, plugin):
    server.apply(pod("inline", "echo x > /d/f", "{name: d, mountPath: /d}", "{name: d, csi: {driver: %s, volumeAttributes: {a: b}}}" % DRIVER), "-n", ns)
    ready(server, ns, "inline")
    publish = plugin.calls("publish")[-1]
    assert publish["handle"].startswith("csi-") and publish["context"]["a"] == "b" and publish["context"]["csi.storage.k8s.io/ephemeral"] == "true"
    server.kubectl("delete", "pod", "inline", "-n", ns)
    assert plugin.calls()[-1]["call"] == "unpublish"


def test_what_a_plugin_refuses_is_told_and_tried_again(server, ns, plugin):
    open(plugin.log + ".fail", "w").close()
    volume(server, ns, "late")
    server.apply(pod("p", "true", "{name: d, mountPath: /d}", "{name: d, persistentVolumeClaim: {claimName: late}}"), "-n", ns)
    wait_for("the plugin's words", lambda: any(r == "FailedMount" and "the disk is on fire" in m for r, m in events(server, ns, "p")), 60)
    os.unlink(plugin.log + ".fail")
    ready(server, ns, "p")
    server.kubectl("delete", "pod", "p", "-n", ns)


def test_a_volume_waits_for_its_attachment(server, ns, plugin):
    server.kubectl("delete", "csidriver", DRIVER)
    volume(server, ns, "att")
    server.apply(pod("p", "true", "{name: d, mountPath: /d}", "{name: d, persistentVolumeClaim: {claimName: att}}"), "-n", ns)
    pv = server.get("pvc", "att", "-n", ns)["spec"]["volumeName"]
    wait_for("it says so", lambda: any("is not attached" in m for _, m in events(server, ns, "p")), 60)
    name = next((v["metadata"]["name"] for v in server.get("volumeattachments")["items"] if v["spec"]["source"].get("persistentVolumeName") == pv), None)
    if not name:
        name = "by-hand"
        server.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": {"name": name}, "spec": {
            "attacher": DRIVER, "nodeName": "a", "source": {"persistentVolumeName": pv}}}))
    server.kubectl("patch", "volumeattachment", name, "--subresource=status", "--type=merge", "-p", json.dumps(
        {"status": {"attached": True, "attachmentMetadata": {"device": "/dev/xyz"}}}))
    ready(server, ns, "p")
    assert plugin.calls("stage")[-1]["publish_context"] == {"device": "/dev/xyz"}
    server.kubectl("delete", "pod", "p", "-n", ns)


def test_a_plugin_that_went_is_struck_out_and_its_volumes_wait_for_its_return(server, ns, plugin):
    server.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER}, "spec": {"attachRequired": False}}))
    volume(server, ns, "stay")
    server.apply(pod("p", "true", "{name: d, mountPath: /d}", "{name: d, persistentVolumeClaim: {claimName: stay}}"), "-n", ns)
    ready(server, ns, "p")
    plugin.stop()
    wait_for("CSINode without it", lambda: not server.get("csinode", "a")["spec"].get("drivers"))
    server.kubectl("delete", "pod", "p", "-n", ns, "--wait=false")
    wait_for("why it stays", lambda: any(r == "FailedUnMount" and "not found in the list" in m for r, m in events(server, ns, "p")), 60)
    assert server.get("pod", "p", "-n", ns)["metadata"]["deletionTimestamp"]
    plugin.start()
    wait_for("the pod is gone", lambda: "NotFound" in server.kubectl("get", "pod", "p", "-n", ns, check=False), 90)
    assert mounts(server) == []


def test_mounts_pass_between_machine_and_containers_where_they_are_asked_to(server, ns):
    """Bidirectional: what the container mounts appears on the machine; HostToContainer: in other containers too; without: nowhere."""
    folder = server.data + "/passed"
    os.makedirs(folder)
    volume_of = "{name: h, hostPath: {path: %s}}" % folder
    server.apply(pod("maker", "true", "{name: h, mountPath: /h, mountPropagation: Bidirectional}", volume_of, con="securityContext: {privileged: true}"), "-n", ns)
    server.apply(pod("taker", "true", "{name: h, mountPath: /h, mountPropagation: HostToContainer}", volume_of), "-n", ns)
    server.apply(pod("other", "true", "{name: h, mountPath: /h}", volume_of), "-n", ns)
    for name in ("maker", "taker", "other"):
        ready(server, ns, name)
    sh(server, ns, "maker", "mkdir /h/m && mount -t tmpfs t /h/m && touch /h/m/seen")
    with open(f"/proc/{server.proc.pid}/mounts") as f:
        assert f"{folder}/m tmpfs" in f.read()
    assert sh(server, ns, "taker", "ls /h/m").strip() == "seen"
    assert sh(server, ns, "other", "ls /h/m").strip() == ""
    sh(server, ns, "maker", "umount /h/m")
    assert sh(server, ns, "taker", "ls /h/m").strip() == ""


def test_a_driver_gets_the_pods_tokens_and_is_asked_again_where_it_wants_to_be(server, ns, plugin):
    server.kubectl("delete", "csidriver", DRIVER, "--ignore-not-found")
    server.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER}, "spec": {
        "attachRequired": False, "requiresRepublish": True, "tokenRequests": [{"audience": "vault", "expirationSeconds": 900}], "volumeLifecycleModes": ["Ephemeral"]}}))
    server.apply(pod("p", "true", "{name: d, mountPath: /d}", "{name: d, csi: {driver: %s}}" % DRIVER), "-n", ns)
    ready(server, ns, "p")

    def token():
        return json.loads(plugin.calls("publish")[-1]["context"]["csi.storage.k8s.io/serviceAccount.tokens"])["vault"]
    claims = token()["token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    assert claims["aud"] == ["vault"] and claims["kubernetes.io"]["pod"]["name"] == "p" and token()["expirationTimestamp"].endswith("Z")
    # a new gate cannot know when it was last published: it asks at once, and then once a minute
    before = len(plugin.calls("publish"))
    server.kill(next(name for name in server.children() if "gate" in name))
    wait_for("it is published again", lambda: len(plugin.calls("publish")) == before + 1, 60)
    assert not plugin.calls("stage") or plugin.calls("stage")[-1]["handle"] != plugin.calls("publish")[-1]["handle"]
    server.kubectl("delete", "pod", "p", "-n", ns)
    assert plugin.calls("publish", "unpublish")[-1]["call"] == "unpublish"


def test_a_volume_that_grew_is_expanded_on_the_node_and_its_claim_says_so(server, ns, plugin):
    """What a driver's resizer does in the cluster is done by hand here: a larger volume, and a claim that waits for its file system."""
    server.kubectl("delete", "csidriver", DRIVER, "--ignore-not-found")
    server.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER}, "spec": {"attachRequired": False}}))
    volume(server, ns, "grow")
    server.apply(pod("p", "true", "{name: d, mountPath: /d}", "{name: d, persistentVolumeClaim: {claimName: grow}}"), "-n", ns)
    ready(server, ns, "p")
    claim = server.get("pvc", "grow", "-n", ns)
    assert claim["status"]["capacity"]["storage"] == "1Gi"
    server.kubectl("patch", "pvc", "grow", "-n", ns, "--subresource=status", "--type=merge", "-p", json.dumps(
        {"status": {"conditions": [{"type": "FileSystemResizePending", "status": "True"}]}}))
    server.kubectl("patch", "pv", claim["spec"]["volumeName"], "--type=merge", "-p", json.dumps({"spec": {"capacity": {"storage": "2Gi"}}}))
    status = wait_for("the claim's new size", lambda: (lambda s: s["capacity"]["storage"] == "2Gi" and s)(server.get("pvc", "grow", "-n", ns)["status"]), 60)
    assert not status.get("conditions")
    calls = plugin.calls("expand")
    assert len(calls) == 1 and calls[0]["bytes"] == 2 << 30 and calls[0]["mounted"] and calls[0]["handle"] == "handle-grow"
    server.kubectl("delete", "pod", "p", "-n", ns)


def test_after_a_reboot_volumes_are_staged_and_published_anew(server, ns, plugin):
    """The server's next start gets a mount namespace without the plugin's mounts, and the file says another boot: as after a reboot."""
    volume(server, ns, "boot")
    server.apply(pod("p", "true", "{name: d, mountPath: /d}", "{name: d, persistentVolumeClaim: {claimName: boot}}"), "-n", ns)
    ready(server, ns, "p")
    plugin.stop()
    server.stop()
    path = server.data + "/agent/gate/csi"
    with open(path) as f:
        kept = json.load(f)
    assert [v["handle"] for v in kept["volumes"]] == ["handle-boot"]
    owner = os.stat(path)
    with open(path, "w") as f:
        json.dump(dict(kept, boot="00000000-0000-4000-8000-000000000000"), f)
    os.chown(path, owner.st_uid, owner.st_gid)
    before = len(plugin.calls())
    server.start()
    plugin.start()
    wait_for("it is staged and published again", lambda: [c["call"] for c in plugin.calls()[before:] if c["call"] != "registered"][:2] == ["stage", "publish"], 90)
    server.kubectl("delete", "pod", "p", "-n", ns)
    assert [c["call"] for c in plugin.calls()[before:] if c["call"] != "registered"] == ["stage", "publish", "unpublish", "unstage"]
