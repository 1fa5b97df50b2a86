#include <stdio.h>

#include "base/clock.h"
#include "schema/ferr.h"
#include "schema/quantity.h"
#include "schema/structural.h"

/* One walk over the document beside its type: what Go's decoder would refuse is refused, what it would drop is dropped, and values take the
 * form in which a kube-apiserver writes them (canonical quantities, UTC times). What is unknown is removed and noted. */
enum { MAX_NOTES = 100 };
struct walk {
    struct pool *pool;
    const struct schema_resource *res;
    const struct schema_type *root;
    struct schema_notes *notes;
    struct err **e;
};

static struct str short_type(const struct schema_type *t) /* v1.PodSpec of io.k8s.api.core.v1.PodSpec */
{
    ssize_t dot = str_rchr(t->name, '.');
    if (dot <= 0)
        return t->name;
    ssize_t before = str_rchr(str_sub(t->name, 0, (size_t)dot), '.');
    return str_sub(t->name, (size_t)(before + 1), t->name.n);
}

static const char *const scalar_go[SCH_KINDS] = {
    [SCH_STRING] = "string",
    [SCH_INT32] = "int32",
    [SCH_INT64] = "int64",
    [SCH_BOOL] = "bool",
    [SCH_DOUBLE] = "float64",
    [SCH_BYTES] = "[]uint8",
    [SCH_TIME] = "string",
    [SCH_MICRO_TIME] = "string",
    [SCH_DURATION] = "string",
    [SCH_FIELDS] = "v1.FieldsV1",
    [SCH_ANY] = "runtime.RawExtension",
    [SCH_QUANTITY] = "resource.Quantity",
    [SCH_INT_OR_STRING] = "string",
};

static void go_scalar(struct buf *b, const struct schema_type *owner, const struct schema_field *f, uint8_t kind)
{
    struct str owner_name = short_type(owner);
    ssize_t dot = str_chr(owner_name, '.');
    if (kind == SCH_OBJECT)
        buf_str_add(b, f->ref ? short_type(f->ref) : STR("map[string]interface {}"));
    else if (kind == SCH_STRING && f->enum_name.p)
        buf_printf(b, "%.*s.%.*s", (int)MAX(dot, 0), owner_name.p, STR_ARG(f->enum_name));
    else
        buf_puts(b, scalar_go[kind] ? scalar_go[kind] : "interface {}");
}

static void go_type(struct buf *b, const struct schema_type *owner, const struct schema_field *f)
{
    if (f->kind != SCH_ARRAY && f->kind != SCH_MAP) {
        go_scalar(b, owner, f, f->kind);
        return;
    }
    buf_puts(b, f->kind == SCH_ARRAY ? "[]" : "map[string]");
    if (f->elem)
        go_type(b, owner, f->elem);
    else
        go_scalar(b, owner, f, f->item);
}

/* Go names a field by its path without list indexes and map keys. */
static void go_path(struct buf *b, const struct fpath *p)
{
    if (!p)
        return;
    go_path(b, p->up);
    if (p->index < 0 && !p->key)
        buf_printf(b, "%s%.*s", b->n ? "." : "", STR_ARG(p->name));
}

static int fail(struct walk *w, const char *why, struct str text)
{
    struct str version = w->res ? w->res->version : STR("v1"), kind = w->res ? w->res->kind : short_type(w->root);
    return err_set(w->e, ERR_BAD_REQUEST, "%.*s in version \"%.*s\" cannot be handled as a %.*s: %s%.*s", STR_ARG(kind), STR_ARG(version),
        STR_ARG(kind), why, STR_ARG(text));
}

