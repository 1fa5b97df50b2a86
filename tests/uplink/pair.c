#include "pair.h"
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "harness.h"

/* ---- the relay ---- */
struct link {
    struct pair *p;
    size_t at;
    struct stream *s[2];
    struct dial *dial;
    struct buf early;
};
struct side {
    struct link *k;
    int i;
};

static void link_end(struct link *k)
{
    k->p->links[k->at] = NULL;
    stream_abort(k->s[0]);
    stream_abort(k->s[1]);
    dial_cancel(k->dial);
    buf_clear(&k->early);
    free(k);
}

static void pass(struct link *k, int from, const char *p, size_t n)
{
    struct pair *pair = k->p;
    if (pair->deaf)
        return;
    if (pair->budget && (int64_t)n >= pair->budget) {
        pair->budget = 0;
        pair->cuts++;
        link_end(k);
        return;
    }
    if (pair->budget)
        pair->budget -= (int64_t)n;
    if (k->s[!from])
        stream_write(k->s[!from], p, n);
    else
        buf_add(&k->early, p, n);
}

static void data0(void *arg, const char *p, size_t n)
{
    pass(arg, 0, p, n);
}
static void data1(void *arg, const char *p, size_t n)
{
    pass(arg, 1, p, n);
}
static void close0(void *arg, const struct err *why)
{
    ((struct link *)arg)->s[0] = NULL, link_end(arg);
}
static void close1(void *arg, const struct err *why)
{
    ((struct link *)arg)->s[1] = NULL, link_end(arg);
}
static const struct stream_events events0 = {.on_data = data0, .on_close = close0}, events1 = {.on_data = data1, .on_close = close1};

static void dialed(void *arg, struct stream *s, const struct err *e)
{
    struct link *k = arg;
    k->dial = NULL;
    if (!s) {
        link_end(k);
        return;
    }
    k->s[1] = s;
    stream_write(s, k->early.p, k->early.n);
    stream_use(s, &events1, k);
}

static void on_accept(struct watch *w, uint32_t events)
{
    struct pair *p = container_of(w, struct pair, relay);
    size_t at = 0;
    int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC);
    while (at < ARRAY_LEN(p->links) && p->links[at])
        at++;
    if (fd < 0 || at == ARRAY_LEN(p->links))
        test_fail(__FILE__, __LINE__, "relay: accept");
    struct link *k = xcalloc(1, sizeof *k);
    struct endpoint ep = {.unix_path = p->upper_path};
    k->p = p;
    k->at = at;
    p->links[at] = k;
    k->s[0] = stream_fd_new(p->loop, fd, NULL);
    k->dial = stream_dial(p->loop, &ep, dialed, k);
    stream_use(k->s[0], &events0, k);
}

void pair_cut(struct pair *p)
{
    for (size_t i = 0; i < ARRAY_LEN(p->links); i++)
        if (p->links[i])
            link_end(p->links[i]);
}

/* ---- the upper side ---- */
static int64_t epoch(void *arg)
{
    return ((struct pair *)arg)->epoch;
}

static void copy(char *to, size_t max, struct str s)
{
    snprintf(to, max, "%.*s", STR_ARG(s));
}

static void decide(struct pair *p, struct uplink_peer *peer, const struct uplink_who *who)
{
    for (size_t i = 0; i < ARRAY_LEN(p->known); i++)
        if (str_eqz(who->key_id, p->known[i])) {
            uplink_admit(peer, STR("known"));
            return;
        }
    for (size_t i = 0; i < ARRAY_LEN(p->tokens); i++)
        if (p->tokens[i].n && str_eq_secret(p->tokens[i], who->token)) {
            p->tokens[i] = STR_NULL;
            copy(p->known[i], sizeof p->known[i], who->key_id);
            uplink_admit(peer, who->name);
            return;
        }
    _cleanup_(err_freep) struct err *e = NULL;
    err_set(&e, ERR_UNAUTHORIZED, "unknown token");
    uplink_refuse(peer, e);
}

