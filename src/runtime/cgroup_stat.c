#include <unistd.h>
#include "runtime/cgroup_impl.h"

/* The number behind `key ` in a flat-keyed file; -1 when absent. */
static int64_t keyed(const char *text, const char *key)
{
    struct str rest = str_of(text), line, head, tail;
    while (str_split(&rest, '\n', &line)) {
        int64_t v;
        if (str_cut(line, ' ', &head, &tail) && str_eqz(head, key) && str_to_i64(str_trim(tail), &v))
            return v;
    }
    return -1;
}

static int64_t number(struct cgroups *c, const char *path, const char *controller, const char *file)
{
    char text[64];
    int64_t v;
    return cgroup_read(c, controller, path, file, text, sizeof text) > 0 && str_to_i64(str_trim(str_of(text)), &v) ? v : -1;
}

static int64_t number_in(struct cgroups *c, const char *path, const char *controller, const char *file, const char *key)
{
    char text[8192];
    return cgroup_read(c, controller, path, file, text, sizeof text) > 0 ? keyed(text, key) : -1;
}

int64_t cgroup_oom_kills(struct cgroups *c, const char *path)
{
    int64_t n = number_in(c, path, "memory", c->v2 ? "memory.events" : "memory.oom_control", "oom_kill");
    return MAX(n, 0);
}

bool cgroup_usage(struct cgroups *c, const char *path, struct cgroup_usage *out)
{
    struct cgroup_usage u = {0};
    int64_t inactive;
    if (c->v2) {
        u.cpu_ns = number_in(c, path, "cpu", "cpu.stat", "usage_usec") * 1000;
        u.memory = number(c, path, "memory", "memory.current");
        inactive = number_in(c, path, "memory", "memory.stat", "inactive_file");
        u.rss = number_in(c, path, "memory", "memory.stat", "anon");
    } else {
        u.cpu_ns = number(c, path, "cpuacct", "cpuacct.usage");
        u.memory = number(c, path, "memory", "memory.usage_in_bytes");
        inactive = number_in(c, path, "memory", "memory.stat", "total_inactive_file");
        u.rss = number_in(c, path, "memory", "memory.stat", "total_rss");
    }
    if (u.cpu_ns < 0 && u.memory < 0)
        return false;
    u.pids = MAX(number(c, path, "pids", "pids.current"), 0);
    u.cpu_ns = MAX(u.cpu_ns, 0);
    u.memory = MAX(u.memory, 0);
    u.rss = MAX(u.rss, 0);
    u.working_set = MAX(u.memory - MAX(inactive, 0), 0);
    *out = u;
    return true;
}
