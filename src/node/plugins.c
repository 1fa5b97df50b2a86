/* The kubelet's folders on this machine, where node plugins (CSI drivers and their registrars) look for them and leave their sockets:
 *
 *     <root>/plugins_registry/<x>.sock              a plugin's registration socket; gate is told of each
 *     <root>/plugins/<driver>/csi.sock              its service
 *     <root>/plugins/kubernetes.io/csi/...          staging folders and block devices
 *     <root>/pods/<uid>/volumes/kubernetes.io~csi/<volume>/mount
 *
 * node speaks to none of them: it connects sockets for gate, which speaks gRPC, and makes and removes the (empty) folders that plugins
 * mount on. Everything stays below <root>, and no link in it is followed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/file.h"
#include "base/log.h"
#include "node/impl.h"

#define SOCKETS_MAX 256

static void closedirp(DIR **d)
{
    if (*d)
        closedir(*d);
}

void plugins_send(struct node *n)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct node_plugins m = {.sockets = pool_array(p, struct str, SOCKETS_MAX)};
    _cleanup_(freep) char *dir = xasprintf("%s/plugins_registry", n->opt->kubelet_dir);
    _cleanup_(closedirp) DIR *d = n->gate && n->opt->kubelet_dir ? opendir(dir) : NULL;
    for (struct dirent *x; d && m.nsockets < SOCKETS_MAX && (x = readdir(d));) {
        struct stat st;
        if (x->d_name[0] != '.' && fstatat(dirfd(d), x->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(st.st_mode))
            m.sockets[m.nsockets++] = pool_printf(p, "%s/%s", dir, x->d_name);
    }
    if (n->gate && n->opt->kubelet_dir)
        wire_send(n->gate, NODE_PLUGINS, 0, &node_plugins_type, &m, NULL, 0);
}

static void on_change(struct watch *w, uint32_t events)
{
    struct node *n = container_of(w, struct node, plugins_watch);
    char chunk[8192];
    while (read(w->fd, chunk, sizeof chunk) > 0)
        ;
    plugins_send(n);
}

int plugins_start(struct node *n, struct err **e)
{
    static const char *const parts[] = {"plugins", "plugins_registry", "pods"};
    if (!n->opt->kubelet_dir)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        _cleanup_(freep) char *path = xasprintf("%s/%s", n->opt->kubelet_dir, parts[i]);
        int r = dir_make(path, 0750, e);
        if (r < 0)
            return r;
    }
    _cleanup_(freep) char *registry = xasprintf("%s/plugins_registry", n->opt->kubelet_dir);
    _cleanup_(closep) int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fd < 0 || inotify_add_watch(fd, registry, IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM) < 0)
        return err_errno(e, errno, "watch %s", registry);
    int r = watch_add(n->loop, &n->plugins_watch, fd, EPOLLIN, on_change, e);
    if (r == 0)
        fd = -1;
    return r;
}

void plugins_stop(struct node *n)
{
    if (!n->plugins_watch.loop)
        return;
    watch_del(&n->plugins_watch);
    closep(&n->plugins_watch.fd);
}

/* The part below the root; absent when path is not there, or is no clean path. */
static struct str below(const struct node *n, struct str path)
{
    struct str root = str_of(n->opt->kubelet_dir), rest;
    if (str_empty(root) || !str_starts(path, root) || path.n < root.n + 2 || path.p[root.n] != '/')
        return STR_NULL;
    rest = str_sub(path, root.n + 1, path.n);
    return volume_file_path_ok(rest) ? rest : STR_NULL;
}

bool plugins_target_ok(const struct node *n, struct str uid, struct str path)
{
    struct str rest = below(n, path);
    _cleanup_(freep) char *mount = xasprintf("pods/%.*s/volumes/kubernetes.io~csi/", STR_ARG(uid));
    _cleanup_(freep) char *end = xasprintf("/%.*s", STR_ARG(uid));
    return str_starts(rest, str_of(mount)) ||
           (str_starts(rest, STR("plugins/kubernetes.io/csi/volumeDevices/publish/")) && str_ends(rest, str_of(end)));
}

/* ---- sockets ---- */

static int connect_to(const struct node *n, struct str path, struct err **e)
{
    struct str rest = below(n, path);
    if (!str_starts(rest, STR("plugins/")) && !str_starts(rest, STR("plugins_registry/")))
        return err_set(e, ERR_FORBIDDEN, "socket \"%.*s\" is not below %s/plugins or plugins_registry", STR_ARG(path), n->opt->kubelet_dir);
    _cleanup_(closep) int at = volume_open_beneath(n->opt->kubelet_dir, rest, e);
    if (at < 0)
        return at;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "/proc/self/fd/%d", at); /* whatever the length of its path */
    _cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) < 0)
        return err_errno(e, errno, "connect %.*s", STR_ARG(path));
    int r = fd;
    fd = -1;
    return r;
}

void plugins_connect(struct node *n, struct wire_msg *m)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct node_storage x;
    int fd = -1;
    if (wire_decode(&node_storage_type, m->body, p, &x, &e) == 0)
        fd = connect_to(n, x.path, &e);
    node_reply(n, m->id, e, &fd, fd >= 0 ? 1 : 0);
    closep(&fd);
}

/* ---- folders ---- */

static int change_dir(const struct node *n, const struct node_csi_dir *x, struct err **e)
{
    struct str rest = below(n, x->path);
    bool ours = str_starts(rest, STR("plugins/kubernetes.io/csi/")) ||
                (str_starts(rest, STR("pods/")) && str_find(rest, STR("/volumes/kubernetes.io~csi/")) > 0);
    if (!ours)
        return err_set(e, ERR_FORBIDDEN, "folder \"%.*s\" is not one of a CSI volume", STR_ARG(x->path));
    return x->remove ? volume_drop_beneath(n->opt->kubelet_dir, rest, e) : volume_make_beneath(n->opt->kubelet_dir, rest, e);
}

void plugins_dir(struct node *n, struct wire_msg *m)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct node_csi_dir x;
    if (wire_decode(&node_csi_dir_type, m->body, p, &x, &e) == 0)
        (void)!change_dir(n, &x, &e);
    node_reply(n, m->id, e, NULL, 0);
}
