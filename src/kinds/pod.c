#include "kinds/pod.h"

#include <stdlib.h>

#include "base/clock.h"
#include "kinds/cell.h"
#include "kinds/podspec.h"
#include "kinds/rows.h"
#include "schema/quantity.h"

/* Requests follow limits; only in pods, not in templates. */
static void requests_from_limits(struct pool *p, struct json *list)
{
    json_for (list, c) {
        struct json *res = json_get(c, STR("resources")), *limits = json_get(res, STR("limits"));
        if (!json_count(limits))
            continue;
        struct json *requests = json_put_obj(p, res, STR("requests"));
        json_for (limits, l)
            if (!json_get(requests, json_key(l)))
                json_set(p, requests, json_key(l), json_clone(p, l));
    }
}

static void host_ports(struct pool *p, struct json *list)
{
    json_for (list, c)
        json_for (json_get(c, STR("ports")), port)
            if (!json_get_int(port, "hostPort", 0) && json_get_int(port, "containerPort", 0))
                json_set_int(p, port, STR("hostPort"), json_get_int(port, "containerPort", 0));
}

static void set_amount(struct pool *p, struct json *requests, const char *name, struct quantity q)
{
    struct buf b = BUF_INIT;
    if (q.digits > 0 && !json_get(requests, str_of(name))) {
        quantity_write(&b, q);
        json_set_str(p, requests, str_of(name), buf_str(&b));
        buf_clear(&b);
    }
}

/* A pod with limits of its own requests what its containers do, or else its limits. */
static void pod_level_requests(struct pool *p, struct json *spec)
{
    struct json *resources = json_get(spec, STR("resources"));
    const struct json *limits = json_get(resources, STR("limits"));
    if (!json_count(limits))
        return;
    struct pod_requests sum = podspec_requests(spec);
    struct json *requests = json_put_obj(p, resources, STR("requests"));
    set_amount(p, requests, "cpu", (struct quantity){sum.cpu_milli, -3, Q_DECIMAL_SI});
    set_amount(p, requests, "memory", (struct quantity){sum.memory, 0, Q_BINARY_SI});
    json_for (limits, l)
        if (!json_get(requests, json_key(l)))
            json_set(p, requests, json_key(l), json_clone(p, l));
}

static void dflt(struct kind_ctx *c, struct json *doc)
{
    struct json *spec = json_put_obj(c->pool, doc, STR("spec"));
    podspec_default(c->pool, spec);
    requests_from_limits(c->pool, json_get(spec, STR("containers")));
    requests_from_limits(c->pool, json_get(spec, STR("initContainers")));
    if (!json_get(spec, STR("enableServiceLinks")))
        json_set_bool(c->pool, spec, STR("enableServiceLinks"), true);
    if (json_get_bool(spec, "hostNetwork", false)) {
        host_ports(c->pool, json_get(spec, STR("containers")));
        host_ports(c->pool, json_get(spec, STR("initContainers")));
    }
    pod_level_requests(c->pool, spec);
}

static void prepare(struct kind_ctx *c, struct json *doc, const struct json *old)
{
    struct json *spec = json_get(doc, STR("spec"));
    if (old)
        return;
    struct json *status = json_put_obj(c->pool, doc, STR("status"));
    json_set_str(c->pool, status, STR("phase"), STR("Pending"));
    json_set_str(c->pool, status, STR("qosClass"), str_of(podspec_qos_name(podspec_qos(spec))));
    if (!json_count(json_get(spec, STR("schedulingGates"))))
        return;
    struct json *cond = json_obj(c->pool);
    json_set_str(c->pool, cond, STR("type"), STR("PodScheduled"));
    json_set_str(c->pool, cond, STR("status"), STR("False"));
    json_set_str(c->pool, cond, STR("reason"), STR("SchedulingGated"));
    json_set_str(c->pool, cond, STR("message"), STR("Scheduling is blocked due to non-empty scheduling gates"));
    json_append(json_put_arr(c->pool, status, STR("conditions")), cond);
}

/* --- what may change
 * ------------------------------------------------------------------------------------------------------------------------------ */

static void munge_images(struct pool *p, struct json *list, const struct json *old)
{
    size_t i = 0;
    json_for (list, c) {
        const struct json *was = json_get(json_at(old, i++), STR("image"));
        if (was && json_get(c, STR("image")))
            json_set(p, c, STR("image"), json_clone(p, was));
    }
}

