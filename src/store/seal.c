#include "store/seal.h"
#include "crypto/seal.h"
#include "store/inner.h"

#define NAMES_MAX 64
#define SLICE 64 /* rows under one transaction of a walk */

struct store_seal {
    pthread_mutex_t mu; /* ring: replaced as a whole, used under it */
    struct seal *ring;
    char *file;
    char *names[NAMES_MAX];
    size_t n;
    bool on;
};

int store_seal_new(const char *key_file, const struct str *names, size_t n, bool on, struct store_seal **out, struct err **e)
{
    struct seal *ring = NULL;
    if (n > NAMES_MAX)
        return err_set(e, ERR_LIMIT, "more than %d sealed resources", NAMES_MAX);
    int rc = seal_load_or_make(key_file, &ring, e);
    if (rc < 0)
        return WRAP(rc, e, "encryption key");
    struct store_seal *x = xcalloc(1, sizeof *x);
    pthread_mutex_init(&x->mu, NULL);
    x->ring = ring;
    x->file = xstrdup(key_file);
    x->on = on;
    for (; x->n < n; x->n++)
        x->names[x->n] = str_dup(names[x->n]);
    *out = x;
    return 0;
}

void store_seal_free(struct store_seal *x)
{
    if (!x)
        return;
    seal_free(x->ring);
    while (x->n)
        free(x->names[--x->n]);
    free(x->file);
    pthread_mutex_destroy(&x->mu);
    free(x);
}

size_t store_seal_keys(struct store_seal *x)
{
    store_lock(&x->mu);
    size_t n = seal_keys(x->ring);
    store_unlock(&x->mu);
    return n;
}

static bool is_named(const struct store_seal *x, const struct store_res *r)
{
    for (size_t i = 0; i < x->n; i++)
        if (!strcmp(x->names[i], r->name))
            return true;
    return false;
}

/* What binds the bytes to their place: "/secrets default/token". */
static void associate(struct buf *b, const struct store_res *r, struct str key)
{
    buf_puts(b, r->name);
    buf_putc(b, ' ');
    buf_str_add(b, key);
}

static int close_up(void *arg, const struct store_res *r, struct str key, struct str plain, struct buf *out, struct err **e)
{
    struct store_seal *x = arg;
    if (!x->on || !is_named(x, r))
        return 0;
    struct buf ad = BUF_INIT;
    associate(&ad, r, key);
    store_lock(&x->mu);
    int rc = seal_close(x->ring, plain, buf_str(&ad), out, e);
    store_unlock(&x->mu);
    buf_clear(&ad);
    return rc;
}

static int open_up(void *arg, const struct store_res *r, struct str key, struct str sealed, struct buf *out, struct err **e)
{
    struct store_seal *x = arg;
    struct buf ad = BUF_INIT;
    associate(&ad, r, key);
    store_lock(&x->mu);
    int rc = seal_open(x->ring, sealed, buf_str(&ad), out, e);
    store_unlock(&x->mu);
    buf_clear(&ad);
    return rc;
}

void store_seal_config(struct store_seal *x, struct store_config *c)
{
    c->seal = close_up;
    c->unseal = open_up;
    c->seal_arg = x;
}

/* Is a stored run in the form that it would be written in now? */
static bool fresh(void *arg, struct str stored)
{
    struct store_seal *x = arg;
    if (!x->on)
        return !seal_is_sealed(stored);
    store_lock(&x->mu);
    bool yes = seal_is_sealed(stored) && seal_is_current(x->ring, stored);
    store_unlock(&x->mu);
    return yes;
}

static int walk_resource(struct store_seal *x, struct store *s, struct store_res *r, size_t *changed, struct err **e)
{
    struct backend_reseal w = {.res = r, .fresh = fresh, .arg = x, .limit = SLICE};
    while (!w.done) {
        store_lock(&s->write_mu);
        committer_idle(s);
        int rc = s->failed ? err_set(e, (enum err_code) - s->failed, "the database cannot be written at the moment")
                           : backend_reseal(s->disk, &w, e);
        store_unlock(&s->write_mu);
        if (rc < 0)
            return rc;
    }
    *changed += w.changed;
    return 0;
}

int store_seal_walk(struct store_seal *x, struct store *s, size_t *changed, struct err **e)
{
    size_t n = 0;
    int rc = committer_flush(s, e);
    for (size_t i = 0; rc == 0 && s->disk && i < x->n; i++) {
        struct store_res *r = store_find(s, str_of(x->names[i]));
        rc = r ? walk_resource(x, s, r, &n, e) : 0;
    }
    if (changed)
        *changed = n;
    return WRAP(rc, e, "sealing anew");
}

int store_seal_rotate(struct store_seal *x, struct store *s, size_t *changed, struct err **e)
{
    struct seal *ring = NULL;
    int rc = seal_load_or_make(x->file, &ring, e);
    if (rc < 0)
        return rc;
    seal_add(ring, NULL);
    rc = seal_save(ring, x->file, e);
    if (rc < 0) {
        seal_free(ring);
        return rc;
    }
    store_lock(&x->mu);
    struct seal *old = x->ring;
    x->ring = ring;
    store_unlock(&x->mu);
    seal_free(old);
    return store_seal_walk(x, s, changed, e);
}
