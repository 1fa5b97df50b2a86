/* The server's HTTP/1.1 (and HTTP/2 by preface) side against any bytes. */
#include "http-pipe.h"
#include "http/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void echo(struct http_req *rq, struct str body)
{
    http_reply_str(rq, 200, "text/plain", body);
}
static void pass(struct http_req *rq, const char *p, size_t n)
{
    if (n)
        http_send_str(rq, str_make(p, n));
    else
        http_end(rq);
}

static void handler(struct http_req *rq, void *arg)
{
    struct str name, value, rest = rq->query, path;
    while (http_query_each(rq, &rest, &name, &value))
        ;
    (void)http_unescape(rq->pool, rq->path, &path);
    switch (rq->path.n % 5) {
    case 0:
        http_body(rq, 100, echo);
        break;
    case 1:
        http_reply_str(rq, 200, NULL, rq->path);
        break;
    case 2:
        http_start(rq, 200, rq->headers, rq->nheaders);
        http_body_stream(rq, pass);
        break;
    case 3: {
        struct stream *s = rq->protocol.p ? http_upgrade(rq, NULL, 0) : NULL;
        if (s)
            stream_close(s);
        else
            http_abort(rq);
        break;
    }
    default: { /* a WebSocket, which its owner closes at once */
        struct ws *w = ws_accept(rq, NULL, 1000, NULL);
        ws_close(w, 1000, STR(""));
    }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct loop *l = loop_new(NULL);
    struct http_limits lim = {.head = 2000, .headers = 20, .body = 500};
    struct http_server *s = http_server_new(l, &lim, handler, NULL);
    struct stream *peer;
    pipe_new(l, &peer);
    http_serve(s, peer, NULL, NULL);
    pipe_feed(l, &peer, data, size);
    http_server_free(s);
    while (loop_step(l, 0) > 0)
        ;
    loop_free(l);
    return 0;
}
