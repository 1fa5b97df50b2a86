/* The auto-deploy folder: which files there are.
 *
 * The folder and its subfolders are watched with inotify; whatever stirs there starts a short timer, and when it has been quiet for a
 * moment everything is looked at once and compared with what was known (time, size, inode). A file that somebody writes is waited for until
 * it is closed, and ten files copied together are one look. Nothing runs while nothing stirs.
 *
 * As in K3s: names that begin with a dot and those that do not end in .yaml, .yml or .json are passed over; `x.yaml.skip` beside `x.yaml`
 * makes us leave it and what came from it alone; what --disable names is taken out of the cluster (the file stays where it is).
 */
#include "controllers/manifests.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>
#include "controllers/inner.h"

#define QUIET (500 * NS_PER_MS)
#define STIR_MOST (60 * NS_PER_S) /* a folder that never rests is looked at nevertheless */
#define LOST_AGAIN (60 * NS_PER_S)
enum { DEPTH_MAX = 8, ENTRIES_MAX = 4096, FILES_MAX = 1000 };

struct look {
    struct manifests *m;
    size_t entries, files;
    bool full;
    struct map skips; /* paths that have a .skip beside them */
};

/* ---- names ---- */

static bool has_suffix(struct str s, const char *suffix)
{
    struct str want = str_of(suffix);
    return s.n > want.n && str_eq_nocase(str_sub(s, s.n - want.n, s.n), want);
}

static struct str without_suffix(struct str s)
{
    static const char *const all[] = {".yaml", ".yml", ".json"};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (has_suffix(s, all[i]))
            return str_sub(s, 0, s.n - str_of(all[i]).n);
    return STR_NULL;
}

/* A folder on the path, or the file itself. */
static bool disabled(const struct manifests *m, struct str path)
{
    const struct controllers_manifests *cfg = &m->ctl->all->cfg.manifests;
    for (size_t i = 0; i < cfg->ndisabled; i++) {
        struct str rest = path, piece, name = cfg->disabled[i];
        while (str_split(&rest, '/', &piece))
            if (str_eq(piece, name) || str_eq(without_suffix(piece), name))
                return true;
        if (str_starts(path, name) && path.n > name.n && path.p[name.n] == '/')
            return true;
    }
    return false;
}

