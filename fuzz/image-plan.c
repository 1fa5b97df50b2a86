/* An archive of images, or one of the documents in it: blobs that are named stay within the file's idea of itself, and nothing else
 * happens. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "image/impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void documents(struct str text)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct plan plan = {0};
    struct image_config config = {0};
    struct str digest;
    bool again;
    if (plan_layout(p, STR_NULL, text, &plan, NULL) == 0 && (plan.nimages != 1 || plan.images[0].nlayers > LAYERS_MAX))
        abort();
    if (plan_pick(p, text, STR_NULL, &digest, &again, NULL) == 0 && !image_digest_valid(digest))
        abort();
    if (plan_config(p, text, &config, NULL) == 0 && config.ndiff_ids > LAYERS_MAX)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size && data[0] == '{') {
        documents(str_make((const char *)data, size));
        return 0;
    }
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(closep) int fd = memfd_create("archive", MFD_CLOEXEC), plain = memfd_create("plain", MFD_CLOEXEC);
    _cleanup_(err_freep) struct err *e = NULL;
    struct plan plan = {0};
    if (fd < 0 || plain < 0 || write(fd, data, size) != (ssize_t)size || lseek(fd, 0, SEEK_SET) < 0)
        return 0;
    if (plan_archive(fd, plain, p, &plan, &e) == 0 && (plan.nimages == 0 || plan.nimages > PLAN_IMAGES))
        abort();
    return 0;
}
