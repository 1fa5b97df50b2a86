/* One attempt at one image: manifest, blobs, hand-over. Everything that ends an attempt happens in a turn of its own, never inside a
 * connection's callback. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "crypto/hash.h"
#include "gate/pull_impl.h"
#include "image/image.h"

#define INDEX_DEPTH 4
#define KEEP_S (24 * 3600)
#define RESERVE (64 << 20) /* bytes of disk that a pull leaves free */
#define AGAIN_NS (2 * NS_PER_S)

/* ---- ends ---- */

void try_stop(struct pull *pl)
{
    timer_del(&pl->timer);
    registry_cancel(TAKE(pl->get));
    for (size_t i = 0; i < pl->nitems; i++) {
        if (pl->items[i].fetch)
            pl->ps->fetching--;
        blob_fetch_cancel(TAKE(pl->items[i].fetch));
    }
    registry_close(TAKE(pl->session));
    if (pl->reply)
        gate_forget(pl->ps->gate, pl->reply);
    pl->reply = 0;
    buf_clear(&pl->body);
    err_free(TAKE(pl->bad));
    pool_free(TAKE(pl->tries));
    pl->items = NULL;
    pl->documents = NULL;
    pl->nitems = pl->ndocuments = 0;
}

static bool has_item(const struct pull *pl, struct str digest)
{
    for (size_t i = 0; i < pl->nitems; i++)
        if (str_eq(pl->items[i].blob.digest, digest))
            return true;
    for (size_t i = 0; i < pl->ndocuments; i++)
        if (str_eq(pl->documents[i], digest))
            return true;
    return false;
}

static bool needed_elsewhere(const struct pull *but, struct str digest)
{
    struct pull *x;
    list_for (&but->ps->all, x, node)
        if (x != but && has_item(x, digest))
            return true;
    return false;
}

void try_drop_blobs(struct pull *pl)
{
    for (size_t i = 0; i < pl->nitems; i++)
        if (!needed_elsewhere(pl, pl->items[i].blob.digest))
            blob_remove(pl->ps->blobs, pl->items[i].blob.digest);
    for (size_t i = 0; i < pl->ndocuments; i++)
        if (!needed_elsewhere(pl, pl->documents[i]))
            blob_remove(pl->ps->blobs, pl->documents[i]);
}

