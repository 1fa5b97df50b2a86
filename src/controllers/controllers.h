/* The controllers: what kube-controller-manager does, inside the api process, on the store itself.
 *
 * All of them take turns on one thread, the control loop's. A controller is a row of a table (controllers.c) and a file of its name. It
 * hears of changes from the store, in memory and at once; from them it computes keys ("namespace/name") and puts these on its work queue
 * (base/queue.h). Syncing a key means: read what stands now, compare with what should, write the difference through the api's own path as a
 * user of its own, so that admission, validation and RBAC hold for it as for anybody. There is no cache that could be stale: a read sees
 * every write made before it, so nothing like client-go's expectations is needed. Nothing polls; what must happen later (deadlines, leases,
 * TTLs) stands in one heap of timers on the site clock.
 *
 * How to add one: docs/contributing.md, "A controller".
 */
#pragma once
#include "api/api.h"

struct controllers;
struct ca;

/* The auto-deploy folder (manifests.h). Everything must live as long as the controllers. */
struct controllers_manifests {
    const char *dir; /* NULL: none */
    const struct str *disabled; /* names of files (without their ending) or subfolders that are not to be deployed */
    size_t ndisabled;
    /* Asks somebody with more rights to open a file that we may not read; controllers_manifest_opened answers. NULL: nobody. */
    void (*open)(void *arg, struct str path);
    void *arg;
};

struct controllers_config {
    struct api *api;
    struct loop *loop; /* the control loop; everything runs on its thread */
    struct clock *clock;
    struct ca *client_ca; /* signs client certificates; NULL: the api's own. Must live as long as the controllers */
    struct ca *server_ca; /* signs kubelets' serving certificates; likewise */
    struct controllers_manifests manifests;
    const char *local_storage; /* base folder of the class local-path, the same on every node; NULL: no such class */
    /* tests: answers an autoscaler's question for figures instead of the api; must call done once */
    void (*metrics)(void *arg, struct api_call *c, void (*done)(struct api_call *c));
    void *metrics_arg;
    const char *only;     /* tests: a comma-separated list of the controllers to start; NULL: all */
};
/* Starts them: everything that stands is looked at once. The configuration is copied. */
int controllers_start(const struct controllers_config *c, struct controllers **out, struct err **e) _must_check_;
void controllers_stop(struct controllers *cs);
DEFINE_CLEANUP(struct controllers *, controllers_stop)
/* Fires the timers that the site clock has passed, as the loop does by itself when the clock runs with the machine's. For tests with a bent
 * clock. */
void controllers_tick(struct controllers *cs);
/* On the control loop: the file that was asked for; fd is taken over, -1: it could not be opened. */
void controllers_manifest_opened(struct controllers *cs, struct str path, int fd);
/* Keys waiting or in hand in all queues: 0 when all is done that can be done now. */
size_t controllers_busy(const struct controllers *cs);
