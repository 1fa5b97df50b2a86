/* Images change in helper processes, one job after the other; the list is read anew behind each, and whenever another process (`sampan
 * image`) changed the store. */
#include <errno.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <unistd.h>
#include "base/file.h"
#include "base/log.h"
#include "node/evict.h"
#include "node/impl.h"

struct image_job {
    struct list node;
    struct node *n;
    struct helper *helper;
    uint64_t reply_to;
    int fd;                 /* layout folder, or -1 */
    char *name, *digest, *remove;
    bool folder;            /* the air-gap folder */
};

struct listing { struct pool *pool; struct node_image *list; size_t n, cap; };

static void add_image(void *arg, const struct image *i)
{
    struct listing *l = arg;
    if (l->n == l->cap)
        return;
    struct str *layers = pool_array(l->pool, struct str, i->nlayers + 1);
    for (size_t k = 0; k < i->nlayers; k++)
        layers[k] = i->layers[k].digest;
    l->list[l->n++] =
        (struct node_image){i->id, i->names, i->nnames, i->digests, i->ndigests, i->size, i->pinned, i->config.user, layers, i->nlayers};
}

static void count_image(void *arg, const struct image *i)
{
    ++*(size_t *)arg;
}

void images_send(struct node *n)
{
    if (!n->gate)
        return;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct listing l = {.pool = p};
    image_each(n->images, count_image, &l.cap);
    l.list = pool_array(p, struct node_image, l.cap + 1);
    image_each(n->images, add_image, &l);
    struct node_images m = {l.list, l.n};
    wire_send(n->gate, NODE_IMAGES, 0, &node_images_type, &m, NULL, 0);
}

static int run_job(void *arg, struct buf *out, struct err **e)
{
    struct image_job *j = arg;
    if (j->folder)
        return image_import_folder(j->n->images, j->n->air_gap, out, e);
    if (j->remove)
        return image_remove(j->n->images, str_of(j->remove), e);
    struct image_import_options o = {.layout = true, .name = str_of(j->name), .digest = str_of(j->digest)};
    return image_import(j->n->images, j->fd, &o, out, e);
}

static void job_free(struct image_job *j)
{
    helper_cancel(j->helper);
    closep(&j->fd);
    free(j->name);
    free(j->digest);
    free(j->remove);
    free(j);
}

static void next_job(struct node *n);

static void reload(struct node *n)
{
    _cleanup_(err_freep) struct err *e = NULL;
    if (image_store_reload(n->images, &e) < 0)
        log_error("images: %s", err_msg(e));
    images_send(n);
}

static void on_job(void *owner, const struct err *e, struct str out)
{
    struct image_job *j = owner;
    struct node *n = j->n;
    j->helper = NULL;
    n->job = NULL;
    struct str rest = out, line;
    while (j->folder && str_split(&rest, '\n', &line))
        if (!str_empty(line))
            log_info("image %.*s", STR_ARG(line));
    if (e)
        log_warn("image %s: %s", j->name ? j->name : j->remove ? j->remove : "folder", err_msg(e));
    reload(n);
    node_reply(n, j->reply_to, e, NULL, 0);
    job_free(j);
    next_job(n);
}

static void next_job(struct node *n)
{
    struct image_job *j = n->job ? NULL : list_first(&n->jobs, struct image_job, node);
    _cleanup_(err_freep) struct err *e = NULL;
    if (!j)
        return;
    list_remove(&j->node);
    n->job = j;
    j->helper = helper_start(n->loop, run_job, j, NULL, 0, 0, on_job, j, &e);
    if (!j->helper)
        on_job(j, e, STR_NULL);
}

static struct image_job *add_job(struct node *n, uint64_t reply_to)
{
    struct image_job *j = xcalloc(1, sizeof *j);
    *j = (struct image_job){.n = n, .reply_to = reply_to, .fd = -1};
    list_push(&n->jobs, &j->node);
    return j;
}

void images_import_folder(struct node *n)
{
    add_job(n, 0)->folder = true;
    next_job(n);
}

