#include "harness.h"
#include <stdlib.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/file.h"
#include "uplink/outbox.h"

struct rig {
    struct loop *l;
    struct clock *clock;
    struct seal *seal;
    struct outbox *o;
    char path[400];
};

static void open_box(struct rig *r)
{
    struct err *e = NULL;
    FINE(outbox_open(r->path, r->l, r->clock, r->seal, &r->o, &e), e);
}

static void rig_open(struct rig *r)
{
    *r = (struct rig){.l = loop_new(NULL), .clock = clock_fake(INT64_C(1790000000) * NS_PER_S)};
    snprintf(r->path, sizeof r->path, "%s/outbox", test_tmpdir());
    open_box(r);
}

static void rig_close(struct rig *r)
{
    outbox_close(r->o);
    seal_free(r->seal);
    loop_free(r->l);
    clock_free(r->clock);
}

/* As after kill -9: nothing is flushed on the way out. The deferred write of this turn is done, a lazy one is not. */
static void crash_and_open(struct rig *r)
{
    char copy[400], from[420], to[420];
    static const char *const tails[] = {"", "-wal"};
    while (loop_step(r->l, 0) > 0)
        ;
    if (snprintf(copy, sizeof copy, "%s.copy", r->path) >= (int)sizeof copy)
        test_fail(__FILE__, __LINE__, "path");
    for (size_t i = 0; i < 2; i++) {
        _cleanup_(buf_clear) struct buf b = BUF_INIT;
        struct err *e = NULL;
        snprintf(from, sizeof from, "%s%s", r->path, tails[i]);
        snprintf(to, sizeof to, "%s%s", copy, tails[i]);
        if (!file_exists(from))
            continue;
        FINE(file_read(from, 50u << 20, &b, &e), e);
        FINE(file_replace(to, buf_str(&b), 0600, &e), e);
    }
    outbox_close(r->o);
    memcpy(r->path, copy, sizeof copy);
    open_box(r);
}

static void put(struct rig *r, const char *key, const char *body, unsigned flags)
{
    struct outbox_entry e = {
        .key = str_of(key), .method = STR("PUT"), .path = str_of(key), .content_type = STR("text/plain"), .body = str_of(body)};
    outbox_put(r->o, &e, flags);
}

/* What would be sent now, in order. */
static struct str all(struct rig *r, struct buf *b)
{
    const struct outbox_entry *x;
    buf_reset(b);
    while ((x = outbox_next(r->o)))
        buf_printf(b, "%.*s=%.*s;", STR_ARG(x->key), STR_ARG(x->body));
    outbox_rewind(r->o);
    return buf_str(b);
}

TEST(reports_survive_a_crash_in_order)
{
    struct rig r;
    struct buf b = BUF_INIT;
    rig_open(&r);
    r.seal = seal_new();
    seal_add(r.seal, NULL);
    outbox_close(r.o);
    open_box(&r);
    put(&r, "/a", "1", 0);
    put(&r, "/b", "1", 0);
    put(&r, "/a", "2", 0);
    put(&r, "/event", "lazy", OUTBOX_LAZY | OUTBOX_APPEND);
    put(&r, "/lease", "beat", OUTBOX_VOLATILE);
    EQ_STR(all(&r, &b), STR("/a=2;/b=1;/event=lazy;/lease=beat;"));
    crash_and_open(&r);
    EQ_STR(all(&r, &b), STR("/a=2;/b=1;/event=lazy;")); /* the lazy one rode along with the urgent ones */
    put(&r, "/event", "alone", OUTBOX_LAZY | OUTBOX_APPEND);
    put(&r, "/lease", "beat", OUTBOX_VOLATILE);
    crash_and_open(&r);
    EQ_STR(all(&r, &b), STR("/a=2;/b=1;/event=lazy;")); /* a lazy one by itself waits a minute */
    put(&r, "/c", "1", 0);
    crash_and_open(&r);
    EQ_STR(all(&r, &b), STR("/a=2;/b=1;/event=lazy;/c=1;"));
    buf_clear(&b);
    rig_close(&r);
}

