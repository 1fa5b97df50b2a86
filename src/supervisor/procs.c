#include "supervisor/procs.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "node/node.h"

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

void procs_keep_only(const struct proc_fds *f)
{
    int keep[] = {2, f->broker, f->link, f->https, f->local};
    qsort(keep, ARRAY_LEN(keep), sizeof *keep, by_number);
    for (size_t i = 0; i < ARRAY_LEN(keep); i++) {
        unsigned next = i + 1 < ARRAY_LEN(keep) ? (unsigned)keep[i + 1] : ~0u;
        if (keep[i] >= 2 && next > (unsigned)keep[i] + 1)
            close_range((unsigned)keep[i] + 1, next == ~0u ? ~0u : next - 1, 0);
    }
}

void procs_log_level(const struct options *o)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    for (size_t i = 0; o->log_level && i < ARRAY_LEN(names); i++)
        if (strcmp(o->log_level, names[i]) == 0)
            log_set_level((enum log_level)i);
}

int proc_node(const struct options *o, const struct layout *l, const struct proc_fds *f)
{
    struct node_options n = {
        .data_dir = l->agent,
        .run_dir = l->run,
        .kubelet_dir = o->kubelet_dir,
        .gate_fd = f->link,
        .broker_fd = f->broker,
        .image_user = o->user,
    };
    return node_main(&n);
}
