/* A real store in memory, the real api on it, a clock that stands still, and the controllers under test. */
#pragma once
#include "harness.h"
#include <stdlib.h>
#include "controllers/controllers.h"
#include "kinds/pod.h"

struct world {
    struct pool *pool;
    struct loop *loop;
    struct clock *clock;
    struct store *store;
    struct api *api;
    struct controllers *cs;
};
void world_open(struct world *w, const char *only); /* NULL: all controllers; "": none */
void world_close(struct world *w);
void world_run(struct world *w);                   /* until nothing is left to do */
void world_pass(struct world *w, int64_t seconds); /* time passes, then world_run */
/* Requests as system:apiserver; the result must have this code (0: any). resource: "apps/deployments". sub may be "". */
int world_do(struct world *w, enum api_verb verb, const char *resource, const char *ns, const char *name, const char *sub, const char *body,
    int code);
static inline void world_create(struct world *w, const char *resource, const char *ns, const char *body)
{
    world_do(w, API_CREATE, resource, ns, "", "", body, 201);
}
const struct obj *world_get(
    struct world *w, const char *resource, const char *ns, const char *name); /* NULL: none. Lives as long as the world */
struct json *world_tree(struct world *w, const char *resource, const char *ns, const char *name);
size_t world_count(struct world *w, const char *resource, const char *ns);
const struct obj *world_nth(struct world *w, const char *resource, const char *ns, size_t n);                    /* by name */
struct str world_text(struct world *w, const struct json *j);                                                    /* "" for NULL */
int64_t world_int(struct world *w, const char *resource, const char *ns, const char *name, const char *pointer); /* -1: absent */
struct str world_str(struct world *w, const char *resource, const char *ns, const char *name, const char *pointer);
bool world_event(struct world *w, const char *ns, const char *reason);                        /* was such an event recorded? */
void world_pod_status(struct world *w, const struct obj *pod, const char *phase, bool ready); /* as a node would report it */
void world_all_ready(struct world *w, const char *ns); /* every pod that is not being deleted runs and is ready */
void world_node(struct world *w, const char *name, bool ready);
void world_remove_deleted(struct world *w, const char *ns); /* pods being deleted end, as their node would let them */
