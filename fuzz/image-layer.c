/* A layer, plain or compressed: whatever it says, every operation that comes out is within bounds and inside. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "image/impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool inside(struct str path)
{
    struct str piece;
    while (str_split(&path, '/', &piece))
        if (str_eq(piece, STR("..")) || str_empty(piece) || piece.n > 255)
            return false;
    return true;
}

static int emit(void *arg, const struct layer_op *op, struct err **e)
{
    int *n = arg;
    if (op->kind == OP_NONE || op->kind >= OP_ERROR || !inside(op->path) || (op->kind == OP_HARDLINK && !inside(op->link)) ||
        op->data.n > OP_DATA_MAX)
        abort();
    return ++*n > 100000 ? err_set(e, ERR_LIMIT, "enough") : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(closep) int fd = memfd_create("layer", MFD_CLOEXEC);
    _cleanup_(err_freep) struct err *e = NULL;
    int n = 0;
    if (fd < 0 || write(fd, data, size) != (ssize_t)size || lseek(fd, 0, SEEK_SET) < 0)
        return 0;
    (void)!layer_parse(fd, emit, &n, &e);
    return 0;
}
