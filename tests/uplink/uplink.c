#include "harness.h"
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "pair.h"
#include "uplink/proof.h"

static void join(struct pair *p)
{
    pair_start(p);
    if (!pair_until(p, pair_connected, 3000))
        test_fail(
            __FILE__, __LINE__, "not connected: below %s, above %s", p->down_why ? p->down_why : "-", p->closed_why ? p->closed_why : "-");
}

static void need_disk(struct pair *p)
{
    struct err *e = NULL;
    char path[200];
    snprintf(path, sizeof path, "%s/mirror", test_tmpdir());
    FINE(mirror_open(path, NULL, &p->config.mirror, &e), e);
    snprintf(path, sizeof path, "%s/outbox", test_tmpdir());
    FINE(outbox_open(path, p->loop, p->clock, NULL, &p->config.outbox, &e), e);
}

TEST(a_lower_tier_joins_by_token_and_comes_back_by_key)
{
    struct pair p;
    struct stat st;
    pair_open(&p);
    join(&p);
    EQ_Z(p.seen_token, "s3cret");
    EQ_Z(p.seen_name, "n1");
    EQ_Z(p.seen_view, "node");
    EQ_STR(str_of(p.seen_key), key_id(p.lower_key));
    EQ_Z(p.assigned, "n1");
    EQ_STR(uplink_peer_name(p.peer), STR("n1"));
    EQ(stat(p.pin_path, &st), 0);
    EQ(st.st_mode & 0777, 0600);
    pair_cut(&p);
    OK(pair_until(&p, pair_down, 2000));
    OK(pair_until(&p, pair_connected, 4000)); /* the token is used up: the key is what counts */
    EQ_Z(p.assigned, "known");
    EQ(p.connects, 2);
    EQ(p.closes, 1);
    pair_close(&p);
}

TEST(a_used_token_and_a_wrong_one_let_nobody_in)
{
    struct pair p;
    struct err *e = NULL;
    pair_open(&p);
    join(&p);
    key_free(p.lower_key); /* another machine with the same token */
    p.lower_key = p.config.key = key_make(KEY_ED25519, &e);
    p.downs = 0;
    pair_start(&p);
    OK(pair_until(&p, pair_down, 2000));
    EQ(p.down_code, ERR_UNAUTHORIZED);
    EQ_Z(p.down_why, "unknown token");
    EQ(p.ups, 1);
    p.downs = 0;
    p.config.token = STR("guess");
    pair_start(&p);
    OK(pair_until(&p, pair_down, 2000));
    EQ(p.down_code, ERR_UNAUTHORIZED);
    pair_close(&p);
}

TEST(another_upper_identity_is_refused)
{
    struct pair p;
    struct err *e = NULL;
    pair_open(&p);
    join(&p);
    key_free(p.upper_key);
    p.upper_key = p.accept.key = key_make(KEY_ED25519, &e);
    p.downs = 0;
    int hellos = p.hellos;
    pair_start(&p);
    OK(pair_until(&p, pair_down, 2000));
    EQ(p.down_code, ERR_FORBIDDEN);
    OK(strstr(p.down_why, "another identity"));
    EQ(p.hellos, hellos); /* and it never saw a token */
    pair_close(&p);
}

static bool asked(struct pair *p)
{
    return p->asked;
}

TEST(admission_may_take_its_time_and_the_peer_may_go_meanwhile)
{
    struct pair p;
    pair_open(&p);
    p.hold_hello = true;
    pair_start(&p);
    OK(pair_until(&p, asked, 2000));
    pair_step(&p, 50);
    OK(!uplink_connected(p.up));
    uplink_admit(p.asked, STR("late"));
    OK(pair_until(&p, pair_connected, 2000));
    EQ_Z(p.assigned, "late");
    uplink_free(TAKE(p.up));
    p.asked = NULL;
    pair_step(&p, 50);
    EQ(p.closes, 1);
    pair_start(&p);
    OK(pair_until(&p, asked, 2000));
    uplink_free(TAKE(p.up));
    pair_step(&p, 50);
    EQ(p.closes, 2);
    OK(!p.asked);
    pair_close(&p);
}

