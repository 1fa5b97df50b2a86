"""A registry on a host: Debian's docker-registry, behind a front that can cut, stall and spoil what passes and that keeps count of every byte it sent."""
import http.client
import http.server
import os
import subprocess
import threading

from .client import enter
from .lab import let_pass, wait_for

CONFIG = """version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
{auth}"""
AUTH = "auth: {{htpasswd: {{realm: lab, path: {path}}}}}\n"


class Front(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def do_GET(self):
        registry = self.server.registry
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        up = http.client.HTTPConnection("127.0.0.1", registry.inner, timeout=30)
        try:
            up.connect()
        except OSError:
            self.send_error(502)
            return
        up.request(self.command, self.path, body or None, {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")} | {"Host": self.headers["Host"]})
        reply = up.getresponse()
        data = reply.read()
        self.send_response(reply.status)
        for k, v in reply.getheaders():
            if k.lower() not in ("transfer-encoding", "connection", "content-length", "date", "server"):
                self.send_header(k, v)
        self.send_header("Content-Length", reply.getheader("Content-Length", "0") if self.command == "HEAD" else str(len(data)))
        self.end_headers()
        up.close()
        if self.command != "HEAD":
            self.send_body(registry, data)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def send_body(self, registry, data):
        blob = self.command == "GET" and "/blobs/" in self.path and len(data) > 100_000
        if blob and registry.spoil:
            data = data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]
        whole = len(data)
        if blob and (registry.cuts or registry.stall):
            data = data[:registry.cut_at]
        self.wfile.write(data)
        self.wfile.flush()
        registry.sent.append((self.command, self.path, self.headers.get("Range"), len(data)))
        if len(data) < whole:
            if registry.stall:
                registry.stalled.set()
                registry.go_on.wait(60)
            else:
                registry.cuts -= 1
            self.close_connection = True


class Registry:
    """name: how images are called; listens on all addresses of the host."""

    def __init__(self, lab, host, port, htpasswd=None):
        self.lab, self.host, self.port, self.inner = lab, host, port, port + 1000
        self.name = f"{host.ip}:{port}"
        self.sent, self.cuts, self.cut_at, self.stall, self.spoil = [], 0, 300_000, False, False
        self.stalled, self.go_on = threading.Event(), threading.Event()
        self.folder = os.path.join(lab.folder, f"registry-{port}")
        os.makedirs(self.folder)
        let_pass(self.folder)
        auth = ""
        if htpasswd:
            path = os.path.join(self.folder, "htpasswd")
            with open(path, "w") as f:
                f.write(htpasswd + "\n")
            auth = AUTH.format(path=path)
        config = os.path.join(self.folder, "config.yml")
        with open(config, "w") as f:
            f.write(CONFIG.format(folder=self.folder, port=self.inner, auth=auth))
        self.log_file = open(os.path.join(self.folder, "log"), "ab")
        self.proc = subprocess.Popen(["nsenter", f"--net=/run/netns/{host.netns}", "docker-registry", "serve", config], stdin=subprocess.DEVNULL, stdout=self.log_file, stderr=self.log_file)
        self.server = None
        self.start()
        wait_for("the registry", lambda: "200" in self.ask() or "401" in self.ask())

    def ask(self):
        return self.host.run("busybox", "nc", "-w", "2", self.host.ip, str(self.port), input="GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    def start(self):
        ready = threading.Event()

        def run():
            enter(self.host.netns)
            http.server.ThreadingHTTPServer.allow_reuse_address = True
            self.server = http.server.ThreadingHTTPServer(("0.0.0.0", self.port), Front)
            self.server.daemon_threads = True
            self.server.registry = self
            ready.set()
            self.server.serve_forever(0.05)
        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        assert ready.wait(10), "the front did not start"

    def stop(self):
        """No one listens any more."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def close(self):
        self.go_on.set()
        self.stop()
        self.proc.terminate()
        self.proc.wait()
        self.log_file.close()

    def push(self, tar, name, creds=None):
        words = ["skopeo", "copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false", f"docker-archive:{tar}", f"docker://127.0.0.1:{self.inner}/{name}"]
        self.host.run(*words, *(["--dest-creds", creds] if creds else []))
        return f"{self.name}/{name}"

    def digest(self, name, creds=None):
        words = ["skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://127.0.0.1:{self.inner}/{name}"]
        return self.host.run(*words, *(["--creds", creds] if creds else [])).strip()

    def blobs(self, repository):
        """[(range, bytes)] of what was sent of this repository's large blobs."""
        return [(r, n) for method, path, r, n in self.sent if method == "GET" and f"/{repository}/blobs/" in path and n > 20_000]
