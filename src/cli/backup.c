/* sampan backup FILE, sampan restore FILE. A backup is an SQLite database; it holds Secrets and is written with mode 0600. The CA and keys in server/tls are not in it. */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "store/store.h"

struct backup_options { char *data_dir, *user; };
static const struct flag flags[] = {
    {"data-dir", 'd', FLAG_STR, offsetof(struct backup_options, data_dir), NULL, "/var/lib/sampan", "Folder of the server or hub"},
    {"user", 0, FLAG_STR, offsetof(struct backup_options, user), NULL, "sampan", "User that the store belongs to"},
    FLAG_END,
};
static const struct flag *const tables[] = {flags, NULL};

static int backup(const struct backup_options *o, const char *file, struct err **e)
{
    _cleanup_(freep) char *db = xasprintf("%s/server/db", o->data_dir);
    if (file_exists(file))
        return err_set(e, ERR_EXISTS, "%s exists already", file);
    umask(077);
    return store_backup_folder(db, file, e);
}

static int restore(const struct backup_options *o, const char *file, struct err **e)
{
    _cleanup_(freep) char *server = xasprintf("%s/server", o->data_dir), *db = xasprintf("%s/db", server);
    struct passwd *pw = getpwnam(o->user);
    if (!pw)
        return err_set(e, ERR_NOT_FOUND, "user \"%s\" does not exist", o->user);
    if (dir_make(server, 0750, e) < 0 || dir_make(db, 0700, e) < 0)
        return -ERR_IO;
    /* as the store's own user, so that every file in it belongs to it */
    if (chown(server, 0, pw->pw_gid) < 0 || chown(db, pw->pw_uid, pw->pw_gid) < 0)
        return err_errno(e, errno, "%s", db);
    if (store_restore(file, db, e) < 0)
        return -ERR_IO;
    const char *const argv[] = {"chown", "-R", o->user, db, NULL};
    return spawn_wait(argv, NULL, 0, 10000, e) == 0 ? 0 : err_set(e, ERR_IO, "the restored files in %s could not be given to user \"%s\"", db, o->user);
}

static int run(int argc, char **argv, int (*fn)(const struct backup_options *, const char *, struct err **))
{
    struct backup_options o = {0};
    struct strs rest = {0};
    struct err *e = NULL;
    int r = flags_parse(tables, argc, argv, &o, -1, NULL, &rest, &e);
    if (r == 0 && rest.n != 1)
        r = err_set(&e, ERR_USAGE, "usage: sampan %s [--data-dir DIR] FILE", argv[0]);
    if (r == 0)
        r = fn(&o, rest.v[0], &e);
    for (size_t i = 0; i < rest.n; i++)
        free(rest.v[i]);
    free(rest.v);
    flags_clear(tables, &o);
    return r < 0 ? cli_fail(e) : 0;
}

int cmd_backup(int argc, char **argv)
{
    return run(argc, argv, backup);
}

int cmd_restore(int argc, char **argv)
{
    return run(argc, argv, restore);
}
