#include "base/log.h"
#include <errno.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>
#include "base/buf.h"

#define LINE_MAX_BYTES 16384

static _Atomic int level_now = LOG_INFO;
static char process_name[32] = "sampan";

void log_init(const char *process, enum log_level level)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    snprintf(process_name, sizeof process_name, "%s", process);
    const char *want = getenv("SAMPAN_LOG");
    for (size_t i = 0; want && i < ARRAY_LEN(names); i++)
        if (str_eqz(str_of(want), names[i]))
            level = (enum log_level)i;
    log_set_level(level);
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&level_now, level, memory_order_relaxed);
}

bool log_on(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&level_now, memory_order_relaxed);
}

/* What comes from a peer must not start a line of its own or reach the reader's terminal as a command. */
static void add_escaped(struct buf *b, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '\n')
            buf_puts(b, "\\n");
        else if (c == '\t')
            buf_puts(b, "\\t");
        else if (c < 0x20 || c == 0x7f || (c == 0xc2 && i + 1 < s.n && (unsigned char)s.p[i + 1] < 0xa0))
            buf_printf(b, "\\x%02x", c);
        else
            buf_putc(b, (char)c);
    }
}

void log_at(enum log_level level, const char *fmt, ...)
{
    static const char letters[] = "EWID";
    if (!log_on(level))
        return;
    int keep = errno; /* a log line between a failure and its report must not change the report */
    _cleanup_(buf_clear) struct buf line = BUF_INIT, message = BUF_INIT;
    struct timespec ts;
    struct tm tm;
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&message, fmt, ap);
    va_end(ap);
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    buf_printf(&line, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %c %s: ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
        tm.tm_sec, ts.tv_nsec / 1000000, letters[level], process_name);
    add_escaped(&line, str_sub(buf_str(&message), 0, LINE_MAX_BYTES));
    if (message.n > LINE_MAX_BYTES)
        buf_puts(&line, "... (cut)");
    buf_putc(&line, '\n');
    /* one write, so that lines of several threads and processes do not mix; a full pipe loses lines rather than stopping the program */
    while (write(STDERR_FILENO, line.p, line.n) < 0 && errno == EINTR)
        ;
    errno = keep;
}
