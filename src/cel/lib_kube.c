#include <stdlib.h>

#include "cel/inner.h"
#include "cel/regex.h"

/* Kubernetes' own values: quantities, URLs, semantic versions, named formats, the authorizer. */

#define ARGS struct cel_run *r, struct cel_value *v, size_t n
#define WANT(cond, name)                                                                                                                   \
    if (!(cond))                                                                                                                           \
    return cel_no_overload(r, name, v, n)
#define T(i, t) (v[i].type == (t))

/* ---- quantities: thousand-millionths, in 128 bits ---- */

typedef __int128 wide;
struct quantity {
    wide nano;
};
#define NANO ((wide)1000000000)

static bool quantity_read(struct str s, wide *out)
{
    static const struct {
        const char *suffix;
        int bin, dec; /* 2^bin, 10^dec */
    } rows[] = {{"Ki", 10, 0}, {"Mi", 20, 0}, {"Gi", 30, 0}, {"Ti", 40, 0}, {"Pi", 50, 0}, {"Ei", 60, 0}, {"n", 0, -9}, {"u", 0, -6},
        {"m", 0, -3}, {"k", 0, 3}, {"M", 0, 6}, {"G", 0, 9}, {"T", 0, 12}, {"P", 0, 15}, {"E", 0, 18}};
    size_t i = 0, digits = 0;
    bool minus = false;
    wide v = 0;
    int scale = 0, dec = 0, bin = 0;
    if (s.n && (s.p[0] == '-' || s.p[0] == '+'))
        minus = s.p[i++] == '-';
    for (bool point = false; i < s.n; i++) {
        if (s.p[i] == '.' && !point) {
            point = true;
            continue;
        }
        if (s.p[i] < '0' || s.p[i] > '9')
            break;
        digits++;
        if (v > (wide)1 << 100)
            return false;
        if (!point || scale < 18) {
            v = v * 10 + (s.p[i] - '0');
            scale += point;
        }
    }
    struct str rest = str_sub(s, i, s.n);
    bool known = rest.n == 0;
    int64_t exp;
    for (size_t k = 0; k < ARRAY_LEN(rows) && !known; k++)
        if (str_eqz(rest, rows[k].suffix)) {
            known = true;
            dec = rows[k].dec, bin = rows[k].bin;
        }
    if (!known && rest.n > 1 && (rest.p[0] | 32) == 'e' &&
        str_to_i64(rest.p[1] == '+' ? str_sub(rest, 2, rest.n) : str_sub(rest, 1, rest.n), &exp) && exp > -19 && exp < 19) {
        known = true;
        dec = (int)exp;
    }
    if (!known || !digits)
        return false;
    for (dec += 9 - scale; dec > 0; dec--) {
        if (v > (wide)1 << 115)
            return false;
        v *= 10;
    }
    bool more = false;
    if (v > (wide)1 << (120 - bin))
        return false;
    v <<= bin;
    for (; dec < 0; dec++) {
        more |= v % 10 != 0;
        v /= 10;
    }
    v += more; /* rounded up, as Kubernetes does */
    *out = minus ? -v : v;
    return true;
}

static struct cel_value quantity_of(struct cel_run *r, wide nano)
{
    struct quantity *q = pool_new_of(r->pool, struct quantity);
    q->nano = nano;
    return (struct cel_value){.type = CEL_QUANTITY, .p = q};
}

static wide nano(struct cel_value v)
{
    return ((const struct quantity *)v.p)->nano;
}

