/* When the machine runs low: images that nobody uses go first, then pods, the least protected first
 * (k8s.io/kubernetes/pkg/kubelet/eviction); and pods that use more local storage than they may. What a pod uses on disk is counted by a
 * helper process: once a minute for all (statistics), every ten seconds for those that have a limit. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "node/evict.h"
#include "node/impl.h"

#define TICK (10 * NS_PER_S)
#define FULL_EVERY 6
#define PRESSURE_PAUSE (30 * NS_PER_S) /* after an eviction, for its memory to come back */
#define PRESSURE_HOLD (300 * NS_PER_S) /* the kubelet's eviction-pressure-transition-period */
#define DEPTH_MAX 128

/* The kubelet's defaults. */
static const struct evict_threshold thresholds[EVICT_COUNT] = {[EVICT_MEMORY] = {"memory", 100 << 20, 0},
    [EVICT_DISK] = {"ephemeral-storage", 0, 10},
    [EVICT_INODES] = {"inodes", 0, 5},
    [EVICT_PIDS] = {"pids", 0, 10}};

/* With what the operator set over it. */
static struct evict_threshold threshold_of(const struct node *n, enum evict_signal what)
{
    const struct node_settings *s = &n->config.settings;
    const int64_t bytes[] = {s->evict_memory_bytes, s->evict_disk_bytes, s->evict_inodes, s->evict_pids};
    const int64_t percent[] = {s->evict_memory_percent, s->evict_disk_percent, s->evict_inodes_percent, s->evict_pids_percent};
    struct evict_threshold t = thresholds[what];
    if (bytes[what] || percent[what]) {
        t.bytes = MAX(bytes[what], 0);
        t.percent = (int)MAX(percent[what], 0);
    }
    return t;
}

bool evict_low(const struct evict_threshold *t, int64_t available, int64_t capacity)
{
    if (capacity <= 0 || available < 0)
        return false;
    return available < t->bytes || (t->percent && available < capacity / 100 * t->percent);
}

/* Higher goes first: what uses more than it asked for, then by how much. */
int evict_compare(const struct evict_candidate *a, const struct evict_candidate *b)
{
    bool over_a = a->used > a->requested, over_b = b->used > b->requested;
    if (over_a != over_b)
        return over_a ? 1 : -1;
    if (a->guaranteed != b->guaranteed)
        return a->guaranteed ? -1 : 1;
    int64_t excess_a = a->used - a->requested, excess_b = b->used - b->requested;
    return excess_a < excess_b ? -1 : excess_a > excess_b;
}

/* ---- what is used on disk ---- */

