#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>
#include "base/file.h"
#include "node/impl.h"

static struct str line_of(struct pool *p, const char *path)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    if (file_read(path, 65536, &b, NULL) < 0)
        return STR("");
    struct str rest = buf_str(&b), line = STR("");
    str_split(&rest, '\n', &line);
    line = str_trim(line);
    return pool_str(p, str_sub(line, 0, MIN(line.n, 63)));
}

static struct str os_name(struct pool *p)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    struct str rest, line;
    if (file_read("/etc/os-release", 65536, &b, NULL) == 0)
        for (rest = buf_str(&b); str_split(&rest, '\n', &line);)
            if (str_starts(line, STR("PRETTY_NAME="))) {
                struct str v = str_sub(line, 12, MIN(line.n, 200));
                return pool_str(p, v.n >= 2 && v.p[0] == '"' ? str_sub(v, 1, v.n - 1) : v);
            }
    return STR("Linux");
}

/* "crun version 1.8.1" → "crun://1.8.1" */
static struct str runtime_version(struct node *n, struct pool *p)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    const char *const argv[] = {n->crun, "--version", NULL};
    if (!n->crun || spawn_wait(argv, &b, 4096, 5000, NULL) != 0)
        return STR("crun://unknown");
    struct str rest = buf_str(&b), line = STR_NULL;
    str_split(&rest, '\n', &line);
    ssize_t space = str_rchr(line, ' ');
    return pool_printf(p, "crun://%.*s", STR_ARG(str_sub(line, (size_t)(space + 1), line.n)));
}

static const char *goarch(const char *machine)
{
    static const char *const names[][2] = {
        {"x86_64", "amd64"}, {"aarch64", "arm64"}, {"armv7l", "arm"}, {"armv6l", "arm"}, {"riscv64", "riscv64"}};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eqz(str_of(names[i][0]), machine))
            return names[i][1];
    return machine;
}

static size_t addresses(struct node *n, struct pool *p, struct str **out)
{
    char text[32][NET_ADDR_TEXT];
    size_t count = n->net ? net_host_addresses(n->net, text, 32) : 0;
    *out = pool_array(p, struct str, count + 1);
    for (size_t i = 0; i < count; i++)
        (*out)[i] = pool_str(p, str_of(text[i]));
    return count;
}

struct str node_host_ip(struct node *n, struct pool *p)
{
    struct str *list;
    if (!str_empty(n->config.node_ip))
        return n->config.node_ip;
    return addresses(n, p, &list) ? list[0] : STR("");
}

void host_hello(struct node *n)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct utsname u;
    struct statvfs v;
    char hostname[254] = "";
    uname(&u);
    gethostname(hostname, sizeof hostname - 1);
    struct node_hello h = {.boot_id = str_of(n->boot_id),
        .machine_id = line_of(p, "/etc/machine-id"),
        .system_uuid = line_of(p, "/sys/class/dmi/id/product_uuid"),
        .kernel = str_of(u.release),
        .os_image = os_name(p),
        .arch = str_of(goarch(u.machine)),
        .runtime_version = runtime_version(n, p),
        .hostname = str_of(hostname),
        .cpus = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN),
        .memory = node_memory()};
    uint64_t pids = 0;
    if (str_to_u64(line_of(p, "/proc/sys/kernel/pid_max"), &pids))
        h.pids = (int64_t)pids;
    if (statvfs(n->dir, &v) == 0) {
        h.storage = (int64_t)(v.f_blocks * v.f_frsize);
        h.inodes = v.f_files;
    }
    _cleanup_(buf_clear) struct buf swaps = BUF_INIT;
    if (file_read("/proc/swaps", 65536, &swaps, NULL) == 0)
        h.swap = str_chr(str_trim(buf_str(&swaps)), '\n') >= 0;
    h.naddresses = addresses(n, p, &h.addresses);
    wire_send(n->gate, NODE_HELLO, 0, &node_hello_type, &h, NULL, 0);
    paths_send(n);
}

void host_addresses(struct node *n)
{
    if (!n->gate)
        return;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct node_addresses a = {0};
    a.naddresses = addresses(n, p, &a.addresses);
    wire_send(n->gate, NODE_ADDRESSES, 0, &node_addresses_type, &a, NULL, 0);
}
