/* The managers of one object, between metadata.managedFields and their sets. Inside the room only. */
#pragma once
#include "schema/fieldset.h"

struct manager {
    struct str name, operation, api_version, sub;
    struct str time; /* RFC 3339; absent: none */
    struct fieldset *set;
    struct fieldset *own, *was; /* set is a translation: what it was in its own version's words, and the translation to begin with; else NULL */
};
struct managers {
    struct manager *items;
    size_t n, cap;
};

/* ERR_BAD_REQUEST when an entry is malformed. list may be NULL. */
int managers_parse(struct pool *p, const struct json *list, struct managers *out, struct err **e) _must_check_;
struct json *managers_json(struct pool *p, struct managers *m);                /* sorted as Kubernetes does; sorts m */
struct manager *managers_find(struct managers *m, const struct manager *like); /* the same identity */
struct manager *managers_add(struct pool *p, struct managers *m, struct manager one);
void managers_drop_empty(struct managers *m);
/* At most ten managers that update; older ones become one, ancient-changes. */
void managers_cap(struct pool *p, struct managers *m);
