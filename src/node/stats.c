#include <sys/statvfs.h>
#include "base/clock.h"
#include "base/file.h"
#include "node/impl.h"

static int64_t meminfo(struct str text, const char *key)
{
    struct str line, head, tail;
    int64_t v;
    while (str_split(&text, '\n', &line))
        if (str_cut(line, ':', &head, &tail) && str_eqz(head, key)) {
            struct str number = str_trim(tail);
            ssize_t space = str_chr(number, ' ');
            return str_to_i64(space < 0 ? number : str_sub(number, 0, (size_t)space), &v) ? v * 1024 : 0;
        }
    return 0;
}

static void pod_out(struct pod *p, struct pool *pool, struct node_pod_stats *o)
{
    struct node *n = p->node;
    struct cgroup_usage u;
    *o = (struct node_pod_stats){.uid = str_of(p->uid), .containers = pool_array(pool, struct node_container_stats, p->nc + 1)};
    for (size_t i = 0; i < p->nc; i++) {
        struct container *c = p->c[i];
        _cleanup_(freep) char *group = c->state == CON_RUNNING ? con_cgroup(c) : NULL;
        if (group && cgroup_usage(n->cgroups, group, &u))
            o->containers[o->ncontainers++] =
                (struct node_container_stats){str_of(c->name), u.cpu_ns, u.memory, u.working_set, u.rss, c->fs_used, u.pids};
    }
    if (p->cgroup && cgroup_usage(n->cgroups, p->cgroup, &u)) {
        o->cpu_ns = u.cpu_ns;
        o->memory_working_set = u.working_set;
    }
    uint64_t rx = 0, tx = 0;
    if (n->net && net_counters(n->net, o->uid, &rx, &tx)) {
        o->rx_bytes = (int64_t)rx;
        o->tx_bytes = (int64_t)tx;
    }
}

/* The first line of /proc/stat: ticks of user, nice, system, idle, iowait, irq... */
static int64_t busy_ns(void)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    int64_t busy = 0, v;
    if (file_read("/proc/stat", 1 << 20, &b, NULL) < 0)
        return 0;
    struct str rest = buf_str(&b), line, field;
    str_split(&rest, '\n', &line);
    for (int i = 0; str_split(&line, ' ', &field);) {
        if (!str_to_i64(field, &v))
            continue;
        if (i != 3 && i != 4 && i < 8)
            busy += v;
        i++;
    }
    return busy * (NS_PER_S / 100);
}

void stats_send(struct node *n, uint64_t id)
{
    if (!n->gate)
        return;
    _cleanup_(pool_freep) struct pool *pool = pool_new();
    _cleanup_(buf_clear) struct buf mem = BUF_INIT;
    struct node_stats s = {.at = node_now(n), .pods = pool_array(pool, struct node_pod_stats, map_count(&n->pods) + 1)};
    if (n->cgroups)
        map_for(&n->pods, it) {
            struct pod *p = it->value;
            if (p->state == PS_READY)
                pod_out(p, pool, &s.pods[s.npods++]);
        }
    if (file_read("/proc/meminfo", 65536, &mem, NULL) == 0) {
        s.memory_available = meminfo(buf_str(&mem), "MemAvailable");
        s.memory_working_set = meminfo(buf_str(&mem), "MemTotal") - s.memory_available;
    }
    s.cpu_ns = busy_ns();
    struct statvfs v;
    if (statvfs(n->dir, &v) == 0) {
        s.fs_available = (int64_t)(v.f_bavail * v.f_frsize);
        s.fs_capacity = (int64_t)(v.f_blocks * v.f_frsize);
        s.fs_inodes_free = (int64_t)v.f_favail;
        s.image_fs_available = s.fs_available;
    }
    wire_send(n->gate, NODE_STATS_DATA, id, &node_stats_type, &s, NULL, 0);
}
