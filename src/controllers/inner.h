/* The framework's own state. For controllers.c and sync.c only. */
#pragma once
#include "controllers/ctl.h"

struct due;
struct controllers {
    struct controllers_config cfg;
    struct store *store;
    struct store_res *res[R_RESOURCES]; /* NULL where the registry has none */
    struct ctl *ctls;
    size_t nctls;
    struct store_watch *watch;
    struct defer defer;
    struct map orphans; /* "resource/ns/name" to a reference */
    struct timer timer;
    struct map due;    /* "controller key" to its place in the heap */
    struct due **heap; /* by time, earliest first */
    size_t nheap, heap_cap;
    size_t flying; /* keys in hand that wait for a write; controllers_stop leaves the freeing to the last of them */
    bool stopping;
};
void controllers_free(struct controllers *cs);
void controllers_on_notify(void *controllers);
void controllers_look_at_others(struct controllers *cs, struct store_view *v);
enum queue_result sync_run(void *ctl, struct str key);
