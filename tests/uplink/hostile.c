/* Either end against a peer that lies. */
#include "harness.h"
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/file.h"
#include "pair.h"
#include "uplink/control.h"
#include "uplink/proof.h"

/* ---- a lower side made by hand ---- */
struct raw {
    struct pair p;
    struct http_client *c;
    struct ws *ws;
    bool closed;
    int code;
    struct buf last;
    int messages;
};

static void r_message(void *arg, enum ws_op op, const char *p, size_t n)
{
    struct raw *r = arg;
    buf_reset(&r->last);
    buf_add(&r->last, p, n);
    r->messages++;
}
static void r_close(void *arg, int code, struct str reason)
{
    struct raw *r = arg;
    r->closed = true;
    r->code = code;
    r->ws = NULL;
}
static const struct ws_events r_events = {r_message, NULL, r_close};
static void r_open(void *arg, struct ws *w, const char *chosen, const struct err *e)
{
    struct raw *r = arg;
    OK(w);
    r->ws = w;
    ws_use(w, &r_events, r);
}

static void raw_dial(struct raw *r)
{
    static const char *const protocols[] = {UPLINK_PROTOCOL, NULL};
    struct http_request q = {.path = STR(UPLINK_PATH)};
    r->closed = false;
    r->messages = 0;
    ws_dial(r->c, &q, protocols, 0, r_open, r);
    pair_step(&r->p, 30);
    OK(r->ws);
}

static void raw_open(struct raw *r)
{
    *r = (struct raw){0};
    pair_open(&r->p);
    struct endpoint ep = {.unix_path = r->p.upper_path};
    r->c = http_client_new(r->p.loop, &ep, NULL);
    raw_dial(r);
}

static void raw_close(struct raw *r)
{
    ws_close(r->ws, 1000, STR(""));
    http_client_free(r->c);
    buf_clear(&r->last);
    pair_close(&r->p);
}

static void say(struct raw *r, struct str m)
{
    ws_send(r->ws, WS_BINARY, m.p, m.n);
    pair_step(&r->p, 30);
}

static void make_hello(struct raw *r, struct buf *out, unsigned char nonce[32])
{
    unsigned char raw[KEY_PUBLIC];
    struct err *e = NULL;
    FINE(key_public_bytes(r->p.lower_key, raw, &e), e);
    struct up_hello h = {.version_min = 1,
        .version_max = 1,
        .public_key = str_make((char *)raw, sizeof raw),
        .nonce = str_make((char *)nonce, 32),
        .view = STR("node"),
        .name = STR("n1")};
    wire_encode(&up_hello_type, &h, out);
}

TEST(a_malformed_hello_ends_the_connection)
{
    struct raw r;
    static const char *const bad[] = {"", "\xff\xff\xff\xff", "\1\1\5short"};
    raw_open(&r);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (i)
            raw_dial(&r);
        say(&r, str_of(bad[i]));
        OK(r.closed);
        EQ(r.p.hellos, 0);
    }
    raw_dial(&r);
    ws_send(r.ws, WS_TEXT, "hello", 5);
    pair_step(&r.p, 30);
    OK(r.closed);
    raw_close(&r);
}

TEST(a_version_that_nobody_speaks_is_refused)
{
    struct raw r;
    struct buf b = BUF_INIT;
    unsigned char raw[KEY_PUBLIC], nonce[32] = {1};
    struct err *e = NULL;
    raw_open(&r);
    FINE(key_public_bytes(r.p.lower_key, raw, &e), e);
    struct up_hello h = {
        .version_min = 90, .version_max = 91, .public_key = str_make((char *)raw, sizeof raw), .nonce = str_make((char *)nonce, 32)};
    wire_encode(&up_hello_type, &h, &b);
    say(&r, buf_str(&b));
    OK(r.closed && r.messages == 0);
    buf_clear(&b);
    raw_close(&r);
}

/* A good proof for this connection, with the given token. */
static void make_proof(struct raw *r, struct str hello, struct str token, struct str signed_token, struct buf *out)
{
    struct up_answer a = {0};
    unsigned char transcript[32], sig[KEY_SIGNATURE];
    struct err *e = NULL;
    struct pool *pool = pool_new();
    FINE(wire_decode(&up_answer_type, buf_str(&r->last), pool, &a, &e), e);
    proof_transcript(hello, &a, STR_NULL, transcript);
    OK(proof_check_upper(r->p.upper_key, transcript, a.signature));
    FINE(proof_sign_lower(r->p.lower_key, transcript, signed_token, sig, &e), e);
    struct up_proof m = {str_make((char *)sig, sizeof sig), token};
    wire_encode(&up_proof_type, &m, out);
    pool_free(pool);
}

