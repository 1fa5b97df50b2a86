/* One hub per loop: what is ready for it waits here, and one post tells the loop, however much there is. */
#include "base/loop.h"
#include "store/inner.h"

static void hub_free(struct hub *h)
{
    pthread_mutex_destroy(&h->mu);
    free(h);
}

static struct list *take(struct list *l)
{
    struct list *n = list_empty(l) ? NULL : l->next;
    if (n)
        list_remove(n);
    return n;
}

/* On the loop's own thread, as cancelling is, so what is taken off a list cannot vanish before its callback. */
static void run(struct post *p)
{
    struct hub *h = container_of(p, struct hub, post);
    struct list waits, watches;
    list_init(&waits);
    list_init(&watches);
    store_lock(&h->mu);
    h->posted = false;
    bool closed = h->closed;
    for (struct list *n; (n = take(&h->waits));)
        list_push(&waits, n);
    for (struct list *n; (n = take(&h->watches));)
        list_push(&watches, n);
    store_unlock(&h->mu);
    if (closed) {
        hub_free(h);
        return;
    }
    for (struct list *n; (n = take(&waits));) {
        struct store_wait *w = list_entry(n, struct store_wait, node);
        w->on = false;
        w->fn(w, w->result);
    }
    for (struct list *n; (n = take(&watches));) {
        struct store_watch *w = list_entry(n, struct store_watch, ready);
        w->notify(w->arg);
    }
}

struct hub *hub_for(struct store *s, struct loop *l)
{
    struct hub *h;
    list_for (&s->hubs, h, node)
        if (h->loop == l)
            return h;
    h = xcalloc(1, sizeof *h);
    pthread_mutex_init(&h->mu, NULL);
    h->loop = l;
    list_init(&h->waits);
    list_init(&h->watches);
    list_push(&s->hubs, &h->node);
    return h;
}

static void tell(struct hub *h)
{
    if (h->posted)
        return;
    h->posted = true;
    loop_post(h->loop, &h->post, run);
}

void hub_ready_wait(struct hub *h, struct store_wait *w)
{
    store_lock(&h->mu);
    list_remove(&w->node);
    list_push(&h->waits, &w->node);
    tell(h);
    store_unlock(&h->mu);
}

void hub_ready_watch(struct hub *h, struct store_watch *w)
{
    store_lock(&h->mu);
    list_remove(&w->ready);
    list_push(&h->watches, &w->ready);
    tell(h);
    store_unlock(&h->mu);
}

void hub_close(struct hub *h)
{
    store_lock(&h->mu);
    list_remove(&h->node);
    h->closed = true;
    bool posted = h->posted;
    store_unlock(&h->mu);
    if (!posted)
        hub_free(h);
}
