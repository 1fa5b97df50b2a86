#include "base/clock.h"
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include "base/buf.h"
#include "base/file.h"

#define UNSET_BEFORE (INT64_C(1704067200) * NS_PER_S) /* 2024-01-01: no machine that runs this program is older */
#define SAVE_EVERY (3600 * NS_PER_S)
#define SLEW 64

/* Readers take no lock: the three numbers of the line that maps boot time to site time stand under a sequence counter (odd while a writer
 * is inside), and `last` keeps the result from ever falling. Writers take the mutex. */
struct clock {
    bool fake;
    char *floor_path;
    pthread_mutex_t lock;
    _Atomic uint32_t seq;
    _Atomic int64_t offset;      /* site = boot + offset - what was slewed */
    _Atomic int64_t slew_start;  /* boot time */
    _Atomic int64_t slew_total;  /* ns to lose in all, at one in SLEW */
    _Atomic int64_t last;
    _Atomic int64_t saved;       /* site time of the last save */
    _Atomic int64_t fake_mono, fake_now;
};

static int64_t read_clock(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static int64_t read_floor(const char *path)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    int64_t v = 0;
    if (!path || file_read(path, 64, &b, NULL) < 0 || !str_to_i64(str_trim(buf_str(&b)), &v) || v < 0)
        return 0;
    return v;
}

static void save_floor(struct clock *c, int64_t now)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%" PRId64 "\n", now);
    /* A disk that cannot take it now is asked again in an hour; the clock itself goes on. */
    if (file_replace(c->floor_path, str_make(text, (size_t)n), 0644, NULL) < 0)
        return;
}

struct clock *clock_new(const char *floor_path)
{
    struct clock *c = xcalloc(1, sizeof *c);
    pthread_mutex_init(&c->lock, NULL);
    int64_t wall = read_clock(CLOCK_REALTIME), floor = read_floor(floor_path);
    if (wall < UNSET_BEFORE)
        wall = MAX(floor, UNSET_BEFORE);
    wall = MAX(wall, floor);
    c->floor_path = floor_path ? xstrdup(floor_path) : NULL;
    c->offset = wall - read_clock(CLOCK_BOOTTIME);
    c->last = wall;
    c->saved = floor;
    return c;
}

struct clock *clock_fake(int64_t unix_ns)
{
    struct clock *c = xcalloc(1, sizeof *c);
    pthread_mutex_init(&c->lock, NULL);
    c->fake = true;
    c->fake_now = unix_ns;
    c->fake_mono = 1000 * NS_PER_S;
    return c;
}

void clock_free(struct clock *c)
{
    if (!c)
        return;
    if (c->floor_path)
        save_floor(c, clock_now(c));
    pthread_mutex_destroy(&c->lock);
    free(c->floor_path);
    free(c);
}

void clock_fake_add(struct clock *c, int64_t ns)
{
    c->fake_now += ns;
    if (ns > 0)
        c->fake_mono += ns;
}

int64_t clock_mono(const struct clock *c)
{
    return c && c->fake ? c->fake_mono : read_clock(CLOCK_BOOTTIME);
}

static int64_t site_time(const struct clock *c, int64_t boot)
{
    for (;;) {
        uint32_t seq = atomic_load_explicit(&c->seq, memory_order_acquire);
        int64_t offset = atomic_load_explicit(&c->offset, memory_order_acquire);
        int64_t start = atomic_load_explicit(&c->slew_start, memory_order_acquire);
        int64_t total = atomic_load_explicit(&c->slew_total, memory_order_acquire);
        if (seq % 2 || seq != atomic_load_explicit(&c->seq, memory_order_relaxed))
            continue;
        return boot + offset - MIN(total, (boot - start) / SLEW);
    }
}

int64_t clock_now(const struct clock *c_)
{
    /* the caller's view is unchanged by what is written here: a high-water mark and the hour of the last save */
    struct clock *c = (struct clock *)(uintptr_t)c_;
    if (c->fake)
        return c->fake_now;
    int64_t now = site_time(c, read_clock(CLOCK_BOOTTIME)), last = c->last;
    while (now > last && !atomic_compare_exchange_weak(&c->last, &last, now))
        ;
    now = MAX(now, last);
    int64_t saved = c->saved;
    if (c->floor_path && now - saved > SAVE_EVERY && atomic_compare_exchange_strong(&c->saved, &saved, now))
        save_floor(c, now);
    return now;
}

void clock_correct(struct clock *c, int64_t unix_ns)
{
    if (c->fake) {
        c->fake_now = MAX(c->fake_now, unix_ns);
        return;
    }
    pthread_mutex_lock(&c->lock);
    int64_t boot = read_clock(CLOCK_BOOTTIME), now = site_time(c, boot);
    atomic_fetch_add_explicit(&c->seq, 1, memory_order_acq_rel);
    atomic_store_explicit(&c->offset, MAX(now, unix_ns) - boot, memory_order_release);
    atomic_store_explicit(&c->slew_start, boot, memory_order_release);
    atomic_store_explicit(&c->slew_total, MAX(now - unix_ns, 0), memory_order_release);
    atomic_fetch_add_explicit(&c->seq, 1, memory_order_release);
    pthread_mutex_unlock(&c->lock);
}
