#include "kinds/cell.h"
#include "kinds/rows.h"
#include "schema/apply.h"

/* The two Event APIs are one thing stored as core/v1. */
static const struct {
    const char *core, *events;
} renamed[] = {{"involvedObject", "regarding"}, {"message", "note"}, {"firstTimestamp", "deprecatedFirstTimestamp"},
    {"lastTimestamp", "deprecatedLastTimestamp"}, {"count", "deprecatedCount"}, {"source", "deprecatedSource"},
    {"reportingComponent", "reportingController"}};

static void rename_member(struct pool *p, struct json *doc, const char *from, const char *to)
{
    struct json *v = json_get(doc, str_of(from));
    if (!v)
        return;
    json_set(p, doc, str_of(to), json_clone(p, v));
    json_del(doc, str_of(from));
}

static int convert(struct kind_ctx *c, struct json *doc, struct str to, struct err **e)
{
    bool to_events = str_starts(to, STR("events.k8s.io/"));
    bool is_events = str_starts(json_get_str(doc, "apiVersion"), STR("events.k8s.io/"));
    (void)e;
    if (to_events != is_events)
        for (size_t i = 0; i < ARRAY_LEN(renamed); i++)
            rename_member(c->pool, doc, to_events ? renamed[i].core : renamed[i].events, to_events ? renamed[i].events : renamed[i].core);
    json_set_str(c->pool, doc, STR("apiVersion"), to_events ? STR("events.k8s.io/v1") : STR("v1"));
    return 0;
}

static struct str either(const struct json *doc, const char *a, const char *b)
{
    struct str s = json_get_str(doc, a);
    return s.n ? s : json_get_str(doc, b);
}

static const struct json *either_obj(const struct json *doc, const char *a, const char *b)
{
    const struct json *v = json_get(doc, str_of(a));
    return v ? v : json_get(doc, str_of(b));
}

static struct str lower(struct pool *p, struct str s)
{
    char *z = pool_strz(p, s);
    for (size_t i = 0; i < s.n; i++)
        if (z[i] >= 'A' && z[i] <= 'Z')
            z[i] = (char)(z[i] + 32);
    return str_make(z, s.n);
}

static void cells(struct kind_ctx *c, const struct json *doc, struct json *row)
{
    const struct json *object = either_obj(doc, "involvedObject", "regarding"), *source = either_obj(doc, "source", "deprecatedSource"),
                      *series = json_get(doc, STR("series"));
    struct str first = either(doc, "firstTimestamp", "deprecatedFirstTimestamp"),
               last = either(doc, "lastTimestamp", "deprecatedLastTimestamp");
    if (!first.n)
        first = json_get_str(doc, "eventTime");
    int64_t count = json_get_int(doc, "count", json_get_int(doc, "deprecatedCount", 0));
    if (!last.n)
        last = first;
    if (json_is(series, JSON_OBJ)) {
        last = json_get_str(series, "lastObservedTime");
        count = json_get_int(series, "count", 0);
    } else if (!count) {
        count = 1;
    }
    struct str name = json_get_str(object, "name"), kind = lower(c->pool, json_get_str(object, "kind"));
    struct str component = json_get_str(source, "component"), host = json_get_str(source, "host");
    if (!component.n)
        component = either(doc, "reportingComponent", "reportingController");
    if (!host.n)
        host = json_get_str(doc, "reportingInstance");
    cell_add_age(c, row, last);
    cell_add_str(c, row, json_get_str(doc, "type"));
    cell_add_str(c, row, json_get_str(doc, "reason"));
    cell_add_str(c, row, name.n ? pool_printf(c->pool, "%.*s/%.*s", STR_ARG(kind), STR_ARG(name)) : kind);
    cell_add_str(c, row, json_get_str(object, "fieldPath"));
    cell_add_str(c, row, host.n ? pool_printf(c->pool, "%.*s, %.*s", STR_ARG(component), STR_ARG(host)) : component);
    cell_add_str(c, row, str_trim(either(doc, "message", "note")));
    cell_add_age(c, row, first);
    cell_add_int(c, row, count);
    cell_add_str(c, row, json_str_at(doc, "metadata", "name", NULL));
}

/* Field selectors in the words of events.k8s.io about what is stored as core/v1; and the source, which newer reporters give as their
 * controller's name. */
static bool field(const struct json *doc, struct str path, struct str *value)
{
    if (str_starts(path, STR("regarding.")))
        *value = json_as_str(json_get(json_get(doc, STR("involvedObject")), str_sub(path, 10, path.n)));
    else if (str_eqz(path, "reportingController"))
        *value = json_get_str(doc, "reportingComponent");
    else if (str_eqz(path, "source"))
        *value = str_empty(json_str_at(doc, "source", "component", NULL)) ? json_get_str(doc, "reportingComponent")
                                                                           : json_str_at(doc, "source", "component", NULL);
    else
        return false;
    if (!value->p)
        *value = STR("");
    return true;
}

static const char *const moved[ARRAY_LEN(renamed)][2] = {{"involvedObject", "regarding"}, {"message", "note"},
    {"firstTimestamp", "deprecatedFirstTimestamp"}, {"lastTimestamp", "deprecatedLastTimestamp"}, {"count", "deprecatedCount"},
    {"source", "deprecatedSource"}, {"reportingComponent", "reportingController"}};
static const struct field_moves moves = {{"v1", 2}, {"events.k8s.io/v1", 16}, moved, ARRAY_LEN(moved)};

const struct kind_hooks kind_event_core = {KIND("", "Event"), .convert = convert, .cells = cells, .field = field, .moves = &moves};
const struct kind_hooks kind_event_events = {
    KIND("events.k8s.io", "Event"), .convert = convert, .cells = cells, .field = field, .moves = &moves};
