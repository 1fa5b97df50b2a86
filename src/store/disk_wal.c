/* Care that happens beside the commits: checkpoints, the lock, the spare space, backup and restore, sizes. */
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "store/disk.h"

/* ---- checkpoints: passive, so that neither writer nor readers wait; what they cannot finish the committer finishes ---- */

static void *run(void *arg)
{
    struct backend *b = arg;
    _cleanup_(disk_closep) sqlite3 *db = NULL;
    store_lock(&b->mu);
    while (!b->stop) {
        if (!b->wanted) {
            pthread_cond_wait(&b->cond, &b->mu);
            continue;
        }
        b->wanted = false;
        store_unlock(&b->mu);
        if (!db && disk_connect(b->file, SQLITE_OPEN_READWRITE, &db, NULL) == 0)
            (void)!disk_exec(db, "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -64", NULL);
        if (db)
            sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL); /* fails: tried again after the next commit */
        store_lock(&b->mu);
    }
    store_unlock(&b->mu);
    return NULL;
}

void disk_wal_tend(struct backend *b)
{
    if (b->reserve_fd < 0 && b->commits % 16 == 0)
        (void)!backend_reserve(b, NULL);
    if (b->wal_pages > WAL_PAGES_MAX)
        sqlite3_wal_checkpoint_v2(b->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    if (b->wal_pages <= WAL_PAGES)
        return;
    store_lock(&b->mu);
    b->wanted = true;
    pthread_cond_signal(&b->cond);
    store_unlock(&b->mu);
}

void disk_wal_empty(struct backend *b)
{
    sqlite3_wal_checkpoint_v2(b->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
}

int disk_wal_start(struct backend *b, struct err **e)
{
    int rc = pthread_create(&b->thread, NULL, run, b);
    if (rc)
        return err_errno(e, rc, "checkpoint thread");
    b->threaded = true;
    return 0;
}

void disk_wal_stop(struct backend *b)
{
    if (!b->threaded)
        return;
    store_lock(&b->mu);
    b->stop = true;
    pthread_cond_signal(&b->cond);
    store_unlock(&b->mu);
    pthread_join(b->thread, NULL);
    b->threaded = false;
}

/* ---- the folder ---- */

static int take_fd(int *fd)
{
    int n = *fd;
    *fd = -1;
    return n;
}

int disk_lock(const char *folder, int *out, struct err **e)
{
    _cleanup_(freep) char *path = xasprintf("%s/lock", folder);
    _cleanup_(closep) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(e, errno, "%s", path);
    char pid[32] = {0};
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return err_errno(e, errno, "%s", path);
        ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
        struct str who = str_trim(str_make(pid, n > 0 ? (size_t)n : 0));
        return err_set(e, ERR_EXISTS, "%s is in use by pid %.*s", folder, STR_ARG(who));
    }
    int n = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    if (ftruncate(fd, 0) < 0 || pwrite(fd, pid, (size_t)n, 0) != n)
        return err_errno(e, errno, "%s", path);
    *out = take_fd(&fd);
    return 0;
}

int backend_reserve(struct backend *b, struct err **e)
{
    if (b->reserve_fd >= 0)
        return 0;
    if (b->lean) { /* first give back what deletes have freed */
        disk_wal_empty(b);
        (void)!disk_exec(b->db, "PRAGMA incremental_vacuum", NULL);
        disk_wal_empty(b);
    }
    _cleanup_(freep) char *path = xasprintf("%s/reserve", b->folder);
    _cleanup_(closep) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(e, errno, "%s", path);
    struct stat st;
    int rc = fstat(fd, &st) == 0 && st.st_size >= RESERVE_BYTES ? 0 : posix_fallocate(fd, 0, RESERVE_BYTES);
    if (rc) {
        (void)!unlink(path);
        return err_errno(e, rc, "%s", path);
    }
    b->reserve_fd = take_fd(&fd);
    b->lean = false;
    return 0;
}

void backend_release(struct backend *b)
{
    _cleanup_(freep) char *path = xasprintf("%s/reserve", b->folder);
    (void)!unlink(path);
    closep(&b->reserve_fd);
    b->reserve_fd = -1;
    b->lean = true;
}

static int64_t size_of(const char *folder, const char *name)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", folder, name);
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_size : 0;
}

void backend_sizes(struct backend *b, int64_t *db, int64_t *wal)
{
    *db = size_of(b->folder, "store.db");
    *wal = size_of(b->folder, "store.db-wal");
}

/* ---- backup and restore ---- */

static int sync_path(const char *path, int flags, struct err **e)
{
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    if (fd < 0 || fsync(fd) < 0)
        return err_errno(e, errno, "%s", path);
    return 0;
}

