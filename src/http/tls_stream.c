/* TLS over any stream. OpenSSL reads ciphertext straight from the chunk that the stream below hands up, and writes into the queue below,
 * through a BIO of our own: no memory BIO, no second copy, and one write for all records of a turn. Idle sessions give their buffers back
 * (SSL_MODE_RELEASE_BUFFERS).
 *
 * Plain bytes are collected for the turn and then cut into full records; not more than OUT_HIGH of ciphertext waits below, so that the
 * queue's length that writers see stays meaningful. */
#include "http/tls_stream.h"
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include "crypto/hash.h"
#include "crypto/tls.h"
#include "http/outq.h"
#include "http/stream_impl.h"

#define RECORD 16384
#define OUT_HIGH (256u << 10)
#define HANDSHAKE_NS (10 * NS_PER_S)
#define CERTS 8

struct tls_stream {
    struct stream s;
    struct stream *below;
    SSL *ssl;
    struct str in;   /* ciphertext of this turn */
    struct outq out; /* plain */
    struct defer flush;
    struct timer limit;
    void (*ready_fn)(void *arg, const struct err *e);
    void *ready_arg;
    struct {
        unsigned char *p;
        size_t n;
    } certs[CERTS];
    size_t ncerts;
    unsigned char leaf[HASH_LEN]; /* of certs[0] */
    bool hashed, ready, shut_wanted, shut, closing;
};

static struct tls_stream *tls_of(const struct stream *s)
{
    return (struct tls_stream *)(uintptr_t)s;
}

/* ---- the BIO ---- */
static int bio_read(BIO *b, char *out, int n)
{
    struct tls_stream *t = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    if (!t->in.n) {
        BIO_set_retry_read(b);
        return -1;
    }
    size_t k = MIN((size_t)n, t->in.n);
    memcpy(out, t->in.p, k);
    t->in = str_sub(t->in, k, t->in.n);
    return (int)k;
}

static int bio_write(BIO *b, const char *p, int n)
{
    struct tls_stream *t = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    if (t->below)
        stream_write(t->below, p, (size_t)n);
    return n;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
    return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_PUSH || cmd == BIO_CTRL_POP;
}

static BIO_METHOD *method;
static void make_method(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_ctrl(method, bio_ctrl);
}

static BIO *bio_new(struct tls_stream *t)
{
    static CRYPTO_ONCE once = CRYPTO_ONCE_STATIC_INIT;
    if (!CRYPTO_THREAD_run_once(&once, make_method) || !method)
        return NULL;
    BIO *b = BIO_new(method);
    if (b) {
        BIO_set_data(b, t);
        BIO_set_init(b, 1);
    }
    return b;
}

/* ---- ends ---- */
static void finish(struct tls_stream *t, struct err *why)
{
    if (t->s.finished) {
        err_free(why);
        return;
    }
    timer_del(&t->limit);
    defer_del(t->s.loop, &t->flush);
    outq_clear(&t->out);
    if (t->below)
        (why ? stream_abort : stream_close)(TAKE(t->below));
    void (*fn)(void *, const struct err *) = t->ready_fn;
    if (fn) { /* whoever waits for the handshake hears it there, and only there */
        t->ready_fn = NULL;
        t->s.forgotten = true;
        struct err *none = NULL;
        if (!why)
            err_set(&none, ERR_IO, "TLS: the peer closed the connection during the handshake");
        fn(t->ready_arg, why ? why : none);
        err_free(none);
    }
    stream_in_close(&t->s, why);
}

static void fail(struct tls_stream *t, int ret, const char *what)
{
    struct err *e = NULL;
    tls_error(t->ssl, ret, &e, what);
    if (t->below) /* the alert that says why is queued there */
        stream_close(TAKE(t->below));
    finish(t, e);
}

static void maybe_over(struct tls_stream *t)
{
    if (t->s.eof && t->shut)
        finish(t, NULL);
}

static void sent_all(struct tls_stream *t)
{
    if ((t->shut_wanted || t->closing) && !t->shut) {
        t->shut = true;
        ERR_clear_error();
        (void)SSL_shutdown(t->ssl);
        ERR_clear_error();
    }
    if (t->closing)
        finish(t, NULL);
    else
        maybe_over(t);
}

/* ---- out ---- */
static void push_out(struct tls_stream *t)
{
    unsigned char flat[RECORD];
    while (!t->s.finished && t->out.n && (t->closing || stream_queued(t->below) < OUT_HIGH)) {
        struct str p = outq_peek(&t->out);
        size_t done = 0;
        if (p.n < RECORD && t->out.n > p.n) { /* head and body in one record */
            size_t k = outq_take(&t->out, flat, RECORD);
            p = str_make((char *)flat, k);
        } else {
            p.n = MIN(p.n, (size_t)RECORD * 4);
            done = p.n;
        }
        ERR_clear_error();
        size_t wrote;
        for (size_t at = 0; at < p.n; at += wrote) {
            if (SSL_write_ex(t->ssl, p.p + at, p.n - at, &wrote) != 1) {
                fail(t, 0, "TLS write");
                return;
            }
        }
        outq_drop(&t->out, done);
    }
    if (t->s.finished)
        return;
    if (!t->out.n)
        sent_all(t);
    if (!t->s.finished)
        stream_in_drain(&t->s);
}

