/* sampan image import FILE... | ls | rm REF... | prune: the images on this node. Works on the store on disk, beside a running node process, which sees the change. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "image/image.h"

struct image_options { char *data_dir, *user; };
static const struct flag flags[] = {
    {"data-dir", 'd', FLAG_STR, offsetof(struct image_options, data_dir), NULL, "/var/lib/sampan", "Folder of the server or agent"},
    {"user", 0, FLAG_STR, offsetof(struct image_options, user), NULL, "sampan", "User that images are parsed as"},
    FLAG_END,
};
static const struct flag *const tables[] = {flags, NULL};

static int import(struct image_store *s, const struct strs *files, struct err **e)
{
    if (files->n < 2)
        return err_set(e, ERR_USAGE, "usage: sampan image import FILE...");
    for (size_t i = 1; i < files->n; i++) {
        _cleanup_(buf_clear) struct buf names = BUF_INIT;
        _cleanup_(closep) int fd = open(files->v[i], O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return err_errno(e, errno, "%s", files->v[i]);
        if (image_import(s, fd, &(struct image_import_options){0}, &names, e) < 0)
            return err_wrap(e, "%s", files->v[i]);
        struct str rest = buf_str(&names), line;
        while (str_split(&rest, '\n', &line))
            if (line.n)
                printf("imported %.*s\n", STR_ARG(line));
    }
    return 0;
}

static void size_text(int64_t bytes, char out[24])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double v = (double)bytes;
    size_t u = 0;
    for (; v >= 1000 && u + 1 < ARRAY_LEN(units); u++)
        v /= 1000;
    snprintf(out, 24, u ? "%.1f%s" : "%.0f%s", v, units[u]);
}

static void print_image(void *arg, const struct image *i)
{
    char size[24];
    size_text(i->size, size);
    for (size_t k = 0; k < i->nnames || k == 0; k++) {
        struct str name = k < i->nnames ? i->names[k] : STR("<none>"), repository = name, tag = STR("<none>");
        ssize_t colon = str_rchr(name, ':');
        if (colon > str_rchr(name, '/')) {
            repository = str_sub(name, 0, (size_t)colon);
            tag = str_sub(name, (size_t)colon + 1, name.n);
        }
        printf("%-50.*s %-16.*s %.13s %10s %s\n", STR_ARG(repository), STR_ARG(tag), i->id.n > 20 ? i->id.p + 7 : "", size, i->pinned ? "pinned" : "");
    }
}

static int list(struct image_store *s)
{
    printf("%-50s %-16s %-13s %10s\n", "IMAGE", "TAG", "IMAGE ID", "SIZE");
    image_each(s, print_image, NULL);
    return 0;
}

static int rm(struct image_store *s, const struct strs *refs, struct err **e)
{
    if (refs->n < 2)
        return err_set(e, ERR_USAGE, "usage: sampan image rm IMAGE...");
    for (size_t i = 1; i < refs->n; i++) {
        if (image_remove(s, str_of(refs->v[i]), e) < 0)
            return err_wrap(e, "%s", refs->v[i]);
        printf("removed %s\n", refs->v[i]);
    }
    return 0;
}

static int prune(struct image_store *s, struct err **e)
{
    int64_t freed = image_sweep(s, e);
    if (freed < 0)
        return (int)freed;
    printf("freed %" PRId64 " bytes\n", freed);
    return 0;
}

static int run(const struct image_options *o, const struct strs *rest, struct err **e)
{
    _cleanup_(freep) char *dir = xasprintf("%s/agent/node/store", o->data_dir);
    _cleanup_(image_store_freep) struct image_store *s = NULL;
    const char *verb = rest->n ? rest->v[0] : "";
    if (geteuid() != 0)
        return err_set(e, ERR_FORBIDDEN, "must be run as root");
    if (image_store_open(dir, o->user, &s, e) < 0)
        return err_wrap(e, "image store");
    if (strcmp(verb, "import") == 0)
        return import(s, rest, e);
    if (strcmp(verb, "ls") == 0)
        return list(s);
    if (strcmp(verb, "rm") == 0)
        return rm(s, rest, e);
    if (strcmp(verb, "prune") == 0)
        return prune(s, e);
    return err_set(e, ERR_USAGE, "usage: sampan image import FILE... | ls | rm IMAGE... | prune");
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
