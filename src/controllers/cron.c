#include "controllers/cron.h"
#include <stdio.h>
#include "base/clock.h"
#include "base/file.h"

enum { DAY = 86400, YEARS = 5 };

/* ---- parsing ---- */

static const char *const month_names[] = {"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"};
static const char *const day_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

struct field {
    unsigned low, high;
    const char *const *names;
    size_t nnames;
};
static const struct field fields[5] = {
    {0, 59, NULL, 0}, {0, 23, NULL, 0}, {1, 31, NULL, 0}, {1, 12, month_names, 12}, {0, 6, day_names, 7}};

static bool read_value(const struct field *f, struct str s, uint64_t *out)
{
    for (size_t i = 0; i < f->nnames; i++)
        if (str_eq_nocase(s, str_of(f->names[i]))) {
            *out = f->low + i;
            return true;
        }
    return s.n <= 4 && str_to_u64(s, out);
}

static bool is_any(struct str s)
{
    return str_eqz(s, "*") || str_eqz(s, "?");
}

/* "1-5/2", "*", "*" with a step, "mon" */
static bool read_range(const struct field *f, struct str s, uint64_t *bits)
{
    struct str range = s, step_text = STR_NULL, a, b;
    uint64_t from = f->low, to = f->high, step = 1;
    bool stepped = str_cut(s, '/', &range, &step_text);
    if (stepped && (!str_to_u64(step_text, &step) || step == 0))
        return false;
    if (!is_any(range)) {
        if (str_cut(range, '-', &a, &b)) {
            if (!read_value(f, a, &from) || !read_value(f, b, &to))
                return false;
        } else {
            if (!read_value(f, range, &from))
                return false;
            to = stepped ? f->high : from;
        }
    }
    if (from < f->low || to > f->high || from > to)
        return false;
    for (uint64_t i = from; i <= to; i += step)
        *bits |= UINT64_C(1) << i;
    return true;
}

static bool read_field(const struct field *f, struct str s, uint64_t *bits)
{
    struct str rest = s, one;
    *bits = 0;
    while (s.n && str_split(&rest, ',', &one))
        if (!read_range(f, one, bits))
            return false;
    return *bits != 0;
}

/* "1h30m", "90s" */
static bool read_duration(struct str s, int64_t *out)
{
    int64_t total = 0;
    while (s.n) {
        size_t i = 0;
        uint64_t n;
        while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9')
            i++;
        if (i == 0 || i >= s.n || i > 9 || !str_to_u64(str_sub(s, 0, i), &n))
            return false;
        int64_t unit = s.p[i] == 'h' ? 3600 : s.p[i] == 'm' ? 60 : s.p[i] == 's' ? 1 : 0;
        if (!unit)
            return false;
        total += (int64_t)n * unit;
        s = str_sub(s, i + 1, s.n);
    }
    *out = total * NS_PER_S;
    return total > 0 && total < INT64_C(100) * 366 * DAY;
}

static struct str expand(struct str s)
{
    static const struct {
        const char *name;
        struct str is;
    } rows[] = {
        {"@yearly", {"0 0 1 1 *", 9}},
        {"@annually", {"0 0 1 1 *", 9}},
        {"@monthly", {"0 0 1 * *", 9}},
        {"@weekly", {"0 0 * * 0", 9}},
        {"@daily", {"0 0 * * *", 9}},
        {"@midnight", {"0 0 * * *", 9}},
        {"@hourly", {"0 * * * *", 9}},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_eqz(s, rows[i].name))
            return rows[i].is;
    return s;
}

int cron_parse(struct str text, struct cron *out, struct err **e)
{
    struct cron c = {0};
    uint64_t *bits[5] = {&c.minutes, &c.hours, &c.days, &c.months, &c.weekdays};
    struct str rest = expand(str_trim(text)), word;
    size_t n = 0;
    if (str_starts(rest, STR("@every ")))
        return read_duration(str_trim(str_sub(rest, 7, rest.n)), &c.every)
                   ? (*out = c, 0)
                   : err_set(e, ERR_INVALID, "failed to parse duration %.*s", STR_ARG(text));
    while (str_split(&rest, ' ', &word)) {
        if (!word.n)
            continue;
        if (n == 5 || !read_field(&fields[n], word, bits[n]))
            return err_set(e, ERR_INVALID, "failed to parse schedule \"%.*s\" at \"%.*s\"", STR_ARG(text), STR_ARG(word));
        c.any_day |= n == 2 && is_any(word);
        c.any_weekday |= n == 4 && is_any(word);
        n++;
    }
    if (n != 5)
        return err_set(e, ERR_INVALID, "expected exactly 5 fields, found %zu: \"%.*s\"", n, STR_ARG(text));
    *out = c;
    return 0;
}

/* ---- dates ---- after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms". */

struct date {
    int64_t year;
    unsigned month, day, weekday;
};

static struct date date_of(int64_t days)
{
    int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097;
    unsigned doe = (unsigned)(z - era * 146097), yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365,
             doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    struct date d = {.day = doy - (153 * mp + 2) / 5 + 1, .month = mp < 10 ? mp + 3 : mp - 9, .weekday = (unsigned)(((days % 7) + 11) % 7)};
    d.year = (int64_t)yoe + era * 400 + (d.month <= 2);
    return d;
}

