"""Volumes on real pods: the class local-path from claim to removed folder, ephemeral claims, what kinds of sources and mounts say and do."""
import os

from lab.lab import wait_for

IMAGE = "sampan.io/busybox:1"


def pod(name, command, mounts="", volumes="", more="", con="", grace=0):
    """A pod of one container that runs a shell line and, unless that ends it, stays."""
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: {grace}
  {more}
  containers:
  - name: c
    image: {IMAGE}
    command: [sh, -c, '{command}; trap exit TERM; while true; do sleep 1; done']
    {con}
    volumeMounts: [{mounts}]
  volumes: [{volumes}]
"""


def ready(server, ns, name, seconds=60):
    done = server.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "-n", ns, f"--timeout={seconds}s", seconds=seconds + 20, check=False)
    assert "condition met" in done, done + server.kubectl("describe", "pod", name, "-n", ns)


def sh(server, ns, name, line, **more):
    return server.kubectl("exec", name, "-n", ns, "-c", "c", "--", "sh", "-c", line, **more)


def events(server, ns, name):
    return [(e["reason"], e["message"]) for e in server.get("events", "-n", ns, "--field-selector", f"involvedObject.name={name}")["items"]]


CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {name}}}
spec: {{accessModes: [{mode}], resources: {{requests: {{storage: 10Mi}}}}}}
"""


def test_a_claim_of_the_default_class_becomes_a_folder_on_the_pods_node_and_goes_with_it(server, ns):
    classes = server.get("storageclass")["items"]
    assert [(c["metadata"]["name"], c["provisioner"], c["volumeBindingMode"], c["reclaimPolicy"]) for c in classes] == [
        ("local-path", "rancher.io/local-path", "WaitForFirstConsumer", "Delete")]
    server.apply(CLAIM.format(name="data", mode="ReadWriteOnce"), "-n", ns)
    claim = server.get("pvc", "data", "-n", ns)
    assert claim["spec"]["storageClassName"] == "local-path"
    assert claim["status"]["phase"] == "Pending"
    server.apply(pod("writer", "id -u > /d/who", "{name: d, mountPath: /d}", "{name: d, persistentVolumeClaim: {claimName: data}}",
                     "securityContext: {runAsUser: 1234}"), "-n", ns)
    ready(server, ns, "writer")
    pv = server.get("pv", server.get("pvc", "data", "-n", ns)["spec"]["volumeName"])
    path = pv["spec"]["hostPath"]["path"]
    uid = claim["metadata"]["uid"]
    assert path == f"{server.data}/storage/pvc-{uid}_{ns}_data"
    assert pv["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0] == {
        "key": "kubernetes.io/hostname", "operator": "In", "values": ["a"]}
    assert pv["spec"]["persistentVolumeReclaimPolicy"] == "Delete" and pv["status"]["phase"] == "Bound"
    assert os.stat(path).st_mode & 0o777 == 0o777
    assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o701
    with open(path + "/who") as f:
        assert f.read().strip() == "1234"
    assert any(r == "VolumeSizeNotEnforced" for r, _ in wait_for("an event about the size", lambda: events(server, ns, "writer")))
    # the data outlives its pod
    server.kubectl("delete", "pod", "writer", "-n", ns)
    server.apply(pod("reader", "cat /d/who", "{name: d, mountPath: /d}", "{name: d, persistentVolumeClaim: {claimName: data}}"), "-n", ns)
    ready(server, ns, "reader")
    assert server.kubectl("logs", "reader", "-n", ns).strip() == "1234"
    # a claim in use waits for its pod; then folder and volume go
    server.kubectl("delete", "pvc", "data", "-n", ns, "--wait=false")
    assert os.path.exists(path)
    server.kubectl("delete", "pod", "reader", "-n", ns)
    wait_for("the volume is deleted", lambda: "NotFound" in server.kubectl("get", "pv", pv["metadata"]["name"], check=False), 60)
    assert not os.path.exists(path)


def test_what_local_path_cannot_do_is_said(server, ns):
    server.apply(CLAIM.format(name="shared", mode="ReadWriteMany"), "-n", ns)
    server.apply(pod("p", "true", "{name: d, mountPath: /d}", "{name: d, persistentVolumeClaim: {claimName: shared}}"), "-n", ns)
    wait_for("a refusal", lambda: any(r == "ProvisioningFailed" and "ReadWriteOnce" in m for r, m in events(server, ns, "shared")), 60)


