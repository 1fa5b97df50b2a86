#include "kinds/podspec.h"

#include "schema/quantity.h"
#include "schema/selector.h"

bool podspec_is_sidecar(const struct json *container)
{
    return str_eqz(json_get_str(container, "restartPolicy"), "Always");
}

/* The tag decides: none or latest means Always. A digest without a tag has none to be "latest". */
static bool is_latest(struct str image)
{
    ssize_t at = str_chr(image, '@'), slash, colon;
    bool digest = at >= 0;
    if (digest)
        image = str_sub(image, 0, (size_t)at);
    slash = str_rchr(image, '/');
    colon = str_rchr(image, ':');
    if (colon > slash)
        return str_eqz(str_sub(image, (size_t)colon + 1, image.n), "latest");
    return !digest;
}

static void default_containers(struct pool *p, struct json *list)
{
    json_for (list, c)
        if (c->type == JSON_OBJ && !json_get_str(c, "imagePullPolicy").n)
            json_set_str(p, c, STR("imagePullPolicy"), is_latest(json_get_str(c, "image")) ? STR("Always") : STR("IfNotPresent"));
}

void podspec_default(struct pool *p, struct json *spec)
{
    static const char *const lists[] = {"containers", "initContainers", "ephemeralContainers"};
    if (!json_is(spec, JSON_OBJ))
        return;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        default_containers(p, json_get(spec, str_of(lists[i])));
    /* serviceAccount is the old name of serviceAccountName; both are always written */
    struct str name = json_get_str(spec, "serviceAccountName"), old = json_get_str(spec, "serviceAccount");
    if (name.n || old.n) {
        json_set_str(p, spec, STR("serviceAccountName"), name.n ? name : old);
        json_set_str(p, spec, STR("serviceAccount"), name.n ? name : old);
    }
    json_for (json_get(spec, STR("volumes")), v) {
        struct json *image = json_get(v, STR("image"));
        if (v->type == JSON_OBJ && (v->n == 0 || (v->n == 1 && json_get(v, STR("name")))))
            json_set(p, v, STR("emptyDir"), json_obj(p));
        if (json_is(image, JSON_OBJ) && !json_get_str(image, "pullPolicy").n)
            json_set_str(p, image, STR("pullPolicy"), is_latest(json_get_str(image, "reference")) ? STR("Always") : STR("IfNotPresent"));
    }
}

static int64_t amount(const struct json *resources, const char *which, const char *name, bool milli)
{
    struct quantity q;
    struct str s = json_str_at(resources, which, name, NULL);
    if (!s.n || quantity_parse(s, &q, NULL) < 0)
        return 0;
    return milli ? quantity_milli(q) : quantity_value(q);
}

static struct pod_requests of_container(const struct json *c)
{
    const struct json *r = json_get(c, STR("resources"));
    return (struct pod_requests){
        amount(r, "requests", "cpu", true), amount(r, "requests", "memory", false), amount(r, "requests", "ephemeral-storage", false)};
}

static int64_t sum(int64_t a, int64_t b)
{
    int64_t r;
    return __builtin_add_overflow(a, b, &r) ? INT64_MAX : r;
}

static struct pod_requests plus(struct pod_requests a, struct pod_requests b)
{
    return (struct pod_requests){sum(a.cpu_milli, b.cpu_milli), sum(a.memory, b.memory), sum(a.storage, b.storage)};
}

static struct pod_requests peak(struct pod_requests a, struct pod_requests b)
{
    return (struct pod_requests){MAX(a.cpu_milli, b.cpu_milli), MAX(a.memory, b.memory), MAX(a.storage, b.storage)};
}

struct pod_requests podspec_requests(const struct json *spec)
{
    struct pod_requests run = {0}, sidecars = {0}, init = {0};
    const struct json *pod_level = json_path(spec, "resources", "requests", NULL), *overhead = json_get(spec, STR("overhead"));
    json_for (json_get(spec, STR("containers")), c)
        run = plus(run, of_container(c));
    json_for (json_get(spec, STR("initContainers")), c) {
        struct pod_requests r = of_container(c);
        if (podspec_is_sidecar(c)) { /* runs from here on, also beside later init containers */
            sidecars = plus(sidecars, r);
            r = sidecars;
        } else {
            r = plus(r, sidecars);
        }
        init = peak(init, r);
    }
    run = peak(plus(run, sidecars), init);
    const struct json *resources = json_get(spec, STR("resources"));
    if (json_get(pod_level, STR("cpu")))
        run.cpu_milli = amount(resources, "requests", "cpu", true);
    if (json_get(pod_level, STR("memory")))
        run.memory = amount(resources, "requests", "memory", false);
    if (overhead)
        run = plus(run, (struct pod_requests){amount(spec, "overhead", "cpu", true), amount(spec, "overhead", "memory", false),
                            amount(spec, "overhead", "ephemeral-storage", false)});
    return run;
}

