/* The upper side: one struct uplink_peer per lower tier that dialled. */
#include <stdlib.h>

#include "base/file.h"
#include "crypto/crypto.h"
#include "uplink/control.h"
#include "uplink/proof.h"
#include "uplink/uplink.h"

#define MESSAGE_MAX (1u << 20)
#define HANDSHAKE_LIMIT (15 * NS_PER_S)
#define IDLE_NS (12 * NS_PER_S) /* of a lower side that says nothing about it */
#define IDLE_MOST_MS 600000
#define PROBE_AFTER (5 * NS_PER_S)
#define ACTIVE_NS (5 * NS_PER_S)
#define INVENTORY_MAX 1000000
#define EXPORTER_LABEL "EXPORTER-sampan-uplink"

/*   HELLO ──hello──> PROOF ──proof──> ASKED ──admit──> OPENING ──control──> CONNECTED
 *     └───────────────┴─────────────────┴──refuse, time-out, close───┴───────> CLOSED
 */
enum peer_state { PEER_HELLO, PEER_PROOF, PEER_ASKED, PEER_OPENING, PEER_CONNECTED, PEER_CLOSED };

struct uplink_peer {
    struct uplink_accept_config c;
    enum peer_state state;
    struct ws *ws;
    struct stream *below; /* shown in uplink_who; valid until the WebSocket is taken over */
    struct http_client *client;
    struct http_call *opening;
    struct control *control;
    struct timer timer; /* the handshake's limit, then the deferred end */
    struct pool *pool;  /* of the handshake */
    struct key *key;
    struct str hello;
    struct up_answer answer;
    unsigned char transcript[32];
    struct uplink_who who;
    char *name, *key_id;
    void *user;
    struct mirror_item *inventory;
    size_t ninventory;
    struct pool *inventory_pool;
    void (*on_drain)(void *arg, struct uplink_peer *p);
    int64_t idle;  /* how long it may say nothing */
    int64_t heard; /* of a link that has ended */
    bool told;     /* on_hello was called, so on_closed is owed */
};

/* ---- the end ---- */

static void free_peer(struct timer *t)
{
    struct uplink_peer *p = container_of(t, struct uplink_peer, timer);
    http_client_free(p->client);
    pool_free(p->pool);
    pool_free(p->inventory_pool);
    key_free(p->key);
    free(p->name);
    free(p->key_id);
    free(p);
}

/* Its parts are let go in a later turn: this is often called from inside their callbacks. */
static void end(struct uplink_peer *p, const struct err *why)
{
    if (p->state == PEER_CLOSED)
        return;
    p->state = PEER_CLOSED;
    if (p->opening)
        http_call_cancel(TAKE(p->opening));
    if (p->control)
        p->heard = control_heard(p->control);
    control_free(TAKE(p->control));
    if (p->ws)
        ws_close(TAKE(p->ws), why ? 1008 : 1000, why ? str_of(err_msg(why)) : STR(""));
    timer_in(p->c.loop, &p->timer, 0, free_peer);
    if (p->told)
        p->c.on_closed(p->c.arg, p, why);
}

static void end_with(struct uplink_peer *p, enum err_code code, const char *message)
{
    _cleanup_(err_freep) struct err *e = NULL;
    (void)err_set(&e, code, "%s", message);
    end(p, e);
}

static void on_limit(struct timer *t)
{
    end_with(container_of(t, struct uplink_peer, timer), ERR_TIMEOUT, "no proof of identity within the time limit");
}

void uplink_close(struct uplink_peer *p, const struct err *why)
{
    end(p, why);
}

/* ---- frames from below ---- */

static int on_inventory_frame(struct uplink_peer *p, struct str body, struct err **e)
{
    struct c_inventory m = {0};
    if (!p->inventory_pool)
        p->inventory_pool = pool_new();
    if (wire_decode(&c_inventory_type, pool_str(p->inventory_pool, body), p->inventory_pool, &m, e) < 0)
        return -ERR_PARSE;
    if (p->ninventory + m.nitems > INVENTORY_MAX)
        return err_set(e, ERR_LIMIT, "inventory: more than %d items", INVENTORY_MAX);
    p->inventory = pool_grow(
        p->inventory_pool, p->inventory, p->ninventory * sizeof *p->inventory, (p->ninventory + m.nitems + 1) * sizeof *p->inventory);
    for (size_t i = 0; i < m.nitems; i++)
        p->inventory[p->ninventory++] = (struct mirror_item){m.items[i].key, m.items[i].uid, m.items[i].rev, NULL};
    if (!m.last)
        return 0;
    _cleanup_(pool_freep) _unused_ struct pool *keep = TAKE(p->inventory_pool); /* of the items, until they were handed over */
    struct mirror_item *items = TAKE(p->inventory);
    size_t n = p->ninventory;
    p->ninventory = 0;
    p->c.on_inventory(p->c.arg, p, items, n);
    return 0;
}

