#include "base/wire.h"

/* Encoding and decoding by table (the header says how it looks on the wire). */

#define DEPTH_MAX 16
#define STRS_EACH (1u << 20)
#define LISTS_MAX (64u << 20) /* memory that one message's lists may take: a small message must not unfold into a large one */

static void put_varint(struct buf *out, uint64_t v)
{
    while (v >= 0x80) {
        buf_putc(out, (char)(v | 0x80));
        v >>= 7;
    }
    buf_putc(out, (char)v);
}

static void put_str(struct buf *out, struct str s)
{
    put_varint(out, s.n);
    buf_str_add(out, s);
}

static void put_fields(const struct wire_type *t, const char *msg, struct buf *out);

/* Length first, though it is known last. */
static void put_struct(const struct wire_type *t, const char *msg, struct buf *out)
{
    size_t at = out->n;
    put_fields(t, msg, out);
    size_t n = out->n - at;
    put_varint(out, n);
    char length[10];
    size_t k = out->n - at - n;
    memcpy(length, out->p + at + n, k);
    memmove(out->p + at + k, out->p + at, n);
    memcpy(out->p + at, length, k);
}

static void put_fields(const struct wire_type *t, const char *msg, struct buf *out)
{
    for (const struct wire_field *f = t->fields; f->kind != WIRE_K_END; f++) {
        const char *at = msg + f->at;
        size_t count = f->kind == WIRE_K_LIST || f->kind == WIRE_K_STRS ? *(const size_t *)(const void *)(msg + f->at_count) : 0;
        int64_t i;
        switch (f->kind) {
        case WIRE_K_STR:
            put_str(out, *(const struct str *)(const void *)at);
            break;
        case WIRE_K_U64:
            put_varint(out, *(const uint64_t *)(const void *)at);
            break;
        case WIRE_K_I64:
            i = *(const int64_t *)(const void *)at;
            put_varint(out, (uint64_t)i << 1 ^ (uint64_t)(i >> 63));
            break;
        case WIRE_K_BOOL:
            buf_putc(out, *(const bool *)(const void *)at ? 1 : 0);
            break;
        case WIRE_K_STRS:
            put_varint(out, count);
            for (size_t k = 0; k < count; k++)
                put_str(out, (*(struct str *const *)(const void *)at)[k]);
            break;
        case WIRE_K_LIST:
            put_varint(out, count);
            for (size_t k = 0; k < count; k++)
                put_struct(f->type, *(const char *const *)(const void *)at + k * f->type->size, out);
            break;
        case WIRE_K_STRUCT:
            put_struct(f->type, at, out);
            break;
        case WIRE_K_END:
            break;
        }
    }
}

void wire_encode(const struct wire_type *t, const void *msg, struct buf *out)
{
    put_fields(t, msg, out);
}

struct reader {
    struct pool *pool;
    size_t lists; /* memory taken */
    int depth;
    struct err **e;
};

static int bad(struct reader *r, const struct wire_type *t, const struct wire_field *f, const char *what)
{
    return err_set(r->e, ERR_PARSE, "%s.%s: %s", t->name, f->name, what);
}

static bool get_varint(struct str *in, uint64_t *out)
{
    uint64_t v = 0;
    for (size_t i = 0; i < in->n && i < 10; i++) {
        unsigned char c = (unsigned char)in->p[i];
        if (i == 9 && c > 1)
            return false;
        v |= (uint64_t)(c & 0x7f) << (7 * i);
        if (!(c & 0x80)) {
            *in = str_sub(*in, i + 1, in->n);
            *out = v;
            return true;
        }
    }
    return false;
}

static bool get_str(struct str *in, struct str *out, uint64_t max)
{
    uint64_t n;
    if (!get_varint(in, &n) || n > in->n || (max && n > max))
        return false;
    *out = str_make(in->p, (size_t)n);
    *in = str_sub(*in, (size_t)n, in->n);
    return true;
}

static int get_fields(struct reader *r, const struct wire_type *t, struct str in, char *msg);

static int get_items(struct reader *r, const struct wire_type *t, const struct wire_field *f, struct str *in, char *msg)
{
    bool strs = f->kind == WIRE_K_STRS;
    size_t size = strs ? sizeof(struct str) : f->type->size;
    uint64_t n;
    if (!get_varint(in, &n))
        return bad(r, t, f, "not a count");
    /* every item takes at least its length byte, so that a count beyond the bytes that are left is a lie */
    if (n > f->max || n > in->n)
        return bad(r, t, f, "too many items");
    if (r->lists + n * size > LISTS_MAX)
        return err_set(r->e, ERR_LIMIT, "%s.%s: the message's lists are too large", t->name, f->name);
    r->lists += n * size;
    char *items = n ? pool_zalloc(r->pool, (size_t)n * size) : NULL;
    for (size_t i = 0; i < n; i++) {
        struct str one;
        if (!get_str(in, &one, strs ? STRS_EACH : 0))
            return bad(r, t, f, "an item is cut or too long");
        if (strs)
            ((struct str *)(void *)items)[i] = one;
        else if (get_fields(r, f->type, one, items + i * size) < 0)
            return -ERR_PARSE;
    }
    memcpy(msg + f->at, &items, sizeof items);
    *(size_t *)(void *)(msg + f->at_count) = (size_t)n;
    return 0;
}

static int get_field(struct reader *r, const struct wire_type *t, const struct wire_field *f, struct str *in, char *msg)
{
    void *at = msg + f->at;
    uint64_t v;
    struct str s;
    switch (f->kind) {
    case WIRE_K_STR:
        if (!get_str(in, at, f->max))
            return bad(r, t, f, "cut or too long");
        return 0;
    case WIRE_K_U64:
        if (!get_varint(in, &v))
            return bad(r, t, f, "not a number");
        if (f->max && v > f->max)
            return bad(r, t, f, "out of range");
        *(uint64_t *)at = v;
        return 0;
    case WIRE_K_I64:
        if (!get_varint(in, &v))
            return bad(r, t, f, "not a number");
        *(int64_t *)at = (int64_t)(v >> 1 ^ (0 - (v & 1)));
        return 0;
    case WIRE_K_BOOL:
        if (!get_varint(in, &v) || v > 1)
            return bad(r, t, f, "not a boolean");
        *(bool *)at = v;
        return 0;
    case WIRE_K_STRS:
    case WIRE_K_LIST:
        return get_items(r, t, f, in, msg);
    case WIRE_K_STRUCT:
        if (!get_str(in, &s, 0))
            return bad(r, t, f, "cut");
        return get_fields(r, f->type, s, at);
    case WIRE_K_END:
        break;
    }
    return 0;
}

static int get_fields(struct reader *r, const struct wire_type *t, struct str in, char *msg)
{
    if (++r->depth > DEPTH_MAX)
        return err_set(r->e, ERR_PARSE, "%s: nested too deeply", t->name);
    /* where the bytes end, an older writer stopped: the fields behind stay zero; bytes behind the last field are a newer writer's */
    for (const struct wire_field *f = t->fields; f->kind != WIRE_K_END && in.n; f++) {
        int n = get_field(r, t, f, &in, msg);
        if (n < 0)
            return n;
    }
    r->depth--;
    return 0;
}

int wire_decode(const struct wire_type *t, struct str in, struct pool *pool, void *msg, struct err **e)
{
    struct reader r = {.pool = pool, .e = e};
    char *fresh = pool_zalloc(pool, t->size); /* msg stays as it was on failure */
    int n = get_fields(&r, t, in, fresh);
    if (n < 0)
        return n;
    memcpy(msg, fresh, t->size);
    return 0;
}
