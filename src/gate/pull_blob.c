#include "gate/pull_blob.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "crypto/hash.h"

#define SLICE (4u << 20)
#define TRIES 5

struct blob_fetch {
    struct loop *loop;
    struct registry_session *session;
    char *path, *part;
    struct str digest; /* ours */
    int64_t size, at;  /* at: bytes in the file, all of them counted in hash */
    int64_t skip;      /* of the body under way: bytes that are there already */
    int64_t came;
    int64_t old; /* bytes of an earlier process that are still to be counted */
    bool resumed;
    int fd;
    struct hash *hash;
    struct registry_get *get;
    unsigned fails;
    struct timer timer;
    struct err *why; /* told by the timer */
    void (*done)(void *arg, const struct err *e);
    void *arg;
};

static char *path_of(const char *dir, struct str digest, const char *end)
{
    return xasprintf("%s/%.*s%s", dir, STR_ARG(str_sub(digest, 7, digest.n)), end);
}

bool blob_present(const char *dir, struct str digest, int64_t size)
{
    _cleanup_(freep) char *path = path_of(dir, digest, "");
    struct stat st;
    return lstat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == size;
}

int64_t blob_part_size(const char *dir, struct str digest)
{
    _cleanup_(freep) char *path = path_of(dir, digest, ".part");
    struct stat st;
    return lstat(path, &st) == 0 ? (int64_t)st.st_size : 0;
}

void blob_remove(const char *dir, struct str digest)
{
    _cleanup_(freep) char *path = path_of(dir, digest, "");
    (void)unlink(path);
}

int blob_write(const char *dir, struct str digest, struct str text, struct err **e)
{
    _cleanup_(freep) char *path = path_of(dir, digest, "");
    return file_replace(path, text, 0600, e);
}

static void fetch_free(struct blob_fetch *b)
{
    registry_cancel(b->get);
    timer_del(&b->timer);
    if (b->fd >= 0)
        close(b->fd);
    hash_free(b->hash);
    err_free(b->why);
    free(b->path);
    free(b->part);
    free((char *)b->digest.p);
    free(b);
}

void blob_fetch_cancel(struct blob_fetch *b)
{
    if (b)
        fetch_free(b);
}

int64_t blob_fetch_came(const struct blob_fetch *b)
{
    return b->came;
}

static void on_over(struct timer *t)
{
    struct blob_fetch *b = container_of(t, struct blob_fetch, timer);
    void (*done)(void *, const struct err *) = b->done;
    void *arg = b->arg;
    struct err *why = TAKE(b->why);
    fetch_free(b);
    done(arg, why);
    err_free(why);
}

/* In a later turn: the callers are in the middle of a connection's callback. why is taken over. */
static void over(struct blob_fetch *b, struct err *why)
{
    registry_cancel(TAKE(b->get));
    b->why = why;
    timer_in(b->loop, &b->timer, 0, on_over);
}

static void step(struct blob_fetch *b);

static void on_step(struct timer *t)
{
    step(container_of(t, struct blob_fetch, timer));
}

static void from_the_beginning(struct blob_fetch *b)
{
    unsigned char sum[HASH_LEN];
    hash_end(b->hash, sum);
    b->at = b->old = 0;
    b->resumed = false;
    if (ftruncate(b->fd, 0) < 0)
        (void)unlink(b->part);
    timer_in(b->loop, &b->timer, 0, on_step);
}

static void whole(struct blob_fetch *b)
{
    unsigned char sum[HASH_LEN];
    _cleanup_(buf_clear) struct buf got = BUF_INIT;
    struct err *e = NULL;
    bool resumed = b->resumed;
    hash_end(b->hash, sum);
    buf_puts(&got, "sha256:");
    buf_hex(&got, sum, sizeof sum);
    if (str_eq(buf_str(&got), b->digest)) {
        if (rename(b->part, b->path) < 0)
            err_errno(&e, errno, "keep %s", b->path);
        over(b, e);
        return;
    }
    if (resumed) {
        from_the_beginning(b);
        return;
    }
    (void)unlink(b->part);
    err_set(&e, ERR_INVALID, "blob %.*s: its digest is %.*s", STR_ARG(b->digest), STR_ARG(buf_str(&got)));
    over(b, e);
}

/* ---- bytes ---- */

