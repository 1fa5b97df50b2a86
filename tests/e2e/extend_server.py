"""An HTTPS server that extends a cluster: webhooks for admission and conversion, and a small aggregated API server. Prints "ready" when it listens.

usage: extend_server.py ADDRESS PORT CERTIFICATE KEY
"""
import base64
import http.server
import json
import ssl
import sys
import time

asked = {}


def admission(path, request):
    response = {"uid": request["uid"], "allowed": True}
    thing = request.get("object") or request.get("oldObject") or {}
    if path == "/mutate":
        patch = [{"op": "add", "path": "/metadata/labels", "value": {"mutated": "yes"}}]
        response.update(patchType="JSONPatch", patch=base64.b64encode(json.dumps(patch).encode()).decode(), warnings=["it was mutated"])
    elif path == "/validate" and thing.get("metadata", {}).get("name", "").startswith("bad"):
        response.update(allowed=False, status={"code": 403, "reason": "Forbidden", "message": f"{request['operation']} of bad things"})
    elif path == "/hang":
        time.sleep(20)
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


def conversion(request):
    """v1 says host and port in one, v2 apart."""
    out = []
    for o in request["objects"]:
        o = dict(o, apiVersion=request["desiredAPIVersion"])
        if o["apiVersion"].endswith("/v2"):
            o["host"], o["port"] = o.pop("hostPort", ":").split(":", 1)
        else:
            o["hostPort"] = o.pop("host", "") + ":" + o.pop("port", "")
        out.append(o)
    response = {"uid": request["uid"], "convertedObjects": out, "result": {"status": "Success"}}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, doc, code=200):
        data = json.dumps(doc).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = self.path.split("?")[0]
        asked[path] = asked.get(path, 0) + 1
        self.answer(conversion(body["request"]) if path == "/convert" else admission(path, body["request"]))

    def do_GET(self):
        path = self.path.split("?")[0]
        base = "/apis/far.example.com/v1"
        if path == base:
            self.answer({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "far.example.com/v1", "resources": [
                {"name": "stars", "singularName": "star", "namespaced": False, "kind": "Star", "verbs": ["get", "list"], "shortNames": ["st"]}]})
        elif path == base + "/stars":
            who = {"user": self.headers.get("X-Remote-User"), "groups": self.headers.get_all("X-Remote-Group"), "token": self.headers.get("Authorization")}
            self.answer({"kind": "StarList", "apiVersion": "far.example.com/v1", "metadata": {}, "items": [
                {"kind": "Star", "apiVersion": "far.example.com/v1", "metadata": {"name": "sirius"}, "who": who}]})
        elif path == "/asked":
            self.answer(asked)
        else:
            self.answer({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404}, 404)

    def log_message(self, *words):
        pass


def main():
    address, port, certificate, key = sys.argv[1:]
    server = http.server.ThreadingHTTPServer((address, int(port)), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
