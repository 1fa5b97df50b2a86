#include "cel/inner.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

struct cel_value cel_error(struct cel_run *r, const char *fmt, ...)
{
    struct buf b = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    return (struct cel_value){.type = CEL_ERROR, .s = buf_to_pool(&b, r->pool)};
}

struct cel_value cel_str(struct str s)
{
    return (struct cel_value){.type = CEL_STRING, .s = s.p ? s : STR("")};
}
struct cel_value cel_bool(bool b)
{
    return (struct cel_value){.type = CEL_BOOL, .b = b};
}
struct cel_value cel_int(int64_t i)
{
    return (struct cel_value){.type = CEL_INT, .i = i};
}
struct cel_value cel_uint(uint64_t u)
{
    return (struct cel_value){.type = CEL_UINT, .u = u};
}
struct cel_value cel_double(double d)
{
    return (struct cel_value){.type = CEL_DOUBLE, .d = d};
}
struct cel_value cel_null(void)
{
    return (struct cel_value){.type = CEL_NULL};
}
struct cel_value cel_list(const struct cel_value *items, size_t n)
{
    return (struct cel_value){.type = CEL_LIST, .list = {items, n}};
}
struct cel_value cel_map(const struct cel_pair *pairs, size_t n)
{
    return (struct cel_value){.type = CEL_MAP, .pairs = pairs, .npairs = n};
}

struct cel_value cel_opt(struct cel_run *r, const struct cel_value *v)
{
    struct cel_value *copy = v ? pool_new_of(r->pool, struct cel_value) : NULL;
    if (copy)
        *copy = *v;
    return (struct cel_value){.type = CEL_OPTIONAL, .inner = copy};
}

bool cel_spend(struct cel_run *r, uint64_t n)
{
    r->cost += n;
    return r->cost <= r->budget;
}

struct cel_value cel_over(struct cel_run *r)
{
    return cel_error(r, "operation cancelled: actual cost limit exceeded");
}

struct str cel_type_name(struct cel_value v)
{
    static const char *const names[CEL_TYPES] = {"error", "null_type", "bool", "int", "uint", "double", "string", "bytes", "list", "map",
        "type", "google.protobuf.Duration", "google.protobuf.Timestamp", "optional_type", "kubernetes.Quantity", "kubernetes.URL", "net.IP",
        "net.CIDR", "kubernetes.Semver", "kubernetes.NamedFormat", "kubernetes.authorization.Authorizer",
        "kubernetes.authorization.Decision"};
    return str_of(names[v.type]);
}

struct cel_value cel_no_overload(struct cel_run *r, const char *fn, const struct cel_value *v, size_t n)
{
    (void)fn, (void)v, (void)n;
    for (size_t i = 0; i < n; i++)
        if (v[i].type == CEL_ERROR)
            return v[i];
    return cel_error(r, "no such overload");
}

/* ---- JSON ---- */

static struct cel_value shaped(const struct json *j, enum cel_shape shape)
{
    int64_t ns;
    if (j->type == JSON_STR && shape == CEL_SHAPE_TIMESTAMP && time_parse(json_as_str(j), &ns))
        return (struct cel_value){.type = CEL_TIMESTAMP, .i = ns};
    if (j->type == JSON_STR && shape == CEL_SHAPE_DURATION && cel_duration_parse(json_as_str(j), &ns))
        return (struct cel_value){.type = CEL_DURATION, .i = ns};
    if (j->type == JSON_INT && shape == CEL_SHAPE_DOUBLE)
        return cel_double((double)j->i);
    if (j->type == JSON_DOUBLE && shape == CEL_SHAPE_INT && j->d == floor(j->d) && fabs(j->d) < 9e18)
        return cel_int((int64_t)j->d);
    return (struct cel_value){.type = CEL_ERROR};
}

struct cel_value cel_of_json(const struct json *j, const void *node, const struct cel_typer *typer)
{
    struct cel_value v = {.node = node};
    if (!j)
        return cel_null();
    if (node && typer && j->type != JSON_OBJ && j->type != JSON_ARR) {
        struct cel_value s = shaped(j, typer->shape(node));
        if (s.type != CEL_ERROR)
            return s;
    }
    switch (j->type) {
    case JSON_NULL:
        return cel_null();
    case JSON_BOOL:
        return cel_bool(j->b);
    case JSON_INT:
        return cel_int(j->i);
    case JSON_DOUBLE:
        return cel_double(j->d);
    case JSON_STR:
        return cel_str(json_as_str(j));
    case JSON_ARR:
        v.type = CEL_LIST;
        break;
    default:
        v.type = CEL_MAP;
    }
    v.json = j;
    return v;
}

