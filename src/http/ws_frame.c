#include "http/ws_frame.h"

#define FRAGMENTS 16384 /* of one message: empty ones cost only us */
#define CONTROL_MAX 125

void ws_unmask(char *p, size_t n, const uint8_t key[4], uint64_t at)
{
    uint8_t k[8];
    for (size_t i = 0; i < 8; i++)
        k[i] = key[(at + i) & 3];
    uint64_t wide, word;
    memcpy(&wide, k, 8);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        memcpy(&word, p + i, 8);
        word ^= wide;
        memcpy(p + i, &word, 8);
    }
    for (; i < n; i++)
        p[i] ^= (char)k[i & 7];
}

static uint64_t big_endian(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

static size_t head_size(const struct ws_parser *p)
{
    if (p->have < 2)
        return 2;
    unsigned len = p->head[1] & 0x7f;
    return 2u + (len == 126 ? 2u : len == 127 ? 8u : 0u) + (p->head[1] & 0x80 ? 4u : 0u);
}

/* The first two bytes are there: what can be refused already is refused before any payload is waited for. */
static int check_start(struct ws_parser *p)
{
    uint8_t op = p->head[0] & 0x0f, len = p->head[1] & 0x7f;
    bool fin = p->head[0] & 0x80, control = op & 8;
    if (p->head[0] & 0x70 || op > WS_PONG || (op > 2 && op < WS_CLOSE))
        return 1002;
    if (!!(p->head[1] & 0x80) != p->masked)
        return 1002;
    if (control && (!fin || len > CONTROL_MAX))
        return 1002;
    if (!control && (op == WS_CONT) != p->in_message)
        return 1002;
    return 0;
}

static int start_payload(struct ws_parser *p)
{
    unsigned len = p->head[1] & 0x7f;
    size_t at = 2;
    p->op = p->head[0] & 0x0f;
    p->fin = p->head[0] & 0x80;
    p->left = len;
    if (len == 126)
        p->left = big_endian(p->head + 2, 2), at = 4;
    else if (len == 127)
        p->left = big_endian(p->head + 2, 8), at = 10;
    if ((len == 126 && p->left < 126) || (len == 127 && (p->left < 65536 || p->left >> 63)))
        return 1002; /* the shortest form is required */
    if (p->left > p->max)
        return 1009;
    if (p->masked)
        memcpy(p->key, p->head + at, 4);
    if (!(p->op & 8)) {
        p->fragments = p->in_message ? p->fragments + 1 : 1;
        p->in_message = !p->fin;
        if (p->fragments > FRAGMENTS)
            return 1009;
    }
    p->at = 0;
    p->have = 0;
    p->in_payload = true;
    return 0;
}

int ws_next(struct ws_parser *p, struct str *in, struct ws_piece *out)
{
    while (!p->in_payload) {
        if (!in->n)
            return 0;
        p->head[p->have++] = (uint8_t)in->p[0];
        *in = str_make(in->p + 1, in->n - 1);
        int bad = p->have == 2 ? check_start(p) : 0;
        if (!bad && p->have >= 2 && p->have == head_size(p))
            bad = start_payload(p);
        if (bad)
            return bad;
    }
    if (p->left && !in->n)
        return 0;
    size_t n = (size_t)MIN((uint64_t)in->n, p->left);
    *out = (struct ws_piece){.op = p->op, .first = p->at == 0, .last = n == p->left, .fin = p->fin, .data = {in->p, n}, .at = p->at};
    memcpy(out->key, p->key, 4);
    *in = str_make(in->p + n, in->n - n);
    p->at += n;
    p->left -= n;
    p->in_payload = !out->last;
    return 1;
}

void ws_head(struct buf *b, uint8_t op, bool fin, uint64_t n, const uint8_t *key)
{
    uint8_t mask = key ? 0x80 : 0;
    buf_putc(b, (char)(op | (fin ? 0x80 : 0)));
    if (n < 126) {
        buf_putc(b, (char)(n | mask));
    } else if (n < 65536) {
        char h[3] = {(char)(126 | mask), (char)(n >> 8), (char)n};
        buf_add(b, h, sizeof h);
    } else {
        buf_putc(b, (char)(127 | mask));
        for (int shift = 56; shift >= 0; shift -= 8)
            buf_putc(b, (char)(n >> shift));
    }
    if (key)
        buf_add(b, key, 4);
}

bool ws_close_code_ok(int c)
{
    return (c >= 1000 && c <= 1003) || (c >= 1007 && c <= 1014) || (c >= 3000 && c <= 4999);
}
