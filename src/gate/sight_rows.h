/* Which kinds a hub sees of a site, and which columns of each. Inside the room. */
#pragma once
#include "json/json.h"

struct sight_kind {
    const char *name;  /* "pods" */
    const char *path;  /* of the collection */
    const char *query; /* "fieldSelector=...", or "" */
    /* Appends this object's cells; false: it is not shown. */
    bool (*cells)(struct pool *p, const struct json *o, struct json *row);
};
#define SIGHT_KINDS 8
extern const struct sight_kind sight_kinds[SIGHT_KINDS];