static int on_cut_frame(struct uplink_peer *p, enum control_type type, struct str body, struct pool *pool, struct err **e)
{
    struct c_cut m = {0};
    if (wire_decode(&c_cut_type, body, pool, &m, e) < 0)
        return -ERR_PARSE;
    if (type == C_ACK) {
        p->c.on_ack(p->c.arg, p, m.rev);
        return 0;
    }
    int64_t epoch = p->c.epoch ? p->c.epoch(p->c.arg) : 0;
    bool known = str_eq(m.store_uid, p->c.store_uid) && m.epoch <= epoch && m.rev > 0;
    p->c.on_resume(p->c.arg, p, known, m.epoch, m.rev);
    return 0;
}

static int on_request_frame(struct uplink_peer *p, enum control_type type, struct str body, struct pool *pool, struct err **e)
{
    struct c_request m = {0};
    if (wire_decode(&c_request_type, body, pool, &m, e) < 0)
        return -ERR_PARSE;
    if (type == C_CALL) {
        p->c.on_call(p->c.arg, p, m.id, m.method, m.path, m.content_type, m.body);
    } else {
        struct outbox_entry x = {m.id, STR_NULL, m.method, m.path, m.content_type, m.body};
        p->c.on_entry(p->c.arg, p, &x);
    }
    return 0;
}

static void on_frame(void *arg, enum control_type type, struct str body)
{
    struct uplink_peer *p = arg;
    _cleanup_(pool_freep) struct pool *pool = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    int r;
    switch (type) {
    case C_RESUME:
    case C_ACK:
        r = on_cut_frame(p, type, body, pool, &e);
        break;
    case C_INVENTORY:
        r = on_inventory_frame(p, body, &e);
        break;
    case C_ENTRY:
    case C_CALL:
        r = on_request_frame(p, type, body, pool, &e);
        break;
    default:
        r = err_set(&e, ERR_BAD_REQUEST, "unexpected frame %d", type);
    }
    if (r < 0)
        end(p, e);
}

static void on_control_drain(void *arg)
{
    struct uplink_peer *p = arg;
    if (p->on_drain)
        p->on_drain(p->c.arg, p);
}

static void on_control_gone(void *arg, const struct err *why)
{
    end(arg, why);
}

/* ---- opening ---- */

static void on_control_open(void *arg, struct stream *s, const struct http_response *r, const struct err *why)
{
    static const struct control_ops ops = {on_frame, on_control_drain, on_control_gone};
    struct uplink_peer *p = arg;
    (void)r;
    p->opening = NULL;
    if (!s) {
        end(p, why);
        return;
    }
    timer_del(&p->timer);
    p->control = control_new(s, p->idle, ACTIVE_NS, &ops, p);
    p->state = PEER_CONNECTED;
    p->c.on_connected(p->c.arg, p);
}

static void on_tunnel_closed(void *arg, const struct err *why)
{
    struct uplink_peer *p = arg;
    end(p, why);
}

static void send_welcome(struct uplink_peer *p, enum err_code code, struct str message, struct str name)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    struct up_welcome w = {code, str_sub(message, 0, 1024), name};
    wire_encode(&up_welcome_type, &w, &b);
    ws_send(p->ws, WS_BINARY, b.p, b.n);
}

void uplink_admit(struct uplink_peer *p, struct str assigned_name)
{
    struct http_request rq = {.method = STR("CONNECT"), .path = STR("/control"), .timeout_ms = 10000};
    if (p->state != PEER_ASKED)
        return;
    p->name = str_dup(assigned_name);
    send_welcome(p, ERR_NONE, STR_NULL, assigned_name);
    p->state = PEER_OPENING;
    p->who = (struct uplink_who){0};
    p->client = http_client_over(ws_stream(TAKE(p->ws)), NULL, on_tunnel_closed, p);
    p->opening = http_call_upgrade(p->client, &rq, STR("sampan-control"), on_control_open, p);
    pool_free(TAKE(p->pool));
}