def test_an_ephemeral_volume_lives_as_long_as_its_pod(server, ns):
    server.apply(pod("eph", "echo here > /d/f", "{name: d, mountPath: /d}",
                     "{name: d, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}}}"), "-n", ns)
    ready(server, ns, "eph")
    assert sh(server, ns, "eph", "cat /d/f").strip() == "here"
    volume = server.get("pvc", "eph-d", "-n", ns)["spec"]["volumeName"]
    server.kubectl("delete", "pod", "eph", "-n", ns)
    wait_for("claim and volume are gone", lambda: "NotFound" in server.kubectl("get", "pv", volume, check=False)
             and "NotFound" in server.kubectl("get", "pvc", "eph-d", "-n", ns, check=False), 60)
    assert volume not in "".join(os.listdir(f"{server.data}/storage"))


def test_an_images_files_are_a_volume(server, ns, tmp_path):
    """Read-only, whole or a folder of it by subPath; the image is pulled (here: found) by its own policy."""
    server.apply(pod("img", "true", "{name: i, mountPath: /i}, {name: i, mountPath: /only, subPath: bin}",
                     "{name: i, image: {reference: %s, pullPolicy: IfNotPresent}}" % IMAGE), "-n", ns)
    ready(server, ns, "img")
    assert sh(server, ns, "img", "test -x /i/bin/busybox && test -x /only/busybox && echo yes").strip() == "yes"
    assert "Read-only" in sh(server, ns, "img", "touch /i/x 2>&1; true")
    server.apply(pod("none", "true", "{name: i, mountPath: /i}", "{name: i, image: {reference: sampan.io/absent:1, pullPolicy: Never}}"), "-n", ns)
    wait_for("the reason", lambda: any("ErrImageNeverPull" in r + m for r, m in events(server, ns, "none")), 60)
    assert server.get("pod", "none", "-n", ns)["status"]["phase"] == "Pending"


def test_mounts_read_only_to_the_bottom_sub_paths_by_expression_and_missing_names(server, ns):
    mounts = ("{name: e, mountPath: /ro, readOnly: true, recursiveReadOnly: Enabled}, {name: e, mountPath: /own, subPathExpr: $(POD)-$(IP)},"
              "{name: e, mountPath: /all}")
    env = "env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}, {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]"
    server.apply(pod("m", "echo $IP > /own/f", mounts, "{name: e, emptyDir: {}}", con=env), "-n", ns)
    ready(server, ns, "m")
    ip = server.get("pod", "m", "-n", ns)["status"]["podIP"]
    assert sh(server, ns, "m", f"cat /all/m-{ip}/f").strip() == ip
    assert "Read-only" in sh(server, ns, "m", "touch /ro/x 2>&1; true")
    server.apply(pod("bad", "true", "{name: e, mountPath: /x, subPathExpr: $(NOBODY)}", "{name: e, emptyDir: {}}"), "-n", ns)

    def waiting():
        return server.get("pod", "bad", "-n", ns)["status"]["containerStatuses"][0]["state"]["waiting"]
    wait_for("the reason", lambda: waiting()["reason"] == "CreateContainerConfigError" and "NOBODY" in waiting()["message"], 60)


def static_volume(name, source, node="a", mode="Filesystem"):
    return f"""
apiVersion: v1
kind: PersistentVolume
metadata: {{name: {name}}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: by-hand
  volumeMode: {mode}
  claimRef: {{namespace: NS, name: {name}}}
  {source}
  nodeAffinity: {{required: {{nodeSelectorTerms: [{{matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: [{node}]}}]}}]}}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {name}}}
spec: {{accessModes: [ReadWriteOnce], storageClassName: by-hand, volumeMode: {mode}, volumeName: {name}, resources: {{requests: {{storage: 1Gi}}}}}}
"""


def test_a_local_volume_is_given_to_the_fs_group(server, ns, tmp_path):
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "old").write_text("x")
    os.chmod(folder / "sub" / "old", 0o600)
    os.chmod(folder, 0o700)
    server.apply(static_volume("mine", f"local: {{path: {folder}}}").replace("NS", ns), "-n", ns)
    server.apply(pod("g", "echo y >> /d/sub/old; touch /d/new", "{name: d, mountPath: /d}", "{name: d, persistentVolumeClaim: {claimName: mine}}",
                     "securityContext: {runAsUser: 1000, fsGroup: 4321, fsGroupChangePolicy: OnRootMismatch}"), "-n", ns)
    ready(server, ns, "g")
    old = os.stat(folder / "sub" / "old")
    assert (old.st_gid, old.st_mode & 0o777) == (4321, 0o660)
    assert (folder / "sub" / "old").read_text() == "xy\n"
    assert os.stat(folder).st_mode & 0o2770 == 0o2770
    assert os.stat(folder / "new").st_gid == 4321
    server.kubectl("delete", "pod", "g", "-n", ns)
    server.kubectl("delete", "pvc", "mine", "-n", ns)
    server.kubectl("delete", "pv", "mine")
    assert folder.exists()


