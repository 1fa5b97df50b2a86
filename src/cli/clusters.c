/* sampan clusters | search | kubeconfig: the hub's view of its clusters, and a kubeconfig for them. On the hub's machine over its local socket, as root. */
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/commands.h"

#define HUB_RUN "/var/lib/sampan-hub/run"

struct view_options { char *run_dir, *output, *cluster, *kind, *write; };
#define AT(member) offsetof(struct view_options, member)

static const struct flag clusters_flags[] = {
    {"run-dir", 0, FLAG_STR, AT(run_dir), NULL, HUB_RUN, "Folder of the hub's socket"},
    {"output", 'o', FLAG_STR, AT(output), NULL, NULL, "json, or a table"},
    FLAG_END,
};
static const struct flag search_flags[] = {
    {"run-dir", 0, FLAG_STR, AT(run_dir), NULL, HUB_RUN, "Folder of the hub's socket"},
    {"output", 'o', FLAG_STR, AT(output), NULL, NULL, "json, or a table"},
    {"kind", 'k', FLAG_STR, AT(kind), NULL, "pods", "nodes, namespaces, pods, deployments, statefulsets, daemonsets, jobs or warnings"},
    {"cluster", 'c', FLAG_STR, AT(cluster), NULL, NULL, "One cluster only"},
    FLAG_END,
};
static const struct flag kubeconfig_flags[] = {
    {"run-dir", 0, FLAG_STR, AT(run_dir), NULL, HUB_RUN, "Folder of the hub's socket"},
    {"cluster", 'c', FLAG_STR, AT(cluster), NULL, NULL, "One cluster only (default: the hub and all its clusters)"},
    {"write", 'w', FLAG_STR, AT(write), NULL, NULL, "File to write, mode 600 (default: standard output)"},
    FLAG_END,
};

static int get(const struct view_options *o, struct str path, struct client_reply *reply, struct err **e)
{
    struct client c = {0};
    int r = client_open(&c, o->run_dir, e);
    if (r == 0)
        r = client_call(&c, "GET", path, NULL, STR_NULL, "application/json", reply, e);
    if (r == 0 && reply->status >= 300)
        r = client_status_error(reply, e);
    client_close(&c);
    return r;
}

static int parse(struct pool *p, const struct client_reply *reply, struct json **doc, struct err **e)
{
    static const struct json_limits limits = {.bytes = 64u << 20, .nodes = 10000000};
    return json_parse(p, buf_str(&reply->body), &limits, doc, e) < 0 ? err_wrap(e, "reply") : 0;
}

/* ---- tables: cells of n columns, row by row, the first one the headers ---- */

static void print_table(struct pool *p, const struct str *cells, size_t n, size_t ncells)
{
    size_t *width = pool_array(p, size_t, n);
    for (size_t i = 0; i < ncells; i++)
        width[i % n] = MAX(width[i % n], MAX(cells[i].n, (size_t)1));
    for (size_t i = 0; i < ncells; i++) {
        bool last = i % n == n - 1;
        struct str s = cells[i].n ? cells[i] : STR("-");
        printf("%-*.*s%s", last ? 0 : (int)width[i % n], STR_ARG(s), last ? "\n" : "   ");
    }
}

static struct str upper(struct pool *p, struct str s)
{
    char *z = pool_strz(p, s);
    for (char *c = z; *c; c++)
        if (*c >= 'a' && *c <= 'z')
            *c = (char)(*c - 32);
    return str_of(z);
}

static const struct json *condition(const struct json *doc, const char *type)
{
    json_for (json_path(doc, "status", "conditions", NULL), c)
        if (str_eqz(json_get_str(c, "type"), type))
            return c;
    return NULL;
}

static struct str share(struct pool *p, const struct json *doc, const char *key)
{
    struct str used = json_str_at(doc, "status", "requested", key, NULL), all = json_str_at(doc, "status", "allocatable", key, NULL);
    return all.n ? pool_printf(p, "%.*s/%.*s", STR_ARG(used.n ? used : STR("0")), STR_ARG(all)) : STR_NULL;
}

