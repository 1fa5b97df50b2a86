/* sampan image: the images on this node. Works on the store on disk, beside a running node process, which sees the change. Verbs and flags
 * as ctr, crictl and nerdctl have them where they mean the same. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/image.h"
#include "json/json.h"

#define AT(member) offsetof(struct image_options, member)
static const struct flag flags[] = {
    {"data-dir", 'd', FLAG_STR, AT(data_dir), NULL, "/var/lib/sampan", "Folder of the server or agent"},
    {"user", 0, FLAG_STR, AT(user), NULL, "sampan", "User that images are fetched and parsed as"},
    {"quiet", 'q', FLAG_BOOL, AT(quiet), NULL, NULL, "Ids only"},
    {"output", 'o', FLAG_STR, AT(output), "SAMPAN_IMAGE_OUTPUT", NULL,
        "ls: table or json; export: file to write (default: standard output)"},
    {"digests", 0, FLAG_BOOL, AT(digests), NULL, NULL, "ls: digests too"},
    {"no-trunc", 0, FLAG_BOOL, AT(no_trunc), NULL, NULL, "ls: whole ids"},
    {"all", 'a', FLAG_BOOL, AT(all), NULL, NULL, "prune: every image that no pod of this node uses"},
    {"pinned", 0, FLAG_BOOL, AT(pinned), NULL, NULL, "import, pull: never removed by itself"},
    {"name", 0, FLAG_STR, AT(name), "SAMPAN_IMAGE_NAME", NULL, "import: name of an image that carries none"},
    {"creds", 0, FLAG_STR, AT(creds), "SAMPAN_REGISTRY_CREDS", NULL,
        "pull: USER:PASSWORD for the registry; better in the environment or registries.yaml"},
    {"private-registry", 0, FLAG_STR, AT(registries), NULL, "/etc/sampan/registries.yaml", "pull: registry configuration file"},
    FLAG_END,
};
static const struct flag *const tables[] = {flags, NULL};

/* An archive from standard input is kept in a file without a name: it is read at several places. */
static int open_archive(const struct image_store *s, const char *path, struct err **e)
{
    if (strcmp(path, "-") != 0) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        return fd < 0 ? err_errno(e, errno, "%s", path) : fd;
    }
    _cleanup_(freep) char *chunk = xmalloc(1 << 20);
    _cleanup_(closep) int kept = open(image_store_dir(s), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    ssize_t n = kept < 0 ? -1 : 0;
    while (kept >= 0 && (n = read(0, chunk, 1 << 20)) > 0)
        if (fd_write_all(kept, chunk, (size_t)n, e) < 0)
            return -(int)(*e)->code;
    if (n < 0 || lseek(kept, 0, SEEK_SET) < 0)
        return err_errno(e, errno, "standard input");
    int fd = kept;
    kept = -1;
    return fd;
}

static int import(struct image_store *s, const struct image_options *o, const struct strs *files, struct err **e)
{
    for (size_t i = 1; i < files->n; i++) {
        _cleanup_(buf_clear) struct buf names = BUF_INIT;
        _cleanup_(closep) int fd = open_archive(s, files->v[i], e);
        struct image_import_options io = {.name = str_of(o->name ? o->name : ""), .pinned = o->pinned};
        if (fd < 0)
            return fd;
        if (image_import(s, fd, &io, &names, e) < 0)
            return err_wrap(e, "%s", files->v[i]);
        struct str rest = buf_str(&names), line;
        while (str_split(&rest, '\n', &line))
            if (line.n)
                printf("%s%.*s\n", o->quiet ? "" : "imported ", STR_ARG(line));
    }
    return 0;
}

static int pull(struct image_store *s, const struct image_options *o, const struct strs *refs, struct err **e)
{
    for (size_t i = 1; i < refs->n; i++)
        if (image_cli_pull(s, o, str_of(refs->v[i]), e) < 0)
            return err_wrap(e, "%s", refs->v[i]);
    return 0;
}

static int export(struct image_store *s, const struct image_options *o, const struct strs *refs, struct err **e)
{
    struct str *list = xcalloc(refs->n, sizeof *list);
    bool file = o->output && strcmp(o->output, "-") != 0;
    int fd = file ? open(o->output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : 1;
    for (size_t i = 1; i < refs->n; i++)
        list[i - 1] = str_of(refs->v[i]);
    int r = fd < 0               ? err_errno(e, errno, "%s", o->output)
            : !file && isatty(1) ? err_set(e, ERR_USAGE, "an archive is not for a terminal: give --output FILE")
                                 : image_export(s, list, refs->n - 1, fd, e);
    free(list);
    if (file && fd >= 0)
        close(fd);
    if (file && r < 0 && fd >= 0)
        unlink(o->output);
    return r;
}

/* ---- ls ---- */

static void size_text(int64_t bytes, char out[24])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double v = (double)bytes;
    size_t u = 0;
    for (; v >= 1000 && u + 1 < ARRAY_LEN(units); u++)
        v /= 1000;
    snprintf(out, 24, u ? "%.1f%s" : "%.0f%s", v, units[u]);
}

