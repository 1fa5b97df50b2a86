#include "supervisor/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"

#define TOKEN_BYTES 16

static int own(const char *path, uid_t uid, gid_t gid, mode_t mode, struct err **e)
{
    if (dir_make(path, mode, e) < 0)
        return err_wrap(e, "data folder");
    if (chown(path, uid, gid) < 0 || chmod(path, mode) < 0)
        return err_errno(e, errno, "%s", path);
    return 0;
}

static int take_lock(struct layout *l, struct err **e)
{
    _cleanup_(freep) char *path = xasprintf("%s/supervisor.lock", l->data);
    char text[32] = "";
    l->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (l->lock_fd < 0)
        return err_errno(e, errno, "%s", path);
    if (flock(l->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        ssize_t n = pread(l->lock_fd, text, sizeof text - 1, 0);
        text[n > 0 ? n : 0] = 0;
        return err_set(e, ERR_EXISTS, "another sampan (pid %s) uses %s already", text, l->data);
    }
    int n = snprintf(text, sizeof text, "%d", (int)getpid());
    if (ftruncate(l->lock_fd, 0) < 0 || pwrite(l->lock_fd, text, (size_t)n, 0) != n)
        return err_errno(e, errno, "%s", path);
    return 0;
}

int token_parse(struct str token, struct str *ca_hash, struct str *password, struct err **e)
{
    struct str rest = token, user;
    *ca_hash = STR_NULL;
    if (str_starts(token, STR("K10"))) {
        ssize_t at = str_find(token, STR("::"));
        if (at != 3 + 64)
            return err_set(e, ERR_USAGE, "token: must be K10<hash of the CA>::<user>:<password>");
        *ca_hash = str_sub(token, 3, 3 + 64);
        rest = str_sub(token, (size_t)at + 2, token.n);
    }
    if (str_cut(rest, ':', &user, &rest) && !str_eqz(user, "server") && !str_eqz(user, "node"))
        return err_set(e, ERR_USAGE, "token: user must be server or node");
    if (str_empty(rest))
        return err_set(e, ERR_USAGE, "token: the password is missing");
    *password = rest;
    return 0;
}

static int password_of(const char *token, char **out, struct err **e)
{
    struct str hash, password;
    int r = token_parse(str_of(token), &hash, &password, e);
    if (r < 0)
        return r;
    *out = str_dup(password);
    return 0;
}

/* The server's secret: what the user gave, else what an earlier start made, else a new one. */
static int load_token(struct layout *l, const struct options *o, struct err **e)
{
    _cleanup_(freep) char *path = xasprintf("%s/token", l->server);
    _cleanup_(buf_clear) struct buf text = BUF_INIT;
    if (o->token && password_of(o->token, &l->token, e) < 0)
        return -ERR_USAGE;
    if (o->agent_token && password_of(o->agent_token, &l->agent_token, e) < 0)
        return -ERR_USAGE;
    if (l->token)
        return 0;
    if (file_exists(path)) {
        _cleanup_(freep) char *line = NULL;
        if (file_read(path, 4096, &text, e) < 0)
            return err_wrap(e, "token");
        line = str_dup(str_trim(buf_str(&text)));
        return password_of(line, &l->token, e);
    }
    uint8_t raw[TOKEN_BYTES];
    random_bytes(raw, sizeof raw);
    buf_hex(&text, raw, sizeof raw);
    l->token = buf_take(&text);
    _cleanup_(freep) char *line = xasprintf("%s\n", l->token);
    return file_replace(path, str_of(line), 0600, e);
}

static void name_paths(struct layout *l, const struct options *o)
{
    l->data = xstrdup(o->data_dir);
    l->run = xstrdup(o->run_dir);
    l->server = xasprintf("%s/server", l->data);
    l->db = xasprintf("%s/db", l->server);
    l->tls = xasprintf("%s/tls", l->server);
    l->manifests = xasprintf("%s/manifests", l->server);
    l->agent = xasprintf("%s/agent", l->data);
    l->gate = xasprintf("%s/gate", l->agent);
    l->node = xasprintf("%s/node", l->agent);
    l->images = xasprintf("%s/images", l->agent);
    l->api_socket = xasprintf("%s/api.sock", l->run);
    l->clock = xasprintf("%s/clock", l->data);
}

int layout_make(struct layout *l, const struct options *o, struct err **e)
{
    bool api = o->role == ROLE_SERVER || o->role == ROLE_HUB, node = o->role == ROLE_AGENT || (o->role == ROLE_SERVER && !o->disable_agent);
    struct passwd *pw = getpwnam(o->user);
    *l = (struct layout){.lock_fd = -1};
    if (!pw)
        return err_set(e, ERR_NOT_FOUND, "user \"%s\" does not exist (create it with: useradd --system --no-create-home --shell /usr/sbin/nologin %s)", o->user, o->user);
    l->uid = pw->pw_uid;
    l->gid = pw->pw_gid;
    name_paths(l, o);
    if (own(l->data, 0, 0, 0755, e) < 0 || take_lock(l, e) < 0 || own(l->run, 0, 0, 0755, e) < 0)
        return -(int)(*e)->code;
    if (api && (own(l->server, 0, l->gid, 0750, e) < 0 || own(l->db, l->uid, l->gid, 0700, e) < 0 || own(l->tls, l->uid, l->gid, 0700, e) < 0 ||
                   own(l->manifests, 0, l->gid, 0755, e) < 0 || load_token(l, o, e) < 0))
        return -(int)(*e)->code;
    if (own(l->agent, 0, 0, 0755, e) < 0 || own(l->gate, l->uid, l->gid, 0700, e) < 0)
        return -(int)(*e)->code;
    _cleanup_(freep) char *pods = xasprintf("%s/pod-manifests", l->agent);
    if (node && (own(l->node, 0, 0, 0700, e) < 0 || own(l->images, 0, 0, 0755, e) < 0 || own(pods, 0, l->gid, 0750, e) < 0))
        return -(int)(*e)->code;
    return 0;
}

int layout_own_socket(struct layout *l, struct err **e)
{
    if (chown(l->api_socket, l->uid, l->gid) < 0 || chmod(l->api_socket, 0600) < 0)
        return err_errno(e, errno, "%s", l->api_socket);
    return 0;
}

static int write_token_files(struct layout *l, struct str hash, struct err **e)
{
    _cleanup_(freep) char *node = xasprintf("%s/node-token", l->server), *agent = xasprintf("%s/agent-token", l->server), *full = xasprintf("%s/token", l->server);
    _cleanup_(freep) char *server_line = xasprintf("K10%.*s::server:%s\n", STR_ARG(hash), l->token);
    _cleanup_(freep) char *agent_line = xasprintf("K10%.*s::node:%s\n", STR_ARG(hash), l->agent_token ? l->agent_token : l->token);
    if (file_replace(full, str_of(server_line), 0600, e) < 0 || file_replace(node, str_of(server_line), 0600, e) < 0 || file_replace(agent, str_of(agent_line), 0600, e) < 0)
        return err_wrap(e, "token");
    return 0;
}

static int write_kubeconfig(const struct options *o, struct str text, struct err **e)
{
    _cleanup_(freep) char *folder = xstrdup(o->write_kubeconfig);
    char *slash = strrchr(folder, '/');
    long mode = strtol(o->write_kubeconfig_mode, NULL, 8);
    if (slash && slash != folder) {
        *slash = 0;
        if (dir_make(folder, 0755, e) < 0)
            return err_wrap(e, "--write-kubeconfig");
    }
    if (file_replace(o->write_kubeconfig, text, (mode_t)mode, e) < 0)
        return err_wrap(e, "--write-kubeconfig");
    if (o->write_kubeconfig_group) {
        struct group *g = getgrnam(o->write_kubeconfig_group);
        if (!g)
            return err_set(e, ERR_USAGE, "--write-kubeconfig-group: group \"%s\" does not exist", o->write_kubeconfig_group);
        if (chown(o->write_kubeconfig, 0, g->gr_gid) < 0)
            return err_errno(e, errno, "--write-kubeconfig-group");
    }
    return 0;
}

int layout_write_access(struct layout *l, const struct options *o, const struct broker_ready *m, struct err **e)
{
    if (l->token && m->ca_hash.n == 64 && write_token_files(l, m->ca_hash, e) < 0)
        return -(int)(e && *e ? (*e)->code : ERR_IO);
    return str_empty(m->kubeconfig) ? 0 : write_kubeconfig(o, m->kubeconfig, e);
}

int layout_open_manifest(struct layout *l, struct str path, struct err **e)
{
    struct open_how how = {.flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV};
    _cleanup_(freep) char *name = str_dup(path);
    _cleanup_(closep) int dir = open(l->manifests, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    if (dir < 0)
        return err_errno(e, errno, "%s", l->manifests);
    _cleanup_(closep) int fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof how);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errno(e, errno, "%s/%s", l->manifests, name);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_INVALID, "%s/%s: not a regular file", l->manifests, name);
    int opened = fd;
    fd = -1;
    return opened;
}

void layout_clear(struct layout *l)
{
    char *all[] = {l->data, l->run, l->server, l->db, l->tls, l->agent, l->gate, l->node, l->images, l->manifests, l->api_socket, l->clock};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        free(all[i]);
    if (l->token)
        explicit_bzero(l->token, strlen(l->token));
    if (l->agent_token)
        explicit_bzero(l->agent_token, strlen(l->agent_token));
    free(l->token);
    free(l->agent_token);
    if (l->lock_fd >= 0)
        close(l->lock_fd);
    *l = (struct layout){.lock_fd = -1};
}
