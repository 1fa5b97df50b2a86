/* The pod network in network namespaces of its own: real links, real rules, real packets. Needs root and nft-capable kernel. */
#include "net/net.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <signal.h>
#include <sys/stat.h>
#include "base/clock.h"
#include "base/loop.h"
#include "harness.h"
#include "net/rtnl.h"

static int ns_here(void)
{
    return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
}

static int ns_new(void)
{
    int home = ns_here(), fd;
    if (unshare(CLONE_NEWNET) < 0)
        test_skip("needs root");
    fd = ns_here();
    setns(home, CLONE_NEWNET);
    close(home);
    return fd;
}

static int home_fd = -1;
static void enter(int ns)
{
    OK(setns(ns, CLONE_NEWNET) == 0);
}

/* Every test runs in a fresh "host" namespace, with an uplink end `up0` 192.168.50.1/24 when asked for. */
static int host_new(void)
{
    int h;
    if (home_fd < 0)
        home_fd = ns_here();
    enter(home_fd);
    h = ns_new();
    enter(h);
    return h;
}

/* A server that accepts connections on ip:port in namespace ns, sends the text and closes, until killed. */
static pid_t serve(int ns, const char *ip, uint16_t port, const char *text)
{
    int ready[2];
    char c;
    OK(pipe(ready) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = inet_addr(ip)};
        int on = 1, s;
        setns(ns, CLONE_NEWNET);
        s = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (bind(s, (struct sockaddr *)&a, sizeof a) < 0 || listen(s, 16) < 0)
            _exit(1);
        (void)!write(ready[1], "x", 1);
        for (;;) {
            struct sockaddr_in peer;
            socklen_t n = sizeof peer;
            char out[128];
            int k = accept(s, (struct sockaddr *)&peer, &n);
            if (k < 0)
                _exit(2);
            int len = snprintf(out, sizeof out, "%s %s", text, inet_ntoa(peer.sin_addr));
            (void)!write(k, out, (size_t)len);
            close(k);
        }
    }
    close(ready[1]);
    OK(read(ready[0], &c, 1) == 1);
    close(ready[0]);
    return pid;
}

static void stop(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* What the server at ip:port says to a client in ns ("" and errno when there is none). */
static const char *ask(int ns, const char *ip, uint16_t port)
{
    static char out[128];
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = inet_addr(ip)};
    struct timeval limit = {.tv_sec = 2};
    int back = ns_here(), s, r, err;
    ssize_t n = 0;

    enter(ns);
    s = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    r = connect(s, (struct sockaddr *)&a, sizeof a);
    err = errno;
    if (r == 0)
        n = read(s, out, sizeof out - 1);
    close(s);
    enter(back);
    close(back);
    out[n > 0 ? n : 0] = 0;
    if (r < 0)
        snprintf(out, sizeof out, "error: %s", strerror(err));
    return out;
}

static int sh(const char *cmd)
{
    return system(cmd); /* in this thread's namespace */
}

static struct loop *loop_of(void)
{
    struct err *e = NULL;
    struct loop *l = loop_new(&e);
    OK(l != NULL);
    return l;
}

static struct net *open_in(struct loop *l, const char *dir)
{
    struct net *n = NULL;
    struct err *e = NULL;
    struct net_options o = {.state_dir = dir};
    FINE(net_open(l, &o, &n, &e), e);
    return n;
}

static const struct net_config base_config = {.pod_cidr = STR("10.42.0.0/24"),
    .cluster_cidr = STR("10.42.0.0/16"),
    .service_cidr = STR("10.43.0.0/16"),
    .dns_ip = STR("10.43.0.10"),
    .backend = STR("none")};

static struct net *configured(struct loop *l)
{
    struct err *e = NULL;
    struct net *n = open_in(l, test_tmpdir());
    FINE(net_configure(n, &base_config, &e), e);
    return n;
}

static void attach(struct net *n, const char *uid, int ns, char ip[NET_ADDR_TEXT])
{
    struct err *e = NULL;
    struct net_pod p = {.uid = str_of(uid), .netns = ns};
    FINE(net_attach(n, &p, ip, &e), e);
}

