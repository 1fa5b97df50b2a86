#include "json/number.h"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Powers of ten that a double holds exactly: a mantissa below 2^53 times or over one of them is rounded once, hence correctly
 * (Clinger, "How to read floating point numbers accurately", PLDI 1990). */
static const double exact_power[] = {
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

struct scanned {
    const char *from, *end;       /* the whole literal */
    bool negative, integer, many; /* many: the mantissa did not fit */
    uint64_t mantissa;
    int64_t exponent;
};

static inline bool is_digit(const char *p, const char *end)
{
    return p < end && *p >= '0' && *p <= '9';
}

static const char *digits(const char *p, const char *end, struct scanned *s)
{
    for (; is_digit(p, end); p++) {
        if (s->mantissa > (UINT64_MAX - 9) / 10)
            s->many = true;
        else
            s->mantissa = s->mantissa * 10 + (uint64_t)(*p - '0');
    }
    return p;
}

/* The exponent part behind 'e'; NULL when malformed. Saturates far beyond what a double can hold. */
static const char *exponent(const char *p, const char *end, struct scanned *s)
{
    bool negative = false;
    int64_t v = 0;
    if (p < end && (*p == '+' || *p == '-'))
        negative = *p++ == '-';
    if (!is_digit(p, end))
        return NULL;
    for (; is_digit(p, end); p++)
        if (v < 1000000000)
            v = v * 10 + (*p - '0');
    s->exponent += negative ? -v : v;
    return p;
}

static bool scan(const char *p, const char *end, struct scanned *s)
{
    *s = (struct scanned){.from = p, .integer = true};
    if (p < end && *p == '-') {
        s->negative = true;
        p++;
    }
    if (!is_digit(p, end))
        return false;
    if (*p == '0') {
        p++;
        if (is_digit(p, end))
            return false;
    } else {
        p = digits(p, end, s);
    }
    if (p < end && *p == '.') {
        const char *point = ++p;
        s->integer = false;
        p = digits(p, end, s);
        if (p == point)
            return false;
        s->exponent = -(int64_t)(p - point);
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        s->integer = false;
        p = exponent(p + 1, end, s);
        if (!p)
            return false;
    }
    s->end = p;
    return true;
}

static double slow_double(const struct scanned *s)
{
    char small[128], *z = small;
    size_t n = (size_t)(s->end - s->from);
    if (n >= sizeof small)
        z = xmemdup0(s->from, n);
    else {
        memcpy(small, s->from, n);
        small[n] = 0;
    }
    double v = strtod(z, NULL);
    if (z != small)
        free(z);
    return v;
}

static double as_double(const struct scanned *s)
{
    if (s->many || s->mantissa > (UINT64_C(1) << 53) || s->exponent < -22 || s->exponent > 22)
        return slow_double(s);
    double v = (double)s->mantissa;
    v = s->exponent < 0 ? v / exact_power[-s->exponent] : v * exact_power[s->exponent];
    return s->negative ? -v : v;
}

enum number_result number_read(const char *p, const char *end, bool strict, struct json *out, const char **after)
{
    struct scanned s;
    if (!scan(p, end, &s))
        return NUMBER_BAD;
    *after = s.end;
    if (s.integer && !s.many) {
        if (s.mantissa <= INT64_MAX) {
            out->type = JSON_INT;
            out->i = s.negative ? -(int64_t)s.mantissa : (int64_t)s.mantissa;
            return NUMBER_OK;
        }
        if (s.negative && s.mantissa == (uint64_t)INT64_MAX + 1) {
            out->type = JSON_INT;
            out->i = INT64_MIN;
            return NUMBER_OK;
        }
    }
    double v = as_double(&s);
    if (!isfinite(v))
        return NUMBER_RANGE;
    if (strict && s.integer && (s.many || fabs(v) >= 18446744073709551616.0 || (uint64_t)fabs(v) != s.mantissa))
        return NUMBER_RANGE;
    out->type = JSON_DOUBLE;
    out->d = v;
    return NUMBER_OK;
}

/* "-d.ddde+XX" with the fewest digits that read back as v: its digits to out, their count, and the decimal exponent. */
static size_t shortest(double v, char out[20], int *exp10)
{
    char text[NUMBER_MAX];
    /* fifteen digits are always kept by a normal double, trailing zeros are cut below; subnormal ones may need fewer */
    for (int precision = v < DBL_MIN ? 0 : 14; precision <= 16; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, v);
        if (strtod(text, NULL) == v)
            break;
    }
    size_t n = 0;
    const char *p = text;
    for (; *p != 'e'; p++)
        if (*p >= '0' && *p <= '9')
            out[n++] = *p;
    *exp10 = (int)strtol(p + 1, NULL, 10);
    while (n > 1 && out[n - 1] == '0')
        n--;
    return n;
}

static size_t put(char *out, size_t at, const char *p, size_t n)
{
    memcpy(out + at, p, n);
    return at + n;
}

static size_t zeros(char *out, size_t at, int n)
{
    memset(out + at, '0', (size_t)n);
    return at + (size_t)n;
}

/* 123e4 as 1230000, 123e-4 as 0.0123, 1.5 as it is. */
static size_t plain(char *out, size_t at, const char *d, size_t n, int exp10)
{
    if (exp10 < 0) {
        at = put(out, at, "0.", 2);
        at = zeros(out, at, -exp10 - 1);
        return put(out, at, d, n);
    }
    if ((size_t)exp10 + 1 < n) {
        at = put(out, at, d, (size_t)exp10 + 1);
        out[at++] = '.';
        return put(out, at, d + exp10 + 1, n - (size_t)exp10 - 1);
    }
    at = put(out, at, d, n);
    at = zeros(out, at, exp10 + 1 - (int)n);
    /* from 2^63 on it cannot be mistaken for an integer of ours */
    return exp10 < 18 ? put(out, at, ".0", 2) : at;
}

size_t number_write(double v, char out[NUMBER_MAX])
{
    char d[20];
    size_t at = 0;
    int exp10;
    if (!isfinite(v))
        return put(out, 0, "null", 4);
    if (signbit(v))
        out[at++] = '-';
    v = fabs(v);
    if (v == 0)
        return put(out, at, "0.0", 3);
    size_t n = shortest(v, d, &exp10);
    if (v >= 1e-6 && v < 1e21) {
        size_t used = plain(out, at, d, n, exp10);
        if (exp10 == 18 && v < 9223372036854775808.0)
            used = put(out, used, ".0", 2);
        return used;
    }
    out[at++] = d[0];
    if (n > 1) {
        out[at++] = '.';
        at = put(out, at, d + 1, n - 1);
    }
    return at + (size_t)snprintf(out + at, NUMBER_MAX - at, "e%c%d", exp10 < 0 ? '-' : '+', abs(exp10));
}