/* Puts a finished temporary in its place, durably. */
static int settle(const char *tmp, const char *path, struct err **e)
{
    _cleanup_(freep) char *folder = xstrdup(path);
    char *slash = strrchr(folder, '/');
    int rc = sync_path(tmp, 0, e);
    if (rc < 0)
        return rc;
    if (rename(tmp, path) < 0)
        return err_errno(e, errno, "%s", path);
    if (slash)
        *(slash == folder ? slash + 1 : slash) = 0;
    return sync_path(slash ? folder : ".", O_DIRECTORY, e);
}

/* SQLite makes files that all may read; -wal and -shm get the mode of the database. */
int disk_make_private(const char *file, struct err **e)
{
    _cleanup_(closep) int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 ? err_errno(e, errno, "%s", file) : 0;
}

/* Copies the whole database under one read transaction: the writer goes on. */
static int copy(sqlite3 *from, const char *to, sqlite3 **out, struct err **e)
{
    _cleanup_(disk_closep) sqlite3 *db = NULL;
    int rc = disk_make_private(to, e);
    if (rc == 0)
        rc = disk_connect(to, SQLITE_OPEN_READWRITE, &db, e);
    if (rc < 0)
        return rc;
    sqlite3_backup *x = sqlite3_backup_init(db, "main", from, "main");
    if (!x)
        return disk_fail(db, sqlite3_errcode(db), to, e);
    rc = sqlite3_backup_step(x, -1);
    int end = sqlite3_backup_finish(x);
    if (rc != SQLITE_DONE || end)
        return disk_fail(db, rc != SQLITE_DONE ? rc : end, to, e);
    rc = disk_exec(db, "PRAGMA journal_mode = DELETE", e); /* one file, complete in itself */
    if (rc == 0)
        *out = TAKE(db);
    return rc;
}

static int backup(const char *file, const char *path, struct err **e)
{
    if (file_exists(path))
        return err_set(e, ERR_EXISTS, "%s exists already", path);
    _cleanup_(freep) char *tmp = xasprintf("%s.part", path);
    _cleanup_(disk_closep) sqlite3 *from = NULL, *to = NULL;
    (void)!unlink(tmp);
    int rc = disk_connect(file, SQLITE_OPEN_READONLY, &from, e);
    if (rc == 0)
        rc = copy(from, tmp, &to, e);
    sqlite3_close_v2(TAKE(to));
    if (rc == 0)
        rc = settle(tmp, path, e);
    if (rc < 0)
        (void)!unlink(tmp);
    return WRAP(rc, e, "backup");
}

int backend_backup(struct backend *b, const char *path, struct err **e)
{
    return backup(b->file, path, e);
}

/* Beside the server SQLite's own locks keep the two apart; without one this process alone reads. New -wal and -shm files get the database's
 * owner. */
int store_backup_folder(const char *folder, const char *path, struct err **e)
{
    _cleanup_(freep) char *file = xasprintf("%s/store.db", folder);
    if (!file_exists(file))
        return err_set(e, ERR_NOT_FOUND, "backup: there is no store in %s", folder);
    return backup(file, path, e);
}

static int renew(sqlite3 *db, struct err **e)
{
    char uid[UUID_LEN + 1], sql[512];
    random_uuid(uid);
    snprintf(sql, sizeof sql,
        "BEGIN; UPDATE meta SET v = '%s' WHERE k = 'uid'; UPDATE meta SET v = v + 1 WHERE k = 'epoch';"
        "UPDATE meta SET v = %d + max(v, (SELECT coalesce(max(rev), 0) FROM objects), (SELECT coalesce(max(rev), 0) FROM log)) WHERE k = "
        "'reserved'; COMMIT",
        uid, RESTORE_JUMP);
    return disk_exec(db, sql, e);
}

int store_restore(const char *backup, const char *folder, struct err **e)
{
    _cleanup_(closep) int lock = -1;
    _cleanup_(freep) char *file = xasprintf("%s/store.db", folder), *tmp = xasprintf("%s/store.db.part", folder);
    _cleanup_(disk_closep) sqlite3 *from = NULL, *to = NULL;
    if (!file_exists(backup))
        return err_set(e, ERR_NOT_FOUND, "restore: %s does not exist", backup);
    int rc = disk_connect(backup, SQLITE_OPEN_READONLY, &from, e);
    if (rc == 0)
        rc = disk_ours(from, backup, e);
    if (rc == 0)
        rc = disk_check(from, backup, e);
    if (rc == 0)
        rc = dir_make(folder, 0700, e);
    if (rc == 0)
        rc = disk_lock(folder, &lock, e);
    if (rc == 0 && file_exists(file))
        rc = err_set(e, ERR_EXISTS, "%s exists already: move it away first", file);
    if (rc < 0)
        return WRAP(rc, e, "restore");
    (void)!unlink(tmp);
    rc = copy(from, tmp, &to, e);
    if (rc == 0)
        rc = renew(to, e);
    sqlite3_close_v2(TAKE(to));
    if (rc == 0)
        rc = settle(tmp, file, e);
    if (rc < 0)
        (void)!unlink(tmp);
    return WRAP(rc, e, "restore");
}
