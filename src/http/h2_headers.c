/* Header lists to send over HTTP/2, made from what a handler or caller gave. */
#include "http/h1_parse.h"
#include "http/h2.h"

static bool forbidden(struct str n)
{
    static const char *const names[] = {
        "connection", "upgrade", "keep-alive", "proxy-connection", "transfer-encoding", "host", "sec-websocket-key", "http2-settings"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eqz(n, names[i]))
            return true;
    return false;
}

size_t h2_headers(struct pool *pool, nghttp2_nv *nv, const struct http_header *h, size_t nh)
{
    size_t k = 0;
    for (size_t i = 0; i < nh; i++) {
        if (!h1_token(h[i].name))
            continue;
        char *name = pool_strz(pool, h[i].name), *value = pool_strz(pool, str_trim(h[i].value));
        size_t vn = str_trim(h[i].value).n;
        for (char *c = name; *c; c++)
            if (*c >= 'A' && *c <= 'Z')
                *c |= 0x20;
        for (size_t j = 0; j < vn; j++)
            if (value[j] == '\r' || value[j] == '\n' || value[j] == 0)
                value[j] = ' ';
        if (!forbidden(str_of(name)))
            nv[k++] = h2_nv(str_of(name), str_make(value, vn));
    }
    return k;
}
