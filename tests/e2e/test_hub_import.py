"""A cluster that knows nothing of hubs is joined by one kubectl apply: the connector runs as a pod there, from an image made of this build."""
import os
import subprocess
import sys

import pytest
from lab.lab import SAMPAN, wait_for
from lab.tools import TOP

IMAGE = "sampan.io/connect:test"


@pytest.fixture(scope="module")
def hub(lab):
    h = lab.hub("cloud", "--https-listen-port", "6443")
    h.apply("""
apiVersion: management.cattle.io/v3
kind: Cluster
metadata: {name: c-far}
spec: {displayName: Far, agentImageOverride: "sampan.io/connect:test"}
""", "--validate=false")
    return h


@pytest.fixture(scope="module")
def site(lab):
    tar = os.path.join(lab.folder, "connect.tar")
    subprocess.run([sys.executable, os.path.join(TOP, "tools", "connect_image.py"), SAMPAN, tar, IMAGE], check=True)
    s = lab.server("a", image=False)
    s.wait_node_ready("a")
    out = s.host.run(SAMPAN, "image", "import", "--data-dir", s.data, tar, env=dict(os.environ, ASAN_OPTIONS="detect_leaks=0"))
    assert IMAGE in out, out
    return s


def connected(hub):
    found = {c["type"]: c["status"] for c in hub.get("cluster.management.cattle.io", "c-far").get("status", {}).get("conditions", [])}
    return found.get("Connected") == "True"


def test_one_apply_joins_a_cluster_and_its_pod_keeps_the_identity(hub, site):
    status = wait_for("a registration token", lambda: [i["status"] for i in hub.get("clusterregistrationtokens", "-n", "c-far")["items"] if i.get("status", {}).get("manifestUrl")])[0]
    manifest = site.host.run("curl", "-sfk", status["manifestUrl"])
    site.apply(manifest)
    wait_for("Connected", lambda: connected(hub), 120)
    through = ["--server", "https://127.0.0.1:6443/k8s/clusters/c-far"]
    assert "sampan-connect" in wait_for("kubectl through it", lambda: hub.kubectl(*through, "get", "pods", "-n", "sampan-system"))
    key = site.get("secret", "sampan-connect-identity", "-n", "sampan-system")["data"]["uplink.key"]
    pod = site.pods("sampan-system", "app=sampan-connect")[0]["metadata"]
    site.kubectl("delete", "pod", pod["name"], "-n", "sampan-system", "--grace-period=0", "--force", "--wait=false")
    wait_for("another pod", lambda: any(p["metadata"]["uid"] != pod["uid"] and p["status"].get("phase") == "Running" for p in site.pods("sampan-system", "app=sampan-connect")), 60)
    wait_for("Connected again, as the same", lambda: connected(hub) and "sampan-connect" in hub.kubectl(*through, "get", "pods", "-n", "sampan-system"), 120)
    assert site.get("secret", "sampan-connect-identity", "-n", "sampan-system")["data"]["uplink.key"] == key
    site.kubectl("delete", "-f", "-", "--wait=false", stdin=manifest)
    wait_for("it has left", lambda: not connected(hub), 60)
