/* The registry client and the blob fetcher against a registry in this process: tokens, redirects, ranges, and what a hostile one may try.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/file.h"
#include "crypto/hash.h"
#include "gate/pull_blob.h"
#include "harness.h"

#define SIZE 300000

struct fake {
    struct loop *loop;
    struct http_server *server, *cdn;
    uint16_t port, cdn_port;
    struct registries *registries;
    struct registry_image image;
    struct registry_creds creds;
    struct registry_session *session;
    struct pool *pool;
    char *blob, digest[80];
    const char *token; /* that is good now; NULL: nothing is asked for */
    bool basic, redirect, loops, whole_only, wrong_range, longer, spoilt, to_cdn_realm;
    int tokens, requests, cdn_requests, unauthorized;
    bool leaked; /* the other host saw an Authorization */
    struct str range;
    /* the get under way */
    bool ended;
    struct err *e;
    struct buf body;
};

static void reply(struct http_req *rq, int status, const char *name, struct str value, struct str body)
{
    struct http_header h[] = {{STR("content-type"), STR("application/octet-stream")}, {str_of(name), value}};
    struct bytes *b = bytes_new(body.p, body.n);
    http_reply(rq, status, h, name ? 2 : 1, b);
    bytes_unref(b);
}

static void send_blob(struct fake *f, struct http_req *rq)
{
    struct str all = str_make(f->blob, SIZE), range = http_header(rq, STR("range"));
    uint64_t from = 0;
    f->range = pool_str(f->pool, range);
    if (f->spoilt)
        f->blob[7] ^= 1;
    if (f->longer)
        all = str_make(f->blob, SIZE - 1);
    if (range.n && !f->whole_only) {
        OK(str_starts(range, STR("bytes=")) && str_to_u64(str_sub(range, 6, range.n - 1), &from));
        reply(rq, 206, "content-range", pool_printf(f->pool, "bytes %" PRIu64 "-%d/%d", f->wrong_range ? from - 1 : from, SIZE - 1, SIZE),
            str_sub(all, (size_t)from, all.n));
    } else {
        reply(rq, 200, NULL, STR_NULL, all);
    }
    if (f->spoilt)
        f->blob[7] ^= 1;
}

static void on_token(struct fake *f, struct http_req *rq)
{
    f->tokens++;
    struct str auth = http_header(rq, STR("authorization"));
    EQ_STR(http_query(rq, STR("service")), STR("fake"));
    EQ_STR(http_query(rq, STR("scope")), STR("repository:a/b:pull"));
    if (!str_eqz(auth, "Basic dTpw")) /* u:p */
        reply(rq, 401, NULL, STR_NULL, STR(""));
    else
        http_reply_str(rq, 200, "application/json", pool_printf(f->pool, "{\"token\":\"%s\"}", f->token));
}

static void on_registry(struct http_req *rq, void *arg)
{
    struct fake *f = arg;
    struct str auth = http_header(rq, STR("authorization"));
    if (str_eqz(rq->path, "/token")) {
        on_token(f, rq);
        return;
    }
    f->requests++;
    if (f->token && !str_eq(auth, pool_printf(f->pool, "Bearer %s", f->token))) {
        f->unauthorized++;
        reply(rq, 401, "www-authenticate", pool_printf(f->pool, "Bearer realm=\"http://127.0.0.1:%u/token\",service=\"fake\"", f->port),
            STR("{\"errors\":[{\"code\":\"UNAUTHORIZED\"}]}"));
    } else if (f->basic && !str_eqz(auth, "Basic dTpw")) {
        f->unauthorized++;
        reply(rq, 401, "www-authenticate", STR("Basic realm=\"r\""), STR(""));
    } else if (f->loops) {
        reply(rq, 307, "location", pool_printf(f->pool, "/again/%d", f->requests), STR(""));
    } else if (f->redirect) {
        reply(rq, 307, "location", pool_printf(f->pool, "http://127.0.0.1:%u/signed?x=1", f->cdn_port), STR(""));
    } else if (str_find(rq->path, STR("/blobs/")) >= 0) {
        send_blob(f, rq);
    } else if (str_ends(rq->path, STR("/manifests/here"))) {
        reply(rq, 200, NULL, STR_NULL, STR("{}"));
    } else {
        reply(rq, 404, NULL, STR_NULL, STR("{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"unknown\"}]}"));
    }
}

static void on_cdn(struct http_req *rq, void *arg)
{
    struct fake *f = arg;
    f->cdn_requests++;
    f->leaked = f->leaked || http_header(rq, STR("authorization")).p;
    send_blob(f, rq);
}

