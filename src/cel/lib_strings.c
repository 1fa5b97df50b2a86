#include <stdlib.h>

#include "cel/inner.h"
#include "cel/regex.h"

/* The strings extension, Kubernetes' regex library, format. */

#define ARGS struct cel_run *r, struct cel_value *v, size_t n
#define NO_OVERLOAD(name) return cel_no_overload(r, name, v, n)
#define WANT(cond, name)                                                                                                                   \
    if (!(cond))                                                                                                                           \
    NO_OVERLOAD(name)
#define S(i) (v[i].type == CEL_STRING)
#define I(i) (v[i].type == CEL_INT)
#define SPEND(k)                                                                                                                           \
    if (!cel_spend(r, (k) / 10 + 1))                                                                                                       \
    return cel_over(r)

/* Bytes of the first `runes` characters; s.n when there are not so many. */
static size_t offset(struct str s, int64_t runes)
{
    size_t i = 0;
    while (i < s.n && runes > 0) {
        i++;
        while (i < s.n && ((unsigned char)s.p[i] & 0xc0) == 0x80)
            i++;
        runes--;
    }
    return i;
}

static struct cel_value f_char_at(ARGS)
{
    WANT(S(0) && I(1), "charAt");
    int64_t len = (int64_t)cel_runes(v[0].s);
    if (v[1].i < 0 || v[1].i > len)
        return cel_error(r, "index out of range: %" PRId64, v[1].i);
    size_t a = offset(v[0].s, v[1].i), b = offset(v[0].s, v[1].i + 1);
    return cel_str(str_sub(v[0].s, a, b));
}

static struct cel_value f_index_of(ARGS)
{
    if (v[0].type == CEL_LIST) {
        size_t k;
        const struct cel_value *items = cel_items(r, v[0], &k);
        for (size_t i = 0; i < k; i++)
            if (cel_equal(r, items[i], v[1]))
                return cel_int((int64_t)i);
        return cel_int(-1);
    }
    WANT(S(0) && S(1) && (n < 3 || I(2)), "indexOf");
    SPEND(v[0].s.n);
    int64_t from = n > 2 ? v[2].i : 0;
    if (from < 0 || from > (int64_t)cel_runes(v[0].s))
        return cel_error(r, "index out of range: %" PRId64, from);
    size_t at = offset(v[0].s, from);
    ssize_t k = str_find(str_sub(v[0].s, at, v[0].s.n), v[1].s);
    return cel_int(k < 0 ? -1 : (int64_t)cel_runes(str_sub(v[0].s, 0, at + (size_t)k)));
}

static struct cel_value f_last_index_of(ARGS)
{
    if (v[0].type == CEL_LIST) {
        size_t k;
        const struct cel_value *items = cel_items(r, v[0], &k);
        while (k)
            if (cel_equal(r, items[--k], v[1]))
                return cel_int((int64_t)k);
        return cel_int(-1);
    }
    WANT(S(0) && S(1) && (n < 3 || I(2)), "lastIndexOf");
    SPEND(v[0].s.n);
    size_t last = n > 2 ? offset(v[0].s, v[2].i) : v[0].s.n;
    for (size_t i = MIN(last, v[0].s.n) + 1; i-- > 0;)
        if (str_starts(str_sub(v[0].s, i, v[0].s.n), v[1].s))
            return cel_int((int64_t)cel_runes(str_sub(v[0].s, 0, i)));
    return cel_int(-1);
}

static struct cel_value fold_case(ARGS, char from, char to)
{
    WANT(S(0), "lowerAscii");
    SPEND(v[0].s.n);
    char *z = pool_strz(r->pool, v[0].s);
    for (size_t i = 0; i < v[0].s.n; i++)
        if (z[i] >= from && z[i] <= to)
            z[i] ^= 32;
    return cel_str(str_make(z, v[0].s.n));
}
static struct cel_value f_lower(ARGS)
{
    return fold_case(r, v, n, 'A', 'Z');
}
static struct cel_value f_upper(ARGS)
{
    return fold_case(r, v, n, 'a', 'z');
}

