/* A Deployment in hand. Inside the room; deployment*.c only. */
#pragma once
#include "controllers/ctl.h"

#define ANN_REVISION STR("deployment.kubernetes.io/revision")
#define ANN_HISTORY STR("deployment.kubernetes.io/revision-history")
#define ANN_DESIRED STR("deployment.kubernetes.io/desired-replicas")
#define ANN_MAX STR("deployment.kubernetes.io/max-replicas")

struct replica_set {
    const struct obj *o;
    struct json *tree;
    int64_t replicas;                                        /* wanted */
    int64_t actual, ready, available, observed, terminating; /* status; terminating -1: not told yet */
    int64_t revision;                                        /* 0: none */
};
struct deployment {
    struct sync *s;
    const struct obj *o;
    struct json *tree, *spec, *status;
    struct selector sel;
    int64_t replicas, surge, unavailable;
    bool rolling, paused;
    struct replica_set *rs;
    size_t nrs;                /* all, oldest first */
    struct replica_set *fresh; /* the one of the present template, among rs; NULL: none yet */
};

/* deployment_rs.c */
void replica_set_read(struct deployment *d, struct replica_set *r, const struct obj *o);
/* Finds the ReplicaSet of the present template and brings revisions and annotations up to date; makes it when it lacks and `make` is set.
 */
int deployment_find_fresh(struct deployment *d, bool make, struct err **e) _must_check_;
/* Sets its size and the annotations that go with it, with an event. 1: nothing to do. */
int deployment_scale(struct deployment *d, struct replica_set *r, int64_t size, struct err **e) _must_check_;
int64_t deployment_fresh_size(const struct deployment *d);                /* how large the fresh one may be now */
int deployment_update(struct deployment *d, struct err **e) _must_check_; /* writes tree's metadata and spec, and reads it back */

/* deployment_status.c */
int deployment_write_status(struct deployment *d, struct err **e) _must_check_;
int deployment_check_paused(struct deployment *d, struct err **e) _must_check_;
bool deployment_complete(const struct deployment *d);
bool deployment_has_deadline(const struct deployment *d);
void deployment_set_progress(struct deployment *d, struct json *status, const char *value, const char *reason, const char *fmt, ...)
    _printf_(5, 6);
