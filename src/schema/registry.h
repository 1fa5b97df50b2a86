/* The registry's inside: what tables.c unfolds and schema.c searches. Inside the room only. */
#pragma once
#include "schema/schema.h"

struct schema {
    _Atomic uint32_t refs;     /* the built-in ones live as long as the process */
    struct schema_type *types; /* sorted by name through by_name */
    uint32_t ntypes;
    const struct schema_type **by_name;
    struct schema_check *checks;        /* what the fields point to */
    struct schema_resource **resources; /* ordered by group, version, resource */
    uint32_t nresources;
    struct schema *base;                /* of an extended one: the tables above are its */
    struct schema_pack **packs;         /* structural.h */
    size_t npacks;
};

/* Unfolds the built-in tables: all types, and the resources whose flags have one of the bits (PACKED_CLUSTER, PACKED_HUB). */
struct schema *schema_unfold(unsigned flag);