static void munge_member(struct pool *p, struct json *spec, const struct json *old, const char *name)
{
    const struct json *was = json_get(old, str_of(name));
    json_del(spec, str_of(name));
    if (was)
        json_set(p, spec, str_of(name), json_clone(p, was));
}

static bool same_count(const struct json *spec, const struct json *old, const char *name, const struct fpath *at, struct err **e)
{
    struct fpath here = fpath_name(at, str_of(name));
    if (json_count(json_get(spec, str_of(name))) == json_count(json_get(old, str_of(name))))
        return true;
    ferr_forbidden(e, &here, "pod updates may not add or remove containers");
    return false;
}

static void only_added_tolerations(const struct json *now, const struct json *old, const struct fpath *at, struct err **e)
{
    json_for (old, o) {
        bool found = false;
        json_for (now, n)
            found |= json_equal(n, o) || (str_eq(json_get_str(n, "key"), json_get_str(o, "key")) &&
                                             str_eq(json_get_str(n, "effect"), json_get_str(o, "effect")) &&
                                             json_get(n, STR("tolerationSeconds")) && json_get(o, STR("tolerationSeconds")));
        if (!found) {
            ferr_forbidden(e, at, "existing toleration can not be modified except its tolerationSeconds");
            return;
        }
    }
}

static void only_deleted_gates(const struct json *now, const struct json *old, const struct fpath *at, struct err **e)
{
    json_for (now, n) {
        bool had = false;
        json_for (old, o)
            had |= json_equal(n, o);
        if (!had)
            ferr_forbidden(e, at, "only deletion is allowed, but found new scheduling gate");
    }
}

static void update(struct kind_ctx *c, const struct json *spec, const struct json *old, const struct fpath *at, struct err **e)
{
    static const char *const kept[] = {"activeDeadlineSeconds", "schedulingGates", "tolerations"};
    struct fpath tol = FPATH(at, "tolerations"), gates = FPATH(at, "schedulingGates"), deadline = FPATH(at, "activeDeadlineSeconds");
    if (!same_count(spec, old, "containers", at, e) || !same_count(spec, old, "initContainers", at, e))
        return;
    const struct json *now = json_get(spec, STR("activeDeadlineSeconds")), *was = json_get(old, STR("activeDeadlineSeconds"));
    if (now && was && json_as_int(now, 0) > json_as_int(was, 0))
        ferr_invalid(e, &deadline, now, "must be less than or equal to previous value");
    else if (!now && was)
        ferr_invalid(e, &deadline, NULL, "must not update from a positive integer to nil value");
    only_added_tolerations(json_get(spec, STR("tolerations")), json_get(old, STR("tolerations")), &tol, e);
    only_deleted_gates(json_get(spec, STR("schedulingGates")), json_get(old, STR("schedulingGates")), &gates, e);
    struct json *munged = json_clone(c->pool, spec);
    munge_images(c->pool, json_get(munged, STR("containers")), json_get(old, STR("containers")));
    munge_images(c->pool, json_get(munged, STR("initContainers")), json_get(old, STR("initContainers")));
    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        munge_member(c->pool, munged, old, kept[i]);
    if (json_count(json_get(old, STR("schedulingGates")))) {
        munge_member(c->pool, munged, old, "nodeSelector");
        munge_member(c->pool, munged, old, "affinity");
    }
    bool bound = str_eqz(c->sub, "binding"), ephemeral = str_eqz(c->sub, "ephemeralcontainers"), resize = str_eqz(c->sub, "resize");
    if (bound)
        munge_member(c->pool, munged, old, "nodeName");
    if (ephemeral)
        munge_member(c->pool, munged, old, "ephemeralContainers");
    if (resize) {
        munge_member(c->pool, munged, old, "containers");
        munge_member(c->pool, munged, old, "initContainers");
    }
    if (!json_equal(munged, old))
        ferr_forbidden(e, at,
            "pod updates may not change fields other than "
            "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
            "`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if "
            "it was previously "
            "negative)\n");
}

