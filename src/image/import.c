#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/file.h"
#include "crypto/hash.h"
#include "image/impl.h"
#include "image/sandbox.h"

#define CONFIG_MAX (4u << 20)
#define INDEX_DEPTH 4

/* ---- frames from a parser: u32 length, body; length 0xffffffff: the end, i32 code, u32 length, message ---- */

static int read_all(int fd, void *p, size_t n)
{
    for (size_t got = 0; got < n;) {
        ssize_t r = read(fd, (char *)p + got, n - got);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return -1;
        got += (size_t)r;
    }
    return 0;
}

/* 1: a frame; 0: the end; or the parser's error. */
static int next_frame(int fd, struct buf *frame, struct err **e)
{
    uint32_t n, len;
    int32_t code;
    buf_reset(frame);
    if (read_all(fd, &n, sizeof n) < 0)
        return err_set(e, ERR_PARSE, "its parser died");
    if (n == UINT32_MAX) {
        char text[4096];
        if (read_all(fd, &code, sizeof code) < 0 || read_all(fd, &len, sizeof len) < 0 || len >= sizeof text || read_all(fd, text, len) < 0)
            return err_set(e, ERR_PARSE, "its parser broke off");
        text[len] = 0;
        return code < 0 ? err_set(e, -code > 0 && -code < ERR_CODES ? (enum err_code)-code : ERR_PARSE, "%s", text) : 0;
    }
    if (n > FRAME_MAX)
        return err_set(e, ERR_LIMIT, "its parser said too much at once");
    if (read_all(fd, buf_reserve(frame, n), n) < 0)
        return err_set(e, ERR_PARSE, "its parser broke off");
    frame->n = n;
    return 1;
}

static int send_frame(int out, const struct wire_type *t, const void *msg, struct err **e)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    uint32_t n = 0;
    buf_add(&b, &n, sizeof n);
    wire_encode(t, msg, &b);
    n = (uint32_t)(b.n - sizeof n);
    memcpy(b.p, &n, sizeof n);
    return fd_write_all(out, b.p, b.n, e);
}

/* ---- the parsers' mains ---- */

enum document { DOC_CONFIG, DOC_MANIFEST, DOC_INDEX };
struct document_job { enum document kind; struct str text, wanted; };

static int run_document(void *arg, int in, int extra, int out, struct err **e)
{
    struct document_job *j = arg;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    if (j->kind == DOC_CONFIG) {
        struct image_config c = {0};
        int r = plan_config(p, j->text, &c, e);
        return r < 0 ? r : send_frame(out, &image_config_type, &c, e);
    }
    struct plan plan = {0};
    struct plan_image picked = {0};
    bool again = false;
    int r = j->kind == DOC_MANIFEST ? plan_layout(p, STR_NULL, j->text, &plan, e)
                                    : plan_pick(p, j->text, j->wanted, &picked.manifest_digest, &again, e);
    if (j->kind == DOC_INDEX) {
        picked.config.ranged = again;
        plan = (struct plan){&picked, 1};
    }
    return r < 0 ? r : send_frame(out, &plan_type, &plan, e);
}

static int run_archive(void *arg, int in, int extra, int out, struct err **e)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct plan plan = {0};
    int r = plan_archive(in, extra, p, &plan, e);
    return r < 0 ? r : send_frame(out, &plan_type, &plan, e);
}

static int emit(void *arg, const struct layer_op *op, struct err **e)
{
    return send_frame(*(int *)arg, &layer_op_type, op, e);
}

static int run_layer(void *arg, int in, int extra, int out, struct err **e)
{
    return layer_parse(in, emit, &out, e);
}

/* Starts a parser and takes its single answer. */
static int ask(struct image_store *s, int (*run)(void *, int, int, int, struct err **), void *arg, int in, int extra,
    const struct wire_type *t, struct pool *p, void *msg, struct err **e)
{
    _cleanup_(closep) int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct parser_spec spec = {s->user, in >= 0 ? in : null, extra, run, arg};
    struct parser parser;
    int r = parser_start(&spec, &parser, e);
    if (r < 0)
        return r;
    _cleanup_(buf_clear) struct buf frame = BUF_INIT;
    r = next_frame(parser.out, &frame, e);
    if (r == 1)
        r = wire_decode(t, pool_str(p, buf_str(&frame)), p, msg, e);
    else if (r == 0)
        r = err_set(e, ERR_PARSE, "its parser said nothing");
    int end = parser_end(&parser, r < 0, r < 0 ? NULL : e);
    return r < 0 ? r : end;
}

/* ---- blobs ---- */

