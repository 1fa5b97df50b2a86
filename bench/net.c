/* The pod network, in network namespaces of its own (needs root): what a pod's link costs beside a plain veth pair on a bridge, how long
 * the kernel takes to learn of one changed endpoint, and what the rules cost in memory of this process and of the kernel.
 *
 *     bench-net [seconds per figure]
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/loop.h"
#include "net/net.h"

static double seconds = 2;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what, const struct err *e)
{
    fprintf(stderr, "bench-net: %s: %s\n", what, e ? err_msg(e) : strerror(errno));
    exit(1);
}

static int ns_here(void)
{
    return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
}

static void enter(int ns)
{
    if (setns(ns, CLONE_NEWNET) < 0)
        die("setns", NULL);
}

static int ns_new(int back)
{
    if (unshare(CLONE_NEWNET) < 0)
        die("needs root", NULL);
    int fd = ns_here();
    enter(back);
    return fd;
}

static void run(const char *cmd)
{
    if (system(cmd) != 0)
        die(cmd, NULL);
}

/* ---- traffic ---- */

/* Answers one byte for one byte, or swallows, until killed. */
static pid_t sink(int ns, bool echo)
{
    int ready[2];
    char c;
    if (pipe(ready) < 0)
        die("pipe", NULL);
    pid_t pid = fork();
    if (pid == 0) {
        static char in[1 << 18];
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(7777)};
        int on = 1;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        enter(ns);
        int s = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (bind(s, (struct sockaddr *)&a, sizeof a) < 0 || listen(s, 4) < 0)
            _exit(1);
        (void)!write(ready[1], "x", 1);
        int k = accept(s, NULL, NULL);
        setsockopt(k, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        for (ssize_t n; (n = read(k, in, echo ? 1 : sizeof in)) > 0;)
            if (echo && write(k, in, (size_t)n) < 0)
                break;
        _exit(0);
    }
    close(ready[1]);
    if (read(ready[0], &c, 1) != 1)
        die("sink", NULL);
    close(ready[0]);
    return pid;
}

static int dial(int ns, const char *ip)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(7777), .sin_addr.s_addr = inet_addr(ip)};
    int back = ns_here(), on = 1;
    enter(ns);
    int s = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(s, (struct sockaddr *)&a, sizeof a) < 0)
        die(ip, NULL);
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    enter(back);
    close(back);
    return s;
}

static double throughput(int from, int to, const char *ip)
{
    static char out[1 << 18];
    pid_t pid = sink(to, false);
    int s = dial(from, ip);
    double begun = now(), sent = 0;
    while (now() - begun < seconds) {
        ssize_t n = write(s, out, sizeof out);
        if (n <= 0)
            die("write", NULL);
        sent += (double)n;
    }
    double took = now() - begun;
    close(s);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return sent * 8 / took / 1e9;
}

static double round_trip(int from, int to, const char *ip)
{
    pid_t pid = sink(to, true);
    int s = dial(from, ip), n = 0;
    char c = 'x';
    double begun = now();
    while (now() - begun < seconds) {
        if (write(s, &c, 1) != 1 || read(s, &c, 1) != 1)
            die("ping", NULL);
        n++;
    }
    double took = now() - begun;
    close(s);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return took / n * 1e6;
}

static void figures(const char *what, int from, int to, const char *ip)
{
    double best = 0, fast = 1e9;
    for (int i = 0; i < 3; i++) {
        double g = throughput(from, to, ip), r = round_trip(from, to, ip);
        best = g > best ? g : best;
        fast = r < fast ? r : fast;
    }
    printf("%-44s %7.2f Gbit/s   %6.1f us there and back   (best of 3)\n", what, best, fast);
    fflush(stdout);
}

/* ---- figures ---- */

static const struct net_config config = {.pod_cidr = {"10.42.0.0/24", 12},
    .cluster_cidr = {"10.42.0.0/16", 12},
    .service_cidr = {"10.43.0.0/16", 12},
    .dns_ip = {"10.43.0.10", 10},
    .backend = {"none", 4}};

static struct net *open_net(struct loop *l, const char *dir)
{
    struct net_options o = {.state_dir = dir};
    struct err *e = NULL;
    struct net *n = NULL;
    if (net_open(l, &o, &n, &e) < 0 || net_configure(n, &config, &e) < 0)
        die("open", e);
    return n;
}

static void plain(int home)
{
    int host = ns_new(home);
    enter(host);
    int a = ns_new(host), b = ns_new(host);
    char cmd[1024];
    snprintf(cmd, sizeof cmd,
        "ip link set lo up; ip link add br0 type bridge; ip link set br0 up; for i in a b; do ip link add v$i type veth peer name p$i; ip "
        "link set v$i master br0 up; done;"
        "ip link set pa netns /proc/%d/fd/%d; ip link set pb netns /proc/%d/fd/%d",
        getpid(), a, getpid(), b);
    run(cmd);
    enter(a);
    run("ip addr add 10.0.0.1/24 dev pa; ip link set pa up");
    enter(b);
    run("ip addr add 10.0.0.2/24 dev pb; ip link set pb up");
    enter(host);
    figures("plain veth and bridge", a, b, "10.0.0.2");
    enter(home);
}

