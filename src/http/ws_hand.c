/* The opening handshake, both sides: RFC 6455 section 4 on HTTP/1.1, RFC 8441 on HTTP/2. */
#include <openssl/sha.h>
#include <stdlib.h>
#include "base/file.h"
#include "http/h1_parse.h"
#include "http/ws_impl.h"

static void accept_key(struct str key, struct buf *out)
{
    struct buf b = BUF_INIT;
    unsigned char sum[SHA_DIGEST_LENGTH];
    buf_str_add(&b, key);
    buf_puts(&b, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    SHA1((const unsigned char *)b.p, b.n, sum);
    buf_base64(out, sum, sizeof sum);
    buf_clear(&b);
}

static bool offers(struct str list, const char *protocol)
{
    struct str piece;
    while (str_split(&list, ',', &piece))
        if (str_eqz(str_trim(piece), protocol))
            return true;
    return false;
}

/* Protocols may be spread over several headers. */
static const char *choose(const struct http_req *rq, const char *const *protocols, bool *offered)
{
    for (size_t i = 0; i < rq->nheaders; i++)
        *offered |= str_eq(rq->headers[i].name, STR("sec-websocket-protocol"));
    for (; protocols && *protocols; protocols++)
        for (size_t i = 0; i < rq->nheaders; i++)
            if (str_eq(rq->headers[i].name, STR("sec-websocket-protocol")) && offers(rq->headers[i].value, *protocols))
                return *protocols;
    return NULL;
}

static const char *unfit(const struct http_req *rq)
{
    _cleanup_(buf_clear) struct buf key = BUF_INIT;
    if (!str_eq_nocase(rq->protocol, STR("websocket")))
        return "not a WebSocket upgrade";
    if (!str_eq(http_header(rq, STR("sec-websocket-version")), STR("13")))
        return "Sec-WebSocket-Version is not 13";
    if (rq->version == 1 && !str_eq(rq->method, STR("GET")))
        return "a WebSocket starts with GET";
    if (rq->version == 1 && (!buf_unbase64(&key, http_header(rq, STR("sec-websocket-key"))) || key.n != 16))
        return "Sec-WebSocket-Key is not 16 bytes in base64";
    return NULL;
}

struct ws *ws_accept(struct http_req *rq, const char *const *protocols, size_t max_message, const char **chosen)
{
    bool offered = false;
    const char *why = unfit(rq), *protocol = why ? NULL : choose(rq, protocols, &offered);
    if (!why && protocols && offered && !protocol)
        why = "none of the offered subprotocols is spoken here";
    if (why) {
        _cleanup_(buf_clear) struct buf b = BUF_INIT;
        buf_printf(&b, "400 Bad Request: %s\n", why);
        struct http_header h[] = {{STR("content-type"), STR("text/plain; charset=utf-8")}, {STR("sec-websocket-version"), STR("13")}};
        struct bytes *y = buf_to_bytes(&b);
        http_reply(rq, 400, h, 2, y);
        bytes_unref(y);
        return NULL;
    }
    struct http_header h[2];
    size_t n = 0;
    _cleanup_(buf_clear) struct buf sum = BUF_INIT;
    if (rq->version == 1) {
        accept_key(http_header(rq, STR("sec-websocket-key")), &sum);
        h[n++] = (struct http_header){STR("sec-websocket-accept"), buf_str(&sum)};
    }
    if (protocol)
        h[n++] = (struct http_header){STR("sec-websocket-protocol"), str_of(protocol)};
    if (chosen)
        *chosen = protocol;
    struct stream *s = http_upgrade(rq, h, n);
    return s ? ws_new(s, false, max_message) : NULL;
}

/* ---- client ---- */
struct dialing {
    const char *const *protocols;
    size_t max;
    struct buf key;
    void (*done)(void *arg, struct ws *w, const char *chosen, const struct err *e);
    void *arg;
};

static struct str find(const struct http_response *r, struct str name)
{
    for (size_t i = 0; i < r->nheaders; i++)
        if (str_eq(r->headers[i].name, name))
            return r->headers[i].value;
    return STR_NULL;
}

static const char *check(const struct dialing *d, const struct http_response *r, const char **chosen)
{
    struct str p = find(r, STR("sec-websocket-protocol"));
    _cleanup_(buf_clear) struct buf want = BUF_INIT;
    accept_key(buf_str(&d->key), &want);
    if (r->status == 101 && !str_eq(find(r, STR("sec-websocket-accept")), buf_str(&want)))
        return "the answer's Sec-WebSocket-Accept is wrong";
    *chosen = NULL;
    for (const char *const *q = d->protocols; p.p && q && *q; q++)
        if (str_eqz(p, *q))
            *chosen = *q;
    return p.p && !*chosen ? "the peer chose a subprotocol that was not offered" : NULL;
}

static void on_upgraded(void *arg, struct stream *s, const struct http_response *r, const struct err *e)
{
    struct dialing *d = arg;
    const char *chosen = NULL, *why = s ? check(d, r, &chosen) : NULL;
    _cleanup_(err_freep) struct err *bad = NULL;
    if (why) {
        stream_abort(TAKE(s));
        err_set(&bad, ERR_BAD_REQUEST, "WebSocket: %s", why);
        e = bad;
    }
    d->done(d->arg, s ? ws_new(s, true, d->max) : NULL, chosen, e);
    buf_clear(&d->key);
    free(d);
}

void ws_dial(struct http_client *c, const struct http_request *r, const char *const *protocols, size_t max_message,
    void (*done)(void *arg, struct ws *w, const char *chosen, const struct err *e), void *arg)
{
    struct dialing *d = xcalloc(1, sizeof *d);
    unsigned char key[16];
    *d = (struct dialing){.protocols = protocols, .max = max_message, .done = done, .arg = arg};
    random_bytes(key, sizeof key);
    buf_base64(&d->key, key, sizeof key);
    _cleanup_(buf_clear) struct buf list = BUF_INIT;
    for (const char *const *q = protocols; q && *q; q++)
        buf_printf(&list, "%s%s", list.n ? ", " : "", *q);
    struct http_header *h = xcalloc(r->nheaders + 3, sizeof *h);
    size_t n = r->nheaders;
    if (n)
        memcpy(h, r->headers, n * sizeof *h);
    h[n++] = (struct http_header){STR("sec-websocket-version"), STR("13")};
    h[n++] = (struct http_header){STR("sec-websocket-key"), buf_str(&d->key)};
    if (list.n)
        h[n++] = (struct http_header){STR("sec-websocket-protocol"), buf_str(&list)};
    struct http_request q = *r;
    q.method = STR("GET");
    q.headers = h;
    q.nheaders = n;
    q.body = STR_NULL;
    http_call_upgrade(c, &q, STR("websocket"), on_upgraded, d);
    free(h);
}