/* Names that CEL cannot say are escaped in rules: __namespace__, a__dot__b. */
static struct str unescape(struct cel_run *r, struct str s)
{
    static const struct {
        const char *from, *to;
    } rows[] = {{"__underscores__", "__"}, {"__dot__", "."}, {"__dash__", "-"}, {"__slash__", "/"}};
    if (str_find(s, STR("__")) < 0)
        return s;
    if (s.n > 4 && str_starts(s, STR("__")) && str_ends(s, STR("__")) && str_find(str_sub(s, 2, s.n - 2), STR("__")) < 0)
        return str_sub(s, 2, s.n - 2);
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < s.n;) {
        size_t k = 0;
        while (k < ARRAY_LEN(rows) && !str_starts(str_sub(s, i, s.n), str_of(rows[k].from)))
            k++;
        if (k < ARRAY_LEN(rows)) {
            buf_puts(&b, rows[k].to);
            i += strlen(rows[k].from);
        } else {
            buf_putc(&b, s.p[i++]);
        }
    }
    return buf_to_pool(&b, r->pool);
}

const struct cel_value *cel_items(struct cel_run *r, struct cel_value v, size_t *n)
{
    *n = v.json ? json_count(v.json) : v.list.n;
    if (!v.json)
        return v.list.items;
    struct cel_value *out = pool_array(r->pool, struct cel_value, *n + 1);
    const void *item = v.node && r->typer ? r->typer->item(v.node) : NULL;
    size_t i = 0;
    json_for (v.json, x)
        out[i++] = cel_of_json(x, item, r->typer);
    return out;
}

static const void *member_node(struct cel_run *r, const void *node, struct str name)
{
    bool missing = false;
    const void *n = node && r->typer ? r->typer->member(node, name, &missing) : NULL;
    return n;
}

const struct cel_pair *cel_pairs(struct cel_run *r, struct cel_value v, size_t *n)
{
    *n = v.json ? json_count(v.json) : v.npairs;
    if (!v.json)
        return v.pairs;
    struct cel_pair *out = pool_array(r->pool, struct cel_pair, *n + 1);
    size_t i = 0;
    json_for (v.json, x)
        out[i++] = (struct cel_pair){cel_str(json_key(x)), cel_of_json(x, member_node(r, v.node, json_key(x)), r->typer)};
    return out;
}

bool cel_map_get(struct cel_run *r, struct cel_value m, struct cel_value key, struct cel_value *out)
{
    if (m.json) {
        if (key.type != CEL_STRING)
            return false;
        const struct json *x = json_get(m.json, key.s);
        if (!x && m.node) {
            key.s = unescape(r, key.s);
            x = json_get(m.json, key.s);
        }
        if (x)
            *out = cel_of_json(x, member_node(r, m.node, key.s), r->typer);
        return x != NULL;
    }
    for (size_t i = 0; i < m.npairs; i++)
        if (cel_equal(r, m.pairs[i].key, key)) {
            *out = m.pairs[i].value;
            return true;
        }
    return false;
}

static struct json *text_json(struct cel_run *r, struct cel_value v)
{
    struct cel_value t = cel_to_text(r, v);
    return t.type == CEL_STRING ? json_str(r->pool, t.s) : NULL;
}

struct json *cel_to_json(struct cel_run *r, struct cel_value v, struct err **e)
{
    struct json *out = NULL;
    size_t n;
    switch (v.type) {
    case CEL_NULL:
        return json_null(r->pool);
    case CEL_BOOL:
        return json_bool(r->pool, v.b);
    case CEL_INT:
        return json_int(r->pool, v.i);
    case CEL_UINT:
        return v.u <= INT64_MAX ? json_int(r->pool, (int64_t)v.u) : json_double(r->pool, (double)v.u);
    case CEL_DOUBLE:
        return json_double(r->pool, v.d);
    case CEL_STRING:
        return json_str(r->pool, v.s);
    case CEL_BYTES: {
        struct buf b = BUF_INIT;
        buf_base64(&b, v.s.p, v.s.n);
        return json_str(r->pool, buf_to_pool(&b, r->pool));
    }
    case CEL_LIST: {
        const struct cel_value *items = cel_items(r, v, &n);
        out = json_arr(r->pool);
        for (size_t i = 0; i < n; i++) {
            struct json *x = cel_to_json(r, items[i], e);
            if (!x)
                return NULL;
            json_append(out, x);
        }
        return out;
    }
    case CEL_MAP: {
        const struct cel_pair *pairs = cel_pairs(r, v, &n);
        out = json_obj(r->pool);
        for (size_t i = 0; i < n; i++) {
            struct json *x = cel_to_json(r, pairs[i].value, e);
            struct cel_value key = cel_to_text(r, pairs[i].key);
            if (!x || key.type != CEL_STRING)
                return NULL;
            json_set(r->pool, out, key.s, x);
        }
        return out;
    }
    case CEL_DURATION:
    case CEL_TIMESTAMP:
    case CEL_QUANTITY:
    case CEL_IP:
    case CEL_CIDR:
    case CEL_URL:
        return text_json(r, v);
    case CEL_OPTIONAL:
        if (v.inner)
            return cel_to_json(r, *v.inner, e);
        return json_null(r->pool);
    default:
        (void)err_set(e, ERR_INVALID, "a value of type %.*s has no JSON form", STR_ARG(cel_type_name(v)));
        return NULL;
    }
}

