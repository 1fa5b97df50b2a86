/* The whole gate, in a process of its own, with a mirror on disk, no link to any cluster, and this test in the place of node: what the
 * mirror holds must run. */
#include <arpa/inet.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/file.h"
#include "dns/wire.h"
#include "gate/gate.h"
#include "harness.h"
#include "json/json.h"
#include "node/proto.h"
#include "uplink/mirror.h"
#include "uplink/outbox.h"

struct lab {
    char dir[512];
    int fd; /* node's end */
    pid_t pid;
    struct loop *loop;
    struct wire *wire;
    struct pool *pool;
    struct clock *clock;
    int seen[256]; /* messages by type */
    struct node_pod pod;
    struct node_config config;
    struct node_services services;
    struct node_peers peers;
    struct node_pod_stop stop;
    int dns_fd; /* the client's view of the names' port */
    uint16_t dns_port;
    bool closed;
};

/* ---- the mirror ---- */

#define UID "11111111-2222-3333-4444-555555555555"
static const struct {
    const char *key, *uid, *json;
} objects[] = {
    {"/nodes//n1", "node-1",
        "{\"metadata\":{\"name\":\"n1\",\"uid\":\"node-1\"},\"spec\":{\"podCIDR\":\"10.42.0.0/"
        "24\"},\"status\":{\"addresses\":[{\"type\":\"InternalIP\",\"address\":\"192.0.2.1\"}]}}"},
    {"/nodes//n2", "node-2",
        "{\"metadata\":{\"name\":\"n2\",\"uid\":\"node-2\"},\"spec\":{\"podCIDR\":\"10.42.1.0/"
        "24\"},\"status\":{\"addresses\":[{\"type\":\"InternalIP\",\"address\":\"192.0.2.2\"}]}}"},
    {"/configmaps/default/settings", "cm",
        "{\"metadata\":{\"name\":\"settings\",\"namespace\":\"default\"},\"data\":{\"COLOUR\":\"blue\"}}"},
    {"/pods/default/web", UID,
        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"web\",\"namespace\":\"default\",\"uid\":\"" UID
        "\",\"generation\":1,\"labels\":{\"app\":\"web\"}},"
        "\"spec\":{\"nodeName\":\"n1\",\"restartPolicy\":\"Always\",\"automountServiceAccountToken\":false,"
        "\"terminationGracePeriodSeconds\":7,\"dnsPolicy\":\"ClusterFirst\",\"containers\":[{\"name\":\"c\","
        "\"image\":\"sampan.io/"
        "busybox:1\",\"imagePullPolicy\":\"IfNotPresent\",\"env\":[{\"name\":\"COLOUR\",\"valueFrom\":{\"configMapKeyRef\":{\"name\":"
        "\"settings\",\"key\":\"COLOUR\"}}},"
        "{\"name\":\"ME\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"metadata.name\"}}}],\"volumeMounts\":[{\"name\":\"v\",\"mountPath\":"
        "\"/etc/settings\"}]}],"
        "\"volumes\":[{\"name\":\"v\",\"configMap\":{\"name\":\"settings\"}}]},\"status\":{\"phase\":\"Running\",\"podIP\":\"10.42.0.9\"}"
        "}"},
    {"/services/default/web", "svc",
        "{\"metadata\":{\"name\":\"web\",\"namespace\":\"default\"},\"spec\":{\"type\":\"ClusterIP\",\"clusterIP\":\"10.43.0.5\","
        "\"clusterIPs\":[\"10.43.0.5\"],"
        "\"ports\":[{\"name\":\"http\",\"port\":80,\"protocol\":\"TCP\",\"targetPort\":8080}]}}"},
    {"discovery.k8s.io/endpointslices/default/web-abc", "slice",
        "{\"metadata\":{\"name\":\"web-abc\",\"namespace\":\"default\",\"labels\":{\"kubernetes.io/"
        "service-name\":\"web\"}},\"addressType\":\"IPv4\","
        "\"ports\":[{\"name\":\"http\",\"port\":8080,\"protocol\":\"TCP\"}],\"endpoints\":["
        "{\"addresses\":[\"10.42.0.9\"],\"nodeName\":\"n1\",\"conditions\":{\"ready\":true},\"targetRef\":{\"kind\":\"Pod\",\"name\":"
        "\"web\",\"namespace\":\"default\",\"uid\":\"" UID "\"}},"
        "{\"addresses\":[\"10.42.1.4\"],\"nodeName\":\"n2\",\"conditions\":{\"ready\":true},\"targetRef\":{\"kind\":\"Pod\",\"name\":"
        "\"web2\",\"namespace\":\"default\",\"uid\":\"other\"}}]}"},
};

