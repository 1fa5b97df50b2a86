"""Volumes on real pods: the class local-path from claim to removed folder, ephemeral claims, what kinds of sources and mounts say and do."""
import os

from lab.lab import wait_for

IMAGE = "sampan.io/busybox:1"


def pod(name, command, mounts="", volumes="", more="", con=""):
    """A pod of one container that runs a shell line and, unless that ends it, stays."""
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 0
  {more}
  containers:
  - name: c
    image: {IMAGE}
    command: [sh, -c, '{command}; trap exit TERM; while true; do sleep 1; done']
    {con}
    volumeMounts: [{mounts}]
  volumes: [{volumes}]
"""


def ready(server, ns, name, seconds=90):
    server.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "-n", ns, f"--timeout={seconds}s", seconds=seconds + 20)


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
