"""NetworkPolicies on two nodes: real containers, real packets, each direction, each kind of peer."""
import time

import pytest
from lab.lab import wait_for

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {ns}, labels: {{app: {app}}}}}
spec:
  nodeSelector: {{kubernetes.io/hostname: {node}}}
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: "sampan.io/busybox:1"
    command: [sh, -c, "mkdir /w; echo {name} > /w/index.html; httpd -p 8080 -h /w; httpd -p 8081 -h /w; exec httpd -f -p 8090 -h /w"]
    ports: [{{name: web, containerPort: 8080}}]
    readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
---
"""
PLACES = {"home": [("server", "server", "a"), ("friend", "friend", "b"), ("near", "friend", "a"), ("stranger", "stranger", "b")], "yard": [("guest", "friend", "b")]}


@pytest.fixture(scope="module")
def site(lab, server):
    lab.agent("b", server)
    server.wait_node_ready("b")
    for ns in PLACES:
        server.kubectl("create", "namespace", ns)
    server.apply("".join(POD.format(name=n, ns=ns, app=app, node=node) for ns, pods in PLACES.items() for n, app, node in pods), "--validate=false")
    server.apply("apiVersion: v1\nkind: Service\nmetadata: {name: server, namespace: home}\nspec: {selector: {app: server}, ports: [{port: 80, targetPort: web}]}")
    for ns, pods in PLACES.items():
        wait_for("pods ready", lambda: len([p for p in server.pods(ns) if any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions", []))]) == len(pods), 90)
    return server


@pytest.fixture(autouse=True)
def clean(site):
    yield
    for ns in PLACES:
        site.kubectl("delete", "networkpolicies", "--all", "-n", ns)


def address(site, pod, ns="home"):
    return site.get("pod", pod, "-n", ns)["status"]["podIP"]


def reaches(site, pod, url, ns="home"):
    return "through" in site.kubectl("exec", pod, "-n", ns, "--", "sh", "-c", f"timeout 3 wget -qO /dev/null {url} && echo through", check=False)


def policy(site, name, spec, ns="home"):
    site.apply(f"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: {ns}}}\nspec: {spec}")


def becomes(site, what, allowed, refused, url, ns="home"):
    """Each of allowed gets through and none of refused does: (pod, namespace) of who asks."""
    wait_for(what, lambda: all(reaches(site, p, url, n) for p, n in allowed) and not any(reaches(site, p, url, n) for p, n in refused), 60)


ALL = [("friend", "home"), ("near", "home"), ("stranger", "home"), ("guest", "yard")]


def test_default_deny_keeps_all_out_but_the_node_and_goes_with_the_policy(lab, site):
    url = f"http://{address(site, 'server')}:8080/"
    becomes(site, "no policy", ALL, [], url)
    policy(site, "deny", "{podSelector: {}, policyTypes: [Ingress]}")
    becomes(site, "default deny", [], ALL, url)
    becomes(site, "by Service too", [], ALL, "http://server.home/")
    assert "server" in lab.host("a").run("curl", "-s", "-m", "3", url), "the node itself may always ask: its probes do"
    assert site.get("pod", "server", "-n", "home")["status"]["conditions"], "it stays"
    site.kubectl("delete", "networkpolicy", "deny", "-n", "home")
    becomes(site, "no policy again", ALL, [], url)


def test_peers_are_chosen_by_pod_namespace_and_address(site):
    url = f"http://{address(site, 'server')}:8080/"
    policy(site, "p", "{podSelector: {matchLabels: {app: server}}, ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}]}]}")
    becomes(site, "pods of the same namespace", [("friend", "home"), ("near", "home")], [("stranger", "home"), ("guest", "yard")], url)
    policy(site, "p", "{podSelector: {matchLabels: {app: server}}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: yard}}}]}]}")
    becomes(site, "a namespace", [("guest", "yard")], [("friend", "home"), ("near", "home"), ("stranger", "home")], url)
    policy(site, "p", "{podSelector: {matchLabels: {app: server}}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: friend}}}]}]}")
    becomes(site, "friends of every namespace", [("friend", "home"), ("near", "home"), ("guest", "yard")], [("stranger", "home")], url)
    stranger = address(site, "stranger")
    policy(site, "p", f"{{podSelector: {{matchLabels: {{app: server}}}}, ingress: [{{from: [{{ipBlock: {{cidr: 10.42.0.0/16, except: [{stranger}/32]}}}}]}}]}}")
    becomes(site, "a block with an exception", [("friend", "home"), ("near", "home"), ("guest", "yard")], [("stranger", "home")], url)


def test_a_label_that_comes_or_goes_counts_at_once(site):
    url = f"http://{address(site, 'server')}:8080/"
    policy(site, "p", "{podSelector: {matchLabels: {app: server}}, ingress: [{from: [{podSelector: {matchLabels: {guest: 'yes'}}}]}]}")
    becomes(site, "nobody bears it", [], ALL, url)
    site.kubectl("label", "pod", "stranger", "-n", "home", "guest=yes")
    becomes(site, "now one does", [("stranger", "home")], [("friend", "home"), ("near", "home")], url)
    site.kubectl("label", "pod", "stranger", "-n", "home", "guest-")
    becomes(site, "and no more", [], ALL, url)


def test_ports_are_chosen_by_number_name_and_range(site):
    ip = address(site, "server")
    urls = [f"http://{ip}:{port}/" for port in (8080, 8081, 8090)]
    for ports, open_ in (("[{port: 8081}]", [1]), ("[{port: web}]", [0]), ("[{port: 8080, endPort: 8089}]", [0, 1]), ("[{protocol: UDP, port: 8080}]", [])):
        policy(site, "p", f"{{podSelector: {{matchLabels: {{app: server}}}}, ingress: [{{ports: {ports}}}]}}")
        for who in (("friend", "home"), ("near", "home")):
            wait_for(f"{ports} from {who}", lambda: [i for i, u in enumerate(urls) if reaches(site, who[0], u, who[1])] == open_, 30)


def test_egress_is_held_to_what_is_named(site):
    there, other = f"http://{address(site, 'server')}:8080/", f"http://{address(site, 'stranger')}:8080/"
    policy(site, "out", "{podSelector: {matchLabels: {app: friend}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: server}}}], ports: [{port: web}]}]}")
    for pod in ("friend", "near"):
        wait_for("only the server", lambda: reaches(site, pod, there) and not reaches(site, pod, other), 30)
        assert not reaches(site, pod, "http://server.home/"), "names were not allowed"
    assert reaches(site, "stranger", other.replace("8080", "8081")), "others are not touched"
    policy(site, "names", "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}],"
           " ports: [{protocol: UDP, port: 53}]}]}")
    wait_for("names too", lambda: reaches(site, "friend", "http://server.home/") and not reaches(site, "friend", other), 30)


def test_a_new_pod_is_held_from_its_first_packet_and_a_restart_of_node_and_gate_opens_nothing(site):
    policy(site, "out", "{podSelector: {matchLabels: {app: eager}}, policyTypes: [Egress, Ingress]}")
    ip = address(site, "server")
    site.apply(f"""
apiVersion: v1
kind: Pod
metadata: {{name: eager, namespace: home, labels: {{app: eager}}}}
spec:
  nodeSelector: {{kubernetes.io/hostname: a}}
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: "sampan.io/busybox:1"
    command: [sh, -c, "while :; do if timeout 1 wget -qO /dev/null http://{ip}:8080/; then echo through; else echo held; fi; done"]
""")
    wait_for("it began to ask", lambda: site.get("pod", "eager", "-n", "home")["status"]["phase"] == "Running", 60)
    for process in ("node", "gate"):
        old = site.pid(process)
        site.kill(process)
        wait_for(f"a new {process}", lambda: site.children().get(process, old) != old)
    tries = lambda: site.kubectl("logs", "eager", "-n", "home", check=False)
    before = tries().count("held")
    wait_for("it has asked often", lambda: tries().count("held") > before + 10, 60, every=0.5)
    assert "through" not in tries()
    site.kubectl("delete", "pod", "eager", "-n", "home", "--wait=false")
