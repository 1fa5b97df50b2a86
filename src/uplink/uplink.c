/* The lower side: dials, proves, serves what comes from above, hands in reports, and does so again when the link goes. */
#include "uplink/uplink.h"

#include <limits.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/log.h"
#include "uplink/control.h"
#include "crypto/crypto.h"
#include "uplink/proof.h"

#define BACKOFF_MIN (500 * NS_PER_MS)
#define BACKOFF_DEFAULT (30 * NS_PER_S)
#define REFUSED_WAIT (20 * NS_PER_S)
#define HANDSHAKE_LIMIT (15 * NS_PER_S)
#define MESSAGE_MAX (1u << 20)
#define INVENTORY_PART 2048
#define EXPORTER_LABEL "EXPORTER-sampan-uplink"

/*            ┌──────────────────────── link lost, refused, time-out ───────────────────────┐
 *            v                                                                             │
 *   WAITING ──timer──> DIALING ──ws──> PROVING ──welcome──> OPENING ──control──> CONNECTED ┘
 */
enum state { UP_WAITING, UP_DIALING, UP_PROVING, UP_OPENING, UP_CONNECTED };

struct uplink_call {
    struct list node;
    struct uplink *u;
    uint64_t id;
    uplink_reply_fn *done;
    void *arg;
};

struct dialing { struct uplink *u; /* NULL: nobody waits for it any more */ };
struct uplink {
    struct uplink_config c;
    struct endpoint ep; /* strings owned */
    char *prefix, *pin_path, *name, *token, *view, *info, *assigned;
    enum state state;
    struct timer timer; /* back-off, or the handshake's limit */
    int64_t backoff;
    struct http_client *client;
    struct ws *ws;
    struct http_server *server;
    struct control *control;
    struct list calls, remains;
    uint64_t next_id;
    /* of the handshake under way */
    struct buf hello;
    struct key *peer_key;
    bool answered;
    struct dialing *dialing; /* under way */
    unsigned char nonce[PROOF_NONCE];
};

static void dial(struct uplink *u);

/* ---- ending a link ---- */

static void fail_calls(struct uplink *u)
{
    _cleanup_(err_freep) struct err *e = NULL;
    struct list all;
    (void)err_set(&e, ERR_UNAVAILABLE, "not connected");
    list_init(&all);
    while (!list_empty(&u->calls)) { /* callbacks may start new calls: those fail by themselves */
        struct uplink_call *k = list_first(&u->calls, struct uplink_call, node);
        list_remove(&k->node);
        list_push(&all, &k->node);
    }
    while (!list_empty(&all)) {
        struct uplink_call *k = list_first(&all, struct uplink_call, node);
        list_remove(&k->node);
        k->done(k->arg, 0, STR_NULL, e);
        free(k);
    }
}

/* What carried a link that ended. Freed in a later turn, since the end is often heard from inside their own callbacks. */
struct remains {
    struct timer timer;
    struct list node;
    struct http_server *server;
    struct http_client *client;
};

static void remains_free(struct remains *r)
{
    timer_del(&r->timer);
    list_remove(&r->node);
    http_server_free(r->server);
    http_client_free(r->client);
    free(r);
}

static void on_remains(struct timer *t)
{
    remains_free(container_of(t, struct remains, timer));
}

static void drop_link(struct uplink *u)
{
    timer_del(&u->timer);
    if (u->dialing)
        TAKE(u->dialing)->u = NULL; /* freed when it is told */
    control_free(TAKE(u->control));
    if (u->ws)
        ws_close(TAKE(u->ws), 1001, STR("going"));
    if (u->server || u->client) {
        struct remains *r = xcalloc(1, sizeof *r);
        r->server = TAKE(u->server);
        r->client = TAKE(u->client);
        list_push(&u->remains, &r->node);
        timer_in(u->c.loop, &r->timer, 0, on_remains);
    }
    key_free(TAKE(u->peer_key));
    buf_clear(&u->hello);
    if (u->c.mirror)
        mirror_stage_drop(u->c.mirror);
    if (u->c.outbox)
        outbox_rewind(u->c.outbox);
}