def test_a_block_volume_is_a_device_in_the_container(server, ns):
    """A device of this machine's, which nothing opens: what counts is its number and kind."""
    device = next((f"/dev/{d}" for d in ("loop7", "vda", "sda", "nvme0n1") if os.path.exists(f"/dev/{d}")), None)
    assert device, "no block device to show"
    number = os.stat(device).st_rdev
    server.apply(static_volume("blk", f"local: {{path: {device}}}", mode="Block").replace("NS", ns), "-n", ns)
    server.apply(pod("b", "true", "", "{name: d, persistentVolumeClaim: {claimName: blk}}", con="volumeDevices: [{name: d, devicePath: /dev/xvdx}]"), "-n", ns)
    ready(server, ns, "b")
    assert sh(server, ns, "b", "test -b /dev/xvdx && stat -c %t:%T /dev/xvdx").strip() == f"{os.major(number):x}:{os.minor(number):x}"
    server.kubectl("delete", "pod", "b", "-n", ns)
    server.kubectl("delete", "pvc", "blk", "-n", ns)
    server.kubectl("delete", "pv", "blk")


def test_a_token_is_the_pods_users_and_several_sources_may_share_a_path(server, ns):
    server.kubectl("create", "configmap", "one", "-n", ns, "--from-literal=k=first")
    server.kubectl("create", "configmap", "two", "-n", ns, "--from-literal=k=second", "--from-literal=l=more")
    server.apply(pod("t", "true", "{name: p, mountPath: /p}", "{name: p, projected: {sources: ["
                     "{serviceAccountToken: {path: token, expirationSeconds: 600}}, {configMap: {name: one, items: [{key: k, path: k}]}},"
                     "{configMap: {name: two, items: [{key: l, path: sub/l}]}}, {configMap: {name: absent, optional: true}},"
                     "{downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}]}}", "securityContext: {runAsUser: 1234, fsGroup: 77}"), "-n", ns)
    ready(server, ns, "t")
    # 0600 for the user alone; with an fsGroup the group reads it too
    assert sh(server, ns, "t", "stat -L -c %u:%g:%a /p/token").strip() == "1234:77:640"
    assert sh(server, ns, "t", "cat /p/k /p/sub/l /p/name; wc -c < /p/token").split()[0] == "firstmoret" + sh(server, ns, "t", "wc -c < /p/token").strip()
    server.kubectl("create", "configmap", "absent", "-n", ns, "--from-literal=late=came")
    wait_for("the optional source comes", lambda: sh(server, ns, "t", "cat /p/late", check=False).strip() == "came", 90)


def test_a_node_that_was_away_removes_the_folder_when_it_is_back(lab, server, ns):
    agent = lab.agent("b", server)
    server.wait_node_ready("b")
    server.apply(CLAIM.format(name="far", mode="ReadWriteOncePod"), "-n", ns)
    server.apply(pod("p", "echo far > /d/f", "{name: d, mountPath: /d}", "{name: d, persistentVolumeClaim: {claimName: far}}",
                     "nodeSelector: {kubernetes.io/hostname: b}", grace=1), "-n", ns)
    ready(server, ns, "p")
    pv = server.get("pv", server.get("pvc", "far", "-n", ns)["spec"]["volumeName"])
    assert pv["metadata"]["annotations"]["local.path.provisioner/selected-node"] == "b"
    path = pv["spec"]["hostPath"]["path"]
    server.kubectl("delete", "pod", "p", "-n", ns)
    agent.stop()
    server.kubectl("delete", "pvc", "far", "-n", ns)
    wait_for("the volume is released", lambda: server.get("pv", pv["metadata"]["name"])["status"]["phase"] == "Released")
    assert os.path.exists(path + "/f")
    agent.start()
    wait_for("the volume is deleted", lambda: "NotFound" in server.kubectl("get", "pv", pv["metadata"]["name"], check=False), 60)
    assert not os.path.exists(path)
