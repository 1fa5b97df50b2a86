"""A lab: hosts as network namespaces on one switch, and the sampan processes on them."""
import json
import os
import signal
import subprocess
import time

from . import tools

SAMPAN = os.environ.get("SAMPAN_BIN", os.path.join(tools.TOP, "build", "check", "sampan"))
# A sanitizer's report ends the process and stands in its log, which close() looks through.
ENV = dict(os.environ, ASAN_OPTIONS="detect_leaks=0:abort_on_error=0:halt_on_error=1", UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1")
REPORTS = ("ERROR: AddressSanitizer", "runtime error:", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer")


def sh(*words, check=True, **more):
    more.setdefault("timeout", 90)
    done = subprocess.run(list(words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **more)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}")
    return done.stdout


def wait_for(what, fn, seconds=30, every=0.1):
    """fn until it is true (or gives something); its last error is shown when time is up."""
    end, last = time.monotonic() + seconds, None
    while time.monotonic() < end:
        try:
            got = fn()
            if got:
                return got
            last = got
        except (AssertionError, subprocess.SubprocessError, ValueError, KeyError, IndexError, OSError) as e:
            last = e
        time.sleep(every)
    raise AssertionError(f"after {seconds} s still not: {what}\nlast: {last}")


def let_pass(folder):
    """pytest's folders are root's alone, but the processes under test run as a user of their own."""
    while folder != "/" and not os.stat(folder).st_mode & 0o001:
        os.chmod(folder, os.stat(folder).st_mode & 0o777 | 0o011)
        folder = os.path.dirname(folder)


class Lab:
    def __init__(self, folder, kubectl, image):
        self.folder, self.kubectl_path, self.image = folder, kubectl, image
        let_pass(folder)
        self.tag = f"sp{os.getpid() % 100000}{len(os.listdir('/run/netns')) if os.path.isdir('/run/netns') else 0}"
        self.hosts, self.running = {}, []
        self.switch = f"{self.tag}-sw"
        sh("ip", "netns", "add", self.switch)
        sh("ip", "-n", self.switch, "link", "add", "br0", "type", "bridge")
        sh("ip", "-n", self.switch, "link", "set", "br0", "up")

    def host(self, name):
        """A host with one address on the switch, 192.168.77.N; its loopback and its name are its own."""
        if name not in self.hosts:
            self.hosts[name] = Host(self, name, 10 + len(self.hosts))
        return self.hosts[name]

    def server(self, name, *flags, image=True, before=()):
        """before: a command that runs sampan, such as unshare and its flags."""
        host = self.host(name)
        s = Server(self, host, "server", ["--node-name", name, "--node-ip", host.ip, "--cgroup-root", f"sampan-{self.tag}-{name}", *flags])
        s.before = list(before)
        if image:
            s.put_image(self.image)
        s.start()
        return s

    def agent(self, name, server, *flags):
        host = self.host(name)
        a = Process(self, host, "agent", ["--server", f"https://{server.host.ip}:6443", "--token", server.token(), "--node-name", name, "--node-ip", host.ip,
                                          "--cgroup-root", f"sampan-{self.tag}-{name}", *flags])
        a.put_image(self.image)
        a.start()
        return a

    def hub(self, name, *flags):
        h = Hub(self, self.host(name), "hub", ["--tls-san", self.host(name).ip, *flags])
        h.start()
        return h

    def logs(self):
        return [(f"log of {p.kind} on {p.host.name}", p.log_tail()) for p in self.running]

    def close(self):
        reports = []
        for p in reversed(self.running):
            p.stop()
            p.destroy()
            reports += [line for line in p.log().splitlines() if any(r in line for r in REPORTS)]
        for host in self.hosts.values():
            sh("ip", "netns", "del", host.netns, check=False)
        sh("ip", "netns", "del", self.switch, check=False)
        assert not reports, "a sanitizer reported:\n" + "\n".join(reports)


class Host:
    def __init__(self, lab, name, number):
        self.lab, self.name, self.ip = lab, name, f"192.168.77.{number}"
        self.netns = f"{lab.tag}-{name}"
        self.link = f"v{number}"
        sh("ip", "netns", "add", self.netns)
        sh("ip", "-n", self.netns, "link", "set", "lo", "up")
        sh("ip", "link", "add", "eth0", "netns", self.netns, "type", "veth", "peer", "name", self.link, "netns", lab.switch)
        sh("ip", "-n", lab.switch, "link", "set", self.link, "master", "br0", "up")
        sh("ip", "-n", self.netns, "addr", "add", f"{self.ip}/24", "dev", "eth0")
        sh("ip", "-n", self.netns, "link", "set", "eth0", "up")

    def run(self, *words, **more):
        return sh("nsenter", f"--net=/run/netns/{self.netns}", *words, **more)

    def cut(self):
        sh("ip", "-n", self.lab.switch, "link", "set", self.link, "down")

    def heal(self):
        sh("ip", "-n", self.lab.switch, "link", "set", self.link, "up")


class Process:
    """One `sampan ...` on one host: its supervisor and what that started."""

    def __init__(self, lab, host, kind, flags):
        self.lab, self.host, self.kind = lab, host, kind
        self.data = os.path.join(lab.folder, f"{host.name}-{kind}")
        self.flags = ["--data-dir", self.data, *flags]
        self.log_path = self.data + ".log"
        self.proc = None
        self.before = []
        os.makedirs(self.data, exist_ok=True)

    def put_image(self, tar):
        folder = os.path.join(self.data, "agent", "images")
        os.makedirs(folder, exist_ok=True)
        sh("cp", tar, folder)

    def start(self):
        with open(self.log_path, "ab") as log:
            self.proc = subprocess.Popen(["nsenter", f"--net=/run/netns/{self.host.netns}", *self.before, SAMPAN, self.kind, *self.flags], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=ENV, start_new_session=True)
        if self not in self.lab.running:
            self.lab.running.append(self)
        return self

    def children(self):
        """{name: pid} of the supervisor's processes."""
        out = {}
        with open(f"/proc/{self.proc.pid}/task/{self.proc.pid}/children") as f:
            for pid in f.read().split():
                with open(f"/proc/{pid}/comm") as g:
                    out[g.read().strip()] = int(pid)
        return out

    def pid(self, name):
        return wait_for(f"process {name}", lambda: self.children().get(name))

    def kill(self, name, signo=signal.SIGKILL):
        os.kill(self.pid(name), signo)

    def kill_everything(self):
        """A power cut, as far as processes go: supervisor, its children, monitors and containers, all at once."""
        pids = [self.proc.pid, *self.children().values(), *self.container_pids()]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.proc.wait()

    def container_pids(self):
        """Monitors, pause processes and containers of this node: everything in its cgroups, and conmon by its bundle's path."""
        found = set()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    words = f.read()
                with open(f"/proc/{pid}/cgroup") as f:
                    groups = f.read()
            except OSError:
                continue
            root = dict(zip(self.flags, self.flags[1:])).get("--cgroup-root", "sampan")
            if (self.data.encode() in words and b"conmon" in words) or f"/{root}/" in groups:
                found.add(int(pid))
        return found

    def stop(self):
        if self.proc and self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
            try:
                self.proc.wait(30)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()

    def destroy(self):
        """What is left of the node after stop: containers go on by design, so a test's end removes them."""
        for pid in self.container_pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        with open("/proc/self/mounts") as f:
            mounts = [line.split()[1] for line in f if line.split()[1].startswith(self.data + "/")]
        for m in reversed(mounts):
            sh("umount", "-l", m, check=False)
        root = dict(zip(self.flags, self.flags[1:])).get("--cgroup-root")
        if root:
            for top, folders, _ in os.walk("/sys/fs/cgroup"):
                if root in folders:
                    wait_for("cgroups removed", lambda: remove_cgroup(os.path.join(top, root)), 5)
                    folders.remove(root)

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def log_tail(self, lines=60):
        return "\n".join(self.log().splitlines()[-lines:])


def remove_cgroup(path):
    if not os.path.isdir(path):
        return True
    for top, folders, _ in os.walk(path, topdown=False):
        for folder in folders:
            os.rmdir(os.path.join(top, folder))
    os.rmdir(path)
    return True


class ApiProcess(Process):
    port = 6443

    def __init__(self, lab, host, kind, flags):
        super().__init__(lab, host, kind, flags)
        self.kubeconfig = self.data + ".kubeconfig"
        self.flags += ["--write-kubeconfig", self.kubeconfig]

    def start(self):
        super().start()
        self.wait_ready()
        return self

    def wait_ready(self, seconds=30):
        def ready():
            assert self.proc.poll() is None, "it ended: " + self.log_tail(10)
            return os.path.exists(self.kubeconfig) and self.kubectl("get", "--raw", "/readyz", seconds=5).strip() == "ok"
        wait_for("the API ready", ready, seconds)

    def kubectl(self, *words, check=True, stdin=None, kubectl=None, seconds=60, kubeconfig=None):
        return sh("nsenter", f"--net=/run/netns/{self.host.netns}", kubectl or self.lab.kubectl_path, "--kubeconfig", kubeconfig or self.kubeconfig, *words, check=check, input=stdin, timeout=seconds,
                  env=dict(os.environ, HOME=self.lab.folder))

    def get(self, *words, **more):
        return json.loads(self.kubectl("get", *words, "-o", "json", **more))

    def apply(self, text, *words, **more):
        return self.kubectl("apply", "-f", "-", *words, stdin=text, **more)


class Server(ApiProcess):
    def token(self):
        with open(os.path.join(self.data, "server", "node-token")) as f:
            return f.read().strip()

    def wait_node_ready(self, name, seconds=60):
        def ready():
            return any(c["type"] == "Ready" and c["status"] == "True" for c in self.get("node", name)["status"]["conditions"])
        wait_for(f"node {name} Ready", ready, seconds)

    def pods(self, ns, selector=None):
        words = ["pods", "-n", ns] + (["-l", selector] if selector else [])
        return self.get(*words)["items"]

    def wait_pods_ready(self, ns, selector, count, seconds=60):
        def ready():
            pods = [p for p in self.pods(ns, selector) if not p["metadata"].get("deletionTimestamp")]
            good = [p for p in pods if any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions", []))]
            return good if len(good) == count and len(pods) == count else None
        return wait_for(f"{count} pods of {selector} Ready", ready, seconds)


class Hub(ApiProcess):
    pass
