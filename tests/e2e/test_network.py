"""Services of every type and names, on two nodes and from outside: real packets between real containers."""
import os
import time

import pytest
from lab.lab import Process, wait_for


@pytest.fixture(scope="module")
def nodes(lab, server):
    lab.agent("b", server)
    server.wait_node_ready("b")
    server.kubectl("create", "namespace", "net")
    server.apply("\n---\n".join(WEB.format(name=f"web-{n}", node=n) for n in ("a", "b")) + SERVICES, "-n", "net")
    server.wait_pods_ready("net", "app=web", 2)
    server.wait_pods_ready("net", "app=client", 2)
    wait_for("both endpoints", lambda: len(endpoints(server, "web")) == 2)
    return server


WEB = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: web}}}}
spec:
  nodeSelector: {{kubernetes.io/hostname: {node}}}
  hostname: {name}
  subdomain: headless
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: "sampan.io/busybox:1"
    command: [sh, -c, "mkdir /w; echo {name} > /w/index.html; exec httpd -f -vv -p 8080 -h /w"]
    ports: [{{containerPort: 8080, hostPort: 18080}}]
    readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Pod
metadata: {{name: client-{node}, labels: {{app: client}}}}
spec:
  nodeSelector: {{kubernetes.io/hostname: {node}}}
  terminationGracePeriodSeconds: 0
  containers: [{{name: c, image: "sampan.io/busybox:1", command: [sleep, "100000"]}}]
"""

SERVICES = """
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080, nodePort: 30080}]}
---
apiVersion: v1
kind: Service
metadata: {name: local}
spec: {type: NodePort, externalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 80, targetPort: 8080, nodePort: 30081}]}
---
apiVersion: v1
kind: Service
metadata: {name: near}
spec: {internalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: sticky}
spec: {sessionAffinity: ClientIP, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, selector: {app: web}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias}
spec: {type: ExternalName, externalName: web.net.svc.cluster.local}
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {selector: {app: nobody}, ports: [{port: 80}]}
"""


def endpoints(server, service):
    found = []
    for s in server.get("endpointslices", "-n", "net", "-l", f"kubernetes.io/service-name={service}")["items"]:
        found += [a for e in s.get("endpoints") or [] if e["conditions"].get("ready") for a in e["addresses"]]
    return found


def inside(server, pod, *words, check=True):
    return server.kubectl("exec", pod, "-n", "net", "--", *words, check=check)


def page(host, url):
    return host.run("curl", "-s", "-m", "3", url).strip()


def page_fails(host, url):
    return host.run("curl", "-s", "-m", "3", url, check=False) == ""


def names(server, pod, name, kind="a"):
    """The addresses that busybox's nslookup shows for a name, without the server's own."""
    out = inside(server, pod, "nslookup", f"-type={kind}", name, check=False)
    return sorted(line.split()[-1] for line in out.split("\n\n", 1)[-1].splitlines() if line.startswith("Address")), out


def cluster_ip(server, name):
    return server.get("service", name, "-n", "net")["spec"]["clusterIP"]


def test_a_cluster_ip_spreads_over_both_nodes_from_pods_and_hosts(lab, nodes):
    ip = cluster_ip(nodes, "web")
    for ask in (lambda: inside(nodes, "client-a", "wget", "-qO-", f"http://{ip}/").strip(), lambda: inside(nodes, "client-b", "wget", "-qO-", "http://web/").strip(),
                lambda: page(lab.host("a"), f"http://{ip}/"), lambda: page(lab.host("b"), f"http://{ip}/")):
        seen = {ask() for _ in range(20)}
        assert seen == {"web-a", "web-b"}, seen


def test_a_pod_reaches_itself_through_its_service(nodes):
    seen = {inside(nodes, "web-a", "wget", "-qO-", "http://web/").strip() for _ in range(20)}
    assert seen == {"web-a", "web-b"}


def test_a_node_port_answers_on_every_node_from_outside(lab, nodes):
    outside = lab.host("outside")
    for node in ("a", "b"):
        seen = {page(outside, f"http://{lab.host(node).ip}:30080/") for _ in range(20)}
        assert seen == {"web-a", "web-b"}


def test_the_local_policy_keeps_to_the_node_and_to_the_clients_address(lab, nodes):
    outside = lab.host("outside")
    for node in ("a", "b"):
        assert {page(outside, f"http://{lab.host(node).ip}:30081/") for _ in range(6)} == {f"web-{node}"}
        wait_for("the client's address in the log", lambda: outside.ip in nodes.kubectl("logs", f"web-{node}", "-n", "net"), 5)
    for node in ("a", "b"):
        assert {inside(nodes, f"client-{node}", "wget", "-qO-", "http://near/").strip() for _ in range(6)} == {f"web-{node}"}


def test_a_load_balancer_gets_the_nodes_addresses_and_keeps_the_clients(lab, nodes):
    nodes.apply("""
