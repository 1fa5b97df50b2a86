/* Replies as gzip (RFC 1952). A member is made of pieces, each compressed by itself and ending on a byte boundary, so that what many replies have in common is compressed
 * once and kept by whoever shares it; the checksum of the whole follows from those of the pieces. */
#include <zlib.h>
#include "http/server.h"

#define LEVEL 1 /* a list that nobody asks for twice costs more in time than in bytes */

struct bytes *http_pack(struct str s, uint32_t *crc)
{
    z_stream z = {0};
    if (s.n > UINT32_MAX || deflateInit2(&z, LEVEL, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return NULL;
    _cleanup_(buf_clear) struct buf out = BUF_INIT;
    size_t bound = deflateBound(&z, s.n) + 16; /* and the empty block of the flush */
    z.next_in = (Bytef *)(uintptr_t)s.p;
    z.avail_in = (uInt)s.n;
    z.next_out = (Bytef *)buf_reserve(&out, bound);
    z.avail_out = (uInt)bound;
    int r = deflate(&z, Z_SYNC_FLUSH);
    bool whole = r == Z_OK && z.avail_in == 0 && z.avail_out > 0;
    out.n = bound - z.avail_out;
    deflateEnd(&z);
    if (!whole)
        return NULL;
    *crc = (uint32_t)crc32_z(0, (const Bytef *)s.p, s.n);
    return bytes_new(out.p, out.n); /* without the room that the bound had to assume */
}

size_t parts_length(const struct http_part *parts, size_t n)
{
    size_t length = 0;
    for (size_t i = 0; i < n; i++)
        length += parts[i].b ? parts[i].b->n : 0;
    return length;
}

static void put32(unsigned char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)(v >> 8 * i);
}

bool gzip_parts(const struct http_part *parts, size_t n, struct http_part *out)
{
    static const unsigned char head[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4 /* fastest */, 255 /* no system */};
    unsigned char tail[10] = {3, 0}; /* a last block with nothing in it */
    uint32_t sum = 0;
    memset(out, 0, (n + 2) * sizeof *out);
    for (size_t i = 0; i < n; i++) {
        struct str s = bytes_str(parts[i].b);
        uint32_t crc = parts[i].crc;
        if (!s.n)
            continue;
        out[i + 1].b = parts[i].packed ? bytes_ref(parts[i].packed) : http_pack(s, &crc);
        if (!out[i + 1].b)
            goto not_so;
        sum = (uint32_t)crc32_combine(sum, crc, (z_off_t)s.n);
    }
    put32(tail + 2, sum);
    put32(tail + 6, (uint32_t)parts_length(parts, n));
    out[0].b = bytes_new(head, sizeof head);
    out[n + 1].b = bytes_new(tail, sizeof tail);
    if (parts_length(out, n + 2) < parts_length(parts, n))
        return true;
not_so:
    for (size_t i = 0; i < n + 2; i++)
        bytes_unref(TAKE(out[i].b));
    return false;
}