static void on_hello(void *arg, struct uplink_peer *peer, const struct uplink_who *who)
{
    struct pair *p = arg;
    p->hellos++;
    copy(p->seen_token, sizeof p->seen_token, who->token);
    copy(p->seen_name, sizeof p->seen_name, who->name);
    copy(p->seen_view, sizeof p->seen_view, who->view);
    copy(p->seen_info, sizeof p->seen_info, who->info);
    copy(p->seen_key, sizeof p->seen_key, who->key_id);
    p->asked = peer;
    if (!p->hold_hello)
        decide(p, peer, who);
}

static void on_connected(void *arg, struct uplink_peer *peer)
{
    struct pair *p = arg;
    p->connects++;
    p->peer = peer;
}

static void on_resume(void *arg, struct uplink_peer *peer, bool known, int64_t at_epoch, int64_t rev)
{
    struct pair *p = arg;
    p->resumes++;
    p->resume_known = known;
    p->resume_epoch = at_epoch;
    p->resume_rev = rev;
    p->peer = peer;
    if (p->on_resumed)
        p->on_resumed(p);
}

static void on_inventory(void *arg, struct uplink_peer *peer, const struct mirror_item *items, size_t n)
{
    struct pair *p = arg;
    p->inventories++;
    p->inventory_items = n;
}

static void on_ack(void *arg, struct uplink_peer *peer, int64_t rev)
{
    ((struct pair *)arg)->acked = rev;
}

static void on_entry(void *arg, struct uplink_peer *peer, const struct outbox_entry *x)
{
    struct pair *p = arg;
    p->peer = peer;
    if (p->on_entry) {
        p->on_entry(p, x);
        return;
    }
    buf_printf(&p->entries, "%.*s=%.*s;", STR_ARG(x->path), STR_ARG(x->body));
    if (p->entry_status)
        uplink_entry_done(peer, x->seq, p->entry_status, STR("why"));
}

static void on_call(void *arg, struct uplink_peer *peer, uint64_t id, struct str method, struct str path, struct str type, struct str body)
{
    struct pair *p = arg;
    buf_printf(&p->calls, "%.*s %.*s %.*s;", STR_ARG(method), STR_ARG(path), STR_ARG(body));
    p->held_call = id;
    if (!p->hold_calls)
        uplink_reply(peer, id, 201, body);
}

static void on_closed(void *arg, struct uplink_peer *peer, const struct err *why)
{
    struct pair *p = arg;
    p->closes++;
    free(p->closed_why);
    p->closed_why = xstrdup(why ? err_msg(why) : "");
    if (p->peer == peer)
        p->peer = NULL;
    if (p->asked == peer)
        p->asked = NULL;
}

static void upper_handler(struct http_req *rq, void *arg)
{
    struct pair *p = arg;
    if (str_eqz(rq->path, UPLINK_PATH))
        uplink_accept(rq, &p->accept);
    else
        http_reply_str(rq, 404, "text/plain", STR("not here"));
}

/* ---- the lower side ---- */
static void echo(struct http_req *rq, struct str body)
{
    http_reply_str(rq, 200, "text/plain", body);
}

static void s_data(void *arg, const char *p, size_t n)
{
    stream_write(*(struct stream **)arg, p, n);
}
static void s_close(void *arg, const struct err *why)
{
    free(arg);
}
static const struct stream_events s_events = {.on_data = s_data, .on_close = s_close};

static void lower_handler(struct http_req *rq, void *arg)
{
    struct pair *p = arg;
    buf_printf(&p->requests, "%.*s %.*s;", STR_ARG(rq->method), STR_ARG(rq->path));
    if (str_eq(rq->protocol, STR("echo"))) {
        struct stream **self = xcalloc(1, sizeof *self);
        *self = http_upgrade(rq, NULL, 0);
        stream_use(*self, &s_events, self);
        return;
    }
    http_body(rq, 0, echo);
}

static void on_state(void *arg, bool connected, struct str name, const struct err *why)
{
    struct pair *p = arg;
    if (connected) {
        p->ups++;
        copy(p->assigned, sizeof p->assigned, name);
        return;
    }
    p->downs++;
    p->down_code = why ? why->code : ERR_NONE;
    free(p->down_why);
    p->down_why = xstrdup(why ? err_msg(why) : "");
}