void images_layout(struct node *n, struct wire_msg *m)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct node_image_import x;
    int r = wire_decode(&node_image_import_type, m->body, p, &x, &e);
    if (r == 0 && (m->nfds != 1 || !image_digest_valid(x.digest)))
        r = err_set(&e, ERR_INVALID, "an image import needs one folder and a sha256 digest");
    if (r < 0) {
        node_reply(n, m->id, e, NULL, 0);
        return;
    }
    struct image_job *j = add_job(n, m->id);
    j->fd = m->fds[0];
    m->fds[0] = -1;
    j->name = str_dup(x.name);
    j->digest = str_dup(x.digest);
    next_job(n);
}

static bool in_use(struct node *n, const struct image *i)
{
    map_for(&n->pods, it) {
        const struct pod *p = it->value;
        for (size_t k = 0; k < p->nc; k++)
            if (p->c[k]->image_id && str_eqz(i->id, p->c[k]->image_id) && p->c[k]->state != CON_DONE)
                return true;
        for (size_t k = 0; k < p->spec.nvolumes; k++)
            if (p->spec.volumes[k].kind == VOL_IMAGE && str_eq(p->spec.volumes[k].image, i->id))
                return true;
    }
    return false;
}

void images_remove(struct node *n, struct wire_msg *m)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct node_image_ref x;
    int r = wire_decode(&node_image_ref_type, m->body, p, &x, &e);
    const struct image *i = r < 0 ? NULL : image_find(n->images, x.ref);
    if (r == 0 && !i)
        err_set(&e, ERR_NOT_FOUND, "image \"%.*s\" is not here", STR_ARG(x.ref));
    else if (i && in_use(n, i))
        err_set(&e, ERR_CONFLICT, "image \"%.*s\" is used by a container", STR_ARG(x.ref));
    if (e) {
        node_reply(n, m->id, e, NULL, 0);
        return;
    }
    struct image_job *j = add_job(n, m->id);
    j->remove = str_dup(x.ref);
    next_job(n);
}

struct oldest { struct node *n; const struct image *best; };

static void consider(void *arg, const struct image *i)
{
    struct oldest *o = arg;
    if (!i->pinned && !in_use(o->n, i) && (!o->best || i->created < o->best->created))
        o->best = i;
}

void images_collect(struct node *n)
{
    struct oldest o = {n, NULL};
    if (n->job || !list_empty(&n->jobs))
        return; /* one at a time: the next look at the disk decides whether another goes */
    image_each(n->images, consider, &o);
    if (!o.best)
        return;
    log_info("image %.*s is removed: the disk is %d%% full", STR_ARG(o.best->nnames ? o.best->names[0] : o.best->id), n->disk_used_percent);
    add_job(n, 0)->remove = str_dup(o.best->id);
    next_job(n);
}

static void on_change(struct watch *w, uint32_t events)
{
    struct node *n = container_of(w, struct node, images_watch);
    char chunk[8192];
    while (read(w->fd, chunk, sizeof chunk) > 0)
        ;
    if (!n->job) /* a job of ours reads the list itself when it is done */
        reload(n);
}

int images_watch(struct node *n, struct err **e)
{
    _cleanup_(closep) int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    static const char *const dirs[] = {"images", "names"};
    for (size_t i = 0; fd >= 0 && i < ARRAY_LEN(dirs); i++) {
        _cleanup_(freep) char *path = xasprintf("%s/%s", image_store_dir(n->images), dirs[i]);
        if (inotify_add_watch(fd, path, IN_MOVED_TO | IN_DELETE) < 0)
            return err_errno(e, errno, "watch %s", path);
    }
    if (fd < 0)
        return err_errno(e, errno, "inotify");
    int r = watch_add(n->loop, &n->images_watch, fd, EPOLLIN, on_change, e);
    if (r == 0)
        fd = -1;
    return r;
}

void images_jobs_free(struct node *n)
{
    struct image_job *j;
    if (n->job)
        job_free(TAKE(n->job));
    list_for(&n->jobs, j, node) {
        list_remove(&j->node);
        job_free(j);
    }
}
