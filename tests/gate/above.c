#include "above.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/file.h"
#include "gate/serve.h"
#include "harness.h"

/* ---- node ---- */

struct proc {
    struct above *a;
    struct list link;
    struct child child;
    uint64_t id;
    int pty;
};

static void reply(struct above *a, uint16_t type, uint64_t id, enum err_code code, const char *message, const int *fds, size_t n)
{
    struct node_reply r = {code, str_of(message)};
    wire_send(a->node, type, id, &node_reply_type, &r, fds, n);
}

static void on_child(struct child *c, int status)
{
    struct proc *p = container_of(c, struct proc, child);
    struct node_exec_done d = {WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status), STR("")};
    wire_send(p->a->node, NODE_EXEC_DONE, p->id, &node_exec_done_type, &d, NULL, 0);
    list_remove(&p->link);
    closep(&p->pty);
    free(p);
}

static void run(struct node_exec *m, int *theirs)
{
    char *argv[64] = {0};
    for (size_t i = 0; i < m->nargv && i < 63; i++)
        argv[i] = str_dup(m->argv[i]);
    if (theirs)
        for (int i = 0; i < 3; i++)
            dup2(theirs[i] >= 0 ? theirs[i] : open("/dev/null", O_RDWR), i);
    for (int fd = 3; fd < 256; fd++)
        close(fd);
    signal(SIGPIPE, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execvp(argv[0], argv);
    _exit(127);
}

static void do_exec(struct above *a, struct wire_msg *w, struct pool *pool)
{
    struct node_exec m;
    struct err *e = NULL;
    FINE(wire_decode(&node_exec_type, w->body, pool, &m, &e), e);
    bool want[3] = {m.in, m.out, m.err};
    int ours[3], theirs[3] = {-1, -1, -1}, n = 0;
    struct proc *p = xcalloc(1, sizeof *p);
    *p = (struct proc){.a = a, .id = w->id, .pty = -1};
    pid_t pid;
    if (m.tty) {
        pid = forkpty(&ours[n++], NULL, NULL, NULL);
        if (pid == 0)
            run(&m, NULL);
        p->pty = dup(ours[0]);
    } else {
        for (int i = 0; i < 3; i++) {
            int fd[2];
            if (!want[i])
                continue;
            EQ(pipe2(fd, O_CLOEXEC), 0);
            ours[n++] = fd[i == 0];
            theirs[i] = fd[i != 0];
        }
        pid = fork();
        if (pid == 0)
            run(&m, theirs);
    }
    list_push(&a->procs, &p->link);
    FINE(child_watch(a->gate.loop, &p->child, pid, on_child, &e), e);
    reply(a, NODE_EXEC_STARTED, w->id, ERR_NONE, "", ours, (size_t)n);
    for (int i = 0; i < n; i++)
        close(ours[i]);
    for (int i = 0; i < 3; i++)
        closep(&theirs[i]);
}

static void do_resize(struct above *a, struct wire_msg *w, struct pool *pool)
{
    struct node_resize m;
    struct err *e = NULL;
    struct proc *p;
    FINE(wire_decode(&node_resize_type, w->body, pool, &m, &e), e);
    a->resizes++;
    a->detached |= m.exec_id == a->attach_id && !m.width && !m.height;
    a->width = (unsigned)m.width;
    a->height = (unsigned)m.height;
    struct winsize size = {.ws_col = (unsigned short)m.width, .ws_row = (unsigned short)m.height};
    list_for (&a->procs, p, link)
        if (p->id == m.exec_id)
            EQ(ioctl(p->pty, TIOCSWINSZ, &size), 0);
}

static void do_log(struct above *a, struct wire_msg *w)
{
    int fds[3];
    size_t n = 0;
    a->logs_asked++;
    for (size_t i = 0; i < a->nfiles; i++)
        if ((fds[n] = open(a->files[i], O_RDONLY | O_CLOEXEC)) >= 0)
            n++;
    reply(a, NODE_REPLY, w->id, ERR_NONE, "", fds, n);
    while (n)
        close(fds[--n]);
}

static void do_connect(struct above *a, struct wire_msg *w, struct pool *pool)
{
    struct node_connect m;
    struct err *e = NULL;
    FINE(wire_decode(&node_connect_type, w->body, pool, &m, &e), e);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)m.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    a->connects++;
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        reply(a, NODE_REPLY, w->id, ERR_IO, "dial tcp4 127.0.0.1: connect: connection refused", NULL, 0);
    else
        reply(a, NODE_REPLY, w->id, ERR_NONE, "", &fd, 1);
    close(fd);
}

