/* Files: whole reads with limits, atomic durable replacement, directories, one spawn. All paths are the program's own, never a
 * peer's (those go through openat2 in image/ and volume/).
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"

int file_read(const char *path, size_t limit, struct buf *out, struct err **e) _must_check_; /* appends; ERR_NOT_FOUND, ERR_LIMIT */
/* Writes a temporary beside it, fsync, rename, fsync of the folder: after a power cut either the old or the new contents stand. */
int file_replace(const char *path, struct str contents, mode_t mode, struct err **e) _must_check_;
bool file_exists(const char *path);
int dir_make(const char *path, mode_t mode, struct err **e) _must_check_;  /* with parents; existing is fine */
int dir_remove(const char *path, struct err **e) _must_check_;             /* recursively, does not cross mounts or follow links */
int fd_write_all(int fd, const void *p, size_t n, struct err **e) _must_check_;
int fd_nonblock(int fd);
int fd_cloexec(int fd, bool on);

struct spawn {             /* zero-initialised but for argv */
    const char *const *argv;
    const char *const *envp; /* NULL: ours */
    const char *cwd;
    int in, out, err;      /* fds for 0, 1, 2; 0 here means: /dev/null for in, ours for out and err. Use fd > 2 or SPAWN_NULL */
    const int *keep;       /* further fds passed on: keep[i] becomes 3 + i */
    size_t nkeep;
    bool new_session;
    void (*before_exec)(void *arg); /* in the child; async-signal-safe only */
    void *arg;
};
#define SPAWN_NULL (-2)
pid_t spawn(const struct spawn *s, struct err **e); /* pid, or a negative error; all other fds are closed in the child */
/* Runs to the end with a time limit (SIGKILL of its process group behind it), output (stdout and stderr together, at most limit bytes) appended. Blocks:
 * for tools and start-up, not for loops. Returns the exit code, 128 + signal, or a negative error. */
int spawn_wait(const char *const *argv, struct buf *output, size_t limit, int timeout_ms, struct err **e) _must_check_;

void random_bytes(void *p, size_t n);                     /* getrandom; never fails */
uint64_t random_u64(void);
void random_suffix(char *out, size_t n);                  /* Kubernetes' generateName alphabet bcdfghjklmnpqrstvwxz2456789; NUL at out[n] */
#define UUID_LEN 36
void random_uuid(char out[UUID_LEN + 1]);
