/* containerLogs end to end: files from node, HTTP/2 above. */
#include "above.h"
#include <fcntl.h>
#include <unistd.h>
#include "harness.h"

#define T "2026-01-02T03:04:05.123456789+00:00 "
#define LOGS "/containerLogs/default/web/app"

static void add(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    OK(fd >= 0);
    EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void with_log(struct above *a, const char *text)
{
    above_open(a);
    snprintf(a->files[0], sizeof a->files[0], "%s/0.log", test_tmpdir());
    a->nfiles = 1;
    add(a->files[0], text);
}

TEST(logs_are_given_with_the_options_that_kubectl_has)
{
    static const struct {
        const char *query, *body;
    } rows[] = {
        {"", "one\ntwo\nthree\n"},
        {"?tailLines=1", "three\n"},
        {"?tailLines=0", ""},
        {"?limitBytes=5", "one\nt"},
        {"?timestamps=true&tailLines=1", "2026-01-02T03:04:05.123456789Z three\n"},
        {"?stream=Stderr", "two\n"},
        {"?sinceSeconds=5", ""},
        {"?sinceTime=2026-01-02T03:04:05Z", "one\ntwo\nthree\n"},
    };
    struct above a;
    struct answer x;
    with_log(&a, T "stdout F one\n" T "stderr F two\n" T "stdout P thr\n" T "stdout F ee\n");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_(freep) char *path = xasprintf(LOGS "%s", rows[i].query);
        EQ_STR(above_fetch(&a, &x, path), str_of(rows[i].body));
        EQ(x.status, 200);
        answer_clear(&x);
    }
    above_close(&a);
}

TEST(logs_go_on_over_rotated_parts)
{
    struct above a;
    struct answer x;
    with_log(&a, T "stdout F one\n");
    snprintf(a.files[1], sizeof a.files[1], "%s/1.log", test_tmpdir());
    add(a.files[1], T "stdout F two\n");
    a.nfiles = 2;
    EQ_STR(above_fetch(&a, &x, LOGS "?tailLines=5"), STR("one\ntwo\n"));
    answer_clear(&x);
    EQ_STR(above_fetch(&a, &x, LOGS "?tailLines=1"), STR("two\n"));
    answer_clear(&x);
    above_close(&a);
}

TEST(a_followed_log_shows_what_comes_and_ends_with_the_container)
{
    struct above a;
    struct answer x;
    with_log(&a, T "stdout F one\n");
    above_get(&a, &x, LOGS "?follow=true");
    above_wait(&a, 100);
    EQ_STR(buf_str(&x.body), STR("one\n"));
    add(a.files[0], T "stdout F two\n" T "stdout F thr");
    above_wait(&a, 300);
    EQ_STR(buf_str(&x.body), STR("one\ntwo\n"));
    add(a.files[0], "ee\n");
    a.con.state = CS_TERMINATED;
    OK(above_until(&a, &x.ended, 2000));
    EQ_STR(buf_str(&x.body), STR("one\ntwo\nthree\n"));
    answer_clear(&x);
    above_close(&a);
}

TEST(a_followed_log_is_followed_through_a_rotation)
{
    struct above a;
    struct answer x;
    with_log(&a, T "stdout F one\n");
    above_get(&a, &x, LOGS "?follow=true");
    above_wait(&a, 500); /* it is silent: only the rename can tell */
    snprintf(a.files[1], sizeof a.files[1], "%s/new.log", test_tmpdir());
    _cleanup_(freep) char *old = xasprintf("%s/old.log", test_tmpdir());
    add(a.files[0], T "stdout F two\n");
    above_wait(&a, 500);
    EQ(rename(a.files[0], old), 0);
    snprintf(a.files[0], sizeof a.files[0], "%s", old);
    above_wait(&a, 300); /* asked in between: the new one is not there yet */
    add(a.files[1], T "stdout F three\n");
    a.nfiles = 2;
    above_wait(&a, 600);
    EQ_STR(buf_str(&x.body), STR("one\ntwo\nthree\n"));
    add(a.files[1], T "stdout F four\n");
    above_wait(&a, 300);
    EQ_STR(buf_str(&x.body), STR("one\ntwo\nthree\nfour\n"));
    int asked = a.logs_asked;
    OK(asked < 15);
    a.con.id = STR("c2"); /* a restart is another log */
    OK(above_until(&a, &x.ended, 2000));
    answer_clear(&x);
    above_close(&a);
}

