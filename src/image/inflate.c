#include <errno.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include "image/impl.h"

#define CHUNK (128u << 10)

enum form { UNKNOWN, PLAIN, GZIP, ZSTD };
struct inflate {
    int fd;
    enum form form;
    bool eof, member_done;
    z_stream gz;
    ZSTD_DStream *zs;
    size_t n, at; /* of what was read and not consumed */
    size_t hint;  /* zstd: 0 at a frame's end */
    unsigned char in[CHUNK], out[CHUNK];
};

struct inflate *inflate_new(int fd)
{
    struct inflate *z = xcalloc(1, sizeof *z);
    z->fd = fd;
    return z;
}

void inflate_free(struct inflate *z)
{
    if (!z)
        return;
    if (z->form == GZIP)
        inflateEnd(&z->gz);
    ZSTD_freeDStream(z->zs);
    free(z);
}

bool inflate_compressed(struct inflate *z) { return z->form == GZIP || z->form == ZSTD; }

static int refill(struct inflate *z, struct err **e)
{
    if (z->at > 0 && z->at < z->n)
        memmove(z->in, z->in + z->at, z->n - z->at);
    z->n -= z->at;
    z->at = 0;
    while (!z->eof && z->n < 8) { /* enough to tell the form, at least */
        ssize_t r = read(z->fd, z->in + z->n, sizeof z->in - z->n);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return err_errno(e, errno, "read");
        z->eof = r == 0;
        z->n += (size_t)r;
    }
    return 0;
}

static int begin(struct inflate *z, struct err **e)
{
    if (z->n >= 2 && z->in[0] == 0x1f && z->in[1] == 0x8b) {
        if (inflateInit2(&z->gz, 16 + MAX_WBITS) != Z_OK)
            return err_set(e, ERR_INTERNAL, "zlib");
        z->form = GZIP;
    } else if (z->n >= 4 && memcmp(z->in, "\x28\xb5\x2f\xfd", 4) == 0) {
        z->form = ZSTD;
        z->zs = ZSTD_createDStream();
        if (!z->zs || ZSTD_isError(ZSTD_DCtx_setParameter(z->zs, ZSTD_d_windowLogMax, 27)))
            return err_set(e, ERR_INTERNAL, "zstd");
        z->hint = 1;
    } else {
        z->form = PLAIN;
    }
    return 0;
}

static ssize_t read_gzip(struct inflate *z, struct err **e)
{
    if (z->member_done) { /* concatenated members are one stream */
        if (inflateReset(&z->gz) != Z_OK)
            return err_set(e, ERR_PARSE, "gzip: cannot start the next member");
        z->member_done = false;
    }
    z->gz.next_in = z->in + z->at;
    z->gz.avail_in = (unsigned)(z->n - z->at);
    z->gz.next_out = z->out;
    z->gz.avail_out = sizeof z->out;
    int r = inflate(&z->gz, Z_NO_FLUSH);
    z->at = z->n - z->gz.avail_in;
    if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
        return err_set(e, ERR_PARSE, "gzip: %s", z->gz.msg ? z->gz.msg : "damaged");
    z->member_done = r == Z_STREAM_END;
    return (ssize_t)(sizeof z->out - z->gz.avail_out);
}

static ssize_t read_zstd(struct inflate *z, struct err **e)
{
    ZSTD_inBuffer in = {z->in, z->n, z->at};
    ZSTD_outBuffer out = {z->out, sizeof z->out, 0};
    z->hint = ZSTD_decompressStream(z->zs, &out, &in);
    if (ZSTD_isError(z->hint))
        return err_set(e, ERR_PARSE, "zstd: %s", ZSTD_getErrorName(z->hint));
    z->at = in.pos;
    return (ssize_t)out.pos;
}

ssize_t inflate_read(struct inflate *z, const void **out, struct err **e)
{
    for (;;) {
        int r = refill(z, e);
        if (r == 0 && z->form == UNKNOWN)
            r = begin(z, e);
        if (r < 0)
            return r;
        if (z->form == PLAIN) {
            *out = z->in + z->at;
            size_t n = z->n - z->at;
            z->at = z->n;
            return (ssize_t)n;
        }
        bool empty = z->at == z->n && z->eof;
        if (empty && z->form == GZIP && z->member_done)
            return 0;
        if (empty && z->form == ZSTD && z->hint == 0)
            return 0;
        size_t before = z->at;
        ssize_t n = z->form == GZIP ? read_gzip(z, e) : read_zstd(z, e);
        if (n > 0)
            *out = z->out;
        if (n != 0)
            return n;
        if (z->eof && z->at == before && !(z->form == GZIP && z->member_done && z->at == z->n))
            return err_set(e, ERR_PARSE, "%s: ends in the middle", z->form == GZIP ? "gzip" : "zstd");
    }
}
