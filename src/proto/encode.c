#include "base/clock.h"
#include "proto/wire.h"

#define DEPTH_MAX 80 /* what was decoded at the limit goes out again */
#define GROUPS_MAX 8

struct enc {
    const struct proto_schema *s;
    struct buf *out;
    struct err **e;
    int depth;
};

static int wrong(struct enc *x, const struct json *j, const char *wanted)
{
    return err_set(x->e, ERR_INTERNAL, "protobuf: %s where %s should stand", json_type_name((enum json_type)j->type), wanted);
}

static int message(struct enc *x, const void *type, uint16_t via, const struct json *obj);
static int value(struct enc *x, const struct proto_field *f, uint8_t kind, uint32_t number, const struct json *j);

static int submessage(struct enc *x, const void *type, uint32_t number, const struct json *obj)
{
    if (!json_is(obj, JSON_OBJ))
        return wrong(x, obj, "an object");
    if (++x->depth > DEPTH_MAX)
        return err_set(x->e, ERR_INTERNAL, "protobuf: nested too deeply");
    wire_tag(x->out, number, WT_BYTES);
    size_t at = x->out->n;
    int r = message(x, type, 0, obj);
    wire_length(x->out, at);
    x->depth--;
    return r;
}

static int moment(struct enc *x, const struct json *j, bool micro)
{
    int64_t s, part;
    if (!json_is(j, JSON_STR) || !time_split(json_as_str(j), &s, &part))
        return wrong(x, j, "a time");
    wire_number(x->out, 1, (uint64_t)s);
    wire_number(x->out, 2, micro ? (uint64_t)(part / 1000 * 1000) : 0);
    return 0;
}

/* The body of a well-known small message. */
static int small_message(struct enc *x, uint8_t kind, const struct json *j)
{
    int64_t ns;
    bool is_int = json_is(j, JSON_INT);
    switch (kind) {
    case PROTO_QUANTITY:
        if (!json_is(j, JSON_STR))
            return wrong(x, j, "a quantity");
        wire_bytes(x->out, 1, json_as_str(j));
        return 0;
    case PROTO_INT_OR_STRING:
        if (!is_int && !json_is(j, JSON_STR))
            return wrong(x, j, "an integer or a string");
        wire_number(x->out, 1, is_int ? 0 : 1);
        wire_number(x->out, 2, is_int ? (uint64_t)j->i : 0);
        wire_bytes(x->out, 3, is_int ? STR("") : json_as_str(j));
        return 0;
    case PROTO_TIME:
    case PROTO_MICRO_TIME:
        return moment(x, j, kind == PROTO_MICRO_TIME);
    case PROTO_DURATION:
        if (!json_is(j, JSON_STR) || !proto_duration_parse(json_as_str(j), &ns))
            return wrong(x, j, "a duration");
        wire_number(x->out, 1, (uint64_t)ns);
        return 0;
    }
    wire_tag(x->out, 1, WT_BYTES); /* FIELDS, ANY */
    size_t at = x->out->n;
    json_write(x->out, j);
    wire_length(x->out, at);
    return 0;
}

static int schema_or(struct enc *x, const struct proto_field *f, uint8_t kind, const struct json *j)
{
    bool list = kind != PROTO_SCHEMA_OR_BOOL;
    if (json_is(j, JSON_OBJ)) {
        if (!list)
            wire_number(x->out, 1, 1); /* allows: true beside a schema, as Go's UnmarshalJSON sets it */
        return submessage(x, f->ref, list ? 1 : 2, j);
    }
    if (!list && json_is(j, JSON_BOOL)) {
        wire_number(x->out, 1, j->b);
        return 0;
    }
    if (!list || !json_is(j, JSON_ARR))
        return wrong(x, j, list ? "a schema or a list" : "a schema or a boolean");
    json_for(j, it)
    {
        int r = value(x, f, kind == PROTO_SCHEMA_OR_ARRAY ? PROTO_OBJECT : PROTO_STRING, 2, it);
        if (r < 0)
            return r;
    }
    return 0;
}

static int bytes(struct enc *x, uint32_t number, const struct json *j)
{
    wire_tag(x->out, number, WT_BYTES);
    size_t at = x->out->n;
    if (!json_is(j, JSON_STR) || !buf_unbase64(x->out, json_as_str(j)))
        return wrong(x, j, "base64");
    wire_length(x->out, at);
    return 0;
}

static int number_value(struct enc *x, uint8_t kind, uint32_t number, const struct json *j)
{
    if (kind == PROTO_DOUBLE && (json_is(j, JSON_DOUBLE) || json_is(j, JSON_INT))) {
        double d = json_is(j, JSON_INT) ? (double)j->i : j->d;
        uint64_t v;
        char le[8];
        memcpy(&v, &d, sizeof v);
        for (int i = 0; i < 8; i++)
            le[i] = (char)(v >> (8 * i));
        wire_tag(x->out, number, WT_64);
        buf_add(x->out, le, sizeof le);
        return 0;
    }
    if (kind == PROTO_BOOL ? !json_is(j, JSON_BOOL) : !json_is(j, JSON_INT))
        return wrong(x, j, kind == PROTO_BOOL ? "a boolean" : "a number");
    wire_number(x->out, number, kind == PROTO_BOOL ? j->b : (uint64_t)j->i);
    return 0;
}

