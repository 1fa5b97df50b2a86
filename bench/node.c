/* What the node process needs for pods of one container: create-to-Running for some in sequence and many at once, memory (PSS) of the
 * process, and per pod of pause and conmon, CPU and bytes written when idle. Plays gate over the socket, with real conmon and crun, in a
 * network namespace of its own. Usage: bench-node ARCHIVE [at-once [data folder]]; ARCHIVE is an image with /bin/sleep
 * (tests/image/mkimage.sh makes one). Needs root. */
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/map.h"
#include "node/node.h"
#include "node/proto.h"
#include "runtime/cgroup.h"

#define SEQUENCE 10

struct bench {
    struct loop *loop;
    struct wire *wire;
    struct map running, gone;   /* uid → time it was seen */
    struct str image;
    struct pool *pool;
    pid_t node;
    char *dir, *root;
};

static void die(const char *what)
{
    fprintf(stderr, "bench-node: %s\n", what);
    exit(1);
}

static void on_msg(void *arg, struct wire_msg *m)
{
    struct bench *b = arg;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct node_pod_state s;
    struct node_uid u;
    struct node_images i;
    struct node_reply r;
    int64_t *now = xmalloc(sizeof *now);
    *now = clock_mono(NULL);
    if (m->type == NODE_POD_STATE && wire_decode(&node_pod_state_type, m->body, p, &s, NULL) == 0 && s.ncontainers &&
        s.containers[0].state == CS_RUNNING)
        now = map_get(&b->running, s.uid) ? now : (map_put(&b->running, s.uid, now), NULL);
    else if (m->type == NODE_POD_GONE && wire_decode(&node_uid_type, m->body, p, &u, NULL) == 0)
        now = map_put(&b->gone, u.uid, now);
    else if (m->type == NODE_IMAGES && wire_decode(&node_images_type, m->body, p, &i, NULL) == 0 && i.nimages)
        b->image = pool_str(b->pool, i.images[0].id);
    else if (m->type == NODE_REPLY && wire_decode(&node_reply_type, m->body, p, &r, NULL) == 0 && r.code)
        fprintf(stderr, "bench-node: %.*s\n", STR_ARG(r.message));
    free(now);
}

static void on_close(void *arg, const struct err *e) { die("node is gone"); }

static void start(struct bench *b)
{
    static const struct wire_ops ops = {on_msg, on_close};
    int sv[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
        die("socketpair");
    b->node = fork();
    if (b->node == 0) {
        char *data = xasprintf("%s/data", b->dir), *run = xasprintf("%s/run", b->dir);
        close(sv[0]);
        if (unshare(CLONE_NEWNET) < 0)
            _exit(1);
        log_init("node", LOG_WARN);
        struct node_options o = {data, run, sv[1], -1, "nobody"};
        _exit(node_main(&o));
    }
    close(sv[1]);
    b->loop = loop_new(NULL);
    b->wire = wire_new(b->loop, sv[0], &ops, b, NULL);
    struct node_config c = {.node_name = STR("bench"),
        .pod_cidr = STR("10.79.0.0/20"),
        .cluster_cidr = STR("10.79.0.0/16"),
        .service_cidr = STR("10.80.0.0/16"),
        .dns_ip = STR("10.80.0.10"),
        .cluster_domain = STR("cluster.local"),
        .backend = STR("none"),
        .cgroup_root = str_of(b->root),
        .max_pods = 1000};
    wire_send(b->wire, NODE_CONFIG, 1, &node_config_type, &c, NULL, 0);
    wire_send(b->wire, NODE_SYNCED, 2, &node_empty_type, &(struct node_empty){0}, NULL, 0);
    for (int i = 0; i < 1200 && !b->image.n; i++)
        loop_step(b->loop, 50);
    if (!b->image.n)
        die("the image does not arrive");
}

static void pod(struct bench *b, const char *uid)
{
    struct str argv[] = {STR("/bin/sleep"), STR("100000")};
    struct node_container c = {.name = STR("main"),
        .image = b->image,
        .image_ref = STR("bench"),
        .command = argv,
        .ncommand = 2,
        .security = {.uid = -1, .gid = -1},
        .termination_path = STR("/dev/termination-log"),
        .spec_hash = 1};
    struct node_pod p = {.uid = str_of(uid),
        .ns = STR("bench"),
        .name = str_of(uid),
        .restart_policy = STR("Always"),
        .qos = STR("BestEffort"),
        .host_users = true,
        .fs_group = -1,
        .containers = &c,
        .ncontainers = 1,
        .resolv_conf = STR("nameserver 10.80.0.10\n")};
    wire_send(b->wire, NODE_POD, 3, &node_pod_type, &p, NULL, 0);
}

static void stop(struct bench *b, const char *uid)
{
    struct node_pod_stop s = {str_of(uid), 0, STR_NULL};
    wire_send(b->wire, NODE_POD_STOP, 4, &node_pod_stop_type, &s, NULL, 0);
}

static void wait_for(struct bench *b, const struct map *m, size_t n)
{
    for (int i = 0; i < 12000 && map_count(m) < n; i++)
        loop_step(b->loop, 10);
    if (map_count(m) < n)
        die("pods do not get there");
}

/* KiB of PSS of a process; of all below a cgroup when pid is 0. */
static int64_t pss(pid_t pid)
{
    char path[64], line[256];
    int64_t kib = 0;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "Pss:", 4) == 0)
            kib = strtoll(line + 4, NULL, 10);
    if (f)
        fclose(f);
    return kib;
}