static void on_head(void *arg, const struct registry_head *h)
{
    struct blob_fetch *b = arg;
    struct err *e = NULL;
    int64_t rest = h->status == 206 ? b->size - b->at : b->size;
    b->skip = h->status == 206 ? 0 : b->at;
    if (h->status == 206 && h->from != b->at)
        err_set(&e, ERR_BAD_REQUEST, "blob %.*s: asked for from byte %" PRId64 ", but it comes from %" PRId64, STR_ARG(b->digest), b->at,
            h->from);
    else if (h->length >= 0 && h->length != rest)
        err_set(&e, ERR_INVALID, "blob %.*s: has %" PRId64 " bytes, the manifest says %" PRId64, STR_ARG(b->digest),
            h->length + b->at - b->skip, b->size);
    if (e)
        over(b, e);
}

static void on_data(void *arg, const char *p, size_t n)
{
    struct blob_fetch *b = arg;
    struct err *e = NULL;
    b->came += (int64_t)n;
    size_t skipped = (size_t)MIN((int64_t)n, b->skip);
    b->skip -= (int64_t)skipped;
    p += skipped;
    n -= skipped;
    if ((int64_t)n > b->size - b->at)
        err_set(&e, ERR_INVALID, "blob %.*s: more bytes come than the %" PRId64 " of the manifest", STR_ARG(b->digest), b->size);
    else if (n && fd_write_all(b->fd, p, n, &e) == 0) {
        hash_add(b->hash, str_make(p, n));
        b->at += (int64_t)n;
        b->fails = 0;
    }
    if (e)
        over(b, e);
}

static bool worth_a_try(const struct err *e)
{
    return e->code == ERR_IO || e->code == ERR_TIMEOUT || e->code == ERR_UNAVAILABLE || e->code == ERR_TOO_MANY;
}

static void on_end(void *arg, const struct err *why)
{
    struct blob_fetch *b = arg;
    struct err *e = NULL;
    b->get = NULL;
    if (b->at == b->size) {
        whole(b);
        return;
    }
    if (why && (!worth_a_try(why) || b->fails + 1 >= TRIES)) {
        err_set(&e, why->code, "blob %.*s: %s", STR_ARG(b->digest), err_msg(why));
        over(b, e);
        return;
    }
    if (++b->fails >= TRIES) {
        err_set(&e, ERR_IO, "blob %.*s: ends after %" PRId64 " of %" PRId64 " bytes", STR_ARG(b->digest), b->at, b->size);
        over(b, e);
        return;
    }
    timer_in(b->loop, &b->timer, (int64_t)(1u << (b->fails - 1)) * NS_PER_S, on_step);
}

/* ---- steps: count what is there, then fetch the rest ---- */

static void count_slice(struct blob_fetch *b)
{
    static char chunk[256 << 10];
    for (size_t done = 0; done < SLICE && b->old; done += sizeof chunk) {
        ssize_t n = pread(b->fd, chunk, MIN((size_t)b->old, sizeof chunk), (off_t)b->at);
        if (n <= 0) {
            from_the_beginning(b);
            return;
        }
        hash_add(b->hash, str_make(chunk, (size_t)n));
        b->at += n;
        b->old -= n;
    }
    timer_in(b->loop, &b->timer, 0, on_step);
}

static void step(struct blob_fetch *b)
{
    static const struct registry_events events = {on_head, on_data, on_end};
    if (b->old) {
        count_slice(b);
        return;
    }
    if (b->at == b->size) {
        whole(b);
        return;
    }
    struct err *e = NULL;
    if (lseek(b->fd, (off_t)b->at, SEEK_SET) < 0 || ftruncate(b->fd, (off_t)b->at) < 0) {
        err_errno(&e, errno, "%s", b->part);
        over(b, e);
        return;
    }
    _cleanup_(freep) char *what = xasprintf("blobs/%.*s", STR_ARG(b->digest));
    b->get = registry_get(b->session, str_of(what), NULL, b->at, &events, b);
}

struct blob_fetch *blob_fetch_start(struct loop *l, struct registry_session *s, const char *dir, struct str digest, int64_t size,
    void (*done)(void *arg, const struct err *e), void *arg)
{
    struct blob_fetch *b = xcalloc(1, sizeof *b);
    struct err *e = NULL;
    struct stat st;
    *b = (struct blob_fetch){.loop = l,
        .session = s,
        .path = path_of(dir, digest, ""),
        .part = path_of(dir, digest, ".part"),
        .size = size,
        .done = done,
        .arg = arg};
    b->digest = str_make(str_dup(digest), digest.n);
    b->hash = hash_new();
    b->fd = open(b->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (b->fd < 0 || fstat(b->fd, &st) < 0) {
        err_errno(&e, errno, "%s", b->part);
        over(b, e);
        return b;
    }
    b->old = st.st_size <= size ? (int64_t)st.st_size : 0;
    b->resumed = b->old > 0;
    timer_in(l, &b->timer, 0, on_step);
    return b;
}
