#include "tools.h"
#include <fcntl.h>
#include <unistd.h>
#include "base/file.h"
#include "harness.h"

const char *image_test_dir(void)
{
    if (geteuid() != 0)
        test_skip("needs root");
    return test_tmpdir();
}

void image_test_sh(const char *fmt, ...)
{
    struct buf cmd = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&cmd, fmt, ap);
    va_end(ap);
    const char *const argv[] = {"sh", "-ec", cmd.p, NULL};
    struct buf out = BUF_INIT;
    struct err *e = NULL;
    int r = spawn_wait(argv, &out, 65536, 60000, &e);
    if (r != 0)
        test_fail(__FILE__, __LINE__, "%s: %d %s %s", cmd.p, r, r < 0 ? err_msg(e) : "", out.p ? out.p : "");
    buf_clear(&cmd);
    buf_clear(&out);
}

struct image_store *image_test_store(const char *dir)
{
    _cleanup_(freep) char *path = xasprintf("%s/store", dir);
    struct image_store *s = NULL;
    struct err *e = NULL;
    FINE(image_store_open(path, "nobody", &s, &e), e);
    return s;
}

int image_test_try(struct image_store *s, const char *file, struct err **e)
{
    _cleanup_(freep) char *path = xasprintf("%s/../%s", image_store_dir(s), file);
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        test_fail(__FILE__, __LINE__, "%s: not there", path);
    return image_import(s, fd, &(struct image_import_options){0}, NULL, e);
}

void image_test_import(struct image_store *s, const char *file, struct buf *out)
{
    _cleanup_(freep) char *path = xasprintf("%s/../%s", image_store_dir(s), file);
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct err *e = NULL;
    FINE(image_import(s, fd, &(struct image_import_options){0}, out, &e), e);
}

char *image_test_path(struct image_store *s, const struct image *i, const char *path)
{
    OK(i);
    _cleanup_(buf_clear) struct buf lower = BUF_INIT;
    image_lower(i, &lower);
    return xasprintf("%s/%s/%s", image_layers_dir(s), lower.p, path);
}