static void on_node_msg(void *arg, struct wire_msg *m)
{
    struct above *a = arg;
    _cleanup_(pool_freep) struct pool *pool = pool_new();
    if (a->refuse && m->type != NODE_EXEC_RESIZE) {
        reply(a, NODE_REPLY, m->id, a->refuse, "node says no", NULL, 0);
        return;
    }
    switch (m->type) {
    case NODE_EXEC:
        do_exec(a, m, pool);
        break;
    case NODE_EXEC_RESIZE:
        do_resize(a, m, pool);
        break;
    case NODE_LOG:
        do_log(a, m);
        break;
    case NODE_CONNECT:
        do_connect(a, m, pool);
        break;
    case NODE_STATS:
        wire_send(a->node, NODE_STATS_DATA, m->id, &node_stats_type, a->stats, NULL, 0);
        break;
    case NODE_ATTACH: {
        int fds[2] = {a->attach_fd, open("/dev/null", O_WRONLY | O_CLOEXEC)};
        a->attach_id = m->id;
        reply(a, NODE_REPLY, m->id, ERR_NONE, "", fds, 2);
        close(fds[1]);
        break;
    }
    default:
        test_fail(__FILE__, __LINE__, "node was sent message %d", m->type);
    }
}

/* ---- gate's end of the wire: as gate.c pairs answers ---- */

static void on_answer(void *arg, struct wire_msg *m)
{
    struct above *a = arg;
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, m->id);
    struct node_wait *w = map_del(&a->gate.waits, str_of(text));
    if (!w)
        return;
    struct node_wait call = *w;
    free(w);
    call.fn(call.arg, m);
}

static void no_close(void *arg, const struct err *e)
{
    test_fail(__FILE__, __LINE__, "the wire was closed: %s", e ? err_msg(e) : "");
}

static const char pod_text[] = "{\"metadata\":{\"name\":\"web\",\"namespace\":\"default\",\"uid\":\"u1\"},\"spec\":{\"containers\":[{"
                               "\"name\":\"app\",\"tty\":true,\"stdin\":true}]}}";

void above_open(struct above *a)
{
    static const struct wire_ops gate_ops = {on_answer, no_close}, node_ops = {on_node_msg, no_close};
    int up[2], down[2];
    struct err *e = NULL;
    *a = (struct above){.attach_fd = -1};
    list_init(&a->procs);
    EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, up), 0);
    EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, down), 0);
    a->gate.loop = loop_new(&e);
    OK(a->gate.loop);
    a->gate.clock = clock_new(NULL);
    a->gate.node = wire_new(a->gate.loop, down[0], &gate_ops, a, &e);
    a->node = wire_new(a->gate.loop, down[1], &node_ops, a, &e);
    OK(a->gate.node && a->node);
    a->con = (struct node_container_state){.name = STR("app"), .id = STR("c1"), .state = CS_RUNNING};
    a->state = (struct node_pod_state){.uid = STR("u1"), .ns = STR("default"), .name = STR("web"), .containers = &a->con, .ncontainers = 1};
    a->pod = (struct gpod){.gate = &a->gate,
        .uid = STR("u1"),
        .ns = STR("default"),
        .name = STR("web"),
        .state = &a->state,
        .object = bytes_new(pod_text, sizeof pod_text - 1)};
    map_put(&a->gate.pods, STR("u1"), &a->pod);
    a->server = http_server_new(a->gate.loop, NULL, serve_request, &a->gate);
    http_serve(a->server, stream_fd_new(a->gate.loop, up[0], &e), NULL, NULL);
    a->client = http_client_over(stream_fd_new(a->gate.loop, up[1], &e), NULL, NULL, NULL);
}

