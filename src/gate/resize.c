/* In-place resize as the kubelet judges it (pkg/kubelet/allocation of Kubernetes, KEP-1287): a pod's new requests must fit into the node beside its other pods. What never can is
 * Infeasible, what cannot now is Deferred and judged again at each turn; until then containers keep what the pod's status says they have. What was granted is done by node,
 * and stands in the status once node has told so (node_pod_state.applied). */
#include <stdlib.h>

#include "gate/impl.h"
#include "schema/quantity.h"

struct resize {
    struct pool *pool;
    const struct json *status;  /* with the resources that are in force */
    bool infeasible;
    char *message;
};

static const char *const spec_lists[] = {"initContainers", "containers"};
static const char *const status_lists[] = {"initContainerStatuses", "containerStatuses"};

void resize_free(struct resize *r)
{
    if (!r)
        return;
    pool_free(r->pool);
    free(r->message);
    free(r);
}

static int64_t amount(const struct json *resources, const char *list, const char *name)
{
    struct quantity q;
    struct str text = json_str_at(resources, list, name, NULL);
    return str_empty(text) || quantity_parse(text, &q, NULL) < 0 ? 0 : quantity_milli(q);
}

static const struct json *in_force(const struct json *status, struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(status_lists); i++)
        json_for(json_get(status, str_of(status_lists[i])), c)
            if (str_eq(json_get_str(c, "name"), name))
                return json_get(c, STR("resources"));
    return NULL;
}

static bool differ(const struct json *a, const struct json *b)
{
    static const char *const lists[] = {"requests", "limits"}, *const names[] = {"cpu", "memory"};
    for (size_t i = 0; i < 4; i++)
        if (amount(a, lists[i / 2], names[i % 2]) != amount(b, lists[i / 2], names[i % 2]))
            return true;
    return false;
}

static bool wished(const struct json *spec, const struct json *status)
{
    for (size_t i = 0; i < ARRAY_LEN(spec_lists); i++)
        json_for(json_get(spec, str_of(spec_lists[i])), c) {
            const struct json *have = in_force(status, json_get_str(c, "name"));
            if (have && differ(have, json_get(c, STR("resources"))))
                return true;
        }
    return false;
}

/* A pod's request of one resource, in thousandths: the larger of what runs together and what each init container needs (sidecars run with the rest). */
static int64_t request(const struct json *spec, const char *name)
{
    int64_t sum = 0, init = 0, sidecars = 0;
    json_for(json_get(spec, STR("containers")), c)
        sum += amount(json_get(c, STR("resources")), "requests", name);
    json_for(json_get(spec, STR("initContainers")), c) {
        int64_t n = amount(json_get(c, STR("resources")), "requests", name);
        if (str_eqz(json_get_str(c, "restartPolicy"), "Always"))
            sidecars += n;
        init = MAX(init, sidecars + (str_eqz(json_get_str(c, "restartPolicy"), "Always") ? 0 : n));
    }
    sum = MAX(sum + sidecars, init);
    struct quantity q;
    struct str over = json_str_at(spec, "overhead", name, NULL);
    return sum + (str_empty(over) || quantity_parse(over, &q, NULL) < 0 ? 0 : quantity_milli(q));
}

static int64_t others(struct gpod *gp, const char *name)
{
    int64_t sum = 0;
    map_for(&gp->gate->pods, it) {
        struct gpod *x = it->value;
        const struct json *tree = x == gp || x->gone ? NULL : gpod_tree(x);
        struct str phase = json_str_at(tree, "status", "phase", NULL);
        if (tree && !str_eqz(phase, "Succeeded") && !str_eqz(phase, "Failed"))
            sum += request(json_get(tree, STR("spec")), name);
    }
    return sum;
}