/* ---- both ---- */
void pair_open(struct pair *p)
{
    struct err *e = NULL;
    char addr[220];
    *p = (struct pair){.epoch = 3, .entry_status = 200, .store_uid = "store-1"};
    p->loop = loop_new(&e);
    p->clock = clock_new(NULL);
    snprintf(p->upper_path, sizeof p->upper_path, "%s/upper", test_tmpdir());
    snprintf(p->relay_path, sizeof p->relay_path, "%s/relay", test_tmpdir());
    snprintf(p->pin_path, sizeof p->pin_path, "%s/pin", test_tmpdir());
    p->upper_key = key_make(KEY_ED25519, &e);
    p->lower_key = key_make(KEY_ED25519, &e);
    p->accept = (struct uplink_accept_config){
        .loop = p->loop,
        .clock = p->clock,
        .key = p->upper_key,
        .store_uid = str_of(p->store_uid),
        .epoch = epoch,
        .on_hello = on_hello,
        .on_connected = on_connected,
        .on_resume = on_resume,
        .on_inventory = on_inventory,
        .on_ack = on_ack,
        .on_entry = on_entry,
        .on_call = on_call,
        .on_closed = on_closed,
        .arg = p,
    };
    p->server = http_server_new(p->loop, NULL, upper_handler, p);
    snprintf(addr, sizeof addr, "unix:%s", p->upper_path);
    int fd = http_bind(addr, 16, &e);
    OK(fd >= 0);
    FINE(http_listen(p->server, fd, NULL, &e), e);
    snprintf(addr, sizeof addr, "unix:%s", p->relay_path);
    p->relay_fd = http_bind(addr, 16, &e);
    OK(p->relay_fd >= 0);
    FINE(watch_add(p->loop, &p->relay, p->relay_fd, EPOLLIN, on_accept, &e), e);
    p->tokens[0] = STR("s3cret");
    p->config = (struct uplink_config){
        .loop = p->loop,
        .clock = p->clock,
        .endpoint = {.unix_path = p->relay_path},
        .key = p->lower_key,
        .pin_path = p->pin_path,
        .view = STR("node"),
        .name = STR("n1"),
        .token = STR("s3cret"),
        .info = STR("{}"),
        .handler = lower_handler,
        .handler_arg = p,
        .on_state = on_state,
        .arg = p,
    };
}

void pair_start(struct pair *p)
{
    struct err *e = NULL;
    uplink_free(p->up);
    p->up = uplink_new(&p->config, &e);
    if (!p->up)
        test_fail(__FILE__, __LINE__, "%s", err_msg(e));
}

void pair_close(struct pair *p)
{
    uplink_free(p->up);
    watch_del(&p->relay);
    close(p->relay_fd);
    pair_cut(p);
    http_server_free(p->server);
    for (int i = 0; i < 20 || loop_step(p->loop, 0) > 0; i++)
        loop_step(p->loop, 0);
    mirror_close(p->config.mirror);
    outbox_close(p->config.outbox);
    loop_free(p->loop);
    key_free(p->upper_key);
    key_free(p->lower_key);
    clock_free(p->clock);
    buf_clear(&p->entries);
    buf_clear(&p->calls);
    buf_clear(&p->requests);
    free(p->closed_why);
    free(p->down_why);
}

void pair_step(struct pair *p, int ms)
{
    int64_t end = loop_now(p->loop) + ms * NS_PER_MS;
    for (int idle = 0; idle < 4 || loop_now(p->loop) < end;) /* a slow machine gets the time that it needs */
        idle = loop_step(p->loop, 2) > 0 ? 0 : idle + 1;
}

bool pair_until(struct pair *p, bool (*is)(struct pair *p), int ms)
{
    int64_t end = loop_now(p->loop) + ms * NS_PER_MS;
    while (!is(p) && loop_now(p->loop) < end)
        loop_step(p->loop, 5);
    return is(p);
}

bool pair_connected(struct pair *p)
{
    return p->peer && uplink_connected(p->up);
}
bool pair_down(struct pair *p)
{
    return p->downs > 0;
}
