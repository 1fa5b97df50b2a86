/* Plain answers of the hub's own routes. */
#include "hub/impl.h"

void hub_reply(struct http_req *rq, int status, const struct json *doc)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    json_write(&b, doc);
    http_reply_str(rq, status, "application/json", buf_str(&b));
}

void hub_refuse(struct http_req *rq, const struct err *e)
{
    struct pool *p = rq->pool;
    struct json *s = json_obj(p);
    json_set_str(p, s, STR("kind"), STR("Status"));
    json_set_str(p, s, STR("apiVersion"), STR("v1"));
    json_set(p, s, STR("metadata"), json_obj(p));
    json_set_str(p, s, STR("status"), STR("Failure"));
    json_set_str(p, s, STR("message"), str_of(err_msg(e)));
    json_set_str(p, s, STR("reason"), str_of(err_reason(e->code)));
    if (e->retry_after_s)
        json_set_int(p, json_put_obj(p, s, STR("details")), STR("retryAfterSeconds"), e->retry_after_s);
    json_set_int(p, s, STR("code"), err_http(e->code));
    if (!e->retry_after_s) {
        hub_reply(rq, err_http(e->code), s);
        return;
    }
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    json_write(&b, s);
    struct http_header h[] = {{STR("content-type"), STR("application/json")}, {STR("retry-after"), pool_printf(p, "%d", e->retry_after_s)}};
    struct bytes *body = bytes_new(b.p, b.n);
    http_reply(rq, err_http(e->code), h, 2, body);
    bytes_unref(body);
}

bool hub_body(struct http_req *rq, struct str body, struct json **out)
{
    static const struct json_limits limits = {.bytes = 64 << 10, .nodes = 256};
    _cleanup_(err_freep) struct err *e = NULL;
    if (json_parse(rq->pool, body, &limits, out, &e) == 0 && json_is(*out, JSON_OBJ))
        return true;
    if (!e)
        (void)err_set(&e, ERR_BAD_REQUEST, "the body must be a JSON object");
    hub_refuse(rq, e);
    return false;
}