struct listing {
    const struct image_options *o;
    struct pool *p;
    struct json *list;
    struct str only;
    size_t n;
};

static bool asked_for(const struct listing *l, const struct image *i)
{
    bool any = !l->only.n || str_starts(str_sub(i->id, 7, i->id.n), l->only);
    for (size_t k = 0; k < i->nnames && !any; k++)
        any = str_find(i->names[k], l->only) >= 0;
    return any;
}

static void print_image(void *arg, const struct image *i)
{
    struct listing *l = arg;
    char size[24];
    size_text(i->size, size);
    if (!asked_for(l, i))
        return;
    for (size_t k = 0; k < i->nnames || k == 0; k++) {
        struct str name = k < i->nnames ? i->names[k] : STR("<none>"), repository = name, tag = STR("<none>");
        ssize_t colon = str_rchr(name, ':');
        if (colon > str_rchr(name, '/')) {
            repository = str_sub(name, 0, (size_t)colon);
            tag = str_sub(name, (size_t)colon + 1, name.n);
        }
        struct str id = l->o->no_trunc ? i->id : str_sub(i->id, 7, MIN(i->id.n, (size_t)20));
        printf("%-50.*s %-16.*s ", STR_ARG(repository), STR_ARG(tag));
        if (l->o->digests) {
            ssize_t at = i->ndigests ? str_rchr(i->digests[0], '@') : -1;
            printf("%-71.*s ", STR_ARG(at < 0 ? STR("<none>") : str_sub(i->digests[0], (size_t)at + 1, i->digests[0].n)));
        }
        printf("%.*s %10s %s\n", STR_ARG(id), size, i->pinned ? "pinned" : "");
    }
}

static void print_id(void *arg, const struct image *i)
{
    if (asked_for(arg, i))
        printf("%.*s\n", STR_ARG(i->id));
}

/* The fields that crictl prints, and their names. */
static void add_json(void *arg, const struct image *i)
{
    struct listing *l = arg;
    if (!asked_for(l, i))
        return;
    struct json *o = json_append(l->list, json_obj(l->p));
    json_set_str(l->p, o, STR("id"), i->id);
    struct json *tags = json_put_arr(l->p, o, STR("repoTags")), *digests = json_put_arr(l->p, o, STR("repoDigests"));
    for (size_t k = 0; k < i->nnames; k++)
        json_append(tags, json_str_view(l->p, i->names[k]));
    for (size_t k = 0; k < i->ndigests; k++)
        json_append(digests, json_str_view(l->p, i->digests[k]));
    json_set_str(l->p, o, STR("size"), pool_printf(l->p, "%" PRId64, i->size));
    json_set_str(l->p, o, STR("username"), i->config.user);
    json_set(l->p, o, STR("pinned"), json_bool(l->p, i->pinned));
}

static int list(struct image_store *s, const struct image_options *o, const struct strs *rest, struct err **e)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *doc = json_obj(p);
    struct listing l = {.o = o, .p = p, .list = json_put_arr(p, doc, STR("images")), .only = rest->n > 1 ? str_of(rest->v[1]) : STR_NULL};
    if (o->output && strcmp(o->output, "json") == 0) {
        image_each(s, add_json, &l);
        printf("%.*s\n", STR_ARG(json_to_pool(p, doc)));
        return 0;
    }
    if (o->output && strcmp(o->output, "table") != 0)
        return err_set(e, ERR_USAGE, "invalid value \"%s\" for --output: must be table or json", o->output);
    if (o->quiet) {
        image_each(s, print_id, &l);
        return 0;
    }
    printf("%-50s %-16s ", "IMAGE", "TAG");
    if (o->digests)
        printf("%-71s ", "DIGEST");
    printf("%-*s %10s\n", o->no_trunc ? 71 : 13, "IMAGE ID", "SIZE");
    image_each(s, print_image, &l);
    return 0;
}

/* ---- rm, prune ---- */

