#include "api/admit.h"
#include "base/file.h"

/* What a new pod is given: its ServiceAccount's token, a priority, patience with failing nodes, its runtime class's overhead. */

#define TOKEN_PATH "/var/run/secrets/kubernetes.io/serviceaccount"

static bool is_mirror(const struct json *pod)
{
    return json_get(json_path(pod, "metadata", "annotations", NULL), STR("kubernetes.io/config.mirror")) != NULL;
}

static bool mounts_token(const struct json *container)
{
    json_for (json_get(container, STR("volumeMounts")), m)
        if (str_eqz(json_get_str(m, "mountPath"), TOKEN_PATH))
            return true;
    return false;
}

static bool add_mounts(struct call *c, struct json *containers, struct str volume)
{
    bool added = false;
    json_for (containers, it) {
        if (mounts_token(it))
            continue;
        struct json *m = json_append(json_put_arr(c->pool, it, STR("volumeMounts")), json_obj(c->pool));
        json_set_str(c->pool, m, STR("name"), volume);
        json_set_bool(c->pool, m, STR("readOnly"), true);
        json_set_str(c->pool, m, STR("mountPath"), STR(TOKEN_PATH));
        added = true;
    }
    return added;
}

static void add_token(struct call *c, struct json *spec)
{
    char suffix[6];
    random_suffix(suffix, 5);
    struct str name = pool_printf(c->pool, "kube-api-access-%s", suffix);
    bool a = add_mounts(c, json_get(spec, STR("initContainers")), name), b = add_mounts(c, json_get(spec, STR("containers")), name);
    if (!a && !b)
        return;
    struct json *v = json_append(json_put_arr(c->pool, spec, STR("volumes")), json_obj(c->pool));
    json_set_str(c->pool, v, STR("name"), name);
    json_set(c->pool, v, STR("projected"),
        admit_text(c, "{\"sources\":[{\"serviceAccountToken\":{\"expirationSeconds\":3607,\"path\":\"token\"}},"
                      "{\"configMap\":{\"name\":\"kube-root-ca.crt\",\"items\":[{\"key\":\"ca.crt\",\"path\":\"ca.crt\"}]}},"
                      "{\"downwardAPI\":{\"items\":[{\"path\":\"namespace\",\"fieldRef\":{\"apiVersion\":\"v1\",\"fieldPath\":\"metadata."
                      "namespace\"}}]}}],\"defaultMode\":420}"));
}

int admit_service_account(struct call *c, struct err **e)
{
    struct json *spec = json_put_obj(c->pool, c->w.doc, STR("spec"));
    if (!str_empty(c->ri.sub) || !c->api->res.serviceaccounts)
        return 0;
    if (is_mirror(c->w.doc)) {
        if (!str_empty(json_get_str(spec, "serviceAccountName")))
            return admit_forbid(c, e, "a mirror pod may not reference service accounts");
        return 0;
    }
    struct str name = json_get_str(spec, "serviceAccountName");
    if (str_empty(name)) {
        name = STR("default");
        json_set_str(c->pool, spec, STR("serviceAccountName"), name);
    }
    json_set_str(c->pool, spec, STR("serviceAccount"), name);
    const struct json *sa = admit_lookup(c, c->api->res.serviceaccounts, c->ri.ns, name);
    if (!sa)
        return admit_forbid(c, e, "error looking up service account %.*s/%.*s: serviceaccount \"%.*s\" not found", STR_ARG(c->ri.ns),
            STR_ARG(name), STR_ARG(name));
    if (json_get_bool(spec, "automountServiceAccountToken", json_get_bool(sa, "automountServiceAccountToken", true)))
        add_token(c, spec);
    const struct json *pull = json_get(sa, STR("imagePullSecrets"));
    if (json_count(pull) && !json_count(json_get(spec, STR("imagePullSecrets"))))
        json_set(c->pool, spec, STR("imagePullSecrets"), json_clone(c->pool, pull));
    return 0;
}

/* ---- priority ---- */

struct default_class {
    struct json *doc;
    int64_t value;
};
static bool find_default(void *arg, const struct obj *o, struct json *doc)
{
    struct default_class *d = arg;
    (void)o;
    if (!json_get_bool(doc, "globalDefault", false))
        return true;
    int64_t v = json_get_int(doc, "value", 0);
    if (!d->doc || v < d->value)
        d->doc = doc, d->value = v;
    return true;
}

static void keep_decided(struct call *c, struct json *spec, const char *key)
{
    const struct json *was = json_path(c->w.old, "spec", key, NULL);
    if (was && !json_get(spec, str_of(key)))
        json_set(c->pool, spec, str_of(key), json_clone(c->pool, was));
}

