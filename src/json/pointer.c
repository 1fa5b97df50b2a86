#include "json/pointer.h"

static int unescape(struct pool *pool, struct str raw, struct str whole, struct str *token, struct err **e)
{
    char *o = pool_alloc(pool, raw.n);
    size_t n = 0;
    for (size_t i = 0; i < raw.n; i++) {
        char c = raw.p[i];
        if (c == '~') {
            if (++i >= raw.n || (raw.p[i] != '0' && raw.p[i] != '1'))
                return err_set(e, ERR_BAD_REQUEST, "invalid escape in JSON pointer \"%.*s\"", STR_ARG(whole));
            c = raw.p[i] == '0' ? '~' : '/';
        }
        o[n++] = c;
    }
    *token = str_make(o, n);
    return 0;
}

int pointer_token(struct pool *pool, struct str *rest, struct str whole, struct str *token, struct err **e)
{
    if (rest->n == 0 || rest->p[0] != '/')
        return err_set(e, ERR_BAD_REQUEST, "JSON pointer \"%.*s\" does not begin with a slash", STR_ARG(whole));
    const char *p = rest->p + 1, *end = rest->p + rest->n, *slash = p < end ? memchr(p, '/', (size_t)(end - p)) : NULL;
    struct str raw = str_make(p, (size_t)((slash ? slash : end) - p));
    *rest = str_make(raw.p + raw.n, (size_t)(end - (raw.p + raw.n)));
    if (raw.n && memchr(raw.p, '~', raw.n))
        return unescape(pool, raw, whole, token, e);
    *token = raw;
    return 0;
}

bool pointer_index(struct str token, size_t *at)
{
    uint64_t v;
    if (token.n == 0 || (token.n > 1 && token.p[0] == '0') || !str_to_u64(token, &v) || v > UINT32_MAX)
        return false;
    *at = (size_t)v;
    return true;
}

int json_pointer(const struct json *j, struct str pointer, struct json **out, struct err **e)
{
    _cleanup_(pool_freep) struct pool *scratch = NULL;
    struct str rest = pointer, token;
    if (pointer.n && memchr(pointer.p, '~', pointer.n))
        scratch = pool_new();
    while (rest.n) {
        size_t at;
        int r = pointer_token(scratch, &rest, pointer, &token, e);
        if (r < 0)
            return r;
        if (json_is(j, JSON_OBJ))
            j = json_get(j, token);
        else
            j = pointer_index(token, &at) ? json_at(j, at) : NULL;
    }
    *out = (struct json *)(uintptr_t)j;
    return 0;
}