TEST(pods_reach_each_other_and_keep_their_address_over_a_restart)
{
    struct loop *l = loop_of();
    host_new();
    struct net *n = configured(l);
    int a = ns_new(), b = ns_new();
    char ip_a[NET_ADDR_TEXT], ip_b[NET_ADDR_TEXT], again[NET_ADDR_TEXT];
    attach(n, "uid-a", a, ip_a);
    attach(n, "uid-b", b, ip_b);
    EQ_Z(ip_a, "10.42.0.2");
    EQ_Z(ip_b, "10.42.0.3");
    pid_t srv = serve(b, "0.0.0.0", 80, "b");
    EQ_Z(ask(a, ip_b, 80), "b 10.42.0.2");
    EQ_Z(ask(a, "10.42.0.3", 81), "error: Connection refused");
    net_close(n);
    n = configured(l);
    attach(n, "uid-b", b, again);
    EQ_Z(again, ip_b);
    EQ_Z(ask(a, ip_b, 80), "b 10.42.0.2");
    /* the address is given to nobody else before it is released */
    int c = ns_new();
    attach(n, "uid-c", c, again);
    OK(strcmp(again, ip_a) != 0 && strcmp(again, ip_b) != 0);
    net_release(n, STR("uid-b"));
    OK(strncmp(ask(a, ip_b, 80), "error", 5) == 0);
    stop(srv);
    net_close(n);
    loop_free(l);
    enter(home_fd);
}

static struct net_service service(struct str *ip, struct net_service_port *port)
{
    return (struct net_service){.ns = STR("default"), .name = STR("web"), .cluster_ips = ip, .ncluster_ips = 1, .ports = port, .nports = 1};
}

TEST(a_service_spreads_over_its_endpoints_and_hairpins_and_refuses_without_any)
{
    struct loop *l = loop_of();
    struct err *e = NULL;
    int host = host_new();
    struct net *n = configured(l);
    int a = ns_new(), b = ns_new();
    char ip_a[NET_ADDR_TEXT], ip_b[NET_ADDR_TEXT];
    attach(n, "uid-a", a, ip_a);
    attach(n, "uid-b", b, ip_b);
    pid_t sa = serve(a, "0.0.0.0", 8080, "a"), sb = serve(b, "0.0.0.0", 8080, "b");
    struct net_backend both[] = {{.ip = str_of(ip_a), .port = 8080, .local = true}, {.ip = str_of(ip_b), .port = 8080, .local = true}};
    struct net_service_port port = {
        .name = STR("http"), .protocol = STR("TCP"), .port = 80, .node_port = 30080, .backends = both, .nbackends = 2};
    struct str ip = STR("10.43.0.5");
    struct net_service s = service(&ip, &port);
    int seen_a = 0, seen_b = 0;

    FINE(net_services(n, true, &s, 1, &e), e);
    for (int i = 0; i < 40; i++) {
        const char *t = ask(a, "10.43.0.5", 80);
        seen_a += t[0] == 'a';
        seen_b += t[0] == 'b';
    }
    EQ(seen_a + seen_b, 40);
    OK(seen_a > 3 && seen_b > 3);
    OK(ask(host, "10.43.0.5", 80)[0] != 'e');
    /* only the pod itself left: it reaches itself through the Service, from the gateway's address */
    port.nbackends = 1;
    FINE(net_services(n, false, &s, 1, &e), e);
    EQ_Z(ask(a, "10.43.0.5", 80), "a 10.42.0.1");
    EQ_Z(ask(b, "10.43.0.5", 80), "a 10.42.0.3");
    EQ_Z(ask(b, "10.42.0.1", 30080), "a 10.42.0.3");
    /* affinity to one of two */
    port.nbackends = 2;
    s.affinity_s = 60;
    FINE(net_services(n, false, &s, 1, &e), e);
    char first = ask(b, "10.43.0.5", 80)[0];
    for (int i = 0; i < 10; i++)
        EQ(ask(b, "10.43.0.5", 80)[0], first);
    if (access("/usr/sbin/nft", X_OK) == 0)
        EQ(system("/usr/sbin/nft list ruleset >/dev/null"), 0); /* what stands in the kernel must be readable for people */
    port.nbackends = 0;
    FINE(net_services(n, false, &s, 1, &e), e);
    EQ_Z(ask(a, "10.43.0.5", 80), "error: Connection refused");
    EQ_Z(ask(a, "10.43.0.99", 80), "error: Connection refused");
    s.remove = true;
    FINE(net_services(n, false, &s, 1, &e), e);
    EQ_Z(ask(a, "10.43.0.5", 80), "error: Connection refused");
    stop(sa);
    stop(sb);
    net_close(n);
    loop_free(l);
    enter(home_fd);
}