struct job {
    struct image_store *s;
    const struct image_import_options *o;
    struct pool *pool;
    int source;         /* plain archive, or layout folder */
    struct map made;    /* digest → tmp folder of a layer of this import, malloc'ed path */
};

/* A descriptor of the file that holds b; the caller closes. Layout folders belong to somebody less trusted: plain files inside it only. */
static int open_blob(struct job *j, const struct plan_blob *b, struct err **e)
{
    if (b->ranged)
        return dup(j->source);
    if (!image_digest_valid(b->digest))
        return err_set(e, ERR_PARSE, "\"%.*s\" is not a sha256 digest", STR_ARG(b->digest));
    _cleanup_(freep) char *path = xasprintf("blobs/sha256/%.*s", STR_ARG(str_sub(b->digest, 7, b->digest.n)));
    int fd = openat(j->source, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))) {
        close(fd);
        errno = EINVAL;
        fd = -1;
    }
    return fd < 0 ? err_errno(e, errno, "layout: %s", path) : fd;
}

static int feed(int from, const struct plan_blob *b, int to, struct buf *text, char hex[HASH_HEX + 1], struct err **e)
{
    _cleanup_(hash_freep) struct hash *h = hash_new();
    unsigned char sum[HASH_LEN];
    static char chunk[128 << 10];
    uint64_t at = b->at, left = b->size;
    bool open = true;
    while (left) {
        ssize_t n = pread(from, chunk, MIN(left, sizeof chunk), (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? err_errno(e, errno, "read blob") : err_set(e, ERR_PARSE, "blob is shorter than it says");
        hash_add(h, str_make(chunk, (size_t)n));
        if (text)
            buf_add(text, chunk, (size_t)n);
        else if (open && fd_write_all(to, chunk, (size_t)n, NULL) < 0)
            open = false; /* the parser has its end already, or gave up: it will say; hash on */
        at += (uint64_t)n;
        left -= (uint64_t)n;
    }
    _cleanup_(buf_clear) struct buf b16 = BUF_INIT;
    hash_end(h, sum);
    buf_hex(&b16, sum, sizeof sum);
    memcpy(hex, b16.p, HASH_HEX + 1);
    return 0;
}

static int check_digest(const struct plan_blob *b, struct str digest, struct err **e)
{
    if (!str_empty(b->digest) && !str_eq(b->digest, digest))
        return err_set(e, ERR_INVALID, "blob is %.*s, not %.*s as it should be", STR_ARG(digest), STR_ARG(b->digest));
    return 0;
}

/* A small document, with its digest (checked when one is expected). */
static int read_document(struct job *j, const struct plan_blob *b, struct str *text, struct str *digest, struct err **e)
{
    if (b->size > CONFIG_MAX)
        return err_set(e, ERR_LIMIT, "a document of %" PRIu64 " bytes", b->size);
    _cleanup_(closep) int fd = open_blob(j, b, e);
    if (fd < 0)
        return fd;
    struct buf t = BUF_INIT;
    char hex[HASH_HEX + 1];
    int r = feed(fd, b, -1, &t, hex, e);
    *text = buf_to_pool(&t, j->pool);
    if (r < 0)
        return r;
    *digest = pool_printf(j->pool, "sha256:%s", hex);
    return check_digest(b, *digest, e);
}

/* The digest of a ranged blob is found by reading it; that of a layout's is known and checked while it is unpacked. */
static int find_digest(struct job *j, struct plan_blob *b, struct err **e)
{
    if (!str_empty(b->digest))
        return 0;
    _cleanup_(closep) int fd = open_blob(j, b, e), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    char hex[HASH_HEX + 1];
    int r = fd < 0 ? fd : feed(fd, b, null, NULL, hex, e);
    if (r == 0)
        b->digest = pool_printf(j->pool, "sha256:%s", hex);
    return r;
}

/* ---- layers ---- */

/* The feeder: a process that hashes what it hands to the parser, and tells the digest. */
static pid_t start_feeder(struct job *j, const struct plan_blob *b, int to, int *result, struct err **e)
{
    int p[2];
    _cleanup_(closep) int from = open_blob(j, b, e);
    if (from < 0)
        return from;
    if (pipe2(p, O_CLOEXEC) < 0)
        return err_errno(e, errno, "pipe");
    pid_t pid = fork();
    if (pid == 0) {
        char hex[HASH_HEX + 1];
        signal(SIGPIPE, SIG_IGN);
        /* it must not outlive this import, nor hold its lock or the parser's answer open */
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        int own[3] = {dup2(from, 0), dup2(to, 1), dup2(p[1], 2)};
        syscall(SYS_close_range, 3, ~0U, 0);
        from = own[0];
        to = own[1];
        p[1] = own[2];
        if (feed(from, b, to, NULL, hex, NULL) == 0)
            (void)!write(p[1], hex, HASH_HEX);
        _exit(0);
    }
    int saved = errno;
    close(p[1]);
    *result = p[0];
    return pid < 0 ? err_errno(e, saved, "fork") : pid;
}

static int end_feeder(pid_t pid, int result, const struct plan_blob *b, struct err **e)
{
    char hex[HASH_HEX + 1] = "";
    int r = read_all(result, hex, HASH_HEX);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    if (r < 0)
        return err_set(e, ERR_PARSE, "layer could not be read to its end");
    _cleanup_(freep) char *digest = xasprintf("sha256:%s", hex);
    return check_digest(b, str_of(digest), e);
}

static int take_ops(int out, struct apply *a, struct buf *diff_id, struct err **e)
{
    _cleanup_(buf_clear) struct buf frame = BUF_INIT;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    int r;
    while ((r = next_frame(out, &frame, e)) == 1) {
        struct layer_op op;
        pool_reset(p);
        r = wire_decode(&layer_op_type, buf_str(&frame), p, &op, e);
        if (r < 0)
            return r;
        if (op.kind == OP_END)
            buf_str_add(diff_id, op.data);
        else if ((r = apply_op(a, &op, e)) < 0)
            return r;
    }
    if (r == 0 && diff_id->n == 0)
        r = err_set(e, ERR_PARSE, "layer: its parser did not reach the end");
    return r < 0 ? r : apply_end(a, e);
}

static int unpack_into(struct job *j, const struct plan_blob *b, int dir, struct buf *diff_id, int64_t *bytes, struct err **e)
{
    int p[2], result = -1;
    if (pipe2(p, O_CLOEXEC) < 0)
        return err_errno(e, errno, "pipe");
    fcntl(p[1], F_SETPIPE_SZ, 1 << 20);
    _cleanup_(closep) int in = p[0], to = p[1];
    struct parser parser;
    struct parser_spec spec = {j->s->user, in, -1, run_layer, NULL};
    int r = parser_start(&spec, &parser, e);
    if (r < 0)
        return r;
    closep(&in);
    pid_t feeder = start_feeder(j, b, to, &result, e);
    _cleanup_(closep) int answer = result;
    closep(&to);
    _cleanup_(apply_freep) struct apply *a = apply_new(dir);
    r = feeder < 0 ? feeder : take_ops(parser.out, a, diff_id, e);
    int end = parser_end(&parser, r < 0, r < 0 ? NULL : e);
    r = r < 0 ? r : end;
    if (feeder > 0) {
        end = end_feeder(feeder, answer, b, r < 0 ? NULL : e);
        r = r < 0 ? r : end;
    }
    *bytes = apply_bytes(a);
    return r;
}

static int unpack_layer(struct job *j, const struct plan_blob *b, struct str diff_id, int64_t *bytes, struct err **e)
{
    char suffix[17];
    random_suffix(suffix, 16);
    _cleanup_(freep) char *path = xasprintf("%s/%s", j->s->tmp, suffix);
    if (mkdir(path, 0755) < 0)
        return err_errno(e, errno, "%s", path);
    _cleanup_(closep) int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || fchmod(dir, 0755) < 0)
        return err_errno(e, errno, "%s", path);
    _cleanup_(buf_clear) struct buf got = BUF_INIT;
    int r = unpack_into(j, b, dir, &got, bytes, e);
    if (r == 0 && !str_eq(buf_str(&got), diff_id))
        r = err_set(e, ERR_INVALID, "layer is %.*s when unpacked, not %.*s as its image says", STR_ARG(buf_str(&got)), STR_ARG(diff_id));
    if (r == 0)
        free(map_put(&j->made, b->digest, TAKE(path)));
    return r;
}

/* ---- images ---- */

static int one_image(struct job *j, struct plan_image *pi, struct image *out, struct err **e)
{
    struct str text, id;
    int r = read_document(j, &pi->config, &text, &id, e);
    if (r < 0)
        return err_wrap(e, "image config"), r;
    struct document_job doc = {DOC_CONFIG, text, STR_NULL};
    r = ask(j->s, run_document, &doc, -1, -1, &image_config_type, j->pool, &out->config, e);
    if (r < 0)
        return r;
    if (out->config.ndiff_ids != pi->nlayers)
        return err_set(e, ERR_INVALID, "image has %zu layers, but its config names %zu", pi->nlayers, out->config.ndiff_ids);
    out->id = id;
    out->layers = pool_array(j->pool, struct image_layer, pi->nlayers + 1);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    out->created = (int64_t)now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
    const struct image *known = map_get(&j->s->by_id, id);
    for (size_t k = 0; k < pi->nlayers; k++) {
        struct plan_blob *b = &pi->layers[k];
        int64_t bytes = 0;
        if ((r = find_digest(j, b, e)) < 0)
            return r;
        if (!store_has_layer(j->s, b->digest) && !map_get(&j->made, b->digest) &&
            (r = unpack_layer(j, b, out->config.diff_ids[k], &bytes, e)) < 0)
            return r;
        for (size_t m = 0; bytes == 0 && known && m < known->nlayers; m++)
            if (str_eq(known->layers[m].digest, b->digest))
                bytes = known->layers[m].size;
        out->layers[out->nlayers++] = (struct image_layer){b->digest, bytes ? bytes : (int64_t)b->size};
        out->size += out->layers[k].size;
    }
    return 0;
}

/* The part before the tag or digest, for "name@sha256:...". */
static struct str repository(struct str name)
{
    struct str head, tail;
    if (str_cut(name, '@', &head, &tail))
        name = head;
    ssize_t colon = str_rchr(name, ':'), slash = str_rchr(name, '/');
    return colon > slash ? str_sub(name, 0, (size_t)colon) : name;
}

static int commit_layers(struct job *j, struct err **e)
{
    _cleanup_(closep) int fs = open(j->s->tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (map_count(&j->made) && (fs < 0 || syncfs(fs) < 0))
        return err_errno(e, errno, "sync layers");
    map_for(&j->made, it) {
        _cleanup_(buf_clear) struct buf to = BUF_INIT;
        buf_printf(&to, "%s/", j->s->layers);
        store_layer_name(map_key(it), &to);
        if (rename(it->value, to.p) < 0 && errno != EEXIST && errno != ENOTEMPTY)
            return err_errno(e, errno, "keep layer %s", to.p);
    }
    return 0;
}

static int commit(struct job *j, struct plan_image *pi, struct image *i, struct buf *out, struct err **e)
{
    struct str *names = pool_array(j->pool, struct str, pi->nnames + 1);
    size_t n = 0;
    struct str given[1] = {j->o->name};
    const struct str *from = pi->nnames && str_empty(j->o->name) ? pi->names : given;
    for (size_t k = 0; k < (from == given ? !str_empty(j->o->name) : pi->nnames); k++) {
        struct buf b = BUF_INIT;
        int r = image_ref_normalize(from[k], &b, e);
        if (r < 0) {
            buf_clear(&b);
            return r;
        }
        names[n++] = buf_to_pool(&b, j->pool);
    }
    if (!str_empty(pi->manifest_digest) && n) {
        const struct image *known = map_get(&j->s->by_id, i->id);
        i->digests = pool_array(j->pool, struct str, (known ? known->ndigests : 0) + 1);
        i->digests[i->ndigests++] = pool_printf(j->pool, "%.*s@%.*s", STR_ARG(repository(names[0])), STR_ARG(pi->manifest_digest));
        for (size_t k = 0; known && k < known->ndigests && i->ndigests < 256; k++)
            if (!str_eq(known->digests[k], i->digests[0]))
                i->digests[i->ndigests++] = known->digests[k];
    }
    int r = store_put_image(j->s, i, e);
    for (size_t k = 0; r == 0 && k < n; k++) {
        if (str_chr(names[k], '@') < 0)
            r = store_put_name(j->s, names[k], i->id, j->o->pinned, e);
        if (r == 0 && out)
            buf_printf(out, "%.*s\n", STR_ARG(names[k]));
    }
    if (r == 0 && n == 0 && j->o->pinned)
        r = store_put_name(j->s, i->id, i->id, true, e);
    if (r == 0 && n == 0 && out)
        buf_printf(out, "%.*s\n", STR_ARG(i->id));
    return r;
}

/* From the digest that gate was told to the manifest for this machine. */
static int plan_of_layout(struct job *j, struct plan *plan, struct err **e)
{
    struct str text, digest = j->o->digest, got;
    bool again = true;
    for (int depth = 0; depth < INDEX_DEPTH; depth++) {
        struct plan_blob b = {.digest = digest};
        struct stat st;
        _cleanup_(closep) int fd = open_blob(j, &b, e);
        if (fd < 0)
            return fd;
        if (fstat(fd, &st) < 0)
            return err_errno(e, errno, "layout");
        b.size = (uint64_t)st.st_size;
        int r = read_document(j, &b, &text, &got, e);
        if (r < 0)
            return r;
        again = str_find(text, STR("\"manifests\"")) >= 0;
        struct document_job doc = {again ? DOC_INDEX : DOC_MANIFEST, text, STR_NULL};
        r = ask(j->s, run_document, &doc, -1, -1, &plan_type, j->pool, plan, e);
        if (r < 0)
            return r;
        if (plan->nimages != 1)
            return err_set(e, ERR_PARSE, "layout: no manifest");
        if (!again) {
            plan->images[0].manifest_digest = j->o->digest;
            return 0;
        }
        digest = plan->images[0].manifest_digest;
    }
    return err_set(e, ERR_LIMIT, "image indexes nested more than %d deep", INDEX_DEPTH);
}

static int run_import(struct job *j, struct plan *plan, struct buf *out, struct err **e)
{
    struct image *images = pool_array(j->pool, struct image, plan->nimages);
    int r = 0;
    for (size_t k = 0; r == 0 && k < plan->nimages; k++) {
        r = one_image(j, &plan->images[k], &images[k], e);
        if (r < 0 && plan->images[k].nnames)
            return err_wrap(e, "%.*s", STR_ARG(plan->images[k].names[0])), r;
    }
    if (r == 0)
        r = commit_layers(j, e);
    for (size_t k = 0; r == 0 && k < plan->nimages; k++)
        r = commit(j, &plan->images[k], &images[k], out, e);
    return r;
}

static int import_locked(struct image_store *s, int fd, const struct image_import_options *o, struct buf *out, struct err **e)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct job j = {.s = s, .o = o, .pool = p, .source = fd};
    struct plan plan = {0};
    _cleanup_(closep) int plain = -1;
    int r = dir_remove(s->tmp, e);
    if (r == 0)
        r = dir_make(s->tmp, 0700, e);
    if (r == 0 && o->layout) {
        r = plan_of_layout(&j, &plan, e);
    } else if (r == 0) {
        plain = open(s->tmp, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        struct stat st;
        r = plain < 0 ? err_errno(e, errno, "%s", s->tmp) : ask(s, run_archive, NULL, fd, plain, &plan_type, p, &plan, e);
        if (r == 0 && fstat(plain, &st) == 0 && st.st_size > 0)
            j.source = plain;
    }
    if (r == 0)
        r = run_import(&j, &plan, out, e);
    map_clear(&j.made, free);
    if (r < 0) {
        (void)!dir_remove(s->tmp, NULL);
        (void)!dir_make(s->tmp, 0700, NULL);
    }
    return r;
}

int image_import(struct image_store *s, int fd, const struct image_import_options *o, struct buf *out, struct err **e)
{
    _cleanup_(closep) int lock = images_lock(s, e);
    if (lock < 0)
        return lock;
    int r = image_store_reload(s, e);
    if (r == 0)
        r = import_locked(s, fd, o, out, e);
    return r < 0 ? r : image_store_reload(s, e);
}

static bool is_archive(const char *name)
{
    static const char *const ends[] = {".tar", ".tar.gz", ".tgz", ".tar.zst"};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        if (name[0] != '.' && str_ends(str_of(name), str_of(ends[i])))
            return true;
    return false;
}

static void import_file(struct image_store *s, int dir, const char *name, struct buf *out)
{
    _cleanup_(err_freep) struct err *e = NULL;
    _cleanup_(closep) int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        buf_printf(out, "%s: error: not a file that can be read\n", name);
        return;
    }
    _cleanup_(freep) char *state = xasprintf("%s/seen-%s", s->dir, name),
                          *now = xasprintf("%lld %lld.%09ld", (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    _cleanup_(buf_clear) struct buf before = BUF_INIT, names = BUF_INIT;
    if (file_read(state, 256, &before, NULL) == 0 && str_eqz(buf_str(&before), now))
        return;
    struct image_import_options o = {.pinned = true};
    if (image_import(s, fd, &o, &names, &e) < 0 || file_replace(state, str_of(now), 0600, &e) < 0) {
        buf_printf(out, "%s: error: %s\n", name, err_msg(e));
        return;
    }
    for (size_t i = 0; i + 1 < names.n; i++)
        names.p[i] = names.p[i] == '\n' ? ' ' : names.p[i];
    buf_printf(out, "%s: imported %.*s\n", name, STR_ARG(str_trim(buf_str(&names))));
}

int image_import_folder(struct image_store *s, const char *folder, struct buf *out, struct err **e)
{
    DIR *d = opendir(folder);
    if (!d)
        return errno == ENOENT ? 0 : err_errno(e, errno, "%s", folder);
    for (struct dirent *x; (x = readdir(d));)
        if (is_archive(x->d_name))
            import_file(s, dirfd(d), x->d_name, out);
    closedir(d);
    return 0;
}