static int64_t usage_at(int at, const char *name, dev_t dev, int depth)
{
    struct stat st;
    int64_t sum = 0;
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || (dev && st.st_dev != dev)) { /* other mounts are not the pod's disk */
        closep(&fd);
        return 0;
    }
    DIR *d = fdopendir(fd);
    for (struct dirent *x; d && depth < DEPTH_MAX && (x = readdir(d));) {
        struct stat in;
        if (str_eqz(STR("."), x->d_name) || str_eqz(STR(".."), x->d_name) || fstatat(dirfd(d), x->d_name, &in, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        sum += S_ISDIR(in.st_mode) ? usage_at(dirfd(d), x->d_name, st.st_dev, depth + 1)
                                   : (int64_t)in.st_blocks * 512 / (int64_t)MAX(in.st_nlink, 1u);
    }
    if (d)
        closedir(d);
    return sum;
}

static bool limited(const struct pod *p)
{
    for (size_t i = 0; i < p->spec.nvolumes; i++)
        if (p->spec.volumes[i].kind == VOL_EMPTY_DIR && !p->spec.volumes[i].in_memory && p->spec.volumes[i].size_limit > 0)
            return true;
    for (size_t i = 0; i < p->spec.ncontainers; i++)
        if (p->spec.containers[i].storage_limit > 0)
            return true;
    return false;
}

struct scan { struct node *n; bool all; };

/* One line per thing: "uid c name bytes" or "uid v name bytes". */
static int scan(void *arg, struct buf *out, struct err **e)
{
    const struct scan *s = arg;
    map_for(&s->n->pods, it) {
        const struct pod *p = it->value;
        if (p->state != PS_READY || !(s->all || limited(p)))
            continue;
        for (size_t i = 0; i < p->nc; i++) {
            const struct container *c = p->c[i];
            _cleanup_(freep) char *upper = xasprintf("%s/upper", c->bundle ? c->bundle : "/nonexistent"), *logs = con_log_dir(c);
            buf_printf(out, "%s c %s %" PRId64 "\n", p->uid, c->name, usage_at(AT_FDCWD, upper, 0, 0) + usage_at(AT_FDCWD, logs, 0, 0));
        }
        for (size_t i = 0; i < p->spec.nvolumes; i++) {
            const struct node_volume *v = &p->spec.volumes[i];
            _cleanup_(freep) char *path = xasprintf("%s/volumes/%.*s", p->dir, STR_ARG(v->name));
            if (v->kind == VOL_EMPTY_DIR && !v->in_memory)
                buf_printf(out, "%s v %.*s %" PRId64 "\n", p->uid, STR_ARG(v->name), usage_at(AT_FDCWD, path, 0, 0));
        }
    }
    return 0;
}

static void evict(struct pod *p, const char *message)
{
    log_warn("pod=%.*s/%.*s evicted: %s", STR_ARG(p->spec.ns), STR_ARG(p->spec.name), message);
    p->evicted = true;
    p->grace_ns = 0;
    pod_event(p, STR_NULL, true, "Evicted", "%s", message);
    pod_fail(p, "Evicted", message);
}

static void over_limit(struct pod *p, char kind, struct str name, int64_t bytes)
{
    _cleanup_(freep) char *text = NULL;
    for (size_t i = 0; kind == 'v' && i < p->spec.nvolumes; i++) {
        const struct node_volume *v = &p->spec.volumes[i];
        if (str_eq(v->name, name) && v->size_limit > 0 && bytes > v->size_limit)
            text = xasprintf("Usage of EmptyDir volume \"%.*s\" exceeds the limit \"%" PRId64 "\". ", STR_ARG(name), v->size_limit);
    }
    struct container *c = kind == 'c' ? pod_container(p, name) : NULL;
    if (c)
        c->fs_used = bytes;
    if (c && c->spec && c->spec->storage_limit > 0 && bytes > c->spec->storage_limit)
        text = xasprintf("Container %s exceeded its local ephemeral storage limit \"%" PRId64 "\". ", c->name, c->spec->storage_limit);
    if (text && !p->stop && !p->failed_final)
        evict(p, text);
}

static void on_scan(void *owner, const struct err *e, struct str out)
{
    struct node *n = owner;
    struct str line, uid, kind, name, number;
    int64_t bytes;
    n->scanning = NULL;
    while (!e && str_split(&out, '\n', &line)) {
        if (!str_cut(line, ' ', &uid, &line) || !str_cut(line, ' ', &kind, &line) || !str_cut(line, ' ', &name, &number) ||
            !str_to_i64(number, &bytes))
            continue;
        struct pod *p = node_pod_by_uid(n, uid);
        if (p)
            over_limit(p, kind.p[0], name, bytes);
    }
}

static void start_scan(struct node *n, bool all)
{
    bool any = false;
    map_for(&n->pods, it) {
        const struct pod *p = it->value;
        any |= p->state == PS_READY && (all || limited(p));
    }
    struct scan s = {n, all};
    if (any && !n->scanning)
        n->scanning = helper_start(n->loop, scan, &s, NULL, 0, 60000, on_scan, n, NULL);
}

/* ---- pressure ---- */

static int64_t meminfo_available(void)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    int64_t v;
    if (file_read("/proc/meminfo", 65536, &b, NULL) < 0)
        return -1;
    ssize_t at = str_find(buf_str(&b), STR("MemAvailable:"));
    struct str rest = at < 0 ? STR_NULL : str_trim(str_sub(buf_str(&b), (size_t)at + 13, b.n)), number;
    return str_split(&rest, ' ', &number) && str_to_i64(number, &v) ? v * 1024 : -1;
}

static int64_t processes(void)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    struct str text, head, tail, number;
    int64_t v;
    if (file_read("/proc/loadavg", 256, &b, NULL) < 0)
        return -1;
    text = buf_str(&b); /* "0.1 0.2 0.3 1/234 5678" */
    if (!str_cut(text, '/', &head, &tail))
        return -1;
    return str_split(&tail, ' ', &number) && str_to_i64(number, &v) ? v : -1;
}

static struct evict_candidate measure(struct pod *p, enum evict_signal what)
{
    struct evict_candidate c = {.guaranteed = str_eq(p->spec.qos, STR("Guaranteed"))};
    struct cgroup_usage u;
    bool have = p->cgroup && cgroup_usage(p->node->cgroups, p->cgroup, &u);
    for (size_t i = 0; i < p->nc; i++)
        c.used += what == EVICT_DISK || what == EVICT_INODES ? p->c[i]->fs_used : 0;
    for (size_t i = 0; i < p->spec.ncontainers; i++)
        c.requested += what == EVICT_MEMORY ? p->spec.containers[i].memory_request : 0;
    if (have && what == EVICT_MEMORY)
        c.used = u.working_set;
    if (have && what == EVICT_PIDS)
        c.used = u.pids;
    return c;
}