/* A name for the Addon: the path in small letters, with dashes for what a name cannot hold. */
static char *addon_name(struct str path)
{
    struct buf b = BUF_INIT;
    struct str stem = without_suffix(path);
    for (size_t i = 0; i < stem.n && b.n < 200; i++) {
        char c = stem.p[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (plain || (b.n && b.p[b.n - 1] != '-' && b.p[b.n - 1] != '.'))
            buf_putc(&b, plain || c == '.' ? c : '-');
    }
    while (b.n && (b.p[b.n - 1] == '-' || b.p[b.n - 1] == '.'))
        b.n--;
    if (!b.n)
        buf_puts(&b, "manifest");
    buf_reserve(&b, 1);
    b.p[b.n] = 0;
    return buf_take(&b);
}

/* Two paths may want one name (a.yaml and a.json): the later one gets a number. */
static struct manifest *file_of(struct manifests *m, struct str path)
{
    _cleanup_(freep) char *plain = addon_name(path);
    for (int i = 1;; i++) {
        _cleanup_(freep) char *name = i == 1 ? xstrdup(plain) : xasprintf("%s-%d", plain, i);
        struct manifest *f = map_get(&m->files, str_of(name));
        if (f && str_eqz(path, f->path))
            return f;
        if (f)
            continue;
        f = xcalloc(1, sizeof *f);
        f->path = str_dup(path);
        f->name = xstrdup(name);
        f->fd = -1;
        map_put(&m->files, str_of(name), f);
        return f;
    }
}

/* ---- looking ---- */

static void take(struct look *k, struct str path, const struct stat *st)
{
    struct manifests *m = k->m;
    struct manifest *f = file_of(m, path);
    int64_t mtime = st->st_mtim.tv_sec * NS_PER_S + st->st_mtim.tv_nsec;
    bool out = disabled(m, path), changed = f->mtime != mtime || f->size != st->st_size || f->ino != st->st_ino || f->here == out;
    f->seen = true;
    f->here = !out;
    f->mtime = mtime;
    f->size = st->st_size;
    f->ino = st->st_ino;
    if (!changed)
        return;
    f->tries = 0;
    f->asked = false;
    ctl_add_raw(m->ctl, str_of(f->name));
}

static bool look_into(struct look *k, int parent, const char *name, struct str at, int depth);

static void look_at(struct look *k, int fd, struct str at, const char *name, int depth)
{
    _cleanup_(freep) char *path = at.n ? xasprintf("%.*s/%s", STR_ARG(at), name) : xstrdup(name);
    struct str stem = without_suffix(str_of(name));
    struct stat st;
    if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    if (S_ISDIR(st.st_mode)) {
        if (depth < DEPTH_MAX)
            (void)look_into(k, fd, name, str_of(path), depth + 1);
        return;
    }
    if (S_ISLNK(st.st_mode) && fstatat(fd, name, &st, 0) < 0)
        return;
    if (has_suffix(str_of(name), ".skip"))
        map_put(&k->skips, str_sub(str_of(path), 0, strlen(path) - strlen(".skip")), k);
    else if (stem.p && S_ISREG(st.st_mode) && k->files++ < FILES_MAX)
        take(k, str_of(path), &st);
}

/* false: it cannot be read. */
static bool look_into(struct look *k, int parent, const char *name, struct str at, int depth)
{
    struct manifests *m = k->m;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (depth ? O_NOFOLLOW : 0));
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        log_warn("manifests: %s/%.*s cannot be read: %s", m->dir, STR_ARG(at), strerror(errno));
        closep(&fd);
        return false;
    }
    _cleanup_(freep) char *path = at.n ? xasprintf("%s/%.*s", m->dir, STR_ARG(at)) : xstrdup(m->dir);
    if (m->inotify >= 0 &&
        inotify_add_watch(m->inotify, path,
            IN_CLOSE_WRITE | IN_MODIFY | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ATTRIB | IN_DELETE_SELF | IN_ONLYDIR) < 0)
        log_warn("manifests: %s cannot be watched: %s", path, strerror(errno));
    struct dirent **list = NULL;
    int n = scandirat(fd, ".", &list, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        if (list[i]->d_name[0] != '.' && k->entries++ < ENTRIES_MAX)
            look_at(k, fd, at, list[i]->d_name, depth);
        free(list[i]);
    }
    free(list);
    closedir(dir);
    return n >= 0;
}

static void unsee(struct manifests *m, const struct look *k)
{
    map_for (&m->files, it) {
        struct manifest *f = it->value;
        f->skipped = map_get(&k->skips, str_of(f->path)) != NULL;
        if (f->seen && !f->skipped)
            continue;
        if (f->here && !f->skipped)
            ctl_add_raw(m->ctl, str_of(f->name));
        f->here = false;
        f->mtime = f->size = 0; /* when it comes back it is news */
        *f->applied = 0;
    }
}

static void on_quiet(struct timer *t);

static void look(struct manifests *m)
{
    struct look k = {.m = m};
    map_for (&m->files, it)
        ((struct manifest *)it->value)->seen = false;
    m->stirred = 0;
    map_clear(&m->writing, NULL);
    m->blind = !look_into(&k, AT_FDCWD, m->dir, STR(""), 0);
    if (m->blind || k.entries > ENTRIES_MAX || k.files > FILES_MAX) {
        m->blind = true; /* what was not seen is not known to be gone */
        log_error("manifests: %s %s: nothing of it is pruned", m->dir,
            k.files > FILES_MAX || k.entries > ENTRIES_MAX ? "holds too many files" : "is not there");
        timer_in(m->ctl->loop, &m->quiet, LOST_AGAIN, on_quiet);
    } else {
        unsee(m, &k);
    }
    map_clear(&k.skips, NULL);
}

static void on_quiet(struct timer *t)
{
    look(container_of(t, struct manifests, quiet));
}

/* Who is being written: modified, and not closed since. What else happened does not matter. */
static void note(struct manifests *m, const struct inotify_event *ev)
{
    char key[32 + NAME_MAX + 1];
    struct str k = str_make(key, (size_t)snprintf(key, sizeof key, "%d/%s", ev->wd, ev->len ? ev->name : ""));
    if (ev->mask & IN_Q_OVERFLOW)
        map_clear(&m->writing, NULL);
    else if (ev->mask & IN_MODIFY && map_count(&m->writing) < FILES_MAX)
        map_put(&m->writing, k, m);
    else if (ev->mask & (IN_CLOSE_WRITE | IN_DELETE | IN_MOVED_FROM))
        map_del(&m->writing, k);
}

