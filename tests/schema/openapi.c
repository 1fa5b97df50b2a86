#include "harness.h"
#include "schema/schema.h"

static struct json *parsed(struct pool *p, struct buf *b)
{
    struct err *e = NULL;
    struct json *j;
    struct json_limits limits = {.bytes = 64 << 20, .nodes = 4000000};
    FINE(json_parse(p, buf_str(b), &limits, &j, &e), e);
    return j;
}

/* Every $ref must lead somewhere. */
static size_t check_refs(const struct json *j, const struct json *schemas, struct str prefix)
{
    size_t n = 0;
    if (j->type != JSON_OBJ && j->type != JSON_ARR)
        return 0;
    json_for (j, x) {
        if (j->type == JSON_OBJ && str_eq(json_key(x), STR("$ref")) && x->type == JSON_STR) {
            struct str to = json_as_str(x);
            OK(str_starts(to, prefix));
            if (!json_get(schemas, str_sub(to, prefix.n, to.n)))
                test_fail(__FILE__, __LINE__, "%.*s leads nowhere", STR_ARG(to));
            n++;
        }
        n += check_refs(x, schemas, prefix);
    }
    return n;
}

TEST(the_v3_document_of_a_group_has_what_kubectl_looks_for)
{
    struct schema *s = schema_builtin();
    struct pool *p = pool_new();
    struct buf b = BUF_INIT;
    struct err *e = NULL;
    FINE(schema_openapi_v3(s, STR("apps"), STR("v1"), &b, &e), e);
    struct json *j = parsed(p, &b), *schemas = json_path(j, "components", "schemas", NULL);
    const struct json *patch =
        json_path(json_get(json_get(j, STR("paths")), STR("/apis/apps/v1/namespaces/{namespace}/deployments/{name}")), "patch", NULL);
    EQ_STR(json_str_at(patch, "x-kubernetes-group-version-kind", "kind", NULL), STR("Deployment"));
    EQ_STR(json_get_str(patch, "x-kubernetes-action"), STR("patch"));
    OK(json_path(patch, "requestBody", "content", "application/strategic-merge-patch+json", NULL) != NULL);
    bool validation = false;
    json_for (json_get(patch, STR("parameters")), q)
        validation |= str_eq(json_get_str(q, "name"), STR("fieldValidation")) && str_eq(json_get_str(q, "in"), STR("query"));
    OK(validation);
    const struct json *dep = json_get(schemas, STR("io.k8s.api.apps.v1.Deployment"));
    EQ_STR(json_get_str(json_at(json_get(dep, STR("x-kubernetes-group-version-kind")), 0), "group"), STR("apps"));
    const struct json *containers = json_path(json_get(schemas, STR("io.k8s.api.core.v1.PodSpec")), "properties", "containers", NULL);
    EQ_STR(json_get_str(containers, "x-kubernetes-patch-merge-key"), STR("name"));
    EQ_STR(json_get_str(containers, "x-kubernetes-patch-strategy"), STR("merge"));
    EQ_STR(json_get_str(containers, "x-kubernetes-list-type"), STR("map"));
    OK(check_refs(j, schemas, STR("#/components/schemas/")) > 100);
    OK(schema_openapi_v3(s, STR("nope"), STR("v1"), &b, &e) < 0);
    EQ(e->code, ERR_NOT_FOUND);
    err_free(e);
    buf_clear(&b);
    pool_free(p);
    schema_unref(s);
}

TEST(all_v3_documents_and_the_v2_document_hold_together)
{
    struct schema *s = schema_builtin();
    struct err *e = NULL;
    const struct schema_resource *r, *last = NULL;
    for (size_t i = 0; (r = schema_at(s, i)); i++) {
        if (last && str_eq(r->group, last->group) && str_eq(r->version, last->version))
            continue;
        struct pool *p = pool_new();
        struct buf b = BUF_INIT;
        last = r;
        FINE(schema_openapi_v3(s, r->group, r->version, &b, &e), e);
        struct json *j = parsed(p, &b);
        check_refs(j, json_path(j, "components", "schemas", NULL), STR("#/components/schemas/"));
        buf_clear(&b);
        pool_free(p);
    }
    struct pool *p = pool_new();
    struct buf b = BUF_INIT;
    FINE(schema_openapi_v2(s, &b, &e), e);
    struct json *j = parsed(p, &b);
    OK(check_refs(j, json_get(j, STR("definitions")), STR("#/definitions/")) > 1000);
    buf_clear(&b);
    pool_free(p);
    schema_unref(s);
}

/* Reads one field of a protobuf message: its number and, for lengths, the bytes. */
static bool next_field(struct str *rest, uint64_t *number, struct str *value)
{
    uint64_t v[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        unsigned shift = 0;
        for (bool more = true; more; shift += 7) {
            if (!rest->n || shift > 63)
                return false;
            unsigned char c = (unsigned char)rest->p[0];
            v[i] |= (uint64_t)(c & 0x7f) << shift;
            more = c & 0x80;
            *rest = str_sub(*rest, 1, rest->n);
        }
        if (i == 0 && (v[0] & 7) == 0) { /* a varint: its value follows and is passed over */
            *number = v[0] >> 3;
            *value = STR("");
            while (rest->n && rest->p[0] & 0x80)
                *rest = str_sub(*rest, 1, rest->n);
            *rest = str_sub(*rest, 1, rest->n);
            return true;
        }
    }
    if ((v[0] & 7) != 2 || v[1] > rest->n)
        return false;
    *number = v[0] >> 3;
    *value = str_sub(*rest, 0, v[1]);
    *rest = str_sub(*rest, v[1], rest->n);
    return true;
}

TEST(the_v2_document_in_protobuf_names_every_definition)
{
    struct schema *s = schema_builtin();
    struct pool *p = pool_new();
    struct buf json = BUF_INIT, proto = BUF_INIT;
    struct err *e = NULL;
    FINE(schema_openapi_v2(s, &json, &e), e);
    FINE(schema_openapi_v2_proto(s, &proto, &e), e);
    struct json *definitions = json_get(parsed(p, &json), STR("definitions"));
    struct str rest = buf_str(&proto), value, inner, pair, name = STR_NULL;
    uint64_t number;
    size_t found = 0;
    while (rest.n) {
        OK(next_field(&rest, &number, &value));
        if (number == 1)
            EQ_STR(value, STR("2.0"));
        for (inner = value; number == 9 && inner.n;) { /* definitions { 1: { name, schema } } */
            uint64_t one, two;
            OK(next_field(&inner, &one, &pair) && one == 1);
            OK(next_field(&pair, &two, &name) && two == 1);
            OK(json_get(definitions, name) != NULL);
            found++;
        }
    }
    EQ(found, json_count(definitions));
    buf_clear(&json);
    buf_clear(&proto);
    pool_free(p);
    schema_unref(s);
}
