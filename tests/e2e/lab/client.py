"""A small HTTPS client that talks from inside a host's network namespace, fast enough to put a server under load."""
import base64
import ctypes
import http.client
import json
import os
import ssl
import threading

import yaml

CLONE_NEWNET = 0x40000000


def enter(netns):
    """The calling thread's new sockets belong to that namespace from here on."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(f"/run/netns/{netns}", os.O_RDONLY)
    try:
        if libc.setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(fd)


class Client:
    """One connection with the admin's certificate. Use it in the thread that made it."""

    def __init__(self, server, timeout=10):
        with open(server.kubeconfig) as f:
            config = yaml.safe_load(f)
        user, cluster = config["users"][0]["user"], config["clusters"][0]["cluster"]
        self.context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        self.context.check_hostname = False
        pair = os.path.join(server.lab.folder, f"client-{os.getpid()}-{threading.get_ident()}.pem")
        with open(os.open(pair, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as f:
            f.write(base64.b64decode(user["client-certificate-data"]) + b"\n" + base64.b64decode(user["client-key-data"]))
        self.context.load_cert_chain(pair)
        os.unlink(pair)
        self.server, self.timeout, self.connection = server, timeout, None

    def open(self):
        if not self.connection:
            self.connection = http.client.HTTPSConnection(self.server.host.ip, self.server.port, timeout=self.timeout, context=self.context)
        return self.connection

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None

    def request(self, method, path, body=None):
        """(status, document or text). Raises OSError or HTTPException when the connection breaks."""
        try:
            c = self.open()
            c.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json", "Accept": "application/json"})
            reply = c.getresponse()
            text = reply.read()
            return reply.status, json.loads(text or b"{}") if "json" in reply.headers.get("Content-Type", "") else text.decode()
        except (OSError, http.client.HTTPException, ValueError):
            self.close()
            raise

    def watch(self, path):
        """Yields the events of a watch until the connection ends."""
        c = self.open()
        c.request("GET", path, headers={"Accept": "application/json"})
        reply = c.getresponse()
        assert reply.status == 200, reply.read()
        try:
            while True:
                line = reply.readline()
                if not line:
                    return
                yield json.loads(line)
        except (OSError, http.client.HTTPException, ValueError):
            return
        finally:
            self.close()


def workers(server, count, fn):
    """Runs fn(number, client) in threads inside the server's namespace; gives them back, started."""
    def run(n):
        enter(server.host.netns)
        fn(n, Client(server))
    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(count)]
    for t in threads:
        t.start()
    return threads
