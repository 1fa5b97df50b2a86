#include "kinds/meta.h"

#include <stdio.h>

#include "kinds/podspec.h"
#include "schema/ferr.h"
#include "schema/selector.h"

#define ANNOTATIONS_MAX (256 * 1024)

static void annotations(const struct json *map, const struct fpath *at, struct err **e)
{
    size_t total = 0;
    json_for (map, m) {
        char lower[320];
        struct str k = json_key(m);
        total += k.n + m->n;
        for (size_t i = 0; i < MIN(k.n, sizeof(lower)); i++) /* annotation keys may have upper case in their prefix */
            lower[i] = (char)(k.p[i] >= 'A' && k.p[i] <= 'Z' ? k.p[i] + 32 : k.p[i]);
        const char *why = name_qualified(k.n <= sizeof(lower) ? str_make(lower, k.n) : k);
        if (why)
            ferr_invalid_str(e, at, k, why);
    }
    if (total > ANNOTATIONS_MAX)
        ferr_too_long(e, at, ANNOTATIONS_MAX);
}

static void owners(const struct json *list, const struct fpath *at, struct err **e)
{
    static const struct {
        const char *name, *why;
    } needs[] = {{"apiVersion", "version must not be empty"}, {"kind", "must not be empty"}, {"name", "must not be empty"},
        {"uid", "must not be empty"}};
    struct str controller = STR_NULL;
    size_t i = 0;
    json_for (list, o) {
        struct fpath here = fpath_at(at, i++);
        for (size_t k = 0; k < ARRAY_LEN(needs); k++) {
            struct fpath f = fpath_name(&here, str_of(needs[k].name));
            if (!json_get_str(o, needs[k].name).n)
                ferr_invalid_str(e, &f, STR(""), needs[k].why);
        }
        if (str_eqz(json_get_str(o, "apiVersion"), "v1") && str_eqz(json_get_str(o, "kind"), "Event"))
            ferr_invalid(e, &here, o, "/v1, Kind=Event is disallowed from being an owner");
        if (!json_get_bool(o, "controller", false))
            continue;
        struct str name = json_get_str(o, "name");
        char why[640];
        snprintf(why, sizeof(why), "Only one reference can have Controller set to true. Found \"true\" in references for %.*s and %.*s",
            (int)MIN(controller.n, 253u), controller.p ? controller.p : "", (int)MIN(name.n, 253u), name.p ? name.p : "");
        if (controller.p)
            ferr_invalid(e, at, list, why);
        controller = name.p ? name : STR("");
    }
}

static void finalizers(const struct json *list, const struct json *old, bool deleting, const struct fpath *at, struct err **e)
{
    bool orphan = false, foreground = false;
    struct buf fresh = BUF_INIT;
    size_t i = 0;
    json_for (list, f) {
        struct fpath here = fpath_at(at, i++);
        struct str s = json_as_str(f);
        const char *why = name_qualified(s);
        orphan |= str_eqz(s, "orphan");
        foreground |= str_eqz(s, "foregroundDeletion");
        if (why)
            ferr_invalid_str(e, &here, s, why);
        bool had = false;
        json_for (old, o)
            had |= str_eq(json_as_str(o), s);
        if (!had) {
            buf_puts(&fresh, fresh.n ? ", " : "");
            go_quote(&fresh, s);
        }
    }
    if (orphan && foreground)
        ferr_invalid(e, at, list, "finalizer orphan and foregroundDeletion cannot be both set");
    if (deleting && fresh.n) {
        struct buf why = BUF_INIT;
        buf_printf(&why, "no new finalizers can be added if the object is being deleted, found new finalizers []string{%s}", fresh.p);
        ferr_forbidden(e, at, why.p);
        buf_clear(&why);
    }
    buf_clear(&fresh);
}

