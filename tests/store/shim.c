#include "shim.h"
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/list.h"
#include "harness.h"

#define SECTOR 512

struct undo { /* what a write replaced, newest first */
    struct undo *next;
    sqlite3_int64 at, size_before;
    int n, old_n;
    char old[];
};
struct file { /* by path: SQLite opens the same one several times */
    struct list node;
    char *path;
    struct undo *undo;
};
struct handle {
    sqlite3_file base;
    struct file *file;  /* NULL: not of interest */
    sqlite3_file *real; /* behind this */
};

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static struct list files = LIST_INIT(files);
static sqlite3_vfs shim, *real;
static int count, fail_at, fail_rc;

static int faulty(void)
{
    pthread_mutex_lock(&mu);
    int rc = ++count >= fail_at && fail_at ? fail_rc : 0;
    pthread_mutex_unlock(&mu);
    return rc;
}

static void forget(struct file *f)
{
    for (struct undo *u = f->undo, *next; u; u = next) {
        next = u->next;
        free(u);
    }
    f->undo = NULL;
}

static sqlite3_file *under(sqlite3_file *f)
{
    return ((struct handle *)(void *)f)->real;
}

static void remember(struct handle *h, sqlite3_int64 at, int n)
{
    struct undo *u = xcalloc(1, sizeof *u + (size_t)n);
    u->at = at;
    u->n = n;
    h->real->pMethods->xFileSize(h->real, &u->size_before);
    u->old_n = (int)MAX(0, MIN((sqlite3_int64)n, u->size_before - at));
    if (u->old_n)
        h->real->pMethods->xRead(h->real, u->old, u->old_n, at);
    u->next = h->file->undo;
    h->file->undo = u;
}

static int on_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    struct handle *h = (struct handle *)(void *)f;
    int rc = faulty();
    if (rc)
        return rc;
    pthread_mutex_lock(&mu);
    if (h->file)
        remember(h, at, n);
    rc = h->real->pMethods->xWrite(h->real, p, n, at);
    pthread_mutex_unlock(&mu);
    return rc;
}

static int on_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    struct handle *h = (struct handle *)(void *)f;
    sqlite3_int64 now = 0;
    pthread_mutex_lock(&mu);
    h->real->pMethods->xFileSize(h->real, &now);
    if (h->file && now > size)
        remember(h, size, (int)(now - size));
    int rc = h->real->pMethods->xTruncate(h->real, size);
    pthread_mutex_unlock(&mu);
    return rc;
}

static int on_sync(sqlite3_file *f, int flags)
{
    struct handle *h = (struct handle *)(void *)f;
    int rc = faulty();
    if (rc)
        return rc;
    pthread_mutex_lock(&mu);
    rc = h->real->pMethods->xSync(h->real, flags);
    if (rc == 0 && h->file)
        forget(h->file);
    pthread_mutex_unlock(&mu);
    return rc;
}

static int on_close(sqlite3_file *f)
{
    return under(f)->pMethods->xClose(under(f));
}
static int on_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
    return under(f)->pMethods->xRead(under(f), p, n, at);
}
static int on_size(sqlite3_file *f, sqlite3_int64 *n)
{
    return under(f)->pMethods->xFileSize(under(f), n);
}
static int on_lock(sqlite3_file *f, int l)
{
    return under(f)->pMethods->xLock(under(f), l);
}
static int on_unlock(sqlite3_file *f, int l)
{
    return under(f)->pMethods->xUnlock(under(f), l);
}
static int on_check(sqlite3_file *f, int *r)
{
    return under(f)->pMethods->xCheckReservedLock(under(f), r);
}
static int on_control(sqlite3_file *f, int op, void *p)
{
    return under(f)->pMethods->xFileControl(under(f), op, p);
}
static int on_sector(sqlite3_file *f)
{
    return under(f)->pMethods->xSectorSize(under(f));
}
static int on_traits(sqlite3_file *f)
{
    return under(f)->pMethods->xDeviceCharacteristics(under(f));
}
static int on_map(sqlite3_file *f, int i, int n, int ext, void volatile **p)
{
    return under(f)->pMethods->xShmMap(under(f), i, n, ext, p);
}
static int on_shm_lock(sqlite3_file *f, int o, int n, int flags)
{
    return under(f)->pMethods->xShmLock(under(f), o, n, flags);
}
static void on_barrier(sqlite3_file *f)
{
    under(f)->pMethods->xShmBarrier(under(f));
}
static int on_unmap(sqlite3_file *f, int del)
{
    return under(f)->pMethods->xShmUnmap(under(f), del);
}