static void on_flush(struct defer *d)
{
    struct tls_stream *t = container_of(d, struct tls_stream, flush);
    if (!t->s.finished && t->ready)
        push_out(t);
}

static void schedule(struct tls_stream *t)
{
    if (t->ready && !t->s.finished)
        loop_defer(t->s.loop, &t->flush, on_flush);
}

/* ---- in ---- */
static void pull_in(struct tls_stream *t)
{
    char plain[RECORD];
    while (!t->s.finished) {
        size_t n;
        ERR_clear_error();
        if (SSL_read_ex(t->ssl, plain, sizeof plain, &n) == 1) {
            stream_in(&t->s, plain, n);
            continue;
        }
        int why = SSL_get_error(t->ssl, 0);
        if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
            return;
        if (why != SSL_ERROR_ZERO_RETURN) {
            fail(t, 0, "TLS read");
            return;
        }
        stream_in_eof(&t->s);
        if (!t->s.finished)
            maybe_over(t);
        return;
    }
}

static void now_ready(struct tls_stream *t)
{
    t->ready = true;
    timer_del(&t->limit);
    void (*fn)(void *, const struct err *) = t->ready_fn;
    t->ready_fn = NULL;
    if (fn)
        fn(t->ready_arg, NULL);
    if (t->s.finished)
        return;
    schedule(t);
    stream_pause(t->below, !stream_wants(&t->s));
}

static void handshake(struct tls_stream *t)
{
    ERR_clear_error();
    int r = SSL_do_handshake(t->ssl);
    if (r == 1) {
        now_ready(t);
        return;
    }
    int why = SSL_get_error(t->ssl, r);
    if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
        fail(t, r, "TLS handshake");
}

static void below_data(void *arg, const char *p, size_t n)
{
    struct tls_stream *t = arg;
    t->in = str_make(p, n);
    if (!t->ready)
        handshake(t);
    if (t->ready && !t->s.finished)
        pull_in(t);
    t->in = STR_NULL;
}

static void below_drain(void *arg)
{
    struct tls_stream *t = arg;
    if (t->ready)
        push_out(t);
}

static void below_eof(void *arg)
{
    struct tls_stream *t = arg;
    if (!t->ready) {
        finish(t, NULL);
        return;
    }
    stream_in_eof(&t->s);
    if (!t->s.finished)
        maybe_over(t);
}

static void below_close(void *arg, const struct err *why)
{
    struct tls_stream *t = arg;
    struct err *e = NULL;
    if (why)
        err_set(&e, why->code, "%s", err_msg(why));
    t->below = NULL;
    finish(t, e);
}

static const struct stream_events below_events = {below_data, below_drain, below_eof, below_close};

/* ---- struct stream ---- */
static void tls_write(struct stream *s, struct bytes *b, size_t from, size_t n)
{
    struct tls_stream *t = tls_of(s);
    if (t->shut_wanted || t->closing)
        return;
    outq_bytes(&t->out, b, from, n);
    schedule(t);
}

static void tls_copy(struct stream *s, const void *p, size_t n)
{
    struct tls_stream *t = tls_of(s);
    if (t->shut_wanted || t->closing)
        return;
    outq_copy(&t->out, p, n);
    schedule(t);
}

static void tls_shutdown(struct stream *s)
{
    tls_of(s)->shut_wanted = true;
    schedule(tls_of(s));
}

static void tls_pause(struct stream *s, bool paused)
{
    struct tls_stream *t = tls_of(s);
    if (t->below && t->ready)
        stream_pause(t->below, paused);
}

static void on_limit(struct timer *x)
{
    struct tls_stream *t = container_of(x, struct tls_stream, limit);
    struct err *e = NULL;
    err_set(&e, ERR_TIMEOUT, "TLS handshake: no answer within 10 s");
    finish(t, e);
}

static void tls_close(struct stream *s, bool abort)
{
    struct tls_stream *t = tls_of(s);
    t->ready_fn = NULL;
    if (abort || !t->ready) {
        if (t->below)
            stream_abort(TAKE(t->below));
        finish(t, NULL);
        return;
    }
    t->closing = true;
    schedule(t);
}

static size_t tls_queued(const struct stream *s)
{
    const struct tls_stream *t = tls_of(s);
    return t->out.n + (t->below ? stream_queued(t->below) : 0);
}

static struct stream *tls_below(const struct stream *s)
{
    return tls_of(s)->below;
}
static void *tls_ssl(const struct stream *s)
{
    return tls_of(s)->ssl;
}

