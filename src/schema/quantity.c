#include "schema/quantity.h"

#include "base/base.h"

typedef unsigned __int128 u128;
#define MAX_DIGITS ((u128)INT64_MAX)

static const struct suffix {
    char text[3];
    int8_t pow10, pow2;
} suffixes[] = {
    {"", 0, 0},
    {"n", -9, 0},
    {"u", -6, 0},
    {"m", -3, 0},
    {"k", 3, 0},
    {"M", 6, 0},
    {"G", 9, 0},
    {"T", 12, 0},
    {"P", 15, 0},
    {"E", 18, 0},
    {"Ki", 0, 10},
    {"Mi", 0, 20},
    {"Gi", 0, 30},
    {"Ti", 0, 40},
    {"Pi", 0, 50},
    {"Ei", 0, 60},
};

static int bad(struct err **e)
{
    return err_set(e, ERR_BAD_REQUEST, "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
}

/* Brings v * 10^scale into 18 digits at a scale of -9 or more; what is finer than a billionth is rounded away from zero, as Kubernetes
 * does. */
static bool settle(u128 v, int scale, bool neg, struct quantity *q)
{
    for (; v && v % 10 == 0 && scale < 0; scale++)
        v /= 10;
    for (bool up = false; scale < -9; scale++) {
        up = v % 10 != 0 || up;
        v = v / 10;
        if (scale == -10 && up)
            v++;
    }
    for (; v > MAX_DIGITS && v % 10 == 0; scale++)
        v /= 10;
    int digits = 0;
    for (u128 r = v; r; r /= 10)
        digits++;
    if (v > MAX_DIGITS || digits + scale > 27) /* so that sums in billionths stay exact */
        return false;
    q->digits = neg ? -(int64_t)v : (int64_t)v;
    q->scale = v ? (int8_t)scale : 0;
    return true;
}

/* The digits before the suffix. *n is how many bytes they take; false when there is no digit or too many of them. */
static bool read_digits(struct str s, u128 *value, int *scale, size_t *n)
{
    size_t i = 0, digits = 0;
    bool point = false;
    *value = 0;
    *scale = 0;
    for (; i < s.n && ((s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '.'); i++) {
        if (s.p[i] == '.') {
            if (point)
                return false;
            point = true;
            continue;
        }
        digits++;
        if (*value > ((u128)1 << 90)) {
            if (!point)
                return false;
            continue; /* finer than anything that is kept */
        }
        *value = *value * 10 + (unsigned)(s.p[i] - '0');
        *scale -= point;
    }
    *n = i;
    return digits > 0;
}

static bool read_suffix(struct str s, int *pow10, int *pow2, uint8_t *format)
{
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++)
        if (str_eqz(s, suffixes[i].text)) {
            *pow10 = suffixes[i].pow10;
            *pow2 = suffixes[i].pow2;
            *format = suffixes[i].pow2 ? Q_BINARY_SI : Q_DECIMAL_SI;
            return true;
        }
    int64_t exp;
    if (s.n < 2 || (s.p[0] != 'e' && s.p[0] != 'E'))
        return false;
    struct str digits = str_sub(s, s.p[1] == '+' ? 2 : 1, s.n);
    if (!str_to_i64(digits, &exp) || exp > 100 || exp < -100)
        return false;
    *pow10 = (int)exp;
    *pow2 = 0;
    *format = Q_DECIMAL_EXPONENT;
    return true;
}

int quantity_parse(struct str s, struct quantity *out, struct err **e)
{
    bool neg = s.n && s.p[0] == '-';
    struct str rest = str_sub(s, neg || (s.n && s.p[0] == '+') ? 1 : 0, s.n);
    u128 v;
    int scale, pow10, pow2;
    size_t n;
    struct quantity q = {0};
    if (!s.n || s.n > 128 || !read_digits(rest, &v, &scale, &n))
        return bad(e);
    struct str suffix = str_sub(rest, n, rest.n);
    if (!read_suffix(suffix, &pow10, &pow2, &q.format)) {
        for (size_t i = 0; i < suffix.n; i++)
            if (!memchr("eEinumkKMGTP+-0123456789", suffix.p[i], 24))
                return bad(e);
        return err_set(e, ERR_BAD_REQUEST, "unable to parse quantity's suffix");
    }
    if (pow2) {
        u128 cap = (u128)INT64_MAX;
        while (v && v % 10 == 0 && scale < 0) {
            v /= 10;
            scale++;
        }
        if (v >> (127 - pow2)) {
            v = cap; /* a binary quantity beyond int64 is capped, not refused */
            scale = 0;
        } else {
            v <<= pow2;
        }
        u128 limit = cap;
        for (int i = scale; i < 0 && limit < ((u128)1 << 120); i++)
            limit *= 10;
        if (v > limit) {
            v = cap;
            scale = 0;
        }
    }
    if (!settle(v, scale + pow10, neg, &q))
        return err_set(e, ERR_BAD_REQUEST, "unable to parse numeric part of quantity");
    *out = q;
    return 0;
}

static u128 magnitude(int64_t v)
{
    return v < 0 ? (u128)(-(v + 1)) + 1 : (u128)v;
}

/* |q| * 10^shift rounded up to an integer, capped. */
static u128 scaled(struct quantity q, int shift, bool *exact)
{
    u128 v = magnitude(q.digits);
    const u128 cap = (u128)1 << 123;
    *exact = true;
    int scale = q.scale + shift;
    for (; scale > 0 && v && v < cap; scale--)
        v *= 10;
    for (; scale < 0 && v; scale++) {
        bool up = v % 10 != 0;
        *exact &= !up;
        v = v / 10 + up;
    }
    return v;
}

static int64_t saturate(u128 v, bool neg)
{
    if (v > (u128)INT64_MAX)
        return neg ? INT64_MIN : INT64_MAX;
    return neg ? -(int64_t)v : (int64_t)v;
}

int64_t quantity_value(struct quantity q)
{
    bool exact;
    return saturate(scaled(q, 0, &exact), q.digits < 0);
}

int64_t quantity_milli(struct quantity q)
{
    bool exact;
    return saturate(scaled(q, 3, &exact), q.digits < 0);
}

/* In billionths, which is exact for every quantity that parses (below 10^27). */
static __int128 nano(struct quantity q)
{
    bool exact;
    u128 v = scaled(q, 9, &exact);
    return q.digits < 0 ? -(__int128)v : (__int128)v;
}

int quantity_cmp(struct quantity a, struct quantity b)
{
    __int128 x = nano(a), y = nano(b);
    return x < y ? -1 : x > y;
}

static struct quantity from_nano(__int128 v, struct quantity like)
{
    struct quantity q = like;
    bool neg = v < 0;
    u128 m = neg ? -(u128)v : (u128)v;
    int scale = -9;
    for (; m > MAX_DIGITS || (scale < 0 && m && m % 10 == 0); scale++)
        m /= 10;
    q.digits = neg ? -(int64_t)m : (int64_t)m;
    q.scale = m ? (int8_t)scale : 0;
    return q;
}

struct quantity quantity_add(struct quantity a, struct quantity b)
{
    return from_nano(nano(a) + nano(b), a.digits ? a : (struct quantity){0, 0, b.format});
}
struct quantity quantity_sub(struct quantity a, struct quantity b)
{
    return from_nano(nano(a) - nano(b), a.digits ? a : (struct quantity){0, 0, b.format});
}

static void write_u128(struct buf *b, u128 v)
{
    char text[48];
    size_t at = sizeof(text);
    do
        text[--at] = (char)('0' + (int)(v % 10));
    while (v /= 10);
    buf_add(b, text + at, sizeof(text) - at);
}

static void write_decimal(struct buf *b, struct quantity q, bool exponent)
{
    u128 v = magnitude(q.digits);
    int scale = q.scale;
    for (; v % 10 == 0; scale++)
        v /= 10;
    for (; scale % 3 != 0; scale--)
        v *= 10;
    for (; !exponent && scale > 18; scale -= 3)
        v *= 1000;
    write_u128(b, v);
    if (exponent && scale)
        buf_printf(b, "e%d", scale);
    for (size_t i = 0; !exponent && scale && i < ARRAY_LEN(suffixes); i++)
        if (suffixes[i].pow10 == scale && !suffixes[i].pow2)
            buf_puts(b, suffixes[i].text);
}

void quantity_write(struct buf *b, struct quantity q)
{
    if (!q.digits) {
        buf_putc(b, '0');
        return;
    }
    bool exact;
    u128 whole = scaled(q, 0, &exact);
    if (q.digits < 0)
        buf_putc(b, '-');
    if (q.format != Q_BINARY_SI || !exact || whole < 1024) {
        write_decimal(b, q, q.format == Q_DECIMAL_EXPONENT);
        return;
    }
    int pow2 = 0;
    for (; pow2 < 60 && whole % 1024 == 0; pow2 += 10)
        whole /= 1024;
    write_u128(b, whole);
    for (size_t i = 0; pow2 && i < ARRAY_LEN(suffixes); i++)
        if (suffixes[i].pow2 == pow2)
            buf_puts(b, suffixes[i].text);
}
