#include "base/pool.h"
#include "json/json.h"
#include "schema/schema.h"

/* The v2 document in protobuf, as gnostic's OpenAPIv2.proto lays it out (application/com.github.proto-openapi.spec.v2.v1.0+protobuf): older
 * clients ask for nothing else. Each message is a table of its JSON members; what begins with x- is a vendor extension and travels as YAML,
 * of which JSON is a part. */
enum how { TEXT, FLAG, TEXTS, ONE, MANY, NAMED, ANY, CHOICE };
struct message;
struct member {
    const char *name;
    uint8_t number, how;
    const struct message *of;
    uint8_t inner; /* ONE, NAMED, CHOICE: number of the member of a wrapping message that holds the value; 0: none */
};
struct message {
    const struct member *members;
    uint8_t n, extensions;
}; /* extensions: number of vendor_extension */

static const struct message schema_msg, parameter_msg;
#define MEMBERS(m) .members = m, .n = ARRAY_LEN(m)

/* Named values: repeated { name = 1; value = 2 }. */
static const struct member schema_members[] = {{"$ref", 1, TEXT, NULL, 0}, {"format", 2, TEXT, NULL, 0}, {"title", 3, TEXT, NULL, 0},
    {"description", 4, TEXT, NULL, 0}, {"default", 5, ANY, NULL, 0}, {"pattern", 13, TEXT, NULL, 0}, {"uniqueItems", 16, FLAG, NULL, 0},
    {"required", 19, TEXTS, NULL, 0}, {"enum", 20, ANY, NULL, 0}, {"additionalProperties", 21, ONE, &schema_msg, 1},
    {"type", 22, TEXT, NULL, 1}, {"items", 23, ONE, &schema_msg, 1}, {"allOf", 24, MANY, &schema_msg, 0},
    {"properties", 25, NAMED, &schema_msg, 1}};
static const struct message schema_msg = {MEMBERS(schema_members), .extensions = 31};

static const struct member body_members[] = {{"description", 1, TEXT, NULL, 0}, {"name", 2, TEXT, NULL, 0}, {"in", 3, TEXT, NULL, 0},
    {"required", 4, FLAG, NULL, 0}, {"schema", 5, ONE, &schema_msg, 0}};
static const struct message body_msg = {MEMBERS(body_members), .extensions = 6};
static const struct member query_members[] = {{"required", 1, FLAG, NULL, 0}, {"in", 2, TEXT, NULL, 0}, {"description", 3, TEXT, NULL, 0},
    {"name", 4, TEXT, NULL, 0}, {"type", 6, TEXT, NULL, 0}, {"format", 7, TEXT, NULL, 0}, {"uniqueItems", 20, FLAG, NULL, 0}};
static const struct message query_msg = {MEMBERS(query_members), .extensions = 23};
static const struct member path_members[] = {{"required", 1, FLAG, NULL, 0}, {"in", 2, TEXT, NULL, 0}, {"description", 3, TEXT, NULL, 0},
    {"name", 4, TEXT, NULL, 0}, {"type", 5, TEXT, NULL, 0}, {"format", 6, TEXT, NULL, 0}, {"uniqueItems", 19, FLAG, NULL, 0}};
static const struct message path_msg = {MEMBERS(path_members), .extensions = 22};

static const struct member response_members[] = {{"description", 1, TEXT, NULL, 0}, {"schema", 2, ONE, &schema_msg, 1}};
static const struct message response_msg = {MEMBERS(response_members), .extensions = 5};
static const struct member responses_members[] = {{"*", 1, CHOICE, &response_msg, 1}};
static const struct message responses_msg = {MEMBERS(responses_members), .extensions = 2};

static const struct member operation_members[] = {{"tags", 1, TEXTS, NULL, 0}, {"description", 3, TEXT, NULL, 0},
    {"operationId", 5, TEXT, NULL, 0}, {"produces", 6, TEXTS, NULL, 0}, {"consumes", 7, TEXTS, NULL, 0},
    {"parameters", 8, MANY, &parameter_msg, 0}, {"responses", 9, ONE, &responses_msg, 0}, {"schemes", 10, TEXTS, NULL, 0}};
static const struct message operation_msg = {MEMBERS(operation_members), .extensions = 13};
static const struct member item_members[] = {{"get", 2, ONE, &operation_msg, 0}, {"put", 3, ONE, &operation_msg, 0},
    {"post", 4, ONE, &operation_msg, 0}, {"delete", 5, ONE, &operation_msg, 0}, {"patch", 8, ONE, &operation_msg, 0},
    {"parameters", 9, MANY, &parameter_msg, 0}};
static const struct message item_msg = {MEMBERS(item_members), .extensions = 10};
static const struct member info_members[] = {{"title", 1, TEXT, NULL, 0}, {"version", 2, TEXT, NULL, 0}};
static const struct message info_msg = {MEMBERS(info_members), .extensions = 7};
static const struct member document_members[] = {{"swagger", 1, TEXT, NULL, 0}, {"info", 2, ONE, &info_msg, 0},
    {"paths", 8, NAMED, &item_msg, 2}, {"definitions", 9, NAMED, &schema_msg, 1}};