static void tls_free(struct stream *s)
{
    struct tls_stream *t = tls_of(s);
    for (size_t i = 0; i < t->ncerts; i++)
        OPENSSL_free(t->certs[i].p);
    SSL_free(t->ssl);
    stream_fini(s);
    free(t);
}

static const struct stream_impl tls_impl = {
    .write = tls_write,
    .copy = tls_copy,
    .shutdown = tls_shutdown,
    .pause = tls_pause,
    .close = tls_close,
    .queued = tls_queued,
    .free = tls_free,
    .below = tls_below,
    .ssl = tls_ssl,
};

struct stream *tls_stream_new(struct stream *below, struct tls_ctx *ctx, bool server, const char *sni,
    void (*ready)(void *arg, const struct err *e), void *arg, struct err **e)
{
    struct tls_stream *t = xcalloc(1, sizeof *t);
    t->ssl = tls_session(ctx, server ? STR_NULL : str_of(sni));
    BIO *b = t->ssl ? bio_new(t) : NULL;
    if (!b) {
        ERR_clear_error();
        SSL_free(t->ssl);
        free(t);
        stream_abort(below);
        err_set(e, ERR_INTERNAL, "TLS: cannot make a session%s%s", sni ? " for " : "", sni ? sni : "");
        return NULL;
    }
    SSL_set_bio(t->ssl, b, b);
    SSL_set_mode(t->ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    stream_init(&t->s, stream_loop(below), &tls_impl);
    t->below = below;
    t->ready_fn = ready;
    t->ready_arg = arg;
    timer_in(t->s.loop, &t->limit, HANDSHAKE_NS, on_limit);
    stream_use(below, &below_events, t);
    if (!server) {
        ERR_clear_error();
        (void)SSL_do_handshake(t->ssl); /* queues the hello; failures show with the answer */
        ERR_clear_error();
    }
    return &t->s;
}

struct stream *stream_tls_client(struct stream *below, struct tls_ctx *ctx, const char *sni, struct err **e)
{
    return tls_stream_new(below, ctx, false, sni, NULL, NULL, e);
}

struct stream *stream_tls_server(struct loop *l, int fd, struct tls_ctx *ctx, struct err **e)
{
    struct stream *below = stream_fd_new(l, fd, e);
    if (!below)
        return NULL;
    return tls_stream_new(below, ctx, true, NULL, NULL, NULL, e);
}

/* ---- facts ---- */
static struct stream *find(const struct stream *s)
{
    for (; s; s = s->impl->below ? s->impl->below(s) : NULL)
        if (s->impl->ssl)
            return (struct stream *)(uintptr_t)s;
    return NULL;
}

static void load_certs(struct tls_stream *t)
{
    X509 *leaf = SSL_get0_peer_certificate(t->ssl);
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(t->ssl);
    int n = chain ? sk_X509_num(chain) : 0, first = SSL_is_server(t->ssl) ? 0 : 1; /* a client's chain repeats the leaf */
    for (int i = first - 1; leaf && i < n && t->ncerts < CERTS; i++) {
        X509 *x = i < first ? leaf : sk_X509_value(chain, i);
        unsigned char *der = NULL;
        int len = i2d_X509(x, &der);
        if (len <= 0)
            return;
        t->certs[t->ncerts].p = der;
        t->certs[t->ncerts++].n = (size_t)len;
    }
}

size_t stream_peer_certs(const struct stream *s, struct str *certs, size_t max)
{
    struct stream *x = find(s);
    if (!x)
        return 0;
    struct tls_stream *t = tls_of(x);
    if (!t->ncerts && t->ready)
        load_certs(t);
    size_t n = MIN(max, t->ncerts);
    for (size_t i = 0; i < n; i++)
        certs[i] = str_make((char *)t->certs[i].p, t->certs[i].n);
    return n;
}

bool stream_peer_hash(const struct stream *s, unsigned char *hash)
{
    struct str leaf;
    struct stream *x = find(s);
    if (!x || !stream_peer_certs(x, &leaf, 1))
        return false;
    struct tls_stream *t = tls_of(x);
    if (!t->hashed)
        hash_sha256(leaf, t->leaf);
    t->hashed = true;
    memcpy(hash, t->leaf, HASH_LEN);
    return true;
}

struct str stream_alpn(const struct stream *s)
{
    const unsigned char *p = NULL;
    unsigned n = 0;
    if (s && s->impl->ssl)
        SSL_get0_alpn_selected(s->impl->ssl(s), &p, &n);
    return str_make((const char *)p, n);
}

bool stream_exporter(const struct stream *s, const char *label, uint8_t *out, size_t n)
{
    struct stream *x = find(s);
    if (!x || !tls_of(x)->ready)
        return false;
    return SSL_export_keying_material(tls_of(x)->ssl, out, n, label, strlen(label), NULL, 0, 0) == 1;
}