/* ---- requests downwards ---- */
struct asked_of {
    struct buf body;
    int status;
    bool done;
    char *error;
    struct stream *s;
};
static void a_head(void *arg, const struct http_response *r)
{
    ((struct asked_of *)arg)->status = r->status;
}
static void a_data(void *arg, const char *p, size_t n)
{
    buf_add(&((struct asked_of *)arg)->body, p, n);
}
static void a_end(void *arg, const struct err *e)
{
    struct asked_of *a = arg;
    a->done = true;
    if (e)
        a->error = xstrdup(err_msg(e));
}
static const struct http_call_events a_events = {a_head, a_data, NULL, a_end};
static void a_upgraded(void *arg, struct stream *s, const struct http_response *r, const struct err *e)
{
    ((struct asked_of *)arg)->s = s, a_end(arg, e);
}
static void a_close(void *arg, const struct err *why)
{
    ((struct asked_of *)arg)->s = NULL;
}
static const struct stream_events as_events = {.on_data = a_data, .on_close = a_close};
static struct asked_of *waiting;
static bool answered(struct pair *p)
{
    return waiting->done;
}

TEST(requests_and_upgrades_go_down)
{
    struct pair p;
    struct asked_of a = {0};
    waiting = &a;
    pair_open(&p);
    join(&p);
    struct http_request q = {.method = STR("POST"), .path = STR("/logs/x?follow=1"), .body = STR("some body")};
    http_call(uplink_peer_client(p.peer), &q, &a_events, &a);
    OK(pair_until(&p, answered, 2000));
    EQ(a.status, 200);
    EQ_STR(buf_str(&a.body), STR("some body"));
    EQ_STR(buf_str(&p.requests), STR("POST /logs/x;"));
    a.done = false;
    buf_reset(&a.body);
    q = (struct http_request){.path = STR("/exec")};
    http_call_upgrade(uplink_peer_client(p.peer), &q, STR("echo"), a_upgraded, &a);
    OK(pair_until(&p, answered, 2000));
    OK(a.s);
    stream_use(a.s, &as_events, &a);
    stream_write(a.s, "to and fro", 10);
    pair_step(&p, 50);
    EQ_STR(buf_str(&a.body), STR("to and fro"));
    a.done = false;
    q = (struct http_request){.path = STR("/x"), .stream_body = true};
    http_call(uplink_peer_client(p.peer), &q, &a_events, &a); /* under way when the link goes */
    pair_step(&p, 30);
    pair_cut(&p);
    OK(pair_until(&p, answered, 2000));
    OK(a.error && !a.s);
    free(a.error);
    buf_clear(&a.body);
    pair_close(&p);
}

/* ---- calls upwards ---- */
static void replied(void *arg, int status, struct str body, const struct err *e)
{
    struct asked_of *a = arg;
    a->done = true;
    a->status = status;
    buf_str_add(&a->body, body);
    if (e)
        a->error = xstrdup(err_msg(e));
}

TEST(calls_go_up_and_fail_with_the_link)
{
    struct pair p;
    struct asked_of a = {0}, b = {0};
    waiting = &a;
    pair_open(&p);
    pair_start(&p);
    OK(!uplink_call(p.up, STR("GET"), STR("/x"), STR_NULL, STR_NULL, replied, &b));
    EQ_Z(b.error, "not connected");
    OK(pair_until(&p, pair_connected, 2000));
    uplink_call(p.up, STR("POST"), STR("/token"), STR("application/json"), STR("{}"), replied, &a);
    OK(pair_until(&p, answered, 2000));
    EQ(a.status, 201);
    EQ_STR(buf_str(&a.body), STR("{}"));
    EQ_STR(buf_str(&p.calls), STR("POST /token {};"));
    p.hold_calls = true;
    a.done = false;
    uplink_call(p.up, STR("GET"), STR("/y"), STR_NULL, STR_NULL, replied, &a);
    struct uplink_call *k = uplink_call(p.up, STR("GET"), STR("/z"), STR_NULL, STR_NULL, replied, &a);
    pair_step(&p, 50);
    uplink_call_cancel(k);
    pair_cut(&p);
    OK(pair_until(&p, answered, 2000));
    EQ_Z(a.error, "not connected");
    free(a.error);
    free(b.error);
    buf_clear(&b.body);
    buf_clear(&a.body);
    pair_close(&p);
}

/* ---- liveness ---- */
TEST(a_silent_link_is_given_up_on_both_sides)
{
    struct pair p;
    pair_open(&p);
    p.config.idle_ns = 100 * NS_PER_MS;
    p.config.active_ns = 100 * NS_PER_MS;
    join(&p);
    pair_step(&p, 500);
    OK(pair_connected(&p)); /* pings keep it */
    p.downs = 0;
    p.deaf = true;
    OK(pair_until(&p, pair_down, 2000));
    EQ(p.down_code, ERR_TIMEOUT);
    p.deaf = false;
    pair_cut(&p);
    OK(pair_until(&p, pair_connected, 5000));
    pair_close(&p);
}