void try_sweep(struct pulls *ps)
{
    DIR *d = opendir(ps->blobs);
    time_t now = time(NULL);
    for (struct dirent *x; d && (x = readdir(d));) {
        struct stat st;
        struct pull *pl;
        bool needed = false;
        _cleanup_(freep) char *digest = xasprintf("sha256:%.64s", x->d_name);
        list_for (&ps->all, pl, node)
            needed = needed || has_item(pl, str_of(digest));
        if (!needed && fstatat(dirfd(d), x->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
            now - st.st_mtime > KEEP_S) /* what seems to be of the future stays: the clock may not be set yet */
            (void)unlinkat(dirfd(d), x->d_name, 0);
    }
    if (d)
        closedir(d);
}

/* ---- handing over ---- */

static void hand_over(struct pull *pl);

static void on_hand(struct timer *t)
{
    hand_over(container_of(t, struct pull, timer));
}

static void on_imported(void *arg, struct wire_msg *m)
{
    struct pull *pl = arg;
    struct gate *g = pl->ps->gate;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct node_reply reply = {0};
    pl->reply = 0;
    if (!m) { /* node went away: it is asked again when it is back */
        timer_in(g->loop, &pl->timer, AGAIN_NS, on_hand);
        return;
    }
    if (m->type != NODE_REPLY || wire_decode(&node_reply_type, m->body, p, &reply, &e) < 0)
        err_set(e ? NULL : &e, ERR_PARSE, "node's answer is none to an import");
    else if (reply.code)
        err_set(&e, reply.code < ERR_CODES ? (enum err_code)reply.code : ERR_INTERNAL, "%.*s", STR_ARG(reply.message));
    const struct node_image *im = e ? NULL : gate_image(g, p, pl->image.ref);
    if (!e && !im)
        err_set(&e, ERR_INTERNAL, "node imported it, but does not list it");
    if (!e || e->code == ERR_INVALID || e->code == ERR_PARSE || e->code == ERR_LIMIT)
        try_drop_blobs(pl);
    if (e)
        pull_failed(pl, e);
    else
        pull_done(pl, im, pl->size);
}

static int write_index(struct pull *pl, struct err **e)
{
    _cleanup_(freep) char *index = xasprintf("%s/index.json", pl->ps->dir);
    _cleanup_(freep) char *path = xasprintf("%s/%.*s", pl->ps->blobs, STR_ARG(str_sub(pl->root, 7, pl->root.n)));
    _cleanup_(buf_clear) struct buf text = BUF_INIT, b = BUF_INIT;
    if (file_read(path, REGISTRY_MANIFEST_MAX, &text, e) < 0)
        return -(int)(*e)->code;
    bool is_index = pl->ndocuments > 1;
    buf_printf(&b,
        "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.%s.v1+json\",\"digest\":\"%.*s\",\"size\":%zu}]}",
        is_index ? "index" : "manifest", STR_ARG(pl->root), text.n);
    return file_replace(index, buf_str(&b), 0600, e);
}

static void hand_over(struct pull *pl)
{
    struct gate *g = pl->ps->gate;
    struct node_image_import x = {.name = pl->image.ref, .digest = pl->root};
    _cleanup_(err_freep) struct err *e = NULL;
    if (pl->state != PULL_HANDING)
        pull_moved(pl, PULL_HANDING);
    registry_close(TAKE(pl->session));
    if (!g->node || !g->hello.cpus) {
        timer_in(g->loop, &pl->timer, AGAIN_NS, on_hand);
        return;
    }
    _cleanup_(closep) int fd = open(pl->ps->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        err_errno(&e, errno, "%s", pl->ps->dir);
    if (e || write_index(pl, &e) < 0) {
        pull_failed(pl, e);
        return;
    }
    pl->reply = ++g->next_id;
    gate_keep(g, pl->reply, on_imported, pl);
    wire_send(g->node, NODE_IMAGE_LAYOUT, pl->reply, &node_image_import_type, &x, &fd, 1);
}

/* ---- blobs ---- */

static bool is_busy(const struct pulls *ps, struct str digest)
{
    struct pull *pl;
    list_for (&ps->all, pl, node)
        for (size_t i = 0; i < pl->nitems; i++)
            if (pl->items[i].fetch && str_eq(pl->items[i].blob.digest, digest))
                return true;
    return false;
}

static void on_blob(void *arg, const struct err *e)
{
    struct pull_item *it = arg;
    struct pull *pl = it->pull;
    struct pulls *ps = pl->ps;
    it->fetch = NULL;
    ps->fetching--;
    it->done = !e;
    if (e)
        pull_failed(pl, e);
    try_pump(ps);
}

/* A layer that another image brought: node has it unpacked. Should it go before the import, that fails and the next attempt fetches it. */
static bool node_has(const struct gate *g, struct str digest)
{
    for (size_t i = 0; i < g->images.nimages; i++)
        for (size_t k = 0; k < g->images.images[i].nlayers; k++)
            if (str_eq(g->images.images[i].layers[k], digest))
                return true;
    return false;
}

static bool is_here(const struct pulls *ps, const struct registry_blob *b)
{
    return node_has(ps->gate, b->digest) || blob_present(ps->blobs, b->digest, b->size);
}

static void start_items(struct pull *pl)
{
    struct pulls *ps = pl->ps;
    for (size_t i = 0; i < pl->nitems; i++) {
        struct pull_item *it = &pl->items[i];
        if (it->done || it->fetch)
            continue;
        if (is_here(ps, &it->blob)) {
            it->done = true; /* by another image or pull, or by an earlier process */
            continue;
        }
        if (ps->fetching >= PULL_BLOBS_AT_ONCE || is_busy(ps, it->blob.digest))
            continue;
        ps->fetching++;
        it->fetch = blob_fetch_start(ps->gate->loop, pl->session, ps->blobs, it->blob.digest, it->blob.size, on_blob, it);
    }
}

void try_pump(struct pulls *ps)
{
    struct pull *pl;
    list_for (&ps->all, pl, node) {
        bool all = pl->state == PULL_FETCHING;
        if (!all)
            continue;
        start_items(pl);
        for (size_t i = 0; i < pl->nitems; i++)
            all = all && pl->items[i].done;
        if (all) {
            pull_moved(pl, PULL_HANDING);
            timer_in(ps->gate->loop, &pl->timer, 0, on_hand);
        }
    }
}

static int check_room(struct pull *pl, struct err **e)
{
    struct statvfs fs;
    int64_t need = 0;
    for (size_t i = 0; i < pl->nitems; i++) {
        const struct registry_blob *b = &pl->items[i].blob;
        if (!is_here(pl->ps, b))
            need += MAX(0, b->size - blob_part_size(pl->ps->blobs, b->digest));
    }
    if (statvfs(pl->ps->blobs, &fs) < 0)
        return err_errno(e, errno, "%s", pl->ps->blobs);
    int64_t room = (int64_t)(fs.f_bavail * fs.f_frsize) - RESERVE;
    return need > room ? err_set(e, ERR_STORAGE_FULL, "no space left on device: %" PRId64 " bytes are still to come, %" PRId64 " are free",
                             need, MAX(room, 0))
                       : 0;
}

static void add_item(struct pull *pl, const struct registry_blob *b)
{
    for (size_t i = 0; i < pl->nitems; i++)
        if (str_eq(pl->items[i].blob.digest, b->digest))
            return;
    pl->items[pl->nitems++] = (struct pull_item){.pull = pl, .blob = *b};
}

static int plan(struct pull *pl, const struct registry_manifest *m, struct err **e)
{
    pl->items = pool_array(pl->tries, struct pull_item, m->nlayers + 1);
    pl->size = m->config.size;
    add_item(pl, &m->config);
    for (size_t i = 0; i < m->nlayers; i++) {
        if (m->layers[i].size > INT64_MAX / 2 - pl->size)
            return err_set(e, ERR_LIMIT, "manifest: its layers are too large");
        pl->size += m->layers[i].size;
        add_item(pl, &m->layers[i]);
    }
    return check_room(pl, e);
}

/* ---- manifests ---- */

static void ask(struct pull *pl, struct str what);

static bool has_digest(const struct node_image *im, struct str named)
{
    for (size_t i = 0; i < im->ndigests; i++)
        if (str_eq(im->digests[i], named))
            return true;
    return false;
}

static int check_document(struct pull *pl, struct str *digest, struct err **e)
{
    char hex[HASH_HEX + 1];
    struct str text = buf_str(&pl->body);
    *digest = pool_printf(pl->tries, "sha256:%.*s", STR_ARG(hash_sha256_hex(text, hex)));
    struct str wanted = pl->expected.n ? pl->expected : pl->told;
    if (wanted.n && !str_eq(wanted, *digest))
        return err_set(e, ERR_INVALID, "manifest: its digest is %.*s, not %.*s", STR_ARG(*digest), STR_ARG(wanted));
    pl->documents[pl->ndocuments++] = *digest;
    return blob_write(pl->ps->blobs, *digest, text, e);
}

static int take_document(struct pull *pl, struct err **e)
{
    struct registry_manifest m;
    struct str digest;
    struct gate *g = pl->ps->gate;
    int r = check_document(pl, &digest, e);
    if (r < 0)
        return r;
    if (!pl->root.n) {
        pl->root = digest;
        const struct node_image *here = gate_image(g, pl->tries, pl->image.ref);
        if (here && has_digest(here, pool_printf(pl->tries, "%.*s/%.*s@%.*s", STR_ARG(pl->image.host), STR_ARG(pl->image.repository),
                                         STR_ARG(digest)))) {
            try_drop_blobs(pl);
            pull_done(pl, here, here->size);
            return 0;
        }
    }
    r = registry_manifest_parse(pl->tries, pool_str(pl->tries, buf_str(&pl->body)), &m, e);
    if (r < 0)
        return r;
    if (m.picked.digest.n) {
        if (++pl->depth >= INDEX_DEPTH)
            return err_set(e, ERR_LIMIT, "indexes nested more than %d deep", INDEX_DEPTH);
        pl->expected = m.picked.digest;
        ask(pl, m.picked.digest);
        return 0;
    }
    r = plan(pl, &m, e);
    if (r < 0)
        return r;
    pull_moved(pl, PULL_FETCHING);
    try_pump(pl->ps);
    return 0;
}

static void on_document(struct timer *t)
{
    struct pull *pl = container_of(t, struct pull, timer);
    _cleanup_(err_freep) struct err *e = TAKE(pl->bad);
    if (e || take_document(pl, &e) < 0)
        pull_failed(pl, e);
}

static void later(struct pull *pl, struct err *bad)
{
    registry_cancel(TAKE(pl->get));
    pl->bad = bad;
    timer_in(pl->ps->gate->loop, &pl->timer, 0, on_document);
}

static void on_head(void *arg, const struct registry_head *h)
{
    struct pull *pl = arg;
    struct err *e = NULL;
    pl->told = image_digest_valid(h->digest) ? pool_str(pl->tries, h->digest) : STR("");
    if (h->length > (int64_t)REGISTRY_MANIFEST_MAX) {
        err_set(&e, ERR_LIMIT, "manifest: %" PRId64 " bytes; %u are possible", h->length, REGISTRY_MANIFEST_MAX);
        later(pl, e);
    }
}

static void on_data(void *arg, const char *p, size_t n)
{
    struct pull *pl = arg;
    struct err *e = NULL;
    buf_add(&pl->body, p, n);
    if (buf_failed(&pl->body)) {
        err_set(&e, ERR_LIMIT, "manifest: more than %u bytes", REGISTRY_MANIFEST_MAX);
        later(pl, e);
    }
}

static void on_end(void *arg, const struct err *why)
{
    struct pull *pl = arg;
    struct err *e = NULL;
    pl->get = NULL;
    if (why)
        err_set(&e, why->code, "%s", err_msg(why));
    later(pl, e);
}

static void ask(struct pull *pl, struct str what)
{
    static const struct registry_events events = {on_head, on_data, on_end};
    struct str path = pool_printf(pl->tries, "manifests/%.*s", STR_ARG(what));
    buf_reset(&pl->body);
    pl->body.limit = REGISTRY_MANIFEST_MAX;
    pl->told = STR("");
    pl->get = registry_get(pl->session, path, REGISTRY_ACCEPT, 0, &events, pl);
}

void try_start(struct pull *pl)
{
    struct pulls *ps = pl->ps;
    try_stop(pl);
    try_sweep(ps);
    pl->tries = pool_new();
    pl->documents = pool_array(pl->tries, struct str, INDEX_DEPTH + 1);
    pl->depth = 0;
    pl->size = 0;
    pl->root = STR("");
    pl->expected = pl->image.digest;
    if (ps->config_bad) {
        struct err *e = NULL;
        err_set(&e, ERR_INVALID, "%s", err_msg(ps->config_bad));
        later(pl, e);
        return;
    }
    pl->session = registry_open(ps->gate->loop, ps->gate->clock, ps->registries, &pl->image, &pl->creds);
    ask(pl, pl->image.digest.n ? pl->image.digest : pl->image.tag);
}
