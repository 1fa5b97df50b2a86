/* containerLogs: node hands over the log's files, this reads, filters and sends them, and with follow=true waits for more. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gate/logline.h"
#include "gate/serve.h"

#define POLL_NS (200 * NS_PER_MS)
#define READ_SIZE (32u << 10)
#define TURN_MAX (512u << 10) /* read in one turn of the loop */
#define QUEUE_HIGH (128u << 10)
#define IDLE_POLLS 5 /* a second of silence behind some output: is the file still the one? */
#define ASK_AGAIN 10 /* polls in which a renamed file's successor is looked for */

struct logs {
    struct gate *gate;
    struct http_req *rq;  /* NULL once upgraded */
    struct ws *ws;        /* the client asked for a WebSocket */
    bool base64;
    struct pool *pool;
    struct node_log ask;
    uint64_t id;   /* of a request to node; 0: none */
    char run[129]; /* container id when it began: another one is another log */
    int fds[WIRE_FDS];
    size_t nfds, at;
    int64_t offset;
    struct buf part; /* read and not yet a whole entry */
    struct log_filter filter;
    uint64_t tail;
    bool has_tail, follow, over, waiting_drain, moved, busy;
    int64_t changed; /* ctime of the file, ns; 0: not looked at yet */
    int idle, ask_left;
    struct timer timer;
};

static void close_fds(struct logs *l)
{
    for (size_t i = 0; i < l->nfds; i++)
        close(l->fds[i]);
    l->nfds = 0;
}

static void logs_free(struct logs *l)
{
    if (l->id)
        gate_forget(l->gate, l->id);
    timer_del(&l->timer);
    close_fds(l);
    buf_clear(&l->part);
    pool_free(l->pool);
    free(l);
}

static void on_close(struct http_req *rq)
{
    logs_free(rq->user);
}

/* ---- the way out: a plain body, or messages of a WebSocket (subprotocols binary.k8s.io, or none, and base64.binary.k8s.io) ---- */

static void out_put(struct logs *l, struct buf *out)
{
    if (l->ws && l->base64) {
        _cleanup_(buf_clear) struct buf text = BUF_INIT;
        buf_base64(&text, out->p, out->n);
        ws_send(l->ws, WS_TEXT, text.p, text.n);
    } else if (l->ws) {
        ws_send(l->ws, WS_BINARY, out->p, out->n);
    } else {
        struct bytes *b = buf_to_bytes(out);
        http_send(l->rq, b, 0, b->n);
        bytes_unref(b);
    }
}

static size_t out_queued(const struct logs *l)
{
    return l->ws ? ws_queued(l->ws) : http_queued(l->rq);
}

static void on_ws_message(void *arg, enum ws_op op, const char *p, size_t n) { } /* there is nothing to say to a log */

static void on_ws_closed(void *arg, int code, struct str reason)
{
    struct logs *l = arg;
    l->ws = NULL;
    logs_free(l);
}

static void ws_drained(void *arg);

static struct http_req *leave(struct logs *l);

static bool out_begin(struct logs *l)
{
    static const char *const protocols[] = {"binary.k8s.io", "base64.binary.k8s.io", NULL};
    static const struct ws_events events = {on_ws_message, ws_drained, on_ws_closed};
    static const struct http_header text = {{"content-type", 12}, {"text/plain; charset=utf-8", 25}};
    struct http_req *rq = l->rq;
    const char *chosen = NULL;
    if (!str_eq_nocase(rq->protocol, STR("websocket"))) {
        http_start(rq, 200, &text, 1);
        return true;
    }
    rq->on_close = NULL;
    rq->on_drain = NULL;
    rq->user = NULL;
    l->rq = NULL;
    l->ws = ws_accept(rq, protocols, 1024, &chosen);
    if (!l->ws) {
        logs_free(l);
        return false;
    }
    l->base64 = chosen && strcmp(chosen, protocols[1]) == 0;
    ws_use(l->ws, &events, l);
    return true;
}

static void out_end(struct logs *l)
{
    if (l->ws) {
        ws_close(TAKE(l->ws), 1000, STR(""));
        logs_free(l);
    } else {
        http_end(leave(l));
    }
}

static struct http_req *leave(struct logs *l)
{
    struct http_req *rq = l->rq;
    rq->on_close = NULL;
    rq->on_drain = NULL;
    rq->user = NULL;
    logs_free(l);
    return rq;
}

/* ---- reading ---- */

/* Entries that are whole. false: the limit of bytes is reached. */
static bool pass_on(struct logs *l)
{
    _cleanup_(buf_clear) struct buf out = BUF_INIT;
    struct str rest = buf_str(&l->part), line;
    struct log_entry x;
    bool more = true;
    while (more && str_cut(rest, '\n', &line, &rest))
        if (log_parse(line, &x))
            more = log_put(&l->filter, &x, &out);
    buf_drop(&l->part, l->part.n - rest.n);
    if (l->part.n > LOG_ENTRY_MAX)
        buf_reset(&l->part);
    if (out.n)
        out_put(l, &out);
    return more;
}