static int value(struct enc *x, const struct proto_field *f, uint8_t kind, uint32_t number, const struct json *j)
{
    switch (kind) {
    case PROTO_STRING:
        if (!json_is(j, JSON_STR))
            return wrong(x, j, "a string");
        wire_bytes(x->out, number, json_as_str(j));
        return 0;
    case PROTO_INT32:
    case PROTO_INT64:
    case PROTO_BOOL:
    case PROTO_DOUBLE:
        return number_value(x, kind, number, j);
    case PROTO_BYTES:
        return bytes(x, number, j);
    case PROTO_OBJECT:
        return submessage(x, f->ref, number, j);
    case PROTO_ARRAY:
    case PROTO_MAP:
        return err_set(x->e, ERR_INTERNAL, "protobuf: a list of lists has no form here");
    }
    wire_tag(x->out, number, WT_BYTES);
    size_t at = x->out->n;
    int r = kind >= PROTO_SCHEMA_OR_BOOL ? schema_or(x, f, kind, j) : small_message(x, kind, j);
    wire_length(x->out, at);
    return r;
}

static int array(struct enc *x, const struct proto_field *f, uint32_t number, const struct json *j)
{
    if (!json_is(j, JSON_ARR))
        return wrong(x, j, "a list");
    json_for(j, it)
    {
        int r = value(x, f, f->item, number, it);
        if (r < 0)
            return r;
    }
    return 0;
}

static int map(struct enc *x, const struct proto_field *f, const struct json *j)
{
    if (!json_is(j, JSON_OBJ))
        return wrong(x, j, "a map");
    json_for(j, it)
    {
        struct proto_field inner;
        int r = 0;
        wire_tag(x->out, f->number, WT_BYTES);
        size_t at = x->out->n;
        wire_bytes(x->out, 1, json_key(it));
        if (f->item == PROTO_ARRAY) {
            x->s->elem(f->elem, &inner);
            wire_tag(x->out, 2, WT_BYTES);
            size_t list = x->out->n;
            r = array(x, &inner, 1, it);
            wire_length(x->out, list);
        } else if (!json_is(it, JSON_NULL) || f->item == PROTO_ANY) {
            r = value(x, f, f->item, 2, it);
        } else if (f->item == PROTO_TIME || f->item == PROTO_MICRO_TIME || f->item == PROTO_OBJECT || f->item == PROTO_STRING) {
            wire_bytes(x->out, 2, STR("")); /* Go's zero value */
        }
        if (r < 0)
            return r;
        wire_length(x->out, at);
    }
    return 0;
}

static int field(struct enc *x, const struct proto_field *f, const struct json *j)
{
    int r = f->kind == PROTO_ARRAY ? array(x, f, f->number, j) : f->kind == PROTO_MAP ? map(x, f, j) : value(x, f, f->kind, f->number, j);
    if (r < 0)
        err_wrap(x->e, "%.*s", STR_ARG(f->name));
    return r;
}

/* The inlined message below `via` in which a field with field_via stands; 0: it does not stand below. */
static uint16_t step(uint16_t via, uint16_t field_via)
{
    if (field_via == via || !field_via)
        return 0;
    if (!via)
        return field_via < 256 ? field_via : field_via >> 8;
    return field_via >> 8 == via ? field_via : 0;
}

static int message(struct enc *x, const void *type, uint16_t via, const struct json *obj)
{
    uint16_t done[GROUPS_MAX];
    size_t ndone = 0;
    json_for(obj, it)
    {
        struct proto_field f;
        ssize_t at = json_is(it, JSON_NULL) ? -1 : x->s->by_name(type, json_key(it));
        if (at < 0)
            continue;
        x->s->at(type, (size_t)at, &f);
        if (!f.number)
            continue;
        uint16_t inner = step(via, f.via);
        int r = 0;
        if (f.via == via) {
            r = field(x, &f, it);
        } else if (inner) {
            /* all members of an inlined message go out together, at the first of them */
            bool before = false;
            for (size_t i = 0; i < ndone; i++)
                before |= done[i] == inner;
            if (before)
                continue;
            if (ndone < GROUPS_MAX)
                done[ndone++] = inner;
            wire_tag(x->out, inner & 0xff, WT_BYTES);
            size_t start = x->out->n;
            r = message(x, type, inner, obj);
            wire_length(x->out, start);
        }
        if (r < 0)
            return r;
    }
    return 0;
}

int proto_encode(const struct proto_schema *s, const void *type, const struct json *obj, struct buf *out, struct err **e)
{
    struct enc x = {.s = s, .out = out, .e = e};
    size_t before = out->n;
    int r = message(&x, type, 0, obj);
    if (r < 0)
        out->n = before;
    return r;
}