apiVersion: v1
kind: Service
metadata: {name: lb}
spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 8088, targetPort: 8080}]}
""", "-n", "net")
    given = lambda: sorted(i["ip"] for i in nodes.get("service", "lb", "-n", "net")["status"]["loadBalancer"].get("ingress", []))
    wait_for("both addresses", lambda: given() == sorted(lab.host(n).ip for n in ("a", "b")))
    outside = lab.host("outside")
    for node in ("a", "b"):
        wait_for("it answers", lambda: page(outside, f"http://{lab.host(node).ip}:8088/") == f"web-{node}")
        assert inside(nodes, "client-a", "wget", "-qO-", f"http://{lab.host(node).ip}:8088/").strip() in ("web-a", "web-b")
    health = nodes.get("service", "lb", "-n", "net")["spec"]["healthCheckNodePort"]
    for node in ("a", "b"):
        assert '"localEndpoints":1' in page(outside, f"http://{lab.host(node).ip}:{health}/healthz")
    nodes.kubectl("delete", "service", "lb", "-n", "net")
    wait_for("nobody checks any more", lambda: page_fails(outside, f"http://{lab.host('a').ip}:{health}/"))
    wait_for("it is gone", lambda: page_fails(outside, f"http://{lab.host('a').ip}:8088/"))


def test_endpoints_of_the_same_node_are_preferred_where_a_service_asks_for_it(nodes):
    nodes.apply("""