static void put(struct lab *x, const char *key, const char *uid, const char *json, int64_t rev)
{
    struct err *e = NULL;
    _cleanup_(freep) char *mp = xasprintf("%s/mirror.db", x->dir), *sp = xasprintf("%s/seal.key", x->dir);
    struct seal *seal = NULL;
    struct mirror *m = NULL;
    FINE(seal_load_or_make(sp, &seal, &e), e);
    FINE(mirror_open(mp, seal, &m, &e), e);
    if (key) {
        mirror_stage_put(m, str_of(key), str_of(uid), rev, str_of(json));
    } else {
        for (size_t i = 0; i < ARRAY_LEN(objects); i++)
            mirror_stage_put(m, str_of(objects[i].key), str_of(objects[i].uid), rev, str_of(objects[i].json));
    }
    FINE(mirror_commit(m, STR("store"), 1, rev, &e), e);
    mirror_close(m);
    seal_free(seal);
}

/* ---- node's side ---- */

static struct node_image image = {.id = STR("sha256:aaaa"), .size = 1000};
static struct str image_names[] = {STR("sampan.io/busybox:1")};

static void give_socket(struct lab *x, struct wire_msg *m, bool udp)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    struct node_reply ok = {0};
    OK(bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && (udp || listen(fd, 5) == 0));
    getsockname(fd, (struct sockaddr *)&a, &n);
    if (udp)
        x->dns_port = ntohs(a.sin_port);
    wire_send(x->wire, NODE_REPLY, m->id, &node_reply_type, &ok, &fd, 1);
    close(fd);
}

#define DECODE(type_, out_)                                                                                                                \
    do {                                                                                                                                   \
        struct err *e_ = NULL;                                                                                                             \
        FINE(wire_decode(&(type_), pool_str(x->pool, m->body), x->pool, (out_), &e_), e_);                                                 \
    } while (0)

static void on_msg(void *arg, struct wire_msg *m)
{
    struct lab *x = arg;
    struct node_reply ok = {0};
    struct node_listen listen_;

    x->seen[m->type & 255]++;
    switch (m->type) {
    case NODE_CONFIG:
        DECODE(node_config_type, &x->config);
        break;
    case NODE_POD:
        DECODE(node_pod_type, &x->pod);
        break;
    case NODE_POD_STOP:
        DECODE(node_pod_stop_type, &x->stop);
        break;
    case NODE_SERVICES:
        DECODE(node_services_type, &x->services);
        break;
    case NODE_PEERS:
        DECODE(node_peers_type, &x->peers);
        break;
    case NODE_LISTEN:
        DECODE(node_listen_type, &listen_);
        EQ_STR(listen_.address, STR("10.43.0.10"));
        EQ(listen_.port, 53);
        give_socket(x, m, listen_.udp);
        return;
    default:
        break;
    }
    if (m->id)
        wire_send(x->wire, NODE_REPLY, m->id, &node_reply_type, &ok, NULL, 0);
}

static void on_close(void *arg, const struct err *e)
{
    ((struct lab *)arg)->closed = true;
}

static void turn_until(struct lab *x, bool (*done)(struct lab *x), const char *what)
{
    for (int i = 0; i < 500 && !done(x); i++)
        loop_step(x->loop, 10);
    if (!done(x))
        test_fail(__FILE__, __LINE__, "waited in vain for %s", what);
}