static void evict_one(struct node *n, enum evict_signal what, int64_t available)
{
    struct pod *worst = NULL;
    struct evict_candidate of_worst = {0};
    map_for(&n->pods, it) {
        struct pod *p = it->value;
        if (p->state != PS_READY || p->stop || p->failed_final || p->spec.mirror_static)
            continue;
        struct evict_candidate c = measure(p, what);
        if (!worst || evict_compare(&c, &of_worst) > 0) {
            worst = p;
            of_worst = c;
        }
    }
    if (!worst)
        return;
    n->last_eviction = clock_mono(NULL);
    _cleanup_(freep) char *text =
        xasprintf("The node was low on resource: %s. Available: %" PRId64 ", the pod was using %" PRId64 ", request is %" PRId64 ". ",
            thresholds[what].name, available, of_worst.used, of_worst.requested);
    evict(worst, text);
}

void pressure_send(struct node *n)
{
    if (n->gate)
        wire_send(n->gate, NODE_PRESSURE, 0, &node_pressure_type, &n->pressure, NULL, 0);
}

/* Conditions rise at once and fall when nothing was low for a while, so that pods do not come and go. */
static void note_pressure(struct node *n, bool memory, bool disk, bool pids)
{
    const bool low[3] = {memory, disk, pids};
    bool on[3];
    int64_t now = clock_mono(NULL);
    for (int i = 0; i < 3; i++) {
        if (low[i])
            n->low_at[i] = now;
        on[i] = n->low_at[i] && now - n->low_at[i] < PRESSURE_HOLD;
    }
    if (on[0] == n->pressure.memory && on[1] == n->pressure.disk && on[2] == n->pressure.pids)
        return;
    n->pressure = (struct node_pressure){on[0], on[1], on[2]};
    pressure_send(n);
}

static void check_pressure(struct node *n)
{
    struct statvfs v;
    int64_t available[EVICT_COUNT] = {-1, -1, -1, -1}, capacity[EVICT_COUNT] = {0}, pid_max = 32768;
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    available[EVICT_MEMORY] = meminfo_available();
    capacity[EVICT_MEMORY] = node_memory();
    if (statvfs(n->dir, &v) == 0) {
        available[EVICT_DISK] = (int64_t)(v.f_bavail * v.f_frsize);
        capacity[EVICT_DISK] = (int64_t)(v.f_blocks * v.f_frsize);
        available[EVICT_INODES] = (int64_t)v.f_favail;
        capacity[EVICT_INODES] = (int64_t)v.f_files;
        n->disk_used_percent = capacity[EVICT_DISK] ? (int)(100 - available[EVICT_DISK] * 100 / capacity[EVICT_DISK]) : 0;
    }
    if (file_read("/proc/sys/kernel/pid_max", 32, &b, NULL) == 0 && str_to_i64(str_trim(buf_str(&b)), &pid_max))
        available[EVICT_PIDS] = pid_max - processes();
    capacity[EVICT_PIDS] = pid_max;
    int64_t high = n->config.settings.image_gc_high ? n->config.settings.image_gc_high : IMAGE_GC_HIGH;
    n->collecting = n->disk_used_percent >= high || (n->collecting && n->disk_used_percent >= (n->config.settings.image_gc_low ? n->config.settings.image_gc_low : IMAGE_GC_LOW));
    bool low[EVICT_COUNT];
    for (int i = 0; i < EVICT_COUNT; i++) {
        struct evict_threshold limit = threshold_of(n, (enum evict_signal)i);
        low[i] = evict_low(&limit, available[i], capacity[i]);
    }
    if (n->collecting || low[EVICT_DISK])
        images_collect(n);
    note_pressure(n, low[EVICT_MEMORY], low[EVICT_DISK] || low[EVICT_INODES], low[EVICT_PIDS]);
    if (clock_mono(NULL) - n->last_eviction < PRESSURE_PAUSE && n->last_eviction)
        return;
    for (int i = 0; i < EVICT_COUNT; i++)
        if (low[i] && !((i == EVICT_DISK || i == EVICT_INODES) && n->job)) {
            evict_one(n, (enum evict_signal)i, available[i]);
            return;
        }
}

static void on_tick(struct timer *t)
{
    struct node *n = container_of(t, struct node, stats_timer);
    if (n->configured) {
        check_pressure(n);
        start_scan(n, n->ticks++ % FULL_EVERY == 0);
    }
    timer_set(n->loop, t, clock_mono(NULL) + TICK, on_tick);
}

void evict_start(struct node *n)
{
    timer_set(n->loop, &n->stats_timer, clock_mono(NULL) + TICK, on_tick);
}
