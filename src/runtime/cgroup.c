#include "runtime/cgroup.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/file.h"
#include "base/map.h"
#include "runtime/cgroup_impl.h"

#define DEPTH 12
static const char *const qos_dirs[] = {"guaranteed", "burstable", "besteffort"};

static bool lists(struct str list, const char *name)
{
    struct str piece;
    while (str_split(&list, ',', &piece))
        if (str_eqz(piece, name))
            return true;
    return false;
}

const struct hierarchy *cgroup_hierarchy(const struct cgroups *c, const char *controller)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->v2 || lists(str_of(c->h[i].controllers), controller))
            return &c->h[i];
    return NULL;
}

int cgroup_write(const struct cgroups *c, const char *controller, const char *path, const char *file, const char *value)
{
    const struct hierarchy *h = cgroup_hierarchy(c, controller);
    if (!h)
        return ENODEV;
    _cleanup_(freep) char *name = xasprintf("%s/%s", path, file);
    _cleanup_(closep) int fd = openat(h->fd, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno;
    return write(fd, value, strlen(value)) < 0 ? errno : 0;
}

int cgroup_read(const struct cgroups *c, const char *controller, const char *path, const char *file, char *out, size_t n)
{
    const struct hierarchy *h = cgroup_hierarchy(c, controller);
    if (!h)
        return -1;
    _cleanup_(freep) char *name = xasprintf("%s/%s", path, file);
    _cleanup_(closep) int fd = openat(h->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -1;
    ssize_t r = read(fd, out, n - 1);
    if (r < 0)
        return -1;
    out[r] = 0;
    return (int)r;
}

/* One line of mountinfo: "id parent maj:min root MOUNTPOINT options... - TYPE source SUPEROPTIONS". */
static void mount_line(struct cgroups *c, struct str line)
{
    struct str field, mount = STR_NULL, type = STR_NULL, super = STR_NULL, rest = line;
    int i = 0, sep = -1;
    for (; str_split(&rest, ' ', &field); i++) {
        if (i == 4)
            mount = field;
        else if (i > 5 && sep < 0 && str_eq(field, STR("-")))
            sep = i;
        else if (sep >= 0 && i == sep + 1)
            type = field;
        else if (sep >= 0 && i == sep + 3)
            super = field;
    }
    if (!str_starts(mount, STR("/sys/fs/cgroup")))
        return;
    if (str_eq(type, STR("cgroup2"))) {
        if (str_eq(mount, STR("/sys/fs/cgroup")))
            c->v2 = true;
        else
            c->hybrid = true;
    }
    if (c->n == ARRAY_LEN(c->h) || !(str_eq(type, STR("cgroup")) || (str_eq(type, STR("cgroup2")) && c->v2)))
        return;
    _cleanup_(freep) char *path = str_dup(mount);
    for (size_t k = 0; k < c->n; k++)
        if (strcmp(c->h[k].mount, path) == 0)
            return;
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        c->h[c->n++] = (struct hierarchy){TAKE(path), c->v2 ? xstrdup("") : str_dup(super), fd};
}

static bool root_ok(const char *root)
{
    struct str rest = str_of(root), piece;
    if (str_empty(rest) || rest.n > 200)
        return false;
    while (str_split(&rest, '/', &piece)) {
        if (str_empty(piece) || piece.p[0] == '.' || str_eq(piece, STR("process_api")))
            return false;
        for (size_t i = 0; i < piece.n; i++)
            if (!memchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", piece.p[i], 65))
                return false;
    }
    return true;
}

int cgroups_open(const char *root, struct cgroups **out, struct err **e)
{
    if (!root_ok(root))
        return err_set(e, ERR_INVALID, "cgroup root \"%s\": must be names of letters, digits, '.', '_' and '-', joined by '/'", root);
    _cleanup_(buf_clear) struct buf text = BUF_INIT;
    int r = file_read("/proc/self/mountinfo", 8u << 20, &text, e);
    if (r < 0)
        return r;
    _cleanup_(cgroups_freep) struct cgroups *c = xcalloc(1, sizeof *c);
    c->root = xstrdup(root);
    struct str rest = buf_str(&text), line;
    while (str_split(&rest, '\n', &line))
        mount_line(c, line);
    c->hybrid = c->hybrid && !c->v2;
    if (!c->n)
        return err_set(e, ERR_UNAVAILABLE, "no cgroup hierarchy is mounted at /sys/fs/cgroup");
    for (size_t i = 0; i < ARRAY_LEN(qos_dirs); i++) {
        _cleanup_(freep) char *path = xasprintf("%s/%s", root, qos_dirs[i]);
        r = cgroup_make(c, path, e);
        if (r < 0)
            return r;
    }
    _cleanup_(freep) char *best_effort = xasprintf("%s/besteffort", root);
    cgroup_write(c, "cpu", best_effort, c->v2 ? "cpu.weight" : "cpu.shares", c->v2 ? "1" : "2");
    *out = TAKE(c);
    return 0;
}

void cgroups_free(struct cgroups *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n; i++) {
        free(c->h[i].mount);
        free(c->h[i].controllers);
        close(c->h[i].fd);
    }
    free(c->root);
    free(c);
}

bool cgroups_v2(const struct cgroups *c) { return c->v2; }
bool cgroups_hybrid(const struct cgroups *c) { return c->hybrid; }
const char *cgroups_root(const struct cgroups *c) { return c->root; }

void cgroup_pod_path(const struct cgroups *c, struct str qos, struct str uid, struct buf *out)
{
    const char *dir = str_eq(qos, STR("Guaranteed")) ? "guaranteed" : str_eq(qos, STR("Burstable")) ? "burstable" : "besteffort";
    buf_printf(out, "%s/%s/pod%.*s", c->root, dir, STR_ARG(uid));
}

/* v1's cpuset refuses processes until cpus and mems are set; a child takes its parent's. */
static void inherit_cpuset(int dir, const char *path)
{
    static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
    for (size_t i = 0; i < 2; i++) {
        _cleanup_(freep) char *own = xasprintf("%s/%s", path, files[i]);
        _cleanup_(freep) char *above = xasprintf("%s/../%s", path, files[i]);
        char value[4096];
        _cleanup_(closep) int to = openat(dir, own, O_RDWR | O_CLOEXEC);
        if (to < 0)
            return;
        ssize_t n = read(to, value, sizeof value);
        if (n > 1)
            continue;
        _cleanup_(closep) int from = openat(dir, above, O_RDONLY | O_CLOEXEC);
        n = from < 0 ? -1 : read(from, value, sizeof value);
        if (n > 0 && pwrite(to, value, (size_t)n, 0) < 0)
            return;
    }
}

static void enable_controllers(int dir, const char *path)
{
    static const char *const want[] = {"+cpu", "+memory", "+pids", "+cpuset", "+io", "+hugetlb"};
    _cleanup_(freep) char *file = xasprintf("%s/cgroup.subtree_control", path);
    _cleanup_(closep) int fd = openat(dir, file, O_WRONLY | O_CLOEXEC);
    for (size_t i = 0; fd >= 0 && i < ARRAY_LEN(want); i++)
        if (write(fd, want[i], strlen(want[i])) < 0 && errno == EBADF)
            return;
}

/* One hierarchy's part of cgroup_make. On v2 every folder above the last hands its controllers down; the last does not, or it could hold no processes. */
static int make_in(const struct cgroups *c, const struct hierarchy *h, const char *path, struct err **e)
{
    bool cpuset = lists(str_of(h->controllers), "cpuset");
    if (c->v2)
        enable_controllers(h->fd, ".");
    for (size_t n = 1, len = strlen(path); n <= len; n++) {
        if (path[n] != '/' && n != len)
            continue;
        _cleanup_(freep) char *part = xmemdup0(path, n);
        bool there = mkdirat(h->fd, part, 0755) < 0;
        if (there && errno != EEXIST)
            return err_errno(e, errno, "cgroup %s/%s", h->mount, part);
        if (!there && cpuset)
            inherit_cpuset(h->fd, part);
        if (c->v2 && n < len)
            enable_controllers(h->fd, part);
    }
    return 0;
}

int cgroup_make(struct cgroups *c, const char *path, struct err **e)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < c->n; i++)
        r = make_in(c, &c->h[i], path, e);
    return r;
}