static struct cel_value f_replace(ARGS)
{
    struct buf b = BUF_INIT;
    WANT(S(0) && S(1) && S(2) && (n < 4 || I(3)), "replace");
    struct str rest = v[0].s;
    int64_t left = n > 3 ? v[3].i : -1;
    if (!cel_spend(r, (v[0].s.n + 1) * (v[2].s.n + 1) / 10 + 1))
        return cel_over(r);
    if (!v[1].s.n && left != 0) { /* between all characters */
        for (size_t i = 0; left != 0; left--) {
            buf_str_add(&b, v[2].s);
            if (i >= rest.n)
                break;
            size_t k = i + offset(str_sub(rest, i, rest.n), 1);
            buf_str_add(&b, str_sub(rest, i, k));
            i = k;
            if (left == 1)
                buf_str_add(&b, str_sub(rest, i, rest.n));
        }
        return cel_str(buf_to_pool(&b, r->pool));
    }
    for (ssize_t k; left != 0 && (k = str_find(rest, v[1].s)) >= 0; left--) {
        buf_str_add(&b, str_sub(rest, 0, (size_t)k));
        buf_str_add(&b, v[2].s);
        rest = str_sub(rest, (size_t)k + v[1].s.n, rest.n);
    }
    buf_str_add(&b, rest);
    return cel_str(buf_to_pool(&b, r->pool));
}

static struct cel_value f_split(ARGS)
{
    WANT(S(0) && S(1) && (n < 3 || I(2)), "split");
    SPEND(v[0].s.n);
    struct cel_value *out = pool_array(r->pool, struct cel_value, v[0].s.n + 2);
    struct str rest = v[0].s;
    size_t count = 0;
    int64_t max = n > 2 ? v[2].i : -1;
    if (max == 0)
        return cel_list(out, 0);
    while (max < 0 || (int64_t)count + 1 < max) {
        ssize_t k = v[1].s.n ? str_find(rest, v[1].s) : rest.n > offset(rest, 1) ? (ssize_t)offset(rest, 1) : -1;
        if (k < 0)
            break;
        out[count++] = cel_str(str_sub(rest, 0, (size_t)k));
        rest = str_sub(rest, (size_t)k + v[1].s.n, rest.n);
    }
    out[count++] = cel_str(rest);
    return cel_list(out, count);
}

static struct cel_value f_join(ARGS)
{
    struct buf b = BUF_INIT;
    size_t k;
    WANT(v[0].type == CEL_LIST && (n < 2 || S(1)), "join");
    const struct cel_value *items = cel_items(r, v[0], &k);
    for (size_t i = 0; i < k; i++) {
        if (items[i].type != CEL_STRING || !cel_spend(r, items[i].s.n / 10 + 1)) {
            buf_clear(&b);
            return r->cost > r->budget ? cel_over(r) : cel_no_overload(r, "join", v, n);
        }
        if (i && n > 1)
            buf_str_add(&b, v[1].s);
        buf_str_add(&b, items[i].s);
    }
    return cel_str(buf_to_pool(&b, r->pool));
}

static struct cel_value f_substring(ARGS)
{
    WANT(S(0) && I(1) && (n < 3 || I(2)), "substring");
    SPEND(v[0].s.n);
    int64_t len = (int64_t)cel_runes(v[0].s), a = v[1].i, b = n > 2 ? v[2].i : len;
    if (a < 0 || a > len)
        return cel_error(r, "index out of range: %" PRId64, a);
    if (b < 0 || b > len)
        return cel_error(r, "index out of range: %" PRId64, b);
    if (a > b)
        return cel_error(r, "invalid substring range. start: %" PRId64 ", end: %" PRId64, a, b);
    return cel_str(str_sub(v[0].s, offset(v[0].s, a), offset(v[0].s, b)));
}

static struct cel_value f_trim(ARGS)
{
    WANT(S(0), "trim");
    return cel_str(str_trim(v[0].s));
}

