#include "fixture.h"
#include <arpa/inet.h>

struct fixture *fixture_new(void)
{
    static bool attached;
    struct fixture *f = xcalloc(1, sizeof *f);
    struct err *e = NULL;
    if (!attached)
        kinds_attach();
    attached = true;
    f->pool = pool_new();
    f->loop = loop_new(&e);
    f->clock = clock_new(NULL);
    f->schema = schema_builtin();
    FINE(api_store_open(NULL, f->schema, f->clock, &f->store, &e), e);
    struct str tls = pool_printf(f->pool, "%s/tls", test_tmpdir()), sock = pool_printf(f->pool, "unix:%s/s", test_tmpdir());
    struct api_config c = {.store = f->store,
        .schema = f->schema,
        .clock = f->clock,
        .tls_dir = tls.p,
        .service_cidr = STR("10.43.0.0/16"),
        .cluster_cidr = STR("10.42.0.0/16"),
        .advertise = STR("192.0.2.1"),
        .port = 6443,
        .static_token_server = STR("server-secret"),
        .static_token_agent = STR("agent-secret")};
    FINE(api_new(&c, &f->api, &e), e);
    FINE(api_start(f->api, f->loop, &e), e);
    f->server = http_server_new(f->loop, NULL, api_handle, f->api);
    int fd = http_bind(sock.p, 16, &e);
    FINE(fd, e);
    FINE(http_listen(f->server, fd, NULL, &e), e);
    struct sockaddr_in in = {0};
    socklen_t len = sizeof in;
    fd = http_bind("127.0.0.1:0", 16, &e);
    FINE(fd, e);
    OK(getsockname(fd, (struct sockaddr *)(void *)&in, &len) == 0);
    f->port = ntohs(in.sin_port);
    FINE(http_listen(f->server, fd, api_server_tls(f->api), &e), e);
    struct endpoint ep = {.unix_path = sock.p + 5};
    f->client = http_client_new(f->loop, &ep, NULL);
    return f;
}

void fixture_free(struct fixture *f)
{
    http_client_free(f->client);
    http_server_free(f->server);
    for (int i = 0; i < 10; i++)
        loop_step(f->loop, 0);
    api_free(f->api);
    store_close(f->store);
    schema_unref(f->schema);
    loop_free(f->loop);
    clock_free(f->clock);
    pool_free(f->pool);
    free(f);
}

struct asking {
    struct fixture *f;
    struct answer a;
    struct buf body;
    bool done;
};

static void on_head(void *arg, const struct http_response *r)
{
    struct asking *k = arg;
    k->a.status = r->status;
    for (size_t i = 0; i < r->nheaders && k->a.nheaders < ARRAY_LEN(k->a.headers); i++)
        k->a.headers[k->a.nheaders++] =
            (struct http_header){pool_str(k->f->pool, r->headers[i].name), pool_str(k->f->pool, r->headers[i].value)};
}

static void on_data(void *arg, const char *p, size_t n)
{
    struct asking *k = arg;
    buf_add(&k->body, p, n);
}

static void on_end(void *arg, const struct err *e)
{
    struct asking *k = arg;
    k->done = true;
    if (e && !k->a.status)
        k->a.status = -1;
}

static size_t headers_of(struct fixture *f, const char *body, struct http_header *h)
{
    size_t n = 0;
    h[n++] = (struct http_header){STR("user-agent"), STR("test/1")};
    if (body)
        h[n++] = (struct http_header){STR("content-type"), str_of(f->content_type ? f->content_type : "application/json")};
    if (f->accept)
        h[n++] = (struct http_header){STR("accept"), str_of(f->accept)};
    if (f->user) {
        h[n++] = (struct http_header){STR("impersonate-user"), str_of(f->user)};
        if (strncmp(f->user, "system:node:", 12) == 0)
            h[n++] = (struct http_header){STR("impersonate-group"), STR("system:nodes")};
    }
    return n;
}

