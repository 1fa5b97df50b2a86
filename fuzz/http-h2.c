/* HTTP/2: first byte even, the server's side behind a valid preface; odd, the client's side with a call and an upgrade under way. */
#include "http-pipe.h"
#include "http/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void echo(struct http_req *rq, struct str body)
{
    http_reply_str(rq, 200, "text/plain", body);
}
static void handler(struct http_req *rq, void *arg)
{
    struct stream *s = rq->protocol.p ? http_upgrade(rq, NULL, 0) : NULL;
    if (s)
        stream_close(s);
    else
        http_body(rq, 100, echo);
}

static void on_data(void *arg, const char *p, size_t n) {}
static void on_end(void *arg, const struct err *e) {}
static const struct http_call_events events = {.on_data = on_data, .on_end = on_end};
static void on_up(void *arg, struct stream *s, const struct http_response *r, const struct err *e)
{
    stream_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    struct loop *l = loop_new(NULL);
    struct http_server *s = http_server_new(l, NULL, handler, NULL);
    struct http_client *c = NULL;
    struct stream *peer;
    pipe_new(l, &peer);
    if (size && data[0] & 1) {
        c = http_client_over(peer, NULL, NULL, NULL);
        struct http_request q = {.path = STR("/"), .timeout_ms = -1};
        http_call(c, &q, &events, NULL);
        http_call_upgrade(c, &q, STR("x"), on_up, NULL);
        while (loop_step(l, 0) > 0)
            ;
    } else {
        http_serve(s, peer, NULL, NULL);
        stream_in(peer, preface, sizeof preface - 1);
    }
    pipe_feed(l, &peer, data, size);
    http_client_free(c);
    http_server_free(s);
    while (loop_step(l, 0) > 0)
        ;
    loop_free(l);
    return 0;
}
