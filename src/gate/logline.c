#include "gate/logline.h"

#include <sys/stat.h>
#include <unistd.h>

#define BLOCK (64u << 10)
#define HEAD_MAX 96 /* time, stream and tag */

bool log_parse(struct str raw, struct log_entry *out)
{
    struct str time, stream, tag, rest;
    if (!str_cut(raw, ' ', &time, &rest) || !time_parse(time, &out->time) || !str_cut(rest, ' ', &stream, &rest))
        return false;
    if (!str_eqz(stream, "stdout") && !str_eqz(stream, "stderr"))
        return false;
    if (!str_cut(rest, ' ', &tag, &out->text)) { /* an empty line may end behind its tag */
        tag = rest;
        out->text = STR("");
    }
    struct str first = tag, others;
    (void)str_cut(tag, ':', &first, &others); /* tags are a list; the first says this */
    if (!str_eqz(first, "F") && !str_eqz(first, "P"))
        return false;
    out->partial = str_eqz(first, "P");
    out->err = str_eqz(stream, "stderr");
    return true;
}

static bool selected(enum log_stream stream, const struct log_entry *x)
{
    return stream == LOG_ALL || (stream == LOG_STDERR) == x->err;
}

/* As Go's "2006-01-02T15:04:05.000000000Z07:00" in UTC. */
static void put_time(struct buf *b, int64_t ns)
{
    char text[TIME_MAX];
    struct str t = time_format(ns - ns % NS_PER_S, text);
    buf_add(b, t.p, t.n - 1);
    buf_printf(b, ".%09" PRId64 "Z ", ns % NS_PER_S);
}

bool log_put(struct log_filter *f, const struct log_entry *x, struct buf *out)
{
    size_t before = out->n;
    if (f->left == 0)
        return false;
    if (!selected(f->stream, x) || x->time < f->since)
        return true;
    if (f->timestamps && !f->inside)
        put_time(out, x->time);
    buf_str_add(out, x->text);
    if (!x->partial)
        buf_putc(out, '\n');
    f->inside = x->partial;
    if (f->left < 0)
        return true;
    if ((int64_t)(out->n - before) >= f->left) {
        out->n = before + (size_t)f->left;
        f->left = 0;
        return false;
    }
    f->left -= (int64_t)(out->n - before);
    return true;
}

/* ---- from the end ---- */

struct tail {
    uint64_t left;
    enum log_stream stream;
};

/* Does a line of the container's end with the entry at this place? */
static bool ends_line(int fd, int64_t at, enum log_stream stream)
{
    char head[HEAD_MAX];
    struct log_entry x;
    ssize_t n = pread(fd, head, sizeof head, at);
    struct str s = str_make(head, n > 0 ? (size_t)n : 0), line = s, rest;
    (void)str_cut(s, '\n', &line, &rest);
    return log_parse(line, &x) && !x.partial && selected(stream, &x);
}

/* Goes back from `from` in one file. true: the lines wanted begin at *at. */
static bool back(struct tail *t, int fd, int64_t from, int64_t *at)
{
    char block[BLOCK];
    int64_t end = from; /* of the entry that is looked for: just behind its newline; 0: none is known yet */
    bool known = false;
    while (from > 0) {
        size_t n = (size_t)MIN(from, (int64_t)sizeof block);
        if (pread(fd, block, n, from - (int64_t)n) != (ssize_t)n)
            return false;
        for (size_t i = n; i-- > 0;) {
            int64_t place = from - (int64_t)n + (int64_t)i + 1; /* behind this byte */
            if (block[i] != '\n')
                continue;
            if (known && ends_line(fd, place, t->stream) && t->left-- == 0) {
                *at = end;
                return true;
            }
            known = true;
            end = place;
        }
        from -= (int64_t)n;
    }
    if (known && ends_line(fd, 0, t->stream) && t->left-- == 0) {
        *at = end;
        return true;
    }
    return false;
}

struct log_place log_tail(const int *fds, size_t nfds, uint64_t n, enum log_stream stream)
{
    struct tail t = {n, stream};
    struct log_place p = {0, 0};
    for (size_t i = nfds; i-- > 0;) {
        struct stat st;
        if (fstat(fds[i], &st) == 0 && back(&t, fds[i], st.st_size, &p.at)) {
            p.file = i;
            return p;
        }
    }
    p.at = 0;
    return p;
}
