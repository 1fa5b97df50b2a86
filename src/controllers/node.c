/* Node lifecycle: a node whose lease is not renewed turns Unknown; conditions become taints; pods on a node that is not ready are told so.
 *
 * A node is taken to live while its lease or its status changes, by our clock, not by the node's. Each node has one timer, which looks
 * again when the grace is over: a beat by itself costs nothing but a note of the time.
 *
 * When no node at all is ready, the fault is more likely ours (this machine lost its network): no pod is then driven away, as in
 * Kubernetes' full disruption. A node with the label node.sampan.io/autonomous=true is never tainted NoExecute while it is out of reach:
 * its pods go on there.
 */
#include <stdlib.h>
#include "controllers/ctl.h"

#define GRACE (50 * NS_PER_S) /* kube-controller-manager's --node-monitor-grace-period */
#define LEASES "kube-node-lease"
#define TAINT_NOT_READY "node.kubernetes.io/not-ready"
#define TAINT_UNREACHABLE "node.kubernetes.io/unreachable"
#define TAINT_UNSCHEDULABLE "node.kubernetes.io/unschedulable"

struct health {
    int64_t seen; /* site time of the last sign of life */
    bool ready;
};
struct lifecycle {
    struct map nodes; /* name to struct health */
};

static struct health *health_of(struct ctl *c, struct str name)
{
    struct lifecycle *l = c->state;
    struct health *h = map_get(&l->nodes, name);
    if (!h) {
        h = xcalloc(1, sizeof *h);
        h->seen = clock_now(c->clock);
        map_put(&l->nodes, name, h);
    }
    return h;
}

static bool any_ready(struct ctl *c)
{
    const struct lifecycle *l = c->state;
    map_for (&l->nodes, it)
        if (((const struct health *)it->value)->ready)
            return true;
    return false;
}

/* ---- conditions ---- */

static const char *const kept_conditions[] = {"Ready", "MemoryPressure", "DiskPressure", "PIDPressure"};

static int mark_unknown(struct sync *s, const struct obj *node, struct json *tree, const struct obj **now, struct err **e)
{
    struct json *status = json_put_obj(s->pool, tree, STR("status")), *conditions = json_put_arr(s->pool, status, STR("conditions"));
    bool changed = false;
    for (size_t i = 0; i < ARRAY_LEN(kept_conditions); i++) {
        const struct json *c = condition_find(conditions, str_of(kept_conditions[i]));
        if (c && str_eqz(json_get_str(c, "status"), "Unknown"))
            continue;
        changed |= condition_set(s->pool, conditions, kept_conditions[i], "Unknown", c ? "NodeStatusUnknown" : "NodeStatusNeverUpdated",
            c ? STR("Kubelet stopped posting node status.") : STR("Kubelet never posted node status."), s->now, false);
    }
    *now = node;
    return changed ? sync_update(s, R_NODES, node, "status", tree, now, e) : 0;
}

/* ---- taints ---- */

struct rule {
    const char *condition, *status, *key;
    bool execute;
};
static const struct rule rules[] = {
    {"Ready", "False", TAINT_NOT_READY, true},
    {"Ready", "Unknown", TAINT_UNREACHABLE, true},
    {"MemoryPressure", "True", "node.kubernetes.io/memory-pressure", false},
    {"DiskPressure", "True", "node.kubernetes.io/disk-pressure", false},
    {"PIDPressure", "True", "node.kubernetes.io/pid-pressure", false},
    {"NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable", false},
};

static struct json *taint_find(struct json *taints, const char *key, const char *effect)
{
    json_for (taints, t)
        if (str_eqz(json_get_str(t, "key"), key) && str_eqz(json_get_str(t, "effect"), effect))
            return t;
    return NULL;
}

static bool taint_put(struct sync *s, struct json *taints, const char *key, const char *effect, bool wanted)
{
    struct json *t = taint_find(taints, key, effect);
    if (wanted == (t != NULL))
        return false;
    if (t)
        return json_remove(taints, t);
    t = json_append(taints, json_obj(s->pool));
    json_set_str(s->pool, t, STR("key"), str_of(key));
    json_set_str(s->pool, t, STR("effect"), str_of(effect));
    json_set(s->pool, t, STR("timeAdded"), time_json(s->pool, s->now));
    return true;
}

static bool set_taints(struct sync *s, const struct obj *node, struct json *tree)
{
    struct json *spec = json_put_obj(s->pool, tree, STR("spec")), *taints = json_put_arr(s->pool, spec, STR("taints"));
    const struct json *conditions = json_path(tree, "status", "conditions", NULL);
    bool changed = false, evict = any_ready(s->ctl), autonomous = str_eqz(obj_label(node, STR("node.sampan.io/autonomous")), "true");
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        const struct json *c = condition_find(conditions, str_of(rules[i].condition));
        struct str status = json_get_str(c, "status");
        bool hit = str_eqz(status, rules[i].status) || (i == 0 && !c); /* no word from it yet: not ready */
        changed |= taint_put(s, taints, rules[i].key, "NoSchedule", hit);
        if (rules[i].execute)
            changed |= taint_put(s, taints, rules[i].key, "NoExecute", hit && c && evict && !(autonomous && str_eqz(status, "Unknown")));
    }
    changed |= taint_put(s, taints, TAINT_UNSCHEDULABLE, "NoSchedule", json_get_bool(spec, "unschedulable", false));
    if (json_count(taints) == 0)
        json_del(spec, STR("taints"));
    return changed;
}

