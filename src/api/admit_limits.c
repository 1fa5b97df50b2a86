#include "api/admit.h"
#include "schema/quantity.h"

/* LimitRanger: defaults for containers that name no requests or limits, and the least and most that a container, a pod or a claim may ask
 * for. */

static bool parse(const struct json *v, struct quantity *q)
{
    if (json_is(v, JSON_INT)) {
        *q = (struct quantity){v->i, 0, Q_DECIMAL_SI};
        return true;
    }
    return quantity_parse(json_as_str(v), q, NULL) >= 0;
}

static void fill(struct call *c, struct json *container, const char *list, const struct json *defaults)
{
    if (!json_count(defaults))
        return;
    struct json *res = json_put_obj(c->pool, json_put_obj(c->pool, container, STR("resources")), str_of(list));
    json_for (defaults, it)
        if (!json_get(res, json_key(it)))
            json_set(c->pool, res, json_key(it), json_clone(c->pool, it));
}

static void add_defaults(struct call *c, struct json *pod, const struct json *item)
{
    static const char *const lists[] = {"initContainers", "containers"};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        json_for (json_path(pod, "spec", lists[i], NULL), it) {
            fill(c, it, "limits", json_get(item, STR("default")));
            fill(c, it, "requests", json_get(item, STR("defaultRequest")));
        }
}

static int bound(struct call *c, const struct json *asked, const struct json *limits, const struct json *bounds, bool least,
    const char *what, struct err **e)
{
    json_for (bounds, it) {
        struct quantity limit, have;
        struct str key = json_key(it);
        const struct json *v = json_get(least ? asked : limits, key);
        if (!v && least)
            v = json_get(limits, key);
        if (!parse(it, &limit))
            continue;
        if (!v || !parse(v, &have)) {
            return admit_forbid(c, e, "%s %.*s usage per %s is %.*s.  No %s is specified", least ? "minimum" : "maximum", STR_ARG(key),
                what, STR_ARG(json_as_str(it)), least ? "request" : "limit");
        }
        int cmp = quantity_cmp(have, limit);
        if (least ? cmp < 0 : cmp > 0)
            return admit_forbid(c, e, "%s %.*s usage per %s is %.*s, but %s is %.*s", least ? "minimum" : "maximum", STR_ARG(key), what,
                STR_ARG(json_as_str(it)), least ? "request" : "limit", STR_ARG(json_as_str(v)));
    }
    return 0;
}

static int check(struct call *c, const struct json *resources, const struct json *item, const char *what, struct err **e)
{
    const struct json *req = json_get(resources, STR("requests")), *lim = json_get(resources, STR("limits"));
    if (bound(c, req, lim, json_get(item, STR("min")), true, what, e) < 0)
        return -(*e)->code;
    return bound(c, req, str_eqz(str_of(what), "PersistentVolumeClaim") ? req : lim, json_get(item, STR("max")), false, what, e);
}

/* All containers together, for items of type Pod. */
static struct json *pod_sum(struct call *c, const struct json *pod)
{
    static const char *const kinds[] = {"requests", "limits"};
    struct json *sum = json_obj(c->pool);
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        struct json *out = json_put_obj(c->pool, sum, str_of(kinds[k]));
        json_for (json_path(pod, "spec", "containers", NULL), it)
            json_for (json_path(it, "resources", kinds[k], NULL), r) {
                struct quantity a, b;
                if (!parse(r, &a))
                    continue;
                if (json_get(out, json_key(r)) && parse(json_get(out, json_key(r)), &b))
                    a = quantity_add(b, a);
                struct buf text = BUF_INIT;
                quantity_write(&text, a);
                json_set_str(c->pool, out, json_key(r), buf_str(&text));
                buf_clear(&text);
            }
    }
    return sum;
}

static int apply_item(struct call *c, struct json *doc, const struct json *item, bool defaults, struct err **e)
{
    struct str type = json_get_str(item, "type");
    bool pod = str_eqz(c->ri.res, "pods");
    if (pod && str_eqz(type, "Container")) {
        if (defaults) {
            add_defaults(c, doc, item);
            return 0;
        }
        json_for (json_path(doc, "spec", "containers", NULL), it)
            if (check(c, json_get(it, STR("resources")), item, "Container", e) < 0)
                return -(*e)->code;
    } else if (!defaults && pod && str_eqz(type, "Pod")) {
        return check(c, pod_sum(c, doc), item, "Pod", e);
    } else if (!defaults && !pod && str_eqz(type, "PersistentVolumeClaim")) {
        return check(c, json_path(doc, "spec", "resources", NULL), item, "PersistentVolumeClaim", e);
    }
    return 0;
}

struct ranges {
    struct json *at[32];
    size_t n;
};
static bool gather(void *arg, const struct obj *o, struct json *doc)
{
    struct ranges *r = arg;
    (void)o;
    if (r->n < ARRAY_LEN(r->at))
        r->at[r->n++] = doc;
    return true;
}

int admit_limits(struct call *c, struct err **e)
{
    struct ranges r = {0};
    if (c->w.op == WRITE_UPDATE || !str_empty(c->ri.sub)) /* a running pod's resources change only by resize, which validation watches */
        return 0;
    admit_each(c, c->api->res.limits, c->ri.ns, gather, &r);
    for (int defaults = 1; defaults >= 0; defaults--)
        for (size_t i = 0; i < r.n; i++)
            json_for (json_path(r.at[i], "spec", "limits", NULL), item)
                if (apply_item(c, c->w.doc, item, defaults, e) < 0)
                    return -(*e)->code;
    return 0;
}
