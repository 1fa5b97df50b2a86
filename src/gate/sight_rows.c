#include "gate/sight_rows.h"

#include "schema/quantity.h"

#define MESSAGE_MAX 200

static void add(struct pool *p, struct json *row, struct str s)
{
    json_append(row, json_str(p, s.p ? s : STR("")));
}

static struct str condition(const struct json *o, const char *type)
{
    json_for (json_path(o, "status", "conditions", NULL), c)
        if (str_eqz(json_get_str(c, "type"), type))
            return json_get_str(c, "status");
    return STR("Unknown");
}

/* ready, kubelet's version, architecture, capacity cpu, memory, pods, allocatable cpu, memory, cordoned */
static bool node(struct pool *p, const struct json *o, struct json *row)
{
    const struct json *info = json_path(o, "status", "nodeInfo", NULL), *cap = json_path(o, "status", "capacity", NULL), *al = json_path(o, "status", "allocatable", NULL);
    add(p, row, condition(o, "Ready"));
    add(p, row, json_get_str(info, "kubeletVersion"));
    add(p, row, json_get_str(info, "architecture"));
    add(p, row, json_get_str(cap, "cpu"));
    add(p, row, json_get_str(cap, "memory"));
    add(p, row, json_get_str(cap, "pods"));
    add(p, row, json_get_str(al, "cpu"));
    add(p, row, json_get_str(al, "memory"));
    add(p, row, json_get_bool(json_get(o, STR("spec")), "unschedulable", false) ? STR("true") : STR("false"));
    return true;
}

/* phase, project: the one annotation that is a column, since the hub's projects are made of it */
static bool name_space(struct pool *p, const struct json *o, struct json *row)
{
    add(p, row, json_str_at(o, "status", "phase", NULL));
    add(p, row, json_as_str(json_get(json_path(o, "metadata", "annotations", NULL), STR("field.cattle.io/projectId"))));
    return true;
}

static struct str summed(struct pool *p, const struct json *containers, const char *what)
{
    struct quantity sum = {0}, q;
    struct buf b = BUF_INIT;
    bool any = false;
    json_for (containers, c) {
        struct str v = json_str_at(c, "resources", "requests", what, NULL);
        if (!v.n || quantity_parse(v, &q, NULL) < 0)
            continue;
        sum = any ? quantity_add(sum, q) : q;
        any = true;
    }
    if (!any)
        return STR("0");
    quantity_write(&b, sum);
    return buf_to_pool(&b, p);
}

static struct str pod_state(const struct json *o)
{
    struct str why = json_str_at(o, "status", "reason", NULL);
    if (json_str_at(o, "metadata", "deletionTimestamp", NULL).n)
        return STR("Terminating");
    if (why.n)
        return why;
    json_for (json_path(o, "status", "containerStatuses", NULL), c) {
        struct str waits = json_str_at(c, "state", "waiting", "reason", NULL), ended = json_str_at(c, "state", "terminated", "reason", NULL);
        if (waits.n)
            return waits;
        if (ended.n && !str_eqz(ended, "Completed"))
            return ended;
    }
    return json_str_at(o, "status", "phase", NULL);
}

/* state, ready, restarts, node, requested cpu, memory, made */
static bool pod(struct pool *p, const struct json *o, struct json *row)
{
    int64_t ready = 0, restarts = 0;
    const struct json *containers = json_path(o, "spec", "containers", NULL);
    json_for (json_path(o, "status", "containerStatuses", NULL), c) {
        ready += json_get_bool(c, "ready", false);
        restarts += json_get_int(c, "restartCount", 0);
    }
    add(p, row, pod_state(o));
    add(p, row, pool_printf(p, "%" PRId64 "/%zu", ready, json_count(containers)));
    add(p, row, pool_printf(p, "%" PRId64, restarts));
    add(p, row, json_str_at(o, "spec", "nodeName", NULL));
    add(p, row, summed(p, containers, "cpu"));
    add(p, row, summed(p, containers, "memory"));
    add(p, row, json_str_at(o, "metadata", "creationTimestamp", NULL));
    return true;
}

static struct str number(struct pool *p, const struct json *o, const char *part, const char *field, int64_t absent)
{
    return pool_printf(p, "%" PRId64, json_get_int(json_get(o, str_of(part)), field, absent));
}

static struct str images(struct pool *p, const struct json *o)
{
    struct buf b = BUF_INIT;
    json_for (json_path(o, "spec", "template", "spec", "containers", NULL), c)
        if (b.n < 512)
            buf_printf(&b, "%s%.*s", b.n ? "," : "", STR_ARG(json_get_str(c, "image")));
    return buf_to_pool(&b, p);
}

/* wanted, ready, images, made */
static bool workload(struct pool *p, const struct json *o, struct json *row)
{
    bool daemon = json_get(json_get(o, STR("status")), STR("desiredNumberScheduled")) != NULL;
    add(p, row, daemon ? number(p, o, "status", "desiredNumberScheduled", 0) : number(p, o, "spec", "replicas", daemon ? 0 : 1));
    add(p, row, daemon ? number(p, o, "status", "numberReady", 0) : number(p, o, "status", "readyReplicas", 0));
    add(p, row, images(p, o));
    add(p, row, json_str_at(o, "metadata", "creationTimestamp", NULL));
    return true;
}

/* completions wanted, succeeded, failed, made */
static bool job(struct pool *p, const struct json *o, struct json *row)
{
    add(p, row, number(p, o, "spec", "completions", 1));
    add(p, row, number(p, o, "status", "succeeded", 0));
    add(p, row, number(p, o, "status", "failed", 0));
    add(p, row, json_str_at(o, "metadata", "creationTimestamp", NULL));
    return true;
}

/* reason, about what, message. Without count and time, which change with each repetition. */
static bool warning(struct pool *p, const struct json *o, struct json *row)
{
    const struct json *about = json_get(o, STR("involvedObject"));
    if (!str_eqz(json_get_str(o, "type"), "Warning"))
        return false;
    add(p, row, json_get_str(o, "reason"));
    add(p, row, pool_printf(p, "%.*s/%.*s", STR_ARG(json_get_str(about, "kind")), STR_ARG(json_get_str(about, "name"))));
    add(p, row, str_sub(json_get_str(o, "message"), 0, MESSAGE_MAX));
    return true;
}

const struct sight_kind sight_kinds[SIGHT_KINDS] = {
    {"nodes", "/api/v1/nodes", "", node},
    {"namespaces", "/api/v1/namespaces", "", name_space},
    {"pods", "/api/v1/pods", "", pod},
    {"deployments", "/apis/apps/v1/deployments", "", workload},
    {"statefulsets", "/apis/apps/v1/statefulsets", "", workload},
    {"daemonsets", "/apis/apps/v1/daemonsets", "", workload},
    {"jobs", "/apis/batch/v1/jobs", "", job},
    {"warnings", "/api/v1/events", "fieldSelector=type%3DWarning", warning},
};