/* PSS of every process whose first argument ends in name. */
static int64_t pss_of(const char *name, int *count)
{
    int64_t sum = 0;
    *count = 0;
    DIR *d = opendir("/proc");
    for (struct dirent *x; d && (x = readdir(d));) {
        char path[300], comm[256] = "";
        snprintf(path, sizeof path, "/proc/%s/cmdline", x->d_name);
        FILE *f = fopen(path, "r");
        if (f && fgets(comm, sizeof comm, f) && str_ends(str_of(comm), str_of(name))) {
            sum += pss((pid_t)strtol(x->d_name, NULL, 10));
            ++*count;
        }
        if (f)
            fclose(f);
    }
    if (d)
        closedir(d);
    return sum;
}

static int64_t ticks(pid_t pid)
{
    char path[64], text[1024] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    struct str rest = str_make(text, n), field;
    int64_t sum = 0, v;
    for (int i = 1; str_split(&rest, ' ', &field); i++)
        if ((i == 14 || i == 15) && str_to_i64(field, &v))
            sum += v;
    return sum;
}

static int64_t written(pid_t pid)
{
    char path[64], line[256];
    int64_t bytes = 0;
    snprintf(path, sizeof path, "/proc/%d/io", (int)pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "write_bytes:", 12) == 0)
            bytes = strtoll(line + 12, NULL, 10);
    if (f)
        fclose(f);
    return bytes;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void run_sequence(struct bench *b)
{
    int64_t took[SEQUENCE];
    char uid[32];
    for (int i = 0; i < SEQUENCE; i++) {
        snprintf(uid, sizeof uid, "seq-%d", i);
        int64_t before = clock_mono(NULL);
        pod(b, uid);
        wait_for(b, &b->running, (size_t)i + 1);
        took[i] = *(int64_t *)map_get(&b->running, str_of(uid)) - before;
    }
    qsort(took, SEQUENCE, sizeof *took, by_value);
    printf("create to Running, %d in sequence: p50 %.1f ms, most %.1f ms\n", SEQUENCE, (double)took[SEQUENCE / 2] / 1e6,
        (double)took[SEQUENCE - 1] / 1e6);
    int64_t before = clock_mono(NULL);
    for (int i = 0; i < SEQUENCE; i++) {
        snprintf(uid, sizeof uid, "seq-%d", i);
        stop(b, uid);
    }
    wait_for(b, &b->gone, SEQUENCE);
    printf("%d stopped and cleaned: %.0f ms\n", SEQUENCE, (double)(clock_mono(NULL) - before) / 1e6);
}

static void run_at_once(struct bench *b, int n)
{
    char uid[32];
    int64_t before = clock_mono(NULL);
    for (int i = 0; i < n; i++) {
        snprintf(uid, sizeof uid, "all-%d", i);
        pod(b, uid);
    }
    wait_for(b, &b->running, SEQUENCE + (size_t)n);
    printf("create to Running, %d at once: %.2f s\n", n, (double)(clock_mono(NULL) - before) / 1e9);
    int pauses, conmons;
    int64_t pause = pss_of("sampan-pause", &pauses), conmon = pss_of("conmon", &conmons);
    printf("PSS: node %" PRId64 " KiB with %d pods; pause %.1f KiB, conmon %.1f KiB each\n", pss(b->node), n,
        pauses ? (double)pause / pauses : 0, conmons ? (double)conmon / conmons : 0);
    int64_t cpu = ticks(b->node), disk = written(b->node), from = clock_mono(NULL);
    while (clock_mono(NULL) - from < 10 * NS_PER_S)
        loop_step(b->loop, 100);
    printf("idle for 10 s: %.2f %% of a core, %" PRId64 " bytes written\n", (double)(ticks(b->node) - cpu) / 10.0, written(b->node) - disk);
    before = clock_mono(NULL);
    for (int i = 0; i < n; i++) {
        snprintf(uid, sizeof uid, "all-%d", i);
        stop(b, uid);
    }
    wait_for(b, &b->gone, SEQUENCE + (size_t)n);
    printf("%d stopped and cleaned: %.2f s\n", n, (double)(clock_mono(NULL) - before) / 1e9);
}

int main(int argc, char **argv)
{
    char tmp[] = "/tmp/sampan-bench-XXXXXX";
    struct bench b = {.pool = pool_new()};
    if (argc < 2 || geteuid() != 0)
        die("usage: bench-node ARCHIVE [at-once [folder]], as root");
    setvbuf(stdout, NULL, _IOLBF, 0);
    b.dir = argc > 3 ? argv[3] : mkdtemp(tmp);
    b.root = xasprintf("sp-bench-%d", (int)getpid());
    char *images = xasprintf("%s/data/images", b.dir), *copy = xasprintf("%s/bench.tar", images);
    const char *const cp[] = {"cp", argv[1], copy, NULL};
    if (dir_make(images, 0755, NULL) < 0 || spawn_wait(cp, NULL, 0, 60000, NULL) != 0)
        die("cannot copy the image");
    start(&b);
    printf("PSS: node %" PRId64 " KiB empty\n", pss(b.node));
    run_sequence(&b);
    run_at_once(&b, argc > 2 ? (int)strtol(argv[2], NULL, 10) : 50);
    kill(b.node, SIGTERM);
    waitpid(b.node, NULL, 0);
    struct cgroups *c = NULL;
    if (cgroups_open(b.root, &c, NULL) == 0)
        (void)!cgroup_remove(c, b.root, NULL);
    (void)!dir_remove(b.dir, NULL);
    return 0;
}