TEST(a_follower_that_leaves_leaves_nothing_behind)
{
    struct above a;
    struct answer x;
    with_log(&a, T "stdout F one\n");
    above_get(&a, &x, LOGS "?follow=true");
    above_wait(&a, 100);
    answer_clear(&x);
    above_wait(&a, 100);
    above_close(&a);
}

static void hold(void *arg, const char *p, size_t n)
{
    struct answer *x = arg;
    buf_add(&x->body, p, n);
    http_call_pause(x->call, true);
}

TEST(a_large_log_waits_in_its_file_for_a_slow_reader)
{
    struct above a;
    struct answer x = {.above = &a};
    static const struct http_call_events events = {NULL, hold, NULL, NULL};
    struct http_request rq = {.method = STR("GET"), .path = STR(LOGS)};
    above_open(&a);
    snprintf(a.files[0], sizeof a.files[0], "%s/0.log", test_tmpdir());
    a.nfiles = 1;
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    for (int i = 0; b.n < (8u << 20); i++)
        buf_printf(&b, T "stdout F line %08d of many\n", i);
    add(a.files[0], b.p);
    x.call = http_call(a.client, &rq, &events, &x);
    above_wait(&a, 200);
    size_t early = x.body.n;
    OK(early > 0 && early < (1u << 20));
    answer_clear(&x);
    EQ(above_fetch(&a, &x, LOGS).n, b.n / strlen(T "stdout F line 00000000 of many\n") * strlen("line 00000000 of many\n"));
    answer_clear(&x);
    above_close(&a);
}

TEST(logs_that_are_not_there_are_refused_with_the_kubelets_words)
{
    struct above a;
    struct answer x;
    with_log(&a, "");
    EQ_STR(above_fetch(&a, &x, "/containerLogs/default/nix/app"), STR("pod \"nix\" not found"));
    EQ(x.status, 404);
    answer_clear(&x);
    EQ_STR(above_fetch(&a, &x, LOGS "?previous=true"), STR("previous terminated container \"app\" in pod \"web\" not found"));
    EQ(x.status, 400);
    answer_clear(&x);
    a.con.state = CS_WAITING;
    EQ_STR(above_fetch(&a, &x, LOGS), STR("container \"app\" in pod \"web\" is waiting to start: ContainerCreating"));
    EQ(x.status, 400);
    answer_clear(&x);
    a.con.reason = STR("ImagePullBackOff");
    EQ_STR(above_fetch(&a, &x, LOGS), STR("container \"app\" in pod \"web\" is waiting to start: trying and failing to pull image"));
    answer_clear(&x);
    a.con.state = CS_RUNNING;
    EQ_STR(above_fetch(&a, &x, LOGS "?tailLines=-1"), STR("tailLines: \"-1\" is not a number of at least 0"));
    EQ(x.status, 400);
    answer_clear(&x);
    a.refuse = ERR_NOT_FOUND;
    EQ_STR(above_fetch(&a, &x, LOGS), STR("node says no"));
    EQ(x.status, 404);
    answer_clear(&x);
    above_close(&a);
}

TEST(pods_and_health_are_told)
{
    struct above a;
    struct answer x;
    above_open(&a);
    EQ_STR(above_fetch(&a, &x, "/healthz"), STR("ok"));
    answer_clear(&x);
    OK(str_find(above_fetch(&a, &x, "/pods"), STR("\"items\":[{\"metadata\":{\"name\":\"web\"")) > 0);
    answer_clear(&x);
    above_fetch(&a, &x, "/nothing");
    EQ(x.status, 404);
    answer_clear(&x);
    above_close(&a);
}
