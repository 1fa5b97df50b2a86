#include "api/impl.h"

/* Roots that the pages of a list stand on, kept five minutes from the first page on. At most PAGES at a time: the oldest goes first,
 * and its continue token then gets 410 with a token to go on from the present. */
#define PAGES 64
#define PAGES_NS (300 * NS_PER_S)

struct pages {
    struct api *api;
    pthread_mutex_t lock;
    struct {
        struct store_view *view;
        int64_t rev, until;
    } kept[PAGES];
};

struct pages *pages_new(struct api *a)
{
    struct pages *p = xcalloc(1, sizeof *p);
    p->api = a;
    pthread_mutex_init(&p->lock, NULL);
    return p;
}

void pages_free(struct pages *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < PAGES; i++)
        store_view_unref(p->kept[i].view);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void pages_keep(struct pages *p, struct store_view *v, bool first)
{
    int64_t now = clock_mono(p->api->clock), rev = view_rev(v);
    struct store_view *out = NULL;
    size_t at = 0;
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < PAGES; i++) {
        if (p->kept[i].view && p->kept[i].rev == rev) {
            at = i;
            break;
        }
        if (p->kept[i].until < p->kept[at].until)
            at = i;
    }
    if (!p->kept[at].view || p->kept[at].rev != rev) {
        out = p->kept[at].view;
        p->kept[at].view = store_view_ref(v);
        p->kept[at].rev = rev;
        first = true;
    }
    if (first) /* reading on does not keep an old root for ever */
        p->kept[at].until = now + PAGES_NS;
    pthread_mutex_unlock(&p->lock);
    store_view_unref(out);
}

struct store_view *pages_find(struct pages *p, int64_t rev)
{
    struct store_view *v = NULL;
    int64_t now = clock_mono(p->api->clock);
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < PAGES && !v; i++)
        if (p->kept[i].view && p->kept[i].rev == rev && p->kept[i].until > now)
            v = store_view_ref(p->kept[i].view);
    pthread_mutex_unlock(&p->lock);
    return v;
}

void pages_expire(struct pages *p)
{
    struct store_view *out[PAGES];
    size_t n = 0;
    int64_t now = clock_mono(p->api->clock);
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < PAGES; i++)
        if (p->kept[i].view && p->kept[i].until <= now) {
            out[n++] = TAKE(p->kept[i].view);
            p->kept[i].until = 0;
        }
    pthread_mutex_unlock(&p->lock);
    while (n)
        store_view_unref(out[--n]);
}
