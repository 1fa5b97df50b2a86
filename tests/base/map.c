#include "harness.h"
#include "base/map.h"

TEST(a_map_finds_replaces_and_deletes_thousands_of_keys)
{
    struct map m = {0};
    static int values[5000];
    char key[16];
    for (int i = 0; i < 5000; i++) {
        int n = snprintf(key, sizeof key, "key-%d", i);
        OK(!map_put(&m, str_make(key, (size_t)n), &values[i]));
    }
    EQ(map_count(&m), 5000);
    OK(map_get(&m, STR("key-4321")) == &values[4321]);
    OK(!map_get(&m, STR("key-5000")));
    OK(map_put(&m, STR("key-7"), &values[8]) == &values[7]);
    OK(map_del(&m, STR("key-7")) == &values[8]);
    OK(!map_del(&m, STR("key-7")));
    size_t seen = 0;
    map_for(&m, it)
    {
        seen++;
        if (seen % 2)
            OK(map_del(&m, map_key(it)));
    }
    EQ(seen, 4999);
    EQ(map_count(&m), 2499);
    map_clear(&m, NULL);
    OK(!map_get(&m, STR("key-1")));
}

TEST(values_are_freed_with_the_map)
{
    struct map m = {0};
    map_put(&m, STR("a"), xstrdup("1"));
    map_put(&m, STR(""), xstrdup("2"));
    EQ_Z(map_get(&m, STR("")), "2");
    map_clear(&m, free);
}