int admit_priority(struct call *c, struct err **e)
{
    struct json *spec = json_put_obj(c->pool, c->w.doc, STR("spec"));
    struct str name = json_get_str(spec, "priorityClassName");
    const struct json *class = NULL;
    if (!str_empty(c->ri.sub))
        return 0;
    if (c->w.op == WRITE_UPDATE) { /* what was decided at the beginning stays */
        keep_decided(c, spec, "priority");
        keep_decided(c, spec, "preemptionPolicy");
        return 0;
    }
    if (!str_empty(name)) {
        class = admit_lookup(c, c->api->res.priorities, STR_NULL, name);
        if (!class)
            return admit_forbid(c, e, "no PriorityClass with name %.*s was found", STR_ARG(name));
    } else {
        struct default_class d = {0};
        admit_each(c, c->api->res.priorities, STR_NULL, find_default, &d);
        class = d.doc;
        if (class)
            json_set_str(c->pool, spec, STR("priorityClassName"), json_str_at(class, "metadata", "name", NULL));
    }
    int64_t value = json_get_int(class, "value", 0), given = json_get_int(spec, "priority", value);
    struct str policy = json_get_str(class, "preemptionPolicy");
    if (str_empty(policy))
        policy = STR("PreemptLowerPriority");
    if (given != value)
        return admit_forbid(c, e,
            "the integer value of priority (%" PRId64 ") must not be provided in pod spec; priority admission controller computed %" PRId64
            " from the given PriorityClass name",
            given, value);
    struct str said = json_get_str(spec, "preemptionPolicy");
    if (!str_empty(said) && !str_eq(said, policy))
        return admit_forbid(c, e,
            "the string value of PreemptionPolicy (%.*s) must not be provided in pod spec; priority admission controller computed %.*s "
            "from the given PriorityClass name",
            STR_ARG(said), STR_ARG(policy));
    json_set_int(c->pool, spec, STR("priority"), value);
    json_set_str(c->pool, spec, STR("preemptionPolicy"), policy);
    return 0;
}

/* ---- tolerations ---- */

static bool tolerates(const struct json *list, const char *key)
{
    json_for (list, t) {
        struct str k = json_get_str(t, "key"), effect = json_get_str(t, "effect");
        if ((str_empty(k) || str_eqz(k, key)) && (str_empty(effect) || str_eqz(effect, "NoExecute")))
            return true;
    }
    return false;
}

int admit_tolerations(struct call *c, struct err **e)
{
    static const char *const keys[] = {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"};
    (void)e;
    if (!str_empty(c->ri.sub))
        return 0;
    struct json *spec = json_put_obj(c->pool, c->w.doc, STR("spec"));
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (tolerates(json_get(spec, STR("tolerations")), keys[i]))
            continue;
        struct json *t = json_append(json_put_arr(c->pool, spec, STR("tolerations")), json_obj(c->pool));
        json_set_str(c->pool, t, STR("key"), str_of(keys[i]));
        json_set_str(c->pool, t, STR("operator"), STR("Exists"));
        json_set_str(c->pool, t, STR("effect"), STR("NoExecute"));
        json_set_int(c->pool, t, STR("tolerationSeconds"), 300);
    }
    return 0;
}

/* ---- runtime class ---- */

static int take_over(struct call *c, struct json *spec, const char *key, const struct json *want, struct err **e)
{
    const struct json *have = json_get(spec, str_of(key));
    if (!want)
        return 0;
    if (have && !json_equal(have, want))
        return admit_forbid(c, e, "pod rejected: Pod's %s doesn't match RuntimeClass's defined %s", key, key);
    if (!have)
        json_set(c->pool, spec, str_of(key), json_clone(c->pool, want));
    return 0;
}

int admit_pod_runtime_class(struct call *c, struct err **e)
{
    struct json *spec = json_put_obj(c->pool, c->w.doc, STR("spec"));
    struct str name = json_get_str(spec, "runtimeClassName");
    if (!str_empty(c->ri.sub) || str_empty(name))
        return 0;
    const struct json *rc = admit_lookup(c, c->api->res.runtime_classes, STR_NULL, name);
    if (!rc)
        return admit_forbid(c, e, "pod rejected: RuntimeClass \"%.*s\" not found", STR_ARG(name));
    if (take_over(c, spec, "overhead", json_path(rc, "overhead", "podFixed", NULL), e) < 0)
        return -(*e)->code;
    const struct json *sched = json_get(rc, STR("scheduling"));
    json_for (json_get(sched, STR("nodeSelector")), it) {
        struct json *sel = json_put_obj(c->pool, spec, STR("nodeSelector"));
        const struct json *had = json_get(sel, json_key(it));
        if (had && !json_equal(had, it))
            return admit_forbid(
                c, e, "conflict: RuntimeClass.scheduling.nodeSelector and Pod.spec.nodeSelector differ in %.*s", STR_ARG(json_key(it)));
        json_set(c->pool, sel, json_key(it), json_clone(c->pool, it));
    }
    json_for (json_get(sched, STR("tolerations")), it)
        json_append(json_put_arr(c->pool, spec, STR("tolerations")), json_clone(c->pool, it));
    return 0;
}
