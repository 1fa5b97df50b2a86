#include <dirent.h>
#include <stdlib.h>

#include "base/file.h"
#include "harness.h"
#include "schema/wire.h"

/* Every kind through protobuf and back: with every field set, with every pointer at its zero value (presence must survive), and, where
 * SAMPAN_GOLDEN names a folder with Kubernetes' own golden files (<group>.<version>.<Kind>.json and .pb, as staging/src/k8s.io/api/testdata
 * holds them), against what Go wrote. */

enum fill { FILL_ALL, FILL_ZERO };

struct maker {
    struct pool *p;
    enum fill how;
    int n; /* makes values differ */
};

static struct json *make_object(struct maker *m, const struct schema_type *t, int depth);

static struct json *make_value(struct maker *m, const struct schema_field *f, uint8_t kind, const struct schema_type *ref, int depth)
{
    bool zero = m->how == FILL_ZERO;
    struct pool *p = m->p;
    struct json *j;
    m->n++;
    switch (kind) {
    case SCH_STRING:
        return json_str(p, zero ? STR("") : pool_printf(p, "s%d", m->n));
    case SCH_INT32:
    case SCH_INT64:
        return json_int(p, zero ? 0 : kind == SCH_INT64 ? INT64_C(1) << 40 | m->n : -m->n);
    case SCH_BOOL:
        return json_bool(p, !zero);
    case SCH_DOUBLE:
        return json_double(p, zero ? 0 : 1.5);
    case SCH_BYTES:
        return json_str(p, zero ? STR("") : STR("AAEC"));
    case SCH_QUANTITY:
        return json_str(p, zero ? STR("0") : pool_printf(p, "%dMi", m->n));
    case SCH_INT_OR_STRING:
        return zero ? json_int(p, 0) : m->n % 2 ? json_str(p, STR("25%")) : json_int(p, m->n);
    case SCH_TIME:
        return json_str(p, STR("2026-01-02T03:04:05Z"));
    case SCH_MICRO_TIME:
        return json_str(p, STR("2026-01-02T03:04:05.000006Z"));
    case SCH_DURATION:
        return json_str(p, zero ? STR("0s") : STR("1m30s"));
    case SCH_FIELDS:
        j = json_obj(p);
        json_put_obj(p, j, STR("f:x"));
        return j;
    case SCH_ANY:
        j = json_obj(p);
        json_set_str(p, j, STR("any"), STR("thing"));
        return j;
    case SCH_OBJECT:
        return make_object(m, ref, depth + 1);
    default:
        return json_null(p);
    }
    (void)f;
}

static struct json *make_field(struct maker *m, const struct schema_field *f, int depth)
{
    if (f->kind == SCH_ARRAY || f->kind == SCH_MAP) {
        struct json *list = f->kind == SCH_ARRAY ? json_arr(m->p) : json_obj(m->p);
        struct json *one = f->item == SCH_ARRAY || f->item == SCH_MAP ? make_field(m, f->elem, depth)
                                                                       : make_value(m, f, f->item, f->ref, depth);
        if (!one)
            return NULL;
        if (f->kind == SCH_ARRAY)
            json_append(list, one);
        else
            json_set(m->p, list, STR("key"), one);
        return list;
    }
    return make_value(m, f, f->kind, f->ref, depth);
}

/* Is the type one whose fields the wire has in a form of its own? (apiextensions' unions) */
static bool odd(const struct schema_type *t)
{
    return str_ends(t->name, STR(".JSONSchemaProps")) || str_ends(t->name, STR(".CustomResourceSubresources"));
}

static struct json *make_object(struct maker *m, const struct schema_type *t, int depth)
{
    struct json *o = json_obj(m->p);
    for (uint16_t i = 0; i < t->nfields && depth < 9; i++) {
        const struct schema_field *f = &t->fields[i];
        bool always = !(f->flags & SCH_OMITEMPTY);
        if (!f->proto || (odd(t) && (f->kind == SCH_ANY || f->kind == SCH_ARRAY || f->kind == SCH_MAP || f->kind == SCH_OBJECT)))
            continue;
        if (m->how == FILL_ZERO && !(f->flags & SCH_POINTER) && !always && f->kind != SCH_OBJECT && f->kind != SCH_ARRAY)
            continue; /* Go leaves it out */
        struct json *v = make_field(m, f, depth);
        if (v)
            json_set(m->p, o, f->name, v);
    }
    return o;
}