static void on_timer(struct timer *t);

static int64_t with_jitter(int64_t ns)
{
    return ns / 2 + (int64_t)(random_u64() % (uint64_t)ns);
}

static void lost(struct uplink *u, const struct err *why)
{
    bool refused = why && (why->code == ERR_UNAUTHORIZED || why->code == ERR_FORBIDDEN);
    drop_link(u);
    u->state = UP_WAITING;
    u->backoff = u->backoff ? MIN(u->backoff * 2, u->c.backoff_max_ns ? u->c.backoff_max_ns : BACKOFF_DEFAULT) : BACKOFF_MIN;
    timer_in(u->c.loop, &u->timer, with_jitter(refused ? REFUSED_WAIT : u->backoff), on_timer);
    fail_calls(u);
    if (u->c.on_state)
        u->c.on_state(u->c.arg, false, STR_NULL, why);
}

static void lost_with(struct uplink *u, enum err_code code, const char *message)
{
    _cleanup_(err_freep) struct err *e = NULL;
    (void)err_set(&e, code, "%s", message);
    lost(u, e);
}

static void on_timer(struct timer *t)
{
    struct uplink *u = container_of(t, struct uplink, timer);
    if (u->state == UP_WAITING)
        dial(u);
    else
        lost_with(u, ERR_TIMEOUT, "the upper side does not answer in time");
}

/* ---- outbox and calls ---- */

static void send_request(
    struct uplink *u, enum control_type type, uint64_t id, struct str method, struct str path, struct str content_type, struct str body)
{
    struct c_request m = {id, method, path, content_type, body};
    control_send(u->control, type, &c_request_type, &m);
}

static void pump_outbox(void *arg)
{
    struct uplink *u = arg;
    const struct outbox_entry *x;
    if (u->state != UP_CONNECTED)
        return;
    while (control_queued(u->control) < 256 * 1024 && (x = outbox_next(u->c.outbox)))
        send_request(u, C_ENTRY, x->seq, x->method, x->path, x->content_type, x->body);
}

struct uplink_call *uplink_call(
    struct uplink *u, struct str method, struct str path, struct str content_type, struct str body, uplink_reply_fn *done, void *arg)
{
    _cleanup_(err_freep) struct err *e = NULL;
    if (u->state != UP_CONNECTED) {
        (void)err_set(&e, ERR_UNAVAILABLE, "not connected");
        done(arg, 0, STR_NULL, e);
        return NULL;
    }
    struct uplink_call *k = xcalloc(1, sizeof *k);
    *k = (struct uplink_call){.u = u, .id = ++u->next_id, .done = done, .arg = arg};
    list_push(&u->calls, &k->node);
    send_request(u, C_CALL, k->id, method, path, content_type, body);
    return k;
}

void uplink_call_cancel(struct uplink_call *k)
{
    if (!k)
        return;
    list_remove(&k->node);
    free(k);
}

static void on_reply(struct uplink *u, const struct c_reply *m)
{
    struct uplink_call *k;
    list_for (&u->calls, k, node)
        if (k->id == m->id) {
            struct uplink_call x = *k;
            list_remove(&k->node);
            free(k);
            x.done(x.arg, (int)m->status, m->body, NULL);
            return;
        }
}

/* ---- mirror ---- */

static void send_cut(struct uplink *u, enum control_type type)
{
    struct mirror_cut cut = mirror_cut(u->c.mirror);
    struct c_cut m = {.store_uid = str_of(cut.store_uid), .epoch = cut.epoch, .rev = cut.rev};
    control_send(u->control, type, &c_cut_type, &m);
}

struct inventory_part {
    struct uplink *u;
    struct c_item items[INVENTORY_PART];
    size_t n;
};

