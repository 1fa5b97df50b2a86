#include "runtime/oci.h"

static bool env_get(const struct str *env, size_t nenv, struct str name, struct str *value)
{
    struct str k, v;
    for (size_t i = nenv; i-- > 0;)
        if (str_cut(env[i], '=', &k, &v) && str_eq(k, name)) {
            *value = v;
            return true;
        }
    return false;
}

struct str oci_expand(struct pool *p, struct str text, const struct str *env, size_t nenv)
{
    if (str_chr(text, '$') < 0)
        return text;
    _cleanup_(buf_clear) struct buf b = {.limit = 4u << 20};
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] != '$' || i + 1 == text.n) {
            buf_putc(&b, text.p[i]);
            continue;
        }
        char next = text.p[++i];
        ssize_t end = next == '(' ? str_chr(str_sub(text, i + 1, text.n), ')') : -1;
        struct str value;
        if (next == '$') {
            buf_putc(&b, '$');
        } else if (end >= 0) {
            struct str name = str_sub(text, i + 1, i + 1 + (size_t)end);
            if (env_get(env, nenv, name, &value))
                buf_str_add(&b, value);
            else
                buf_printf(&b, "$(%.*s)", STR_ARG(name));
            i += (size_t)end + 1;
        } else {
            buf_putc(&b, '$');
            buf_putc(&b, next);
        }
    }
    return buf_failed(&b) ? text : pool_str(p, buf_str(&b));
}

size_t oci_env_set(struct pool *p, struct str *env, size_t nenv, struct str name, struct str value)
{
    struct str line = pool_printf(p, "%.*s=%.*s", STR_ARG(name), STR_ARG(value)), k, v;
    for (size_t i = 0; i < nenv; i++)
        if (str_cut(env[i], '=', &k, &v) && str_eq(k, name)) {
            env[i] = line;
            return nenv;
        }
    env[nenv] = line;
    return nenv + 1;
}