static int show_clusters(const struct view_options *o, struct err **e)
{
    static const char *const headers[] = {"NAME", "DISPLAY", "STATUS", "VERSION", "NODES", "CPU", "MEMORY", "PODS", "LAST SEEN", "WHY"};
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct client_reply reply = {0};
    struct json *doc;
    int r = get(o, STR("/apis/management.cattle.io/v3/clusters"), &reply, e);
    if (r == 0 && o->output && strcmp(o->output, "json") == 0)
        printf("%.*s\n", STR_ARG(buf_str(&reply.body)));
    else if (r == 0 && (r = parse(p, &reply, &doc, e)) == 0) {
        const struct json *items = json_get(doc, STR("items"));
        struct str *cells = pool_array(p, struct str, (json_count(items) + 1) * ARRAY_LEN(headers));
        size_t n = 0;
        for (size_t i = 0; i < ARRAY_LEN(headers); i++)
            cells[n++] = str_of(headers[i]);
        json_for (items, c) {
            const struct json *on = condition(c, "Connected");
            bool up = str_eqz(json_get_str(on, "status"), "True");
            cells[n++] = json_str_at(c, "metadata", "name", NULL);
            cells[n++] = json_str_at(c, "spec", "displayName", NULL);
            cells[n++] = !on ? STR("Pending") : up ? STR("Connected") : STR("Disconnected");
            cells[n++] = json_str_at(c, "status", "version", "gitVersion", NULL);
            cells[n++] = pool_printf(p, "%" PRId64, json_get_int(json_get(c, STR("status")), "nodeCount", 0));
            cells[n++] = share(p, c, "cpu");
            cells[n++] = share(p, c, "memory");
            cells[n++] = share(p, c, "pods");
            cells[n++] = up ? STR("now") : json_str_at(c, "status", "lastSeen", NULL);
            cells[n++] = up ? STR_NULL : json_get_str(on, "message");
        }
        print_table(p, cells, ARRAY_LEN(headers), n);
    }
    client_reply_clear(&reply);
    return r;
}

static void escape(struct buf *b, const char *s)
{
    for (; *s; s++)
        if ((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') || *s == '-' || *s == '.')
            buf_putc(b, *s);
        else
            buf_printf(b, "%%%02X", (unsigned)(unsigned char)*s);
}

static int search(const struct view_options *o, const char *word, struct err **e)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(buf_clear) struct buf path = BUF_INIT;
    struct client_reply reply = {0};
    struct json *doc;
    buf_puts(&path, "/v1/sampan/view/");
    escape(&path, o->kind);
    buf_puts(&path, "?limit=5000");
    if (word) {
        buf_puts(&path, "&q=");
        escape(&path, word);
    }
    if (o->cluster) {
        buf_puts(&path, "&cluster=");
        escape(&path, o->cluster);
    }
    int r = get(o, buf_str(&path), &reply, e);
    if (r == 0 && o->output && strcmp(o->output, "json") == 0)
        printf("%.*s\n", STR_ARG(buf_str(&reply.body)));
    else if (r == 0 && (r = parse(p, &reply, &doc, e)) == 0) {
        const struct json *columns = json_get(doc, STR("columns")), *rows = json_get(doc, STR("rows"));
        struct str *cells = pool_array(p, struct str, (json_count(rows) + 1) * (json_count(columns) + 1));
        size_t n = 0, width = json_count(columns);
        json_for (columns, c)
            cells[n++] = upper(p, json_as_str(c));
        json_for (rows, row)
            for (size_t i = 0; i < width; i++)
                cells[n++] = json_as_str(json_at(row, i));
        print_table(p, cells, width, n);
        if (json_get_int(doc, "total", 0) > (int64_t)json_count(rows))
            fprintf(stderr, "%" PRId64 " more\n", json_get_int(doc, "total", 0) - (int64_t)json_count(rows));
    }
    client_reply_clear(&reply);
    return r;
}

static int kubeconfig(const struct view_options *o, struct err **e)
{
    _cleanup_(buf_clear) struct buf path = BUF_INIT;
    struct client_reply reply = {0};
    buf_puts(&path, "/v1/sampan/kubeconfig");
    if (o->cluster) {
        buf_puts(&path, "?cluster=");
        escape(&path, o->cluster);
    }
    int r = get(o, buf_str(&path), &reply, e);
    if (r == 0 && o->write)
        r = file_replace(o->write, buf_str(&reply.body), 0600, e);
    else if (r == 0)
        printf("%.*s", STR_ARG(buf_str(&reply.body)));
    client_reply_clear(&reply);
    return r;
}

/* ---- commands ---- */

static int with_options(int argc, char **argv, const struct flag *flags, size_t words, int (*fn)(const struct view_options *o, const char *word, struct err **e))
{
    const struct flag *const tables[] = {flags, NULL};
    struct view_options o = {0};
    struct strs rest = {0};
    struct err *e = NULL;
    int r = flags_parse(tables, argc, argv, &o, -1, NULL, &rest, &e);
    if (r == 0 && rest.n > words)
        r = err_set(&e, ERR_USAGE, "too many words: \"%s\"", rest.v[words]);
    if (r == 0)
        r = fn(&o, rest.n ? rest.v[0] : NULL, &e);
    for (size_t i = 0; i < rest.n; i++)
        free(rest.v[i]);
    free(rest.v);
    flags_clear(tables, &o);
    return r < 0 ? cli_fail(e) : 0;
}

static int do_clusters(const struct view_options *o, const char *word, struct err **e)
{
    return show_clusters(o, e);
}

static int do_kubeconfig(const struct view_options *o, const char *word, struct err **e)
{
    return kubeconfig(o, e);
}

int cmd_clusters(int argc, char **argv)
{
    return with_options(argc, argv, clusters_flags, 0, do_clusters);
}

int cmd_search(int argc, char **argv)
{
    return with_options(argc, argv, search_flags, 1, search);
}

int cmd_kubeconfig(int argc, char **argv)
{
    return with_options(argc, argv, kubeconfig_flags, 0, do_kubeconfig);
}
