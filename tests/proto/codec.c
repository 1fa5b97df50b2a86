#include "harness.h"
#include "proto/proto.h"

/* A small schema of our own: every kind once, an inlined message in an inlined message, and a type that contains itself. */
struct type {
    const struct proto_field *fields;
    size_t n;
};
static const struct type leaf_type, root_type;
static const struct proto_field leaf_fields[] = {
    {.name = {"name", 4}, .kind = PROTO_STRING, .number = 1},
    {.name = {"count", 5}, .kind = PROTO_INT32, .number = 2, .omitempty = true},
};
static const struct type leaf_type = {leaf_fields, ARRAY_LEN(leaf_fields)};
static const struct proto_field strings = {.kind = PROTO_ARRAY, .item = PROTO_STRING};
static const struct proto_field root_fields[] = {
    {.name = {"kind", 4}, .kind = PROTO_STRING, .number = 0},
    {.name = {"title", 5}, .kind = PROTO_STRING, .number = 1, .omitempty = true},
    {.name = {"replicas", 8}, .kind = PROTO_INT32, .number = 2, .pointer = true, .omitempty = true},
    {.name = {"big", 3}, .kind = PROTO_INT64, .number = 3, .omitempty = true},
    {.name = {"on", 2}, .kind = PROTO_BOOL, .number = 4, .omitempty = true},
    {.name = {"max", 3}, .kind = PROTO_DOUBLE, .number = 5, .pointer = true, .omitempty = true},
    {.name = {"data", 4}, .kind = PROTO_BYTES, .number = 6, .omitempty = true},
    {.name = {"leaf", 4}, .kind = PROTO_OBJECT, .number = 7, .ref = &leaf_type},
    {.name = {"leaves", 6}, .kind = PROTO_ARRAY, .item = PROTO_OBJECT, .number = 8, .ref = &leaf_type},
    {.name = {"ports", 5}, .kind = PROTO_ARRAY, .item = PROTO_INT32, .number = 9},
    {.name = {"labels", 6}, .kind = PROTO_MAP, .item = PROTO_STRING, .number = 10},
    {.name = {"limits", 6}, .kind = PROTO_MAP, .item = PROTO_QUANTITY, .number = 11},
    {.name = {"extra", 5}, .kind = PROTO_MAP, .item = PROTO_ARRAY, .number = 12, .elem = &strings},
    {.name = {"port", 4}, .kind = PROTO_INT_OR_STRING, .number = 13},
    {.name = {"at", 2}, .kind = PROTO_TIME, .number = 14},
    {.name = {"micro", 5}, .kind = PROTO_MICRO_TIME, .number = 15, .pointer = true},
    {.name = {"every", 5}, .kind = PROTO_DURATION, .number = 16},
    {.name = {"fields", 6}, .kind = PROTO_FIELDS, .number = 17},
    {.name = {"any", 3}, .kind = PROTO_ANY, .number = 18},
    {.name = {"hostPath", 8}, .kind = PROTO_OBJECT, .number = 1, .via = 19, .pointer = true, .ref = &leaf_type},
    {.name = {"secret", 6}, .kind = PROTO_STRING, .number = 2, .via = 19, .pointer = true},
    {.name = {"deep", 4}, .kind = PROTO_STRING, .number = 1, .via = 19 * 256 + 3},
    {.name = {"self", 4}, .kind = PROTO_OBJECT, .number = 20, .pointer = true, .ref = &root_type},
    {.name = {"orBool", 6}, .kind = PROTO_SCHEMA_OR_BOOL, .number = 21, .ref = &leaf_type},
    {.name = {"orArray", 7}, .kind = PROTO_SCHEMA_OR_ARRAY, .number = 22, .ref = &leaf_type},
    {.name = {"orStrings", 9}, .kind = PROTO_MAP, .item = PROTO_SCHEMA_OR_STRINGS, .number = 23, .ref = &leaf_type},
};
static const struct type root_type = {root_fields, ARRAY_LEN(root_fields)};