TEST(services_of_an_earlier_run_stand_until_the_whole_list_comes_and_then_nothing_of_them_is_left)
{
    struct loop *l = loop_of();
    struct err *e = NULL;
    host_new();
    struct net *n = configured(l);
    int a = ns_new(), b = ns_new();
    char ip_a[NET_ADDR_TEXT], ip_b[NET_ADDR_TEXT];
    attach(n, "uid-a", a, ip_a);
    attach(n, "uid-b", b, ip_b);
    pid_t sa = serve(a, "0.0.0.0", 8080, "a");
    struct net_backend be[] = {{.ip = str_of(ip_a), .port = 8080, .local = true}, {.ip = str_of(ip_a), .port = 8080}};
    struct net_service_port port = {.protocol = STR("TCP"), .port = 80, .backends = be, .nbackends = 2};
    struct str ip = STR("10.43.0.5");
    struct net_service s = service(&ip, &port);
    s.local_internal = true;
    s.affinity_s = 30;
    struct str other = STR("10.43.0.6"); /* one with chains, one without */
    struct net_service_port plain = {.protocol = STR("TCP"), .port = 80, .backends = be, .nbackends = 2};
    struct net_service two[] = {s, service(&other, &plain)};
    two[1].name = STR("plain");
    FINE(net_services(n, true, two, 2, &e), e);
    net_close(n);
    n = configured(l);
    EQ_Z(ask(b, "10.43.0.5", 80), "a 10.42.0.3");
    EQ_Z(ask(b, "10.43.0.6", 80), "a 10.42.0.3");
    plain.nbackends = 1;
    EQ(net_services(n, false, &s, 1, &e), -ERR_CONFLICT);
    err_free(TAKE(e));
    FINE(net_services(n, true, &s, 1, &e), e);
    EQ_Z(ask(b, "10.43.0.5", 80), "a 10.42.0.3");
    EQ_Z(ask(b, "10.43.0.6", 80), "error: Connection refused");
    FINE(net_services(n, false, &two[1], 1, &e), e);
    EQ_Z(ask(b, "10.43.0.6", 80), "a 10.42.0.3");
    EQ(sh("nft list map inet sampan svc2 | grep -q elements"), 256); /* nothing is left of two endpoints */
    FINE(net_services(n, true, NULL, 0, &e), e);
    EQ_Z(ask(b, "10.43.0.5", 80), "error: Connection refused");
    EQ_Z(ask(b, "10.43.0.6", 80), "error: Connection refused");
    stop(sa);
    net_close(n);
    FINE(net_uninstall(test_tmpdir(), &e), e);
    EQ(if_nametoindex("sampan0"), 0);
    EQ(if_nametoindex("sampan-dns"), 0);
    loop_free(l);
    enter(home_fd);
}

