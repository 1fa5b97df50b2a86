#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "cel/inner.h"
#include "cel/regex.h"

/* The functions of the language itself: sizes, conversions, times, matches, optionals, sets, two encoders. */

#define ARGS struct cel_run *r, struct cel_value *v, size_t n
#define UNUSED (void)r, (void)v, (void)n
#define NO_OVERLOAD(name) return cel_no_overload(r, name, v, n)

static struct cel_value f_size(ARGS)
{
    size_t k;
    if (v[0].type == CEL_STRING) {
        if (!cel_spend(r, v[0].s.n / 10))
            return cel_over(r);
        return cel_int((int64_t)cel_runes(v[0].s));
    }
    if (v[0].type == CEL_BYTES)
        return cel_int((int64_t)v[0].s.n);
    if (v[0].type == CEL_LIST)
        return cel_int((int64_t)(v[0].json ? json_count(v[0].json) : v[0].list.n));
    if (v[0].type == CEL_MAP)
        return (void)cel_pairs(r, v[0], &k), cel_int((int64_t)k);
    NO_OVERLOAD("size");
}

static struct cel_value f_int(ARGS)
{
    int64_t i;
    switch (v[0].type) {
    case CEL_INT:
        return v[0];
    case CEL_UINT:
        return v[0].u <= INT64_MAX ? cel_int((int64_t)v[0].u) : cel_error(r, "integer overflow");
    case CEL_DOUBLE:
        return fabs(v[0].d) < 9223372036854775807.0 ? cel_int((int64_t)v[0].d) : cel_error(r, "integer overflow");
    case CEL_STRING:
        if (str_to_i64(v[0].s, &i))
            return cel_int(i);
        return cel_error(r, "strconv.ParseInt: parsing \"%.*s\": invalid syntax", STR_ARG(v[0].s));
    case CEL_TIMESTAMP:
        return cel_int((v[0].i - ((v[0].i % NS_PER_S) + NS_PER_S) % NS_PER_S) / NS_PER_S);
    case CEL_DURATION:
        return cel_int(v[0].i);
    default:
        NO_OVERLOAD("int");
    }
}

static struct cel_value f_uint(ARGS)
{
    uint64_t u;
    switch (v[0].type) {
    case CEL_UINT:
        return v[0];
    case CEL_INT:
        return v[0].i >= 0 ? cel_uint((uint64_t)v[0].i) : cel_error(r, "unsigned integer overflow");
    case CEL_DOUBLE:
        return v[0].d >= 0 && v[0].d < 18446744073709551615.0 ? cel_uint((uint64_t)v[0].d) : cel_error(r, "unsigned integer overflow");
    case CEL_STRING:
        if (str_to_u64(v[0].s, &u))
            return cel_uint(u);
        return cel_error(r, "strconv.ParseUint: parsing \"%.*s\": invalid syntax", STR_ARG(v[0].s));
    default:
        NO_OVERLOAD("uint");
    }
}

static struct cel_value f_double(ARGS)
{
    double d;
    switch (v[0].type) {
    case CEL_DOUBLE:
        return v[0];
    case CEL_INT:
        return cel_double((double)v[0].i);
    case CEL_UINT:
        return cel_double((double)v[0].u);
    case CEL_STRING:
        if (str_to_double(v[0].s, &d))
            return cel_double(d);
        return cel_error(r, "strconv.ParseFloat: parsing \"%.*s\": invalid syntax", STR_ARG(v[0].s));
    default:
        NO_OVERLOAD("double");
    }
}

static struct cel_value f_string(ARGS)
{
    UNUSED;
    return cel_to_text(r, v[0]);
}

static struct cel_value f_bool(ARGS)
{
    static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"}, *const no[] = {"0", "f", "F", "false", "FALSE", "False"};
    if (v[0].type == CEL_BOOL)
        return v[0];
    for (size_t i = 0; v[0].type == CEL_STRING && i < ARRAY_LEN(yes); i++)
        if (str_eqz(v[0].s, yes[i]) || str_eqz(v[0].s, no[i]))
            return cel_bool(str_eqz(v[0].s, yes[i]));
    if (v[0].type == CEL_STRING)
        return cel_error(r, "strconv.ParseBool: parsing \"%.*s\": invalid syntax", STR_ARG(v[0].s));
    NO_OVERLOAD("bool");
}

static struct cel_value f_bytes(ARGS)
{
    if (v[0].type != CEL_STRING && v[0].type != CEL_BYTES)
        NO_OVERLOAD("bytes");
    v[0].type = CEL_BYTES;
    return v[0];
}