/* "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32" */
static int mismatch(struct walk *w, const struct schema_type *owner, const struct schema_field *f, const struct fpath *at,
    const struct json *v, bool element)
{
    struct buf b = BUF_INIT;
    buf_printf(&b, "cannot unmarshal %s", json_type_name(v->type));
    if (f && v->type == JSON_DOUBLE && (f->kind == SCH_INT32 || f->kind == SCH_INT64)) {
        buf_putc(&b, ' ');
        json_write(&b, v);
    } else if (f && v->type == JSON_INT && f->kind == SCH_INT32) {
        buf_printf(&b, " %" PRId64, v->i);
    }
    if (!f) {
        buf_printf(&b, " into Go value of type %.*s", STR_ARG(short_type(w->root)));
    } else {
        struct str owner_name = short_type(owner);
        ssize_t dot = str_chr(owner_name, '.');
        struct buf path = BUF_INIT;
        go_path(&path, at);
        buf_printf(&b, " into Go struct field %.*s.%s of type ", STR_ARG(str_sub(owner_name, (size_t)(dot + 1), owner_name.n)),
            path.p ? path.p : "");
        buf_clear(&path);
        if (!element)
            go_type(&b, owner, f);
        else if (f->elem)
            go_type(&b, owner, f->elem);
        else
            go_scalar(&b, owner, f, f->item);
    }
    int rc = fail(w, "json: ", buf_str(&b));
    buf_clear(&b);
    return rc;
}

static void note_unknown(struct walk *w, const struct fpath *at)
{
    if (!w->notes || w->notes->n >= MAX_NOTES)
        return;
    if ((w->notes->n & (w->notes->n - 1)) == 0) /* full at each power of two */
        w->notes->items = pool_grow(
            w->pool, w->notes->items, w->notes->n * sizeof(struct str), (w->notes->n ? w->notes->n * 2 : 1) * sizeof(struct str));
    struct buf b = BUF_INIT;
    buf_puts(&b, "unknown field \"");
    struct buf path = BUF_INIT;
    fpath_write(&path, at);
    buf_str_add(&b, buf_str(&path));
    buf_clear(&path);
    buf_putc(&b, '"');
    w->notes->items[w->notes->n++] = buf_to_pool(&b, w->pool);
}

static void set_str(struct walk *w, struct json *v, struct str s)
{
    json_replace(v, json_str(w->pool, s));
}

static int quantity(struct walk *w, struct json *v)
{
    struct buf b = BUF_INIT;
    struct quantity q;
    _cleanup_(err_freep) struct err *why = NULL;
    if (v->type == JSON_STR)
        buf_str_add(&b, json_as_str(v));
    else
        json_write(&b, v);
    if (quantity_parse(str_trim(buf_str(&b)), &q, &why) < 0) {
        buf_clear(&b);
        return fail(w, err_msg(why), STR(""));
    }
    buf_reset(&b);
    quantity_write(&b, q);
    if (v->type != JSON_STR || !str_eq(json_as_str(v), buf_str(&b)))
        set_str(w, v, buf_str(&b));
    buf_clear(&b);
    return 0;
}

static int moment(struct walk *w, struct json *v, bool micro)
{
    char text[TIME_MAX];
    int64_t seconds, ns;
    struct str s = json_as_str(v), out;
    if (!time_split(s, &seconds, &ns) || !time_join(seconds, ns, micro, text, &out)) {
        struct buf b = BUF_INIT;
        go_quote(&b, s);
        buf_printf(&b, " as \"2006-01-02T15:04:05%sZ07:00\": cannot parse ", micro ? ".000000" : "");
        go_quote(&b, s);
        buf_puts(&b, " as \"2006\"");
        int rc = fail(w, "parsing time ", buf_str(&b));
        buf_clear(&b);
        return rc;
    }
    if (!str_eq(out, s))
        set_str(w, v, out);
    return 0;
}