/* Two hosts on one wire: 192.168.50.1 and .2 */
static void wire(int h1, int h2)
{
    int fd;
    enter(h1);
    fd = rtnl_socket();
    OK(rtnl_link_make(fd, "lan", "bridge", NULL, 0) == 0);
    OK(rtnl_veth_make(fd, "w0", rtnl_ifindex("lan"), "w1", h2, (const uint8_t[6]){2, 0, 0, 0, 0, 2}, 1500) == 0);
    rtnl_link_set(fd, rtnl_ifindex("lan"), true, 0, 0, NULL);
    OK(rtnl_addr_add(fd, rtnl_ifindex("lan"), inet_addr("192.168.50.1"), 24, false) == 0);
    close(fd);
    enter(h2);
    fd = rtnl_socket();
    OK(rtnl_addr_add(fd, rtnl_ifindex("w1"), inet_addr("192.168.50.2"), 24, false) == 0);
    rtnl_link_set(fd, rtnl_ifindex("w1"), true, 0, 0, NULL);
    close(fd);
}

/* A UDP server in ns that answers every datagram with text. */
static pid_t serve_udp(int ns, uint16_t port, const char *text)
{
    int ready[2];
    char c;
    OK(pipe(ready) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)}, peer;
        socklen_t n = sizeof peer;
        char in[64];
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setns(ns, CLONE_NEWNET);
        int s = socket(AF_INET, SOCK_DGRAM, 0);
        if (bind(s, (struct sockaddr *)&a, sizeof a) < 0)
            _exit(1);
        (void)!write(ready[1], "x", 1);
        while (recvfrom(s, in, sizeof in, 0, (struct sockaddr *)&peer, &n) >= 0)
            (void)!sendto(s, text, strlen(text), 0, (struct sockaddr *)&peer, n);
        _exit(2);
    }
    close(ready[1]);
    OK(read(ready[0], &c, 1) == 1);
    close(ready[0]);
    return pid;
}

TEST(a_udp_client_that_never_pauses_is_led_away_from_an_endpoint_that_is_gone)
{
    struct loop *l = loop_of();
    struct err *e = NULL;
    host_new();
    struct net *n = configured(l);
    int a = ns_new(), b = ns_new(), client = ns_new();
    char ip_a[NET_ADDR_TEXT], ip_b[NET_ADDR_TEXT], ip_c[NET_ADDR_TEXT], first = 0;
    attach(n, "uid-a", a, ip_a);
    attach(n, "uid-b", b, ip_b);
    attach(n, "uid-c", client, ip_c);
    pid_t sa = serve_udp(a, 53, "a"), sb = serve_udp(b, 53, "b");
    struct net_backend both[] = {{.ip = str_of(ip_a), .port = 53, .local = true}, {.ip = str_of(ip_b), .port = 53, .local = true}};
    struct net_service_port port = {.protocol = STR("UDP"), .port = 53, .backends = both, .nbackends = 2};
    struct str ip = STR("10.43.0.5");
    struct net_service s = service(&ip, &port);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = inet_addr("10.43.0.5")};
    struct timeval limit = {.tv_sec = 2};

    FINE(net_services(n, true, &s, 1, &e), e);
    int here = ns_here();
    enter(client);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    enter(here);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    OK(connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    for (int i = 0; i < 3; i++) {
        char c = 0;
        OK(send(fd, "?", 1, 0) == 1 && recv(fd, &c, 1, 0) == 1);
        OK(!first || c == first); /* one flow, one endpoint */
        first = c;
    }
    /* the other one only is left; the same socket goes on */
    port.backends = first == 'a' ? &both[1] : &both[0];
    port.nbackends = 1;
    FINE(net_services(n, false, &s, 1, &e), e);
    char c = 0;
    OK(send(fd, "?", 1, 0) == 1 && recv(fd, &c, 1, 0) == 1);
    EQ(c, first == 'a' ? 'b' : 'a');
    close(fd);
    close(here);
    stop(sa);
    stop(sb);
    net_close(n);
    loop_free(l);
    enter(home_fd);
}