static void send_part(struct inventory_part *part, bool last)
{
    struct c_inventory m = {.items = part->items, .nitems = part->n, .last = last};
    control_send(part->u->control, C_INVENTORY, &c_inventory_type, &m);
    part->n = 0;
}

static bool add_item(void *arg, const struct mirror_item *it)
{
    struct inventory_part *part = arg;
    part->items[part->n++] = (struct c_item){it->key, it->uid, it->rev};
    if (part->n == INVENTORY_PART)
        send_part(part, false);
    return true;
}

static void send_inventory(struct uplink *u)
{
    struct inventory_part *part = xcalloc(1, sizeof *part);
    part->u = u;
    mirror_each(u->c.mirror, STR(""), add_item, part);
    send_part(part, true);
    free(part);
}

static void on_commit(struct uplink *u, const struct c_cut *m)
{
    _cleanup_(err_freep) struct err *e = NULL;
    if (mirror_commit(u->c.mirror, m->store_uid, m->epoch, m->rev, &e) < 0) {
        lost(u, e); /* a full disk: what was acknowledged stands, the rest is asked for again */
        return;
    }
    send_cut(u, C_ACK);
}

/* ---- frames from above ---- */

static int on_mirror_frame(struct uplink *u, enum control_type type, struct str body, struct pool *p, struct err **e)
{
    struct c_object o = {0};
    struct c_cut cut = {0};
    if (!u->c.mirror)
        return err_set(e, ERR_BAD_REQUEST, "a mirror was not asked for");
    if (type == C_ASK_INVENTORY) {
        send_inventory(u);
        return 0;
    }
    if (type == C_COMMIT) {
        int r = wire_decode(&c_cut_type, body, p, &cut, e);
        if (r == 0)
            on_commit(u, &cut);
        return r;
    }
    if (wire_decode(&c_object_type, body, p, &o, e) < 0)
        return -ERR_PARSE;
    if (type == C_UPSERT)
        mirror_stage_put(u->c.mirror, o.key, o.uid, o.rev, o.bytes);
    else
        mirror_stage_delete(u->c.mirror, o.key, o.uid, o.rev);
    return 0;
}

static int on_reply_frame(struct uplink *u, enum control_type type, struct str body, struct pool *p, struct err **e)
{
    struct c_reply m = {0};
    if (wire_decode(&c_reply_type, body, p, &m, e) < 0)
        return -ERR_PARSE;
    if (type == C_REPLY) {
        on_reply(u, &m);
    } else if (u->c.outbox) {
        outbox_done(u->c.outbox, m.id, (int)m.status, m.body);
        pump_outbox(u);
    }
    return 0;
}

static void on_frame(void *arg, enum control_type type, struct str body)
{
    struct uplink *u = arg;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    int r = 0;
    switch (type) {
    case C_UPSERT:
    case C_DELETE:
    case C_COMMIT:
    case C_ASK_INVENTORY:
        r = on_mirror_frame(u, type, body, p, &e);
        break;
    case C_ENTRY_DONE:
    case C_REPLY:
        r = on_reply_frame(u, type, body, p, &e);
        break;
    default:
        r = err_set(&e, ERR_BAD_REQUEST, "unexpected frame %d", type);
    }
    if (r < 0)
        lost(u, e);
}

static void on_control_drain(void *arg)
{
    struct uplink *u = arg;
    if (u->c.outbox)
        pump_outbox(u);
}

static void on_control_gone(void *arg, const struct err *why)
{
    lost(arg, why);
}

static void start_control(struct uplink *u, struct stream *s)
{
    static const struct control_ops ops = {on_frame, on_control_drain, on_control_gone};
    timer_del(&u->timer);
    u->control = control_new(s, u->c.idle_ns, u->c.active_ns, &ops, u);
    u->state = UP_CONNECTED;
    u->backoff = 0;
    if (u->c.mirror)
        send_cut(u, C_RESUME);
    if (u->c.on_state)
        u->c.on_state(u->c.arg, true, str_of(u->assigned), NULL);
    if (u->c.outbox && u->state == UP_CONNECTED)
        pump_outbox(u);
}