int64_t cgroup_cpu_shares(int64_t milli)
{
    int64_t shares = milli * 1024 / 1000;
    return milli <= 0 ? 2 : MIN(MAX(shares, 2), 262144);
}

int64_t cgroup_cpu_weight(int64_t shares)
{
    return 1 + (shares - 2) * 9999 / 262142;
}

static int limit_one(
    struct cgroups *c, const char *path, const char *controller, const char *file, int64_t value, const char *none, struct err **e)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    int r = cgroup_write(c, controller, path, file, value > 0 ? text : none);
    if (r && value > 0)
        return err_errno(e, r, "cgroup %s: %s=%s", path, file, text);
    return 0;
}

int cgroup_limit(struct cgroups *c, const char *path, const struct cgroup_limits *l, struct err **e)
{
    int64_t shares = cgroup_cpu_shares(l->cpu_request_milli), quota = l->cpu_limit_milli > 0 ? MAX(l->cpu_limit_milli * 100, 1000) : -1;
    char cpu_max[64];
    int r;
    if (c->v2) {
        snprintf(cpu_max, sizeof cpu_max, quota > 0 ? "%" PRId64 " 100000" : "max 100000", quota);
        r = cgroup_write(c, "cpu", path, "cpu.max", cpu_max);
        if (r && quota > 0)
            return err_errno(e, r, "cgroup %s: cpu.max", path);
        (void)!limit_one(c, path, "cpu", "cpu.weight", cgroup_cpu_weight(shares), "100", NULL);
        if ((r = limit_one(c, path, "memory", "memory.max", l->memory, "max", e)) < 0)
            return r;
        return limit_one(c, path, "pids", "pids.max", l->pids, "max", e);
    }
    (void)!limit_one(c, path, "cpu", "cpu.shares", shares, "2", NULL);
    if ((r = limit_one(c, path, "cpu", "cpu.cfs_quota_us", quota, "-1", e)) < 0)
        return r;
    if ((r = limit_one(c, path, "memory", "memory.limit_in_bytes", l->memory, "-1", e)) < 0)
        return r;
    return limit_one(c, path, "pids", "pids.max", l->pids, "max", e);
}