/* ---- pods ---- */

static int mark_pods_not_ready(struct sync *s, const struct obj *node, struct err **e)
{
    struct obj_array pods = sync_indexed(s, R_PODS, STR("node"), node->name);
    for (size_t i = 0; i < pods.n; i++) {
        if (!pod_ready(pods.p[i]))
            continue;
        struct json *tree = sync_tree(s, pods.p[i]), *c = condition_find(json_path(tree, "status", "conditions", NULL), STR("Ready"));
        if (!c)
            continue;
        json_set_str(s->pool, c, STR("status"), STR("False"));
        json_set(s->pool, c, STR("lastTransitionTime"), time_json(s->pool, s->now));
        int r = sync_update(s, R_PODS, pods.p[i], "status", tree, NULL, e);
        if (err_is(e, ERR_NOT_FOUND))
            continue;
        if (r < 0)
            return r;
        ctl_event(s->ctl, R_PODS, pods.p[i], true, "NodeNotReady", "Node is not ready");
    }
    return 0;
}

static void add_all(struct ctl *c)
{
    const struct lifecycle *l = c->state;
    map_for (&l->nodes, it)
        ctl_add_raw(c, map_key(it));
}

/* The first node that turns ready, and the last that ceases to be, change what holds for all. */
static void note_ready(struct sync *s, struct health *h, bool ready)
{
    bool before = any_ready(s->ctl);
    h->ready = ready;
    if (any_ready(s->ctl) != before)
        add_all(s->ctl);
}

static int sync(struct sync *s, struct err **e)
{
    const struct obj *node = sync_get(s, R_NODES, STR(""), s->name);
    if (!node)
        return 0;
    struct health *h = health_of(s->ctl, s->name);
    struct json *tree = sync_tree(s, node);
    const struct json *ready = condition_find(json_path(tree, "status", "conditions", NULL), STR("Ready"));
    bool was_ready = str_eqz(json_get_str(ready, "status"), "True");
    if (s->now - h->seen >= GRACE) {
        int r = mark_unknown(s, node, tree, &node, e);
        if (r != 0)
            return MIN(r, 0);
        tree = sync_tree(s, node);
        if (was_ready)
            ctl_event(s->ctl, R_NODES, node, false, "NodeNotReady", "Node %.*s status is now: NodeNotReady", STR_ARG(s->name));
        was_ready = false;
    } else {
        sync_again_at(s, h->seen + GRACE);
    }
    note_ready(s, h, was_ready);
    if (!was_ready && ready) {
        int r = mark_pods_not_ready(s, node, e);
        if (r < 0)
            return r;
    }
    if (!set_taints(s, node, tree))
        return 0;
    int r = sync_update(s, R_NODES, node, NULL, tree, NULL, e);
    return err_is(e, ERR_NOT_FOUND) ? 0 : MIN(r, 0);
}

/* ---- what wakes it ---- */

static void on_node(struct ctl *c, const struct change *ch)
{
    struct lifecycle *l = c->state;
    if (ch->gone) {
        struct health *h = map_del(&l->nodes, ch->obj->name);
        bool was = h && h->ready;
        free(h);
        if (was && !any_ready(c))
            add_all(c);
        return;
    }
    if (!ch->before) {
        health_of(c, ch->obj->name);
        ctl_event(c, R_NODES, ch->obj, false, "RegisteredNode", "Node %.*s event: Registered Node %.*s in Controller",
            STR_ARG(ch->obj->name), STR_ARG(ch->obj->name));
    }
    ctl_add(c, ch->obj);
}

/* Only the node's own beats count, not what we write about it ourselves. */
static void on_lease(struct ctl *c, const struct change *ch)
{
    struct lifecycle *l = c->state;
    struct health *h = str_eqz(ch->obj->ns, LEASES) ? map_get(&l->nodes, ch->obj->name) : NULL;
    if (!h || ch->gone || !ch->before)
        return;
    bool late = clock_now(c->clock) - h->seen >= GRACE;
    h->seen = clock_now(c->clock);
    if (late)
        ctl_add_key(c, STR(""), ch->obj->name);
}

static int start(struct ctl *c, struct err **e)
{
    c->state = xcalloc(1, sizeof(struct lifecycle));
    return 0;
}

static void stop(struct ctl *c)
{
    struct lifecycle *l = c->state;
    if (l)
        map_clear(&l->nodes, free);
    free(l);
}

const struct controller node_controller = {
    .name = "node",
    .account = "node-controller",
    .watches = {{R_NODES, on_node}, {R_LEASES, on_lease}},
    .sync = sync,
    .start = start,
    .stop = stop,
};
