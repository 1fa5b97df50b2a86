"""A server restored from a backup prunes nothing on its nodes until a person says so, by an annotation of the Node."""
from lab.lab import ENV, SAMPAN, sh, wait_for


def test_a_restored_server_prunes_nothing_on_a_node_until_it_is_thawed(lab):
    s = lab.server("a", "--disable-agent")
    b = lab.agent("b", s)
    s.wait_node_ready("b")
    backup = lab.folder + "/backup.db"
    sh(SAMPAN, "backup", "--data-dir", s.data, backup, env=ENV)
    s.apply("""
apiVersion: v1
kind: Pod
metadata: {name: newer, labels: {app: newer}}
spec:
  nodeName: b
  containers:
  - {name: c, image: "sampan.io/busybox:1", command: [sh, -c, "sleep 100000"]}
""")
    s.wait_pods_ready("default", "app=newer", 1)
    running = b.container_pids()
    assert running
    s.stop()
    sh("mv", s.data + "/server/db", s.data + "/server/db.lost")
    sh(SAMPAN, "restore", "--data-dir", s.data, backup, env=ENV)
    s.start()
    wait_for("the node sees another store", lambda: "the mirror is frozen" in b.log(), 60)
    assert not s.pods("default") and b.container_pids() == running
    s.kubectl("annotate", "node", "b", "sampan.io/thaw=once")
    wait_for("what the cluster no longer has has gone", lambda: not b.container_pids(), 60)
