#include <stdio.h>

#include "schema/check.h"
#include "schema/ferr.h"
#include "schema/structural.h"
#include "schema/selector.h"

static bool empty(const struct json *v)
{
    return !v || v->type == JSON_NULL || ((v->type == JSON_STR || v->type == JSON_ARR) && v->n == 0);
}

static bool known(const struct schema_field *f, struct str s)
{
    for (uint8_t i = 0; i < f->nenums; i++)
        if (str_eq(f->enums[i], s))
            return true;
    return f->nenums == 0 || f->flags & SCH_OPEN;
}

static const char *grammar(struct str format, struct str s)
{
    static const struct {
        const char *name;
        const char *(*fn)(struct str);
    } rows[] = {{"dns1123-label", name_dns1123_label}, {"dns1123-subdomain", name_dns1123_subdomain}, {"dns1035-label", name_dns1035_label},
        {"path-segment", name_path_segment}, {"qualified-name", name_qualified}, {"label-value", name_label_value}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_eqz(format, rows[i].name))
            return rows[i].fn(s);
    return NULL;
}

static void check_number(const struct schema_check *c, const struct json *v, const struct fpath *at, struct err **e)
{
    char text[64];
    double d = v->type == JSON_INT ? (double)v->i : v->d;
    if (c->has & CHECK_MIN && d < c->min) {
        snprintf(text, sizeof(text), "must be greater than or equal to %.15g", c->min);
        ferr_invalid(e, at, v, text);
    } else if (c->has & CHECK_MAX && d > c->max) {
        snprintf(text, sizeof(text), "must be less than or equal to %.15g", c->max);
        ferr_invalid(e, at, v, text);
    }
}

static void check(const struct schema_check *c, const struct json *v, const struct fpath *at, struct err **e)
{
    if (v->type == JSON_INT || v->type == JSON_DOUBLE)
        check_number(c, v, at, e);
    if (v->type == JSON_STR && c->has & CHECK_MAX_LEN && (int64_t)v->n > c->max_len)
        ferr_too_long(e, at, (int)c->max_len);
    if (v->type == JSON_ARR && c->has & CHECK_MAX_ITEMS && (int64_t)v->n > c->max_items)
        ferr_too_many(e, at, v->n, (int)c->max_items);
    const char *why = v->type == JSON_STR && v->n && c->has & CHECK_FORMAT ? grammar(c->format, json_as_str(v)) : NULL;
    if (why)
        ferr_invalid(e, at, v, why);
}

static void object(
    const struct schema_type *t, const struct json *doc, const struct json *old, const struct fpath *at, bool status, struct err **e);

static void items(const struct schema_field *f, const struct json *v, const struct fpath *at, bool status, struct err **e)
{
    const struct schema_field *item = f->elem ? f->elem : f;
    uint8_t kind = f->elem ? item->kind : f->item;
    size_t i = 0;
    json_for (v, x) {
        struct fpath here = v->type == JSON_ARR ? fpath_at(at, i++) : fpath_key(at, json_key(x));
        if (kind == SCH_OBJECT && item->ref && x->type == JSON_OBJ)
            object(item->ref, x, NULL, &here, status, e);
        else if (kind == SCH_STRING && x->type == JSON_STR && !status && !known(item, json_as_str(x)))
            ferr_not_supported(e, &here, json_as_str(x), item->enums, item->nenums);
        else if (f->elem && (kind == SCH_ARRAY || kind == SCH_MAP))
            items(item, x, &here, status, e);
    }
}

static void field(
    const struct schema_field *f, const struct json *v, const struct json *old, const struct fpath *at, bool status, struct err **e)
{
    if (f->flags & SCH_REQUIRED && !status && empty(v)) {
        ferr_required(e, at, "");
        return;
    }
    if (f->flags & SCH_IMMUTABLE && old && !empty(old) && !json_equal(v, old))
        ferr_invalid(e, at, v, "field is immutable");
    if (!v || v->type == JSON_NULL)
        return;
    if (f->check)
        check(f->check, v, at, e);
    if (f->kind == SCH_STRING && v->type == JSON_STR && v->n && !status && !known(f, json_as_str(v)))
        ferr_not_supported(e, at, json_as_str(v), f->enums, f->nenums);
    else if (f->kind == SCH_OBJECT && f->ref && v->type == JSON_OBJ)
        object(f->ref, v, old, at, status, e);
    else if (f->kind == SCH_ARRAY || f->kind == SCH_MAP)
        items(f, v, at, status, e);
}

/* Required fields and enums count in what people write, not in status. */
static void object(
    const struct schema_type *t, const struct json *doc, const struct json *old, const struct fpath *at, bool status, struct err **e)
{
    for (uint16_t i = 0; i < t->nfields; i++) {
        const struct schema_field *f = &t->fields[i];
        if (!(f->flags & (SCH_REQUIRED | SCH_IMMUTABLE)) && !f->check && !f->nenums && !f->ref && !f->elem)
            continue;
        struct fpath here = fpath_name(at, f->name);
        field(f, json_get(doc, f->name), json_get(old, f->name), &here, status || (!at && str_eq(f->name, STR("status"))), e);
    }
}

int schema_validate(const struct schema_type *t, struct pool *p, const struct json *doc, const struct json *old, struct err **e)
{
    struct err *found = NULL;
    if (t->cr)
        cr_validate(t, p, doc, old, &found);
    else
        object(t, doc, old, NULL, false, &found);
    if (!found)
        return 0;
    if (!e) {
        err_free(found);
    } else if (!*e) {
        *e = found;
    } else {
        for (size_t i = 0; i < found->ncauses; i++)
            err_cause(e, found->causes[i].reason, str_of(found->causes[i].field), "%s", found->causes[i].message);
        err_free(found);
    }
    return -ERR_INVALID;
}