/* NULL: it fits. */
static char *obstacle(struct gpod *gp, const struct json *spec, bool *never)
{
    static const char *const names[] = {"cpu", "memory"};
    int64_t room[2], unit[2] = {1, 1000};
    cluster_allocatable(gp->gate, &room[0], &room[1]);
    room[1] *= 1000;
    *never = true;
    for (int i = 0; i < 2; i++)
        if (request(spec, names[i]) > room[i])
            return xasprintf("Node didn't have enough capacity: %s, requested: %" PRId64 ", capacity: %" PRId64, names[i], request(spec, names[i]) / unit[i], room[i] / unit[i]);
    *never = false;
    for (int i = 0; i < 2; i++) {
        int64_t used = others(gp, names[i]), want = request(spec, names[i]);
        if (want + used > room[i])
            return xasprintf("Node didn't have enough resource: %s, requested: %" PRId64 ", used: %" PRId64 ", capacity: %" PRId64, names[i], want / unit[i], used / unit[i], room[i] / unit[i]);
    }
    return NULL;
}

void resize_judge(struct gpod *gp)
{
    struct resize *was = TAKE(gp->resize);
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *reported = NULL;
    const struct json *pod = gpod_tree(gp), *spec = json_get(pod, STR("spec")), *status = json_get(pod, STR("status"));
    if (gp->reported && json_parse(p, bytes_str(gp->reported), NULL, &reported, NULL) == 0)
        status = json_get(reported, STR("status"));
    bool never = false;
    char *why = gp->deleting || !gp->gate->hello.cpus || !wished(spec, status) ? NULL : obstacle(gp, spec, &never);
    if (why) {
        struct resize *r = xcalloc(1, sizeof *r);
        *r = (struct resize){.pool = pool_new(), .infeasible = never, .message = why};
        r->status = json_clone(r->pool, status);
        gp->resize = r;
        if (!was || strcmp(was->message, why) != 0) {
            gp->report = true;
            event_pod(gp, STR_NULL, true, never ? "ResizeInfeasible" : "ResizeDeferred", "%s", why);
        }
    } else if (was) {
        gp->report = true;
    }
    resize_free(was);
}

const struct json *resize_resources(struct gpod *gp, const struct json *container)
{
    const struct json *kept = gp->resize ? in_force(gp->resize->status, json_get_str(container, "name")) : NULL;
    return kept ? kept : json_get(container, STR("resources"));
}

bool resize_waits(const struct gpod *gp)
{
    return gp->resize && !gp->resize->infeasible;
}

/* node has not done yet what was granted. */
static bool under_way(struct gpod *gp, const struct json *container, const struct json *have)
{
    uint64_t generation = (uint64_t)json_get_int(json_get(gpod_tree(gp), STR("metadata")), "generation", 0);
    return have && gp->state && gp->state->applied < generation && !gp->deleting && differ(have, json_get(container, STR("resources")));
}

void resize_status(struct gpod *gp, struct pool *p, const struct json *container, const struct json *before, struct json *to)
{
    const struct json *granted = resize_resources(gp, container), *have = in_force(before, json_get_str(container, "name"));
    const struct json *requests = json_get(granted, STR("requests"));
    if (json_count(requests))
        json_set(p, to, STR("allocatedResources"), json_clone(p, requests));
    const struct json *now = !gp->resize && under_way(gp, container, have) ? have : granted;
    json_set(p, to, STR("resources"), now ? json_clone(p, now) : json_obj(p));
}

bool resize_condition(struct gpod *gp, const struct json *before, const char **type, const char **reason, struct str *message)
{
    *reason = NULL;
    *message = STR_NULL;
    if (gp->resize) {
        *type = "PodResizePending";
        *reason = gp->resize->infeasible ? "Infeasible" : "Deferred";
        *message = str_of(gp->resize->message);
        return true;
    }
    const struct json *spec = json_get(gpod_tree(gp), STR("spec"));
    for (size_t i = 0; i < ARRAY_LEN(spec_lists); i++)
        json_for(json_get(spec, str_of(spec_lists[i])), c)
            if (under_way(gp, c, in_force(before, json_get_str(c, "name")))) {
                *type = "PodResizeInProgress";
                *reason = gp->state->resize_error.n ? "Error" : NULL;
                *message = gp->state->resize_error;
                return true;
            }
    return false;
}