void cgroup_qos_shares(struct cgroups *c, int64_t guaranteed_milli, int64_t burstable_milli)
{
    const int64_t milli[2] = {guaranteed_milli, burstable_milli};
    for (size_t i = 0; i < 2; i++) {
        _cleanup_(freep) char *path = xasprintf("%s/%s", c->root, qos_dirs[i]);
        int64_t shares = cgroup_cpu_shares(milli[i]);
        (void)!limit_one(c, path, "cpu", c->v2 ? "cpu.weight" : "cpu.shares", c->v2 ? cgroup_cpu_weight(shares) : shares, "2", NULL);
    }
}

int cgroup_join(struct cgroups *c, const char *path, pid_t pid, struct err **e)
{
    char text[16];
    snprintf(text, sizeof text, "%d", (int)pid);
    size_t joined = 0;
    int last = 0;
    for (size_t i = 0; i < c->n; i++) {
        _cleanup_(freep) char *name = xasprintf("%s/cgroup.procs", path);
        _cleanup_(closep) int fd = openat(c->h[i].fd, name, O_WRONLY | O_CLOEXEC);
        if (fd >= 0 && write(fd, text, strlen(text)) > 0)
            joined++;
        else
            last = errno;
    }
    return joined ? 0 : err_errno(e, last, "join cgroup %s", path);
}

static void closedirp(DIR **d)
{
    if (*d)
        closedir(*d);
}