TEST(what_comes_from_outside_obeys_policies_and_source_ranges)
{
    struct loop *l = loop_of();
    struct err *e = NULL;
    int h1 = host_new(), outside = host_new();
    wire(h1, outside);
    enter(h1);
    struct net *n = configured(l);
    int a = ns_new();
    char ip_a[NET_ADDR_TEXT];
    attach(n, "uid-a", a, ip_a);
    pid_t sa = serve(a, "0.0.0.0", 8080, "a");
    struct net_backend be[] = {{.ip = str_of(ip_a), .port = 8080, .local = true}};
    struct net_service_port port = {.protocol = STR("TCP"), .port = 80, .node_port = 30080, .backends = be, .nbackends = 1};
    struct str ip = STR("10.43.0.5"), external = STR("192.168.50.1"), range = STR("192.168.50.2/32");
    struct net_service s = service(&ip, &port);
    s.external_ips = &external;
    s.nexternal_ips = 1;
    FINE(net_services(n, true, &s, 1, &e), e);
    EQ_Z(ask(outside, "192.168.50.1", 30080), "a 192.168.50.2"); /* its answer comes back through here anyway */
    EQ_Z(ask(outside, "192.168.50.1", 80), "a 192.168.50.2");
    s.local_external = true;
    FINE(net_services(n, false, &s, 1, &e), e);
    EQ_Z(ask(outside, "192.168.50.1", 30080), "a 192.168.50.2"); /* Local: the client as it is */
    be[0].local = false;
    FINE(net_services(n, false, &s, 1, &e), e);
    EQ_Z(ask(outside, "192.168.50.1", 30080), "error: Operation now in progress"); /* none here: dropped */
    be[0].local = true;
    s.source_ranges = &range;
    s.nsource_ranges = 1;
    FINE(net_services(n, false, &s, 1, &e), e);
    EQ_Z(ask(outside, "192.168.50.1", 80), "a 192.168.50.2");
    range = STR("192.168.60.0/24");
    FINE(net_services(n, false, &s, 1, &e), e);
    EQ_Z(ask(outside, "192.168.50.1", 80), "error: Operation now in progress");
    stop(sa);
    net_close(n);
    loop_free(l);
    enter(home_fd);
}

TEST(a_host_port_leads_to_its_pod_and_belongs_to_one_pod_only)
{
    struct loop *l = loop_of();
    struct err *e = NULL;
    int host = host_new();
    struct net *n = configured(l);
    int a = ns_new(), b = ns_new();
    char ip[NET_ADDR_TEXT];
    struct net_port port = {.container_port = 8080, .host_port = 9090, .protocol = STR("TCP")};
    struct net_pod p = {.uid = STR("uid-a"), .netns = a, .ports = &port, .nports = 1},
                   q = {.uid = STR("uid-b"), .netns = b, .ports = &port, .nports = 1};
    FINE(net_attach(n, &p, ip, &e), e);
    pid_t sa = serve(a, "0.0.0.0", 8080, "a");
    EQ_Z(ask(host, "10.42.0.1", 9090), "a 10.42.0.1");
    EQ(net_attach(n, &q, ip, &e), -ERR_EXISTS);
    err_free(TAKE(e));
    net_detach(n, STR("uid-a"));
    EQ_Z(ask(host, "10.42.0.1", 9090), "error: Connection refused");
    FINE(net_attach(n, &q, ip, &e), e);
    stop(sa);
    net_close(n);
    loop_free(l);
    enter(home_fd);
}

static void move(int host, const char *from, const char *to)
{
    int fd;
    enter(host);
    fd = rtnl_socket();
    OK(rtnl_addr_del(fd, rtnl_ifindex("lan"), inet_addr(from), 24) == 0);
    OK(rtnl_addr_add(fd, rtnl_ifindex("lan"), inet_addr(to), 24, false) == 0);
    close(fd);
}

