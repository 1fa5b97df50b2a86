/* Container logs in CRI format, as conmon writes them, read without ever holding a file in memory:
 *
 *     2026-01-02T03:04:05.123456789+00:00 stdout F the text of a line
 *     2026-01-02T03:04:05.123456789+00:00 stderr P the beginning of a long one
 *
 * P: more of the same line follows. A line of the container's is any number of P entries and one F. Pure: descriptors and buffers only.
 */
#pragma once
#include "base/buf.h"
#include "base/clock.h"

#define LOG_ENTRY_MAX (64u << 10) /* conmon cuts at 8 KiB; a longer entry is no entry */

struct log_entry {
    int64_t time;      /* ns since 1970 */
    bool err, partial; /* of stderr; P */
    struct str text;   /* without the line's end */
};
bool log_parse(struct str raw /* without newline */, struct log_entry *out);

enum log_stream { LOG_ALL, LOG_STDOUT, LOG_STDERR };
struct log_filter {
    int64_t since; /* entries before are left out; 0: none */
    bool timestamps;
    enum log_stream stream;
    int64_t left; /* bytes still to be given; -1: no limit */
    bool inside;  /* a line of the container's has begun: no timestamp before its next entry */
};
/* Appends what the filter lets through. false: the limit is reached, nothing more will come. */
bool log_put(struct log_filter *f, const struct log_entry *x, struct buf *out);

struct log_place {
    size_t file;
    int64_t at;
};
/* Where the last n lines begin, over files from the oldest to the newest, read backwards. Lines of other streams are not counted. The very
 * beginning when there are fewer. */
struct log_place log_tail(const int *fds, size_t nfds, uint64_t n, enum log_stream stream);
