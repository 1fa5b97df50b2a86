"""./install.sh on a machine of its own: a network namespace and a mount namespace in which the folders that it writes are empty. What a new user does first."""
import os
import shutil
import subprocess

import pytest
from lab.lab import sh, wait_for
from lab.tools import TOP

# The checkout's build folder is kept: the release build is part of what is tried, and is made once.
SCRIPT = """
set -e
for d in /etc/sampan /var/lib/sampan /run/sampan; do mkdir -p $d; mount -t tmpfs tmpfs $d; done
mount --bind {bin} /usr/local/bin
touch /run/sampan-run.pid /var/log/sampan.log
mount --bind {pid} /run/sampan-run.pid
mount --bind {log} /var/log/sampan.log
hostname machine
cd {top}
{command}
"""


@pytest.fixture(scope="module")
def machine(lab):
    """Runs a shell text on the machine; the namespaces live as long as a sleeping process in them."""
    host = lab.host("machine")
    folder = os.path.join(lab.folder, "machine")
    os.makedirs(os.path.join(folder, "bin"))
    for name in ("pid", "log"):
        open(os.path.join(folder, name), "w").close()
    shutil.copy(lab.kubectl_path, os.path.join(folder, "bin", "kubectl"))
    setup = SCRIPT.format(bin=os.path.join(folder, "bin"), pid=os.path.join(folder, "pid"), log=os.path.join(folder, "log"), top=TOP, command="exec sleep 3600")
    keeper = subprocess.Popen(["nsenter", f"--net=/run/netns/{host.netns}", "unshare", "--mount", "--uts", "--propagation", "private", "bash", "-c", setup], stdin=subprocess.DEVNULL)

    def run(text, check=True, timeout=900):
        return sh("nsenter", "-t", str(keeper.pid), "--net", "--mount", "--uts", "bash", "-c", f"cd {TOP}; {text}", check=check, timeout=timeout)

    wait_for("the machine", lambda: run("hostname").strip() == "machine")
    wait_for("its folders", lambda: "sleep" in open(f"/proc/{keeper.pid}/comm").read())
    yield run
    run("sampan-killall.sh", check=False)
    keeper.kill()
    keeper.wait()


def test_install_ends_with_a_workload_that_answers(machine):
    out = machine("./install.sh")
    assert "(ClusterIP) answers: hello from sampan" in out, out
    assert "answers: hello from sampan" in out.split("name, asked in pod")[1], out
    assert out.count("Running") == 2, out


def test_a_second_run_changes_nothing(machine):
    pid = machine("cat /run/sampan-run.pid")
    pods = machine("sampan get pods -o yaml | grep uid:")
    out = machine("./install.sh")
    assert "installed /usr/local/bin" not in out and "created" not in out, out
    assert machine("cat /run/sampan-run.pid") == pid and machine("sampan get pods -o yaml | grep uid:") == pods


def test_the_short_commands_work(machine):
    assert "v0.1" in machine("sampan version")
    assert machine("sampan token show").startswith("K10")
    assert "sampan.io/busybox" in machine("sampan image ls")
    assert "STATUS: pass" in machine("sampan check-config")
    machine("rm -f /etc/sampan/b.db; sampan backup /etc/sampan/b.db; test -s /etc/sampan/b.db")
    assert "Ready" in machine("sampan kubectl get nodes")


def test_killall_and_uninstall_leave_nothing(machine):
    machine("sampan-killall.sh")
    assert "sampan0" not in machine("ip link") and "conmon" not in machine("ps -e | grep conmon | grep /var/lib/sampan || true")
    machine("sampan-uninstall.sh --keep-user", check=False)
    assert not machine("ls /usr/local/bin | grep sampan || true").strip()