void uplink_refuse(struct uplink_peer *p, const struct err *why)
{
    if (p->state != PEER_ASKED)
        return;
    send_welcome(p, why ? why->code : ERR_FORBIDDEN, str_of(err_msg(why)), STR_NULL);
    end(p, why);
}

/* ---- the proof ---- */

static struct str exporter_of(struct uplink_peer *p, bool bound, unsigned char out[32])
{
    return bound && p->below && stream_exporter(p->below, EXPORTER_LABEL, out, 32) ? str_make((char *)out, 32) : STR_NULL;
}

static int send_answer(struct uplink_peer *p, struct err **e)
{
    unsigned char *sig = pool_alloc(p->pool, KEY_SIGNATURE);
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    if (proof_sign_upper(p->c.key, p->transcript, sig, e) < 0)
        return -ERR_INTERNAL;
    p->answer.signature = str_make((char *)sig, KEY_SIGNATURE);
    wire_encode(&up_answer_type, &p->answer, &b);
    ws_send(p->ws, WS_BINARY, b.p, b.n);
    return 0;
}

/* The lower side speaks at least that often; a quarter more, and it is asked. So one side pays for the liveness of both. */
static int64_t idle_of(uint64_t ms)
{
    int64_t ns = (int64_t)MIN(ms, (uint64_t)IDLE_MOST_MS) * NS_PER_MS;
    return ms ? ns + MAX(ns / 4, 2 * NS_PER_S) : IDLE_NS;
}

static int on_hello(struct uplink_peer *p, struct str body, struct err **e)
{
    struct up_hello h = {0};
    unsigned char exporter[32], *raw = pool_alloc(p->pool, KEY_PUBLIC), *nonce = pool_alloc(p->pool, PROOF_NONCE);
    p->hello = pool_str(p->pool, body);
    if (wire_decode(&up_hello_type, p->hello, p->pool, &h, e) < 0)
        return err_wrap(e, "hello");
    if (h.version_min > UPLINK_VERSION || h.version_max < UPLINK_VERSION || h.nonce.n != PROOF_NONCE)
        return err_set(e, ERR_BAD_REQUEST, "hello: no version of the uplink in common");
    if (key_from_public_bytes(h.public_key, &p->key, e) < 0)
        return err_wrap(e, "hello");
    if (key_public_bytes(p->c.key, raw, e) < 0)
        return -ERR_INTERNAL;
    random_bytes(nonce, PROOF_NONCE);
    p->idle = idle_of(h.idle_ms);
    p->key_id = str_dup(key_id(p->key));
    p->who = (struct uplink_who){
        .key_id = str_of(p->key_id), .public_key = h.public_key, .view = h.view, .name = h.name, .info = h.info, .conn = p->below};
    p->answer = (struct up_answer){
        .version = UPLINK_VERSION,
        .public_key = str_make((char *)raw, KEY_PUBLIC),
        .nonce = str_make((char *)nonce, PROOF_NONCE),
        .store_uid = p->c.store_uid,
        .epoch = p->c.epoch ? p->c.epoch(p->c.arg) : 0,
        .now = clock_now(p->c.clock),
    };
    struct str bound = exporter_of(p, h.bound, exporter);
    if (h.bound && !bound.n)
        return err_set(
            e, ERR_BAD_REQUEST, "hello: bound to a TLS session that ends before us (a proxy? the lower side must be told of it)");
    proof_transcript(p->hello, &p->answer, bound, p->transcript);
    p->state = PEER_PROOF;
    return send_answer(p, e);
}

static int on_proof(struct uplink_peer *p, struct str body, struct err **e)
{
    struct up_proof m = {0};
    struct str copy = pool_str(p->pool, body);
    if (wire_decode(&up_proof_type, copy, p->pool, &m, e) < 0)
        return err_wrap(e, "proof");
    if (!proof_check_lower(p->key, p->transcript, m.token, m.signature))
        return err_set(e, ERR_UNAUTHORIZED, "the lower side did not prove its identity");
    p->who.token = m.token;
    p->state = PEER_ASKED;
    p->told = true;
    p->c.on_hello(p->c.arg, p, &p->who);
    return 0;
}

