/* Two streams joined: bytes, back-pressure and half-closes pass from each to the other. */
#include <stdlib.h>
#include "http/stream.h"

#define HIGH (256u << 10)

struct splice;
struct side {
    struct splice *p;
    struct stream *s;
    bool eof;
};
struct splice {
    struct side side[2];
    void (*done)(void *arg);
    void *arg;
};

static struct side *peer(struct side *a)
{
    return &a->p->side[a == &a->p->side[0]];
}

static void end(struct splice *p, bool abort)
{
    for (int i = 0; i < 2; i++)
        if (p->side[i].s)
            (abort ? stream_abort : stream_close)(TAKE(p->side[i].s));
    void (*done)(void *) = p->done;
    void *arg = p->arg;
    free(p);
    if (done)
        done(arg);
}

static void on_data(void *arg, const char *p, size_t n)
{
    struct side *a = arg, *b = peer(a);
    stream_write(b->s, p, n);
    if (stream_queued(b->s) > HIGH)
        stream_pause(a->s, true);
}

static void on_drain(void *arg)
{
    struct side *a = arg;
    stream_pause(peer(a)->s, false);
}

static void on_eof(void *arg)
{
    struct side *a = arg, *b = peer(a);
    a->eof = true;
    if (b->eof)
        end(a->p, false);
    else
        stream_shutdown(b->s);
}

static void on_close(void *arg, const struct err *why)
{
    struct side *a = arg;
    a->s = NULL;
    end(a->p, why != NULL && !a->eof);
}

static const struct stream_events events = {on_data, on_drain, on_eof, on_close};

void stream_splice(struct stream *a, struct stream *b, void (*done)(void *arg), void *arg)
{
    struct splice *p = xcalloc(1, sizeof *p);
    p->side[0] = (struct side){p, a, false};
    p->side[1] = (struct side){p, b, false};
    p->done = done;
    p->arg = arg;
    stream_use(a, &events, &p->side[0]);
    stream_use(b, &events, &p->side[1]);
}
