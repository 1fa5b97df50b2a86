#include "cli/client.h"

#include "json/json.h"

#define BODY_LIMIT (64u << 20)

const struct flag client_flags[] = {
    {"run-dir", 0, FLAG_STR, offsetof(struct client_options, run_dir), NULL, "/run/sampan", "Folder of the server's socket"},
    {"namespace", 'n', FLAG_STR, offsetof(struct client_options, ns), NULL, "default", "Namespace"},
    {"all-namespaces", 'A', FLAG_BOOL, offsetof(struct client_options, all), "SAMPAN_ALL_NAMESPACES", NULL, "All namespaces"},
    {"output", 'o', FLAG_STR, offsetof(struct client_options, output), NULL, NULL, "wide, json or yaml"},
    {"selector", 'l', FLAG_STR, offsetof(struct client_options, selector), NULL, NULL, "Label selector"},
    {"filename", 'f', FLAG_STR, offsetof(struct client_options, file), NULL, NULL, "Manifest, - for standard input"},
    {"raw", 0, FLAG_STR, offsetof(struct client_options, raw), NULL, NULL, "Path to get as it is"},
    FLAG_END,
};

struct one_call {
    struct client *c;
    struct client_reply *out;
    struct err **e;
    int result;
};

char *client_run_dir(const char *data_dir, const char *run_dir)
{
    if (run_dir)
        return xstrdup(run_dir);
    return strcmp(data_dir, "/var/lib/sampan") == 0 ? xstrdup("/run/sampan") : xasprintf("%s/run", data_dir);
}

int client_open(struct client *c, const char *run_dir, struct err **e)
{
    _cleanup_(freep) char *path = xasprintf("%s/api.sock", run_dir);
    struct endpoint ep = {.unix_path = path, .timeout_ms = 3000};
    *c = (struct client){.loop = loop_new(e)};
    if (!c->loop)
        return -ERR_IO;
    c->http = http_client_new(c->loop, &ep, NULL);
    return 0;
}

void client_close(struct client *c)
{
    http_client_free(c->http);
    loop_free(c->loop);
    *c = (struct client){0};
}

static void on_head(void *arg, const struct http_response *r)
{
    ((struct one_call *)arg)->out->status = r->status;
}

static void on_data(void *arg, const char *p, size_t n)
{
    buf_add(&((struct one_call *)arg)->out->body, p, n);
}

static void on_end(void *arg, const struct err *why)
{
    struct one_call *k = arg;
    if (why)
        k->result = err_set(k->e, why->code, "the server of this machine does not answer: %s", err_msg(why));
    loop_stop(k->c->loop, 0);
}

int client_call(struct client *c, const char *method, struct str path, const char *content_type, struct str body, const char *accept, struct client_reply *out, struct err **e)
{
    static const struct http_call_events events = {on_head, on_data, NULL, on_end};
    struct http_header h[2];
    size_t n = 0;
    struct one_call k = {c, out, e, 0};
    *out = (struct client_reply){.body = {.limit = BODY_LIMIT}};
    h[n++] = (struct http_header){STR("accept"), str_of(accept)};
    if (content_type)
        h[n++] = (struct http_header){STR("content-type"), str_of(content_type)};
    struct http_request r = {.method = str_of(method), .path = path, .headers = h, .nheaders = n, .body = body};
    http_call(c->http, &r, &events, &k);
    loop_run(c->loop);
    return k.result;
}

void client_reply_clear(struct client_reply *r)
{
    buf_clear(&r->body);
}

int client_status_error(const struct client_reply *r, struct err **e)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *doc = NULL;
    if (json_parse(p, buf_str(&r->body), NULL, &doc, NULL) == 0 && str_eqz(json_get_str(doc, "kind"), "Status"))
        return err_set(e, ERR_BAD_REQUEST, "Error from server (%.*s): %.*s", STR_ARG(json_get_str(doc, "reason")), STR_ARG(json_get_str(doc, "message")));
    return err_set(e, ERR_BAD_REQUEST, "Error from server: status %d", r->status);
}

static bool names(const struct schema_resource *r, struct str word)
{
    if (str_eq(word, r->resource) || str_eq(word, r->singular) || str_eq_nocase(word, r->kind))
        return true;
    for (size_t i = 0; i < r->nshort; i++)
        if (str_eq(word, r->short_names[i]))
            return true;
    return false;
}

const struct schema_resource *client_resource(const struct schema *s, struct str word)
{
    struct str group = STR_NULL, name = word;
    bool grouped = str_cut(word, '.', &name, &group);
    for (size_t i = 0;; i++) {
        const struct schema_resource *r = schema_at(s, i);
        if (!r)
            return NULL;
        if (names(r, name) && (!grouped || str_eq(group, r->group)))
            return r;
    }
}

struct str client_path(struct pool *p, const struct schema_resource *r, struct str ns, struct str name)
{
    struct str base = str_empty(r->group) ? pool_printf(p, "/api/%.*s", STR_ARG(r->version)) : pool_printf(p, "/apis/%.*s/%.*s", STR_ARG(r->group), STR_ARG(r->version));
    if (r->namespaced && !str_empty(ns))
        base = pool_printf(p, "%.*s/namespaces/%.*s", STR_ARG(base), STR_ARG(ns));
    base = pool_printf(p, "%.*s/%.*s", STR_ARG(base), STR_ARG(r->resource));
    return str_empty(name) ? base : pool_printf(p, "%.*s/%.*s", STR_ARG(base), STR_ARG(name));
}