static void on_message(void *arg, enum ws_op op, const char *bytes, size_t n)
{
    struct uplink_peer *p = arg;
    _cleanup_(err_freep) struct err *e = NULL;
    struct str body = str_make(bytes, n);
    int r;
    if (op == WS_BINARY && p->state == PEER_HELLO)
        r = on_hello(p, body, &e);
    else if (op == WS_BINARY && p->state == PEER_PROOF)
        r = on_proof(p, body, &e);
    else
        r = err_set(&e, ERR_BAD_REQUEST, "the lower side broke the protocol");
    if (r < 0)
        end(p, e);
}

static void on_ws_close(void *arg, int code, struct str reason)
{
    struct uplink_peer *p = arg;
    (void)code;
    (void)reason;
    p->ws = NULL;
    end_with(p, ERR_UNAVAILABLE, "the lower side closed the connection");
}

void uplink_accept(struct http_req *rq, const struct uplink_accept_config *c)
{
    static const char *const protocols[] = {UPLINK_PROTOCOL, NULL};
    static const struct ws_events events = {on_message, NULL, on_ws_close};
    const char *chosen = NULL;
    struct ws *w = ws_accept(rq, protocols, MESSAGE_MAX, &chosen);
    if (!w)
        return; /* answered */
    struct uplink_peer *p = xcalloc(1, sizeof *p);
    p->c = *c;
    p->ws = w;
    p->below = ws_below(w);
    control_no_keepalive(w);
    p->pool = pool_new();
    timer_in(c->loop, &p->timer, HANDSHAKE_LIMIT, on_limit);
    ws_use(w, &events, p);
}

/* ---- what the owner sees and sends ---- */

void uplink_peer_set_user(struct uplink_peer *p, void *user)
{
    p->user = user;
}
void *uplink_peer_user(const struct uplink_peer *p)
{
    return p->user;
}
struct str uplink_peer_name(const struct uplink_peer *p)
{
    return str_of(p->name);
}
struct str uplink_peer_key_id(const struct uplink_peer *p)
{
    return str_of(p->key_id);
}
struct http_client *uplink_peer_client(struct uplink_peer *p)
{
    return p->state == PEER_CONNECTED ? p->client : NULL;
}
int64_t uplink_peer_seen(const struct uplink_peer *p)
{
    return p->control ? control_heard(p->control) : p->heard;
}
void uplink_peer_probe(struct uplink_peer *p)
{
    if (p->control && loop_now(p->c.loop) - control_heard(p->control) > PROBE_AFTER)
        control_probe(p->control);
}
size_t uplink_peer_queued(const struct uplink_peer *p)
{
    return p->control ? control_queued(p->control) : 0;
}
void uplink_peer_on_drain(struct uplink_peer *p, void (*fn)(void *arg, struct uplink_peer *p))
{
    p->on_drain = fn;
}

static void send(struct uplink_peer *p, enum control_type type, const struct wire_type *t, const void *m)
{
    if (p->control)
        control_send(p->control, type, t, m);
}

void uplink_upsert(struct uplink_peer *p, struct str key, struct str uid, int64_t rev, struct str bytes)
{
    struct c_object m = {key, uid, bytes, rev};
    send(p, C_UPSERT, &c_object_type, &m);
}

void uplink_delete(struct uplink_peer *p, struct str key, struct str uid, int64_t rev)
{
    struct c_object m = {key, uid, STR_NULL, rev};
    send(p, C_DELETE, &c_object_type, &m);
}

void uplink_commit(struct uplink_peer *p, int64_t rev)
{
    struct c_cut m = {p->c.store_uid, p->c.epoch ? p->c.epoch(p->c.arg) : 0, rev};
    send(p, C_COMMIT, &c_cut_type, &m);
}

void uplink_ask_inventory(struct uplink_peer *p)
{
    send(p, C_ASK_INVENTORY, NULL, NULL);
}

void uplink_entry_done(struct uplink_peer *p, uint64_t seq, int status, struct str message)
{
    struct c_reply m = {seq, (uint64_t)status, message};
    send(p, C_ENTRY_DONE, &c_reply_type, &m);
}

void uplink_reply(struct uplink_peer *p, uint64_t id, int status, struct str body)
{
    struct c_reply m = {id, (uint64_t)status, body};
    send(p, C_REPLY, &c_reply_type, &m);
}