static int bytes(struct walk *w, const struct json *v)
{
    struct buf b = BUF_INIT;
    struct str s = json_as_str(v);
    bool ok = buf_unbase64(&b, s);
    buf_clear(&b);
    if (ok)
        return 0;
    size_t at = 0;
    while (at < s.n && ((s.p[at] >= 'a' && s.p[at] <= 'z') || (s.p[at] >= 'A' && s.p[at] <= 'Z') || (s.p[at] >= '0' && s.p[at] <= '9') ||
                           s.p[at] == '+' || s.p[at] == '/'))
        at++;
    char text[64];
    snprintf(text, sizeof(text), "illegal base64 data at input byte %zu", at);
    return fail(w, text, STR(""));
}

/* false: the JSON type does not fit the kind */
static bool fits(uint8_t kind, const struct json *v)
{
    switch (kind) {
    case SCH_STRING:
    case SCH_BYTES:
    case SCH_TIME:
    case SCH_MICRO_TIME:
    case SCH_DURATION:
        return v->type == JSON_STR;
    case SCH_INT32:
        return v->type == JSON_INT && v->i >= INT32_MIN && v->i <= INT32_MAX;
    case SCH_INT64:
        return v->type == JSON_INT;
    case SCH_BOOL:
        return v->type == JSON_BOOL;
    case SCH_DOUBLE:
        return v->type == JSON_INT || v->type == JSON_DOUBLE;
    case SCH_OBJECT:
    case SCH_MAP:
    case SCH_FIELDS:
        return v->type == JSON_OBJ;
    case SCH_ARRAY:
        return v->type == JSON_ARR;
    case SCH_QUANTITY:
        return v->type == JSON_STR || v->type == JSON_INT || v->type == JSON_DOUBLE;
    case SCH_INT_OR_STRING:
        return v->type == JSON_STR || (v->type == JSON_INT && v->i >= INT32_MIN && v->i <= INT32_MAX);
    default:
        return true;
    }
}

static int object(struct walk *w, const struct schema_type *t, struct json *doc, const struct fpath *at);
static int value(struct walk *w, const struct schema_type *owner, const struct schema_field *f, struct json *v, const struct fpath *at);

static int scalar(struct walk *w, uint8_t kind, struct json *v)
{
    switch (kind) {
    case SCH_QUANTITY:
        return quantity(w, v);
    case SCH_TIME:
    case SCH_MICRO_TIME:
        return moment(w, v, kind == SCH_MICRO_TIME);
    case SCH_BYTES:
        return bytes(w, v);
    default:
        return 0;
    }
}

/* A null element is the item's zero value, as in Go. */
static void null_element(struct walk *w, uint8_t kind, struct json *v)
{
    static const char *const zero_text[SCH_KINDS] = {[SCH_QUANTITY] = "0", [SCH_STRING] = "", [SCH_BYTES] = ""};
    struct json *z = kind == SCH_OBJECT || kind == SCH_MAP                                                       ? json_obj(w->pool)
                     : kind == SCH_ARRAY                                                                         ? json_arr(w->pool)
                     : kind == SCH_BOOL                                                                          ? json_bool(w->pool, false)
                     : kind == SCH_INT32 || kind == SCH_INT64 || kind == SCH_DOUBLE || kind == SCH_INT_OR_STRING ? json_int(w->pool, 0)
                     : zero_text[kind] ? json_str(w->pool, str_of(zero_text[kind]))
                                       : NULL;
    if (z)
        json_replace(v, z);
}