/* ---- mirror ---- */
static void put(struct pair *p, const char *key, int64_t rev, const char *bytes)
{
    uplink_upsert(p->peer, str_of(key), STR("u"), rev, str_of(bytes));
}

static int64_t want_rev;
static bool acked(struct pair *p)
{
    return p->acked == want_rev;
}

static void commit(struct pair *p, int64_t rev)
{
    uplink_commit(p->peer, rev);
    want_rev = rev;
    OK(pair_until(p, acked, 2000));
}

TEST(a_mirror_moves_in_cuts_and_resumes_from_the_last_one)
{
    struct pair p;
    pair_open(&p);
    need_disk(&p);
    join(&p);
    EQ(p.resumes, 1);
    OK(!p.resume_known && p.resume_rev == 0);
    put(&p, "/pods/default/a", 5, "A");
    put(&p, "/pods/default/b", 6, "B");
    pair_step(&p, 30);
    EQ(mirror_count(p.config.mirror), 0); /* not before the commit */
    commit(&p, 6);
    EQ(mirror_count(p.config.mirror), 2);
    put(&p, "/pods/default/c", 7, "C");
    uplink_delete(p.peer, STR("/pods/default/a"), STR("u"), 8);
    pair_step(&p, 30);
    pair_cut(&p); /* in the middle of a cut */
    OK(pair_until(&p, pair_down, 2000));
    OK(pair_until(&p, pair_connected, 4000));
    EQ(mirror_count(p.config.mirror), 2);
    EQ(p.resumes, 2);
    OK(p.resume_known);
    EQ(p.resume_rev, 6);
    EQ(p.resume_epoch, 3);
    uplink_delete(p.peer, STR("/pods/default/a"), STR("another uid"), 8);
    uplink_delete(p.peer, STR("/pods/default/b"), STR("u"), 8);
    commit(&p, 8);
    OK(mirror_get(p.config.mirror, STR("/pods/default/a")) && !mirror_get(p.config.mirror, STR("/pods/default/b")));
    uplink_ask_inventory(p.peer);
    pair_step(&p, 50);
    EQ(p.inventories, 1);
    EQ(p.inventory_items, 1);
    pair_close(&p);
}

TEST(an_older_or_other_upper_store_prunes_nothing)
{
    struct pair p;
    pair_open(&p);
    need_disk(&p);
    join(&p);
    put(&p, "/pods/default/a", 5, "A");
    commit(&p, 5);
    p.epoch = 2; /* restored from an old backup */
    pair_cut(&p);
    OK(pair_until(&p, pair_down, 2000));
    OK(pair_until(&p, pair_connected, 4000));
    OK(!p.resume_known);
    uplink_delete(p.peer, STR("/pods/default/a"), STR("u"), 6);
    commit(&p, 6);
    OK(mirror_frozen(p.config.mirror));
    OK(mirror_get(p.config.mirror, STR("/pods/default/a")));
    p.epoch = 4;
    uplink_delete(p.peer, STR("/pods/default/a"), STR("u"), 7);
    commit(&p, 7);
    OK(!mirror_frozen(p.config.mirror));
    EQ(mirror_count(p.config.mirror), 0);
    pair_close(&p);
}

/* ---- outbox ---- */
static void report(struct pair *p, const char *key, const char *body, unsigned flags)
{
    struct outbox_entry e = {
        .key = str_of(key), .method = STR("PUT"), .path = str_of(key), .content_type = STR("application/json"), .body = str_of(body)};
    outbox_put(p->config.outbox, &e, flags);
}
static bool emptied(struct pair *p)
{
    return outbox_count(p->config.outbox) == 0;
}

TEST(reports_wait_for_the_link_and_leave_in_order)
{
    struct pair p;
    pair_open(&p);
    need_disk(&p);
    report(&p, "/a", "1", 0);
    report(&p, "/b", "1", 0);
    report(&p, "/a", "2", 0); /* takes the place of the first */
    report(&p, "/e", "x", OUTBOX_APPEND);
    report(&p, "/e", "y", OUTBOX_APPEND);
    EQ(outbox_count(p.config.outbox), 4);
    join(&p);
    OK(pair_until(&p, emptied, 2000));
    EQ_STR(buf_str(&p.entries), STR("/a=2;/b=1;/e=x;/e=y;"));
    pair_close(&p);
}