static void names(struct kind_ctx *c, const struct json *meta, const struct fpath *at, struct err **e)
{
    const char *(*grammar)(struct str) = c->res->hooks && c->res->hooks->name ? c->res->hooks->name : name_dns1123_subdomain;
    struct fpath name_at = FPATH(at, "name"), gen_at = FPATH(at, "generateName"), ns_at = FPATH(at, "namespace");
    struct str name = json_get_str(meta, "name"), gen = json_get_str(meta, "generateName"), ns = json_get_str(meta, "namespace");
    const char *why;
    if (gen.n) { /* a trailing dash is fine: something follows it */
        struct str masked = gen.n > 1 && gen.p[gen.n - 1] == '-' ? pool_printf(c->pool, "%.*sa", (int)gen.n - 2, gen.p) : gen;
        if ((why = grammar(masked)))
            ferr_invalid_str(e, &gen_at, gen, why);
    }
    if (!name.n)
        ferr_required(e, &name_at, "name or generateName is required");
    else if ((why = grammar(name)))
        ferr_invalid_str(e, &name_at, name, why);
    if (!c->res->namespaced && ns.n)
        ferr_forbidden(e, &ns_at, "not allowed on this type");
    else if (c->res->namespaced && !ns.n)
        ferr_required(e, &ns_at, "");
    else if (ns.n && (why = name_dns1123_label(ns)))
        ferr_invalid_str(e, &ns_at, ns, why);
}

static void immutable(const struct json *meta, const struct json *was, const struct fpath *at, struct err **e)
{
    static const char *const members[] = {
        "name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"};
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        struct fpath here = fpath_name(at, str_of(members[i]));
        const struct json *a = json_get(meta, str_of(members[i])), *b = json_get(was, str_of(members[i]));
        bool none = (!a || a->type == JSON_NULL) && (!b || b->type == JSON_NULL);
        if (!none && !(a && b && json_equal(a, b)))
            ferr_invalid(e, &here, a, "field is immutable");
    }
    struct fpath gen = FPATH(at, "generation");
    int64_t g = json_get_int(meta, "generation", 0);
    if (g < json_get_int(was, "generation", 0))
        ferr_invalid_int(e, &gen, g, "must not be decremented");
}

void meta_validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    const struct json *meta = json_get(doc, STR("metadata")), *was = json_get(old, STR("metadata"));
    struct fpath at = FPATH(NULL, "metadata"), labels = FPATH(&at, "labels"), ann = FPATH(&at, "annotations"),
                 own = FPATH(&at, "ownerReferences"), fin = FPATH(&at, "finalizers"), gen = FPATH(&at, "generation");
    if (old)
        immutable(meta, was, &at, e);
    else
        names(c, meta, &at, e);
    if (json_get_int(meta, "generation", 0) < 0)
        ferr_invalid_int(e, &gen, json_get_int(meta, "generation", 0), "must be greater than or equal to 0");
    labels_validate(json_get(meta, STR("labels")), &labels, e);
    annotations(json_get(meta, STR("annotations")), &ann, e);
    owners(json_get(meta, STR("ownerReferences")), &own, e);
    const struct json *deleted = json_get(was, STR("deletionTimestamp"));
    finalizers(json_get(meta, STR("finalizers")), json_get(was, STR("finalizers")), json_is(deleted, JSON_STR), &fin, e);
}

void meta_keep(struct kind_ctx *c, struct json *doc, const struct json *old)
{
    static const char *const decided[] = {
        "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "namespace", "name"};
    struct json *meta = json_put_obj(c->pool, doc, STR("metadata"));
    const struct json *was = json_get(old, STR("metadata"));
    for (size_t i = 0; i < ARRAY_LEN(decided); i++) {
        struct str k = str_of(decided[i]);
        const struct json *v = json_get(meta, k), *o = json_get(was, k);
        if ((!v || v->type == JSON_NULL) && o && o->type != JSON_NULL)
            json_set(c->pool, meta, k, json_clone(c->pool, o));
    }
    json_del(meta, STR("selfLink"));
}
