#include "gate/logline.h"
#include <fcntl.h>
#include <unistd.h>
#include "harness.h"

#define T "2026-01-02T03:04:05.123456789+00:00 "

TEST(an_entry_has_a_time_a_stream_a_tag_and_the_text_as_it_is)
{
    struct log_entry x;
    OK(log_parse(STR("2026-01-02T05:04:05.000000001+02:00 stderr F  two  spaces "), &x));
    EQ(x.time, INT64_C(1767323045000000001));
    OK(x.err && !x.partial);
    EQ_STR(x.text, STR(" two  spaces "));
    OK(log_parse(STR(T "stdout P half"), &x));
    OK(!x.err && x.partial);
    OK(log_parse(STR(T "stdout F"), &x));
    EQ(x.text.n, 0);
    OK(log_parse(STR(T "stdout F:other x"), &x));
}

TEST(what_is_no_entry_is_refused)
{
    static const char *const bad[] = {"", "x", T, T "stdout", T "stdlog F x", T "stdout X x", "yesterday stdout F x", T "stdout  F x"};
    struct log_entry x;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (log_parse(str_of(bad[i]), &x))
            test_fail(__FILE__, __LINE__, "taken: %s", bad[i]);
}

static struct str through(struct log_filter *f, struct buf *out, const char *text)
{
    struct str rest = str_of(text), line;
    struct log_entry x;
    buf_reset(out);
    while (str_split(&rest, '\n', &line))
        if (log_parse(line, &x) && !log_put(f, &x, out))
            break;
    return buf_str(out);
}

TEST(partial_entries_join_and_get_one_timestamp)
{
    struct log_filter f = {.left = -1, .timestamps = true};
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    EQ_STR(through(&f, &b, T "stdout P one\n" T "stdout P ,two\n" T "stdout F ,three\n" T "stdout F four\n"),
        STR("2026-01-02T03:04:05.123456789Z one,two,three\n2026-01-02T03:04:05.123456789Z four\n"));
}

TEST(a_filter_chooses_by_stream_and_time)
{
    struct log_filter f = {.left = -1, .stream = LOG_STDERR};
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    EQ_STR(through(&f, &b, T "stdout F one\n" T "stderr F two\n"), STR("two\n"));
    f = (struct log_filter){.left = -1};
    OK(time_parse(STR("2026-01-02T03:04:06Z"), &f.since));
    EQ_STR(through(&f, &b, T "stdout F one\n2026-01-02T03:04:06Z stdout F two\n"), STR("two\n"));
}

TEST(a_limit_cuts_at_the_byte)
{
    struct log_filter f = {.left = 6};
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    EQ_STR(through(&f, &b, T "stdout F one\n" T "stdout F two\n"), STR("one\ntw"));
    EQ_STR(through(&f, &b, T "stdout F more\n"), STR(""));
}

static int file(const char *name, const char *text, int repeat)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", test_tmpdir(), name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    OK(fd >= 0);
    for (int i = 0; i < repeat; i++)
        EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    return fd;
}

static void begins(struct log_place p, size_t at_file, int fd, const char *text)
{
    char got[128] = "";
    EQ(p.file, at_file);
    ssize_t n = pread(fd, got, sizeof got - 1, p.at);
    OK(n >= 0);
    OK(str_starts(str_make(got, (size_t)n), str_of(text)));
    if (!*text)
        EQ(n, 0);
}

TEST(the_tail_is_found_from_the_end_over_files_and_partial_entries)
{
    int fds[2] = {file("0", T "stdout F a\n" T "stdout P b1\n" T "stdout F b2\n", 1), file("1", T "stdout F c\n" T "stderr F d\n", 1)};
    begins(log_tail(fds, 2, 0, LOG_ALL), 1, fds[1], "");
    begins(log_tail(fds, 2, 1, LOG_ALL), 1, fds[1], T "stderr F d");
    begins(log_tail(fds, 2, 1, LOG_STDOUT), 0, fds[0], ""); /* its end: the next file's beginning */
    begins(log_tail(fds, 2, 2, LOG_ALL), 0, fds[0], "");
    begins(log_tail(fds, 2, 3, LOG_ALL), 0, fds[0], T "stdout P b1");
    begins(log_tail(fds, 2, 4, LOG_ALL), 0, fds[0], T "stdout F a");
    begins(log_tail(fds, 2, 400, LOG_ALL), 0, fds[0], T "stdout F a");
    close(fds[0]);
    close(fds[1]);
}

TEST(the_tail_of_a_file_larger_than_a_block_is_exact)
{
    int fd = file("big", T "stdout F 0123456789\n", 5000); /* 57 bytes each: entries straddle the blocks */
    struct log_place p = log_tail(&fd, 1, 3000, LOG_ALL);
    EQ(p.at, 2000 * (int64_t)strlen(T "stdout F 0123456789\n"));
    EQ(write(fd, T "stdout F unfin", strlen(T "stdout F unfin")), (ssize_t)strlen(T "stdout F unfin"));
    EQ(log_tail(&fd, 1, 3000, LOG_ALL).at, p.at); /* what is being written does not count */
    close(fd);
}
