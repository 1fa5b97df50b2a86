/* A Pod, what node says of it, and what probes found → PodStatus, as the kubelet computes it (pkg/kubelet/status and kubelet_pods.go of Kubernetes). */
#include <stdlib.h>

#include "gate/impl.h"

struct view { /* one composing */
    struct gate *g;
    struct gpod *gp;
    struct pool *p;
    const struct json *pod, *spec, *old;   /* old: the status as mirrored */
    const struct json *before;             /* the status last reported, or old: for times of transition */
    struct str old_start;
    bool init_done;                        /* every init container ran well; sidecars run */
};

static const struct node_container_state *state_of(const struct view *v, struct str name)
{
    const struct node_pod_state *s = v->gp->state;
    for (size_t i = 0; s && i < s->ncontainers; i++)
        if (str_eq(s->containers[i].name, name))
            return &s->containers[i];
    return NULL;
}

static void put_time(struct pool *p, struct json *o, const char *key, int64_t ns)
{
    char text[TIME_MAX];
    if (ns)
        json_set_str(p, o, str_of(key), time_format(ns, text));
}

static struct str container_id(struct pool *p, struct str id)
{
    return id.n ? pool_printf(p, "crun://%.*s", STR_ARG(id)) : STR_NULL;
}

/* ---- one container ---- */

static void put_terminated(struct pool *p, struct json *to, int64_t code, int64_t signal, struct str reason, struct str message, int64_t started, int64_t finished, struct str id)
{
    struct json *t = json_put_obj(p, to, STR("terminated"));
    json_set_int(p, t, STR("exitCode"), code);
    if (signal)
        json_set_int(p, t, STR("signal"), signal);
    json_set_str(p, t, STR("reason"), reason.n ? reason : code == 0 ? STR("Completed") : STR("Error"));
    if (message.n)
        json_set_str(p, t, STR("message"), message);
    put_time(p, t, "startedAt", started ? started : finished);
    put_time(p, t, "finishedAt", finished);
    if (id.n)
        json_set_str(p, t, STR("containerID"), container_id(p, id));
}

static void put_waiting(struct pool *p, struct json *to, struct str reason, struct str message)
{
    struct json *w = json_put_obj(p, to, STR("waiting"));
    json_set_str(p, w, STR("reason"), reason);
    if (message.n)
        json_set_str(p, w, STR("message"), message);
}

static void put_state(const struct view *v, struct json *status, const struct node_container_state *s)
{
    struct json *state = json_put_obj(v->p, status, STR("state")), *last = json_put_obj(v->p, status, STR("lastState"));
    if (!s || (s->state == CS_WAITING && str_empty(s->reason))) {
        put_waiting(v->p, state, json_count(json_get(v->spec, STR("initContainers"))) ? STR("PodInitializing") : STR("ContainerCreating"), STR_NULL);
    } else if (s->state == CS_WAITING) {
        put_waiting(v->p, state, s->reason, s->message);
    } else if (s->state == CS_RUNNING) {
        put_time(v->p, json_put_obj(v->p, state, STR("running")), "startedAt", s->started);
    } else {
        put_terminated(v->p, state, s->exit_code, s->signal, s->reason, s->message, s->started, s->finished, s->id);
    }
    if (s && s->had_last)
        put_terminated(v->p, last, s->last_exit_code, s->last_signal, s->last_reason, s->last_message, s->last_started, s->last_finished, s->last_id);
}

static bool is_sidecar(const struct json *container)
{
    return str_eqz(json_get_str(container, "restartPolicy"), "Always");
}

static bool container_ready(const struct view *v, const struct json *container, const struct node_container_state *s, bool init)
{
    if (!s)
        return false;
    if (init && !is_sidecar(container))
        return s->state == CS_TERMINATED && s->exit_code == 0;
    return s->state == CS_RUNNING && probes_started(v->gp, s->name) && probes_ready(v->gp, s->name);
}

static struct json *container_status(const struct view *v, const struct json *container, bool init)
{
    struct pool *p = v->p;
    struct str name = json_get_str(container, "name");
    const struct node_container_state *s = state_of(v, name);
    struct json *o = json_obj(p);
    json_set_str(p, o, STR("name"), name);
    put_state(v, o, s);
    json_set_bool(p, o, STR("ready"), container_ready(v, container, s, init));
    json_set_int(p, o, STR("restartCount"), s ? (int64_t)s->restarts : 0);
    json_set_str(p, o, STR("image"), s && s->image.n ? s->image : json_get_str(container, "image"));
    json_set_str(p, o, STR("imageID"), s ? s->image_id : STR(""));
    resize_status(v->gp, p, container, v->before, o);
    if (s && s->id.n)
        json_set_str(p, o, STR("containerID"), container_id(p, s->id));
    json_set_bool(p, o, STR("started"), s && s->state == CS_RUNNING && (init && !is_sidecar(container) ? false : s->started_ok && probes_started(v->gp, name)));
    return o;
}

static void put_list(const struct view *v, struct json *status, const char *from, const char *to, bool init)
{
    const struct json *list = json_get(v->spec, str_of(from));
    if (!json_count(list))
        return;
    struct json *out = json_put_arr(v->p, status, str_of(to));
    json_for(list, c)
        json_append(out, container_status(v, c, init));
}

