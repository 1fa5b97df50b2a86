#include "yaml/scalar.h"
#include <math.h>

static const struct word {
    const char *text;
    enum scalar is;
    bool b;
} words[] = {
    {"y", SCALAR_BOOL, true},
    {"Y", SCALAR_BOOL, true},
    {"yes", SCALAR_BOOL, true},
    {"Yes", SCALAR_BOOL, true},
    {"YES", SCALAR_BOOL, true},
    {"true", SCALAR_BOOL, true},
    {"True", SCALAR_BOOL, true},
    {"TRUE", SCALAR_BOOL, true},
    {"on", SCALAR_BOOL, true},
    {"On", SCALAR_BOOL, true},
    {"ON", SCALAR_BOOL, true},
    {"n", SCALAR_BOOL, false},
    {"N", SCALAR_BOOL, false},
    {"no", SCALAR_BOOL, false},
    {"No", SCALAR_BOOL, false},
    {"NO", SCALAR_BOOL, false},
    {"false", SCALAR_BOOL, false},
    {"False", SCALAR_BOOL, false},
    {"FALSE", SCALAR_BOOL, false},
    {"off", SCALAR_BOOL, false},
    {"Off", SCALAR_BOOL, false},
    {"OFF", SCALAR_BOOL, false},
    {"", SCALAR_NULL, false},
    {"~", SCALAR_NULL, false},
    {"null", SCALAR_NULL, false},
    {"Null", SCALAR_NULL, false},
    {"NULL", SCALAR_NULL, false},
    {".nan", SCALAR_NO_JSON, false},
    {".NaN", SCALAR_NO_JSON, false},
    {".NAN", SCALAR_NO_JSON, false},
    {".inf", SCALAR_NO_JSON, false},
    {".Inf", SCALAR_NO_JSON, false},
    {".INF", SCALAR_NO_JSON, false},
    {"+.inf", SCALAR_NO_JSON, false},
    {"+.Inf", SCALAR_NO_JSON, false},
    {"+.INF", SCALAR_NO_JSON, false},
    {"-.inf", SCALAR_NO_JSON, false},
    {"-.Inf", SCALAR_NO_JSON, false},
    {"-.INF", SCALAR_NO_JSON, false},
    {"<<", SCALAR_MERGE, false},
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int digit_value(char c)
{
    if (is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

/* As strconv.ParseInt(s, 0, 64), then ParseUint: 0x, 0o, 0b, and a leading 0 means octal. The magnitude and its sign. */
static bool to_integer(struct str s, bool *negative, uint64_t *v)
{
    unsigned base = 10;
    size_t i = 0;
    *negative = false;
    *v = 0;
    if (s.n && (s.p[0] == '+' || s.p[0] == '-'))
        *negative = s.p[i++] == '-';
    if (s.n - i > 1 && s.p[i] == '0') {
        char c = s.p[i + 1] | 0x20;
        base = c == 'x' ? 16 : c == 'b' ? 2 : 8;
        i += c == 'x' || c == 'b' || c == 'o' ? 2 : 1;
    }
    if (i >= s.n)
        return false;
    for (; i < s.n; i++) {
        unsigned d = (unsigned)digit_value(s.p[i]);
        if (d >= base || *v > (UINT64_MAX - d) / base)
            return false;
        *v = *v * base + d;
    }
    return true;
}

static size_t digits(struct str s, size_t i)
{
    while (i < s.n && is_digit(s.p[i]))
        i++;
    return i;
}

/* ^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$ */
static bool float_shaped(struct str s)
{
    size_t i = s.n && (s.p[0] == '+' || s.p[0] == '-'), whole = digits(s, i), end = whole;
    bool some = whole > i;
    if (end < s.n && s.p[end] == '.') {
        size_t fraction = digits(s, end + 1);
        some |= fraction > end + 1;
        end = fraction;
    }
    if (!some)
        return false;
    if (end < s.n && (s.p[end] | 0x20) == 'e') {
        size_t from = end + 1 + (end + 1 < s.n && (s.p[end + 1] == '+' || s.p[end + 1] == '-'));
        end = digits(s, from);
        if (end == from)
            return false;
    }
    return end == s.n;
}

static enum scalar as_double(double d, struct scalar_value *out)
{
    if (!isfinite(d))
        return SCALAR_NO_JSON;
    if (d == trunc(d) && fabs(d) < 9223372036854775808.0) {
        out->i = (int64_t)d;
        return SCALAR_INT;
    }
    out->d = d;
    return SCALAR_DOUBLE;
}

static enum scalar number(struct str s, struct scalar_value *out)
{
    uint64_t v;
    bool negative;
    if (to_integer(s, &negative, &v)) {
        if (v <= INT64_MAX || (negative && v == (uint64_t)INT64_MAX + 1)) {
            out->i = negative ? (int64_t)(0 - v) : (int64_t)v;
            return SCALAR_INT;
        }
        return as_double(negative ? -(double)v : (double)v, out);
    }
    if (s.n && s.p[0] == '+')
        s = str_sub(s, 1, s.n);
    double d;
    return float_shaped(s) && str_to_double(s, &d) ? as_double(d, out) : SCALAR_STR;
}

enum scalar scalar_resolve(struct str s, struct scalar_value *out)
{
    char plain[512];
    size_t n = 0;
    *out = (struct scalar_value){0};
    if (s.n <= 5)
        for (size_t i = 0; i < ARRAY_LEN(words); i++)
            if (str_eqz(s, words[i].text)) {
                out->b = words[i].b;
                return words[i].is;
            }
    if (!is_digit(s.p[0]) && !strchr("+-.", s.p[0]))
        return SCALAR_STR;
    if (s.n > sizeof plain)
        return SCALAR_STR;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '_' || s.p[0] == '.')
            plain[n++] = s.p[i];
    return number(str_make(plain, n), out);
}

bool scalar_looks_special(struct str s)
{
    size_t i = digits(s, 0);
    if (i == 4 && s.n >= 8 && s.p[4] == '-' && is_digit(s.p[5])) /* 2001-12-14... */
        return true;
    i = digits(s, s.n && (s.p[0] == '+' || s.p[0] == '-'));
    return i > 0 && i + 1 < s.n && is_digit(s.p[i - 1]) && s.p[i] == ':' && is_digit(s.p[i + 1]); /* 12:30:45 */
}