struct answer ask(struct fixture *f, const char *method, const char *path, const char *body)
{
    static const struct http_call_events ev = {on_head, on_data, NULL, on_end};
    struct http_header h[8];
    struct asking k = {.f = f};
    struct http_request r = {.method = str_of(method),
        .path = str_of(path),
        .headers = h,
        .nheaders = headers_of(f, body, h),
        .body = body ? str_of(body) : STR_NULL};
    http_call(f->client, &r, &ev, &k);
    for (int64_t end = clock_mono(f->clock) + 10 * NS_PER_S; !k.done && clock_mono(f->clock) < end;)
        loop_step(f->loop, 50);
    if (!k.done)
        test_fail(__FILE__, __LINE__, "%s %s: no answer", method, path);
    k.a.body = buf_to_pool(&k.body, f->pool);
    struct json_limits limits = {.bytes = SIZE_MAX, .nodes = SIZE_MAX};
    if (json_parse(f->pool, k.a.body, &limits, &k.a.json, NULL) < 0)
        k.a.json = NULL;
    return k.a;
}

struct str answer_header(const struct answer *a, const char *name)
{
    for (size_t i = 0; i < a->nheaders; i++)
        if (str_eqz(a->headers[i].name, name))
            return a->headers[i].value;
    return STR_NULL;
}

struct json *want(struct fixture *f, int status, const char *method, const char *path, const char *body)
{
    struct answer a = ask(f, method, path, body);
    if (a.status != status)
        test_fail(__FILE__, __LINE__, "%s %s gave %d, not %d: %.*s", method, path, a.status, status, STR_ARG(str_sub(a.body, 0, 600)));
    return a.json;
}

struct str at(const struct json *j, const char *dotted)
{
    static char number[8][32];
    static unsigned turn;
    struct str rest = str_of(dotted), part;
    while (j && str_split(&rest, '.', &part)) {
        uint64_t i;
        j = j->type == JSON_ARR && str_to_u64(part, &i) ? json_at(j, i) : json_get(j, part);
    }
    if (json_is(j, JSON_STR))
        return json_as_str(j);
    if (json_is(j, JSON_BOOL))
        return j->b ? STR("true") : STR("false");
    if (!json_is(j, JSON_INT))
        return STR("");
    char *out = number[turn++ % 8];
    snprintf(out, 32, "%" PRId64, j->i);
    return str_of(out);
}

/* ---- lines ---- */

struct lines {
    struct asking k;
    size_t read;
    struct http_call *call;
};

static void lines_end(void *arg, const struct err *e)
{
    struct lines *l = arg;
    on_end(&l->k, e);
    l->call = NULL;
}
static void lines_head(void *arg, const struct http_response *r)
{
    on_head(&((struct lines *)arg)->k, r);
}
static void lines_data(void *arg, const char *p, size_t n)
{
    on_data(&((struct lines *)arg)->k, p, n);
}

struct lines *lines_open(struct fixture *f, const char *path)
{
    static const struct http_call_events ev = {lines_head, lines_data, NULL, lines_end};
    struct http_header h[8];
    struct lines *l = xcalloc(1, sizeof *l);
    l->k.f = f;
    struct http_request r = {
        .method = STR("GET"), .path = str_of(path), .headers = h, .nheaders = headers_of(f, NULL, h), .timeout_ms = -1};
    l->call = http_call(f->client, &r, &ev, l);
    return l;
}

struct json *lines_next(struct fixture *f, struct lines *l, int ms)
{
    int64_t end = clock_mono(f->clock) + ms * NS_PER_MS;
    for (;;) {
        const char *from = l->k.body.p ? l->k.body.p + l->read : NULL, *nl = from ? memchr(from, '\n', l->k.body.n - l->read) : NULL;
        if (nl) {
            struct json *j = NULL;
            struct str line = pool_str(f->pool, str_make(from, (size_t)(nl - from)));
            l->read += line.n + 1;
            if (json_parse(f->pool, line, NULL, &j, NULL) < 0)
                test_fail(__FILE__, __LINE__, "a line is no JSON: %.*s", STR_ARG(line));
            return j;
        }
        if (l->k.done || clock_mono(f->clock) >= end)
            return NULL;
        loop_step(f->loop, 20);
    }
}

bool lines_ended(const struct lines *l)
{
    return l->k.done;
}

void lines_close(struct lines *l)
{
    if (l->call)
        http_call_cancel(l->call);
    buf_clear(&l->k.body);
    free(l);
}