static void at(const void *t, size_t i, struct proto_field *out)
{
    *out = ((const struct type *)t)->fields[i];
}
static void elem(const void *e, struct proto_field *out)
{
    *out = *(const struct proto_field *)e;
}
static ssize_t by_name(const void *type, struct str name)
{
    const struct type *t = type;
    for (size_t i = 0; i < t->n; i++)
        if (str_eq(t->fields[i].name, name))
            return (ssize_t)i;
    return -1;
}
static ssize_t by_number(const void *type, uint16_t via, uint32_t number, size_t hint)
{
    const struct type *t = type;
    for (size_t i = 0; i < t->n; i++)
        if (t->fields[i].number == number && t->fields[i].via == via)
            return (ssize_t)i;
    return -1;
}
static bool inlines(const void *type, uint16_t via)
{
    const struct type *t = type;
    for (size_t i = 0; i < t->n; i++)
        if (t->fields[i].via == via || t->fields[i].via >> 8 == via)
            return true;
    return false;
}
static const struct proto_schema schema = {at, elem, by_name, by_number, inlines};

static struct pool *pool;
static void start(void) { pool = pool_new(); }
static void stop(void) { pool_free(pool); }

static struct json *parse(const char *text)
{
    struct json *j;
    struct err *e = NULL;
    FINE(json_parse(pool, str_of(text), NULL, &j, &e), e);
    return j;
}

static struct str encode(const char *text)
{
    struct buf b = BUF_INIT;
    struct err *e = NULL;
    FINE(proto_encode(&schema, &root_type, parse(text), &b, &e), e);
    return buf_to_pool(&b, pool);
}

static struct str decode(struct str wire)
{
    struct json *obj = json_obj(pool);
    struct err *e = NULL;
    FINE(proto_decode(&schema, &root_type, pool, wire, obj, &e), e);
    return json_to_pool(pool, obj);
}

static struct str hex(struct str bytes)
{
    struct buf b = BUF_INIT;
    buf_hex(&b, bytes.p, bytes.n);
    return buf_to_pool(&b, pool);
}