TEST(a_replayed_proof_or_a_swapped_token_is_refused)
{
    struct raw r;
    struct buf hello = BUF_INIT, proof = BUF_INIT, swapped = BUF_INIT;
    unsigned char nonce[32] = {7};
    raw_open(&r);
    make_hello(&r, &hello, nonce);
    say(&r, buf_str(&hello));
    EQ(r.messages, 1);
    make_proof(&r, buf_str(&hello), STR("s3cret"), STR("s3cret"), &proof);
    say(&r, buf_str(&proof));
    EQ(r.p.hellos, 1);
    ws_close(TAKE(r.ws), 1000, STR(""));
    raw_dial(&r); /* the same bytes again: the upper side's nonce is another one */
    say(&r, buf_str(&hello));
    say(&r, buf_str(&proof));
    OK(r.closed);
    EQ(r.p.hellos, 1);
    raw_dial(&r); /* signed for one token, shown with another */
    say(&r, buf_str(&hello));
    make_proof(&r, buf_str(&hello), STR("s3cret"), STR("other"), &swapped);
    say(&r, buf_str(&swapped));
    OK(r.closed);
    EQ(r.p.hellos, 1);
    buf_clear(&hello);
    buf_clear(&proof);
    buf_clear(&swapped);
    raw_close(&r);
}

/* ---- control frames ---- */
struct ctl {
    struct control *c;
    bool gone;
    char *why;
    int frames;
};
static void c_frame(void *arg, enum control_type type, struct str body)
{
    ((struct ctl *)arg)->frames++;
}
static void c_gone(void *arg, const struct err *why)
{
    struct ctl *k = arg;
    k->gone = true;
    k->why = xstrdup(why ? err_msg(why) : "");
    control_free(TAKE(k->c));
}
static const struct control_ops c_ops = {c_frame, NULL, c_gone};

TEST(control_frames_with_impossible_lengths_end_the_link)
{
    static const struct {
        const char *p;
        size_t n;
        int frames;
        bool gone;
    } rows[] = {
        {"\0\0\0\0", 4, 0, true},
        {"\xff\xff\xff\xff", 4, 0, true},
        {"\1\0\0\0\3\1\0\0\0\4\1\0\0\0\xee", 15, 2, false},
        {"\1\0\0\0\1", 5, 0, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int sv[2];
        struct loop *l = loop_new(NULL);
        struct ctl k = {0};
        EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
        k.c = control_new(stream_fd_new(l, sv[0], NULL), NS_PER_S, NS_PER_S, &c_ops, &k);
        EQ(write(sv[1], rows[i].p, rows[i].n), (ssize_t)rows[i].n);
        for (int t = 0; t < 10; t++)
            loop_step(l, 1);
        EQ(k.gone, rows[i].gone);
        EQ(k.frames, rows[i].frames);
        control_free(k.c);
        free(k.why);
        close(sv[1]);
        while (loop_step(l, 0) > 0)
            ;
        loop_free(l);
    }
}

/* ---- an upper side that lies ---- */
static struct ws *liar;

static const char *lie;
static size_t lie_n;
static void l_message(void *arg, enum ws_op op, const char *p, size_t n)
{
    ws_send(liar, WS_BINARY, lie, lie_n);
}
static void l_close(void *arg, int code, struct str reason)
{
    liar = NULL;
}
static const struct ws_events l_events = {l_message, NULL, l_close};

static void liar_handler(struct http_req *rq, void *arg)
{
    static const char *const protocols[] = {UPLINK_PROTOCOL, NULL};
    liar = ws_accept(rq, protocols, 0, NULL);
    if (liar)
        ws_use(liar, &l_events, NULL);
}

TEST(an_upper_side_that_cannot_prove_itself_never_sees_the_token)
{
    struct pair p;
    struct err *e = NULL;
    char addr[300];
    unsigned char raw[KEY_PUBLIC], sig[KEY_SIGNATURE] = {1}, nonce[32] = {2};
    struct buf answer = BUF_INIT;
    pair_open(&p);
    FINE(key_public_bytes(p.upper_key, raw, &e), e);
    struct up_answer a = {.version = 1,
        .public_key = str_make((char *)raw, sizeof raw),
        .nonce = str_make((char *)nonce, 32),
        .signature = str_make((char *)sig, sizeof sig)};
    wire_encode(&up_answer_type, &a, &answer);
    struct http_server *s = http_server_new(p.loop, NULL, liar_handler, NULL);
    snprintf(addr, sizeof addr, "unix:%s/liar", test_tmpdir());
    int fd = http_bind(addr, 4, &e);
    OK(fd >= 0);
    FINE(http_listen(s, fd, NULL, &e), e);
    p.config.endpoint = (struct endpoint){.unix_path = addr + 5};
    struct str lies[] = {STR(""), STR("\xff\xff"), buf_str(&answer)};
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        lie = lies[i].p;
        lie_n = lies[i].n;
        p.downs = 0;
        pair_start(&p);
        OK(pair_until(&p, pair_down, 3000));
        OK(!uplink_connected(p.up) && !file_exists(p.pin_path));
    }
    EQ_Z(p.down_why, "the upper side did not prove its identity");
    uplink_free(TAKE(p.up));
    http_server_free(s);
    buf_clear(&answer);

    pair_close(&p);
}
