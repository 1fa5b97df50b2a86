#include "proto/wire.h"

static bool varint(struct str *in, uint64_t *out)
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

static bool fixed(struct str *in, size_t n, uint64_t *out)
{
    uint64_t v = 0;
    if (in->n < n)
        return false;
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)(unsigned char)in->p[i] << (8 * i);
    *in = str_sub(*in, n, in->n);
    *out = v;
    return true;
}

bool wire_next(struct str *in, struct raw *out)
{
    uint64_t tag, n;
    if (!varint(in, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff)
        return false;
    *out = (struct raw){.number = (uint32_t)(tag >> 3), .wt = tag & 7};
    switch (out->wt) {
    case WT_VARINT:
        return varint(in, &out->v);
    case WT_64:
        return fixed(in, 8, &out->v);
    case WT_32:
        return fixed(in, 4, &out->v);
    case WT_BYTES:
        if (!varint(in, &n) || n > in->n)
            return false;
        out->s = str_make(in->p, (size_t)n);
        *in = str_sub(*in, (size_t)n, in->n);
        return true;
    }
    return false; /* groups: nobody writes them any more */
}

bool wire_small(struct str in, struct small *out)
{
    *out = (struct small){0};
    while (in.n) {
        struct raw r;
        if (!wire_next(&in, &r))
            return false;
        if (r.number <= SMALL && r.wt == WT_BYTES)
            out->s[r.number] = r.s;
        else if (r.number <= SMALL)
            out->v[r.number] = r.v;
    }
    return true;
}

void wire_varint(struct buf *out, uint64_t v)
{
    while (v >= 0x80) {
        buf_putc(out, (char)(v | 0x80));
        v >>= 7;
    }
    buf_putc(out, (char)v);
}

void wire_tag(struct buf *out, uint32_t number, int wt)
{
    wire_varint(out, (uint64_t)number << 3 | (unsigned)wt);
}

void wire_bytes(struct buf *out, uint32_t number, struct str s)
{
    wire_tag(out, number, WT_BYTES);
    wire_varint(out, s.n);
    buf_str_add(out, s);
}

void wire_number(struct buf *out, uint32_t number, uint64_t v)
{
    wire_tag(out, number, WT_VARINT);
    wire_varint(out, v);
}

void wire_length(struct buf *out, size_t at)
{
    size_t n = out->n - at;
    wire_varint(out, n);
    size_t k = out->n - at - n;
    char length[10];
    if (buf_failed(out))
        return;
    memcpy(length, out->p + at + n, k);
    memmove(out->p + at + k, out->p + at, n);
    memcpy(out->p + at, length, k);
}