static const sqlite3_io_methods methods = {2, on_close, on_read, on_write, on_truncate, on_sync, on_size, on_lock, on_unlock, on_check,
    on_control, on_sector, on_traits, on_map, on_shm_lock, on_barrier, on_unmap, NULL, NULL};

static struct file *file_for(const char *path)
{
    struct file *f;
    pthread_mutex_lock(&mu);
    list_for (&files, f, node)
        if (!strcmp(f->path, path)) {
            pthread_mutex_unlock(&mu);
            return f;
        }
    f = xcalloc(1, sizeof *f);
    f->path = xstrdup(path);
    list_push(&files, &f->node);
    pthread_mutex_unlock(&mu);
    return f;
}

static int on_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *out)
{
    struct handle *h = (struct handle *)(void *)f;
    h->real = (sqlite3_file *)(void *)(h + 1);
    h->file = name && (flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL)) ? file_for(name) : NULL;
    h->base.pMethods = NULL;
    int rc = real->xOpen(real, name, h->real, flags, out);
    if (rc == 0)
        h->base.pMethods = &methods;
    return rc;
}

void shim_on(void)
{
    sqlite3_initialize();
    if (real) /* a test before this one failed and left it on */
        shim_off();
    real = sqlite3_vfs_find(NULL);
    shim = *real;
    shim.zName = "shim";
    shim.szOsFile = (int)sizeof(struct handle) + real->szOsFile;
    shim.xOpen = on_open;
    shim.pNext = NULL;
    count = fail_at = 0;
    sqlite3_vfs_register(&shim, 1);
}

void shim_off(void)
{
    struct file *f;
    sqlite3_vfs_unregister(&shim);
    sqlite3_vfs_register(real, 1);
    real = NULL;
    list_for (&files, f, node) {
        list_remove(&f->node);
        forget(f);
        free(f->path);
        free(f);
    }
}

void shim_fail(int n, int rc)
{
    pthread_mutex_lock(&mu);
    count = 0;
    fail_at = n;
    fail_rc = rc;
    pthread_mutex_unlock(&mu);
}

int shim_count(void)
{
    pthread_mutex_lock(&mu);
    int n = count;
    pthread_mutex_unlock(&mu);
    return n;
}

static void undo_one(int fd, const struct undo *u, unsigned keep, unsigned *seed)
{
    for (int at = 0; at < u->n; at += SECTOR) {
        int n = MIN(SECTOR, u->n - at), old = MAX(0, MIN(n, u->old_n - at));
        char zero[SECTOR] = {0};
        if ((unsigned)rand_r(seed) % 256 < keep)
            continue;
        OK(!old || pwrite(fd, u->old + at, (size_t)old, u->at + at) == old);
        OK(old == n || pwrite(fd, zero, (size_t)(n - old), u->at + at + old) == n - old);
    }
    if (!keep)
        OK(ftruncate(fd, u->size_before) == 0);
}

static void copy_file(const char *from, const char *to)
{
    int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    static char chunk[1 << 16];
    for (ssize_t n; in >= 0 && (n = read(in, chunk, sizeof chunk)) > 0;)
        OK(write(out, chunk, (size_t)n) == n);
    close(in);
    close(out);
}

void shim_photo(const char *folder, const char *to, unsigned keep, unsigned *seed)
{
    static const char *const names[] = {"store.db", "store.db-wal"};
    mkdir(to, 0700);
    pthread_mutex_lock(&mu);
    for (int i = 0; i < 2; i++) {
        char from[512], copy[512];
        struct file *f;
        snprintf(from, sizeof from, "%s/%s", folder, names[i]);
        snprintf(copy, sizeof copy, "%s/%s", to, names[i]);
        unlink(copy);
        if (access(from, F_OK) < 0)
            continue;
        copy_file(from, copy);
        int fd = open(copy, O_RDWR | O_CLOEXEC);
        list_for (&files, f, node)
            if (!strcmp(f->path, from))
                for (const struct undo *u = f->undo; u; u = u->next)
                    undo_one(fd, u, keep, seed);
        close(fd);
    }
    pthread_mutex_unlock(&mu);
}
