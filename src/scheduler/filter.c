/* Why a node cannot take a pod, in kube-scheduler's words. */
#include "scheduler/inner.h"

void reason_add(struct reasons *r, struct str text, bool preemptible)
{
    if (r->n < REASONS_MAX) {
        r->text[r->n] = text;
        r->preemptible[r->n++] = preemptible;
    }
}

static void unschedulable(struct cycle *c, const struct node_info *n, struct reasons *r)
{
    if (!n->unschedulable)
        return;
    json_for ((struct json *)(uintptr_t)c->tolerations, t)
        if (toleration_covers(t, STR("node.kubernetes.io/unschedulable"), STR(""), STR("NoSchedule")))
            return;
    reason_add(r, STR("node(s) were unschedulable"), false);
}

static void taints(struct cycle *c, const struct node_info *n, struct reasons *r)
{
    if (taint_untolerated(c->tolerations, n, false))
        reason_add(r, STR("node(s) had untolerated taint(s)"), false);
}

static void affinity(struct cycle *c, const struct node_info *n, struct reasons *r)
{
    if (!node_affinity_matches(c, n))
        reason_add(r, STR("node(s) didn't match Pod's node affinity/selector"), false);
}

static const struct pod_view_port *ports_of(const struct pod_view *v)
{
    return (const struct pod_view_port *)(const void *)((const char *)v + v->ports_at);
}

static bool any_address(struct str ip)
{
    return ip.n == 0 || str_eqz(ip, "0.0.0.0") || str_eqz(ip, "::");
}

static bool ports_collide(const struct pod_view *a, const struct pod_view *b)
{
    for (uint32_t i = 0; i < a->nports; i++)
        for (uint32_t k = 0; k < b->nports; k++) {
            const struct pod_view_port *x = &ports_of(a)[i], *y = &ports_of(b)[k];
            struct str xi = pod_view_get(a, x->host_ip), yi = pod_view_get(b, y->host_ip);
            if (x->host_port && x->host_port == y->host_port && x->proto == y->proto &&
                (any_address(xi) || any_address(yi) || str_eq(xi, yi)))
                return true;
        }
    return false;
}

static bool wants_host_ports(const struct pod_view *v)
{
    for (uint32_t i = 0; v && i < v->nports; i++)
        if (ports_of(v)[i].host_port)
            return true;
    return false;
}

static void ports(struct cycle *c, const struct node_info *n, struct reasons *r)
{
    struct pod_info *p;
    if (!wants_host_ports(c->pv))
        return;
    list_for (&((struct node_info *)(uintptr_t)n)->pods, p, on_node) {
        const struct pod_view *v = pod_view_of(p->o);
        if (v && ports_collide(c->pv, v)) {
            reason_add(r, STR("node(s) didn't have free ports for the requested pod ports"), true);
            return;
        }
    }
}

/* What pods of no less importance, for whom room was made here, will take. */
static int64_t nominated(struct cycle *c, const struct node_info *n, struct resources *sum)
{
    struct pending *p;
    int64_t pods = 0;
    *sum = n->used;
    list_for (&c->s->queue.nominated, p, with_nomination) {
        const struct pod_view *v = pod_view_of(p->o);
        if (!v || !str_eq(p->nominated, n->name) || p->priority < c->pv->priority || str_eq(p->uid, c->o->uid))
            continue;
        sum->cpu_milli += v->cpu_milli;
        sum->memory += v->memory;
        sum->storage += v->storage;
        pods++;
    }
    return pods;
}

static void fit(struct cycle *c, const struct node_info *n, struct reasons *r)
{
    const struct resources *q = &c->req;
    struct resources used;
    int64_t coming = nominated(c, n, &used);
    if ((int64_t)n->npods + coming + 1 > n->can_pods)
        reason_add(r, STR("Too many pods"), true);
    if (q->cpu_milli && q->cpu_milli > n->can.cpu_milli - used.cpu_milli)
        reason_add(r, STR("Insufficient cpu"), q->cpu_milli <= n->can.cpu_milli);
    if (q->memory && q->memory > n->can.memory - used.memory)
        reason_add(r, STR("Insufficient memory"), q->memory <= n->can.memory);
    if (q->storage && q->storage > n->can.storage - used.storage)
        reason_add(r, STR("Insufficient ephemeral-storage"), q->storage <= n->can.storage);
    for (size_t i = 0; i < q->nmore; i++) {
        int64_t can = resources_more(&n->can, q->more[i].name);
        if (q->more[i].n > can - resources_more(&n->used, q->more[i].name))
            reason_add(r, pool_printf(c->pool, "Insufficient %.*s", STR_ARG(q->more[i].name)), q->more[i].n <= can);
    }
}

/* In kube-scheduler's order: the first that refuses ends it. */
static const struct filter filters[] = {
    {"NodeUnschedulable", unschedulable, WAKE_NODE},
    {"TaintToleration", taints, WAKE_NODE},
    {"NodeAffinity", affinity, WAKE_NODE},
    {"NodePorts", ports, WAKE_NODE | WAKE_POD_GONE},
    {"NodeResourcesFit", fit, WAKE_NODE | WAKE_POD_GONE},
    {"VolumeRestrictions", volumes_restrict, WAKE_NODE | WAKE_POD_GONE | WAKE_VOLUME},
    {"NodeVolumeLimits", volumes_limit, WAKE_NODE | WAKE_POD_GONE | WAKE_VOLUME},
    {"VolumeBinding", volumes_filter, WAKE_NODE | WAKE_VOLUME},
    {"VolumeZone", volumes_zone, WAKE_NODE | WAKE_VOLUME},
    {"PodTopologySpread", spread_filter, WAKE_NODE | WAKE_POD_GONE | WAKE_POD_HERE},
    {"InterPodAffinity", interpod_filter, WAKE_NODE | WAKE_POD_GONE | WAKE_POD_HERE | WAKE_NAMESPACE},
};

bool filter_node(struct cycle *c, const struct node_info *n, struct reasons *r)
{
    r->n = 0;
    for (size_t i = 0; i < ARRAY_LEN(filters) && r->n == 0; i++) {
        filters[i].fn(c, n, r);
        c->wakes |= r->n ? filters[i].wakes : 0;
    }
    return r->n == 0;
}
