#include "gate/grant.h"

#include <stdlib.h>

#include "base/file.h"

#define LIST_MAX 4096

enum bound { BOUND_USERS, BOUND_VERBS, BOUND_NAMESPACES, BOUNDS };
static const char *const bound_names[BOUNDS] = {"users", "verbs", "namespaces"};

struct grant {
    char *list[BOUNDS]; /* as written; NULL: no bound */
    bool view;
    char *fault; /* nothing is granted, and this is why */
};

static struct grant *faulty(char *why)
{
    struct grant *g = xcalloc(1, sizeof *g);
    g->fault = why;
    return g;
}

struct grant *grant_none(void)
{
    return faulty(xstrdup("the site's grant has not been read yet"));
}

struct grant *grant_all(void)
{
    struct grant *g = xcalloc(1, sizeof *g);
    g->view = true;
    return g;
}

void grant_free(struct grant *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < BOUNDS; i++)
        free(g->list[i]);
    free(g->fault);
    free(g);
}

static int bound_of(struct str key)
{
    for (int i = 0; i < BOUNDS; i++)
        if (str_eqz(key, bound_names[i]))
            return i;
    return -1;
}

struct grant *grant_parse(const struct json *configmap)
{
    struct grant *g = grant_all();
    json_for (json_get(configmap, STR("data")), it) {
        struct str key = json_key(it), value = str_trim(json_as_str(it));
        int bound = bound_of(key);
        bool view = str_eqz(key, "view");
        if ((bound < 0 && !view) || value.n > LIST_MAX || (view && !str_eqz(value, "true") && !str_eqz(value, "false"))) {
            grant_free(g);
            return faulty(xasprintf("the site's grant cannot be read: data.%.*s", STR_ARG(str_sub(key, 0, 100))));
        }
        if (view)
            g->view = str_eqz(value, "true");
        else
            g->list[bound] = str_dup(value);
    }
    return g;
}

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

bool grant_equal(const struct grant *a, const struct grant *b)
{
    for (size_t i = 0; i < BOUNDS; i++)
        if (!same(a->list[i], b->list[i]))
            return false;
    return a->view == b->view && same(a->fault, b->fault);
}

bool grant_view(const struct grant *g)
{
    return g->view && !g->fault;
}

const char *grant_fault(const struct grant *g)
{
    return g->fault;
}

/* ---- a request ---- */

struct asked {
    struct str verb, ns, resource, name;
    bool plain; /* no resource: discovery, /version */
};

static struct str segment(struct str *rest)
{
    struct str head = *rest, tail = STR_NULL;
    if (!str_cut(*rest, '/', &head, &tail))
        tail = STR_NULL;
    *rest = tail;
    return head;
}

static bool watches(const struct http_req *rq)
{
    struct str v = http_query(rq, STR("watch"));
    return str_eqz(v, "true") || str_eqz(v, "1");
}

static struct str verb_of(const struct http_req *rq, const struct asked *a)
{
    if (str_eqz(rq->method, "GET") || str_eqz(rq->method, "HEAD"))
        return a->plain || a->name.n ? STR("get") : watches(rq) ? STR("watch") : STR("list");
    if (str_eqz(rq->method, "POST") || str_eqz(rq->method, "CONNECT"))
        return STR("create");
    if (str_eqz(rq->method, "PUT"))
        return STR("update");
    if (str_eqz(rq->method, "PATCH"))
        return STR("patch");
    if (str_eqz(rq->method, "DELETE"))
        return a->name.n ? STR("delete") : STR("deletecollection");
    return STR("");
}

/* An upgrade (exec, port-forward) is no reading, also when it begins with GET; the same for whatever else a proxy reaches. */
static bool acts(const struct http_req *rq, struct str sub)
{
    static const char *const subs[] = {"exec", "attach", "portforward", "proxy"};
    if (rq->protocol.n && !watches(rq))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(subs); i++)
        if (str_eqz(sub, subs[i]))
            return true;
    return false;
}