struct cel_value cel_quantity(struct cel_run *r, struct str s)
{
    wide q;
    if (!quantity_read(s, &q))
        return cel_error(r, "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
    return quantity_of(r, q);
}

static struct cel_value f_quantity(ARGS)
{
    WANT(T(0, CEL_STRING), "quantity");
    return cel_quantity(r, v[0].s);
}
static struct cel_value f_is_quantity(ARGS)
{
    wide q;
    WANT(T(0, CEL_STRING), "isQuantity");
    return cel_bool(quantity_read(v[0].s, &q));
}
static struct cel_value f_is_integer(ARGS)
{
    WANT(T(0, CEL_QUANTITY), "isInteger");
    return cel_bool(nano(v[0]) % NANO == 0 && nano(v[0]) / NANO <= INT64_MAX && nano(v[0]) / NANO >= INT64_MIN);
}
static struct cel_value f_as_integer(ARGS)
{
    WANT(T(0, CEL_QUANTITY), "asInteger");
    if (!f_is_integer(r, v, n).b)
        return cel_error(r, "cannot convert value to integer");
    return cel_int((int64_t)(nano(v[0]) / NANO));
}
static struct cel_value f_as_float(ARGS)
{
    WANT(T(0, CEL_QUANTITY), "asApproximateFloat");
    return cel_double((double)nano(v[0]) / 1e9);
}
static struct cel_value f_sign(ARGS)
{
    WANT(T(0, CEL_QUANTITY), "sign");
    return cel_int(nano(v[0]) < 0 ? -1 : nano(v[0]) > 0);
}
static struct cel_value plus(ARGS, int sign)
{
    WANT(T(0, CEL_QUANTITY) && (T(1, CEL_QUANTITY) || T(1, CEL_INT)), "add");
    return quantity_of(r, nano(v[0]) + sign * (T(1, CEL_INT) ? (wide)v[1].i * NANO : nano(v[1])));
}
static struct cel_value f_add(ARGS)
{
    return plus(r, v, n, 1);
}
static struct cel_value f_sub(ARGS)
{
    return plus(r, v, n, -1);
}

/* ---- semantic versions ---- */

struct semver {
    uint64_t major, minor, patch;
    struct str pre;
};

static bool number_part(struct str s, uint64_t *out)
{
    return str_to_u64(s, out) && (s.n == 1 || s.p[0] != '0');
}

static bool semver_read(struct str s, bool normalize, struct semver *out)
{
    struct str core = s, build = STR(""), parts[3] = {STR("0"), STR("0"), STR("0")}, piece;
    *out = (struct semver){.pre = STR("")};
    if (normalize && s.n && (s.p[0] == 'v' || s.p[0] == 'V'))
        core = str_sub(s, 1, s.n);
    (void)str_cut(core, '+', &core, &build);
    (void)str_cut(core, '-', &core, &out->pre);
    size_t k = 0;
    for (struct str rest = core; str_split(&rest, '.', &piece);) {
        if (k == 3)
            return false;
        while (normalize && piece.n > 1 && piece.p[0] == '0')
            piece = str_sub(piece, 1, piece.n);
        parts[k++] = piece;
    }
    return (k == 3 || (normalize && k > 0)) && number_part(parts[0], &out->major) && number_part(parts[1], &out->minor) &&
           number_part(parts[2], &out->patch);
}

static int cmp_pre(struct str a, struct str b)
{
    struct str x, y;
    if (!a.n || !b.n)
        return a.n ? -1 : b.n ? 1 : 0;
    for (;;) {
        bool more_a = str_split(&a, '.', &x), more_b = str_split(&b, '.', &y);
        uint64_t i, k;
        if (!more_a || !more_b)
            return more_a ? 1 : more_b ? -1 : 0;
        bool na = str_to_u64(x, &i), nb = str_to_u64(y, &k);
        int c = na && nb ? (i < k ? -1 : i > k) : na ? -1 : nb ? 1 : str_cmp(x, y);
        if (c)
            return c;
    }
}

static int cmp_semver(const struct semver *a, const struct semver *b)
{
    if (a->major != b->major)
        return a->major < b->major ? -1 : 1;
    if (a->minor != b->minor)
        return a->minor < b->minor ? -1 : 1;
    if (a->patch != b->patch)
        return a->patch < b->patch ? -1 : 1;
    return cmp_pre(a->pre, b->pre);
}

static struct cel_value f_semver(ARGS)
{
    struct semver *s = pool_new_of(r->pool, struct semver);
    WANT(T(0, CEL_STRING) && (n < 2 || T(1, CEL_BOOL)), "semver");
    if (!semver_read(v[0].s, n > 1 && v[1].b, s))
        return cel_error(r, "invalid semantic version \"%.*s\"", STR_ARG(v[0].s));
    return (struct cel_value){.type = CEL_SEMVER, .p = s};
}
static struct cel_value f_is_semver(ARGS)
{
    struct semver s;
    WANT(T(0, CEL_STRING) && (n < 2 || T(1, CEL_BOOL)), "isSemver");
    return cel_bool(semver_read(v[0].s, n > 1 && v[1].b, &s));
}
#define SEMVER_PART(name, part)                                                                                                            \
    static struct cel_value name(ARGS)                                                                                                     \
    {                                                                                                                                      \
        WANT(T(0, CEL_SEMVER), #part);                                                                                                     \
        return cel_int((int64_t)((const struct semver *)v[0].p)->part);                                                                    \
    }
SEMVER_PART(f_major, major)
SEMVER_PART(f_minor, minor)
SEMVER_PART(f_patch, patch)

/* ---- compareTo and its friends, of both ---- */

static bool order(struct cel_value a, struct cel_value b, int *c)
{
    if (a.type == CEL_QUANTITY && b.type == CEL_QUANTITY)
        *c = nano(a) < nano(b) ? -1 : nano(a) > nano(b);
    else if (a.type == CEL_SEMVER && b.type == CEL_SEMVER)
        *c = cmp_semver(a.p, b.p);
    else
        return false;
    return true;
}
static struct cel_value f_compare_to(ARGS)
{
    int c;
    WANT(order(v[0], v[1], &c), "compareTo");
    return cel_int(c);
}
static struct cel_value f_less(ARGS)
{
    int c;
    WANT(order(v[0], v[1], &c), "isLessThan");
    return cel_bool(c < 0);
}
static struct cel_value f_greater(ARGS)
{
    int c;
    WANT(order(v[0], v[1], &c), "isGreaterThan");
    return cel_bool(c > 0);
}

/* ---- URLs ---- */

struct url {
    struct str text, scheme, host, path, query;
};

static bool url_read(struct str s, struct url *u)
{
    *u = (struct url){.text = s, .scheme = STR(""), .host = STR(""), .path = s, .query = STR("")};
    if (!s.n || !str_utf8_valid(s))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= 0x20 || s.p[i] == 0x7f)
            return false;
    struct str rest = s, frag;
    if (s.p[0] != '/') { /* absolute: scheme first */
        if (!str_cut(s, ':', &u->scheme, &rest) || !u->scheme.n || !((u->scheme.p[0] | 32) >= 'a' && (u->scheme.p[0] | 32) <= 'z'))
            return false;
    }
    (void)str_cut(rest, '#', &rest, &frag);
    (void)str_cut(rest, '?', &rest, &u->query);
    u->path = rest;
    if (str_starts(rest, STR("//"))) {
        rest = str_sub(rest, 2, rest.n);
        ssize_t slash = str_chr(rest, '/');
        u->host = slash < 0 ? rest : str_sub(rest, 0, (size_t)slash);
        u->path = slash < 0 ? STR("") : str_sub(rest, (size_t)slash, rest.n);
        ssize_t at = str_rchr(u->host, '@');
        u->host = str_sub(u->host, (size_t)(at + 1), u->host.n);
        ssize_t close = str_chr(u->host, ']'), colon = str_rchr(u->host, ':');
        uint64_t port;
        if (u->host.n && u->host.p[0] == '[' && close < 0)
            return false;
        if (colon > close && colon + 1 < (ssize_t)u->host.n && !str_to_u64(str_sub(u->host, (size_t)colon + 1, u->host.n), &port))
            return false;
    }
    return true;
}

static struct cel_value f_url(ARGS)
{
    struct url *u = pool_new_of(r->pool, struct url);
    WANT(T(0, CEL_STRING), "url");
    if (!url_read(v[0].s, u))
        return cel_error(r, "URL parse error during conversion from string: parse \"%.*s\": invalid URI for request", STR_ARG(v[0].s));
    return (struct cel_value){.type = CEL_URL, .p = u};
}
static struct cel_value f_is_url(ARGS)
{
    struct url u;
    WANT(T(0, CEL_STRING), "isURL");
    return cel_bool(url_read(v[0].s, &u));
}
static struct cel_value f_scheme(ARGS)
{
    WANT(T(0, CEL_URL), "getScheme");
    return cel_str(((const struct url *)v[0].p)->scheme);
}
static struct cel_value f_host(ARGS)
{
    WANT(T(0, CEL_URL), "getHost");
    return cel_str(((const struct url *)v[0].p)->host);
}
static ssize_t port_at(struct str host)
{
    ssize_t close = str_chr(host, ']'), colon = str_rchr(host, ':');
    return colon > close ? colon : -1;
}
static struct cel_value f_hostname(ARGS)
{
    WANT(T(0, CEL_URL), "getHostname");
    struct str h = ((const struct url *)v[0].p)->host;
    ssize_t at = port_at(h);
    h = at < 0 ? h : str_sub(h, 0, (size_t)at);
    if (h.n > 1 && h.p[0] == '[')
        h = str_sub(h, 1, h.n - 1);
    return cel_str(h);
}
static struct cel_value f_port(ARGS)
{
    WANT(T(0, CEL_URL), "getPort");
    struct str h = ((const struct url *)v[0].p)->host;
    ssize_t at = port_at(h);
    return cel_str(at < 0 ? STR("") : str_sub(h, (size_t)at + 1, h.n));
}
static struct cel_value f_path(ARGS)
{
    WANT(T(0, CEL_URL), "getEscapedPath");
    return cel_str(((const struct url *)v[0].p)->path);
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}
static struct cel_value unescape(struct cel_run *r, struct str s)
{
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '%' && i + 2 < s.n && hex(s.p[i + 1]) >= 0 && hex(s.p[i + 2]) >= 0) {
            buf_putc(&b, (char)(hex(s.p[i + 1]) * 16 + hex(s.p[i + 2])));
            i += 2;
        } else {
            buf_putc(&b, s.p[i] == '+' ? ' ' : s.p[i]);
        }
    }
    return cel_str(buf_to_pool(&b, r->pool));
}
static struct cel_value f_query(ARGS)
{
    struct str rest, piece;
    size_t count = 0;
    WANT(T(0, CEL_URL), "getQuery");
    rest = ((const struct url *)v[0].p)->query;
    struct cel_pair *pairs = pool_array(r->pool, struct cel_pair, rest.n / 2 + 2);
    while (rest.n && str_split(&rest, '&', &piece)) {
        struct str name = piece, value = STR("");
        size_t i = 0;
        if (!piece.n || !cel_spend(r, 1))
            continue;
        (void)str_cut(piece, '=', &name, &value);
        struct cel_value key = unescape(r, name), one = unescape(r, value);
        while (i < count && !str_eq(pairs[i].key.s, key.s))
            i++;
        size_t had = i < count ? pairs[i].value.list.n : 0;
        struct cel_value *items = pool_array(r->pool, struct cel_value, had + 1);
        for (size_t k = 0; k < had; k++)
            items[k] = pairs[i].value.list.items[k];
        items[had] = one;
        pairs[i] = (struct cel_pair){key, cel_list(items, had + 1)};
        count += i == count;
    }
    return cel_map(pairs, count);
}

