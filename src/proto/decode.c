#include "base/clock.h"
#include "base/map.h"
#include "proto/wire.h"

#define DEPTH_MAX 64
#define VALUES_MAX 500000

struct dec {
    const struct proto_schema *s;
    struct pool *pool;
    struct err **e;
    struct map seen; /* address of a map's node + key -> its value's node: a map with many keys is not searched for each */
    size_t values;
    int depth;
};

static int bad(struct dec *d, const char *what)
{
    return err_set(d->e, ERR_BAD_REQUEST, "protobuf: %s", what);
}

static int message(struct dec *d, const void *type, uint16_t via, struct str in, struct json *obj);
static int value(struct dec *d, const struct proto_field *f, uint8_t kind, const struct raw *r, struct json *old, struct json **out);

/* Well-known small messages. *out stays NULL for "absent". */

static int text(struct dec *d, struct str s, struct json **out)
{
    if (!str_utf8_valid(s))
        return bad(d, "not UTF-8");
    *out = json_str(d->pool, s);
    return 0;
}

static int raw_json(struct dec *d, struct str s, struct json **out)
{
    struct json_limits limits = {.bytes = s.n + 1, .depth = DEPTH_MAX, .nodes = VALUES_MAX};
    if (!s.n)
        return 0;
    if (proto_is_envelope(s))
        return bad(d, "an object within an object must be JSON");
    return json_parse(d->pool, s, &limits, out, d->e);
}

static int moment(struct dec *d, const struct small *m, bool micro, struct json **out)
{
    char t[TIME_MAX];
    struct str text;
    int32_t nanos = (int32_t)m->v[2];
    if (!m->v[1] && nanos >= 0 && nanos < (micro ? 1000 : 1000000000))
        return 0; /* Go's zero time: nothing is left of it in the form that is kept */
    if (!time_join((int64_t)m->v[1], nanos, micro, t, &text))
        return bad(d, "a time out of range");
    *out = json_str(d->pool, text);
    return 0;
}

static int small_message(struct dec *d, uint8_t kind, struct str in, struct json **out)
{
    struct small m;
    char t[40];
    if (!wire_small(in, &m))
        return bad(d, "malformed");
    switch (kind) {
    case PROTO_QUANTITY:
        return text(d, m.s[1].n ? m.s[1] : STR("0"), out);
    case PROTO_INT_OR_STRING:
        if (m.v[1] == 1)
            return text(d, m.s[3], out);
        *out = json_int(d->pool, (int32_t)m.v[2]);
        return 0;
    case PROTO_TIME:
    case PROTO_MICRO_TIME:
        return moment(d, &m, kind == PROTO_MICRO_TIME, out);
    case PROTO_DURATION:
        *out = json_str(d->pool, proto_duration((int64_t)m.v[1], t));
        return 0;
    }
    return raw_json(d, m.s[1], out); /* FIELDS, ANY */
}

/* Two of three JSONSchemaProps unions: a schema (number 1), or a list of schemas or strings (2). */
static int schema_or_list(struct dec *d, const struct proto_field *f, uint8_t kind, struct str in, struct json **out)
{
    struct json *list = json_arr(d->pool);
    while (in.n) {
        struct raw r;
        struct json *one = NULL;
        if (!wire_next(&in, &r) || r.wt != WT_BYTES)
            return bad(d, "malformed");
        uint8_t what = r.number == 2 && kind == PROTO_SCHEMA_OR_STRINGS ? PROTO_STRING : PROTO_OBJECT;
        int n = r.number <= 2 ? value(d, f, what, &r, NULL, &one) : 0;
        if (n < 0)
            return n;
        if (one && r.number == 1)
            *out = one;
        else if (one)
            json_append(list, one);
    }
    if (!*out)
        *out = list;
    return 0;
}

static int schema_or_bool(struct dec *d, const struct proto_field *f, struct str in, struct json **out)
{
    struct small m;
    if (!wire_small(in, &m))
        return bad(d, "malformed");
    struct raw r = {.number = 2, .wt = WT_BYTES, .s = m.s[2]};
    if (m.s[2].p)
        return value(d, f, PROTO_OBJECT, &r, NULL, out);
    *out = json_bool(d->pool, m.v[1] != 0);
    return 0;
}

