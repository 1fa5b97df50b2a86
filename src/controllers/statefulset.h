/* A StatefulSet in hand. Inside the room; statefulset*.c only. */
#pragma once
#include "controllers/history.h"

struct statefulset {
    struct sync *s;
    const struct obj *o;
    struct json *tree, *spec;
    struct selector sel;
    struct history h;
    struct str current; /* name of the current revision */
    int64_t replicas, start, partition, max_unavailable, min_ready, again, made;
    bool ordered, rolling;
    const struct obj **pods;    /* by ordinal from start; NULL: missing */
    struct obj_array condemned; /* of other ordinals, lowest first */
    const struct obj *first_unhealthy;
};
/* statefulset_pod.c */
struct json *statefulset_pod(struct statefulset *d, int64_t ordinal, struct str name, const struct revision *r);
/* Makes the claims of one ordinal that lack; with `leaving`, hands them to that pod instead when the policy says that they go with it. */
int statefulset_claims(struct statefulset *d, int64_t ordinal, const struct obj *leaving, struct err **e) _must_check_;
/* Claims belong to the set itself, or to nobody, as the retention policy says. */
int statefulset_claim_owners(struct statefulset *d, struct err **e) _must_check_;