/* ---- named formats ---- */

static const struct {
    const char *name, *pattern, *why;
    unsigned max;
} formats[] = {
    {"dns1123Label", "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric "
        "character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        63},
    {"dns1123Subdomain", "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an "
        "alphanumeric character (e.g. 'example.com', regex used for validation is "
        "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        253},
    {"dns1035Label", "^[a-z]([-a-z0-9]*[a-z0-9])?$",
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an "
        "alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
        63},
    {"qualifiedName", "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]$",
        "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. "
        "'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        317},
    {"dns1123LabelPrefix", "^[a-z0-9]([-a-z0-9]*)?$",
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric "
        "character",
        63},
    {"dns1123SubdomainPrefix", "^[a-z0-9]([-a-z0-9.]*)?$",
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an "
        "alphanumeric character",
        253},
    {"dns1035LabelPrefix", "^[a-z]([-a-z0-9]*)?$",
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an "
        "alphanumeric character",
        63},
    {"labelValue", "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$",
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
        "alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
        "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        63},
    {"uri", "^([a-zA-Z][a-zA-Z0-9+.-]*:[^\\s]+|/[^\\s]*)$", "invalid URI", 4096},
    {"uuid", "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$", "does not match the UUID format", 64},
    {"byte", "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$", "invalid base64", 1 << 20},
    {"date", "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$", "invalid date", 10},
    {"datetime", "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?([Zz]|[-+][0-9]{2}:[0-9]{2})$", "invalid datetime",
        64},
};

static struct cel_value f_named(ARGS)
{
    WANT(T(0, CEL_STRING), "format.named");
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        if (str_eqz(v[0].s, formats[i].name)) {
            struct cel_value f = {.type = CEL_FORMAT, .s = str_of(formats[i].name)};
            return cel_opt(r, &f);
        }
    return cel_opt(r, NULL);
}
static struct cel_value f_validate(ARGS)
{
    WANT(T(0, CEL_FORMAT) && T(1, CEL_STRING), "validate");
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        _cleanup_(regex_freep) struct regex *x = NULL;
        if (!str_eqz(v[0].s, formats[i].name))
            continue;
        if (!cel_spend(r, v[1].s.n + 10))
            return cel_over(r);
        struct cel_value why = cel_str(STR_NULL);
        if (v[1].s.n > formats[i].max)
            why = cel_str(pool_printf(r->pool, "must be no more than %u characters", formats[i].max));
        else if (regex_new(str_of(formats[i].pattern), &x, NULL) < 0 || regex_match(x, v[1].s))
            return cel_opt(r, NULL);
        else
            why = cel_str(str_of(formats[i].why));
        struct cel_value *items = pool_array(r->pool, struct cel_value, 1);
        items[0] = why;
        struct cel_value list = cel_list(items, 1);
        return cel_opt(r, &list);
    }
    return cel_opt(r, NULL);
}
#define FORMAT(name, text)                                                                                                                 \
    static struct cel_value name(ARGS)                                                                                                     \
    {                                                                                                                                      \
        (void)r, (void)v, (void)n;                                                                                                         \
        return (struct cel_value){.type = CEL_FORMAT, .s = STR(text)};                                                                     \
    }
FORMAT(f_dns1123_label, "dns1123Label")
FORMAT(f_dns1123_subdomain, "dns1123Subdomain")
FORMAT(f_dns1035_label, "dns1035Label")
FORMAT(f_qualified, "qualifiedName")
FORMAT(f_dns1123_label_prefix, "dns1123LabelPrefix")
FORMAT(f_dns1123_subdomain_prefix, "dns1123SubdomainPrefix")
FORMAT(f_dns1035_label_prefix, "dns1035LabelPrefix")
FORMAT(f_label_value, "labelValue")
FORMAT(f_uri, "uri")
FORMAT(f_uuid, "uuid")
FORMAT(f_byte, "byte")
FORMAT(f_date, "date")
FORMAT(f_datetime, "datetime")

/* ---- the authorizer ---- */

struct decision {
    bool allowed;
    struct str reason;
};

static struct cel_value with(ARGS, size_t member)
{
    WANT(T(0, CEL_AUTHZ) && T(1, CEL_STRING), "authorizer");
    struct cel_attributes *at = pool_new_of(r->pool, struct cel_attributes);
    *at = *(const struct cel_attributes *)v[0].p;
    memcpy((char *)at + member, &v[1].s, sizeof v[1].s);
    return (struct cel_value){.type = CEL_AUTHZ, .p = at};
}
#define AUTHZ(name, field)                                                                                                                 \
    static struct cel_value name(ARGS)                                                                                                     \
    {                                                                                                                                      \
        return with(r, v, n, offsetof(struct cel_attributes, field));                                                                      \
    }
AUTHZ(f_group, group)
AUTHZ(f_resource, resource)
AUTHZ(f_subresource, sub)
AUTHZ(f_namespace, ns)
AUTHZ(f_name, name)
AUTHZ(f_authz_path, path)
AUTHZ(f_field_selector, field_selector)
AUTHZ(f_label_selector, label_selector)

static struct cel_value f_service_account(ARGS)
{
    WANT(T(0, CEL_AUTHZ) && T(1, CEL_STRING) && T(2, CEL_STRING), "serviceAccount");
    struct cel_attributes *at = pool_new_of(r->pool, struct cel_attributes);
    *at = *(const struct cel_attributes *)v[0].p;
    at->user_set = true;
    at->sa_ns = v[1].s;
    at->sa_name = v[2].s;
    return (struct cel_value){.type = CEL_AUTHZ, .p = at};
}
static struct cel_value f_check(ARGS)
{
    WANT(T(0, CEL_AUTHZ) && T(1, CEL_STRING), "check");
    struct cel_attributes at = *(const struct cel_attributes *)v[0].p;
    struct decision *d = pool_new_of(r->pool, struct decision);
    at.verb = v[1].s;
    if (!cel_spend(r, 350000)) /* what Kubernetes charges for one */
        return cel_over(r);
    d->reason = STR("");
    if (!r->authorize)
        return cel_error(r, "no authorizer here");
    d->allowed = r->authorize(r->authorize_arg, &at, &d->reason);
    return (struct cel_value){.type = CEL_DECISION, .p = d};
}
static struct cel_value f_allowed(ARGS)
{
    WANT(T(0, CEL_DECISION), "allowed");
    return cel_bool(((const struct decision *)v[0].p)->allowed);
}
static struct cel_value f_reason(ARGS)
{
    WANT(T(0, CEL_DECISION), "reason");
    return cel_str(((const struct decision *)v[0].p)->reason);
}
static struct cel_value f_errored(ARGS)
{
    WANT(T(0, CEL_DECISION), "errored");
    return cel_bool(false);
}
static struct cel_value f_error(ARGS)
{
    WANT(T(0, CEL_DECISION), "error");
    return cel_str(STR(""));
}

bool cel_kube_equal(struct cel_value a, struct cel_value b)
{
    int c;
    if (order(a, b, &c))
        return c == 0;
    if (a.type == CEL_URL && b.type == CEL_URL)
        return str_eq(((const struct url *)a.p)->text, ((const struct url *)b.p)->text);
    return a.p == b.p;
}

const struct cel_fn cel_kube[] = {
    {"quantity", 1, 1, false, true, f_quantity},
    {"isQuantity", 1, 1, false, true, f_is_quantity},
    {"isInteger", 1, 1, true, false, f_is_integer},
    {"asInteger", 1, 1, true, false, f_as_integer},
    {"asApproximateFloat", 1, 1, true, false, f_as_float},
    {"sign", 1, 1, true, false, f_sign},
    {"add", 2, 2, true, false, f_add},
    {"sub", 2, 2, true, false, f_sub},
    {"compareTo", 2, 2, true, false, f_compare_to},
    {"isLessThan", 2, 2, true, false, f_less},
    {"isGreaterThan", 2, 2, true, false, f_greater},
    {"semver", 1, 2, false, true, f_semver},
    {"isSemver", 1, 2, false, true, f_is_semver},
    {"major", 1, 1, true, false, f_major},
    {"minor", 1, 1, true, false, f_minor},
    {"patch", 1, 1, true, false, f_patch},
    {"url", 1, 1, false, true, f_url},
    {"isURL", 1, 1, false, true, f_is_url},
    {"getScheme", 1, 1, true, false, f_scheme},
    {"getHost", 1, 1, true, false, f_host},
    {"getHostname", 1, 1, true, false, f_hostname},
    {"getPort", 1, 1, true, false, f_port},
    {"getEscapedPath", 1, 1, true, false, f_path},
    {"getQuery", 1, 1, true, false, f_query},
    {"format.named", 1, 1, false, true, f_named},
    {"validate", 2, 2, true, false, f_validate},
    {"format.dns1123Label", 0, 0, false, true, f_dns1123_label},
    {"format.dns1123Subdomain", 0, 0, false, true, f_dns1123_subdomain},
    {"format.dns1035Label", 0, 0, false, true, f_dns1035_label},
    {"format.qualifiedName", 0, 0, false, true, f_qualified},
    {"format.dns1123LabelPrefix", 0, 0, false, true, f_dns1123_label_prefix},
    {"format.dns1123SubdomainPrefix", 0, 0, false, true, f_dns1123_subdomain_prefix},
    {"format.dns1035LabelPrefix", 0, 0, false, true, f_dns1035_label_prefix},
    {"format.labelValue", 0, 0, false, true, f_label_value},
    {"format.uri", 0, 0, false, true, f_uri},
    {"format.uuid", 0, 0, false, true, f_uuid},
    {"format.byte", 0, 0, false, true, f_byte},
    {"format.date", 0, 0, false, true, f_date},
    {"format.datetime", 0, 0, false, true, f_datetime},
    {"group", 2, 2, true, false, f_group},
    {"resource", 2, 2, true, false, f_resource},
    {"subresource", 2, 2, true, false, f_subresource},
    {"namespace", 2, 2, true, false, f_namespace},
    {"name", 2, 2, true, false, f_name},
    {"path", 2, 2, true, false, f_authz_path},
    {"fieldSelector", 2, 2, true, false, f_field_selector},
    {"labelSelector", 2, 2, true, false, f_label_selector},
    {"serviceAccount", 3, 3, true, false, f_service_account},
    {"check", 2, 2, true, false, f_check},
    {"allowed", 1, 1, true, false, f_allowed},
    {"reason", 1, 1, true, false, f_reason},
    {"errored", 1, 1, true, false, f_errored},
    {"error", 1, 1, true, false, f_error},
    {NULL, 0, 0, false, false, NULL},
};
