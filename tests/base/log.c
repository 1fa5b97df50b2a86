#include <fcntl.h>
#include <unistd.h>
#include "harness.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"

TEST(a_line_from_a_peer_stays_one_line)
{
    _cleanup_(freep) char *path = xasprintf("%s/log", test_tmpdir());
    int fd = open(path, O_CREAT | O_RDWR, 0600), keep = dup(2);
    log_init("unit", LOG_INFO);
    dup2(fd, 2);
    log_info("pod=%s %s", "a/b", "x\nfake \x1b[31m\xc2\x9b");
    log_debug("not shown");
    log_set_level(LOG_DEBUG);
    log_debug("shown");
    dup2(keep, 2);
    close(keep);
    close(fd);
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    struct err *e = NULL;
    FINE(file_read(path, 65536, &b, &e), e);
    struct str rest = buf_str(&b), line;
    OK(str_split(&rest, '\n', &line));
    OK(str_ends(line, STR(" I unit: pod=a/b x\\nfake \\x1b[31m\\xc2\x9b")));
    OK(str_split(&rest, '\n', &line));
    OK(str_ends(line, STR(" D unit: shown")));
    log_set_level(LOG_INFO);
}