static void validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct fpath at = FPATH(NULL, "spec"), node = FPATH(&at, "nodeName");
    const struct json *spec = json_get(doc, STR("spec"));
    if (str_eqz(c->sub, "status"))
        return;
    podspec_validate(spec, &at, e);
    if (!old && json_get_str(spec, "nodeName").n && json_count(json_get(spec, STR("schedulingGates"))))
        ferr_forbidden(e, &node, "cannot be set until all schedulingGates have been cleared");
    if (old)
        update(c, spec, json_get(old, STR("spec")), &at, e);
}

/* --- kubectl get pods
 * ----------------------------------------------------------------------------------------------------------------------------- */

struct summary {
    struct str reason, last_restart;
    int64_t restarts, ready, total;
    bool has_running;
};

static bool condition_true(const struct json *doc, const char *type)
{
    json_for (json_path(doc, "status", "conditions", NULL), x)
        if (str_eqz(json_get_str(x, "type"), type))
            return str_eqz(json_get_str(x, "status"), "True");
    return false;
}

static const struct json *by_name(const struct json *list, struct str name)
{
    json_for (list, x)
        if (str_eq(json_get_str(x, "name"), name))
            return x;
    return NULL;
}

static void count_restarts(struct summary *s, const struct json *status)
{
    struct str at = json_str_at(status, "lastState", "terminated", "finishedAt", NULL);
    s->restarts += json_get_int(status, "restartCount", 0);
    if (at.n && str_cmp(s->last_restart, at) < 0) /* UTC in one form: text order is time order */
        s->last_restart = at;
}

static struct str exit_reason(struct kind_ctx *c, const struct json *terminated, const char *prefix)
{
    struct str reason = json_get_str(terminated, "reason");
    int64_t sig = json_get_int(terminated, "signal", 0);
    if (reason.n)
        return pool_printf(c->pool, "%s%.*s", prefix, STR_ARG(reason));
    return sig ? pool_printf(c->pool, "%sSignal:%" PRId64, prefix, sig)
               : pool_printf(c->pool, "%sExitCode:%" PRId64, prefix, json_get_int(terminated, "exitCode", 0));
}

/* Returns whether initialization is still going on. sidecars gets the restarts of init containers that keep running. */
static bool init_status(struct kind_ctx *c, const struct json *doc, struct summary *s, struct summary *sidecars)
{
    const struct json *specs = json_path(doc, "spec", "initContainers", NULL);
    size_t i = 0;
    json_for (json_path(doc, "status", "initContainerStatuses", NULL), st) {
        const struct json *spec = by_name(specs, json_get_str(st, "name"));
        const struct json *terminated = json_path(st, "state", "terminated", NULL), *waiting = json_path(st, "state", "waiting", NULL);
        struct str why = json_get_str(waiting, "reason");
        bool sidecar = podspec_is_sidecar(spec);
        count_restarts(s, st);
        if (sidecar)
            count_restarts(sidecars, st);
        i++;
        if (terminated && json_get_int(terminated, "exitCode", 0) == 0)
            continue;
        if (sidecar && json_get_bool(st, "started", false)) {
            s->ready += json_get_bool(st, "ready", false);
            continue;
        }
        if (terminated)
            s->reason = exit_reason(c, terminated, "Init:");
        else if (why.n && !str_eqz(why, "PodInitializing"))
            s->reason = pool_printf(c->pool, "Init:%.*s", STR_ARG(why));
        else
            s->reason = pool_printf(c->pool, "Init:%zu/%zu", i - 1, json_count(specs));
        return true;
    }
    return false;
}

static void run_status(struct kind_ctx *c, const struct json *doc, struct summary *s)
{
    const struct json *list = json_path(doc, "status", "containerStatuses", NULL);
    struct str error = STR_NULL;
    const struct json **all = pool_array(c->pool, const struct json *, json_count(list) + 1);
    size_t n = 0;
    json_for (list, st)
        all[n++] = st;
    while (n--) { /* the first container has the last word */
        const struct json *st = all[n], *terminated = json_path(st, "state", "terminated", NULL);
        struct str why = json_str_at(st, "state", "waiting", "reason", NULL);
        count_restarts(s, st);
        if (why.n) {
            s->reason = why;
        } else if (terminated) {
            s->reason = exit_reason(c, terminated, "");
            if (json_get_int(terminated, "exitCode", 0) != 0)
                error = s->reason;
        } else if (json_get_bool(st, "ready", false) && json_path(st, "state", "running", NULL)) {
            s->has_running = true;
            s->ready++;
        }
    }
    if (str_eqz(s->reason, "Completed")) {
        if (s->has_running && condition_true(doc, "Ready"))
            s->reason = STR("Running");
        else if (error.n)
            s->reason = error;
        else if (s->has_running)
            s->reason = STR("NotReady");
    }
}

