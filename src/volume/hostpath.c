#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "volume/volume.h"

/* k8s.io/kubernetes/pkg/volume/hostpath: types, what they mean and what the kubelet says when they do not fit. */
struct host_type { const char *name; mode_t type; bool create; const char *what; };
static const struct host_type types[] = {
    {"Directory", S_IFDIR, false, "is not a directory"},
    {"DirectoryOrCreate", S_IFDIR, true, "is not a directory"},
    {"File", S_IFREG, false, "is not a file"},
    {"FileOrCreate", S_IFREG, true, "is not a file"},
    {"Socket", S_IFSOCK, false, "is not a socket file"},
    {"CharDevice", S_IFCHR, false, "is not a character device"},
    {"BlockDevice", S_IFBLK, false, "is not a block device"},
};

static int create(const char *path, mode_t type, struct err **e)
{
    if (type == S_IFDIR)
        return dir_make(path, 0755, e);
    _cleanup_(closep) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    return fd < 0 && errno != EEXIST ? err_errno(e, errno, "create %s", path) : 0;
}

int volume_check_host_path(struct str path, struct str type, struct err **e)
{
    _cleanup_(freep) char *z = str_dup(path);
    struct stat st;
    if (str_empty(type)) { /* anything; a path that is not there becomes a folder, as with every container runtime */
        return stat(z, &st) < 0 && errno == ENOENT ? dir_make(z, 0755, e) : 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (!str_eqz(type, types[i].name))
            continue;
        if (stat(z, &st) < 0 && errno == ENOENT && types[i].create) {
            int r = create(z, types[i].type, e);
            if (r < 0)
                return r;
        }
        if (stat(z, &st) < 0 || (st.st_mode & S_IFMT) != types[i].type)
            return err_set(e, ERR_INVALID, "hostPath type check failed: %s %s", z, types[i].what);
        return 0;
    }
    return err_set(e, ERR_INVALID, "hostPath type \"%.*s\" is not known", STR_ARG(type));
}
