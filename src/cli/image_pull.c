/* sampan image pull: the registry client of gate, in a process of the unprivileged user, into a folder of its own; then an import like any.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/image.h"
#include "crypto/hash.h"
#include "gate/pull_blob.h"
#include "gate/registry_manifest.h"

#define AT_ONCE 3
#define INDEX_DEPTH 4
#define SHOW_NS (1 * NS_PER_S)

struct part {
    struct puller *pl;
    struct registry_blob blob;
    struct blob_fetch *fetch;
    bool done;
};
struct puller {
    struct loop *loop;
    struct clock *clock;
    struct pool *pool;
    struct image_store *store;
    struct registries *registries;
    struct registry_session *session;
    struct registry_get *get;
    struct registry_image image;
    struct registry_creds creds;
    struct buf body;
    struct err *failed;
    struct str root, expected;
    struct part *parts;
    size_t nparts, fetching;
    int depth;
    bool quiet, tty;
    const char *blobs;
    struct timer show;
    struct defer turn;
    int64_t total;
};

static void fail(struct puller *pl, const struct err *e)
{
    if (!pl->failed)
        err_set(&pl->failed, e->code, "%s", err_msg(e));
    loop_stop(pl->loop, 1);
}

/* ---- blobs ---- */

static int64_t came(const struct puller *pl)
{
    int64_t n = 0;
    for (size_t i = 0; i < pl->nparts; i++)
        n += pl->parts[i].done ? pl->parts[i].blob.size : pl->parts[i].fetch ? blob_part_size(pl->blobs, pl->parts[i].blob.digest) : 0;
    return n;
}

static void on_show(struct timer *t)
{
    struct puller *pl = container_of(t, struct puller, show);
    fprintf(stderr, "\r%.1f of %.1f MB ", (double)came(pl) / 1e6, (double)pl->total / 1e6);
    timer_in(pl->loop, &pl->show, SHOW_NS, on_show);
}

static void start_parts(struct puller *pl);

static void on_blob(void *arg, const struct err *e)
{
    struct part *x = arg;
    x->fetch = NULL;
    x->pl->fetching--;
    if (e) {
        fail(x->pl, e);
        return;
    }
    x->done = true;
    if (!x->pl->quiet)
        printf("%s%.*s done, %.1f MB\n", x->pl->tty ? "\r" : "", STR_ARG(str_sub(x->blob.digest, 0, 19)), (double)x->blob.size / 1e6);
    fflush(stdout);
    start_parts(x->pl);
}

static void start_parts(struct puller *pl)
{
    bool all = true;
    for (size_t i = 0; i < pl->nparts; i++) {
        struct part *x = &pl->parts[i];
        all = all && x->done;
        if (x->done || x->fetch || pl->fetching >= AT_ONCE)
            continue;
        pl->fetching++;
        x->fetch = blob_fetch_start(pl->loop, pl->session, pl->blobs, x->blob.digest, x->blob.size, on_blob, x);
    }
    if (all)
        loop_stop(pl->loop, 0);
}

struct layer_search {
    struct str digest;
    bool found;
};
static void search_layer(void *arg, const struct image *i)
{
    struct layer_search *s = arg;
    for (size_t k = 0; k < i->nlayers; k++)
        s->found = s->found || str_eq(i->layers[k].digest, s->digest);
}

static void add_part(struct puller *pl, const struct registry_blob *b)
{
    struct layer_search s = {b->digest, false};
    for (size_t i = 0; i < pl->nparts; i++)
        if (str_eq(pl->parts[i].blob.digest, b->digest))
            return;
    image_each(pl->store, search_layer, &s);
    if (s.found && !pl->quiet)
        printf("%.*s is here already\n", STR_ARG(str_sub(b->digest, 0, 19)));
    pl->parts[pl->nparts++] = (struct part){.pl = pl, .blob = *b, .done = s.found};
    pl->total += b->size;
}

/* ---- manifests ---- */

static void ask(struct puller *pl, struct str what);

