/* Container logs in CRI format: entries through every filter, and the tail over a file of them. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/base.h"
#include "gate/logline.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* first byte: options; the rest: a log */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    uint8_t o = data[0];
    struct str log = str_make((const char *)data + 1, size - 1), rest = log, line;
    struct log_filter f = {.timestamps = o & 1, .stream = (enum log_stream)((o >> 1) % 3), .left = o & 8 ? o : -1};
    _cleanup_(buf_clear) struct buf out = BUF_INIT;
    struct log_entry x;
    while (str_split(&rest, '\n', &line))
        if (log_parse(line, &x) && !log_put(&f, &x, &out))
            break;
    if (o & 8 && out.n > o)
        abort();
    int fd = (int)syscall(SYS_memfd_create, "log", 1u /* MFD_CLOEXEC */);
    if (fd < 0 || write(fd, log.p, log.n) != (ssize_t)log.n)
        abort();
    struct log_place p = log_tail(&fd, 1, o >> 4, f.stream), more = log_tail(&fd, 1, (o >> 4) + 1u, f.stream);
    if (p.at < 0 || p.at > (int64_t)log.n || more.at > p.at || (p.at > 0 && log.p[p.at - 1] != '\n'))
        abort();
    close(fd);
    return 0;
}
