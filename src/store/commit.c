/* The committer: one thread that takes what was applied, makes it one transaction, and then opens the door; or undoes it.
 *
 *     idle ── hard change, or soft ones grown old, or a flush ──> writing ──ok──> durable rises, door opens ──> idle
 *                                                                  │fails
 *                                                                  └──> back to the last durable root, new epoch ──> failed
 *     failed ── a probe write succeeds (once per probe time) ──> idle
 *     failed for want of space: the spare file is given up, and deletes go the way of idle all the same
 */
#include <errno.h>
#include <time.h>
#include "store/inner.h"

#define BATCH_BYTES (4u << 20) /* soft changes beyond this do not wait */

struct committer {
    pthread_t thread;
    pthread_cond_t work, done; /* with write_mu */
    bool stop, busy, sleeping;
    int64_t flush; /* somebody wants this revision on disk */
    int64_t soft_ns, probe_ns, next_probe, next_sweep;
    bool new_epoch; /* the epoch is not on disk yet */
};

static int64_t mono(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

void committer_kick(struct store *s)
{
    struct committer *c = s->committer;
    struct batch *b = &s->batch;
    bool first = b->aging && !b->since;
    if (first)
        b->since = mono();
    if (c->sleeping && (b->hard || first || b->bytes > BATCH_BYTES))
        pthread_cond_signal(&c->work);
}

static bool due(const struct store *s, int64_t now)
{
    const struct committer *c = s->committer;
    const struct batch *b = &s->batch;
    return b->n && (b->hard || c->stop || c->flush > s->durable || b->bytes > BATCH_BYTES || (b->aging && now >= b->since + c->soft_ns));
}

/* Sleeps until there may be something to do. */
static void doze(struct store *s, int64_t now)
{
    struct committer *c = s->committer;
    int64_t until = c->next_sweep;
    if (s->batch.aging)
        until = MIN(until, s->batch.since + c->soft_ns);
    if (s->failed)
        until = MIN(until, c->next_probe);
    if (until <= now)
        return;
    struct timespec t = {.tv_sec = until / NS_PER_S, .tv_nsec = until % NS_PER_S};
    c->sleeping = true;
    pthread_cond_timedwait(&c->work, &s->write_mu, &t);
    c->sleeping = false;
}

/* Under write_mu: what is on disk now is `root`; the batch that gathered meanwhile is still on its way. */
static void succeed(struct store *s, struct store_view *root, int64_t rev, int64_t reserved)
{
    struct store_view *old = s->safe;
    s->safe = root;
    s->reserved = MAX(s->reserved, reserved);
    s->committer->new_epoch = false;
    store_lock(&s->mu);
    int64_t clear = s->clear;
    s->durable = rev;
    s->first_hard = s->batch.first_hard;
    s->clear = s->first_hard == INT64_MAX ? s->head : s->first_hard - 1;
    if (s->clear > clear) {
        watch_tell_durable(s, clear);
        door_open(s);
    }
    store_unlock(&s->mu);
    store_view_unref(old);
}

/* Under write_mu: everything after the last durable root is undone. */
static void undo(struct store *s, int code)
{
    int64_t keep = s->safe->rev;
    batch_clear(&s->batch);
    s->pending_bytes = 0;
    s->failed = code;
    s->committer->new_epoch = true;
    store_lock(&s->mu);
    int64_t lost = s->head;
    store_lock(&s->pub);
    struct store_view *old = s->root;
    s->root = view_own(TAKE(s->safe), 0);
    s->root->rev = lost + 1; /* this one is nobody's: where readers stand now */
    s->root->epoch = s->epoch + 1;
    s->safe = store_view_ref(s->root);
    store_unlock(&s->pub);
    for (size_t i = 0; i < s->nres; i++)
        ring_cut(&s->res[i]->ring, keep);
    store_add_gap(s, keep, lost, code);
    s->head = s->durable = s->clear = lost + 1;
    s->first_hard = INT64_MAX;
    s->epoch++;
    watch_tell(s, NULL);
    door_fail(s, keep, code);
    store_unlock(&s->mu);
    store_view_unref(old);
}

/* Under write_mu, which is released while the disk is busy. */
static void write_batch(struct store *s)
{
    struct committer *c = s->committer;
    batch_pack(&s->batch);
    struct batch b = s->batch;
    s->batch = (struct batch){.first_hard = INT64_MAX};
    struct store_view *root = store_root(s);
    int64_t rev = s->head, reserved = rev + REV_BLOCK / 2 > s->reserved ? rev + REV_BLOCK : 0;
    char gaps[GAPS_TEXT];
    store_gaps_text(s, gaps, sizeof gaps);
    struct backend_batch out = {b.ev, b.n, c->new_epoch ? (int64_t)s->epoch : 0, reserved, gaps, clock_now(s->clock)};
    c->busy = true;
    store_unlock(&s->write_mu);

    _cleanup_(err_freep) struct err *e = NULL;
    int64_t start = mono();
    int rc = backend_append(s->disk, &out, &e);
    s->commit_ns += mono() - start;
    s->commits++;
    if (rc == -ERR_STORAGE_FULL)
        backend_release(s->disk);

    store_lock(&s->write_mu);
    c->busy = false;
    if (rc < 0) {
        store_view_unref(root);
        s->reserve_only = rc == -ERR_STORAGE_FULL;
        c->next_probe = mono() + c->probe_ns;
        undo(s, rc == -ERR_STORAGE_FULL ? rc : -ERR_IO);
    } else {
        s->pending_bytes -= b.bytes;
        succeed(s, root, rev, reserved);
    }
    pthread_cond_broadcast(&c->done);
    store_unlock(&s->write_mu);
    batch_clear(&b);
    store_lock(&s->write_mu);
}

/* Under write_mu, as above: does the disk take writes again? */
static void probe(struct store *s)
{
    struct committer *c = s->committer;
    int64_t reserved = s->head + REV_BLOCK, epoch = s->epoch;
    char gaps[GAPS_TEXT];
    store_gaps_text(s, gaps, sizeof gaps);
    bool full = s->failed == -ERR_STORAGE_FULL;
    c->busy = true;
    store_unlock(&s->write_mu);
    int rc = full ? backend_reserve(s->disk, NULL) : 0;
    if (rc == 0)
        rc = backend_probe(s->disk, epoch, reserved, gaps, NULL);
    store_lock(&s->write_mu);
    c->busy = false;
    pthread_cond_broadcast(&c->done);
    c->next_probe = mono() + c->probe_ns;
    if (rc < 0)
        return;
    s->failed = 0;
    s->reserve_only = false;
    s->reserved = MAX(s->reserved, reserved);
    if (epoch == s->epoch)
        c->new_epoch = false;
}

static void *run(void *arg)
{
    struct store *s = arg;
    struct committer *c = s->committer;
    store_lock(&s->write_mu);
    for (;;) {
        int64_t now = mono();
        if (due(s, now)) {
            write_batch(s);
        } else if (c->stop) {
            break;
        } else if (s->failed && now >= c->next_probe) {
            probe(s);
        } else if (now >= c->next_sweep) {
            c->next_sweep = now + SOFT_NS;
            store_unlock(&s->write_mu);
            store_sweep(s);
            store_lock(&s->write_mu);
        } else {
            doze(s, now);
        }
    }
    store_unlock(&s->write_mu);
    return NULL;
}

void committer_idle(struct store *s)
{
    while (s->committer && s->committer->busy)
        pthread_cond_wait(&s->committer->done, &s->write_mu);
}

int committer_flush(struct store *s, struct err **e)
{
    struct committer *c = s->committer;
    if (!c)
        return 0;
    store_lock(&s->write_mu);
    int64_t want = s->head, epoch = s->epoch;
    c->flush = MAX(c->flush, want);
    pthread_cond_signal(&c->work);
    while ((s->batch.n || c->busy) && s->durable < want && s->epoch == epoch)
        pthread_cond_wait(&c->done, &s->write_mu);
    int failed = s->epoch == epoch ? s->failed : s->failed ? s->failed : -ERR_IO;
    store_unlock(&s->write_mu);
    return failed ? err_set(e, (enum err_code) - failed, "the database cannot be written at the moment") : 0;
}

void committer_times(struct store *s, int64_t soft_ns, int64_t probe_ns)
{
    store_lock(&s->write_mu);
    s->committer->soft_ns = soft_ns;
    s->committer->probe_ns = probe_ns;
    s->committer->next_probe = MIN(s->committer->next_probe, mono() + probe_ns);
    pthread_cond_signal(&s->committer->work);
    store_unlock(&s->write_mu);
}

int committer_start(struct store *s, struct err **e)
{
    struct committer *c = xcalloc(1, sizeof *c);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->work, &attr);
    pthread_cond_init(&c->done, NULL);
    pthread_condattr_destroy(&attr);
    c->soft_ns = SOFT_NS;
    c->probe_ns = NS_PER_S;
    c->next_sweep = mono() + SOFT_NS;
    s->committer = c;
    int rc = pthread_create(&c->thread, NULL, run, s);
    if (rc) {
        free(TAKE(s->committer));
        return err_errno(e, rc, "committer thread");
    }
    return 0;
}

void committer_stop(struct store *s)
{
    struct committer *c = s->committer;
    if (!c)
        return;
    store_lock(&s->write_mu);
    c->stop = true;
    pthread_cond_signal(&c->work);
    store_unlock(&s->write_mu);
    pthread_join(c->thread, NULL);
    pthread_cond_destroy(&c->work);
    pthread_cond_destroy(&c->done);
    batch_clear(&s->batch);
    free(TAKE(s->committer));
}
