#include "api/call.h"

static void causes_add(struct pool *p, struct json *details, const struct err *err)
{
    if (!err->ncauses)
        return;
    struct json *arr = json_put_arr(p, details, STR("causes"));
    for (size_t i = 0; i < err->ncauses; i++) {
        const struct err_cause *k = &err->causes[i];
        struct json *row = json_append(arr, json_obj(p));
        if (k->reason && *k->reason)
            json_set_str(p, row, STR("reason"), str_of(k->reason));
        if (k->message && *k->message)
            json_set_str(p, row, STR("message"), str_of(k->message));
        if (k->field && *k->field)
            json_set_str(p, row, STR("field"), str_of(k->field));
    }
}

static void set_unless_empty(struct pool *p, struct json *o, const char *key, struct str v)
{
    if (!str_empty(v))
        json_set_str(p, o, str_of(key), v);
}

/* Which errors speak of an object: only they carry its name and kind. */
static bool about_object(enum err_code code)
{
    switch (code) {
    case ERR_FORBIDDEN:
    case ERR_NOT_FOUND:
    case ERR_EXISTS:
    case ERR_CONFLICT:
    case ERR_INVALID:
    case ERR_GONE:
    case ERR_METHOD:
        return true;
    default:
        return false;
    }
}

static struct json *details_of(struct call *c)
{
    struct pool *p = c->pool;
    struct json *d = json_obj(p);
    if (c->err_other) {
        set_unless_empty(p, d, "name", c->err_name);
        set_unless_empty(p, d, "group", c->err_group);
        set_unless_empty(p, d, "kind", c->err_kind);
    } else if (c->res && about_object(c->err->code)) {
        set_unless_empty(p, d, "name", c->ri.name);
        set_unless_empty(p, d, "group", c->ri.group);
        set_unless_empty(p, d, "kind", c->err->code == ERR_INVALID ? c->res->kind : c->ri.res);
    } else if (c->ri.resource && c->err->code == ERR_FORBIDDEN) {
        set_unless_empty(p, d, "name", c->ri.name);
        set_unless_empty(p, d, "group", c->ri.group);
        set_unless_empty(p, d, "kind", c->ri.res);
    }
    causes_add(p, d, c->err);
    if (c->err->retry_after_s > 0)
        json_set_int(p, d, STR("retryAfterSeconds"), c->err->retry_after_s);
    return d;
}

static struct json *status_begin(struct pool *p, bool ok)
{
    struct json *s = json_obj(p);
    json_set_str(p, s, STR("kind"), STR("Status"));
    json_set_str(p, s, STR("apiVersion"), STR("v1"));
    json_set(p, s, STR("metadata"), json_obj(p));
    json_set_str(p, s, STR("status"), ok ? STR("Success") : STR("Failure"));
    return s;
}

static void status_failure(struct pool *p, struct json *s, const struct err *err, struct json *details)
{
    json_set_str(p, s, STR("message"), str_of(err_msg(err)));
    const char *reason = err_reason(err->code);
    if (reason && *reason)
        json_set_str(p, s, STR("reason"), str_of(reason));
    if (details)
        json_set(p, s, STR("details"), details);
    json_set_int(p, s, STR("code"), err_http(err->code));
}

struct json *status_tree(struct call *c)
{
    struct pool *p = c->pool;
    struct json *s = status_begin(p, !c->err);
    if (c->err) {
        bool bare = !c->res && c->err->code == ERR_UNAUTHORIZED;
        if (c->err->code == ERR_EXPIRED && !str_empty(c->expired_continue))
            json_set_str(p, json_get(s, STR("metadata")), STR("continue"), c->expired_continue);
        status_failure(p, s, c->err, bare ? NULL : details_of(c));
        return s;
    }
    if (!c->success) {
        json_set_int(p, s, STR("code"), c->code);
        return s;
    }
    struct json *d = json_obj(p);
    set_unless_empty(p, d, "name", c->err_other ? c->err_name : c->ri.name);
    set_unless_empty(p, d, "group", c->ri.group);
    set_unless_empty(p, d, "kind", c->ri.res);
    if (c->w.old_obj)
        set_unless_empty(p, d, "uid", c->w.old_obj->uid);
    json_set(p, s, STR("details"), d);
    return s;
}

struct str status_json(struct pool *p, const struct err *err)
{
    struct json *s = status_begin(p, false);
    status_failure(p, s, err, NULL);
    return json_to_pool(p, s);
}