static const struct message document_msg = {MEMBERS(document_members), .extensions = 16};
static const struct message parameter_msg = {.members = NULL}; /* a choice by "in": see parameter() */

static void varint(struct buf *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_putc(b, (char)(v | 0x80));
    buf_putc(b, (char)v);
}

static void bytes(struct buf *b, uint8_t number, struct str s)
{
    varint(b, (uint64_t)number << 3 | 2);
    varint(b, s.n);
    buf_str_add(b, s);
}

/* A message inside another: made apart, since its length stands before it. */
static void wrap(struct buf *b, uint8_t number, struct buf *inner)
{
    bytes(b, number, buf_str(inner));
    buf_clear(inner);
}

static void write(struct buf *b, const struct message *m, const struct json *j);

static void any(struct buf *b, uint8_t number, const struct json *v) /* Any { yaml = 2 } */
{
    struct buf text = BUF_INIT, inner = BUF_INIT;
    json_write(&text, v);
    bytes(&inner, 2, buf_str(&text));
    buf_clear(&text);
    wrap(b, number, &inner);
}

static void parameter(struct buf *b,
    const struct json *j) /* ParametersItem { parameter = 1 { body_parameter = 1 | non_body_parameter = 2 { query = 3 | path = 4 } } } */
{
    struct str in = json_get_str(j, "in");
    struct buf deepest = BUF_INIT, middle = BUF_INIT, outer = BUF_INIT;
    bool body = str_eqz(in, "body"), path = str_eqz(in, "path");
    write(&deepest, body ? &body_msg : path ? &path_msg : &query_msg, j);
    if (body) {
        wrap(&middle, 1, &deepest);
    } else {
        struct buf non_body = BUF_INIT;
        wrap(&non_body, path ? 4 : 3, &deepest);
        wrap(&middle, 2, &non_body);
    }
    wrap(&outer, 1, &middle);
    buf_str_add(b, buf_str(&outer));
    buf_clear(&outer);
}

static void one(struct buf *b, const struct message *m, const struct json *j)
{
    if (m == &parameter_msg)
        parameter(b, j);
    else
        write(b, m, j);
}

static void named(struct buf *b, uint8_t number, const struct message *m, uint8_t inner, struct str name, const struct json *v)
{
    struct buf pair = BUF_INIT, value = BUF_INIT;
    write(&value, m, v);
    if (inner) {
        struct buf held = BUF_INIT;
        wrap(&held, inner, &value);
        value = held;
    }
    bytes(&pair, 1, name);
    wrap(&pair, 2, &value);
    wrap(b, number, &pair);
}

static void put(struct buf *b, const struct member *f, const struct json *v)
{
    struct buf x = BUF_INIT, y = BUF_INIT;
    switch ((enum how)f->how) {
    case TEXT:
        if (f->inner) {
            bytes(&x, f->inner, json_as_str(v));
            wrap(b, f->number, &x);
        } else {
            bytes(b, f->number, json_as_str(v));
        }
        return;
    case FLAG:
        varint(b, (uint64_t)f->number << 3);
        varint(b, json_as_bool(v, false));
        return;
    case TEXTS:
        json_for (v, s)
            bytes(b, f->number, json_as_str(s));
        return;
    case ONE:
        write(&x, f->of, v);
        if (f->inner) {
            wrap(&y, f->inner, &x);
            x = y;
        }
        wrap(b, f->number, &x);
        return;
    case MANY:
        json_for (v, i) {
            one(&x, f->of, i);
            wrap(b, f->number, &x);
        }
        return;
    case NAMED: /* a message of named values: number { inner: { name, value } } */
        json_for (v, i)
            named(&x, f->inner, f->of, 0, json_key(i), i);
        wrap(b, f->number, &x);
        return;
    case ANY:
        if (v->type == JSON_ARR && f->number == 20) {
            json_for (v, i)
                any(b, f->number, i);
        } else {
            any(b, f->number, v);
        }
        return;
    case CHOICE:
        return;
    }
}

static void write(struct buf *b, const struct message *m, const struct json *j)
{
    json_for (j, v) {
        struct str key = json_key(v);
        if (str_starts(key, STR("x-"))) { /* NamedAny { name = 1; value = 2 } */
            struct buf pair = BUF_INIT;
            bytes(&pair, 1, key);
            any(&pair, 2, v);
            wrap(b, m->extensions, &pair);
            continue;
        }
        for (uint8_t i = 0; i < m->n; i++) {
            if (m->members[i].how == CHOICE)
                named(b, m->members[i].number, m->members[i].of, m->members[i].inner, key, v);
            else if (str_eqz(key, m->members[i].name))
                put(b, &m->members[i], v);
        }
    }
}

int schema_openapi_v2_proto(const struct schema *s, struct buf *out, struct err **e)
{
    _cleanup_(buf_clear) struct buf text = BUF_INIT;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json_limits limits = {.bytes = 64 << 20, .depth = 64, .nodes = 8000000, .view = true};
    struct json *doc;
    int rc = schema_openapi_v2(s, &text, e);
    if (rc == 0)
        rc = json_parse(p, buf_str(&text), &limits, &doc, e);
    if (rc < 0)
        return rc;
    write(out, &document_msg, doc);
    return 0;
}
