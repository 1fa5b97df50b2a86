/* Container logs are rotated as the kubelet does it: above 10 MiB the file is renamed and conmon opens a new one; five files are kept. */
#include <dirent.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "node/impl.h"

#define LOG_SIZE (10 << 20)
#define LOG_FILES 5
#define LOG_EVERY (10 * NS_PER_S)

/* All but the newest LOG_FILES - 1 rotated parts of one run go. Names sort by time. */
static void drop_oldest(const char *dir, const char *prefix, size_t keep)
{
    for (;;) {
        char oldest[256] = "";
        size_t n = 0;
        DIR *d = opendir(dir);
        for (struct dirent *x; d && (x = readdir(d));) {
            if (strncmp(x->d_name, prefix, strlen(prefix)) != 0)
                continue;
            n++;
            if (!*oldest || strcmp(x->d_name, oldest) < 0)
                snprintf(oldest, sizeof oldest, "%s", x->d_name);
        }
        if (d)
            closedir(d);
        if (n < keep)
            return;
        _cleanup_(freep) char *path = xasprintf("%s/%s", dir, oldest);
        if (unlink(path) < 0)
            return;
    }
}

static void rotate(struct container *c)
{
    _cleanup_(freep) char *path = con_log_path(c, c->restarts), *dir = con_log_dir(c), *prefix = xasprintf("%" PRIu64 ".log.", c->restarts);
    _cleanup_(err_freep) struct err *e = NULL;
    struct stat st;
    struct tm tm;
    struct timespec ts;
    const struct node_settings *set = &c->pod->node->config.settings;
    if (stat(path, &st) < 0 || st.st_size < (set->log_size ? set->log_size : LOG_SIZE))
        return;
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    _cleanup_(freep) char *to = xasprintf("%s.%04d%02d%02d-%02d%02d%02d.%03ld", path, tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
        tm.tm_hour, tm.tm_min, tm.tm_sec, ts.tv_nsec / 1000000);
    if (rename(path, to) < 0)
        return;
    if (container_reopen_log(c->bundle, &e) < 0)
        log_warn("pod=%.*s/%.*s container=%s log: %s", STR_ARG(c->pod->spec.ns), STR_ARG(c->pod->spec.name), c->name, err_msg(e));
    drop_oldest(dir, prefix, set->log_files ? (size_t)set->log_files : LOG_FILES);
}

static void on_timer(struct timer *t)
{
    struct node *n = container_of(t, struct node, log_timer);
    bool any = false;
    map_for(&n->pods, it) {
        struct pod *p = it->value;
        for (size_t i = 0; i < p->nc; i++)
            if (p->c[i]->state == CON_RUNNING) {
                any = true;
                rotate(p->c[i]);
            }
    }
    timer_set(n->loop, t, clock_mono(NULL) + (any ? LOG_EVERY : 6 * LOG_EVERY), on_timer);
}

void logs_start(struct node *n)
{
    timer_set(n->loop, &n->log_timer, clock_mono(NULL) + LOG_EVERY, on_timer);
}
