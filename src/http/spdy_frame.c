#include "http/spdy_frame.h"

void spdy_put32(struct buf *b, uint32_t v)
{
    char p[4] = {(char)(v >> 24), (char)(v >> 16), (char)(v >> 8), (char)v};
    buf_add(b, p, sizeof p);
}

uint32_t spdy_get32(const char *p)
{
    const uint8_t *u = (const uint8_t *)p;
    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

void spdy_put_head(struct buf *b, unsigned type, unsigned flags, size_t n)
{
    spdy_put32(b, 0x80030000u | type);
    spdy_put32(b, (uint32_t)flags << 24 | (uint32_t)n);
}

bool spdy_zip_init(struct spdy_zip *z)
{
    *z = (struct spdy_zip){0};
    if (deflateInit2(&z->out, 1, Z_DEFLATED, 11, 4, Z_DEFAULT_STRATEGY) != Z_OK) /* heads are short: a small window is enough */
        return false;
    deflateSetDictionary(&z->out, (const Bytef *)spdy_dictionary.p, (uInt)spdy_dictionary.n);
    if (inflateInit(&z->in) != Z_OK) {
        deflateEnd(&z->out);
        return false;
    }
    z->ready = true;
    return true;
}

void spdy_zip_clear(struct spdy_zip *z)
{
    if (!z->ready)
        return;
    deflateEnd(&z->out);
    inflateEnd(&z->in);
    z->ready = false;
}

static bool inflate_block(z_stream *z, struct str block, struct buf *out)
{
    z->next_in = (Bytef *)(uintptr_t)block.p;
    z->avail_in = (uInt)block.n;
    for (;;) {
        char *at = buf_reserve(out, 4096);
        if (!at)
            return false;
        z->next_out = (Bytef *)at;
        z->avail_out = 4096;
        int r = inflate(z, Z_SYNC_FLUSH);
        if (r == Z_NEED_DICT)
            r = inflateSetDictionary(z, (const Bytef *)spdy_dictionary.p, (uInt)spdy_dictionary.n);
        out->n += 4096 - z->avail_out;
        if (r == Z_BUF_ERROR && !z->avail_in)
            return true;
        if (r != Z_OK || out->n > SPDY_BLOCK_MAX)
            return false;
        if (!z->avail_in && z->avail_out)
            return true;
    }
}

static bool take_counted(struct str *s, struct str *out)
{
    if (s->n < 4)
        return false;
    uint32_t n = spdy_get32(s->p);
    if (n > s->n - 4)
        return false;
    *out = str_make(s->p + 4, n);
    *s = str_make(s->p + 4 + n, s->n - 4 - n);
    return true;
}

static struct str lower(struct pool *p, struct str s)
{
    char *c = pool_strz(p, s);
    for (size_t i = 0; i < s.n; i++)
        if (c[i] >= 'A' && c[i] <= 'Z')
            c[i] |= 0x20;
    return str_make(c, s.n);
}

bool spdy_unpack(struct spdy_zip *z, struct str block, struct pool *p, struct http_header **h, size_t *n)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    if (!inflate_block(&z->in, block, &b) || b.n < 4)
        return false;
    uint32_t count = spdy_get32(b.p);
    struct str rest = str_sub(buf_str(&b), 4, b.n);
    if (count > SPDY_HEADERS_MAX)
        return false;
    *h = pool_array(p, struct http_header, SPDY_HEADERS_MAX + 1);
    *n = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct str name, values, one;
        if (!take_counted(&rest, &name) || !take_counted(&rest, &values) || !name.n)
            return false;
        name = lower(p, name);
        values = pool_str(p, values);
        if (!values.n && *n < SPDY_HEADERS_MAX)
            (*h)[(*n)++] = (struct http_header){name, STR("")};
        while (values.n && str_split(&values, 0, &one)) {
            if (*n == SPDY_HEADERS_MAX)
                return false;
            (*h)[(*n)++] = (struct http_header){name, one};
        }
    }
    return rest.n == 0;
}

void spdy_pack(struct spdy_zip *z, const struct http_header *h, size_t n, struct buf *out)
{
    _cleanup_(buf_clear) struct buf plain = BUF_INIT;
    spdy_put32(&plain, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        spdy_put32(&plain, (uint32_t)h[i].name.n);
        buf_str_add(&plain, h[i].name);
        spdy_put32(&plain, (uint32_t)h[i].value.n);
        buf_str_add(&plain, h[i].value);
    }
    z->out.next_in = (Bytef *)plain.p;
    z->out.avail_in = (uInt)plain.n;
    do {
        char *at = buf_reserve(out, 1024);
        z->out.next_out = (Bytef *)at;
        z->out.avail_out = 1024;
        deflate(&z->out, Z_SYNC_FLUSH);
        out->n += 1024 - z->out.avail_out;
    } while (!z->out.avail_out);
    out->p[out->n] = 0;
}