/* ---- phase ---- */

static bool init_finished(const struct view *v)
{
    json_for(json_get(v->spec, STR("initContainers")), c) {
        const struct node_container_state *s = state_of(v, json_get_str(c, "name"));
        if (!s)
            return false;
        if (is_sidecar(c) ? !(s->state != CS_WAITING && (s->state != CS_RUNNING || probes_started(v->gp, s->name))) : !(s->state == CS_TERMINATED && s->exit_code == 0))
            return false;
    }
    return true;
}

static bool init_failed(const struct view *v)
{
    if (!str_eqz(json_get_str(v->spec, "restartPolicy"), "Never"))
        return false;
    json_for(json_get(v->spec, STR("initContainers")), c) {
        const struct node_container_state *s = state_of(v, json_get_str(c, "name"));
        if (s && !is_sidecar(c) && s->state == CS_TERMINATED && s->exit_code != 0)
            return true;
    }
    return false;
}

struct tally { int waiting, running, stopped, succeeded, total; };

static struct tally count(const struct view *v)
{
    struct tally t = {0};
    json_for(json_get(v->spec, STR("containers")), c) {
        const struct node_container_state *s = state_of(v, json_get_str(c, "name"));
        t.total++;
        if (s && s->state == CS_RUNNING) {
            t.running++;
        } else if (s && s->state == CS_TERMINATED) {
            t.stopped++;
            t.succeeded += s->exit_code == 0;
        } else if (s && s->had_last) {
            t.stopped++;
            t.succeeded += s->last_exit_code == 0;
        } else {
            t.waiting++;
        }
    }
    return t;
}

static const char *phase_of(const struct view *v)
{
    struct str was = json_get_str(v->old, "phase"), policy = json_get_str(v->spec, "restartPolicy");
    struct tally t = count(v);
    if (str_eqz(was, "Succeeded"))
        return "Succeeded";
    if (str_eqz(was, "Failed") || v->gp->refused || (v->gp->state && (v->gp->state->evicted || v->gp->state->deadline_passed)) || init_failed(v))
        return "Failed";
    if (!v->init_done || t.waiting)
        return "Pending";
    if (t.running || str_eqz(policy, "Always"))
        return "Running";
    if (t.stopped == t.succeeded)
        return "Succeeded";
    return str_eqz(policy, "Never") ? "Failed" : "Running";
}

/* ---- conditions ---- */

static const struct json *find(const struct json *conditions, struct str type)
{
    json_for(conditions, c)
        if (str_eq(json_get_str(c, "type"), type))
            return c;
    return NULL;
}

static void put_condition(const struct view *v, struct json *list, const char *type, bool on, const char *reason, struct str message)
{
    struct pool *p = v->p;
    const struct json *old = find(json_get(v->before, STR("conditions")), str_of(type));
    struct json *c = json_append(list, json_obj(p));
    bool same = old && str_eqz(json_get_str(old, "status"), on ? "True" : "False");
    char now[TIME_MAX];
    json_set_str(p, c, STR("type"), str_of(type));
    json_set_str(p, c, STR("status"), on ? STR("True") : STR("False"));
    json_set_int(p, c, STR("observedGeneration"), json_get_int(json_get(v->pod, STR("metadata")), "generation", 0));
    json_set(p, c, STR("lastProbeTime"), json_null(p));
    json_set_str(p, c, STR("lastTransitionTime"), same ? json_get_str(old, "lastTransitionTime") : time_format(clock_now(v->g->clock), now));
    if (reason)
        json_set_str(p, c, STR("reason"), str_of(reason));
    if (message.n)
        json_set_str(p, c, STR("message"), message);
}

static struct str unready(const struct view *v, const char *list, const char *what, bool init)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    json_for(json_get(v->spec, str_of(list)), c)
        if (!container_ready(v, c, state_of(v, json_get_str(c, "name")), init) && (!init || !v->init_done))
            buf_printf(&b, "%s%.*s", b.n ? " " : "", STR_ARG(json_get_str(c, "name")));
    return b.n ? pool_printf(v->p, "containers with %s status: [%.*s]", what, STR_ARG(buf_str(&b))) : STR_NULL;
}

static struct str closed_gates(const struct view *v)
{
    json_for(json_get(v->spec, STR("readinessGates")), gate) {
        struct str type = json_get_str(gate, "conditionType");
        const struct json *c = find(json_get(v->old, STR("conditions")), type);
        if (!c)
            return pool_printf(v->p, "corresponding condition of pod readiness gate \"%.*s\" does not exist.", STR_ARG(type));
        if (!str_eqz(json_get_str(c, "status"), "True"))
            return pool_printf(v->p, "the status of pod readiness gate \"%.*s\" is not \"True\", but %.*s", STR_ARG(type), STR_ARG(json_get_str(c, "status")));
    }
    return STR_NULL;
}