static struct cel_value f_dyn(ARGS)
{
    UNUSED;
    return v[0];
}

static struct cel_value f_type(ARGS)
{
    UNUSED;
    return (struct cel_value){.type = CEL_TYPE, .s = cel_type_name(v[0])};
}

static struct cel_value f_duration(ARGS)
{
    int64_t ns;
    if (v[0].type == CEL_DURATION)
        return v[0];
    if (v[0].type != CEL_STRING)
        NO_OVERLOAD("duration");
    if (!cel_duration_parse(v[0].s, &ns))
        return cel_error(r, "time: invalid duration \"%.*s\"", STR_ARG(v[0].s));
    return (struct cel_value){.type = CEL_DURATION, .i = ns};
}

static struct cel_value f_timestamp(ARGS)
{
    int64_t ns;
    if (v[0].type == CEL_TIMESTAMP)
        return v[0];
    if (v[0].type == CEL_INT)
        return __builtin_mul_overflow(v[0].i, (int64_t)NS_PER_S, &ns) ? cel_error(r, "timestamp overflow")
                                                                      : (struct cel_value){.type = CEL_TIMESTAMP, .i = ns};
    if (v[0].type != CEL_STRING)
        NO_OVERLOAD("timestamp");
    if (!time_parse(v[0].s, &ns))
        return cel_error(r, "parsing time \"%.*s\" as \"2006-01-02T15:04:05Z07:00\": cannot parse", STR_ARG(v[0].s));
    return (struct cel_value){.type = CEL_TIMESTAMP, .i = ns};
}

/* ---- parts of times ---- */

/* "UTC", "+02:00", "-0130"; named zones need data that a small board does not have. */
static bool zone(struct str s, int64_t *seconds)
{
    uint64_t h, m;
    *seconds = 0;
    if (!s.n || str_eqz(s, "UTC") || str_eqz(s, "Z") || str_eqz(s, "GMT"))
        return true;
    bool sign = s.p[0] == '+' || s.p[0] == '-';
    struct str rest = str_sub(s, sign, s.n), hour, minute;
    if (!str_cut(rest, ':', &hour, &minute) || !str_to_u64(hour, &h) || !str_to_u64(minute, &m) || h > 23 || m > 59)
        return false;
    *seconds = (s.p[0] == '-' ? -1 : 1) * (int64_t)(h * 3600 + m * 60);
    return true;
}

static struct cel_value part(ARGS, int what)
{
    int64_t off = 0;
    struct tm tm;
    if (v[0].type == CEL_DURATION && what >= 7) {
        static const int64_t unit[] = {3600 * NS_PER_S, 60 * NS_PER_S, NS_PER_S, NS_PER_MS};
        int64_t x = v[0].i / unit[what - 7];
        return cel_int(what == 10 ? x % 1000 : x);
    }
    if (v[0].type != CEL_TIMESTAMP || (n > 1 && v[1].type != CEL_STRING))
        NO_OVERLOAD("getFullYear");
    if (n > 1 && !zone(v[1].s, &off))
        return cel_error(r, "unknown time zone %.*s", STR_ARG(v[1].s));
    int64_t rest = ((v[0].i % NS_PER_S) + NS_PER_S) % NS_PER_S;
    time_t t = (time_t)((v[0].i - rest) / NS_PER_S + off);
    gmtime_r(&t, &tm);
    int parts[] = {tm.tm_year + 1900, tm.tm_mon, tm.tm_mday - 1, tm.tm_mday, tm.tm_wday, tm.tm_yday, 0, tm.tm_hour, tm.tm_min, tm.tm_sec,
        (int)(rest / NS_PER_MS)};
    return cel_int(parts[what]);
}
#define PART(name, what)                                                                                                                   \
    static struct cel_value name(ARGS)                                                                                                     \
    {                                                                                                                                      \
        return part(r, v, n, what);                                                                                                        \
    }
PART(f_year, 0)
PART(f_month, 1)
PART(f_day_of_month, 2)
PART(f_date, 3)
PART(f_day_of_week, 4)
PART(f_day_of_year, 5)
PART(f_hours, 7)
PART(f_minutes, 8)
PART(f_seconds, 9)
PART(f_millis, 10)

/* ---- text ---- */

static struct cel_value f_contains(ARGS)
{
    if (v[0].type != CEL_STRING || v[1].type != CEL_STRING)
        NO_OVERLOAD("contains");
    return cel_spend(r, v[0].s.n / 10) ? cel_bool(str_find(v[0].s, v[1].s) >= 0) : cel_over(r);
}

