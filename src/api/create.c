#include "api/impl.h"

int verb_create(struct call *c, struct err **e)
{
    struct json *meta = json_put_obj(c->pool, c->doc, STR("metadata"));
    if (c->res->namespaced)
        json_set_str(c->pool, meta, STR("namespace"), c->ri.ns);
    if (c->in && !str_empty(c->in->name) && str_empty(json_get_str(meta, "name")))
        json_set_str(c->pool, meta, STR("name"), c->in->name);
    c->ri.name = json_get_str(meta, "name");
    c->w.doc = c->doc;
    if (encode_to_storage(c, &c->w.doc, e) < 0)
        return -(*e)->code;
    c->w.op = WRITE_CREATE;
    return 0;
}

/* Kinds that a PUT may create (AllowCreateOnUpdate of their strategies). */
static bool put_creates(const struct call *c)
{
    static const char *const names[] = {"roles", "rolebindings", "clusterroles", "clusterrolebindings", "leases", "limitranges", "events",
        "services", "endpoints", "runtimeclasses"};
    for (size_t i = 0; i < ARRAY_LEN(names) && !c->sub; i++)
        if (str_eqz(c->res->resource, names[i]))
            return true;
    return false;
}

int verb_update(struct call *c, struct err **e)
{
    if (write_read_old(c, e) < 0) {
        bool create = (*e)->code == ERR_NOT_FOUND && put_creates(c) &&
                      str_empty(json_str_at(c->doc, "metadata", "resourceVersion", NULL)) &&
                      str_empty(json_str_at(c->doc, "metadata", "uid", NULL));
        if (!create)
            return -(*e)->code;
        err_free(TAKE(*e));
        c->w.doc = json_clone(c->pool, c->doc);
        if (encode_to_storage(c, &c->w.doc, e) < 0)
            return -(*e)->code;
        c->w.op = WRITE_CREATE;
        return 0;
    }
    if (write_expect(c, c->doc, e) < 0)
        return -(*e)->code;
    c->w.doc = c->w.retry ? json_clone(c->pool, c->doc) : c->doc; /* a second try begins with what the client sent */
    if (encode_to_storage(c, &c->w.doc, e) < 0)
        return -(*e)->code;
    c->w.op = WRITE_UPDATE;
    return 0;
}