static int object(struct dec *d, const struct proto_field *f, struct str in, struct json *old, struct json **out)
{
    struct json *obj = json_is(old, JSON_OBJ) ? old : json_obj(d->pool);
    if (++d->depth > DEPTH_MAX)
        return err_set(d->e, ERR_LIMIT, "protobuf: nested too deeply");
    int r = message(d, f->ref, 0, in, obj);
    d->depth--;
    *out = obj;
    return r;
}

static int scalar(struct dec *d, uint8_t kind, const struct raw *r, struct json **out)
{
    double x;
    switch (kind) {
    case PROTO_INT32:
        *out = json_int(d->pool, (int32_t)r->v);
        return 0;
    case PROTO_INT64:
        *out = json_int(d->pool, (int64_t)r->v);
        return 0;
    case PROTO_BOOL:
        *out = json_bool(d->pool, r->v != 0);
        return 0;
    }
    memcpy(&x, &r->v, sizeof x);
    if (!__builtin_isfinite(x))
        return bad(d, "a number that JSON does not have");
    *out = json_double(d->pool, x);
    return 0;
}

static int wire_type_of(uint8_t kind)
{
    return kind == PROTO_INT32 || kind == PROTO_INT64 || kind == PROTO_BOOL ? WT_VARINT : kind == PROTO_DOUBLE ? WT_64 : WT_BYTES;
}

static int value(struct dec *d, const struct proto_field *f, uint8_t kind, const struct raw *r, struct json *old, struct json **out)
{
    struct buf b = BUF_INIT;
    if (++d->values > VALUES_MAX)
        return err_set(d->e, ERR_LIMIT, "protobuf: more than %d values", VALUES_MAX);
    if (r->wt != wire_type_of(kind))
        return bad(d, "a wrong wire type");
    switch (kind) {
    case PROTO_STRING:
        return text(d, r->s, out);
    case PROTO_BYTES:
        buf_base64(&b, r->s.p, r->s.n);
        *out = json_str(d->pool, buf_str(&b));
        buf_clear(&b);
        return 0;
    case PROTO_OBJECT:
        return object(d, f, r->s, old, out);
    case PROTO_SCHEMA_OR_BOOL:
        return schema_or_bool(d, f, r->s, out);
    case PROTO_SCHEMA_OR_ARRAY:
    case PROTO_SCHEMA_OR_STRINGS:
        return schema_or_list(d, f, kind, r->s, out);
    case PROTO_INT32:
    case PROTO_INT64:
    case PROTO_BOOL:
    case PROTO_DOUBLE:
        return scalar(d, kind, r, out);
    }
    return small_message(d, kind, r->s, out);
}

/* A list that stands in a map (map[string]ExtraValue): a message of its own with the items at 1. */
static int wrapped_list(struct dec *d, const struct proto_field *f, struct str in, struct json **out)
{
    struct proto_field item;
    struct json *list = json_arr(d->pool);
    d->s->elem(f->elem, &item);
    while (in.n) {
        struct raw r;
        struct json *one = NULL;
        if (!wire_next(&in, &r))
            return bad(d, "malformed");
        int n = r.number == 1 ? value(d, &item, item.item, &r, NULL, &one) : 0;
        if (n < 0)
            return n;
        if (one)
            json_append(list, one);
    }
    *out = list;
    return 0;
}

static int packed(struct dec *d, uint8_t kind, struct str in, struct json *list)
{
    while (in.n) {
        struct raw r = {.wt = WT_VARINT};
        struct json *one = NULL;
        char tagged[12] = {8}; /* number 1, varint */
        size_t n = MIN(in.n, (size_t)10);
        memcpy(tagged + 1, in.p, n);
        struct str rest = str_make(tagged, n + 1);
        if (!wire_next(&rest, &r) || ++d->values > VALUES_MAX)
            return bad(d, "malformed");
        in = str_sub(in, n - rest.n, in.n);
        scalar(d, kind, &r, &one);
        json_append(list, one);
    }
    return 0;
}

static int array(struct dec *d, const struct proto_field *f, const struct raw *r, struct json *obj)
{
    struct json *list = json_put_arr(d->pool, obj, f->name), *one = NULL;
    if (r->wt == WT_BYTES && wire_type_of(f->item) == WT_VARINT)
        return packed(d, f->item, r->s, list);
    int n = f->item == PROTO_ARRAY || f->item == PROTO_MAP ? bad(d, "a list of lists has no form in protobuf") : value(d, f, f->item, r, NULL, &one);
    if (n == 0)
        json_append(list, one ? one : json_null(d->pool));
    return n;
}