static struct cel_value f_starts(ARGS)
{
    if (v[0].type != CEL_STRING || v[1].type != CEL_STRING)
        NO_OVERLOAD("startsWith");
    return cel_bool(str_starts(v[0].s, v[1].s));
}

static struct cel_value f_ends(ARGS)
{
    if (v[0].type != CEL_STRING || v[1].type != CEL_STRING)
        NO_OVERLOAD("endsWith");
    return cel_bool(str_ends(v[0].s, v[1].s));
}

static struct cel_value f_matches(ARGS)
{
    _cleanup_(regex_freep) struct regex *x = NULL;
    _cleanup_(err_freep) struct err *e = NULL;
    if (v[0].type != CEL_STRING || v[1].type != CEL_STRING)
        NO_OVERLOAD("matches");
    if (regex_new(v[1].s, &x, &e) < 0)
        return cel_error(r, "%s", err_msg(e));
    if (!cel_spend(r, (v[0].s.n / 10 + 1) * (regex_cost(x) / 4 + 1)))
        return cel_over(r);
    return cel_bool(regex_match(x, v[0].s));
}

/* ---- optionals ---- */

static bool is_zero(struct cel_run *r, struct cel_value v)
{
    size_t k;
    switch (v.type) {
    case CEL_NULL:
        return true;
    case CEL_BOOL:
        return !v.b;
    case CEL_INT:
    case CEL_DURATION:
        return v.i == 0;
    case CEL_UINT:
        return v.u == 0;
    case CEL_DOUBLE:
        return v.d == 0;
    case CEL_STRING:
    case CEL_BYTES:
        return v.s.n == 0;
    case CEL_LIST:
        return (void)cel_items(r, v, &k), k == 0;
    case CEL_MAP:
        return (void)cel_pairs(r, v, &k), k == 0;
    default:
        return false;
    }
}

static struct cel_value f_opt_of(ARGS)
{
    UNUSED;
    return cel_opt(r, &v[0]);
}
static struct cel_value f_opt_none(ARGS)
{
    UNUSED;
    return cel_opt(r, NULL);
}
static struct cel_value f_opt_nonzero(ARGS)
{
    UNUSED;
    return is_zero(r, v[0]) ? cel_opt(r, NULL) : cel_opt(r, &v[0]);
}
static struct cel_value f_has_value(ARGS)
{
    if (v[0].type != CEL_OPTIONAL)
        NO_OVERLOAD("hasValue");
    return cel_bool(v[0].inner != NULL);
}
static struct cel_value f_value(ARGS)
{
    if (v[0].type != CEL_OPTIONAL)
        NO_OVERLOAD("value");
    return v[0].inner ? *v[0].inner : cel_error(r, "optional.none() dereference");
}
static struct cel_value f_or(ARGS)
{
    if (v[0].type != CEL_OPTIONAL || v[1].type != CEL_OPTIONAL)
        NO_OVERLOAD("or");
    return v[0].inner ? v[0] : v[1];
}
static struct cel_value f_or_value(ARGS)
{
    if (v[0].type != CEL_OPTIONAL)
        NO_OVERLOAD("orValue");
    return v[0].inner ? *v[0].inner : v[1];
}

/* ---- sets and encoders ---- */

static bool holds(struct cel_run *r, struct cel_value list, struct cel_value x)
{
    size_t n;
    const struct cel_value *items = cel_items(r, list, &n);
    for (size_t i = 0; i < n; i++)
        if (cel_equal(r, items[i], x))
            return true;
    return false;
}

static size_t shared(struct cel_run *r, struct cel_value a, struct cel_value b, size_t *total)
{
    size_t found = 0;
    const struct cel_value *items = cel_items(r, b, total);
    for (size_t i = 0; i < *total && cel_spend(r, 1); i++)
        found += holds(r, a, items[i]);
    return found;
}

static struct cel_value f_sets_contains(ARGS)
{
    size_t total, k;
    if (v[0].type != CEL_LIST || v[1].type != CEL_LIST)
        NO_OVERLOAD("sets.contains");
    k = shared(r, v[0], v[1], &total);
    return cel_bool(k == total);
}
static struct cel_value f_sets_intersects(ARGS)
{
    size_t total;
    if (v[0].type != CEL_LIST || v[1].type != CEL_LIST)
        NO_OVERLOAD("sets.intersects");
    return cel_bool(shared(r, v[0], v[1], &total) > 0);
}
static struct cel_value f_sets_equivalent(ARGS)
{
    size_t a, b, x, y;
    if (v[0].type != CEL_LIST || v[1].type != CEL_LIST)
        NO_OVERLOAD("sets.equivalent");
    x = shared(r, v[0], v[1], &a);
    y = shared(r, v[1], v[0], &b);
    return cel_bool(x == a && y == b);
}

