/* The layout of what tools/schema.py makes from schema/: rows of indexes, no pointers, so that the tables stay in read-only memory that all
 * processes share and need no relocation. tables.c unfolds them once, in processes that serve an API. Inside the room only.
 *
 * A string index names text[offsets[i] .. offsets[i + 1]); 0 is "absent". A type or element index is one more than its row, 0 is "none".
 */
#pragma once
#include "base/base.h"

struct packed_list {
    uint16_t at, n;
};
enum {
    PACKED_MIN = 1,
    PACKED_MAX = 2,
    PACKED_MIN_LEN = 4,
    PACKED_MAX_LEN = 8,
    PACKED_MIN_ITEMS = 16,
    PACKED_MAX_ITEMS = 32,
    PACKED_FORMAT = 64,
    PACKED_PATTERN = 128
};
struct packed_check {
    uint16_t flags;
    int64_t min, max;
    uint16_t format, pattern;
};
struct packed_field {
    uint16_t name, dflt, doc, via, merge, enum_name; /* strings */
    uint16_t ref, elem, check, keys, enums;          /* rows */
    uint16_t proto, via_proto;
    uint8_t kind, item, published;
    uint32_t flags;
};
struct packed_type {
    uint16_t name, doc, first, n;
    uint32_t flags;
};
struct packed_sub {
    uint16_t name, group, version, kind, type, verbs;
};
struct packed_column {
    uint16_t name, type, format, path;
    uint8_t priority;
};
enum { PACKED_NAMESPACED = 1, PACKED_STATUS = 2, PACKED_GENERATION = 4, PACKED_VIRTUAL = 8, PACKED_HUB = 16, PACKED_CLUSTER = 32 };
struct packed_resource {
    uint16_t group, version, resource, singular, kind, type, verbs, flags, short_names, categories, fields;
    uint16_t first_sub, nsubs, first_column, ncolumns, storage, storage_version;
};
struct packed_counts {
    uint32_t strings, lists, checks, fields, types, subs, columns, resources;
};

extern const char packed_text[];
extern const uint32_t packed_offsets[];
extern const uint16_t packed_list_pool[];
extern const struct packed_list packed_lists[];
extern const struct packed_check packed_checks[];
extern const struct packed_field packed_fields[];
extern const struct packed_type packed_types[];
extern const struct packed_sub packed_subs[];
extern const struct packed_column packed_columns[];
extern const struct packed_resource packed_resources[];
extern const struct packed_counts packed_counts;