static bool ask(const struct http_req *rq, struct asked *a)
{
    struct str path, rest, head, sub = STR_NULL;
    *a = (struct asked){.plain = true};
    if (!http_unescape(rq->pool, rq->path, &path) || str_find(path, STR("//")) >= 0 || str_find(path, STR("/../")) >= 0 || str_find(path, STR("/./")) >= 0)
        return false;
    rest = str_sub(path, 1, path.n);
    head = segment(&rest);
    bool core = str_eqz(head, "api");
    if (core || str_eqz(head, "apis")) {
        if (!core)
            (void)segment(&rest); /* group */
        (void)segment(&rest);     /* version */
        if (rest.n) {
            struct str word = segment(&rest);
            a->plain = false;
            if (str_eqz(word, "watch")) /* the old form */
                word = segment(&rest);
            a->resource = word;
            a->name = segment(&rest);
            if (str_eqz(word, "namespaces") && a->name.n) {
                a->ns = a->name;
                sub = segment(&rest);
                if (sub.n && !str_eqz(sub, "status") && !str_eqz(sub, "finalize")) {
                    a->resource = sub;
                    a->name = segment(&rest);
                    sub = segment(&rest);
                }
            } else {
                sub = segment(&rest);
            }
        }
    }
    a->verb = acts(rq, sub) ? STR("create") : verb_of(rq, a);
    return true;
}

static bool fits(struct str pattern, struct str word)
{
    if (pattern.n && pattern.p[pattern.n - 1] == '*')
        return str_starts(word, str_sub(pattern, 0, pattern.n - 1));
    return str_eq(pattern, word);
}

static bool in_list(const char *list, struct str word)
{
    struct str rest = str_of(list), piece;
    while (str_split(&rest, ',', &piece))
        if (str_trim(piece).n && fits(str_trim(piece), word))
            return true;
    return false;
}

static bool for_somebody_granted(const struct grant *g, const struct http_req *rq)
{
    for (size_t i = 0; i < rq->nheaders; i++)
        if ((str_eqz(rq->headers[i].name, "impersonate-user") || str_eqz(rq->headers[i].name, "impersonate-group")) && in_list(g->list[BOUND_USERS], rq->headers[i].value))
            return true;
    return false;
}

static bool reads(const struct asked *a)
{
    return str_eqz(a->verb, "get") || str_eqz(a->verb, "list") || str_eqz(a->verb, "watch");
}

/* Reviews ask about the asker alone and change nothing. */
static bool self_review(const struct asked *a)
{
    return str_starts(a->resource, STR("selfsubject"));
}

bool grant_permits(const struct grant *g, const struct http_req *rq, struct str *why)
{
    struct asked a;
    if (g->fault) {
        *why = pool_str(rq->pool, str_of(g->fault));
        return false;
    }
    if (!ask(rq, &a)) {
        *why = STR("the request's path is not a plain one");
        return false;
    }
    if (str_eqz(a.ns, GRANT_NAMESPACE) && !reads(&a)) {
        *why = STR("the namespace " GRANT_NAMESPACE " is the site's own");
        return false;
    }
    if (g->list[BOUND_USERS] && !for_somebody_granted(g, rq)) {
        *why = STR("the site's grant does not name this user or any of its groups");
        return false;
    }
    if (self_review(&a))
        return true;
    if (g->list[BOUND_VERBS] && !in_list(g->list[BOUND_VERBS], a.verb)) {
        *why = pool_printf(rq->pool, "the site's grant does not have the verb \"%.*s\"", STR_ARG(a.verb));
        return false;
    }
    if (!g->list[BOUND_NAMESPACES] || a.plain)
        return true;
    if (a.ns.n ? in_list(g->list[BOUND_NAMESPACES], a.ns) : in_list(g->list[BOUND_NAMESPACES], STR("*")))
        return true;
    *why = a.ns.n ? pool_printf(rq->pool, "the site's grant does not have the namespace \"%.*s\"", STR_ARG(a.ns)) : STR("the site's grant has namespaces only, nothing cluster-wide");
    return false;
}
