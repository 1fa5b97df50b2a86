/* Cron schedules (five fields, names, ranges, steps, @daily and the like, @every), in a time zone. Inside the room.
 * Syntax and meaning are those of robfig/cron v3's standard parser: when both day fields are restricted, either may match. */
#pragma once
#include "base/err.h"
#include "base/pool.h"

struct zone; /* from the system's zone files (TZif, RFC 8536) */
struct cron {
    uint64_t minutes, hours, days, months, weekdays;
    bool any_day, any_weekday;
    int64_t every;           /* ns; 0: by fields */
    const struct zone *zone; /* NULL: UTC */
};
int cron_parse(struct str text, struct cron *out, struct err **e) _must_check_; /* ERR_INVALID */
int64_t cron_next(const struct cron *c, int64_t after); /* the first time later than `after`; INT64_MAX: none within five years */
/* Europe/Berlin and such; NULL with ERR_INVALID when there is no such zone. Lives in pool. */
struct zone *zone_load(struct pool *pool, struct str name, struct err **e);
int64_t zone_offset(const struct zone *z, int64_t unix_s); /* seconds east of UTC */