static struct cel_value f_reverse(ARGS)
{
    if (v[0].type == CEL_LIST) {
        size_t k;
        const struct cel_value *items = cel_items(r, v[0], &k);
        struct cel_value *out = pool_array(r->pool, struct cel_value, k + 1);
        for (size_t i = 0; i < k; i++)
            out[i] = items[k - 1 - i];
        return cel_list(out, k);
    }
    WANT(S(0), "reverse");
    SPEND(v[0].s.n);
    char *z = pool_alloc(r->pool, v[0].s.n + 1);
    for (size_t i = 0, k; i < v[0].s.n; i = k) {
        k = i + offset(str_sub(v[0].s, i, v[0].s.n), 1);
        memcpy(z + (v[0].s.n - k), v[0].s.p + i, k - i);
    }
    return cel_str(str_make(z, v[0].s.n));
}

static struct cel_value f_quote(ARGS)
{
    struct buf b = BUF_INIT;
    WANT(S(0), "strings.quote");
    json_write_str(&b, v[0].s);
    return cel_str(buf_to_pool(&b, r->pool));
}

/* ---- format ---- */

static void format_text(struct cel_run *r, struct buf *b, struct cel_value v)
{
    size_t k;
    if (v.type == CEL_LIST) {
        const struct cel_value *items = cel_items(r, v, &k);
        buf_putc(b, '[');
        for (size_t i = 0; i < k; i++) {
            buf_puts(b, i ? ", " : "");
            format_text(r, b, items[i]);
        }
        buf_putc(b, ']');
    } else if (v.type == CEL_MAP) {
        const struct cel_pair *pairs = cel_pairs(r, v, &k);
        buf_putc(b, '{');
        for (size_t i = 0; i < k; i++) {
            buf_puts(b, i ? ", " : "");
            format_text(r, b, pairs[i].key);
            buf_puts(b, ": ");
            format_text(r, b, pairs[i].value);
        }
        buf_putc(b, '}');
    } else if (v.type == CEL_NULL) {
        buf_puts(b, "null");
    } else if (v.type == CEL_TYPE) {
        buf_str_add(b, v.s);
    } else {
        struct cel_value t = cel_to_text(r, v);
        buf_str_add(b, t.s);
    }
}

static bool format_one(struct cel_run *r, struct buf *b, char how, int precision, struct cel_value x)
{
    double d = x.type == CEL_DOUBLE ? x.d : x.type == CEL_INT ? (double)x.i : (double)x.u;
    switch (how) {
    case 's':
        format_text(r, b, x);
        return true;
    case 'd':
        if (x.type == CEL_INT)
            buf_i64(b, x.i);
        else if (x.type == CEL_UINT)
            buf_u64(b, x.u);
        return x.type == CEL_INT || x.type == CEL_UINT;
    case 'f':
        buf_printf(b, "%.*f", precision < 0 ? 6 : precision, d);
        return x.type == CEL_DOUBLE || x.type == CEL_INT || x.type == CEL_UINT;
    case 'e':
        buf_printf(b, "%.*e", precision < 0 ? 6 : precision, d);
        return x.type == CEL_DOUBLE || x.type == CEL_INT || x.type == CEL_UINT;
    case 'x':
    case 'X':
    case 'o':
        if (x.type == CEL_STRING || x.type == CEL_BYTES)
            for (size_t i = 0; i < x.s.n && how != 'o'; i++)
                buf_printf(b, how == 'x' ? "%02x" : "%02X", (unsigned char)x.s.p[i]);
        else
            buf_printf(b, how == 'x' ? "%" PRIx64 : how == 'X' ? "%" PRIX64 : "%" PRIo64, x.u);
        return x.type != CEL_DOUBLE;
    case 'b':
        if (x.type == CEL_BOOL) {
            buf_putc(b, x.b ? '1' : '0');
        } else {
            bool on = false;
            for (int i = 63; i >= 0; i--) {
                on |= x.u >> i & 1;
                if (on || i == 0)
                    buf_putc(b, x.u >> i & 1 ? '1' : '0');
            }
        }
        return true;
    default:
        return false;
    }
}

