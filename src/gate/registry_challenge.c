#include "gate/registry_challenge.h"

#include "json/json.h"

struct scan {
    struct pool *pool;
    struct str s;
    size_t at;
};

static bool is_token(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static void skip(struct scan *k, const char *set)
{
    while (k->at < k->s.n && k->s.p[k->at] && strchr(set, k->s.p[k->at]))
        k->at++;
}

static struct str token(struct scan *k)
{
    size_t from = k->at;
    while (k->at < k->s.n && is_token(k->s.p[k->at]))
        k->at++;
    return str_sub(k->s, from, k->at);
}

static bool quoted(struct scan *k, struct str *out)
{
    char *to = pool_alloc(k->pool, k->s.n - k->at + 1);
    size_t n = 0;
    for (k->at++; k->at < k->s.n; k->at++) {
        char c = k->s.p[k->at];
        if (c == '"') {
            k->at++;
            *out = str_make(to, n);
            return true;
        }
        if (c == '\\' && ++k->at < k->s.n)
            c = k->s.p[k->at];
        if (k->at < k->s.n)
            to[n++] = c;
    }
    return false;
}

static void put(struct registry_challenge *c, struct str name, struct str value)
{
    const struct {
        const char *name;
        struct str *to;
    } known[] = {{"realm", &c->realm}, {"service", &c->service}, {"scope", &c->scope}, {"error", &c->error}};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (str_eq_nocase(name, str_of(known[i].name)) && !known[i].to->p)
            *known[i].to = value;
}

size_t registry_challenges(struct pool *p, struct str value, struct registry_challenge *out, size_t max)
{
    struct scan k = {p, value, 0};
    size_t n = 0;
    for (;;) {
        skip(&k, " \t,");
        struct str word = token(&k), text;
        if (!word.n)
            return n; /* the end, or what is no challenge */
        size_t behind = k.at;
        skip(&k, " \t");
        if (k.at >= k.s.n || k.s.p[k.at] != '=') { /* a new scheme */
            k.at = behind;
            if (n == max)
                return n;
            out[n++] = (struct registry_challenge){.scheme = pool_str(p, word)};
            continue;
        }
        k.at++;
        skip(&k, " \t");
        if (k.at < k.s.n && k.s.p[k.at] == '"') {
            if (!quoted(&k, &text))
                return n;
        } else {
            text = token(&k);
            skip(&k, "="); /* the padding of a token68 */
        }
        if (n)
            put(&out[n - 1], word, pool_str(p, text.p ? text : STR("")));
    }
}

const struct registry_challenge *registry_challenge_pick(const struct registry_challenge *list, size_t n)
{
    const struct registry_challenge *basic = NULL;
    for (size_t i = 0; i < n; i++) {
        if (str_eq_nocase(list[i].scheme, STR("Bearer")) && list[i].realm.n)
            return &list[i];
        if (str_eq_nocase(list[i].scheme, STR("Basic")) && !basic)
            basic = &list[i];
    }
    return basic;
}

int registry_token_parse(struct pool *p, struct str body, struct str *out, struct err **e)
{
    struct json *o;
    int r = json_parse(p, body, &(struct json_limits){.depth = 16, .nodes = 1000}, &o, e);
    if (r < 0) {
        err_wrap(e, "the token's answer");
        return r;
    }
    struct str t = json_get_str(o, "token");
    if (!t.n)
        t = json_get_str(o, "access_token");
    if (!t.n)
        return err_set(e, ERR_PARSE, "the authorization server's answer holds no token");
    for (size_t i = 0; i < t.n; i++)
        if (t.p[i] <= ' ' || t.p[i] > '~')
            return err_set(e, ERR_PARSE, "the authorization server's token is no header value");
    *out = t;
    return 0;
}

struct str registry_error_text(struct pool *p, struct str body)
{
    struct json *o;
    struct buf b = BUF_INIT;
    size_t n = 0;
    if (json_parse(p, body, &(struct json_limits){.depth = 16, .nodes = 1000}, &o, NULL) < 0)
        return STR("");
    json_for (json_get(o, STR("errors")), it) {
        struct str code = json_get_str(it, "code"), message = json_get_str(it, "message");
        if (n++ < 2 && (code.n || message.n))
            buf_printf(&b, "%s%.*s%s%.*s", b.n ? "; " : "", STR_ARG(str_sub(code, 0, 60)), code.n && message.n ? ": " : "",
                STR_ARG(str_sub(message, 0, 300)));
    }
    return buf_to_pool(&b, p);
}
