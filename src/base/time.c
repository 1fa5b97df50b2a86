#include "base/clock.h"
#include <time.h>

/* RFC 3339. What an int64 of nanoseconds cannot hold (before 1677, after 2262) is read as the nearest it can. */

static void split(int64_t unix_ns, struct tm *tm, int64_t *fraction)
{
    int64_t s = unix_ns / NS_PER_S, f = unix_ns % NS_PER_S;
    if (f < 0)
        s--, f += NS_PER_S;
    time_t t = (time_t)s;
    gmtime_r(&t, tm);
    *fraction = f;
}

struct str time_format(int64_t unix_ns, char out[TIME_MAX])
{
    struct tm tm;
    int64_t f;
    split(unix_ns, &tm, &f);
    int n = snprintf(out, TIME_MAX, "%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
        tm.tm_sec);
    return (struct str){out, (size_t)n};
}

struct str time_format_micro(int64_t unix_ns, char out[TIME_MAX])
{
    struct tm tm;
    int64_t f;
    split(unix_ns, &tm, &f);
    int n = snprintf(out, TIME_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
        tm.tm_min, tm.tm_sec, (int)(f / 1000));
    return (struct str){out, (size_t)n};
}

/* Takes exactly n digits off the front. */
static bool digits(struct str *s, size_t n, int *out)
{
    int v = 0;
    if (s->n < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (s->p[i] < '0' || s->p[i] > '9')
            return false;
        v = v * 10 + (s->p[i] - '0');
    }
    *s = str_sub(*s, n, s->n);
    *out = v;
    return true;
}

static bool one(struct str *s, char c)
{
    if (!s->n || s->p[0] != c)
        return false;
    *s = str_sub(*s, 1, s->n);
    return true;
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar (H. Hinnant, "chrono-compatible low-level date algorithms"). */
static int64_t days_from_civil(int64_t y, int m, int d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400, yoe = y - era * 400, doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static bool parse_fraction(struct str *s, int64_t *ns)
{
    int64_t v = 0, unit = NS_PER_S;
    size_t n = 0;
    if (!one(s, '.'))
        return true;
    for (; s->n && s->p[0] >= '0' && s->p[0] <= '9'; n++, *s = str_sub(*s, 1, s->n))
        if (unit > 1) {
            unit /= 10;
            v += (s->p[0] - '0') * unit;
        }
    *ns = v;
    return n > 0;
}

static bool parse_zone(struct str *s, int64_t *seconds)
{
    int h, m;
    if (one(s, 'Z'))
        return true;
    bool west = s->n && s->p[0] == '-';
    if (!one(s, west ? '-' : '+') || !digits(s, 2, &h) || !one(s, ':') || !digits(s, 2, &m) || h > 23 || m > 59)
        return false;
    *seconds = (west ? -1 : 1) * (h * 3600 + m * 60);
    return true;
}

bool time_split(struct str s, int64_t *seconds, int64_t *part)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int y, mo, d, h, mi, sec;
    int64_t ns = 0, zone = 0;
    if (!digits(&s, 4, &y) || !one(&s, '-') || !digits(&s, 2, &mo) || !one(&s, '-') || !digits(&s, 2, &d) || !one(&s, 'T') ||
        !digits(&s, 2, &h) || !one(&s, ':') || !digits(&s, 2, &mi) || !one(&s, ':') || !digits(&s, 2, &sec))
        return false;
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    if (mo < 1 || mo > 12 || d < 1 || d > days[mo - 1] + (mo == 2 && leap) || h > 23 || mi > 59 || sec > 59)
        return false;
    if (!parse_fraction(&s, &ns) || !parse_zone(&s, &zone) || s.n)
        return false;
    *seconds = days_from_civil(y, mo, d) * 86400 + h * 3600 + mi * 60 + sec - zone;
    *part = ns;
    return true;
}

bool time_parse(struct str s, int64_t *unix_ns)
{
    int64_t t, ns, out;
    if (!time_split(s, &t, &ns))
        return false;
    if (__builtin_mul_overflow(t, NS_PER_S, &out) || __builtin_add_overflow(out, ns, &out))
        out = t < 0 ? INT64_MIN : INT64_MAX;
    *unix_ns = out;
    return true;
}

bool time_join(int64_t seconds, int64_t ns, bool micro, char out[TIME_MAX], struct str *text)
{
    struct tm tm;
    time_t t = (time_t)seconds;
    if (seconds < -62167219200 || seconds > 253402300799 || ns < 0 || ns >= NS_PER_S || !gmtime_r(&t, &tm)) /* 0000-01-01, 9999-12-31 */
        return false;
    int n = snprintf(out, TIME_MAX, "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
    n += micro ? snprintf(out + n, (size_t)(TIME_MAX - n), ".%06dZ", (int)(ns / 1000)) : snprintf(out + n, (size_t)(TIME_MAX - n), "Z");
    *text = str_make(out, (size_t)n);
    return true;
}
