#include "harness.h"
#include "proto/proto.h"

TEST(durations_print_as_go_prints_them)
{
    static const struct {
        int64_t ns;
        const char *text;
    } cases[] = {{0, "0s"}, {1, "1ns"}, {1500, "1.5\xc2\xb5s"}, {300000000, "300ms"}, {1000000000, "1s"}, {90500000000, "1m30.5s"},
        {INT64_C(3600000000000), "1h0m0s"}, {INT64_C(-5400000000000), "-1h30m0s"}, {INT64_MAX, "2562047h47m16.854775807s"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char out[40];
        int64_t back;
        EQ_STR(proto_duration(cases[i].ns, out), str_of(cases[i].text));
        OK(proto_duration_parse(str_of(cases[i].text), &back));
        EQ(back, cases[i].ns);
    }
}

TEST(durations_parse_every_unit_and_refuse_the_rest)
{
    int64_t ns;
    OK(proto_duration_parse(STR("1.5h"), &ns) && ns == INT64_C(5400000000000));
    OK(proto_duration_parse(STR("1h2m3s4ms5us6ns"), &ns) && ns == INT64_C(3723004005006));
    OK(proto_duration_parse(STR(".5s"), &ns) && ns == 500000000);
    OK(proto_duration_parse(STR("+1.s"), &ns) && ns == 1000000000);
    OK(proto_duration_parse(STR("0"), &ns) && ns == 0);
    static const char *const bad[] = {"", "1", "s", ".s", "1x", "1s ", "1..5s", "-", "9999999999h", "1h-1m"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        OK(!proto_duration_parse(str_of(bad[i]), &ns));
}
