/* Names: questions per second and the slowest answers over UDP on loopback, one process serving on one core, and the same client against
 * unbound (Debian's package) when it is there. Cluster names from the table, foreign ones from the cache.
 *
 *     bench-dns [seconds]
 */
#include <arpa/inet.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "dns/dns.h"
#include "dns/wire.h"

#define WINDOW 64
#define SERVICES 1000
#define SAMPLES (4u << 20)

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int bound(struct sockaddr_in *a)
{
    socklen_t n = sizeof *a;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    *a = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(fd, (struct sockaddr *)a, sizeof *a) < 0)
        exit(1);
    getsockname(fd, (struct sockaddr *)a, &n);
    return fd;
}

static pid_t serve_ours(struct sockaddr_in *at)
{
    int fd = bound(at);
    pid_t pid = fork();
    struct err *e = NULL;
    if (pid)
        return close(fd), pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct loop *l = loop_new(&e);
    struct clock *c = clock_new(NULL);
    struct dns *d = dns_new(&(struct dns_options){.loop = l, .clock = c, .domain = STR("cluster.local")}, &e);
    for (int i = 0; i < SERVICES; i++) {
        char name[32], ip[32];
        struct str addr = {ip, (size_t)snprintf(ip, sizeof ip, "10.43.%d.%d", i / 250 + 1, i % 250 + 1)};
        dns_service_put(d, &(struct dns_service){.ns = STR("default"),
                               .name = {name, (size_t)snprintf(name, sizeof name, "s%d", i)},
                               .cluster_ips = &addr,
                               .ncluster_ips = 1});
    }
    if (dns_serve_udp(d, fd, &e) < 0)
        _exit(1);
    loop_run(l);
    _exit(0);
}

static pid_t serve_unbound(struct sockaddr_in *at)
{
    char dir[] = "/tmp/bench-dns-XXXXXX", path[64];
    int fd = bound(at);
    close(fd);
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/conf", dir);
    FILE *f = fopen(path, "w");
    fprintf(f,
        "server:\n interface: 127.0.0.1@%u\n do-daemonize: no\n username: \"\"\n chroot: \"\"\n directory: \"%s\"\n pidfile: \"\"\n "
        "num-threads: 1\n use-syslog: no\n logfile: \"\"\n verbosity: 0\n"
        " local-zone: \"cluster.local.\" static\n",
        ntohs(at->sin_port), dir);
    for (int i = 0; i < SERVICES; i++)
        fprintf(f, " local-data: \"s%d.default.svc.cluster.local. 5 IN A 10.43.%d.%d\"\n", i, i / 250 + 1, i % 250 + 1);
    fclose(f);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp("unbound", "unbound", "-d", "-c", path, (char *)NULL);
        _exit(127);
    }
    sleep(2);
    unlink(path);
    rmdir(dir);
    return waitpid(pid, NULL, WNOHANG) == pid ? -1 : pid;
}

static size_t question(uint8_t *p, uint16_t id)
{
    char name[64];
    size_t n;
    memset(p, 0, 12);
    put16(p, id);
    put16(p + 2, F_RD);
    put16(p + 4, 1);
    snprintf(name, sizeof name, "s%d.default.svc.cluster.local", (int)(random() % SERVICES));
    if (!dns_name_of(str_of(name), p + 12, &n))
        exit(1);
    put16(p + 12 + n, 1);
    put16(p + 14 + n, 1);
    return n + 16;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void load(const char *who, const struct sockaddr_in *at, pid_t server, double seconds)
{
    struct sockaddr_in me;
    int fd = bound(&me);
    int64_t sent[WINDOW], end;
    uint32_t *us = malloc(SAMPLES * sizeof *us);
    size_t got = 0, lost = 0;
    uint8_t p[600];
    if (connect(fd, (const struct sockaddr *)at, sizeof *at) < 0)
        exit(1);
    for (int i = 0; i < WINDOW; i++) {
        sent[i] = now_ns();
        (void)!send(fd, p, question(p, (uint16_t)i), 0);
    }
    int64_t begun = now_ns();
    end = begun + (int64_t)(seconds * 1e9);
    while (now_ns() < end) {
        ssize_t n = recv(fd, p, sizeof p, MSG_DONTWAIT);
        int64_t t = now_ns();
        if (n < 12) {
            sched_yield();
            for (int i = 0; i < WINDOW; i++)
                if (t - sent[i] > INT64_C(1000000000)) {
                    lost++;
                    sent[i] = t;
                    (void)!send(fd, p, question(p, (uint16_t)i), 0);
                }
            continue;
        }
        uint16_t id = get16(p);
        if (id >= WINDOW || (p[3] & 15) || !get16(p + 6))
            exit((fprintf(stderr, "%s: a wrong answer\n", who), 1));
        if (got < SAMPLES)
            us[got] = (uint32_t)((t - sent[id]) / 1000);
        got++;
        sent[id] = now_ns();
        (void)!send(fd, p, question(p, id), 0);
    }
    double took = (double)(now_ns() - begun) / 1e9;
    size_t k = got < SAMPLES ? got : SAMPLES;
    qsort(us, k, sizeof *us, by_value);
    printf("%-10s %9.0f q/s   p50 %5u us   p99 %6u us   lost %zu\n", who, (double)got / took, k ? us[k / 2] : 0,
        k ? us[k - k / 100 - 1] : 0, lost);
    fflush(stdout);
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    free(us);
    close(fd);
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 5;
    struct sockaddr_in at;
    pid_t pid = serve_ours(&at);
    load("sampan", &at, pid, seconds);
    pid = serve_unbound(&at);
    if (pid > 0)
        load("unbound", &at, pid, seconds);
    else
        printf("unbound    not installed\n");
    return 0;
}