static void summarize(struct kind_ctx *c, const struct json *doc, struct summary *s)
{
    const struct json *status = json_get(doc, STR("status"));
    struct str phase = json_get_str(status, "phase"), why = json_get_str(status, "reason");
    struct summary sidecars = {0};
    s->reason = why.n ? why : phase;
    json_for (json_get(status, STR("conditions")), x)
        if (str_eqz(json_get_str(x, "type"), "PodScheduled") && str_eqz(json_get_str(x, "reason"), "SchedulingGated"))
            s->reason = STR("SchedulingGated");
    s->total = (int64_t)json_count(json_path(doc, "spec", "containers", NULL));
    json_for (json_path(doc, "spec", "initContainers", NULL), x)
        s->total += podspec_is_sidecar(x);
    bool initializing = init_status(c, doc, s, &sidecars);
    if (!initializing || condition_true(doc, "Initialized")) {
        s->restarts = sidecars.restarts;
        s->last_restart = sidecars.last_restart;
        run_status(c, doc, s);
    }
    if (json_str_at(doc, "metadata", "deletionTimestamp", NULL).n) {
        if (str_eqz(why, "NodeLost"))
            s->reason = STR("Unknown");
        else if (!str_eqz(phase, "Succeeded") && !str_eqz(phase, "Failed"))
            s->reason = STR("Terminating");
    }
}

static struct str gates_cell(struct kind_ctx *c, const struct json *doc)
{
    const struct json *gates = json_path(doc, "spec", "readinessGates", NULL);
    size_t ok = 0;
    if (!json_count(gates))
        return STR("<none>");
    json_for (gates, g)
        ok += condition_true(doc, pool_strz(c->pool, json_get_str(g, "conditionType")));
    return pool_printf(c->pool, "%zu/%zu", ok, json_count(gates));
}

static void cells(struct kind_ctx *c, const struct json *doc, struct json *row)
{
    struct summary s = {0};
    summarize(c, doc, &s);
    cell_add_str(c, row, json_str_at(doc, "metadata", "name", NULL));
    cell_add_str(c, row, pool_printf(c->pool, "%" PRId64 "/%" PRId64, s.ready, s.total));
    cell_add_str(c, row, s.reason);
    struct str restarts = pool_printf(c->pool, "%" PRId64, s.restarts);
    if (s.restarts && s.last_restart.n)
        restarts = pool_printf(c->pool, "%" PRId64 " (%.*s ago)", s.restarts, STR_ARG(cell_since(c, s.last_restart)));
    cell_add_str(c, row, restarts);
    cell_add_age(c, row, json_str_at(doc, "metadata", "creationTimestamp", NULL));
    cell_add_or(c, row, json_get_str(json_at(json_path(doc, "status", "podIPs", NULL), 0), "ip"), "<none>");
    cell_add_or(c, row, json_str_at(doc, "spec", "nodeName", NULL), "<none>");
    cell_add_or(c, row, json_str_at(doc, "status", "nominatedNodeName", NULL), "<none>");
    cell_add_str(c, row, gates_cell(c, doc));
}

/* --- projection and indexes
 * ----------------------------------------------------------------------------------------------------------------------- */

static struct pod_view_str put(struct buf *b, struct str s)
{
    struct pod_view_str at = {(uint32_t)b->n, (uint32_t)s.n};
    buf_str_add(b, s);
    return at;
}

static uint8_t flags_of(const struct json *doc)
{
    const struct json *spec = json_get(doc, STR("spec"));
    uint8_t f = 0;
    if (condition_true(doc, "Ready"))
        f |= POD_READY;
    if (condition_true(doc, "Initialized"))
        f |= POD_INITIALIZED;
    if (json_str_at(doc, "metadata", "deletionTimestamp", NULL).n)
        f |= POD_DELETING;
    if (json_get_bool(spec, "hostNetwork", false))
        f |= POD_HOST_NETWORK;
    if (json_count(json_get(spec, STR("schedulingGates"))))
        f |= POD_GATED;
    json_for (json_path(doc, "metadata", "ownerReferences", NULL), o)
        if (json_get_bool(o, "controller", false) && str_eqz(json_get_str(o, "kind"), "DaemonSet"))
            f |= POD_DAEMON;
    if (json_get(json_path(doc, "metadata", "annotations", NULL), STR("kubernetes.io/config.mirror")))
        f |= POD_MIRROR;
    return f;
}

