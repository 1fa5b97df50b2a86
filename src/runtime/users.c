#include "runtime/users.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILE_LIMIT (1u << 20)
#define GROUPS_MAX 1024

int users_open_in_root(int root_fd, const char *path, int flags)
{
    struct open_how how = {.flags = (uint64_t)flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    int fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof how);
    return fd < 0 ? -errno : fd;
}

static struct str slurp(struct pool *p, int root_fd, const char *path)
{
    _cleanup_(closep) int fd = users_open_in_root(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return STR_NULL;
    size_t want = (size_t)MIN(st.st_size, (off_t)FILE_LIMIT);
    char *text = pool_alloc(p, want + 1);
    ssize_t n = read(fd, text, want);
    return n < 0 ? STR_NULL : str_make(text, (size_t)n);
}

static bool number(struct str s, uint32_t *out)
{
    uint64_t v;
    if (!str_to_u64(s, &v) || v > 0x7fffffff)
        return false;
    *out = (uint32_t)v;
    return true;
}

/* One line of passwd (7 fields) or group (4): fields into f; false when there are fewer. */
static bool fields(struct str line, struct str *f, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!str_split(&line, ':', &f[i]))
            return false;
    return true;
}

struct passwd_row { struct str name, home; uint32_t uid, gid; bool found; };

static struct passwd_row find_user(struct str passwd, struct str name, const uint32_t *uid)
{
    struct str line, f[7];
    struct passwd_row row = {0};
    while (str_split(&passwd, '\n', &line)) {
        if (!fields(line, f, 7) || !number(f[2], &row.uid) || !number(f[3], &row.gid))
            continue;
        if (uid ? row.uid == *uid : str_eq(f[0], name)) {
            row.name = f[0];
            row.home = f[5];
            row.found = true;
            return row;
        }
    }
    return (struct passwd_row){0};
}

static bool find_group(struct str group, struct str name, uint32_t *gid)
{
    struct str line, f[4];
    while (str_split(&group, '\n', &line))
        if (fields(line, f, 4) && str_eq(f[0], name) && number(f[2], gid))
            return true;
    return false;
}

static void member_of(struct pool *p, struct str group, struct str name, struct users_result *r)
{
    struct str line, f[4], one;
    uint32_t *list = pool_array(p, uint32_t, GROUPS_MAX);
    while (str_split(&group, '\n', &line) && r->ngroups < GROUPS_MAX) {
        uint32_t gid;
        if (!fields(line, f, 4) || !number(f[2], &gid) || gid == r->gid)
            continue;
        struct str members = f[3];
        while (str_split(&members, ',', &one))
            if (str_eq(one, name)) {
                list[r->ngroups++] = gid;
                break;
            }
    }
    r->groups = list;
}

int users_from_text(struct pool *p, struct str passwd, struct str group, struct str user, int64_t uid, int64_t gid,
    struct users_result *out, struct err **e)
{
    struct str name = user, group_name = STR_NULL;
    str_cut(user, ':', &name, &group_name);
    struct users_result r = {.home = STR("/")};
    uint32_t id = 0;
    bool numeric = uid >= 0 || str_empty(name) || number(name, &id);
    if (uid >= 0) {
        id = (uint32_t)uid;
        group_name = STR_NULL; /* the image's group goes with the image's user */
    }
    struct passwd_row row = find_user(passwd, name, numeric ? &id : NULL);
    if (!numeric && !row.found)
        return err_set(e, ERR_NOT_FOUND, "unable to find user %.*s: no matching entries in passwd file", STR_ARG(name));
    r.uid = numeric ? id : row.uid;
    r.gid = row.found ? row.gid : 0;
    if (row.found && !str_empty(row.home))
        r.home = pool_str(p, row.home);
    if (gid >= 0)
        r.gid = (uint32_t)gid;
    else if (!str_empty(group_name) && !number(group_name, &r.gid) && !find_group(group, group_name, &r.gid))
        return err_set(e, ERR_NOT_FOUND, "unable to find group %.*s: no matching entries in group file", STR_ARG(group_name));
    if (row.found)
        member_of(p, group, row.name, &r);
    *out = r;
    return 0;
}

int users_resolve(struct pool *p, int root_fd, struct str user, int64_t uid, int64_t gid, struct users_result *out, struct err **e)
{
    return users_from_text(p, slurp(p, root_fd, "/etc/passwd"), slurp(p, root_fd, "/etc/group"), user, uid, gid, out, e);
}