static void two_nodes(const char *backend)
{
    struct loop *l = loop_of();
    struct err *e = NULL;
    int h1 = host_new(), h2 = host_new();
    char dir2[512];
    struct net_config c1 = base_config, c2 = base_config;
    struct net_peer p1 = {.name = STR("n1"), .ip = STR("192.168.50.1"), .pod_cidr = STR("10.42.0.0/24")};
    struct net_peer p2 = {.name = STR("n2"), .ip = STR("192.168.50.2"), .pod_cidr = STR("10.42.1.0/24")};
    char ip_a[NET_ADDR_TEXT], ip_b[NET_ADDR_TEXT];

    wire(h1, h2);
    snprintf(dir2, sizeof dir2, "%s/two", test_tmpdir());
    mkdir(dir2, 0700);
    c1.backend = c2.backend = str_of(backend);
    c1.node_ip = p1.ip;
    c2.node_ip = p2.ip;
    c2.pod_cidr = p2.pod_cidr;
    int a = ns_new(), b = ns_new();
    enter(h1);
    struct net *n1 = open_in(l, test_tmpdir());
    FINE(net_configure(n1, &c1, &e), e);
    attach(n1, "uid-a", a, ip_a);
    enter(h2);
    struct net *n2 = open_in(l, dir2);
    FINE(net_configure(n2, &c2, &e), e);
    attach(n2, "uid-b", b, ip_b);
    EQ_Z(ip_b, "10.42.1.2");
    pid_t srv = serve(b, "0.0.0.0", 80, "b");
    FINE(net_peers(n2, &p1, 1, &e), e);
    enter(h1);
    FINE(net_peers(n1, &p2, 1, &e), e);
    EQ_Z(ask(a, ip_b, 80), "b 10.42.0.2"); /* no masquerade inside the cluster */
    EQ_Z(ask(h1, ip_b, 80), "b 10.42.0.1");
    /* a Service there, from the host and from a pod here */
    struct net_backend be = {.ip = str_of(ip_b), .port = 80};
    struct net_service_port port = {.protocol = STR("TCP"), .port = 80, .backends = &be, .nbackends = 1};
    struct str ip = STR("10.43.0.5");
    struct net_service s = service(&ip, &port);
    FINE(net_services(n1, true, &s, 1, &e), e);
    EQ_Z(ask(a, "10.43.0.5", 80), "b 10.42.0.2");
    EQ_Z(ask(h1, "10.43.0.5", 80), "b 10.42.0.1");
    /* a restart of the process on one side, before anybody has told it of peers */
    net_close(n1);
    n1 = open_in(l, test_tmpdir());
    FINE(net_configure(n1, &c1, &e), e);
    EQ_Z(ask(a, ip_b, 80), "b 10.42.0.2");
    FINE(net_peers(n1, &p2, 1, &e), e);
    EQ_Z(ask(a, ip_b, 80), "b 10.42.0.2");
    /* the node's own address changes: the way to the peers stays, and theirs to us follows */
    move(h1, "192.168.50.1", "192.168.50.7");
    c1.node_ip = p1.ip = STR("192.168.50.7");
    FINE(net_configure(n1, &c1, &e), e);
    enter(h2);
    FINE(net_peers(n2, &p1, 1, &e), e);
    enter(h1);
    EQ_Z(ask(a, ip_b, 80), "b 10.42.0.2");
    FINE(net_peers(n1, NULL, 0, &e), e);
    OK(strncmp(ask(a, ip_b, 80), "error", 5) == 0);
    stop(srv);
    net_close(n1);
    enter(h2);
    net_close(n2);
    loop_free(l);
    enter(home_fd);
}

TEST(pods_of_two_nodes_talk_over_the_overlay)
{
    two_nodes("vxlan");
}
TEST(pods_of_two_nodes_talk_over_plain_routes)
{
    two_nodes("host-gw");
}

TEST(a_full_range_is_refused_and_a_wanted_address_is_given)
{
    struct loop *l = loop_of();
    struct err *e = NULL;
    host_new();
    struct net *n = open_in(l, test_tmpdir());
    struct net_config c = base_config;
    char ip[NET_ADDR_TEXT];
    c.pod_cidr = STR("10.42.0.0/29");
    FINE(net_configure(n, &c, &e), e);
    struct net_pod p = {.uid = STR("w"), .wanted_ip = STR("10.42.0.5"), .netns = ns_new()};
    FINE(net_attach(n, &p, ip, &e), e);
    EQ_Z(ip, "10.42.0.5");
    for (int i = 0; i < 4; i++) {
        char uid[16];
        snprintf(uid, sizeof uid, "u%d", i);
        attach(n, uid, ns_new(), ip);
    }
    p = (struct net_pod){.uid = STR("x"), .netns = ns_new()};
    EQ(net_attach(n, &p, ip, &e), -ERR_LIMIT);
    err_free(TAKE(e));
    c.pod_cidr = STR("10.42.0.0/33");
    EQ(net_configure(n, &c, &e), -ERR_INVALID);
    err_free(TAKE(e));
    net_close(n);
    loop_free(l);
    enter(home_fd);
}