/* Requests from above: the first is the control stream, the rest are the owner's. */
static void on_request(struct http_req *rq, void *arg)
{
    struct uplink *u = arg;
    if (!str_eqz(rq->protocol, "sampan-control")) {
        u->c.handler(rq, u->c.handler_arg);
        return;
    }
    if (u->state != UP_OPENING) {
        http_reply_str(rq, 409, "text/plain", STR("there is a control stream already\n"));
        return;
    }
    struct stream *s = http_upgrade(rq, NULL, 0);
    if (s)
        start_control(u, s);
}

/* ---- the proof ---- */

static int check_pin(struct uplink *u, struct str public_key, struct err **e)
{
    _cleanup_(buf_clear) struct buf pinned = BUF_INIT, hex = BUF_INIT;
    if (!u->pin_path)
        return 0;
    buf_hex(&hex, public_key.p, public_key.n);
    if (!file_exists(u->pin_path))
        return 0; /* the first join: TLS has verified the token's CA hash; kept when we are welcome */
    if (file_read(u->pin_path, 256, &pinned, e) < 0)
        return err_wrap(e, "pin of the upper side");
    if (!str_eq(str_trim(buf_str(&pinned)), buf_str(&hex)))
        return err_set(e, ERR_FORBIDDEN, "the upper side shows another identity than the one joined (pinned in %s)", u->pin_path);
    return 0;
}

static int keep_pin(struct uplink *u, struct err **e)
{
    unsigned char raw[KEY_PUBLIC];
    _cleanup_(buf_clear) struct buf hex = BUF_INIT;
    if (!u->pin_path || file_exists(u->pin_path))
        return 0;
    if (key_public_bytes(u->peer_key, raw, e) < 0)
        return -ERR_INTERNAL;
    buf_hex(&hex, raw, sizeof raw);
    buf_putc(&hex, '\n');
    return file_replace(u->pin_path, buf_str(&hex), 0600, e);
}

static struct str exporter_of(const struct uplink *u, unsigned char out[32])
{
    struct stream *below = u->c.through_proxy ? NULL : ws_below(u->ws);
    return below && stream_exporter(below, EXPORTER_LABEL, out, 32) ? str_make((char *)out, 32) : STR_NULL;
}

static int on_answer(struct uplink *u, struct str body, struct pool *p, struct err **e)
{
    struct up_answer a = {0};
    unsigned char transcript[32], exporter[32], sig[KEY_SIGNATURE];
    _cleanup_(buf_clear) struct buf out = BUF_INIT;
    if (wire_decode(&up_answer_type, body, p, &a, e) < 0)
        return err_wrap(e, "answer");
    if (a.version != UPLINK_VERSION || a.nonce.n != PROOF_NONCE)
        return err_set(e, ERR_BAD_REQUEST, "the upper side speaks version %" PRIu64 " of the uplink", a.version);
    if (key_from_public_bytes(a.public_key, &u->peer_key, e) < 0)
        return err_wrap(e, "answer");
    proof_transcript(buf_str(&u->hello), &a, exporter_of(u, exporter), transcript);
    if (!proof_check_upper(u->peer_key, transcript, a.signature))
        return err_set(e, ERR_FORBIDDEN, "the upper side did not prove its identity");
    if (check_pin(u, a.public_key, e) < 0)
        return -(int)(*e)->code;
    struct str token = str_of(u->token);
    if (proof_sign_lower(u->c.key, transcript, token, sig, e) < 0)
        return -ERR_INTERNAL;
    struct up_proof proof = {str_make((char *)sig, sizeof sig), token};
    wire_encode(&up_proof_type, &proof, &out);
    ws_send(u->ws, WS_BINARY, out.p, out.n);
    crypto_wipe_buf(&out);
    if (u->c.clock)
        clock_correct(u->c.clock, a.now);
    u->answered = true;
    return 0;
}