apiVersion: v1
kind: Service
metadata: {name: kin}
spec: {trafficDistribution: PreferSameNode, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
""", "-n", "net")
    wait_for("both endpoints", lambda: len(endpoints(nodes, "kin")) == 2)
    for node in ("a", "b"):
        wait_for("our own", lambda: {inside(nodes, f"client-{node}", "wget", "-qO-", "http://kin/").strip() for _ in range(6)} == {f"web-{node}"})
    nodes.kubectl("delete", "service", "kin", "-n", "net")


def test_affinity_keeps_a_client_at_one_endpoint(nodes):
    for pod in ("client-a", "client-b"):
        assert len({inside(nodes, pod, "wget", "-qO-", "http://sticky/").strip() for _ in range(10)}) == 1


def test_a_host_port_leads_to_the_pod_of_that_node(lab, nodes):
    for node in ("a", "b"):
        assert page(lab.host("outside"), f"http://{lab.host(node).ip}:18080/") == f"web-{node}"
        assert page(lab.host(node), "http://127.0.0.1:18080/") == f"web-{node}"


def test_no_endpoints_and_no_service_are_refused_at_once(nodes):
    for ip in (cluster_ip(nodes, "nobody"), "10.43.250.250"):
        begun = time.monotonic()
        out = inside(nodes, "client-a", "wget", "-qO-", f"http://{ip}/", check=False)
        assert "refused" in out and time.monotonic() - begun < 3, out


def test_names_follow_the_specification(nodes):
    pods = {p["metadata"]["name"]: p["status"]["podIP"] for p in nodes.pods("net", "app=web")}
    for client in ("client-a", "client-b"):
        assert names(nodes, client, "web.net.svc.cluster.local")[0] == [cluster_ip(nodes, "web")]
        assert names(nodes, client, "headless.net.svc.cluster.local")[0] == sorted(pods.values())
        assert names(nodes, client, "web-b.headless.net.svc.cluster.local")[0] == [pods["web-b"]]
        found, out = names(nodes, client, "alias.net.svc.cluster.local", "cname")
        assert "web.net.svc.cluster.local" in out, out
        found, out = names(nodes, client, "nothing.net.svc.cluster.local")
        assert "NXDOMAIN" in out, out
        assert inside(nodes, client, "wget", "-qO-", "http://alias.net.svc.cluster.local/").strip() in ("web-a", "web-b")


def test_operators_add_names_by_the_configmap_of_k3s(nodes):
    nodes.apply("""
apiVersion: v1
kind: ConfigMap
metadata: {name: coredns-custom, namespace: kube-system}
data:
  site.override: |
    hosts {
      10.9.9.9 printer.site
    }
  corp.server: |
    corp.example:53 {
      errors
      forward . 127.0.0.1:9
    }
  bad.override: "rewrite name a b"
""")
    for client in ("client-a", "client-b"):
        wait_for("the host entry", lambda: names(nodes, client, "printer.site")[0] == ["10.9.9.9"])
        assert names(nodes, client, "b.")[0] == [nodes.get("node", "b")["status"]["addresses"][0]["address"]]
    wait_for("what is not understood is told", lambda: "rewrite" in nodes.kubectl("get", "events", "-A", "--field-selector", "reason=InvalidDNSConfig"))
    nodes.kubectl("delete", "configmap", "coredns-custom", "-n", "kube-system")
    wait_for("it is gone", lambda: not names(nodes, "client-a", "printer.site")[0])


def test_an_endpoint_that_goes_is_not_asked_any_more(lab, nodes):
    nodes.kubectl("delete", "pod", "web-b", "-n", "net", "--wait=false")
    try:
        wait_for("one endpoint", lambda: len(endpoints(nodes, "web")) == 1)
        ip = cluster_ip(nodes, "web")
        wait_for("rules on both nodes", lambda: {page(lab.host(n), f"http://{ip}/") for n in ("a", "b") for _ in range(5)} == {"web-a"}, 10)
        wait_for("names", lambda: len(names(nodes, "client-b", "headless.net.svc.cluster.local")[0]) == 1, 10)
    finally:
        nodes.apply(WEB.format(name="web-b", node="b"), "-n", "net")
        nodes.wait_pods_ready("net", "app=web", 2)


def test_a_cut_way_between_nodes_is_told_and_a_narrow_one_measured(lab, nodes):
    def network(node):
        return next(c for c in nodes.get("node", node)["status"]["conditions"] if c["type"] == "NetworkUnavailable")
    host = lab.host("b")
    wait_for("both are reached", lambda: all(network(n)["status"] == "False" and network(n)["reason"] == "PodNetworkIsUp" for n in ("a", "b")))
    host.run("nft", "add table inet cut; add chain inet cut c { type filter hook input priority -10; }; add rule inet cut c udp dport 8472 drop")
    try:
        told = wait_for("it is told", lambda: network("a")["status"] == "True" and network("a"), 60)
        assert told["reason"] == "PeersUnreachable" and told["message"].endswith(": b"), told
        wait_for("no new pods", lambda: "node.kubernetes.io/network-unavailable" in str(nodes.get("node", "a")["spec"].get("taints")))
    finally:
        host.run("nft", "delete", "table", "inet", "cut")
    wait_for("and the way back", lambda: all(network(n)["status"] == "False" for n in ("a", "b")), 60)
    wait_for("no taint", lambda: "network-unavailable" not in str(nodes.get("node", "a")["spec"].get("taints")))
    host.run("nft", "add table inet narrow; add chain inet narrow c { type filter hook input priority -10; }; add rule inet narrow c udp dport 8472 meta length > 1420 drop")
    try:
        wait_for("a smaller MTU on the route", lambda: "mtu 1370" in lab.host("a").run("ip", "route", "show", "10.42.1.0/24"), 90)
    finally:
        host.run("nft", "delete", "table", "inet", "narrow")


def test_a_node_without_a_given_address_finds_its_own_and_all_follow_when_it_changes(lab, nodes):
    host, new = lab.host("c"), lab.host("c").ip.rsplit(".", 1)[0] + ".199"
    c = Process(lab, host, "agent", ["--server", f"https://{nodes.host.ip}:6443", "--token", nodes.token(), "--node-name", "c", "--cgroup-root", f"sampan-{lab.tag}-c"])
    c.put_image(lab.image)
    c.start()
    nodes.wait_node_ready("c")
    nodes.apply(WEB.format(name="web-c", node="c").replace("app: web", "app: third"), "-n", "net")
    ip = nodes.wait_pods_ready("net", "app=third", 1)[0]["status"]["podIP"]
    told = lambda: nodes.get("node", "c")["status"]["addresses"][0]["address"]
    answers = lambda: page(lab.host("a"), f"http://{ip}:8080/") == "web-c"
    assert told() == host.ip
    wait_for("packets to the third node", answers)
    before = c.children()
    host.run("ip", "addr", "del", f"{host.ip}/24", "dev", "eth0")
    host.run("ip", "addr", "add", f"{new}/24", "dev", "eth0")
    wait_for("the new address", lambda: told() == new)
    wait_for("packets go there", answers)
    assert inside(nodes, "client-c", "wget", "-qO-", "http://web/").strip() in ("web-a", "web-b")
    assert c.children() == before
    nodes.kubectl("delete", "pod", "web-c", "client-c", "-n", "net", "--wait=false")


def test_foreign_rules_are_left_alone_and_connections_survive_a_restart_of_node_and_gate(lab, nodes):
    host = lab.host("a")
    host.run("nft", "add", "table", "ip", "foreign")
    host.run("nft", "add", "chain", "ip", "foreign", "c")
    server = nodes
    ip = cluster_ip(server, "web")
    for process in ("node", "gate"):
        server.kill(process)
        for _ in range(10):
            assert page(host, f"http://{ip}/") in ("web-a", "web-b")
            time.sleep(0.1)
    assert "foreign" in host.run("nft", "list", "tables")
    wait_for("exec works again", lambda: inside(server, "client-a", "echo", "here").strip() == "here", 20)
    assert inside(server, "client-a", "wget", "-qO-", "http://web/").strip() in ("web-a", "web-b")