static int take_document(struct puller *pl, struct err **e)
{
    char hex[HASH_HEX + 1];
    struct str text = pool_str(pl->pool, buf_str(&pl->body)),
               digest = pool_printf(pl->pool, "sha256:%.*s", STR_ARG(hash_sha256_hex(text, hex)));
    struct registry_manifest m;
    if (pl->expected.n && !str_eq(pl->expected, digest))
        return err_set(e, ERR_INVALID, "manifest: its digest is %.*s, not %.*s", STR_ARG(digest), STR_ARG(pl->expected));
    if (!pl->root.n)
        pl->root = digest;
    int r = blob_write(pl->blobs, digest, text, e);
    if (r == 0)
        r = registry_manifest_parse(pl->pool, text, &m, e);
    if (r < 0)
        return r;
    if (m.picked.digest.n) {
        if (++pl->depth >= INDEX_DEPTH)
            return err_set(e, ERR_LIMIT, "indexes nested more than %d deep", INDEX_DEPTH);
        pl->expected = m.picked.digest;
        ask(pl, m.picked.digest);
        return 0;
    }
    pl->parts = pool_array(pl->pool, struct part, m.nlayers + 1);
    add_part(pl, &m.config);
    for (size_t i = 0; i < m.nlayers; i++)
        add_part(pl, &m.layers[i]);
    if (pl->tty)
        timer_in(pl->loop, &pl->show, SHOW_NS, on_show);
    start_parts(pl);
    return 0;
}

static void on_turn(struct defer *d)
{
    struct puller *pl = container_of(d, struct puller, turn);
    _cleanup_(err_freep) struct err *e = NULL;
    if (!pl->failed && take_document(pl, &e) < 0)
        fail(pl, e);
}

static void on_data(void *arg, const char *p, size_t n)
{
    struct puller *pl = arg;
    _cleanup_(err_freep) struct err *e = NULL;
    buf_add(&pl->body, p, n);
    if (buf_failed(&pl->body)) {
        registry_cancel(TAKE(pl->get));
        err_set(&e, ERR_LIMIT, "manifest: more than %u bytes", REGISTRY_MANIFEST_MAX);
        fail(pl, e);
    }
}

static void on_head(void *arg, const struct registry_head *h)
{
    (void)arg;
    (void)h;
}

static void on_end(void *arg, const struct err *e)
{
    struct puller *pl = arg;
    pl->get = NULL;
    if (e)
        fail(pl, e);
    else
        loop_defer(pl->loop, &pl->turn, on_turn);
}

static void ask(struct puller *pl, struct str what)
{
    static const struct registry_events events = {on_head, on_data, on_end};
    buf_reset(&pl->body);
    pl->body.limit = REGISTRY_MANIFEST_MAX;
    pl->get = registry_get(pl->session, pool_printf(pl->pool, "manifests/%.*s", STR_ARG(what)), REGISTRY_ACCEPT, 0, &events, pl);
}

/* ---- the process ---- */

static int become(const struct passwd *pw, struct err **e)
{
    if (setgroups(0, NULL) < 0 || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) < 0 || setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
        prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0) < 0)
        return err_errno(e, errno, "become user %s", pw->pw_name);
    return 0;
}

static int fetch(struct puller *pl, struct err **e)
{
    pl->loop = loop_new(e);
    if (!pl->loop)
        return -ERR_IO;
    pl->clock = clock_new(NULL);
    pl->session = registry_open(pl->loop, pl->clock, pl->registries, &pl->image, &pl->creds);
    pl->expected = pl->image.digest;
    ask(pl, pl->image.digest.n ? pl->image.digest : pl->image.tag);
    int code = loop_run(pl->loop);
    if (pl->failed)
        return err_set(e, pl->failed->code, "%s", err_msg(pl->failed));
    return code == 0 ? 0 : err_set(e, ERR_INTERNAL, "it was told to stop");
}

/* What the child says: the digest, or an error's code and message; one line. */
static _noreturn_ void child(struct puller *pl, const struct passwd *pw, int to)
{
    _cleanup_(err_freep) struct err *e = NULL;
    signal(SIGPIPE, SIG_IGN);
    int r = become(pw, &e);
    if (r == 0)
        r = fetch(pl, &e);
    if (pl->tty)
        fprintf(stderr, "\r\033[K");
    fflush(stdout);
    if (r == 0)
        dprintf(to, "0 %.*s", STR_ARG(pl->root));
    else
        dprintf(to, "%d %.4000s", (int)e->code, err_msg(e));
    _exit(0);
}