static int on_welcome(struct uplink *u, struct str body, struct pool *p, struct err **e)
{
    static const struct http_limits limits = {.idle_ms = INT_MAX, .streams = 1000};
    struct up_welcome w = {0};
    if (wire_decode(&up_welcome_type, body, p, &w, e) < 0)
        return err_wrap(e, "welcome");
    if (w.code)
        return err_set(e, (enum err_code)w.code, "%.*s", STR_ARG(w.message));
    if (keep_pin(u, e) < 0)
        return err_wrap(e, "pin of the upper side");
    free(u->assigned);
    u->assigned = str_dup(w.name);
    u->state = UP_OPENING;
    u->server = http_server_new(u->c.loop, &limits, on_request, u);
    http_serve(u->server, ws_stream(TAKE(u->ws)), NULL, NULL);
    return 0;
}

static void on_ws_message(void *arg, enum ws_op op, const char *bytes, size_t n)
{
    struct uplink *u = arg;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    int r = op != WS_BINARY ? err_set(&e, ERR_BAD_REQUEST, "the upper side broke the protocol")
            : u->answered   ? on_welcome(u, str_make(bytes, n), p, &e)
                            : on_answer(u, str_make(bytes, n), p, &e);
    if (r < 0)
        lost(u, e);
}

static void on_ws_close(void *arg, int code, struct str reason)
{
    struct uplink *u = arg;
    _cleanup_(err_freep) struct err *e = NULL;
    u->ws = NULL;
    (void)err_set(&e, ERR_UNAVAILABLE, "the upper side closed the connection (%d %.*s)", code, STR_ARG(reason));
    lost(u, e);
}

static int say_hello(struct uplink *u, struct err **e)
{
    unsigned char raw[KEY_PUBLIC], exporter[32];
    struct mirror_cut cut = {0};
    if (key_public_bytes(u->c.key, raw, e) < 0)
        return -ERR_INTERNAL;
    if (u->c.mirror)
        cut = mirror_cut(u->c.mirror);
    random_bytes(u->nonce, sizeof u->nonce);
    struct up_hello h = {
        .version_min = UPLINK_VERSION,
        .version_max = UPLINK_VERSION,
        .public_key = str_make((char *)raw, sizeof raw),
        .nonce = str_make((char *)u->nonce, sizeof u->nonce),
        .view = str_of(u->view),
        .name = str_of(u->name),
        .info = str_of(u->info),
        .store_uid = str_of(cut.store_uid),
        .epoch = cut.epoch,
        .rev = cut.rev,
        .bound = exporter_of(u, exporter).n != 0,
        .idle_ms = (uint64_t)(u->c.idle_ns / NS_PER_MS),
    };
    wire_encode(&up_hello_type, &h, &u->hello);
    ws_send(u->ws, WS_BINARY, u->hello.p, u->hello.n);
    return 0;
}

static void on_ws_open(void *arg, struct ws *w, const char *chosen, const struct err *why)
{
    static const struct ws_events events = {on_ws_message, NULL, on_ws_close};
    struct dialing *d = arg;
    struct uplink *u = d->u;
    _cleanup_(err_freep) struct err *e = NULL;
    free(d);
    if (!u) { /* given up meanwhile: what is heard now says nothing of the link that came after */
        if (w)
            ws_close(w, 1001, STR("going"));
        return;
    }
    u->dialing = NULL;
    if (!w) {
        lost(u, why);
        return;
    }
    u->ws = w;
    control_no_keepalive(w);
    u->state = UP_PROVING;
    if (!chosen)
        (void)err_set(&e, ERR_BAD_REQUEST, "the other end is no Sampan (subprotocol " UPLINK_PROTOCOL " was not accepted)");
    if (e || say_hello(u, &e) < 0) {
        lost(u, e);
        return;
    }
    ws_use(w, &events, u);
}