/* Conditions that are not ours (readiness gates, DisruptionTarget...) stay as they are. */
static void keep_foreign(const struct view *v, struct json *list)
{
    json_for(json_get(v->old, STR("conditions")), c)
        if (!find(list, json_get_str(c, "type")) && !str_starts(json_get_str(c, "type"), STR("PodResize")))
            json_append(list, json_clone(v->p, c));
}

static void put_conditions(const struct view *v, struct json *status, const char *phase)
{
    struct json *list = json_put_arr(v->p, status, STR("conditions"));
    bool done = strcmp(phase, "Succeeded") == 0, failed = strcmp(phase, "Failed") == 0;
    struct str not_init = unready(v, "initContainers", "incomplete", true), not_ready = unready(v, "containers", "unready", false), closed = closed_gates(v);
    bool containers_ready = !done && !failed && !not_ready.n && v->init_done, ready = containers_ready && !closed.n;
    const char *ended = done ? "PodCompleted" : failed ? "PodFailed" : NULL;
    put_condition(v, list, "PodReadyToStartContainers", v->gp->state && v->gp->state->sandbox_ready, NULL, STR_NULL);
    put_condition(v, list, "Initialized", v->init_done || done, done ? "PodCompleted" : v->init_done ? NULL : "ContainersNotInitialized", done ? STR_NULL : not_init);
    put_condition(v, list, "Ready", ready, ended ? ended : !containers_ready ? "ContainersNotReady" : closed.n ? "ReadinessGatesNotReady" : NULL, ended ? STR_NULL : !containers_ready ? not_ready : closed);
    put_condition(v, list, "ContainersReady", containers_ready, ended ? ended : containers_ready ? NULL : "ContainersNotReady", ended ? STR_NULL : not_ready);
    put_condition(v, list, "PodScheduled", true, NULL, STR_NULL);
    const char *type, *reason;
    struct str message;
    if (!ended && resize_condition(v->gp, v->before, &type, &reason, &message))
        put_condition(v, list, type, true, reason, message);
    keep_foreign(v, list);
}

/* ---- the whole ---- */

static void put_addresses(const struct view *v, struct json *status)
{
    struct pool *p = v->p;
    struct str host = str_of(v->g->host_ip), ip = json_get_bool(v->spec, "hostNetwork", false) ? host : gpod_ip(v->gp);
    if (host.n) {
        json_set_str(p, status, STR("hostIP"), host);
        json_set_str(p, json_append(json_put_arr(p, status, STR("hostIPs")), json_obj(p)), STR("ip"), host);
    }
    if (ip.n && v->gp->state) {
        json_set_str(p, status, STR("podIP"), ip);
        json_set_str(p, json_append(json_put_arr(p, status, STR("podIPs")), json_obj(p)), STR("ip"), ip);
    }
}

struct json *status_compose(struct gate *g, struct gpod *gp, struct pool *pool)
{
    struct view v = {.g = g, .gp = gp, .p = pool, .pod = gpod_tree(gp)};
    struct json *reported = NULL, *status = json_obj(pool);
    v.spec = json_get(v.pod, STR("spec"));
    v.old = v.before = json_get(v.pod, STR("status"));
    if (!v.pod || (!gp->state && !gp->sent && !gp->refused))
        return NULL;
    if (gp->reported && json_parse(pool, bytes_str(gp->reported), NULL, &reported, NULL) == 0)
        v.before = json_get(reported, STR("status"));
    v.init_done = init_finished(&v);
    const char *phase = phase_of(&v);
    if (!json_get_str(v.old, "startTime").n) /* it may stand in what we reported, and not be back in the mirror yet */
        v.old_start = json_get_str(v.before, "startTime");
    struct str qos = json_get_str(v.old, "qosClass"), start = v.old_start.n ? v.old_start : json_get_str(v.old, "startTime");
    json_set_str(pool, status, STR("phase"), str_of(phase));
    json_set_int(pool, status, STR("observedGeneration"), json_get_int(json_get(v.pod, STR("metadata")), "generation", 0));
    put_conditions(&v, status, phase);
    if (gp->refused) {
        json_set_str(pool, status, STR("reason"), str_of(gp->refused));
        json_set_str(pool, status, STR("message"), str_of(gp->refused_why));
    }
    if (gp->state && gp->state->reason.n)
        json_set_str(pool, status, STR("reason"), gp->state->reason);
    if (gp->state && gp->state->message.n)
        json_set_str(pool, status, STR("message"), gp->state->message);
    put_addresses(&v, status);
    if (start.n)
        json_set_str(pool, status, STR("startTime"), start);
    else
        put_time(pool, status, "startTime", gp->state && gp->state->started ? gp->state->started : clock_now(g->clock));
    put_list(&v, status, "initContainers", "initContainerStatuses", true);
    put_list(&v, status, "containers", "containerStatuses", false);
    put_list(&v, status, "ephemeralContainers", "ephemeralContainerStatuses", false);
    json_set_str(pool, status, STR("qosClass"), qos.n ? qos : pod_qos(v.spec));
    return status;
}

bool status_pod_ready(const struct json *status)
{
    const struct json *c = find(json_get(status, STR("conditions")), STR("Ready"));
    return c && str_eqz(json_get_str(c, "status"), "True");
}
