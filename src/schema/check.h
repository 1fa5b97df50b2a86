/* What a value must satisfy beyond its type: the table form of OpenAPI's and Kubernetes' value checks. has tells which members count. */
#pragma once
#include "base/str.h"

enum schema_check_has {
    CHECK_MIN = 1,
    CHECK_MAX = 2,
    CHECK_MIN_LEN = 4,
    CHECK_MAX_LEN = 8,
    CHECK_MIN_ITEMS = 16,
    CHECK_MAX_ITEMS = 32,
    CHECK_FORMAT = 64, /* a grammar by name: dns1123-label, dns1123-subdomain, dns1035-label, path-segment, qualified-name, label-value */
    CHECK_PATTERN = 128,
};
struct schema_check {
    uint32_t has;
    double min, max;
    int64_t min_len, max_len, min_items, max_items;
    struct str format, pattern;
};