static int elements(
    struct walk *w, const struct schema_type *owner, const struct schema_field *f, struct json *parent, const struct fpath *at)
{
    size_t i = 0;
    json_for (parent, v) {
        struct fpath here = parent->type == JSON_ARR ? fpath_at(at, i++) : fpath_key(at, json_key(v));
        uint8_t kind = f->elem ? f->elem->kind : f->item;
        int rc;
        if (v->type == JSON_NULL)
            null_element(w, kind, v);
        if (v->type == JSON_NULL)
            continue;
        if (f->elem && (kind == SCH_ARRAY || kind == SCH_MAP))
            rc = value(w, owner, f->elem, v, &here);
        else if (!fits(kind, v))
            rc = mismatch(w, owner, f, at, v, true);
        else if (kind == SCH_OBJECT && f->ref)
            rc = object(w, f->ref, v, &here);
        else
            rc = scalar(w, kind, v);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int value(struct walk *w, const struct schema_type *owner, const struct schema_field *f, struct json *v, const struct fpath *at)
{
    if (!fits(f->kind, v))
        return mismatch(w, owner, f, at, v, false);
    if (f->kind == SCH_OBJECT)
        return f->ref ? object(w, f->ref, v, at) : 0;
    if (f->kind == SCH_ARRAY || f->kind == SCH_MAP)
        return elements(w, owner, f, v, at);
    if (f->kind == SCH_ANY && f->flags & SCH_EMBEDDED && v->type != JSON_OBJ)
        return mismatch(w, owner, f, at, v, false);
    return scalar(w, f->kind, v);
}

/* Is this what Go leaves out of a field with omitempty? */
static bool is_zero(const struct schema_field *f, const struct json *v)
{
    if (f->flags & SCH_POINTER || !(f->flags & SCH_OMITEMPTY))
        return false;
    switch (f->kind) {
    case SCH_STRING:
    case SCH_BYTES:
        return v->type == JSON_STR && v->n == 0;
    case SCH_BOOL:
        return v->type == JSON_BOOL && !v->b;
    case SCH_INT32:
    case SCH_INT64:
        return v->type == JSON_INT && v->i == 0;
    case SCH_DOUBLE:
        return (v->type == JSON_INT && v->i == 0) || (v->type == JSON_DOUBLE && v->d == 0);
    case SCH_ARRAY:
    case SCH_MAP:
        return v->n == 0;
    default:
        return false;
    }
}

static int object(struct walk *w, const struct schema_type *t, struct json *doc, const struct fpath *at)
{
    json_for (doc, m) {
        struct fpath here = fpath_name(at, json_key(m));
        const struct schema_field *f = schema_field(t, json_key(m));
        if (!f) {
            if (t->flags & SCH_PRESERVE)
                continue;
            note_unknown(w, &here);
            json_remove(doc, m);
            continue;
        }
        if (m->type == JSON_NULL) {
            if (!(f->flags & SCH_NULLABLE))
                json_remove(doc, m);
            continue;
        }
        int rc = value(w, t, f, m, &here);
        if (rc < 0)
            return rc;
        if (is_zero(f, m))
            json_remove(doc, m);
    }
    return 0;
}

int schema_decode(const struct schema_resource *r, const struct schema_type *t, struct pool *p, struct json *doc,
    struct schema_notes *notes, struct err **e)
{
    struct walk w = {p, r, t, notes, e};
    if (notes)
        *notes = (struct schema_notes){0};
    if (!json_is(doc, JSON_OBJ))
        return mismatch(&w, t, NULL, NULL, doc, false);
    if (t->cr) {
        struct json *m = json_get(doc, STR("metadata"));
        struct fpath at = FPATH(NULL, "metadata");
        if (m && m->type != JSON_OBJ && m->type != JSON_NULL)
            return mismatch(&w, cr_meta(), NULL, &at, m, false);
        return cr_decode(r, t, p, doc, notes, e);
    }
    return object(&w, t, doc, NULL);
}

int schema_decode_part(const struct schema_resource *r, const struct schema_type *t, struct pool *p, struct json *doc, const struct fpath *at,
    struct schema_notes *notes, struct err **e)
{
    struct walk w = {p, r, t, notes, e};
    if (!json_is(doc, JSON_OBJ))
        return mismatch(&w, t, NULL, at, doc, false);
    return object(&w, t, doc, at);
}

void schema_note(struct pool *p, struct schema_notes *notes, const struct fpath *at)
{
    struct walk w = {.pool = p, .notes = notes};
    note_unknown(&w, at);
}
