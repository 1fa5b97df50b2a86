#include "base/log.h"
#include "node/impl.h"

static const char *const pod_names[PS_COUNT] = {
    "new", "setup", "waiting", "ready", "resetting", "finished", "stopping", "cleaning", "gone"};
static const char *const con_names[CON_COUNT] = {"idle", "creating", "starting", "running", "stopping", "removing", "done"};

#define TO(s) (1u << (s))
/* Allowed moves: row = from, bits = to. STOPPING can be reached from anywhere but the end. */
static const unsigned pod_moves[PS_COUNT] = {
    [PS_NEW] = TO(PS_SETUP) | TO(PS_WAITING) | TO(PS_READY) | TO(PS_FINISHED) | TO(PS_STOPPING) | TO(PS_CLEANING) | TO(PS_RESETTING),
    [PS_SETUP] = TO(PS_READY) | TO(PS_WAITING) | TO(PS_STOPPING) | TO(PS_RESETTING) | TO(PS_CLEANING),
    [PS_WAITING] = TO(PS_SETUP) | TO(PS_NEW) | TO(PS_STOPPING) | TO(PS_CLEANING) | TO(PS_FINISHED),
    [PS_READY] = TO(PS_RESETTING) | TO(PS_FINISHED) | TO(PS_STOPPING) | TO(PS_CLEANING),
    [PS_RESETTING] = TO(PS_NEW) | TO(PS_FINISHED) | TO(PS_STOPPING) | TO(PS_CLEANING),
    [PS_FINISHED] = TO(PS_STOPPING) | TO(PS_CLEANING),
    [PS_STOPPING] = TO(PS_CLEANING),
    [PS_CLEANING] = TO(PS_GONE) | TO(PS_CLEANING),
    [PS_GONE] = 0,
};
static const unsigned con_moves[CON_COUNT] = {
    [CON_IDLE] = TO(CON_CREATING) | TO(CON_DONE) | TO(CON_RUNNING) | TO(CON_REMOVING),
    [CON_CREATING] = TO(CON_STARTING) | TO(CON_REMOVING),
    [CON_STARTING] = TO(CON_RUNNING) | TO(CON_REMOVING),
    [CON_RUNNING] = TO(CON_STOPPING) | TO(CON_REMOVING),
    [CON_STOPPING] = TO(CON_REMOVING),
    [CON_REMOVING] = TO(CON_IDLE) | TO(CON_DONE),
    [CON_DONE] = TO(CON_IDLE) | TO(CON_REMOVING),
};

const char *pod_state_name(enum pod_state s) { return s < PS_COUNT ? pod_names[s] : "?"; }
const char *con_state_name(enum con_state s) { return s < CON_COUNT ? con_names[s] : "?"; }

void pod_move(struct pod *p, enum pod_state to)
{
    if (!(pod_moves[p->state] & TO(to))) {
        log_error("pod=%.*s/%.*s moves from %s to %s, which is not a move", STR_ARG(p->spec.ns), STR_ARG(p->spec.name),
            pod_state_name(p->state), pod_state_name(to));
        abort();
    }
    log_debug("pod=%.*s/%.*s %s -> %s", STR_ARG(p->spec.ns), STR_ARG(p->spec.name), pod_state_name(p->state), pod_state_name(to));
    p->state = to;
}

void con_move(struct container *c, enum con_state to)
{
    if (!(con_moves[c->state] & TO(to))) {
        log_error("pod=%.*s/%.*s container=%s moves from %s to %s, which is not a move", STR_ARG(c->pod->spec.ns),
            STR_ARG(c->pod->spec.name), c->name, con_state_name(c->state), con_state_name(to));
        abort();
    }
    log_debug("pod=%.*s/%.*s container=%s %s -> %s", STR_ARG(c->pod->spec.ns), STR_ARG(c->pod->spec.name), c->name,
        con_state_name(c->state), con_state_name(to));
    c->state = to;
}
