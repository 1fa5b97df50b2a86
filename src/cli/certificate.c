/* sampan certificate check | rotate. The running server renews its certificates by itself, with more than a third of their life left; check shows them, and
 * rotate makes the next start issue new ones, for a key that may have been seen by others. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "crypto/cert.h"

#define WARN_DAYS 90
#define DAY (24 * 3600 * (int64_t)NS_PER_S)

struct cert_options { char *data_dir, *output; };
static const struct flag flags[] = {
    {"data-dir", 'd', FLAG_STR, offsetof(struct cert_options, data_dir), NULL, "/var/lib/sampan", "Folder of the server"},
    {"output", 'o', FLAG_STR, offsetof(struct cert_options, output), NULL, "table", "table or text"},
    FLAG_END,
};
static const struct flag *const tables[] = {flags, NULL};

static const char *usages(unsigned u)
{
    if (u & CERT_SIGN)
        return "CertSign";
    if ((u & CERT_SERVER) && (u & CERT_CLIENT))
        return "ServerAuth,ClientAuth";
    return u & CERT_SERVER ? "ServerAuth" : u & CERT_CLIENT ? "ClientAuth" : "-";
}

static void print_one(const char *file, const struct cert_info *i, bool table)
{
    struct timespec ts;
    char end[TIME_MAX];
    clock_gettime(CLOCK_REALTIME, &ts);
    int64_t left = (i->not_after - ts.tv_sec * (int64_t)NS_PER_S) / DAY;
    const char *state = left < 0 ? "EXPIRED" : left < WARN_DAYS && !i->is_ca ? "WARNING" : "OK";
    struct str until = time_format(i->not_after, end);
    if (table)
        printf("%-28s   %-44.*s   %-22s   %-20.*s   %5" PRId64 " days   %s\n", file, STR_ARG(i->subject), usages(i->usages), STR_ARG(until), left, state);
    else
        printf("%s: certificate %.*s (%s) is %s, expires at %.*s\n", file, STR_ARG(i->subject), usages(i->usages),
            left < 0 ? "EXPIRED" : "ok", STR_ARG(until));
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_crt(const struct dirent *d)
{
    return str_ends(str_of(d->d_name), STR(".crt"));
}

static int check(const char *dir, bool table, struct err **e)
{
    struct dirent **list = NULL;
    int n = scandir(dir, &list, is_crt, by_name), r = 0;
    if (n < 0)
        return err_errno(e, errno, "no certificates here (is this the machine of a server?): %s", dir);
    if (table)
        printf("%-28s   %-44s   %-22s   %-20s   %-10s   %s\n", "FILENAME", "SUBJECT", "USAGES", "EXPIRES", "RESIDUAL", "STATUS");
    for (int i = 0; i < n; i++) {
        _cleanup_(freep) char *path = xasprintf("%s/%s", dir, list[i]->d_name);
        struct certs certs = {0};
        if (r == 0)
            r = certs_load(path, &certs, e);
        for (size_t k = 0; r == 0 && k < certs.n; k++)
            print_one(list[i]->d_name, cert_info(certs.at[k]), table);
        certs_clear(&certs);
        free(list[i]);
    }
    free(list);
    return r;
}

/* The store's lock is held by a running server, for as long as it runs (store/disk.h). */
static int refuse_running(const char *data_dir, struct err **e)
{
    _cleanup_(freep) char *path = xasprintf("%s/server/db/lock", data_dir);
    _cleanup_(closep) int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0)
        return err_set(e, ERR_CONFLICT, "the server runs: stop it first; its next start makes new certificates");
    return 0;
}

static int rotate(const char *data_dir, const char *dir, struct err **e)
{
    static const char *const leaves[] = {"serving-kube-apiserver", "client-admin"};
    static const char *const ends[] = {"crt", "key"};
    size_t gone = 0;
    if (refuse_running(data_dir, e) < 0)
        return -ERR_CONFLICT;
    for (size_t i = 0; i < ARRAY_LEN(leaves) * ARRAY_LEN(ends); i++) {
        _cleanup_(freep) char *path = xasprintf("%s/%s.%s", dir, leaves[i / 2], ends[i % 2]);
        if (unlink(path) == 0)
            gone++;
        else if (errno != ENOENT)
            return err_errno(e, errno, "%s", path);
    }
    if (!gone)
        return err_set(e, ERR_NOT_FOUND, "no certificates in %s", dir);
    printf("the serving and admin certificates are removed; the next start makes new ones and writes a new admin kubeconfig\n");
    return 0;
}

int cmd_certificate(int argc, char **argv)
{
    struct cert_options o = {0};
    struct strs rest = {0};
    struct err *e = NULL;
    int r = flags_parse(tables, argc, argv, &o, -1, NULL, &rest, &e);
    if (r == 0 && strcmp(o.output, "table") != 0 && strcmp(o.output, "text") != 0)
        r = err_set(&e, ERR_USAGE, "invalid value \"%s\" for --output: must be table or text", o.output);
    _cleanup_(freep) char *dir = r == 0 ? xasprintf("%s/server/tls", o.data_dir) : NULL;
    if (r == 0 && rest.n == 1 && strcmp(rest.v[0], "check") == 0)
        r = check(dir, strcmp(o.output, "table") == 0, &e);
    else if (r == 0 && rest.n == 1 && strcmp(rest.v[0], "rotate") == 0)
        r = rotate(o.data_dir, dir, &e);
    else if (r == 0)
        r = err_set(&e, ERR_USAGE, "usage: sampan certificate check|rotate [--data-dir DIR] [--output table|text]");
    for (size_t i = 0; i < rest.n; i++)
        free(rest.v[i]);
    free(rest.v);
    flags_clear(tables, &o);
    return r < 0 ? cli_fail(e) : 0;
}