static uint8_t phase_of(const struct json *doc)
{
    static const char *const names[] = {"Pending", "Running", "Succeeded", "Failed", "Unknown"};
    struct str phase = json_str_at(doc, "status", "phase", NULL);
    for (uint8_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eqz(phase, names[i]))
            return i;
    return POD_PENDING;
}

static void put_ports(struct buf *b, const struct json *doc, struct pod_view *v)
{
    static const char *const lists[] = {"containers", "initContainers"};
    size_t n = 0, at = b->n;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        json_for (json_path(doc, "spec", lists[i], NULL), c)
            n += (i == 0 || podspec_is_sidecar(c)) ? json_count(json_get(c, STR("ports"))) : 0;
    v->ports_at = (uint32_t)at;
    v->nports = (uint32_t)n;
    memset(buf_reserve(b, n * sizeof(struct pod_view_port)), 0, n * sizeof(struct pod_view_port));
    b->n += n * sizeof(struct pod_view_port);
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        json_for (json_path(doc, "spec", lists[i], NULL), c) {
            if (i && !podspec_is_sidecar(c))
                continue;
            json_for (json_get(c, STR("ports")), p) {
                struct str proto = json_get_str(p, "protocol");
                struct pod_view_port port = {.host_port = (uint16_t)json_get_int(p, "hostPort", 0),
                    .container_port = (uint16_t)json_get_int(p, "containerPort", 0),
                    .proto = str_eqz(proto, "UDP")    ? 1
                             : str_eqz(proto, "SCTP") ? 2
                                                      : 0};
                port.host_ip = put(b, json_get_str(p, "hostIP"));
                port.name = put(b, json_get_str(p, "name"));
                memcpy(b->p + at, &port, sizeof(port));
                at += sizeof(port);
            }
        }
}

static void project(struct pool *p, const struct json *doc, struct str *view)
{
    struct buf b = BUF_INIT;
    const struct json *spec = json_get(doc, STR("spec"));
    struct pod_requests r = podspec_requests(spec);
    struct pod_view v = {.phase = phase_of(doc),
        .flags = flags_of(doc),
        .qos = podspec_qos(spec),
        .cpu_milli = r.cpu_milli,
        .memory = r.memory,
        .storage = r.storage,
        .priority = (int32_t)json_get_int(spec, "priority", 0)};
    struct str policy = json_get_str(spec, "restartPolicy");
    v.npolicy = str_eqz(policy, "OnFailure") ? 1 : str_eqz(policy, "Never") ? 2 : 0;
    buf_add(&b, &v, sizeof(v));
    put_ports(&b, doc, &v);
    v.node = put(&b, json_get_str(spec, "nodeName"));
    v.scheduler = put(&b, json_get_str(spec, "schedulerName"));
    v.ip = put(&b, json_str_at(doc, "status", "podIP", NULL));
    v.service_account = put(&b, json_get_str(spec, "serviceAccountName"));
    v.size = (uint32_t)b.n;
    memcpy(b.p, &v, sizeof(v));
    *view = buf_to_pool(&b, p);
}

static void index_keys(struct pool *p, const struct json *doc, struct obj_index *out)
{
    const struct json *spec = json_get(doc, STR("spec"));
    struct str ns = json_str_at(doc, "metadata", "namespace", NULL), node = json_get_str(spec, "nodeName"),
               sa = json_get_str(spec, "serviceAccountName");
    (void)p;
    if (node.n)
        obj_index_add(out, "node", node);
    if (sa.n)
        obj_index_add(out, "sa", pool_printf(out->pool, "%.*s/%.*s", STR_ARG(ns), STR_ARG(sa)));
    podspec_refs(ns, json_str_at(doc, "metadata", "name", NULL), spec, out);
}

const struct kind_hooks kind_pod = {KIND("", "Pod"), .dflt = dflt, .prepare = prepare, .validate = validate, .cells = cells,
    .project = project, .index = index_keys, .status_edits_meta = true};
