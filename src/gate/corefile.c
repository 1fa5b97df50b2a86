#include "gate/corefile.h"

#define LIST_MAX 16384 /* hosts; fewer of everything else */
#define WORDS_MAX 64   /* in a line */

struct reader {
    struct pool *pool;
    struct str rest;
    struct corefile *out;
    size_t line;
    struct str words[WORDS_MAX]; /* of the line in hand */
    size_t n;
    struct err **e;
};

static int broken(struct reader *r, const char *what)
{
    return err_set(r->e, ERR_PARSE, "line %zu: %s", r->line, what);
}

static bool word(struct str *line, struct str *out)
{
    *line = str_trim(*line);
    if (!line->n || line->p[0] == '#')
        return false;
    if (line->p[0] == '"') {
        ssize_t end = str_chr(str_sub(*line, 1, line->n), '"');
        if (end >= 0) {
            *out = str_sub(*line, 1, (size_t)end + 1);
            *line = str_sub(*line, (size_t)end + 2, line->n);
            return true;
        }
    }
    size_t k = 0;
    while (k < line->n && line->p[k] != ' ' && line->p[k] != '\t' && line->p[k] != '\r')
        k++;
    *out = str_sub(*line, 0, k);
    *line = str_sub(*line, k, line->n);
    return true;
}

/* The next line that says something. 1: there is one, 0: the end. */
static int next(struct reader *r)
{
    struct str line, w;

    while (str_split(&r->rest, '\n', &line)) {
        r->line++;
        r->n = 0;
        while (word(&line, &w)) {
            if (r->n == WORDS_MAX)
                return broken(r, "too many words");
            r->words[r->n++] = w;
        }
        if (r->n)
            return 1;
    }
    return 0;
}

static bool opens(const struct reader *r)
{
    return r->n && str_eqz(r->words[r->n - 1], "{");
}
static bool closes(const struct reader *r)
{
    return r->n == 1 && str_eqz(r->words[0], "}");
}

static void *grow(struct reader *r, void *v, size_t n, size_t size)
{
    return n % 16 ? v : pool_grow(r->pool, v, n * size, (n + 16) * size);
}

/* Behind the opening brace: to its end, whatever stands there. */
static int skip_block(struct reader *r)
{
    size_t depth = 1;
    int k;

    while ((k = next(r)) > 0) {
        if (opens(r))
            depth++;
        else if (closes(r) && --depth == 0)
            return 0;
    }
    return k < 0 ? k : broken(r, "a block is not closed");
}

static int hosts_block(struct reader *r)
{
    struct corefile *o = r->out;
    int k;

    while ((k = next(r)) > 0) {
        if (closes(r))
            return 0;
        if (opens(r))
            return broken(r, "a block inside hosts");
        bool address = str_chr(r->words[0], ':') >= 0 || (r->words[0].p[0] >= '0' && r->words[0].p[0] <= '9');
        for (size_t i = 1; address && i < r->n; i++) {
            if (o->nhosts == LIST_MAX)
                return broken(r, "too many hosts");
            struct str *ip = pool_array(r->pool, struct str, 1);
            *ip = r->words[0];
            o->hosts = grow(r, o->hosts, o->nhosts, sizeof *o->hosts);
            o->hosts[o->nhosts++] = (struct dns_host){r->words[i], ip, 1};
        }
    }
    return k < 0 ? k : broken(r, "hosts is not closed");
}

/* forward FROM TO...: addresses of plain DNS. */
static struct str *forward_to(struct reader *r, size_t *n)
{
    struct str *to = pool_array(r->pool, struct str, r->n + 1);

    *n = 0;
    for (size_t i = 2; i < r->n; i++) {
        struct str w = r->words[i];
        if (str_eqz(w, "{"))
            continue;
        if (str_starts(w, STR("dns://")))
            w = str_sub(w, 6, w.n);
        if (str_find(w, STR("://")) >= 0 || w.p[0] == '/') {
            if (!r->out->unknown.n && w.p[0] != '/')
                r->out->unknown = w;
            continue;
        }
        to[(*n)++] = w;
    }
    return to;
}

static int add_stub(struct reader *r, struct str zone, struct str *to, size_t n)
{
    struct corefile *o = r->out;
    struct str port;

    if (str_starts(zone, STR("dns://")))
        zone = str_sub(zone, 6, zone.n);
    str_cut(zone, ':', &zone, &port);
    if (!zone.n || str_eqz(zone, ".")) {
        o->upstreams = to;
        o->nupstreams = n;
        return 0;
    }
    if (o->nstubs == 64)
        return broken(r, "too many domains");
    o->stubs = grow(r, o->stubs, o->nstubs, sizeof *o->stubs);
    o->stubs[o->nstubs++] = (struct dns_stub){zone, to, n};
    return 0;
}

static bool harmless(struct str w)
{
    static const char *const words[] = {"errors", "log", "cache", "loop", "reload", "ready", "health", "prometheus", "loadbalance", "bind",
        "ttl", "fallthrough", "import", "debug", "lameduck", "bufsize", "whoami", "minimal", "metadata", "trace", "pprof", "cancel",
        "local", "any"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_eqz(w, words[i]))
            return true;
    return false;
}

/* One directive, in hand. zones: of the server block. */
static int directive(struct reader *r, const struct str *zones, size_t nzones)
{
    bool block = opens(r);
    struct str name = r->words[0];
    int k = 0;

    if (str_eqz(name, "hosts"))
        return block ? hosts_block(r) : 0;
    if (str_eqz(name, "forward") && r->n >= 3) {
        size_t n;
        struct str *to = forward_to(r, &n), from = r->words[1];
        if (!str_eqz(from, "."))
            k = n ? add_stub(r, from, to, n) : 0;
        else
            for (size_t i = 0; i < nzones && k == 0 && n; i++)
                k = add_stub(r, zones[i], to, n);
    } else if (!harmless(name) && !r->out->unknown.n) {
        r->out->unknown = name;
    }
    return k < 0 || !block ? k : skip_block(r);
}

static int server(struct reader *r)
{
    size_t nzones = r->n - 1;
    struct str *zones = pool_array(r->pool, struct str, nzones + 1);
    int k;

    if (!opens(r))
        return broken(r, "a server block begins with its domains and {");
    memcpy(zones, r->words, nzones * sizeof *zones);
    while ((k = next(r)) > 0) {
        if (closes(r))
            return 0;
        k = directive(r, zones, nzones);
        if (k < 0)
            return k;
    }
    return k < 0 ? k : broken(r, "a server block is not closed");
}

int corefile_parse(struct pool *p, struct str text, bool override, struct corefile *out, struct err **e)
{
    struct reader r = {.pool = p, .rest = text, .out = out, .e = e};
    struct str main_zone = STR(".");
    int k;

    while ((k = next(&r)) > 0) {
        k = override ? directive(&r, &main_zone, 1) : server(&r);
        if (k < 0)
            break;
    }
    return k;
}