TEST(an_answered_report_is_gone_after_a_crash_too)
{
    struct rig r;
    struct buf b = BUF_INIT;
    rig_open(&r);
    put(&r, "/a", "1", 0);
    put(&r, "/b", "1", 0);
    const struct outbox_entry *x = outbox_next(r.o);
    uint64_t seq = x->seq;
    outbox_done(r.o, seq, 200, STR_NULL);
    outbox_done(r.o, seq, 200, STR_NULL); /* twice: nothing */
    outbox_done(r.o, 999, 200, STR_NULL);
    EQ(outbox_count(r.o), 1);
    crash_and_open(&r);
    EQ_STR(all(&r, &b), STR("/b=1;"));
    put(&r, "/c", "1", 0);
    x = outbox_next(r.o);
    x = outbox_next(r.o);
    OK(x->seq > seq + 1);          /* a number is never used twice */
    outbox_forget(r.o, STR("/c")); /* under way: stays */
    EQ(outbox_count(r.o), 2);
    outbox_rewind(r.o);
    outbox_forget(r.o, STR("/c"));
    EQ(outbox_count(r.o), 1);
    buf_clear(&b);
    rig_close(&r);
}

TEST(quotas_drop_the_oldest_appended_ones_first_and_count_them)
{
    struct rig r;
    struct buf body = BUF_INIT;
    rig_open(&r);
    memset(buf_reserve(&body, 1u << 20), 'x', 1u << 20);
    body.n = 1u << 20;
    body.p[body.n] = 0;
    put(&r, "/status", "keep", 0);
    put(&r, "/event", "old", OUTBOX_APPEND);
    clock_fake_add(r.clock, OUTBOX_AGE + NS_PER_S);
    put(&r, "/event", "new", OUTBOX_APPEND);
    EQ(outbox_dropped(r.o), 1); /* by age; a status has none */
    EQ(outbox_count(r.o), 2);
    for (int i = 0; i < 12; i++)
        put(&r, "/event", body.p, OUTBOX_APPEND);
    OK(outbox_dropped(r.o) >= 5);
    const struct outbox_entry *x = outbox_next(r.o);
    EQ_STR(x->key, STR("/status"));
    buf_clear(&body);
    rig_close(&r);
}

TEST(a_damaged_outbox_is_set_aside)
{
    struct rig r;
    struct err *e = NULL;
    char aside[420];
    rig_open(&r);
    put(&r, "/a", "1", 0);
    outbox_close(r.o);
    FINE(file_replace(r.path,
             STR("no database, and longer than the sixteen bytes of the head that SQLite looks at, so that it says so; and then some more"),
             0600, &e),
        e);
    open_box(&r);
    EQ(outbox_count(r.o), 0);
    put(&r, "/a", "2", 0);
    snprintf(aside, sizeof aside, "%s.damaged", r.path);
    OK(file_exists(aside));
    rig_close(&r);
}

static struct outbox_entry report(const char *body)
{
    return (struct outbox_entry){.key = STR("status/a"), .method = STR("PATCH"), .path = STR("/a"), .content_type = STR("application/json"), .body = str_of(body)};
}

TEST(the_newest_report_leaves_last_although_a_link_was_lost_in_between)
{
    struct rig r;
    rig_open(&r);
    struct outbox_entry first = report("first"), second = report("second"), third = report("third");
    outbox_put(r.o, &first, 0);
    OK(outbox_next(r.o) != NULL); /* under way: not replaced */
    outbox_put(r.o, &second, 0);
    outbox_rewind(r.o);
    outbox_put(r.o, &third, 0);
    EQ(outbox_count(r.o), 2);
    EQ_STR(outbox_next(r.o)->body, STR("first"));
    EQ_STR(outbox_next(r.o)->body, STR("third"));
    OK(outbox_next(r.o) == NULL);
    rig_close(&r);
}