static int map_entry(struct dec *d, const struct proto_field *f, const struct raw *r, struct json *obj)
{
    struct json *map = json_put_obj(d->pool, obj, f->name), *one = NULL;
    struct str in = r->s, key = STR("");
    struct raw v = {.number = 2, .wt = (uint8_t)wire_type_of(f->item)};
    if (r->wt != WT_BYTES)
        return bad(d, "a wrong wire type");
    while (in.n) {
        struct raw x;
        if (!wire_next(&in, &x))
            return bad(d, "malformed");
        if (x.number == 1 && x.wt == WT_BYTES)
            key = x.s;
        else if (x.number == 2)
            v = x;
    }
    if (!str_utf8_valid(key))
        return bad(d, "a key is not UTF-8");
    int n = f->item == PROTO_ARRAY ? wrapped_list(d, f, v.s, &one) : value(d, f, f->item, &v, NULL, &one);
    if (n < 0)
        return n;
    if (!one)
        one = json_null(d->pool);
    struct str unique = pool_printf(d->pool, "%p/%.*s", (void *)map, STR_ARG(key));
    struct json *before = map_get(&d->seen, unique);
    if (before) {
        json_replace(before, one);
        return 0;
    }
    map_put(&d->seen, unique, one);
    key = pool_str(d->pool, key.p ? key : STR(""));
    json_append(map, one);
    one->keyp = key.p;
    one->keyn = (uint32_t)key.n;
    return 0;
}

static bool is_zero(const struct json *j)
{
    switch ((enum json_type)j->type) {
    case JSON_NULL:
        return true;
    case JSON_BOOL:
        return !j->b;
    case JSON_INT:
        return j->i == 0;
    case JSON_DOUBLE:
        return j->d == 0;
    case JSON_STR:
        return j->n == 0;
    case JSON_ARR:
    case JSON_OBJ:
        break;
    }
    return false;
}

static int field(struct dec *d, const struct proto_field *f, const struct raw *r, struct json *obj)
{
    struct json *v = NULL;
    if (f->kind == PROTO_ARRAY)
        return array(d, f, r, obj);
    if (f->kind == PROTO_MAP)
        return map_entry(d, f, r, obj);
    int n = value(d, f, f->kind, r, f->kind == PROTO_OBJECT ? json_get(obj, f->name) : NULL, &v);
    if (n < 0)
        return n;
    /* a quantity, an IntOrString or a time has no zero that Go would leave out, but for the time that was never set (v is NULL then) */
    bool plain = f->kind < PROTO_OBJECT;
    if (!v || (plain && !f->pointer && f->omitempty && is_zero(v)))
        json_del(obj, f->name);
    else if (v != json_get(obj, f->name))
        json_set(d->pool, obj, f->name, v);
    return 0;
}

static int message(struct dec *d, const void *type, uint16_t via, struct str in, struct json *obj)
{
    size_t hint = 0;
    while (in.n) {
        struct raw r;
        struct proto_field f;
        if (!wire_next(&in, &r))
            return bad(d, "malformed");
        ssize_t at = d->s->by_number(type, via, r.number, hint);
        if (at < 0) {
            uint16_t inner = r.number < 256 && via < 256 ? (uint16_t)(via * 256u + r.number) : 0;
            if (inner && r.wt == WT_BYTES && d->s->inlines(type, inner)) {
                int n = message(d, type, inner, r.s, obj);
                if (n < 0)
                    return n;
            }
            continue;
        }
        hint = (size_t)at;
        d->s->at(type, hint, &f);
        int n = field(d, &f, &r, obj);
        if (n < 0)
            return err_wrap(d->e, "%.*s", STR_ARG(f.name)), n;
    }
    return 0;
}

int proto_decode(const struct proto_schema *s, const void *type, struct pool *pool, struct str in, struct json *obj, struct err **e)
{
    struct dec d = {.s = s, .pool = pool, .e = e};
    int r = message(&d, type, 0, in, obj);
    map_clear(&d.seen, NULL);
    return r;
}