TEST(reports_that_were_not_answered_are_sent_again)
{
    struct pair p;
    pair_open(&p);
    need_disk(&p);
    p.entry_status = 0; /* no answer */
    join(&p);
    report(&p, "/a", "1", 0);
    pair_step(&p, 50);
    report(&p, "/a", "2", 0); /* the first is under way: not replaced */
    pair_step(&p, 50);
    EQ_STR(buf_str(&p.entries), STR("/a=1;/a=2;"));
    EQ(outbox_count(p.config.outbox), 2);
    buf_reset(&p.entries);
    p.entry_status = 200;
    pair_cut(&p);
    OK(pair_until(&p, emptied, 4000));
    EQ_STR(buf_str(&p.entries), STR("/a=1;/a=2;"));
    pair_close(&p);
}

static int refused_status;
static void refused(void *arg, const struct outbox_entry *x, int status, struct str message)
{
    refused_status = status;
    EQ_STR(message, STR("why"));
    EQ_STR(x->path, STR("/a"));
}

TEST(refused_reports_are_told_and_deferred_ones_tried_again_without_haste)
{
    struct pair p;
    pair_open(&p);
    need_disk(&p);
    refused_status = 0;
    outbox_on_refused(p.config.outbox, refused, NULL);
    p.entry_status = 409;
    join(&p);
    report(&p, "/a", "1", 0);
    OK(pair_until(&p, emptied, 2000));
    EQ(refused_status, 409);
    p.entry_status = 503;
    buf_reset(&p.entries);
    report(&p, "/b", "1", 0);
    report(&p, "/c", "1", 0);
    pair_step(&p, 500);
    EQ_STR(buf_str(&p.entries), STR("/b=1;/c=1;")); /* once, not in a hot loop */
    EQ(outbox_count(p.config.outbox), 2);
    p.entry_status = 200;
    OK(pair_until(&p, emptied, 3000));
    EQ_STR(buf_str(&p.entries), STR("/b=1;/c=1;/b=1;/c=1;"));
    pair_close(&p);
}

/* ---- cut anywhere ---- */
#define OBJECTS 40
static int upper_has; /* objects 0..upper_has-1 exist above, at revision 100 + i */

/* What the api does on a resume: all that is newer, in cuts of ten. */
static void send_newer(struct pair *p)
{
    char key[40], body[400];
    int64_t from = p->resume_known ? p->resume_rev : 0;
    for (int i = 0; i < upper_has; i++) {
        if (100 + i <= from)
            continue;
        snprintf(key, sizeof key, "/pods/default/p%d", i);
        memset(body, 'a' + i % 26, sizeof body);
        uplink_upsert(p->peer, str_of(key), STR("u"), 100 + i, str_make(body, sizeof body));
        if (i % 10 == 9 || i == upper_has - 1)
            uplink_commit(p->peer, 100 + i);
    }
}

static struct buf taken; /* every report that was accepted, as the upper side's effects */
static void take_entry(struct pair *p, const struct outbox_entry *x)
{
    buf_printf(&taken, "%.*s;", STR_ARG(x->body));
    uplink_entry_done(p->peer, x->seq, 200, STR_NULL);
}

static bool all_there(struct pair *p)
{
    return mirror_count(p->config.mirror) == OBJECTS && outbox_count(p->config.outbox) == 0;
}

TEST(nothing_is_lost_when_the_link_is_cut_anywhere)
{
    struct pair p;
    unsigned seed = 7;
    pair_open(&p);
    need_disk(&p);
    upper_has = OBJECTS;
    p.on_resumed = send_newer;
    p.on_entry = take_entry;
    for (int i = 0; i < OBJECTS; i++) {
        char body[16];
        snprintf(body, sizeof body, "r%d", i);
        report(&p, "/r", body, OUTBOX_APPEND);
    }
    pair_start(&p);
    for (int i = 0; i < 60 && !all_there(&p); i++) {
        seed = seed * 1103515245u + 12345u;
        p.budget = 200 + (int64_t)(seed >> 16) % 9000;
        for (int k = 0; k < 400 && p.budget && !all_there(&p); k++)
            loop_step(p.loop, 1);
        uplink_redial(p.up, NULL); /* without its back-off */
    }
    OK(p.cuts > 0);
    p.budget = 0;
    OK(pair_until(&p, all_there, 5000));
    for (int i = 0; i < OBJECTS; i++) {
        char key[40], body[16];
        snprintf(key, sizeof key, "/pods/default/p%d", i);
        const struct mirror_item *it = mirror_get(p.config.mirror, str_of(key));
        OK(it && it->rev == 100 + i && it->bytes->n == 400 && it->bytes->p[399] == 'a' + i % 26);
        snprintf(body, sizeof body, "r%d;", i);
        OK(str_find(buf_str(&taken), str_of(body)) >= 0);
    }
    buf_clear(&taken);
    pair_close(&p);
}
