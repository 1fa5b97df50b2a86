#include <time.h>
#include <unistd.h>
#include "harness.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"

TEST(times_format_as_kubernetes_writes_them)
{
    char out[TIME_MAX];
    EQ_STR(time_format(INT64_C(1700000000) * NS_PER_S + 999999999, out), STR("2023-11-14T22:13:20Z"));
    EQ_STR(time_format_micro(INT64_C(1700000000) * NS_PER_S + 1500, out), STR("2023-11-14T22:13:20.000001Z"));
    EQ_STR(time_format(-1, out), STR("1969-12-31T23:59:59Z"));
}

TEST(rfc3339_is_parsed_with_offset_and_fraction)
{
    int64_t t;
    OK(time_parse(STR("2023-11-14T22:13:20Z"), &t) && t == INT64_C(1700000000) * NS_PER_S);
    OK(time_parse(STR("2023-11-15T00:13:20.5+02:00"), &t) && t == INT64_C(1700000000) * NS_PER_S + NS_PER_S / 2);
    OK(time_parse(STR("1969-12-31T23:59:59Z"), &t) && t == -NS_PER_S);
    OK(time_parse(STR("2024-02-29T00:00:00Z"), &t));
    OK(time_parse(STR("0001-01-01T00:00:00Z"), &t) && t == INT64_MIN);
    static const char *const bad[] = {"", "2023-11-14", "2023-02-29T00:00:00Z", "2023-11-14T24:00:00Z", "2023-11-14T22:13:20", "2023-11-14t22:13:20Z",
        "2023-11-14T22:13:20Zx", "2023-11-14T22:13:20.Z", "2023-13-01T00:00:00Z", "2023-11-14T22:13:60Z", "2023-11-14T22:13:20+2:00"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        OK(!time_parse(str_of(bad[i]), &t));
}

TEST(formatting_and_parsing_agree_over_centuries)
{
    char out[TIME_MAX];
    for (int64_t s = -9000000000; s < 9000000000; s += 86400 * 13 + 12345) {
        int64_t back;
        OK(time_parse(time_format(s * NS_PER_S, out), &back));
        EQ(back, s * NS_PER_S);
    }
}

TEST(a_fake_clock_stands_still_until_moved)
{
    _cleanup_(clock_freep) struct clock *c = clock_fake(5 * NS_PER_S);
    int64_t mono = clock_mono(c);
    EQ(clock_now(c), 5 * NS_PER_S);
    clock_fake_add(c, NS_PER_S);
    EQ(clock_now(c), 6 * NS_PER_S);
    EQ(clock_mono(c), mono + NS_PER_S);
}

TEST(a_correction_forward_jumps_and_backward_slews)
{
    _cleanup_(clock_freep) struct clock *c = clock_new(NULL);
    int64_t t = clock_now(c);
    clock_correct(c, t + 100 * NS_PER_S);
    int64_t jumped = clock_now(c);
    OK(jumped >= t + 100 * NS_PER_S && jumped < t + 110 * NS_PER_S);
    clock_correct(c, t);
    int64_t before = clock_now(c), m0 = clock_mono(c);
    OK(before >= jumped);
    usleep(200000);
    int64_t passed = clock_now(c) - before, real = clock_mono(c) - m0;
    OK(passed > 0 && passed < real);
    OK(passed > real - real / 32);
}

TEST(the_clock_starts_no_earlier_than_its_floor)
{
    _cleanup_(freep) char *path = xasprintf("%s/floor", test_tmpdir());
    int64_t future = INT64_C(4000000000) * NS_PER_S;
    _cleanup_(freep) char *text = xasprintf("%" PRId64, future);
    struct err *e = NULL;
    FINE(file_replace(path, str_of(text), 0600, &e), e);
    struct clock *c = clock_new(path);
    OK(clock_now(c) >= future && clock_now(c) < future + 60 * NS_PER_S);
    clock_correct(c, future + 50 * NS_PER_S);
    clock_free(c);
    c = clock_new(path);
    OK(clock_now(c) >= future + 50 * NS_PER_S);
    clock_free(c);
    FINE(file_replace(path, STR("rubbish"), 0600, &e), e);
    c = clock_new(path);
    OK(clock_now(c) < future);
    clock_free(c);
}