static void take_files(struct logs *l, struct wire_msg *m, size_t from)
{
    close_fds(l);
    for (size_t i = from; i < m->nfds; i++) {
        l->fds[l->nfds++] = m->fds[i];
        m->fds[i] = -1;
    }
    l->at = 0;
}

/* The files anew: which of them is ours, and what comes behind it? */
static void on_again(void *arg, struct wire_msg *m)
{
    struct logs *l = arg;
    struct stat own, st;
    size_t found = SIZE_MAX;
    l->id = 0;
    if (!m || !m->nfds || l->over || fstat(l->fds[l->at], &own) < 0)
        return;
    for (size_t i = 0; i < m->nfds; i++)
        if (fstat(m->fds[i], &st) == 0 && st.st_ino == own.st_ino && st.st_dev == own.st_dev)
            found = i;
    if (found == m->nfds - 1)
        return;
    if (found == SIZE_MAX) { /* ours was deleted already */
        l->offset = 0;
        buf_reset(&l->part);
    }
    take_files(l, m, found == SIZE_MAX ? m->nfds - 1 : found);
    l->ask_left = 0;
    l->changed = 0;
}

static bool container_over(const struct logs *l)
{
    struct gpod *gp = pods_find(l->gate, l->ask.uid);
    const struct node_container_state *s = gp ? serve_state(gp, l->ask.container) : NULL;
    return l->ask.previous || !gp || gp->gone || (s && (s->state != CS_RUNNING || !str_eqz(s->id, l->run)));
}

/* At the end of the newest file: has it been renamed? A rename shows in ctime, unless output came in the same interval; then silence makes
 * us look. */
static void watch_rotation(struct logs *l, const struct stat *st)
{
    int64_t changed = (int64_t)st->st_ctim.tv_sec * NS_PER_S + st->st_ctim.tv_nsec;
    if (!st->st_nlink || (l->changed && !l->moved && changed != l->changed))
        l->ask_left = ASK_AGAIN;
    if (++l->idle == IDLE_POLLS && l->busy) {
        l->busy = false;
        l->ask_left = MAX(l->ask_left, 1);
    }
    l->changed = changed;
    l->moved = false;
    if (l->ask_left && !l->id) {
        l->ask_left--;
        uint64_t id = gate_ask(l->gate, NODE_LOG, &node_log_type, &l->ask, on_again, l);
        if (id)
            l->id = id;
    }
}

static void on_timer(struct timer *t);

/* Nothing more in this file for now. false: all is over. */
static bool at_end(struct logs *l, bool *go_on)
{
    struct stat st;
    *go_on = true;
    if (l->at + 1 < l->nfds) {
        l->at++;
        l->offset = 0;
        buf_reset(&l->part);
        return true;
    }
    if (!l->follow || l->over || fstat(l->fds[l->at], &st) < 0)
        return false;
    if (st.st_size > l->offset)
        return true;
    if (container_over(l)) { /* once more to the end: what was written before it ended */
        l->over = true;
        return true;
    }
    *go_on = false;
    watch_rotation(l, &st);
    timer_in(l->gate->loop, &l->timer, POLL_NS, on_timer);
    return true;
}

static void pump(struct logs *l)
{
    size_t done = 0;
    bool go_on = true;
    while (go_on && done < TURN_MAX) {
        if (out_queued(l) >= QUEUE_HIGH) {
            l->waiting_drain = true;
            return;
        }
        char *room = buf_reserve(&l->part, READ_SIZE);
        ssize_t n = pread(l->fds[l->at], room, READ_SIZE, l->offset);
        if (n > 0) {
            l->part.n += (size_t)n;
            l->offset += n;
            done += (size_t)n;
            l->moved = l->busy = true;
            l->idle = 0;
        }
        if (n > 0 ? !pass_on(l) : !at_end(l, &go_on)) {
            out_end(l);
            return;
        }
    }
    if (go_on)
        timer_in(l->gate->loop, &l->timer, 0, on_timer);
}

static void on_timer(struct timer *t)
{
    pump(container_of(t, struct logs, timer));
}

static void drained(struct logs *l)
{
    if (!l->waiting_drain)
        return;
    l->waiting_drain = false;
    timer_in(l->gate->loop, &l->timer, 0, on_timer);
}

static void on_drain(struct http_req *rq)
{
    drained(rq->user);
}

static void ws_drained(void *arg)
{
    drained(arg);
}

