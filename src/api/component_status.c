#include "api/impl.h"

/* componentstatuses: deprecated since 1.19, still asked for by people and dashboards. What Kubernetes runs as processes of their own are
 * threads here: they are healthy as long as somebody answers. */

static const char *const names[] = {"controller-manager", "etcd-0", "scheduler"};

static struct json *component(struct call *c, const char *name)
{
    struct store_stats s;
    bool store = strcmp(name, "etcd-0") == 0;
    store_stats(c->api->store, &s);
    bool bad = store && s.full;
    struct pool *p = c->pool;
    struct json *o = json_obj(p);
    json_set_str(p, o, STR("kind"), STR("ComponentStatus"));
    json_set_str(p, o, STR("apiVersion"), STR("v1"));
    struct json *m = json_put_obj(p, o, STR("metadata"));
    json_set_str(p, m, STR("name"), str_of(name));
    json_set(p, m, STR("creationTimestamp"), json_null(p));
    struct json *row = json_append(json_put_arr(p, o, STR("conditions")), json_obj(p));
    json_set_str(p, row, STR("type"), STR("Healthy"));
    json_set_str(p, row, STR("status"), bad ? STR("False") : STR("True"));
    json_set_str(p, row, STR("message"), bad ? STR("the disk is full") : STR("ok"));
    return o;
}

static void shaped(struct call *c, struct json *list, struct json **docs, size_t n)
{
    struct buf b = BUF_INIT;
    if (c->accept.shape != SHAPE_TABLE) {
        call_reply_tree(c, 200, list ? list : docs[0]);
        return;
    }
    table_begin(c, &b, STR_NULL, STR_NULL, -1, true);
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_putc(&b, ',');
        table_row(c, &b, docs[i], table_include(c));
    }
    buf_puts(&b, "]}\n");
    call_reply_raw(c, 200, "application/json", buf_to_bytes(&b));
}

int component_get(struct call *c, struct err **e)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eqz(c->ri.name, names[i])) {
            struct json *doc = component(c, names[i]);
            shaped(c, NULL, &doc, 1);
            return 0;
        }
    return call_not_found(c, c->ri.name, e);
}

int component_list(struct call *c, struct err **e)
{
    (void)e;
    struct pool *p = c->pool;
    struct json *docs[ARRAY_LEN(names)], *list = json_obj(p), *items;
    json_set_str(p, list, STR("kind"), STR("ComponentStatusList"));
    json_set_str(p, list, STR("apiVersion"), STR("v1"));
    json_set(p, list, STR("metadata"), json_obj(p));
    items = json_put_arr(p, list, STR("items"));
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        json_append(items, docs[i] = component(c, names[i]));
    shaped(c, list, docs, ARRAY_LEN(names));
    return 0;
}