TEST(values_have_the_bytes_that_go_writes)
{
    start();
    static const struct {
        const char *json;
        struct str wire;
    } cases[] = {
#define CASE(j, w) {j, {w, sizeof(w) - 1}}
        CASE("{\"title\":\"x\"}", "\x0a\x01x"),
        CASE("{\"replicas\":0}", "\x10\x00"),
        CASE("{\"replicas\":-1}", "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        CASE("{\"big\":300}", "\x18\xac\x02"),
        CASE("{\"on\":true}", "\x20\x01"),
        CASE("{\"max\":1.5}", "\x29\x00\x00\x00\x00\x00\x00\xf8\x3f"),
        CASE("{\"data\":\"AAEC\"}", "\x32\x03\x00\x01\x02"),
        CASE("{\"leaf\":{\"name\":\"a\",\"count\":2}}", "\x3a\x05\x0a\x01" "a\x10\x02"),
        CASE("{\"leaves\":[{\"name\":\"a\"},{\"name\":\"b\"}]}", "\x42\x03\x0a\x01" "a\x42\x03\x0a\x01" "b"),
        CASE("{\"ports\":[80,443]}", "\x48\x50\x48\xbb\x03"),
        CASE("{\"labels\":{\"k\":\"v\"}}", "\x52\x06\x0a\x01k\x12\x01v"),
        CASE("{\"limits\":{\"cpu\":\"100m\"}}", "\x5a\x0d\x0a\x03" "cpu\x12\x06\x0a\x04" "100m"),
        CASE("{\"extra\":{\"k\":[\"a\",\"b\"]}}", "\x62\x0b\x0a\x01k\x12\x06\x0a\x01" "a\x0a\x01" "b"),
        CASE("{\"port\":80}", "\x6a\x06\x08\x00\x10\x50\x1a\x00"),
        CASE("{\"port\":\"http\"}", "\x6a\x0a\x08\x01\x10\x00\x1a\x04http"),
        CASE("{\"at\":\"2023-11-14T22:13:20Z\"}", "\x72\x08\x08\x80\xe2\xcf\xaa\x06\x10\x00"),
        CASE("{\"micro\":\"2023-11-14T22:13:20.000001Z\"}", "\x7a\x09\x08\x80\xe2\xcf\xaa\x06\x10\xe8\x07"),
        CASE("{\"every\":\"1m30s\"}", "\x82\x01\x07\x08\x80\x88\xac\xa3\xcf\x02"),
        CASE("{\"fields\":{\"f:a\":{}}}", "\x8a\x01\x0c\x0a\x0a{\"f:a\":{}}"),
        CASE("{\"any\":[1,\"x\"]}", "\x92\x01\x09\x0a\x07[1,\"x\"]"),
        CASE("{\"hostPath\":{\"name\":\"p\"}}", "\x9a\x01\x05\x0a\x03\x0a\x01p"),
        CASE("{\"secret\":\"s\",\"deep\":\"d\"}", "\x9a\x01\x08\x12\x01s\x1a\x03\x0a\x01" "d"),
        CASE("{\"orBool\":false}", "\xaa\x01\x02\x08\x00"),
        CASE("{\"orBool\":{\"name\":\"a\"}}", "\xaa\x01\x07\x08\x01\x12\x03\x0a\x01" "a"),
        CASE("{\"orArray\":[{\"name\":\"a\"}]}", "\xb2\x01\x05\x12\x03\x0a\x01" "a"),
        CASE("{\"orArray\":{\"name\":\"a\"}}", "\xb2\x01\x05\x0a\x03\x0a\x01" "a"),
        CASE("{\"orStrings\":{\"k\":[\"p\"]}}", "\xba\x01\x08\x0a\x01k\x12\x03\x12\x01p"),
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        EQ_STR(hex(encode(cases[i].json)), hex(cases[i].wire));
        EQ_STR(decode(cases[i].wire), str_of(cases[i].json));
    }
    stop();
}

TEST(zeros_come_back_where_go_would_write_them)
{
    start();
    /* title, on and data are zero values that Go leaves out; a pointer's zero, a required zero and an empty struct stay */
    EQ_STR(decode(STR("\x0a\x00\x10\x00\x20\x00\x32\x00\x3a\x02\x0a\x00")), STR("{\"replicas\":0,\"leaf\":{\"name\":\"\"}}"));
    EQ_STR(decode(STR("\x3a\x00\x72\x00\x7a\x00")), STR("{\"leaf\":{}}"));
    EQ_STR(encode("{\"kind\":\"X\",\"at\":null,\"unknown\":5}"), STR(""));
    stop();
}

TEST(messages_that_come_in_pieces_are_merged_and_the_last_scalar_wins)
{
    start();
    EQ_STR(decode(STR("\x3a\x03\x0a\x01" "a\x3a\x02\x10\x05\x0a\x01x\x0a\x01y")), STR("{\"leaf\":{\"name\":\"a\",\"count\":5},\"title\":\"y\"}"));
    EQ_STR(decode(STR("\x52\x06\x0a\x01k\x12\x01v\x52\x06\x0a\x01k\x12\x01w")), STR("{\"labels\":{\"k\":\"w\"}}"));
    EQ_STR(decode(STR("\x52\x03\x0a\x01k")), STR("{\"labels\":{\"k\":\"\"}}"));
    EQ_STR(decode(STR("\x4a\x03\x50\xbb\x03")), STR("{\"ports\":[80,443]}"));
    EQ_STR(decode(STR("\xf8\x07\x05\xfa\x07\x01x\x0a\x01z")), STR("{\"title\":\"z\"}"));
    stop();
}

TEST(malformed_bytes_name_the_field)
{
    start();
    static const struct {
        struct str wire;
        const char *says;
    } cases[] = {
        {{"\x0a\x05x", 3}, "protobuf: malformed"},
        {{"\x0a\x01\xff", 3}, "title: protobuf: not UTF-8"},
        {{"\x08\x01", 2}, "title: protobuf: a wrong wire type"},
        {{"\x3a\x03\x0a\x01\xff", 5}, "leaf: name: protobuf: not UTF-8"},
        {{"\x92\x01\x04\x0a\x02[1", 7}, "any:"},
        {{"\x92\x01\x06\x0a\x04k8s\0", 9}, "any: protobuf: an object within an object must be JSON"},
        {{"\x72\x0c\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x10\x00", 14}, "at: protobuf: a time out of range"},
        {{"\x0b", 1}, "protobuf: malformed"},
        {{"\x29\x00\x00\x00\x00\x00\x00\xf0\x7f", 9}, "max: protobuf: a number that JSON does not have"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        _cleanup_(err_freep) struct err *e = NULL;
        OK(proto_decode(&schema, &root_type, pool, cases[i].wire, json_obj(pool), &e) < 0);
        if (!str_starts(str_of(err_msg(e)), str_of(cases[i].says)))
            test_fail(__FILE__, __LINE__, "%s, not %s", err_msg(e), cases[i].says);
    }
    stop();
}

TEST(depth_and_size_have_limits)
{
    start();
    struct buf b = BUF_INIT, next = BUF_INIT;
    for (int i = 0; i < 100; i++) {
        buf_reset(&next);
        buf_puts(&next, "\xa2\x01");
        for (size_t n = b.n; ; n >>= 7) {
            buf_putc(&next, (char)(n >= 0x80 ? n | 0x80 : n));
            if (n < 0x80)
                break;
        }
        buf_str_add(&next, buf_str(&b));
        struct buf t = b;
        b = next;
        next = t;
    }
    EQ(proto_decode(&schema, &root_type, pool, buf_str(&b), json_obj(pool), NULL), -ERR_LIMIT);
    buf_reset(&b);
    for (int i = 0; i < 600000; i++)
        buf_add(&b, "\x42\x00", 2);
    EQ(proto_decode(&schema, &root_type, pool, buf_str(&b), json_obj(pool), NULL), -ERR_LIMIT);
    buf_clear(&b);
    buf_clear(&next);
    stop();
}

TEST(a_map_with_many_keys_decodes_in_good_time)
{
    start();
    struct buf b = BUF_INIT;
    for (int i = 0; i < 100000; i++) {
        char key[8];
        snprintf(key, sizeof key, "%06d", i % 50000);
        buf_add(&b, "\x52\x08\x0a\x06", 4);
        buf_add(&b, key, 6);
    }
    struct json *obj = json_obj(pool);
    struct err *e = NULL;
    FINE(proto_decode(&schema, &root_type, pool, buf_str(&b), obj, &e), e);
    EQ(json_count(json_get(obj, STR("labels"))), 50000);
    buf_clear(&b);
    stop();
}

TEST(values_of_a_wrong_type_do_not_go_out)
{
    start();
    static const char *const bad[] = {"{\"title\":1}", "{\"replicas\":\"1\"}", "{\"leaf\":[]}", "{\"leaves\":{}}", "{\"labels\":[]}", "{\"labels\":{\"a\":1}}",
        "{\"data\":\"!\"}", "{\"port\":true}", "{\"at\":\"now\"}", "{\"every\":\"5\"}", "{\"orBool\":3}", "{\"orArray\":true}", "{\"limits\":{\"cpu\":1}}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct buf b = BUF_INIT;
        buf_puts(&b, "kept");
        EQ(proto_encode(&schema, &root_type, parse(bad[i]), &b, NULL), -ERR_INTERNAL);
        EQ_STR(buf_str(&b), STR("kept"));
        buf_clear(&b);
    }
    stop();
}