/* ---- equality and order ---- */

static bool is_number(struct cel_value v)
{
    return v.type == CEL_INT || v.type == CEL_UINT || v.type == CEL_DOUBLE;
}

static int cmp_numbers(struct cel_value a, struct cel_value b, bool *ok)
{
    if (a.type == CEL_DOUBLE || b.type == CEL_DOUBLE) {
        long double x = a.type == CEL_DOUBLE ? a.d : a.type == CEL_INT ? (long double)a.i : (long double)a.u;
        long double y = b.type == CEL_DOUBLE ? b.d : b.type == CEL_INT ? (long double)b.i : (long double)b.u;
        *ok = !isnan((double)x) && !isnan((double)y);
        return x < y ? -1 : x > y;
    }
    if (a.type == CEL_INT && b.type == CEL_INT)
        return a.i < b.i ? -1 : a.i > b.i;
    if (a.type == CEL_UINT && b.type == CEL_UINT)
        return a.u < b.u ? -1 : a.u > b.u;
    if (a.type == CEL_INT)
        return a.i < 0 ? -1 : (uint64_t)a.i < b.u ? -1 : (uint64_t)a.i > b.u;
    return b.i < 0 ? 1 : a.u < (uint64_t)b.i ? -1 : a.u > (uint64_t)b.i;
}

int cel_compare(struct cel_value a, struct cel_value b, bool *ok)
{
    *ok = true;
    if (is_number(a) && is_number(b))
        return cmp_numbers(a, b, ok);
    *ok = a.type == b.type;
    if (!*ok)
        return 0;
    switch (a.type) {
    case CEL_STRING:
    case CEL_BYTES:
        return str_cmp(a.s, b.s);
    case CEL_BOOL:
        return (int)a.b - (int)b.b;
    case CEL_DURATION:
    case CEL_TIMESTAMP:
        return a.i < b.i ? -1 : a.i > b.i;
    default:
        *ok = false;
        return 0;
    }
}

static bool lists_equal(struct cel_run *r, struct cel_value a, struct cel_value b)
{
    size_t n, m;
    const struct cel_value *x = cel_items(r, a, &n), *y = cel_items(r, b, &m);
    if (n != m)
        return false;
    const struct str *keys = NULL;
    size_t nkeys;
    if (a.node && r->typer && r->typer->keyed && r->typer->keyed(a.node, &keys, &nkeys)) { /* sets and maps know no order */
        for (size_t i = 0; i < n; i++) {
            bool found = false;
            for (size_t k = 0; k < m && !found && cel_spend(r, 1); k++)
                found = cel_equal(r, x[i], y[k]);
            if (!found)
                return false;
        }
        return true;
    }
    for (size_t i = 0; i < n; i++)
        if (!cel_equal(r, x[i], y[i]))
            return false;
    return true;
}

static bool maps_equal(struct cel_run *r, struct cel_value a, struct cel_value b)
{
    size_t n, m;
    const struct cel_pair *x = cel_pairs(r, a, &n);
    (void)cel_pairs(r, b, &m);
    if (n != m)
        return false;
    for (size_t i = 0; i < n; i++) {
        struct cel_value v;
        if (!cel_spend(r, 1) || !cel_map_get(r, b, x[i].key, &v) || !cel_equal(r, x[i].value, v))
            return false;
    }
    return true;
}

bool cel_equal(struct cel_run *r, struct cel_value a, struct cel_value b)
{
    bool ok = true;
    (void)cel_spend(r, 1);
    if (is_number(a) && is_number(b))
        return cmp_numbers(a, b, &ok) == 0 && ok;
    if (a.type != b.type)
        return false;
    switch (a.type) {
    case CEL_NULL:
        return true;
    case CEL_BOOL:
        return a.b == b.b;
    case CEL_STRING:
    case CEL_BYTES:
    case CEL_TYPE:
        (void)cel_spend(r, a.s.n / 10);
        return str_eq(a.s, b.s);
    case CEL_LIST:
        return lists_equal(r, a, b);
    case CEL_MAP:
        return maps_equal(r, a, b);
    case CEL_DURATION:
    case CEL_TIMESTAMP:
        return a.i == b.i;
    case CEL_OPTIONAL:
        return a.inner && b.inner ? cel_equal(r, *a.inner, *b.inner) : !a.inner && !b.inner;
    case CEL_IP:
    case CEL_CIDR:
        return cel_net_equal(a, b);
    default:
        return cel_kube_equal(a, b);
    }
}

