/* Descriptors for gate: exec, attach, logs, sockets in pods and on the host. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "base/file.h"
#include "node/impl.h"

#define STREAMS_MAX 512
#define LOG_FDS 7

struct stream { /* an exec or attach that gate can still speak about */
    struct node *n;
    uint64_t id;
    struct exec *exec;      /* NULL: an attach */
    char *bundle;           /* attach: where conmon's control fifo is */
    bool ready;
};

static char *key_of(uint64_t id) { return xasprintf("%" PRIu64, id); }

static struct stream *stream_get(struct node *n, uint64_t id)
{
    _cleanup_(freep) char *key = key_of(id);
    return map_get(&n->streams, str_of(key));
}

static struct stream *stream_put(struct node *n, uint64_t id)
{
    _cleanup_(freep) char *key = key_of(id);
    struct stream *s = xcalloc(1, sizeof *s);
    s->n = n;
    s->id = id;
    map_put(&n->streams, str_of(key), s);
    return s;
}

static void stream_free(struct stream *s)
{
    _cleanup_(freep) char *key = key_of(s->id);
    map_del(&s->n->streams, str_of(key));
    exec_cancel(s->exec);
    free(s->bundle);
    free(s);
}

void stream_drop_all(struct node *n)
{
    map_for(&n->streams, it)
        stream_free(it->value);
}

/* The running container that a request means. */
static struct container *target(struct node *n, struct str uid, struct str name, bool running, struct err **e)
{
    struct pod *p = node_pod_by_uid(n, uid);
    struct container *c = p ? pod_container(p, name) : NULL;
    if (!c)
        err_set(e, ERR_NOT_FOUND, "container \"%.*s\" of pod %.*s is not on this node", STR_ARG(name), STR_ARG(uid));
    else if (running && c->state != CON_RUNNING && c->state != CON_STOPPING)
        return err_set(e, ERR_CONFLICT, "container \"%s\" is not running", c->name) ? NULL : NULL;
    return c;
}

static void on_ready(void *owner, int *fds, size_t nfds)
{
    struct stream *s = owner;
    struct node_reply r = {0};
    int send[3], n = 0;
    for (size_t i = 0; i < nfds; i++)
        if (fds[i] >= 0)
            send[n++] = fds[i];
    s->ready = true;
    if (s->n->gate)
        wire_send(s->n->gate, NODE_EXEC_STARTED, s->id, &node_reply_type, &r, send, (size_t)n);
    for (size_t i = 0; i < nfds; i++)
        closep(&fds[i]);
}

static void on_done(void *owner, int code, const char *message)
{
    struct stream *s = owner;
    struct node_exec_done d = {code, str_of(message)};
    s->exec = NULL;
    if (s->n->gate) {
        if (!s->ready) { /* a terminal that never came: why stands in the message */
            struct node_reply r = {ERR_INTERNAL, str_of(*message ? message : "exec failed")};
            wire_send(s->n->gate, NODE_REPLY, s->id, &node_reply_type, &r, NULL, 0);
        }
        wire_send(s->n->gate, NODE_EXEC_DONE, s->id, &node_exec_done_type, &d, NULL, 0);
    }
    stream_free(s);
}

static const struct exec_ops exec_ops = {on_ready, on_done};

static int start_exec(struct node *n, struct wire_msg *m, struct err **e)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct node_exec x;
    int r = wire_decode(&node_exec_type, m->body, p, &x, e);
    if (r < 0)
        return r;
    struct container *c = target(n, x.uid, x.container, true, e);
    if (!c)
        return -ERR_NOT_FOUND;
    if (x.nargv == 0 || stream_get(n, m->id) || map_count(&n->streams) >= STREAMS_MAX)
        return err_set(e, x.nargv ? ERR_TOO_MANY : ERR_INVALID, x.nargv ? "too many exec sessions on this node" : "no command");
    struct exec_spec s = {.handler = pod_handler(c->pod, NULL),
        .id = c->id,
        .mount_ns = sandbox_mount_ns(c->pod->sandbox),
        .argv = x.argv,
        .nargv = x.nargv,
        .tty = x.tty,
        .in = x.in,
        .out = x.out,
        .err = x.err && !x.tty,
        .oom_score_adj = c->spec ? con_oom_score(c->pod, c->spec) : 1000,
        .timeout_ms = (int)MIN(MAX(x.timeout_ms, 0), INT32_MAX)};
    struct stream *st = stream_put(n, m->id);
    st->exec = exec_start(&n->rt, &s, &exec_ops, st, e);
    if (!st->exec) {
        stream_free(st);
        return -ERR_IO;
    }
    return 0;
}

void stream_exec(struct node *n, struct wire_msg *m)
{
    _cleanup_(err_freep) struct err *e = NULL;
    if (start_exec(n, m, &e) < 0)
        node_reply(n, m->id, e, NULL, 0);
}