static int run_child(struct puller *pl, const struct passwd *pw, struct buf *digest, struct err **e)
{
    int p[2], status;
    char text[4200];
    if (pipe2(p, O_CLOEXEC) < 0)
        return err_errno(e, errno, "pipe");
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        child(pl, pw, p[1]);
    close(p[1]);
    _cleanup_(closep) int from = p[0];
    size_t n = 0;
    for (ssize_t got; pid > 0 && n < sizeof text && (got = read(from, text + n, sizeof text - n)) > 0;)
        n += (size_t)got;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    struct str code, rest;
    uint64_t number;
    if (pid < 0 || !str_cut(str_make(text, n), ' ', &code, &rest) || !str_to_u64(code, &number))
        return err_set(e, ERR_INTERNAL, "the process that fetches it ended without a word");
    if (number)
        return err_set(e, number < ERR_CODES ? (enum err_code)number : ERR_INTERNAL, "%.*s", STR_ARG(rest));
    buf_str_add(digest, rest);
    return 0;
}

static int credentials(struct puller *pl, const char *text, struct err **e)
{
    struct str user, password;
    if (!text)
        return 0;
    if (!str_cut(str_of(text), ':', &user, &password))
        return err_set(e, ERR_USAGE, "--creds: must be USER:PASSWORD");
    pl->creds.at[0] = (struct registry_cred){.username = user, .password = password};
    pl->creds.n = 1;
    return 0;
}

static int pull_into(struct puller *pl, const struct image_options *o, const char *dir, struct err **e)
{
    struct passwd *pw = getpwnam(o->user);
    _cleanup_(freep) char *blobs = xasprintf("%s/blobs/sha256", dir), *above = xasprintf("%s/blobs", dir);
    _cleanup_(buf_clear) struct buf digest = BUF_INIT, names = BUF_INIT;
    if (!pw)
        return err_set(e, ERR_NOT_FOUND, "user \"%s\" does not exist", o->user);
    int r = dir_make(blobs, 0700, e);
    const char *const all[] = {dir, above, blobs};
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(all); i++)
        if (chown(all[i], pw->pw_uid, pw->pw_gid) < 0)
            r = err_errno(e, errno, "%s", all[i]);
    pl->blobs = blobs;
    if (r == 0)
        r = run_child(pl, pw, &digest, e);
    if (r < 0)
        return r;
    if (!image_digest_valid(buf_str(&digest)))
        return err_set(e, ERR_INTERNAL, "the process that fetches it named no digest");
    _cleanup_(closep) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct image_import_options io = {.name = pl->image.ref, .digest = buf_str(&digest), .layout = true, .pinned = o->pinned};
    r = fd < 0 ? err_errno(e, errno, "%s", dir) : image_import(pl->store, fd, &io, &names, e);
    const struct image *i = r < 0 ? NULL : image_find(pl->store, pl->image.ref);
    if (i)
        printf(o->quiet ? "%.*s\n" : "pulled %.*s\n", STR_ARG(o->quiet ? i->id : pl->image.ref));
    return r;
}

int image_cli_pull(struct image_store *s, const struct image_options *o, struct str ref, struct err **e)
{
    _cleanup_(pool_freep) struct pool *pool = pool_new();
    struct puller pl = {.pool = pool, .store = s, .quiet = o->quiet, .tty = !o->quiet && isatty(2)};
    _cleanup_(freep) char *dir = xasprintf("%s/agent/pull-XXXXXX", o->data_dir);
    int r = registry_image_parse(pool, ref, &pl.image, e);
    if (r == 0)
        r = credentials(&pl, o->creds, e);
    if (r == 0)
        r = registries_load(o->registries, &pl.registries, e);
    if (r == 0 && (!mkdtemp(dir) || chmod(dir, 0700) < 0))
        r = err_errno(e, errno, "%s", dir);
    if (r < 0) {
        registries_free(pl.registries);
        return r;
    }
    r = pull_into(&pl, o, dir, e);
    (void)!dir_remove(dir, NULL);
    registries_free(pl.registries);
    return r;
}