/* fn for every folder below dir, deepest first, then dir itself. */
static void walk(int at, const char *path, int depth, void (*fn)(void *arg, int at, const char *path), void *arg)
{
    int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return;
    _cleanup_(closedirp) DIR *d = fdopendir(fd);
    for (struct dirent *x; d && depth < DEPTH && (x = readdir(d));) {
        if (x->d_type != DT_DIR || x->d_name[0] == '.')
            continue;
        _cleanup_(freep) char *sub = xasprintf("%s/%s", path, x->d_name);
        walk(at, sub, depth + 1, fn, arg);
    }
    fn(arg, at, path);
}

struct sending { int signo, n; };

static void send_one(void *arg, int at, const char *path)
{
    struct sending *s = arg;
    _cleanup_(freep) char *name = xasprintf("%s/cgroup.procs", path);
    FILE *f = NULL;
    int fd = openat(at, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || !(f = fdopen(fd, "r"))) {
        closep(&fd);
        return;
    }
    char line[32];
    while (fgets(line, sizeof line, f)) {
        int64_t pid;
        if (!str_to_i64(str_trim(str_of(line)), &pid) || pid <= 1)
            continue;
        s->n++;
        if (s->signo)
            kill((pid_t)pid, s->signo);
    }
    fclose(f);
}

int cgroup_signal(struct cgroups *c, const char *path, int signo)
{
    struct sending s = {signo, 0};
    if (c->v2 && signo == SIGKILL && cgroup_write(c, "", path, "cgroup.kill", "1") == 0)
        s.signo = 0; /* only count */
    for (size_t i = 0; i < c->n; i++) {
        walk(c->h[i].fd, path, 0, send_one, &s);
        if (s.n && signo != SIGKILL)
            break; /* one hierarchy tells all; a KILL looks everywhere, for one that failed to join some */
    }
    return s.n;
}

bool cgroup_empty(struct cgroups *c, const char *path)
{
    return cgroup_signal(c, path, 0) == 0;
}

static void pause_ms(int ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
}

int cgroup_kill(struct cgroups *c, const char *path, int timeout_ms, struct err **e)
{
    for (int waited = 0, step = 1;; waited += step, step = MIN(step * 2, 50)) {
        int n = cgroup_signal(c, path, SIGKILL);
        if (n == 0)
            return 0;
        if (waited >= timeout_ms)
            return err_set(e, ERR_TIMEOUT, "cgroup %s: %d processes survived SIGKILL for %d ms", path, n, timeout_ms);
        pause_ms(step);
    }
}

static void remove_one(void *arg, int at, const char *path)
{
    int *last = arg;
    for (int tries = 0; unlinkat(at, path, AT_REMOVEDIR) < 0 && errno != ENOENT; tries++) {
        if (errno != EBUSY || tries == 20) {
            *last = errno;
            return;
        }
        pause_ms(5);
    }
}

int cgroup_remove(struct cgroups *c, const char *path, struct err **e)
{
    int last = 0;
    for (size_t i = 0; i < c->n; i++)
        walk(c->h[i].fd, path, 0, remove_one, &last);
    return last ? err_errno(e, last, "remove cgroup %s", path) : 0;
}

void cgroup_each_pod(struct cgroups *c, void (*fn)(void *arg, const char *path, struct str uid), void *arg)
{
    struct map seen = {0};
    for (size_t i = 0; i < c->n; i++)
        for (size_t q = 0; q < ARRAY_LEN(qos_dirs); q++) {
            _cleanup_(freep) char *dir = xasprintf("%s/%s", c->root, qos_dirs[q]);
            int fd = openat(c->h[i].fd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            _cleanup_(closedirp) DIR *d = fd < 0 ? NULL : fdopendir(fd);
            for (struct dirent *x; d && (x = readdir(d));)
                if (x->d_type == DT_DIR && strncmp(x->d_name, "pod", 3) == 0)
                    free(map_put(&seen, str_of(x->d_name), xasprintf("%s/%s", dir, x->d_name)));
        }
    map_for(&seen, it) {
        struct str name = map_key(it);
        fn(arg, it->value, str_sub(name, 3, name.n));
    }
    map_clear(&seen, free);
}