static void pods(int home, const char *dir, struct loop *l)
{
    int host = ns_new(home);
    enter(host);
    struct net *n = open_net(l, dir);
    int ns[2] = {ns_new(host), ns_new(host)};
    char ip[2][NET_ADDR_TEXT];
    struct err *e = NULL;
    for (int i = 0; i < 2; i++) {
        char uid[8];
        struct net_pod p = {.uid = {uid, (size_t)snprintf(uid, sizeof uid, "pod-%d", i)}, .netns = ns[i]};
        if (net_attach(n, &p, ip[i], &e) < 0)
            die("attach", e);
    }
    figures("pod to pod", ns[0], ns[1], ip[1]);
    struct str svc = STR("10.43.0.5");
    struct net_backend be = {.ip = str_of(ip[1]), .port = 7777};
    struct net_service_port port = {.protocol = STR("TCP"), .port = 7777, .backends = &be, .nbackends = 1};
    struct net_service s = {.ns = STR("d"), .name = STR("s"), .cluster_ips = &svc, .ncluster_ips = 1, .ports = &port, .nports = 1};
    if (net_services(n, true, &s, 1, &e) < 0)
        die("services", e);
    figures("pod to pod by its Service", ns[0], ns[1], "10.43.0.5");
    net_close(n);
    enter(home);
}

static long memory_kb(const char *path, const char *key)
{
    char line[256];
    long v = 0;
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0)
            v = strtol(line + strlen(key), NULL, 10);
    if (f)
        fclose(f);
    return v;
}

static void change(int home, const char *dir, struct loop *l, int count)
{
    int host = ns_new(home);
    enter(host);
    long pss = memory_kb("/proc/self/smaps_rollup", "Pss:"), slab = memory_kb("/proc/meminfo", "Slab:");
    struct net *n = open_net(l, dir);
    struct err *e = NULL;
    struct net_service *s = calloc((size_t)count, sizeof *s);
    struct net_service_port *ports = calloc((size_t)count, sizeof *ports);
    struct str *ips = calloc((size_t)count, sizeof *ips);
    struct net_backend be[3] = {
        {.ip = STR("10.42.0.9"), .port = 80}, {.ip = STR("10.42.0.8"), .port = 80}, {.ip = STR("10.42.0.7"), .port = 80}};
    for (int i = 0; i < count; i++) {
        ips[i] = str_of(xasprintf("10.43.%d.%d", 1 + i / 200, 1 + i % 200));
        ports[i] = (struct net_service_port){.protocol = STR("TCP"), .port = 80, .backends = be, .nbackends = 2};
        s[i] = (struct net_service){.ns = STR("d"),
            .name = str_of(xasprintf("s%d", i)),
            .cluster_ips = &ips[i],
            .ncluster_ips = 1,
            .ports = &ports[i],
            .nports = 1};
    }
    double t = now();
    if (net_services(n, true, s, (size_t)count, &e) < 0)
        die("services", e);
    double all = now() - t, worst = 0, sum = 0;
    int rounds = count < 50 ? count : 50;
    for (int i = 0; i < rounds; i++) {
        ports[i].nbackends = 3;
        t = now();
        if (net_services(n, false, &s[i], 1, &e) < 0)
            die("change", e);
        t = now() - t;
        sum += t;
        worst = t > worst ? t : worst;
    }
    printf("%6d Services: all at once %8.1f ms, one endpoint's change %6.2f ms (worst %6.2f), this process +%ld KiB PSS, kernel slabs +%ld "
           "KiB\n",
        count, all * 1e3, sum / rounds * 1e3, worst * 1e3, memory_kb("/proc/self/smaps_rollup", "Pss:") - pss,
        memory_kb("/proc/meminfo", "Slab:") - slab);
    fflush(stdout);
    net_close(n);
    enter(home);
    close(host);
}

int main(int argc, char **argv)
{
    char dir[] = "/tmp/bench-net-XXXXXX";
    struct err *e = NULL;
    int home = ns_here();
    seconds = argc > 1 ? atof(argv[1]) : 2;
    if (!mkdtemp(dir))
        die(dir, NULL);
    struct loop *l = loop_new(&e);
    plain(home);
    pods(home, dir, l);
    for (int count = 10; count <= 10000; count *= 10)
        change(home, dir, l, count);
    loop_free(l);
    char path[64];
    snprintf(path, sizeof path, "%s/addresses", dir);
    unlink(path);
    rmdir(dir);
    return 0;
}