static void dial(struct uplink *u)
{
    static const char *const protocols[] = {UPLINK_PROTOCOL, NULL};
    _cleanup_(freep) char *path = xasprintf("%s%s", u->prefix, UPLINK_PATH);
    struct http_request rq = {.method = STR("GET"), .path = str_of(path)};
    u->answered = false;
    u->state = UP_DIALING;
    timer_in(u->c.loop, &u->timer, HANDSHAKE_LIMIT, on_timer);
    u->client = http_client_new(u->c.loop, &u->ep, NULL);
    u->dialing = xcalloc(1, sizeof *u->dialing);
    u->dialing->u = u;
    ws_dial(u->client, &rq, protocols, MESSAGE_MAX, on_ws_open, u->dialing);
}

/* ---- life ---- */

static char *dup_or(const char *s, const char *otherwise)
{
    return s ? xstrdup(s) : otherwise ? xstrdup(otherwise) : NULL;
}

static void endpoint_copy(struct endpoint *to, const struct endpoint *from)
{
    free((char *)to->unix_path);
    free((char *)to->host);
    free((char *)to->sni);
    free((char *)to->proxy);
    *to = *from;
    to->unix_path = dup_or(from->unix_path, NULL);
    to->host = dup_or(from->host, NULL);
    to->sni = dup_or(from->sni, NULL);
    to->proxy = dup_or(from->proxy, NULL);
}

static void start(struct timer *t)
{
    dial(container_of(t, struct uplink, timer));
}

struct uplink *uplink_new(const struct uplink_config *c, struct err **e)
{
    if (!c->handler || !c->key || key_kind(c->key) != KEY_ED25519) {
        (void)err_set(e, ERR_INTERNAL, "uplink: handler and an Ed25519 key are required");
        return NULL;
    }
    struct uplink *u = xcalloc(1, sizeof *u);
    u->c = *c;
    u->c.key = key_ref(c->key);
    u->c.idle_ns = c->idle_ns ? c->idle_ns : 30 * NS_PER_S;
    u->c.active_ns = c->active_ns ? c->active_ns : 5 * NS_PER_S;
    endpoint_copy(&u->ep, &c->endpoint);
    u->prefix = dup_or(c->path_prefix, "");
    u->pin_path = dup_or(c->pin_path, NULL);
    u->name = str_dup(c->name);
    u->token = str_dup(c->token);
    u->view = str_dup(c->view);
    u->info = str_dup(c->info);
    list_init(&u->calls);
    list_init(&u->remains);
    if (c->outbox)
        outbox_on_ready(c->outbox, pump_outbox, u);
    timer_in(c->loop, &u->timer, 0, start);
    return u;
}

void uplink_free(struct uplink *u)
{
    if (!u)
        return;
    if (u->c.outbox)
        outbox_on_ready(u->c.outbox, NULL, NULL);
    drop_link(u);
    while (!list_empty(&u->remains))
        remains_free(list_first(&u->remains, struct remains, node));
    fail_calls(u);
    endpoint_copy(&u->ep, &(struct endpoint){0});
    explicit_bzero(u->token, strlen(u->token));
    char *all[] = {u->prefix, u->pin_path, u->name, u->token, u->view, u->info, u->assigned};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        free(all[i]);
    key_free(u->c.key);
    free(u);
}

bool uplink_connected(const struct uplink *u)
{
    return u && u->state == UP_CONNECTED;
}

void uplink_redial(struct uplink *u, const struct endpoint *ep)
{
    if (ep)
        endpoint_copy(&u->ep, ep);
    drop_link(u);
    fail_calls(u);
    u->state = UP_WAITING;
    u->backoff = 0;
    timer_in(u->c.loop, &u->timer, 0, on_timer);
}