static void on_files(void *arg, struct wire_msg *m)
{
    struct logs *l = arg;
    struct node_reply r = {.code = ERR_UNAVAILABLE, .message = STR("the node process is away")};
    l->id = 0;
    if (m && wire_decode(&node_reply_type, m->body, l->pool, &r, NULL) < 0)
        r = (struct node_reply){ERR_INTERNAL, STR("node's answer cannot be read")};
    if (r.code || !m->nfds) {
        struct str why = r.code ? pool_str(l->rq->pool, r.message) : STR("there is no log");
        serve_fail(leave(l), r.code < ERR_CODES ? err_http(r.code ? (enum err_code)r.code : ERR_NOT_FOUND) : 500, "%.*s", STR_ARG(why));
        return;
    }
    take_files(l, m, 0);
    if (l->has_tail) {
        struct log_place p = log_tail(l->fds, l->nfds, l->tail, l->filter.stream);
        l->at = p.file;
        l->offset = p.at;
    }
    if (out_begin(l))
        pump(l);
}

/* ---- the request ---- */

static bool number(struct http_req *rq, const char *name, int64_t *out, bool *has)
{
    struct str v = http_query(rq, str_of(name));
    *has = v.n > 0;
    if (!v.n || (str_to_i64(v, out) && *out >= 0))
        return true;
    serve_fail(rq, 400, "%s: \"%.*s\" is not a number of at least 0", name, STR_ARG(v));
    return false;
}

static bool options(struct logs *l, struct http_req *rq)
{
    int64_t tail = 0, seconds = 0, limit = 0;
    bool has_seconds, has_limit;
    struct str since = http_query(rq, STR("sinceTime")), stream = http_query(rq, STR("stream"));
    if (!number(rq, "tailLines", &tail, &l->has_tail) || !number(rq, "sinceSeconds", &seconds, &has_seconds) ||
        !number(rq, "limitBytes", &limit, &has_limit))
        return false;
    if (since.n && !time_parse(since, &l->filter.since)) {
        serve_fail(rq, 400, "sinceTime: \"%.*s\" is not a time", STR_ARG(since));
        return false;
    }
    if (stream.n && !str_eqz(stream, "All") && !str_eqz(stream, "Stdout") && !str_eqz(stream, "Stderr")) {
        serve_fail(rq, 400, "stream: \"%.*s\" is not All, Stdout or Stderr", STR_ARG(stream));
        return false;
    }
    if (has_seconds)
        l->filter.since = clock_now(l->gate->clock) - MIN(seconds, INT64_C(1) << 32) * NS_PER_S;
    l->tail = (uint64_t)tail;
    l->filter.left = has_limit ? limit : -1;
    l->filter.stream = str_eqz(stream, "Stdout") ? LOG_STDOUT : str_eqz(stream, "Stderr") ? LOG_STDERR : LOG_ALL;
    l->filter.timestamps = serve_flag(rq, "timestamps");
    l->follow = serve_flag(rq, "follow");
    return true;
}

/* Has it a log? In the kubelet's words. */
static bool has_log(struct http_req *rq, const struct target *t, bool previous)
{
    const struct node_container_state *s = serve_state(t->pod, t->container);
    struct str c = t->container, pod = t->pod->name, why = STR("ContainerCreating");
    if (previous && (!s || !s->had_last)) {
        serve_fail(rq, 400, "previous terminated container \"%.*s\" in pod \"%.*s\" not found", STR_ARG(c), STR_ARG(pod));
        return false;
    }
    if (s && (s->state != CS_WAITING || s->had_last))
        return true;
    if (s && s->reason.n)
        why = str_eqz(s->reason, "ErrImagePull")       ? STR("image can't be pulled")
              : str_eqz(s->reason, "ImagePullBackOff") ? STR("trying and failing to pull image")
                                                       : s->reason;
    serve_fail(rq, 400, "container \"%.*s\" in pod \"%.*s\" is waiting to start: %.*s", STR_ARG(c), STR_ARG(pod), STR_ARG(why));
    return false;
}

void serve_logs(struct gate *g, struct http_req *rq, const struct target *t)
{
    bool previous = serve_flag(rq, "previous");
    const struct node_container_state *s = serve_state(t->pod, t->container);
    if (!has_log(rq, t, previous))
        return;
    struct logs *l = xcalloc(1, sizeof *l);
    *l = (struct logs){.gate = g, .rq = rq, .pool = pool_new()};
    l->ask = (struct node_log){pool_str(l->pool, t->pod->uid), pool_str(l->pool, t->container), previous};
    snprintf(l->run, sizeof l->run, "%.*s", STR_ARG(s->id));
    if (!options(l, rq)) {
        logs_free(l);
        return;
    }
    rq->user = l;
    rq->on_close = on_close;
    rq->on_drain = on_drain;
    uint64_t id = gate_ask(g, NODE_LOG, &node_log_type, &l->ask, on_files, l);
    if (id)
        l->id = id;
}
