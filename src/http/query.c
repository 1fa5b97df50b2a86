/* Headers, query parameters, percent-encoding, compression: small helpers of a request. */
#include "http/server.h"

struct str http_header(const struct http_req *rq, struct str name)
{
    for (size_t i = 0; i < rq->nheaders; i++)
        if (str_eq_nocase(rq->headers[i].name, name))
            return rq->headers[i].value;
    return STR_NULL;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool unescape(struct pool *p, struct str s, bool plus, struct str *out)
{
    char *o = pool_alloc(p, s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '%') {
            int a = i + 2 < s.n ? hex(s.p[i + 1]) : -1, b = a >= 0 ? hex(s.p[i + 2]) : -1;
            if (b < 0)
                return false;
            c = (char)(a << 4 | b);
            i += 2;
        } else if (plus && c == '+') {
            c = ' ';
        }
        if (c == 0)
            return false;
        o[n++] = c;
    }
    o[n] = 0;
    *out = str_make(o, n);
    return true;
}

bool http_unescape(struct pool *p, struct str s, struct str *out)
{
    return unescape(p, s, false, out);
}

static struct str value_of(struct pool *p, struct str raw)
{
    struct str v;
    return unescape(p, raw, true, &v) ? v : raw;
}

bool http_query_each(const struct http_req *rq, struct str *rest, struct str *name, struct str *value)
{
    struct str piece;
    do {
        if (!str_split(rest, '&', &piece))
            return false;
    } while (!piece.n);
    struct str n = piece, v = STR("");
    (void)str_cut(piece, '=', &n, &v);
    *name = value_of(rq->pool, n);
    *value = v.n ? value_of(rq->pool, v) : STR("");
    return true;
}

struct str http_query(const struct http_req *rq, struct str name)
{
    struct str rest = rq->query, n, v;
    while (http_query_each(rq, &rest, &n, &v))
        if (str_eq(n, name))
            return v;
    return STR_NULL;
}