static uint16_t listen_on(struct http_server *s)
{
    struct err *e = NULL;
    struct sockaddr_in a;
    socklen_t n = sizeof a;
    int fd = http_bind("127.0.0.1:0", 16, &e);
    OK(fd >= 0);
    EQ(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    FINE(http_listen(s, fd, NULL, &e), e);
    return ntohs(a.sin_port);
}

static void fake_open(struct fake *f)
{
    struct err *e = NULL;
    char hex[HASH_HEX + 1];
    *f = (struct fake){.loop = loop_new(&e), .pool = pool_new()};
    f->server = http_server_new(f->loop, NULL, on_registry, f);
    f->cdn = http_server_new(f->loop, NULL, on_cdn, f);
    f->port = listen_on(f->server);
    f->cdn_port = listen_on(f->cdn);
    f->blob = pool_alloc(f->pool, SIZE);
    for (size_t i = 0; i < SIZE; i++)
        f->blob[i] = (char)(i * 31 ^ i >> 8);
    snprintf(f->digest, sizeof f->digest, "sha256:%.64s", hash_sha256_hex(str_make(f->blob, SIZE), hex).p);
    FINE(registries_parse(STR(""), &f->registries, &e), e);
    FINE(registry_image_parse(f->pool, pool_printf(f->pool, "127.0.0.1:%u/a/b:1", f->port), &f->image, &e), e);
    f->session = registry_open(f->loop, NULL, f->registries, &f->image, &f->creds);
}

static void fake_creds(struct fake *f, const char *first, const char *second)
{
    const char *const all[] = {first, second};
    for (size_t i = 0; i < 2 && all[i]; i++)
        f->creds.at[f->creds.n++] = (struct registry_cred){.username = STR("u"), .password = str_of(all[i])};
    registry_close(f->session);
    f->session = registry_open(f->loop, NULL, f->registries, &f->image, &f->creds);
}

static void fake_close(struct fake *f)
{
    registry_close(f->session);
    registries_free(f->registries);
    http_server_free(f->server);
    http_server_free(f->cdn);
    for (int i = 0; i < 50; i++)
        loop_step(f->loop, 0);
    loop_free(f->loop);
    err_free(f->e);
    buf_clear(&f->body);
    pool_free(f->pool);
}

static void got_head(void *arg, const struct registry_head *h) {}
static void got_data(void *arg, const char *p, size_t n)
{
    buf_add(&((struct fake *)arg)->body, p, n);
}

static void got_end(void *arg, const struct err *e)
{
    struct fake *f = arg;
    f->ended = true;
    if (e)
        err_set(&f->e, e->code, "%s", err_msg(e));
}

static void wait_end(struct fake *f)
{
    int64_t end = clock_mono(NULL) + 10 * NS_PER_S;
    while (!f->ended && clock_mono(NULL) < end)
        loop_step(f->loop, 20);
    OK(f->ended);
    f->ended = false;
}

static enum err_code get(struct fake *f, const char *what)
{
    static const struct registry_events events = {got_head, got_data, got_end};
    err_free(TAKE(f->e));
    buf_reset(&f->body);
    OK(registry_get(f->session, str_of(what), NULL, 0, &events, f));
    wait_end(f);
    return f->e ? f->e->code : ERR_NONE;
}

static enum err_code fetch(struct fake *f)
{
    err_free(TAKE(f->e));
    OK(blob_fetch_start(f->loop, f->session, test_tmpdir(), str_of(f->digest), SIZE, got_end, f));
    wait_end(f);
    return f->e ? f->e->code : ERR_NONE;
}

static bool whole(struct fake *f)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    _cleanup_(freep) char *path = xasprintf("%s/%s", test_tmpdir(), f->digest + 7);
    return file_read(path, 1 << 20, &b, NULL) == 0 && str_eq(buf_str(&b), str_make(f->blob, SIZE)) &&
           blob_part_size(test_tmpdir(), str_of(f->digest)) == 0;
}

static void put_part(struct fake *f, size_t n, bool spoil)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s.part", test_tmpdir(), f->digest + 7);
    struct err *e = NULL;
    f->blob[3] ^= spoil;
    FINE(file_replace(path, str_make(f->blob, n), 0600, &e), e);
    f->blob[3] ^= spoil;
}

TEST(a_token_is_asked_for_once_and_anew_when_it_has_run_out)
{
    struct fake f;
    fake_open(&f);
    f.token = "first";
    fake_creds(&f, "p", NULL);
    EQ(get(&f, "manifests/here"), ERR_NONE);
    EQ(get(&f, "manifests/here"), ERR_NONE);
    EQ(f.tokens, 1);
    EQ(f.unauthorized, 1);
    f.token = "second";
    EQ(get(&f, "manifests/here"), ERR_NONE);
    EQ(f.tokens, 2);
    fake_close(&f);
}

TEST(credentials_are_tried_in_turn_and_none_is_said_so)
{
    struct fake f;
    fake_open(&f);
    f.token = "t";
    EQ(get(&f, "manifests/here"), ERR_UNAUTHORIZED);
    OK(str_find(str_of(err_msg(f.e)), STR("may require authorization")) >= 0);
    fake_creds(&f, "wrong", "p");
    EQ(get(&f, "manifests/here"), ERR_NONE);
    f.token = NULL;
    f.basic = true;
    f.creds.n = 0;
    fake_creds(&f, "wrong", "p");
    EQ(get(&f, "manifests/here"), ERR_NONE);
    f.creds.n = 0;
    fake_creds(&f, "wrong", "wronger");
    EQ(get(&f, "manifests/here"), ERR_UNAUTHORIZED);
    OK(str_find(str_of(err_msg(f.e)), STR("credentials are refused")) >= 0);
    OK(str_find(str_of(err_msg(f.e)), STR("wrong")) < 0); /* no password in a message */
    fake_close(&f);
}

