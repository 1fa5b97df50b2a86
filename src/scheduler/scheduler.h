/* The scheduler: finds a node for each pod that has none, as kube-scheduler does with its default plugins.
 *
 * It runs on the control loop, in slices, and keeps one small picture of the cluster (cache.h): per node what is allocatable and what its
 * pods ask for, kept up to date by the store's change notifications. A cycle takes the pending pod of the highest priority, drops the nodes
 * that cannot take it (filter.c, one row per reason), ranks the rest (score.c, one row per score), and binds the pod to the best through
 * pods/binding as user system:kube-scheduler. A pod that fits nowhere gets its FailedScheduling event and condition and sleeps until
 * something changes that could help, with back-off; nothing is polled.
 */
#pragma once
#include "api/api.h"

struct scheduler;
struct scheduler_config {
    struct api *api;
    struct loop *loop; /* the control loop */
    struct clock *clock;
    const struct str *names;
    size_t nnames; /* spec.schedulerName that are ours; none: "default-scheduler" */
};
int scheduler_start(const struct scheduler_config *c, struct scheduler **out, struct err **e) _must_check_;
void scheduler_stop(struct scheduler *s);
DEFINE_CLEANUP(struct scheduler *, scheduler_stop)
/* Lets pods try again whose back-off the site clock has passed, as the loop does by itself. For tests with a bent clock. */
void scheduler_tick(struct scheduler *s);
size_t scheduler_waiting(const struct scheduler *s); /* pods that want a node, sleeping ones too */
size_t scheduler_ready(const struct scheduler *s);   /* of these, those that can be tried now, and bindings on their way */