static struct cel_value f_format(ARGS)
{
    struct buf b = BUF_INIT;
    size_t k, at = 0;
    WANT(S(0) && v[1].type == CEL_LIST, "format");
    SPEND(v[0].s.n);
    const struct cel_value *items = cel_items(r, v[1], &k);
    for (size_t i = 0; i < v[0].s.n; i++) {
        char c = v[0].s.p[i];
        int precision = -1;
        if (c != '%') {
            buf_putc(&b, c);
            continue;
        }
        if (++i < v[0].s.n && v[0].s.p[i] == '%') {
            buf_putc(&b, '%');
            continue;
        }
        if (i < v[0].s.n && v[0].s.p[i] == '.')
            for (precision = 0, i++; i < v[0].s.n && v[0].s.p[i] >= '0' && v[0].s.p[i] <= '9' && precision < 100; i++)
                precision = precision * 10 + (v[0].s.p[i] - '0');
        if (i >= v[0].s.n || at >= k) {
            buf_clear(&b);
            return at >= k ? cel_error(r, "index %zu out of range", at) : cel_error(r, "unexpected end of string");
        }
        if (!format_one(r, &b, v[0].s.p[i], MIN(precision, 60), items[at])) {
            buf_clear(&b);
            return cel_error(
                r, "error during formatting: could not convert argument %.*s to %%%c", STR_ARG(cel_type_name(items[at])), v[0].s.p[i]);
        }
        at++;
    }
    return cel_str(buf_to_pool(&b, r->pool));
}

/* ---- Kubernetes' find and findAll ---- */

static struct cel_value find(ARGS, bool all)
{
    _cleanup_(regex_freep) struct regex *x = NULL;
    _cleanup_(err_freep) struct err *e = NULL;
    size_t from = 0, a, b, count = 0;
    WANT(S(0) && S(1) && (n < 3 || I(2)), "find");
    if (regex_new(v[1].s, &x, &e) < 0)
        return cel_error(r, "Illegal regex: %s", err_msg(e));
    struct cel_value *out = pool_array(r->pool, struct cel_value, all ? v[0].s.n + 2 : 1);
    int64_t max = n > 2 ? v[2].i : -1;
    while (max != 0) {
        if (!cel_spend(r, ((v[0].s.n - from) / 10 + 1) * (regex_cost(x) / 4 + 1)))
            return cel_over(r);
        if (!regex_find(x, v[0].s, from, &a, &b))
            break;
        if (!all)
            return cel_str(str_sub(v[0].s, a, b));
        out[count++] = cel_str(str_sub(v[0].s, a, b));
        from = b > a ? b : b + 1;
        if (from > v[0].s.n)
            break;
        max -= max > 0;
    }
    return all ? cel_list(out, count) : cel_str(STR(""));
}
static struct cel_value f_find(ARGS)
{
    return find(r, v, n, false);
}
static struct cel_value f_find_all(ARGS)
{
    return find(r, v, n, true);
}

const struct cel_fn cel_strings[] = {
    {"charAt", 2, 2, true, false, f_char_at},
    {"indexOf", 2, 3, true, false, f_index_of},
    {"lastIndexOf", 2, 3, true, false, f_last_index_of},
    {"lowerAscii", 1, 1, true, false, f_lower},
    {"upperAscii", 1, 1, true, false, f_upper},
    {"replace", 3, 4, true, false, f_replace},
    {"split", 2, 3, true, false, f_split},
    {"join", 1, 2, true, false, f_join},
    {"substring", 2, 3, true, false, f_substring},
    {"trim", 1, 1, true, false, f_trim},
    {"reverse", 1, 1, true, false, f_reverse},
    {"strings.quote", 1, 1, false, true, f_quote},
    {"format", 2, 2, true, false, f_format},
    {"find", 2, 2, true, false, f_find},
    {"findAll", 2, 3, true, false, f_find_all},
    {NULL, 0, 0, false, false, NULL},
};