static bool day_matches(const struct cron *c, int64_t days)
{
    struct date d = date_of(days);
    bool day = c->days >> d.day & 1, weekday = c->weekdays >> d.weekday & 1;
    if (!(c->months >> d.month & 1))
        return false;
    return c->any_day || c->any_weekday ? day && weekday : day || weekday;
}

/* The first matching time of a day, in UTC, later than after; hours that a clock change leaves out do not come. */
static int64_t next_in_day(const struct cron *c, int64_t days, int64_t after)
{
    for (unsigned h = 0; h < 24; h++) {
        if (!(c->hours >> h & 1))
            continue;
        for (unsigned m = 0; m < 60; m++) {
            if (!(c->minutes >> m & 1))
                continue;
            int64_t local = days * DAY + h * 3600 + m * 60, offset = c->zone ? zone_offset(c->zone, local) : 0;
            int64_t utc = local - (c->zone ? zone_offset(c->zone, local - offset) : 0);
            if (c->zone && utc + zone_offset(c->zone, utc) != local)
                continue;
            if (utc > after)
                return utc;
        }
    }
    return INT64_MAX;
}

int64_t cron_next(const struct cron *c, int64_t after_ns)
{
    int64_t after = after_ns / NS_PER_S;
    if (c->every)
        return (after * NS_PER_S) + c->every;
    int64_t first = (after + (c->zone ? zone_offset(c->zone, after) : 0)) / DAY - 1;
    for (int64_t d = first; d < first + YEARS * 366; d++) {
        int64_t t = day_matches(c, d) ? next_in_day(c, d, after) : INT64_MAX;
        if (t != INT64_MAX)
            return t * NS_PER_S;
    }
    return INT64_MAX;
}

/* ---- zones ---- */

struct zone {
    size_t n;
    int64_t *when;   /* n transitions */
    int32_t *offset; /* from each on */
    int32_t first;   /* before them */
};

int64_t zone_offset(const struct zone *z, int64_t t)
{
    size_t low = 0, high = z->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (z->when[mid] <= t)
            low = mid + 1;
        else
            high = mid;
    }
    return low ? z->offset[low - 1] : z->first;
}

static int64_t big_endian(const char *p, size_t n)
{
    uint64_t v = (unsigned char)p[0] & 0x80 ? UINT64_MAX : 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | (unsigned char)p[i];
    return (int64_t)v;
}

struct header {
    size_t utc, std, leaps, times, types, chars;
};

static bool read_header(struct str s, size_t at, struct header *h)
{
    if (s.n < at + 44 || memcmp(s.p + at, "TZif", 4) != 0)
        return false;
    size_t *parts[] = {&h->utc, &h->std, &h->leaps, &h->times, &h->types, &h->chars};
    for (size_t i = 0; i < 6; i++) {
        int64_t v = big_endian(s.p + at + 20 + 4 * i, 4);
        if (v < 0 || v > 100000)
            return false;
        *parts[i] = (size_t)v;
    }
    return h->types > 0;
}

/* The second, 64-bit block of the file. Its footer, which goes on where the table ends (2037), is not read: a schedule looks five years
 * ahead. */
static struct zone *read_zone(struct pool *pool, struct str s)
{
    struct header h;
    if (!read_header(s, 0, &h) || s.p[4] < '2')
        return NULL;
    size_t at = 44 + h.times * 5 + h.types * 6 + h.chars + h.leaps * 8 + h.std + h.utc;
    if (!read_header(s, at, &h) || s.n < at + 44 + h.times * 9 + h.types * 6)
        return NULL;
    const char *when = s.p + at + 44, *which = when + h.times * 8, *types = which + h.times;
    struct zone *z = pool_new_of(pool, struct zone);
    z->n = h.times;
    z->when = pool_array(pool, int64_t, h.times + 1);
    z->offset = pool_array(pool, int32_t, h.times + 1);
    z->first = (int32_t)big_endian(types, 4);
    for (size_t i = 0; i < h.times; i++) {
        size_t type = (unsigned char)which[i];
        if (type >= h.types)
            return NULL;
        z->when[i] = big_endian(when + 8 * i, 8);
        z->offset[i] = (int32_t)big_endian(types + 6 * type, 4);
    }
    return z;
}

static bool name_fits(struct str name)
{
    if (!name.n || name.n > 100 || name.p[0] == '/' || name.p[0] == '.')
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || memchr("/_+-", c, 4)))
            return false;
    }
    return true;
}

struct zone *zone_load(struct pool *pool, struct str name, struct err **e)
{
    static const char *const folders[] = {"/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/etc/zoneinfo"};
    for (size_t i = 0; name_fits(name) && i < ARRAY_LEN(folders); i++) {
        struct buf b = BUF_INIT;
        char path[160];
        snprintf(path, sizeof path, "%s/%.*s", folders[i], STR_ARG(name));
        int r = file_read(path, 1 << 20, &b, NULL);
        struct zone *z = r == 0 ? read_zone(pool, buf_str(&b)) : NULL;
        buf_clear(&b);
        if (z)
            return z;
    }
    err_set(e, ERR_INVALID, "unknown time zone %.*s", STR_ARG(name));
    return NULL;
}