void above_close(struct above *a)
{
    http_client_free(a->client);
    http_server_free(a->server);
    above_wait(a, 20);
    struct proc *p;
    list_for (&a->procs, p, link) {
        kill(p->child.pid, SIGKILL);
        waitpid(p->child.pid, NULL, 0);
        child_unwatch(&p->child);
        list_remove(&p->link);
        closep(&p->pty);
        free(p);
    }
    EQ(map_count(&a->gate.waits), 0);
    wire_free(a->gate.node);
    wire_free(a->node);
    map_clear(&a->gate.waits, free);
    map_clear(&a->gate.pods, NULL);
    pool_free(a->pod.tree_pool);
    bytes_unref(a->pod.object);
    clock_free(a->gate.clock);
    while (loop_step(a->gate.loop, 0) > 0)
        ;
    loop_free(a->gate.loop);
    closep(&a->attach_fd);
}

bool above_until(struct above *a, bool *flag, int ms)
{
    int64_t end = clock_mono(NULL) + ms * NS_PER_MS;
    while (!*flag && clock_mono(NULL) < end)
        loop_step(a->gate.loop, 5);
    return *flag;
}

void above_wait(struct above *a, int ms)
{
    bool never = false;
    above_until(a, &never, ms);
}

/* ---- plain requests ---- */

static void on_head(void *arg, const struct http_response *r)
{
    ((struct answer *)arg)->status = r->status;
}
static void on_data(void *arg, const char *p, size_t n)
{
    buf_add(&((struct answer *)arg)->body, p, n);
}

static void on_end(void *arg, const struct err *e)
{
    struct answer *x = arg;
    x->ended = true;
    x->failed = e != NULL;
    x->call = NULL;
}

void above_get(struct above *a, struct answer *x, const char *path)
{
    static const struct http_call_events events = {on_head, on_data, NULL, on_end};
    struct http_request rq = {.method = STR("GET"), .path = str_of(path), .timeout_ms = 5000};
    *x = (struct answer){.above = a};
    x->call = http_call(a->client, &rq, &events, x);
}

struct str above_fetch(struct above *a, struct answer *x, const char *path)
{
    above_get(a, x, path);
    OK(above_until(a, &x->ended, 5000));
    OK(!x->failed);
    return buf_str(&x->body);
}

void answer_clear(struct answer *x)
{
    if (x->call)
        http_call_cancel(x->call);
    buf_clear(&x->body);
}

/* ---- WebSocket sessions ---- */

static void on_message(void *arg, enum ws_op op, const char *p, size_t n)
{
    struct talk *t = arg;
    OK(n >= 1);
    struct buf *to = p[0] == 1 ? &t->out : p[0] == 2 ? &t->err : p[0] == 3 ? &t->status : NULL;
    OK(to);
    buf_add(to, p + 1, n - 1);
}

static void on_close(void *arg, int code, struct str reason)
{
    struct talk *t = arg;
    t->ws = NULL;
    t->closed = true;
    t->code = code;
}

static void on_dialed(void *arg, struct ws *w, const char *chosen, const struct err *e)
{
    static const struct ws_events events = {on_message, NULL, on_close};
    struct talk *t = arg;
    t->opened = true;
    t->ws = w;
    snprintf(t->protocol, sizeof t->protocol, "%s", chosen ? chosen : "");
    if (w) {
        ws_use(w, &events, t);
        if (t->slow)
            ws_pause(w, true);
    } else {
        buf_puts(&t->refused, err_msg(e));
        t->closed = true;
    }
}

void talk_open(struct above *a, struct talk *t, const char *path, const char *protocol)
{
    static const char *protocols[2];
    struct http_request rq = {.method = STR("GET"), .path = str_of(path), .timeout_ms = 5000};
    bool slow = t->slow;
    protocols[0] = protocol;
    *t = (struct talk){.above = a, .slow = slow};
    ws_dial(a->client, &rq, protocols, 1 << 20, on_dialed, t);
    OK(above_until(a, &t->opened, 5000));
}

void talk_say(struct talk *t, char channel, const char *text)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    buf_putc(&b, channel);
    buf_puts(&b, text);
    ws_send(t->ws, WS_BINARY, b.p, b.n);
}

void talk_clear(struct talk *t)
{
    if (t->ws)
        ws_close(t->ws, 1000, STR(""));
    buf_clear(&t->out);
    buf_clear(&t->err);
    buf_clear(&t->status);
    buf_clear(&t->refused);
}