void stream_resize(struct node *n, struct wire_msg *m)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct node_resize x;
    if (wire_decode(&node_resize_type, m->body, p, &x, &e) == 0) {
        struct stream *s = stream_get(n, x.exec_id);
        if (!s)
            err_set(&e, ERR_NOT_FOUND, "no such session");
        else if (x.width == 0 && x.height == 0) /* of an attach: its caller is gone */
            s->exec ? (void)0 : stream_free(s);
        else if (s->exec)
            (void)!exec_resize(s->exec, (unsigned)MIN(x.width, 65535), (unsigned)MIN(x.height, 65535), &e);
        else
            (void)!container_tty_size(s->bundle, (unsigned)MIN(x.width, 65535), (unsigned)MIN(x.height, 65535), &e);
    }
    node_reply(n, m->id, e, NULL, 0);
}

void stream_attach(struct node *n, struct wire_msg *m)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct node_attach x;
    struct container *c = wire_decode(&node_attach_type, m->body, p, &x, &e) < 0 ? NULL : target(n, x.uid, x.container, true, &e);
    int fds[2] = {-1, -1};
    if (c && (fds[0] = container_attach(c->bundle, &e)) >= 0)
        fds[1] = container_control(c->bundle, &e);
    if (!e && map_count(&n->streams) < STREAMS_MAX && !stream_get(n, m->id))
        stream_put(n, m->id)->bundle = xstrdup(c->bundle);
    node_reply(n, m->id, e, fds, e ? 0 : 2);
    closep(&fds[0]);
    closep(&fds[1]);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Rotated parts ("3.log.20260101-...") in order, then the log itself. */
static size_t open_logs(struct container *c, uint64_t run, int *fds)
{
    _cleanup_(freep) char *dir = con_log_dir(c), *prefix = xasprintf("%" PRIu64 ".log.", run), *path = con_log_path(c, run);
    char *names[64];
    size_t n = 0, out = 0;
    DIR *d = opendir(dir);
    for (struct dirent *x; d && n < ARRAY_LEN(names) && (x = readdir(d));)
        if (strncmp(x->d_name, prefix, strlen(prefix)) == 0)
            names[n++] = xasprintf("%s/%s", dir, x->d_name);
    if (d)
        closedir(d);
    qsort(names, n, sizeof *names, by_name);
    for (size_t i = n > LOG_FDS ? n - LOG_FDS : 0; i < n; i++) {
        int fd = open(names[i], O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0)
            fds[out++] = fd;
    }
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0)
        fds[out++] = fd;
    return out;
}

void stream_log(struct node *n, struct wire_msg *m)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct node_log x;
    int fds[WIRE_FDS];
    size_t nfds = 0;
    struct container *c = wire_decode(&node_log_type, m->body, p, &x, &e) < 0 ? NULL : target(n, x.uid, x.container, false, &e);
    if (c && x.previous && !c->restarts)
        err_set(&e, ERR_BAD_REQUEST, "previous terminated container \"%s\" in pod \"%.*s\" not found", c->name, STR_ARG(c->pod->spec.name));
    else if (c && (nfds = open_logs(c, c->restarts - x.previous, fds)) == 0)
        err_set(&e, ERR_BAD_REQUEST, "container \"%s\" in pod \"%.*s\" is waiting to start: %s", c->name, STR_ARG(c->pod->spec.name),
                c->waiting_reason ? c->waiting_reason : "ContainerCreating");
    node_reply(n, m->id, e, fds, nfds);
    for (size_t i = 0; i < nfds; i++)
        closep(&fds[i]);
}

void stream_connect(struct node *n, struct wire_msg *m)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct node_connect x;
    int fd = -1;
    if (wire_decode(&node_connect_type, m->body, p, &x, &e) == 0) {
        struct pod *pod = node_pod_by_uid(n, x.uid);
        if (!pod || !pod->sandbox || pod->state != PS_READY)
            err_set(&e, ERR_NOT_FOUND, "pod %.*s is not running on this node", STR_ARG(x.uid));
        else if (x.port == 0 || x.port > 65535)
            err_set(&e, ERR_INVALID, "port %" PRIu64 " is not valid", x.port);
        else {
            _cleanup_(closep) int own = pod->spec.host_network ? open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC) : -1;
            fd = net_connect(own >= 0 ? own : sandbox_net_ns(pod->sandbox), (uint16_t)x.port, &e);
        }
    }
    node_reply(n, m->id, e, &fd, fd >= 0 ? 1 : 0);
    closep(&fd);
}

void stream_listen(struct node *n, struct wire_msg *m)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct node_listen x;
    int fd = -1;
    if (wire_decode(&node_listen_type, m->body, p, &x, &e) == 0) {
        bool dns = x.port == 53 && !str_empty(x.address) && str_eq(x.address, n->config.dns_ip);
        if (!dns && !(x.port == 10250 && !x.udp))
            err_set(&e, ERR_FORBIDDEN, "only the DNS address at port 53, and port 10250, can be listened on");
        else
            fd = net_listen(x.address, (uint16_t)x.port, x.udp, &e);
    }
    node_reply(n, m->id, e, &fd, fd >= 0 ? 1 : 0);
    closep(&fd);
}