size_t cel_runes(struct str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

/* ---- text ---- */

bool cel_duration_parse(struct str s, int64_t *ns)
{
    static const struct {
        const char *unit;
        double ns;
    } units[] = {{"ns", 1}, {"us", 1e3}, {"\xc2\xb5s", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};
    bool minus = s.n && s.p[0] == '-';
    long double sum = 0;
    if (s.n && (minus || s.p[0] == '+'))
        s = str_sub(s, 1, s.n);
    if (str_eqz(s, "0")) {
        *ns = 0;
        return true;
    }
    if (!s.n)
        return false;
    while (s.n) {
        size_t i = 0, k = 0;
        double v;
        while (i < s.n && ((s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '.'))
            i++;
        if (!i || !str_to_double(str_sub(s, 0, i), &v))
            return false;
        struct str rest = str_sub(s, i, s.n);
        size_t best = ARRAY_LEN(units);
        for (k = 0; k < ARRAY_LEN(units); k++)
            if (str_starts(rest, str_of(units[k].unit)) && (best == ARRAY_LEN(units) || strlen(units[k].unit) > strlen(units[best].unit)))
                best = k;
        if (best == ARRAY_LEN(units))
            return false;
        sum += (long double)v * units[best].ns;
        s = str_sub(rest, strlen(units[best].unit), rest.n);
    }
    if (sum > 9.2e18L)
        return false;
    *ns = (int64_t)(minus ? -sum : sum);
    return true;
}

static struct str fraction(char *out, size_t size, int64_t ns)
{
    int n = snprintf(out, size, ".%09" PRId64, ns);
    while (n > 1 && out[n - 1] == '0')
        n--;
    return str_make(out, n > 1 ? (size_t)n : 0);
}

static struct str timestamp_text(struct cel_run *r, int64_t ns)
{
    char text[TIME_MAX], frac[16];
    int64_t rest = ((ns % NS_PER_S) + NS_PER_S) % NS_PER_S;
    struct str s = time_format(ns - rest, text), f = fraction(frac, sizeof frac, rest);
    return pool_printf(r->pool, "%.*s%.*sZ", (int)(s.n - 1), s.p, STR_ARG(f));
}

static struct str double_text(struct cel_run *r, double d)
{
    char text[40];
    if (isnan(d))
        return STR("NaN");
    if (isinf(d))
        return d > 0 ? STR("+Inf") : STR("-Inf");
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, d);
        if (strtod(text, NULL) == d)
            break;
    }
    if (fabs(d) < 1e21 && fabs(d) >= 1e-7 && strchr(text, 'e'))
        snprintf(text, sizeof text, "%.0f", d);
    return pool_str(r->pool, str_of(text));
}

struct cel_value cel_to_text(struct cel_run *r, struct cel_value v)
{
    char frac[16];
    switch (v.type) {
    case CEL_STRING:
        return v;
    case CEL_BOOL:
        return cel_str(v.b ? STR("true") : STR("false"));
    case CEL_INT:
        return cel_str(pool_printf(r->pool, "%" PRId64, v.i));
    case CEL_UINT:
        return cel_str(pool_printf(r->pool, "%" PRIu64, v.u));
    case CEL_DOUBLE:
        return cel_str(double_text(r, v.d));
    case CEL_BYTES:
        return str_utf8_valid(v.s) ? cel_str(v.s) : cel_error(r, "invalid UTF-8 in bytes, cannot convert to string");
    case CEL_TIMESTAMP:
        return cel_str(timestamp_text(r, v.i));
    case CEL_DURATION: {
        uint64_t u = v.i < 0 ? 0 - (uint64_t)v.i : (uint64_t)v.i;
        struct str f = fraction(frac, sizeof frac, (int64_t)(u % (uint64_t)NS_PER_S));
        return cel_str(pool_printf(r->pool, "%s%" PRIu64 "%.*ss", v.i < 0 ? "-" : "", u / (uint64_t)NS_PER_S, STR_ARG(f)));
    }
    case CEL_IP:
    case CEL_CIDR:
        return cel_net_text(r, v);
    default:
        return cel_no_overload(r, "string", &v, 1);
    }
}