static int rm(struct image_store *s, const struct image_options *o, const struct strs *refs, struct err **e)
{
    _cleanup_(image_uses_freep) struct image_uses *uses = image_uses_load(o->data_dir);
    for (size_t i = 1; i < refs->n; i++) {
        const struct image *im = image_find(s, str_of(refs->v[i]));
        const char *by = im && im->nnames < 2 ? image_used_by(uses, im) : NULL;
        if (by)
            return err_set(e, ERR_CONFLICT, "%s: it is used by pod %s", refs->v[i], by);
        if (image_remove(s, str_of(refs->v[i]), e) < 0)
            return err_wrap(e, "%s", refs->v[i]);
        printf("removed %s\n", refs->v[i]);
    }
    return 0;
}

struct pruning {
    const struct image_options *o;
    const struct image_uses *uses;
    struct strs ids;
    int64_t bytes;
};

static void choose(void *arg, const struct image *i)
{
    struct pruning *p = arg;
    if (i->pinned || image_used_by(p->uses, i) || (i->nnames && !p->o->all))
        return;
    p->ids.v = xrealloc(p->ids.v, (p->ids.n + 1) * sizeof *p->ids.v);
    p->ids.v[p->ids.n++] = str_dup(i->id);
    p->bytes += i->size;
}

/* Without --all: images that have lost their names, and layers of none. */
static int prune(struct image_store *s, const struct image_options *o, const struct strs *rest, struct err **e)
{
    _cleanup_(image_uses_freep) struct image_uses *uses = image_uses_load(o->data_dir);
    struct pruning p = {.o = o, .uses = uses};
    (void)rest;
    image_each(s, choose, &p);
    int r = 0;
    for (size_t i = 0; i < p.ids.n; i++) {
        if (r == 0)
            r = image_remove(s, str_of(p.ids.v[i]), e);
        if (r == 0)
            printf("removed %s\n", p.ids.v[i]);
        free(p.ids.v[i]);
    }
    free(p.ids.v);
    int64_t swept = r < 0 ? r : image_sweep(s, e);
    if (swept < 0)
        return (int)swept;
    printf("%zu images removed, up to %" PRId64 " bytes freed\n", p.ids.n, p.bytes);
    return 0;
}

/* ---- the verbs ---- */

static const struct verb {
    const char *name, *usage;
    bool wants; /* at least one word more */
    int (*run)(struct image_store *s, const struct image_options *o, const struct strs *rest, struct err **e);
} verbs[] = {
    {"ls", "ls [-q] [-o table|json] [--digests] [--no-trunc] [TEXT]", false, list},
    {"pull", "pull [-q] [--creds USER:PASSWORD] [--pinned] IMAGE...", true, pull},
    {"import", "import [--name NAME] [--pinned] FILE|-...", true, import},
    {"export", "export -o FILE IMAGE...", true, export},
    {"rm", "rm IMAGE...", true, rm},
    {"prune", "prune [-a]", false, prune},
};

static int usage(struct err **e)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        buf_printf(&b, "%s%s", i ? " | " : "", verbs[i].usage);
    return err_set(e, ERR_USAGE, "usage: sampan image %.*s", STR_ARG(buf_str(&b)));
}

static int run(const struct image_options *o, const struct strs *rest, struct err **e)
{
    _cleanup_(freep) char *dir = xasprintf("%s/agent/node/store", o->data_dir);
    _cleanup_(image_store_freep) struct image_store *s = NULL;
    const struct verb *v = NULL;
    for (size_t i = 0; rest->n && i < ARRAY_LEN(verbs); i++)
        if (strcmp(rest->v[0], verbs[i].name) == 0)
            v = &verbs[i];
    if (!v)
        return usage(e);
    if (v->wants && rest->n < 2)
        return err_set(e, ERR_USAGE, "usage: sampan image %s", v->usage);
    if (geteuid() != 0)
        return err_set(e, ERR_FORBIDDEN, "must be run as root");
    if (image_store_open(dir, o->user, &s, e) < 0)
        return err_wrap(e, "image store");
    return v->run(s, o, rest, e);
}

int cmd_image(int argc, char **argv)
{
    struct image_options o = {0};
    struct strs rest = {0};
    struct err *e = NULL;
    int r = flags_parse(tables, argc, argv, &o, -1, NULL, &rest, &e);
    if (r == 0)
        r = run(&o, &rest, &e);
    for (size_t i = 0; i < rest.n; i++)
        free(rest.v[i]);
    free(rest.v);
    flags_clear(tables, &o);
    return r < 0 ? cli_fail(e) : 0;
}
