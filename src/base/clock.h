/* The site clock (ARCHITECTURE "Time"): CLOCK_BOOTTIME plus an offset that authenticated sources correct, that slews and never steps
 * backwards, and that has a floor on disk. All timers, leases, token checks, deadlines and schedules use it; wall time is for people.
 * Every function that needs time takes a struct clock *, so that tests can bend it (clock_fake).
 */
#pragma once
#include "base/err.h"

struct clock;

/* The machine's clock. floor_path may be NULL; otherwise the newest time ever told is kept there (atomic replace, at most once an
 * hour and at clock_free) and the clock starts no earlier. A wall clock before 2024 counts as unset: the floor is used. */
struct clock *clock_new(const char *floor_path);
void clock_free(struct clock *c);
DEFINE_CLEANUP(struct clock *, clock_free)
struct clock *clock_fake(int64_t unix_ns);         /* stands still until clock_fake_add */
void clock_fake_add(struct clock *c, int64_t ns);  /* moves now and mono alike; negative is allowed for wall only tests */

int64_t clock_now(const struct clock *c);   /* site time, ns since 1970; never goes backwards */
int64_t clock_mono(const struct clock *c);  /* CLOCK_BOOTTIME ns, for time-outs; NULL asks the machine */
/* An authenticated source says that it is unix_ns now. Forward jumps apply at once; backward ones are slewed at 1/64. */
void clock_correct(struct clock *c, int64_t unix_ns);

#define NS_PER_S INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)

/* RFC 3339 as Kubernetes writes it. */
#define TIME_MAX 40
struct str time_format(int64_t unix_ns, char out[TIME_MAX]);        /* metav1.Time: 2006-01-02T15:04:05Z */
struct str time_format_micro(int64_t unix_ns, char out[TIME_MAX]);  /* metav1.MicroTime: ...05.000000Z */
/* For times that an int64 of nanoseconds cannot hold: seconds since 1970 and nanoseconds (0 to 999,999,999), years 0 to 9999. */
bool time_split(struct str s, int64_t *seconds, int64_t *ns);
bool time_join(int64_t seconds, int64_t ns, bool micro, char out[TIME_MAX], struct str *text); /* false: no year of four digits */
bool time_parse(struct str s, int64_t *unix_ns);                    /* any RFC 3339, with offset and fraction */
