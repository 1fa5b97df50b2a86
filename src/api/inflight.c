#include <stdatomic.h>
#include "api/impl.h"

/* How many requests may be under way at once: so many that read and so many that change, as kube-apiserver's --max-requests-inflight and
 * --max-mutating-requests-inflight. One too many is told to come again in a second (429 with Retry-After), which client-go does by itself.
 * Not counted: what lasts by its nature (watches, logs, exec, proxies), system:masters, health checks, calls from inside, and what a node
 * hands in over its uplink, which has a window of its own. */

#define MAX_READING 400
#define MAX_CHANGING 200

enum { COUNT_NONE, COUNT_READING, COUNT_CHANGING };

static bool lasts(const struct request_info *ri)
{
    static const char *const subs[] = {"log", "exec", "attach", "portforward", "proxy"};
    if (ri->verb == VERB_WATCH)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(subs); i++)
        if (str_eqz(ri->sub, subs[i]))
            return true;
    return false;
}

static int kind_of(const struct call *c)
{
    if (c->in || c->sink || !c->rq || (c->route && (c->route->open || c->route->foreign)) || user_in(c->user, GROUP_MASTERS))
        return COUNT_NONE;
    if (!c->ri.resource)
        return COUNT_READING;
    if (lasts(&c->ri))
        return COUNT_NONE;
    return c->ri.verb == VERB_GET || c->ri.verb == VERB_LIST ? COUNT_READING : COUNT_CHANGING;
}

int inflight_enter(struct call *c, struct err **e)
{
    struct inflight *f = &c->api->inflight;
    int kind = kind_of(c);
    if (kind == COUNT_NONE)
        return 0;
    const struct api_config *cfg = &c->api->cfg;
    unsigned most = kind == COUNT_READING ? cfg->max_reading ? cfg->max_reading : MAX_READING
                    : cfg->max_changing   ? cfg->max_changing
                                          : MAX_CHANGING;
    if (atomic_fetch_add(&f->now[kind - 1], 1) < most) {
        c->inflight = (uint8_t)kind;
        return 0;
    }
    atomic_fetch_sub(&f->now[kind - 1], 1);
    atomic_fetch_add(&f->refused[kind - 1], 1);
    (void)err_set(e, ERR_TOO_MANY, "Too many requests, please try again later.");
    (*e)->retry_after_s = 1;
    return -ERR_TOO_MANY;
}

void inflight_leave(struct call *c)
{
    if (c->inflight)
        atomic_fetch_sub(&c->api->inflight.now[c->inflight - 1], 1);
    c->inflight = 0;
}

void inflight_metrics(struct api *a, struct buf *b)
{
    static const char *const names[] = {"readOnly", "mutating"};
    buf_puts(b, "# HELP apiserver_current_inflight_requests Requests under way.\n# TYPE apiserver_current_inflight_requests gauge\n");
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        buf_printf(b, "apiserver_current_inflight_requests{request_kind=\"%s\"} %u\n", names[i], atomic_load(&a->inflight.now[i]));
    buf_puts(b, "# HELP apiserver_dropped_requests_total Requests refused with 429.\n# TYPE apiserver_dropped_requests_total counter\n");
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        buf_printf(
            b, "apiserver_dropped_requests_total{request_kind=\"%s\"} %" PRIu64 "\n", names[i], atomic_load(&a->inflight.refused[i]));
}
