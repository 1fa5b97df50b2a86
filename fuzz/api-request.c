/* A whole request through the declared path, as a cluster admin: method, path with query, Accept and Content-Type on the first four lines,
 * the body behind them. The store is in memory and made anew now and then. Nothing may crash, hang, or answer outside 200-599; what is not
 * 2xx or a raw document must be a Status. */
#include <stddef.h>
#include <stdint.h>
#include "api/impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *loop;
static struct clock *site;
static struct store *store;
static struct api *api;
static unsigned runs;

static void open_all(void)
{
    static struct schema *schema;
    if (!schema) {
        kinds_attach();
        schema = schema_builtin();
        site = clock_fake(INT64_C(1800000000) * NS_PER_S);
        loop = loop_new(NULL);
    }
    api_free(TAKE(api));
    store_close(TAKE(store));
    struct api_config c = {.schema = schema,
        .clock = site,
        .service_cidr = STR("10.43.0.0/16"),
        .cluster_cidr = STR("10.42.0.0/16"),
        .advertise = STR("192.0.2.1"),
        .port = 6443};
    if (api_store_open(NULL, schema, site, &store, NULL) < 0)
        abort();
    c.store = store;
    if (api_new(&c, &api, NULL) < 0 || api_start(api, loop, NULL) < 0)
        abort();
}

static int answered;
static void sink(struct call *c, int code, struct str body)
{
    answered++;
    if (code < 200 || code > 599)
        abort();
    if (code >= 400) {
        _cleanup_(pool_freep) struct pool *p = pool_new();
        struct json *j;
        bool is_json = c->accept.media == MEDIA_JSON && c->ri.resource;
        if (is_json && (json_parse(p, body, NULL, &j, NULL) < 0 || !str_eqz(json_get_str(j, "kind"), "Status")))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = {(const char *)data, size}, line[4], query = STR_NULL;
    if (size > 64 << 10)
        return 0;
    if (runs++ % 5000 == 0)
        open_all();
    for (size_t i = 0; i < ARRAY_LEN(line); i++) {
        struct str rest;
        if (!str_cut(in, '\n', &line[i], &rest))
            return 0;
        in = rest;
    }
    struct pool *p = pool_new();
    struct http_header h[2] = {{STR("accept"), line[2]}, {STR("content-type"), line[3]}};
    struct http_req rq = {.pool = p, .method = line[0], .path = line[1], .headers = h, .nheaders = 2, .version = 2};
    (void)str_cut(line[1], '?', &rq.path, &query);
    rq.query = query;
    struct call *c = pool_new_of(p, struct call);
    c->api = api;
    c->pool = p;
    c->loop = loop;
    c->rq = &rq;
    c->sink = sink;
    c->user = &api->system;
    c->body = pool_str(p, in);
    answered = 0;
    call_begin(c);
    if (answered != 1)
        abort();
    pool_free(p);
    return 0;
}