/* The mean time of one endpoint's change among count Services, in ns. */
static int64_t change_among(int count)
{
    struct loop *l = loop_of();
    struct err *e = NULL;
    host_new();
    struct net *n = configured(l);
    struct net_service *s = xcalloc((size_t)count, sizeof *s);
    struct net_service_port *ports = xcalloc((size_t)count, sizeof *ports);
    struct str *ips = xcalloc((size_t)count, sizeof *ips);
    struct net_backend be[3] = {
        {.ip = STR("10.42.0.9"), .port = 80}, {.ip = STR("10.42.0.8"), .port = 80}, {.ip = STR("10.42.0.7"), .port = 80}};
    for (int i = 0; i < count; i++) {
        ips[i] = str_of(xasprintf("10.43.%d.%d", 1 + i / 200, 1 + i % 200));
        ports[i] = (struct net_service_port){.protocol = STR("TCP"), .port = 80, .backends = be, .nbackends = 2};
        s[i] = service(&ips[i], &ports[i]);
        s[i].name = str_of(xasprintf("s%d", i));
    }
    FINE(net_services(n, true, s, (size_t)count, &e), e);
    struct clock *c = clock_new(NULL);
    int64_t t = clock_mono(c);
    for (int i = 0; i < 40; i++) {
        ports[i].nbackends = 3;
        FINE(net_services(n, false, &s[i], 1, &e), e);
    }
    t = (clock_mono(c) - t) / 40;
    for (int i = 0; i < count; i++) {
        free((char *)(uintptr_t)ips[i].p);
        free((char *)(uintptr_t)s[i].name.p);
    }
    free(ips);
    free(ports);
    free(s);
    clock_free(c);
    net_close(n);
    loop_free(l);
    enter(home_fd);
    return t;
}

TEST(one_change_among_ten_thousand_services_costs_little_more_than_among_a_hundred)
{
    int64_t few = change_among(100), many = change_among(10000);
    printf("# one endpoint's change: %lld us among 100 Services, %lld us among 10,000\n", (long long)few / 1000, (long long)many / 1000);
    OK(many < 10 * few + 20 * NS_PER_MS); /* it was hundredfold when each Service had a chain */
}

TEST(another_firewall_lets_pods_pass_while_we_are_here_and_is_as_it_was_afterwards)
{
    struct loop *l = loop_of();
    struct err *e = NULL;
    host_new();
    if (sh("nft add table ip filter 2>/dev/null") != 0)
        test_skip("needs nft");
    OK(sh("nft add chain ip filter DOCKER-USER; nft 'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'; "
          "nft add rule ip filter FORWARD counter; nft 'add table inet mine; add chain inet mine c { type filter hook forward priority 0; "
          "policy accept; }'; "
          "nft list ruleset > before") == 0);
    struct net *n = configured(l);
    int a = ns_new(), b = ns_new();
    char ip_a[NET_ADDR_TEXT], ip_b[NET_ADDR_TEXT];
    attach(n, "uid-a", a, ip_a);
    attach(n, "uid-b", b, ip_b);
    pid_t srv = serve(b, "0.0.0.0", 80, "b");
    EQ_Z(ask(a, ip_b, 80), "b 10.42.0.2");
    net_close(n);
    n = configured(l); /* not twice */
    EQ(sh("test $(nft list chain ip filter FORWARD | grep -c 'accept comment \"sampan\"') = 2"), 0);
    stop(srv);
    net_close(n);
    FINE(net_uninstall(test_tmpdir(), &e), e);
    EQ(sh("nft list ruleset | sed 's/packets [0-9]* bytes [0-9]*//' > after; sed -i 's/packets [0-9]* bytes [0-9]*//' before; cmp before "
          "after"),
        0);
    unlink("before");
    unlink("after");
    loop_free(l);
    enter(home_fd);
}