/* What a JSON client sees no difference in: null for absent, {} and [] for absent, the order of members. */
static void settle(struct json *j)
{
    json_for(j, it)
    {
        settle(it);
        if (it->type == JSON_NULL || ((it->type == JSON_OBJ || it->type == JSON_ARR) && json_count(it) == 0))
            json_remove(j, it);
    }
}

static void round_trip(const struct schema_resource *r, enum fill how)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(buf_clear) struct buf wire = BUF_INIT, again = BUF_INIT;
    struct maker m = {p, how, 0};
    struct json *doc = make_object(&m, r->type, 0), *back = json_obj(p);
    struct err *e = NULL;
    FINE(proto_encode(&schema_wire, r->type, doc, &wire, &e), e);
    FINE(proto_decode(&schema_wire, r->type, p, buf_str(&wire), back, &e), e);
    FINE(proto_encode(&schema_wire, r->type, back, &again, &e), e);
    if (!str_eq(buf_str(&wire), buf_str(&again)))
        test_fail(__FILE__, __LINE__, "%.*s: other bytes the second time", STR_ARG(r->kind));
    settle(doc);
    settle(back);
    if (!json_equal(doc, back))
        test_fail(__FILE__, __LINE__, "%.*s:\n%.*s\n%.*s", STR_ARG(r->kind), STR_ARG(json_to_pool(p, doc)), STR_ARG(json_to_pool(p, back)));
}

static void every_kind(enum fill how)
{
    _cleanup_(schema_unrefp) struct schema *s = schema_builtin();
    const struct schema_resource *r;
    size_t n = 0;
    for (size_t i = 0; (r = schema_at(s, i)); i++)
        if (schema_has_wire(r->type))
            round_trip(r, how), n++;
    OK(n > 60);
}

TEST(every_kind_with_every_field_survives_protobuf)
{
    every_kind(FILL_ALL);
}

TEST(every_pointer_at_zero_is_still_there_behind_protobuf)
{
    every_kind(FILL_ZERO);
}

/* ---- Kubernetes' own files ---- */

static void golden_file(struct schema *s, const char *folder, struct str name, size_t *seen)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(buf_clear) struct buf text = BUF_INIT, want = BUF_INIT, wire = BUF_INIT;
    struct str base = str_sub(name, 0, name.n - 5), g, v, k;
    struct json *doc, *back = json_obj(p);
    struct proto_envelope env;
    struct err *e = NULL;
    FINE(file_read(pool_printf(p, "%s/%.*s", folder, STR_ARG(name)).p, 16 << 20, &text, &e), e);
    FINE(json_parse(p, buf_str(&text), NULL, &doc, &e), e);
    if (!schema_gvk(doc, &g, &v, &k))
        return;
    const struct schema_resource *r = schema_find_kind(s, g, v, k);
    if (!r || !schema_has_wire(r->type))
        return;
    FINE(file_read(pool_printf(p, "%s/%.*s.pb", folder, STR_ARG(base)).p, 16 << 20, &want, &e), e);
    FINE(proto_open(buf_str(&want), &env, &e), e);
    FINE(proto_decode(&schema_wire, r->type, p, env.raw, back, &e), e);
    FINE(proto_encode(&schema_wire, r->type, doc, &wire, &e), e);
    (*seen)++;
    EQ(wire.n, env.raw.n); /* the order of fields is free, Go's is that of their numbers */
    struct json *ours = json_obj(p);
    FINE(proto_decode(&schema_wire, r->type, p, buf_str(&wire), ours, &e), e);
    OK(json_equal(ours, back));
    json_del(doc, STR("kind"));
    json_del(doc, STR("apiVersion"));
    settle(doc);
    settle(back);
    if (!json_equal(doc, back))
        test_fail(__FILE__, __LINE__, "%.*s:\n%.*s\n%.*s", STR_ARG(base), STR_ARG(json_to_pool(p, doc)), STR_ARG(json_to_pool(p, back)));
}

TEST(kubernetes_golden_files_say_the_same_where_they_are_at_hand)
{
    const char *folder = getenv("SAMPAN_GOLDEN");
    if (!folder)
        return;
    _cleanup_(schema_unrefp) struct schema *s = schema_builtin();
    DIR *d = opendir(folder);
    size_t seen = 0;
    OK(d);
    for (struct dirent *x; (x = readdir(d));)
        if (str_ends(str_of(x->d_name), STR(".json")) && str_find(str_of(x->d_name), STR(".after_roundtrip.")) < 0)
            golden_file(s, folder, str_of(x->d_name), &seen);
    closedir(d);
    OK(seen > 60);
}