static struct cel_value f_base64_encode(ARGS)
{
    struct buf b = BUF_INIT;
    if (v[0].type != CEL_BYTES)
        NO_OVERLOAD("base64.encode");
    buf_base64(&b, v[0].s.p, v[0].s.n);
    return cel_str(buf_to_pool(&b, r->pool));
}
static struct cel_value f_base64_decode(ARGS)
{
    struct buf b = BUF_INIT;
    if (v[0].type != CEL_STRING)
        NO_OVERLOAD("base64.decode");
    if (!buf_unbase64(&b, v[0].s)) {
        buf_clear(&b);
        return cel_error(r, "illegal base64 data");
    }
    return (struct cel_value){.type = CEL_BYTES, .s = buf_to_pool(&b, r->pool)};
}

static struct cel_value f_escape_key(ARGS)
{
    struct buf b = BUF_INIT;
    if (v[0].type != CEL_STRING)
        NO_OVERLOAD("jsonpatch.escapeKey");
    for (size_t i = 0; i < v[0].s.n; i++) {
        if (v[0].s.p[i] == '~')
            buf_puts(&b, "~0");
        else if (v[0].s.p[i] == '/')
            buf_puts(&b, "~1");
        else
            buf_putc(&b, v[0].s.p[i]);
    }
    return cel_str(buf_to_pool(&b, r->pool));
}

const struct cel_fn cel_std[] = {
    {"size", 1, 1, true, true, f_size},
    {"int", 1, 1, false, true, f_int},
    {"uint", 1, 1, false, true, f_uint},
    {"double", 1, 1, false, true, f_double},
    {"string", 1, 1, false, true, f_string},
    {"bool", 1, 1, false, true, f_bool},
    {"bytes", 1, 1, false, true, f_bytes},
    {"dyn", 1, 1, false, true, f_dyn},
    {"type", 1, 1, false, true, f_type},
    {"duration", 1, 1, false, true, f_duration},
    {"timestamp", 1, 1, false, true, f_timestamp},
    {"getFullYear", 1, 2, true, false, f_year},
    {"getMonth", 1, 2, true, false, f_month},
    {"getDayOfMonth", 1, 2, true, false, f_day_of_month},
    {"getDate", 1, 2, true, false, f_date},
    {"getDayOfWeek", 1, 2, true, false, f_day_of_week},
    {"getDayOfYear", 1, 2, true, false, f_day_of_year},
    {"getHours", 1, 2, true, false, f_hours},
    {"getMinutes", 1, 2, true, false, f_minutes},
    {"getSeconds", 1, 2, true, false, f_seconds},
    {"getMilliseconds", 1, 2, true, false, f_millis},
    {"contains", 2, 2, true, false, f_contains},
    {"startsWith", 2, 2, true, false, f_starts},
    {"endsWith", 2, 2, true, false, f_ends},
    {"matches", 2, 2, true, true, f_matches},
    {"optional.of", 1, 1, false, true, f_opt_of},
    {"optional.none", 0, 0, false, true, f_opt_none},
    {"optional.ofNonZeroValue", 1, 1, false, true, f_opt_nonzero},
    {"hasValue", 1, 1, true, false, f_has_value},
    {"value", 1, 1, true, false, f_value},
    {"or", 2, 2, true, false, f_or},
    {"orValue", 2, 2, true, false, f_or_value},
    {"sets.contains", 2, 2, false, true, f_sets_contains},
    {"sets.intersects", 2, 2, false, true, f_sets_intersects},
    {"sets.equivalent", 2, 2, false, true, f_sets_equivalent},
    {"base64.encode", 1, 1, false, true, f_base64_encode},
    {"base64.decode", 1, 1, false, true, f_base64_decode},
    {"jsonpatch.escapeKey", 1, 1, false, true, f_escape_key},
    {NULL, 0, 0, false, false, NULL},
};

const struct cel_fn *cel_fn_find(struct str name, bool member, size_t n, bool *known)
{
    const struct cel_fn *const tables[] = {cel_std, cel_strings, cel_lists, cel_kube, cel_net};
    for (size_t t = 0; t < ARRAY_LEN(tables); t++)
        for (const struct cel_fn *f = tables[t]; f->name; f++) {
            if (!str_eqz(name, f->name))
                continue;
            *known = true;
            if ((member ? f->member : f->global) && n >= f->min && n <= f->max)
                return f;
        }
    return NULL;
}