static void start(struct lab *x)
{
    static const struct wire_ops ops = {on_msg, on_close};
    struct err *e = NULL;
    int pair[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    x->pid = fork();
    if (x->pid == 0) {
        char api[600];
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        snprintf(api, sizeof api, "%s/nobody-listens", x->dir);
        struct gate_options o = {.state_dir = x->dir,
            .node_fd = pair[0],
            .broker_fd = -1,
            .api_socket = api,
            .node_name = "n1",
            .backend = "vxlan",
            .cgroup_root = "sampan",
            .cluster_domain = "cluster.local",
            .cluster_dns = "10.43.0.10",
            .service_cidr = "10.43.0.0/16",
            .cluster_cidr = "10.42.0.0/16"};
        close(pair[1]);
        _exit(gate_main(&o, NULL, NULL));
    }
    close(pair[0]);
    x->loop = loop_new(&e);
    x->wire = wire_new(x->loop, pair[1], &ops, x, &e);
    OK(x->wire != NULL);
    x->closed = false;
    memset(x->seen, 0, sizeof x->seen);
}

static void hello(struct lab *x)
{
    static struct str addresses[] = {STR("192.0.2.1")};
    struct node_hello h = {.boot_id = STR("b"),
        .machine_id = STR("m"),
        .kernel = STR("6.1"),
        .os_image = STR("Debian"),
        .arch = STR("amd64"),
        .runtime_version = STR("crun://1.8.1"),
        .hostname = STR("n1"),
        .cpus = 2,
        .memory = 1 << 30,
        .storage = INT64_C(1) << 33,
        .pids = 1000,
        .addresses = addresses,
        .naddresses = 1};
    struct node_images im = {&image, 1};
    image.names = image_names;
    image.nnames = 1;
    wire_send(x->wire, NODE_HELLO, 0, &node_hello_type, &h, NULL, 0);
    wire_send(x->wire, NODE_IMAGES, 0, &node_images_type, &im, NULL, 0);
}

/* Ends the gate as the supervisor does, and says how it ended. */
static void end(struct lab *x)
{
    int status = -1;
    kill(x->pid, SIGTERM);
    OK(waitpid(x->pid, &status, 0) == x->pid);
    EQ(status, 0);
    wire_free(x->wire);
    loop_free(x->loop);
}

static void lab_new(struct lab *x)
{
    memset(x, 0, sizeof *x);
    snprintf(x->dir, sizeof x->dir, "%s", test_tmpdir());
    x->pool = pool_new();
    put(x, NULL, NULL, NULL, 5);
    start(x);
    hello(x);
}

static bool all_told(struct lab *x)
{
    return x->seen[NODE_POD] && x->seen[NODE_SYNCED] && x->seen[NODE_SERVICES] && x->seen[NODE_PEERS] && x->dns_port;
}
static bool services_again(struct lab *x)
{
    return x->seen[NODE_SERVICES] > 1;
}
static bool stop_told(struct lab *x)
{
    return x->seen[NODE_POD_STOP] > 0;
}

static void state(struct lab *x, bool running)
{
    struct node_container_state c = {.name = STR("c"),
        .id = STR("abc"),
        .image = STR("sampan.io/busybox:1"),
        .image_id = STR("sha256:aaaa"),
        .state = running ? CS_RUNNING : CS_TERMINATED,
        .started = 1700000000 * NS_PER_S,
        .finished = running ? 0 : 1700000009 * NS_PER_S,
        .started_ok = true,
        .exit_code = 0,
        .reason = running ? STR("") : STR("Completed")};
    struct node_pod_state s = {.uid = STR(UID),
        .ns = STR("default"),
        .name = STR("web"),
        .ip = STR("10.42.0.33"),
        .sandbox_ready = running,
        .started = 1700000000 * NS_PER_S,
        .containers = &c,
        .ncontainers = 1};
    wire_send(x->wire, NODE_POD_STATE, 0, &node_pod_state_type, &s, NULL, 0);
}

TEST(without_any_link_node_is_told_everything_from_the_mirror)
{
    struct lab x;
    lab_new(&x);
    turn_until(&x, all_told, "pods, services, peers and sockets for names");
    EQ_STR(x.config.pod_cidr, STR("10.42.0.0/24"));
    EQ_STR(x.config.node_name, STR("n1"));
    EQ_STR(x.pod.uid, STR(UID));
    EQ_STR(x.pod.ip, STR("10.42.0.9"));
    EQ(x.pod.grace_s, 7);
    EQ(x.pod.ncontainers, 1);
    EQ_STR(x.pod.containers[0].image, STR("sha256:aaaa"));
    bool colour = false, me = false;
    for (size_t i = 0; i < x.pod.containers[0].nenv; i++) {
        const struct node_env *v = &x.pod.containers[0].env[i];
        colour |= str_eqz(v->name, "COLOUR") && str_eqz(v->value, "blue");
        me |= str_eqz(v->name, "ME") && str_eqz(v->value, "web");
    }
    OK(colour && me);
    EQ(x.pod.nvolumes, 1);
    EQ_STR(x.pod.volumes[0].files[0].path, STR("COLOUR"));
    EQ_STR(x.pod.volumes[0].files[0].data, STR("blue"));
    OK(str_find(x.pod.resolv_conf, STR("nameserver 10.43.0.10")) >= 0);
    OK(str_find(x.pod.resolv_conf, STR("default.svc.cluster.local")) >= 0);
    EQ(x.peers.npeers, 1);
    EQ_STR(x.peers.peers[0].ip, STR("192.0.2.2"));
    EQ_STR(x.peers.peers[0].pod_cidr, STR("10.42.1.0/24"));
    end(&x);
    pool_free(x.pool);
}

TEST(our_own_pods_count_as_they_are_and_not_as_the_slices_remember_them)
{
    struct lab x;
    lab_new(&x);
    turn_until(&x, all_told, "everything");
    /* not running yet: only the other node's endpoint */
    EQ(x.services.nservices, 1);
    EQ(x.services.services[0].nports, 1);
    EQ(x.services.services[0].ports[0].nbackends, 1);
    EQ_STR(x.services.services[0].ports[0].backends[0].ip, STR("10.42.1.4"));
    EQ(x.services.services[0].ports[0].backends[0].port, 8080);
    state(&x, true);
    turn_until(&x, services_again, "the Service with the pod that runs now");
    EQ(x.services.services[0].ports[0].nbackends, 2);
    bool own = false;
    for (size_t i = 0; i < 2; i++)
        own |= str_eqz(x.services.services[0].ports[0].backends[i].ip, "10.42.0.33") && x.services.services[0].ports[0].backends[i].local;
    OK(own);
    OK(!x.services.whole);
    end(&x);
    pool_free(x.pool);
}

TEST(names_are_answered_from_the_mirror)
{
    struct lab x;
    uint8_t q[600], a[600];
    size_t n;
    lab_new(&x);
    turn_until(&x, all_told, "sockets for names");
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(x.dns_port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    memset(q, 0, sizeof q);
    q[1] = 9;
    q[2] = 1;
    q[5] = 1;
    OK(dns_name_of(STR("web.default.svc.cluster.local"), q + 12, &n));
    q[12 + n + 1] = T_A;
    q[12 + n + 3] = 1;
    ssize_t got = -1;
    for (int i = 0; i < 100 && got < 0; i++) {
        OK(sendto(fd, q, 16 + n, 0, (struct sockaddr *)&to, sizeof to) > 0);
        loop_step(x.loop, 50);
        got = recv(fd, a, sizeof a, MSG_DONTWAIT);
    }
    OK(got > 4);
    EQ(a[3] & 15, 0);
    EQ(memcmp(a + got - 4, (uint8_t[]){10, 43, 0, 5}, 4), 0);
    close(fd);
    end(&x);
    pool_free(x.pool);
}

static struct str outbox_find(struct lab *x, struct pool *p, const char *prefix)
{
    struct err *e = NULL;
    _cleanup_(freep) char *op = xasprintf("%s/outbox.db", x->dir), *sp = xasprintf("%s/seal.key", x->dir);
    struct loop *l = loop_new(&e);
    struct clock *c = clock_new(NULL);
    struct seal *seal = NULL;
    struct outbox *o = NULL;
    const struct outbox_entry *it;
    struct str found = STR_NULL;
    FINE(seal_load_or_make(sp, &seal, &e), e);
    FINE(outbox_open(op, l, c, seal, &o, &e), e);
    while ((it = outbox_next(o)))
        if (str_starts(it->key, str_of(prefix)))
            found = pool_printf(p, "%.*s %.*s %.*s", STR_ARG(it->method), STR_ARG(it->path), STR_ARG(it->body));
    outbox_close(o);
    seal_free(seal);
    clock_free(c);
    loop_free(l);
    return found;
}

TEST(a_pods_status_waits_in_the_outbox_until_there_is_a_link)
{
    struct lab x;
    lab_new(&x);
    turn_until(&x, all_told, "everything");
    state(&x, true);
    turn_until(&x, services_again, "the state to be taken");
    end(&x);
    struct str s = outbox_find(&x, x.pool, "status/");
    OK(str_starts(s, STR("PATCH /api/v1/namespaces/default/pods/web/status ")));
    static const char *const parts[] = {"\"uid\":\"" UID "\"", "\"phase\":\"Running\"", "\"podIP\":\"10.42.0.33\"",
        "\"hostIP\":\"192.0.2.1\"", "\"qosClass\":\"BestEffort\"", "\"imageID\":", "\"containerID\":", "\"restartCount\":0",
        "\"ready\":true", "\"startedAt\":\"2023-11-14T22:13:20Z\""};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (str_find(s, str_of(parts[i])) < 0)
            test_fail(__FILE__, __LINE__, "no %s in %.*s", parts[i], STR_ARG(s));
    static const char *const conditions[] = {"PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"};
    for (size_t i = 0; i < ARRAY_LEN(conditions); i++)
        OK(str_find(s, str_of(conditions[i])) >= 0);
    pool_free(x.pool);
}

TEST(a_deleted_pod_is_stopped_with_its_grace_and_then_deleted_by_its_uid)
{
    struct lab x;
    static char json[4096];
    lab_new(&x);
    turn_until(&x, all_told, "everything");
    end(&x);
    snprintf(json, sizeof json, "%.*s\"deletionTimestamp\":\"2026-01-01T00:00:00Z\",\"deletionGracePeriodSeconds\":3,%s",
        (int)(strstr(objects[3].json, "\"generation\"") - objects[3].json), objects[3].json, strstr(objects[3].json, "\"generation\""));
    put(&x, objects[3].key, UID, json, 6);
    x.dns_port = 0;
    start(&x);
    hello(&x);
    turn_until(&x, stop_told, "the order to stop");
    EQ_STR(x.stop.uid, STR(UID));
    EQ(x.stop.grace_s, 3);
    EQ(x.seen[NODE_POD], 0);
    state(&x, false);
    struct node_uid gone = {STR(UID)};
    wire_send(x.wire, NODE_POD_GONE, 0, &node_uid_type, &gone, NULL, 0);
    for (int i = 0; i < 20; i++)
        loop_step(x.loop, 10);
    end(&x);
    struct str s = outbox_find(&x, x.pool, "delete/");
    OK(str_starts(s, STR("DELETE /api/v1/namespaces/default/pods/web ")));
    OK(str_find(s, STR("\"uid\":\"" UID "\"")) >= 0 && str_find(s, STR("\"gracePeriodSeconds\":0")) >= 0);
    pool_free(x.pool);
}

TEST(a_gate_that_was_killed_goes_on_where_it_was)
{
    struct lab x;
    lab_new(&x);
    turn_until(&x, all_told, "everything");
    kill(x.pid, SIGKILL);
    waitpid(x.pid, NULL, 0);
    wire_free(x.wire);
    loop_free(x.loop);
    x.dns_port = 0;
    start(&x);
    hello(&x);
    turn_until(&x, all_told, "everything again");
    OK(x.services.whole);
    end(&x);
    pool_free(x.pool);
}