TEST(a_redirect_to_another_host_carries_no_authorization)
{
    struct fake f;
    fake_open(&f);
    f.basic = f.redirect = true;
    fake_creds(&f, "p", NULL);
    EQ(fetch(&f), ERR_NONE);
    OK(whole(&f));
    EQ(f.cdn_requests, 1);
    OK(!f.leaked);
    fake_close(&f);
}

TEST(redirects_end)
{
    struct fake f;
    fake_open(&f);
    f.loops = true;
    EQ(get(&f, "manifests/here"), ERR_LIMIT);
    OK(f.requests < 20);
    fake_close(&f);
}

TEST(a_missing_manifest_is_told_in_the_registrys_words)
{
    struct fake f;
    fake_open(&f);
    EQ(get(&f, "manifests/gone"), ERR_NOT_FOUND);
    OK(str_find(str_of(err_msg(f.e)), STR("a/b manifests/gone: not found: MANIFEST_UNKNOWN: unknown")) >= 0);
    fake_close(&f);
}

TEST(a_part_of_an_earlier_process_is_gone_on_with)
{
    struct fake f;
    fake_open(&f);
    put_part(&f, 123456, false);
    EQ(fetch(&f), ERR_NONE);
    EQ_STR(f.range, STR("bytes=123456-"));
    OK(whole(&f));
    fake_close(&f);
}

TEST(a_part_that_is_whole_is_only_counted)
{
    struct fake f;
    fake_open(&f);
    put_part(&f, SIZE, false);
    EQ(fetch(&f), ERR_NONE);
    EQ(f.requests, 0);
    OK(whole(&f));
    fake_close(&f);
}

TEST(a_part_that_a_power_cut_spoilt_is_fetched_anew)
{
    struct fake f;
    fake_open(&f);
    put_part(&f, 123456, true);
    EQ(fetch(&f), ERR_NONE);
    EQ(f.requests, 2);
    EQ(f.range.n, 0);
    OK(whole(&f));
    fake_close(&f);
}

TEST(a_registry_without_ranges_is_read_past_what_is_there)
{
    struct fake f;
    fake_open(&f);
    f.whole_only = true;
    put_part(&f, 123456, false);
    EQ(fetch(&f), ERR_NONE);
    EQ(f.requests, 1);
    OK(whole(&f));
    fake_close(&f);
}

TEST(blobs_of_wrong_contents_length_or_place_are_refused)
{
    struct fake f;
    fake_open(&f);
    f.spoilt = true;
    EQ(fetch(&f), ERR_INVALID);
    OK(str_find(str_of(err_msg(f.e)), STR("its digest is sha256:")) >= 0);
    EQ(blob_part_size(test_tmpdir(), str_of(f.digest)), 0);
    f.spoilt = false;
    f.longer = true;
    EQ(fetch(&f), ERR_INVALID);
    OK(str_find(str_of(err_msg(f.e)), STR("has 299999 bytes, the manifest says 300000")) >= 0);
    f.longer = false;
    f.wrong_range = true;
    put_part(&f, 1000, false);
    EQ(fetch(&f), ERR_BAD_REQUEST);
    OK(!whole(&f));
    f.wrong_range = false;
    EQ(fetch(&f), ERR_NONE);
    OK(whole(&f));
    fake_close(&f);
}

TEST(a_fetch_can_be_cancelled_at_any_turn)
{
    for (int turns = 0; turns < 40; turns++) {
        struct fake f;
        fake_open(&f);
        f.token = "t";
        fake_creds(&f, "p", NULL);
        struct blob_fetch *b = blob_fetch_start(f.loop, f.session, test_tmpdir(), str_of(f.digest), SIZE, got_end, &f);
        for (int i = 0; i < turns && !f.ended; i++)
            loop_step(f.loop, 1);
        if (!f.ended)
            blob_fetch_cancel(b);
        f.ended = false;
        EQ(fetch(&f), ERR_NONE);
        OK(whole(&f));
        blob_remove(test_tmpdir(), str_of(f.digest));
        fake_close(&f);
    }
}

TEST(an_endpoint_that_is_down_gives_way_to_the_next_and_both_are_told)
{
    struct fake f;
    struct err *e = NULL;
    fake_open(&f);
    registry_close(f.session);
    registries_free(f.registries);
    struct str text = pool_printf(f.pool, "mirrors: {\"*\": {endpoint: [\"http://127.0.0.1:1\"]}}");
    FINE(registries_parse(text, &f.registries, &e), e);
    f.session = registry_open(f.loop, NULL, f.registries, &f.image, &f.creds);
    EQ(get(&f, "manifests/here"), ERR_NONE);
    EQ(get(&f, "manifests/gone"), ERR_NOT_FOUND);
    OK(str_find(str_of(err_msg(f.e)), STR("127.0.0.1:1: ")) >= 0);
    OK(str_find(str_of(err_msg(f.e)), STR("not found")) >= 0);
    fake_close(&f);
}
