#include "harness.h"
#include "base/clock.h"
#include "controllers/cron.h"

static struct str next(struct pool *p, const char *schedule, const char *zone, const char *after)
{
    struct cron c;
    struct err *e = NULL;
    int64_t t = 0;
    char out[TIME_MAX];
    FINE(cron_parse(str_of(schedule), &c, &e), e);
    if (zone && !(c.zone = zone_load(p, str_of(zone), &e)))
        test_skip("this machine has no time zone files");
    OK(time_parse(str_of(after), &t));
    t = cron_next(&c, t);
    return t == INT64_MAX ? STR("never") : pool_str(p, time_format(t, out));
}

TEST(schedules_come_when_they_should)
{
    static const struct {
        const char *schedule, *zone, *after, *then;
    } rows[] = {
        {"* * * * *", NULL, "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"},
        {"*/15 * * * *", NULL, "2026-01-01T00:15:30Z", "2026-01-01T00:30:00Z"},
        {"5 4 * * sun", NULL, "2026-01-01T00:00:00Z", "2026-01-04T04:05:00Z"},
        {"0 0 1 JAN *", NULL, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"},
        {"0 0 29 2 *", NULL, "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"},
        {"0 0 31 4 *", NULL, "2026-01-01T00:00:00Z", "never"},
        {"0 12 13 * 5", NULL, "2026-01-01T00:00:00Z", "2026-01-02T12:00:00Z"}, /* a 13th or a Friday */
        {"0 9-17/4 * * 1-5", NULL, "2026-01-02T14:00:00Z", "2026-01-02T17:00:00Z"},
        {"0 9-17/4 * * 1-5", NULL, "2026-01-02T17:00:00Z", "2026-01-05T09:00:00Z"},
        {"@daily", NULL, "2026-01-01T10:00:00Z", "2026-01-02T00:00:00Z"},
        {"@every 90s", NULL, "2026-01-01T00:00:00Z", "2026-01-01T00:01:30Z"},
        {"30 2 * * *", "Europe/Berlin", "2026-01-01T00:00:00Z", "2026-01-01T01:30:00Z"},
        {"30 2 * * *", "Europe/Berlin", "2026-07-01T00:29:00Z", "2026-07-01T00:30:00Z"},
        {"30 2 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-30T00:30:00Z"}, /* there is no 2:30 in that night */
        {"0 0 * * *", "America/New_York", "2026-06-01T05:00:00Z", "2026-06-02T04:00:00Z"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_(pool_freep) struct pool *p = pool_new();
        EQ_STR(next(p, rows[i].schedule, rows[i].zone, rows[i].after), str_of(rows[i].then));
    }
}

TEST(schedules_that_mean_nothing_are_refused)
{
    static const char *const rows[] = {"", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8",
        "5-1 * * * *", "*/0 * * * *", "a * * * *", "@every", "@every x", "@every 0s", "@often", "1,,2 * * * *", "1-2-3 * * * *",
        "* * * * mond"};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cron c;
        _cleanup_(err_freep) struct err *e = NULL;
        if (cron_parse(str_of(rows[i]), &c, &e) != -ERR_INVALID)
            test_fail(__FILE__, __LINE__, "\"%s\" was taken", rows[i]);
    }
}

TEST(zones_with_strange_names_are_not_looked_for)
{
    static const char *const rows[] = {"", "../../etc/passwd", "/etc/localtime", ".", "Europe/..", "Nowhere/Land", "Europe"};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_(pool_freep) struct pool *p = pool_new();
        _cleanup_(err_freep) struct err *e = NULL;
        OK(!zone_load(p, str_of(rows[i]), &e));
        EQ(e->code, ERR_INVALID);
    }
}