TEST(a_policy_holds_before_the_pods_link_exists_and_its_blocks_excepts_and_ports_are_exact)
{
    struct loop *l = loop_of();
    struct err *e = NULL;
    host_new();
    struct net *n = configured(l);
    int a = ns_new(), b = ns_new();
    char ip_a[NET_ADDR_TEXT], ip_b[NET_ADDR_TEXT];
    struct str id = STR("ns/p"), hole = STR("10.42.0.2/32");
    struct net_policed pod = {.uid = STR("uid-b"), .ingress = &id, .ningress = 1};
    struct net_policy p = {.id = id};

    EQ(net_policies(n, false, &p, 1, &pod, 1, &e), -ERR_CONFLICT);
    err_free(TAKE(e));
    FINE(net_policies(n, true, &p, 1, &pod, 1, &e), e);
    OK(net_policed(n, STR("uid-b")) && !net_policed(n, STR("uid-a")));
    attach(n, "uid-a", a, ip_a);
    attach(n, "uid-b", b, ip_b);
    pid_t s80 = serve(b, "0.0.0.0", 80, "b"), s90 = serve(b, "0.0.0.0", 90, "b");
    EQ_Z(ask(a, ip_b, 80), "error: Connection refused");

    struct net_policy_block block = {.cidr = STR("10.42.0.0/24")};
    struct net_policy_port port = {.protocol = STR("TCP"), .from = 85, .to = 95};
    struct net_policy_rule rule = {.blocks = &block, .nblocks = 1, .ports = &port, .nports = 1};
    p.rules = &rule;
    p.nrules = 1;
    FINE(net_policies(n, false, &p, 1, NULL, 0, &e), e);
    EQ_Z(ask(a, ip_b, 90), "b 10.42.0.2");
    EQ_Z(ask(a, ip_b, 80), "error: Connection refused");
    block.excepts = &hole;
    block.nexcepts = 1;
    FINE(net_policies(n, false, &p, 1, NULL, 0, &e), e);
    EQ_Z(ask(a, ip_b, 90), "error: Connection refused");

    struct str peer = str_of(ip_a); /* pods come and go in the set of a rule that stays */
    struct net_policy_rule pods = {.any_port = true, .addresses = &peer, .naddresses = 1};
    p.rules = &pods;
    FINE(net_policies(n, false, &p, 1, NULL, 0, &e), e);
    EQ_Z(ask(a, ip_b, 80), "b 10.42.0.2");
    struct str others[] = {STR("10.42.0.77"), STR("10.42.0.78")};
    pods.addresses = others;
    pods.naddresses = 2;
    FINE(net_policies(n, false, &p, 1, NULL, 0, &e), e);
    EQ_Z(ask(a, ip_b, 80), "error: Connection refused");

    net_close(n); /* another run: what stands holds, until the whole list comes */
    n = configured(l);
    attach(n, "uid-a", a, ip_a);
    EQ_Z(ask(a, ip_b, 80), "error: Connection refused");
    struct net_policy_port bad = {.protocol = STR("ICMP"), .from = 1};
    struct net_policy_rule wrong = {.any_peer = true, .ports = &bad, .nports = 1};
    p.rules = &wrong;
    EQ(net_policies(n, true, &p, 1, &pod, 1, &e), -ERR_INVALID); /* it allows nothing, and the pod is held */
    err_free(TAKE(e));
    EQ_Z(ask(a, ip_b, 80), "error: Connection refused");
    FINE(net_policies(n, true, NULL, 0, NULL, 0, &e), e);
    EQ_Z(ask(a, ip_b, 80), "b 10.42.0.2");
    stop(s80);
    stop(s90);
    net_close(n);
    loop_free(l);
    enter(home_fd);
}
