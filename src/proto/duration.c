#include "proto/proto.h"

static const struct {
    const char *name;
    int64_t ns;
} units[] = {{"ns", 1}, {"us", 1000}, {"\xc2\xb5s", 1000}, {"\xce\xbcs", 1000}, {"ms", 1000000}, {"s", 1000000000}, {"m", INT64_C(60000000000)},
    {"h", INT64_C(3600000000000)}};

/* One "1.5h": the number, then the longest unit that fits. */
static bool piece(struct str *s, int64_t *sum)
{
    size_t n = 0, dots = 0;
    while (n < s->n && ((s->p[n] >= '0' && s->p[n] <= '9') || s->p[n] == '.'))
        dots += s->p[n++] == '.';
    struct str number = str_sub(*s, 0, n), whole = number, part = STR("");
    if (n == dots || dots > 1)
        return false;
    (void)str_cut(number, '.', &whole, &part);
    *s = str_sub(*s, n, s->n);
    size_t u = 0;
    while (u < s->n && s->p[u] != '.' && !(s->p[u] >= '0' && s->p[u] <= '9'))
        u++;
    struct str unit = str_sub(*s, 0, u);
    *s = str_sub(*s, u, s->n);
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        uint64_t v = 0;
        int64_t ns;
        if (!str_eqz(unit, units[i].name))
            continue;
        if ((whole.n && !str_to_u64(whole, &v)) || v > INT64_MAX || __builtin_mul_overflow((int64_t)v, units[i].ns, &ns))
            return false;
        double fraction = 0, step = (double)units[i].ns;
        for (size_t k = 0; k < part.n && k < 18; k++)
            fraction += (part.p[k] - '0') * (step /= 10);
        return !__builtin_add_overflow(ns, (int64_t)(fraction + 1e-6), &ns) && !__builtin_add_overflow(*sum, ns, sum);
    }
    return false;
}

bool proto_duration_parse(struct str s, int64_t *ns)
{
    int64_t sum = 0;
    bool negative = s.n && s.p[0] == '-';
    if (s.n && (s.p[0] == '-' || s.p[0] == '+'))
        s = str_sub(s, 1, s.n);
    if (!str_eqz(s, "0")) {
        if (!s.n)
            return false;
        while (s.n)
            if (!piece(&s, &sum))
                return false;
    }
    *ns = negative ? -sum : sum;
    return true;
}

static int fraction(char *to, size_t n, uint64_t whole, uint64_t part, int digits, const char *unit)
{
    if (!part)
        return snprintf(to, n, "%" PRIu64 "%s", whole, unit);
    char f[24];
    int k = snprintf(f, sizeof f, "%0*" PRIu64, digits, part);
    while (k && f[k - 1] == '0')
        f[--k] = 0;
    return snprintf(to, n, "%" PRIu64 ".%s%s", whole, f, unit);
}

struct str proto_duration(int64_t ns, char out[40])
{
    uint64_t u = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    int n = 0;
    if (ns < 0)
        out[n++] = '-';
    if (u == 0)
        n += snprintf(out + n, 40 - (size_t)n, "0s");
    else if (u < 1000)
        n += fraction(out + n, 40 - (size_t)n, u, 0, 0, "ns");
    else if (u < 1000000)
        n += fraction(out + n, 40 - (size_t)n, u / 1000, u % 1000, 3, "\xc2\xb5s");
    else if (u < 1000000000)
        n += fraction(out + n, 40 - (size_t)n, u / 1000000, u % 1000000, 6, "ms");
    else {
        uint64_t s = u / 1000000000, h = s / 3600, m = s / 60 % 60;
        if (h)
            n += snprintf(out + n, 40 - (size_t)n, "%" PRIu64 "h", h);
        if (h || m)
            n += snprintf(out + n, 40 - (size_t)n, "%" PRIu64 "m", m);
        n += fraction(out + n, 40 - (size_t)n, s % 60, u % 1000000000, 9, "s");
    }
    return str_make(out, (size_t)n);
}