const char *podspec_qos_name(uint8_t qos)
{
    return qos == 0 ? "BestEffort" : qos == 1 ? "Burstable" : "Guaranteed";
}

/* Guaranteed: cpu and memory limits everywhere, and requests equal to them (absent requests are filled from limits beforehand). */
static void qos_of(const struct json *resources, bool *any, bool *guaranteed)
{
    static const char *const names[] = {"cpu", "memory"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        bool milli = i == 0;
        int64_t request = amount(resources, "requests", names[i], milli), limit = amount(resources, "limits", names[i], milli);
        *any |= request || limit;
        bool same = limit && (request == limit || !json_path(resources, "requests", names[i], NULL));
        *guaranteed &= same;
    }
}

uint8_t podspec_qos(const struct json *spec)
{
    static const char *const lists[] = {"containers", "initContainers"};
    const struct json *pod_level = json_get(spec, STR("resources"));
    bool any = false, guaranteed = true;
    if (json_count(pod_level)) {
        qos_of(pod_level, &any, &guaranteed);
    } else {
        for (size_t i = 0; i < ARRAY_LEN(lists); i++)
            json_for (json_get(spec, str_of(lists[i])), c)
                qos_of(json_get(c, STR("resources")), &any, &guaranteed);
    }
    return !any ? 0 : guaranteed ? 2 : 1;
}

static void ref(struct obj_index *out, const char *kind, struct str ns, struct str name)
{
    if (name.n)
        obj_index_add(out, "ref", pool_printf(out->pool, "%s/%.*s/%.*s", kind, STR_ARG(ns), STR_ARG(name)));
}

static void container_refs(struct str ns, const struct json *list, struct obj_index *out)
{
    json_for (list, c) {
        json_for (json_get(c, STR("env")), v) {
            ref(out, "ConfigMap", ns, json_str_at(v, "valueFrom", "configMapKeyRef", "name", NULL));
            ref(out, "Secret", ns, json_str_at(v, "valueFrom", "secretKeyRef", "name", NULL));
        }
        json_for (json_get(c, STR("envFrom")), v) {
            ref(out, "ConfigMap", ns, json_str_at(v, "configMapRef", "name", NULL));
            ref(out, "Secret", ns, json_str_at(v, "secretRef", "name", NULL));
        }
    }
}

void podspec_refs(struct str ns, struct str pod, const struct json *spec, struct obj_index *out)
{
    static const char *const lists[] = {"containers", "initContainers", "ephemeralContainers"};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        container_refs(ns, json_get(spec, str_of(lists[i])), out);
    json_for (json_get(spec, STR("volumes")), v) {
        ref(out, "ConfigMap", ns, json_str_at(v, "configMap", "name", NULL));
        ref(out, "Secret", ns, json_str_at(v, "secret", "secretName", NULL));
        ref(out, "PersistentVolumeClaim", ns, json_str_at(v, "persistentVolumeClaim", "claimName", NULL));
        if (json_get(v, STR("ephemeral")))
            ref(out, "PersistentVolumeClaim", ns, pool_printf(out->pool, "%.*s-%.*s", STR_ARG(pod), STR_ARG(json_get_str(v, "name"))));
        ref(out, "Secret", ns, json_get_str(json_path(v, "csi", "nodePublishSecretRef", NULL), "name"));
        json_for (json_path(v, "projected", "sources", NULL), s) {
            ref(out, "ConfigMap", ns, json_str_at(s, "configMap", "name", NULL));
            ref(out, "Secret", ns, json_str_at(s, "secret", "name", NULL));
        }
    }
    json_for (json_get(spec, STR("imagePullSecrets")), s)
        ref(out, "Secret", ns, json_get_str(s, "name"));
}