static void on_stir(struct watch *w, uint32_t events)
{
    struct manifests *m = container_of(w, struct manifests, watch);
    char text[8192] __attribute__((aligned(8)));
    int64_t now = loop_now(m->ctl->loop);
    (void)events;
    for (ssize_t n; (n = read(m->inotify, text, sizeof text)) > 0;)
        for (const char *at = text; at < text + n;) {
            const struct inotify_event *ev = (const void *)at;
            note(m, ev);
            at += sizeof *ev + ev->len;
        }
    if (!m->stirred)
        m->stirred = now;
    int64_t most = m->stirred + STIR_MOST - now;
    timer_in(m->ctl->loop, &m->quiet, MAX(MIN(map_count(&m->writing) ? most : QUIET, most), (int64_t)1), on_quiet);
}

void controllers_manifest_opened(struct controllers *cs, struct str path, int fd)
{
    for (size_t i = 0; i < cs->nctls; i++) {
        struct manifests *m = cs->ctls[i].row == &manifests_controller ? cs->ctls[i].state : NULL;
        if (!m)
            continue;
        map_for (&m->files, it) {
            struct manifest *f = it->value;
            if (!str_eqz(path, f->path) || !f->asked)
                continue;
            closep(&f->fd);
            f->fd = fd;
            ctl_add_raw(m->ctl, str_of(f->name));
            return;
        }
    }
    closep(&fd);
}

/* ---- keys ---- */

/* An Addon speaks of a file here if its source lies in our folder. */
static bool ours(struct sync *s, const struct manifests *m, const struct obj *addon)
{
    struct str source = json_str_at(sync_tree(s, addon), "spec", "source", NULL), dir = str_of(m->dir);
    return str_starts(source, dir) && source.n > dir.n && source.p[dir.n] == '/';
}

static int sync_addon(struct sync *s, struct err **e)
{
    struct manifests *m = s->ctl->state;
    struct manifest *f = m ? map_get(&m->files, s->name) : NULL;
    const struct obj *addon = sync_get(s, R_ADDONS, STR(MANIFEST_NS), s->name);
    if (!m || (addon && addon->deleted))
        return 0;
    if (f && f->skipped)
        return 0;
    if (f && f->here)
        return manifest_deploy(s, m, f, addon, e);
    return addon && !m->blind && ours(s, m, addon) ? manifest_withdraw(s, addon, e) : 0;
}

static void on_addon(struct ctl *c, const struct change *ch)
{
    if (str_eqz(ch->obj->ns, MANIFEST_NS) && (ch->gone || !ch->before))
        ctl_add_raw(c, ch->obj->name);
}

static int start(struct ctl *c, struct err **e)
{
    if (!c->all->cfg.manifests.dir)
        return 0;
    struct manifests *m = xcalloc(1, sizeof *m);
    m->ctl = c;
    m->dir = c->all->cfg.manifests.dir;
    c->state = m;
    m->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (m->inotify < 0)
        log_warn("manifests: no inotify (%s): files are looked at when the server starts", strerror(errno));
    else if (watch_add(c->loop, &m->watch, m->inotify, EPOLLIN, on_stir, e) < 0)
        return err_wrap(e, "manifests");
    look(m);
    return 0;
}

static void free_file(void *arg)
{
    struct manifest *f = arg;
    closep(&f->fd);
    free(f->path);
    free(f->name);
    free(f);
}

static void stop(struct ctl *c)
{
    struct manifests *m = c->state;
    if (!m)
        return;
    watch_del(&m->watch);
    timer_del(&m->quiet);
    closep(&m->inotify);
    map_clear(&m->files, free_file);
    map_clear(&m->writing, NULL);
    free(m);
    c->state = NULL;
}

const struct controller manifests_controller = {
    .name = "manifests",
    .account = "deploy-controller",
    .component = "deploy",
    .watches = {{R_ADDONS, on_addon}},
    .sync = sync_addon,
    .start = start,
    .stop = stop,
    .master = true,
};
