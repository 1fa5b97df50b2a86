/* A schedule that is taken has its times in order, each of them soon found. */
#include <stdlib.h>
#include "base/clock.h"
#include "controllers/cron.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cron c;
    int64_t t = INT64_C(1800000000) * NS_PER_S;
    if (size > 4096 || cron_parse(str_make((const char *)data, size), &c, NULL) < 0)
        return 0;
    for (int i = 0; i < 4; i++) {
        int64_t next = cron_next(&c, t);
        if (next <= t)
            abort();
        if (next == INT64_MAX)
            break;
        t = next;
    }
    return 0;
}
