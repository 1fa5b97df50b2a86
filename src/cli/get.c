/* sampan get RESOURCE [NAME] [-n NS | -A] [-o wide|json|yaml] [-l SELECTOR], sampan get --raw PATH: tables as kubectl prints them, made by the server. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "yaml/yaml.h"

#define TABLE "application/json;as=Table;v=v1;g=meta.k8s.io"
#define COLUMNS_MAX 40

struct table { struct json *doc; bool wide, with_ns; };

static struct str cell_text(struct pool *p, const struct json *cell)
{
    if (!cell || cell->type == JSON_NULL)
        return STR("<none>");
    if (cell->type == JSON_STR)
        return json_as_str(cell);
    return json_to_pool(p, cell);
}

/* The columns that are shown: (index in the row, header). */
static size_t pick_columns(const struct table *t, size_t *at)
{
    size_t n = 0, i = 0;
    json_for(json_get(t->doc, STR("columnDefinitions")), c) {
        if ((t->wide || json_get_int(c, "priority", 0) == 0) && n < COLUMNS_MAX)
            at[n++] = i;
        i++;
    }
    return n;
}

static struct str header_text(struct pool *p, const struct json *column)
{
    struct str name = json_get_str(column, "name");
    char *upper = pool_strz(p, name);
    for (char *c = upper; *c; c++)
        if (*c >= 'a' && *c <= 'z')
            *c = (char)(*c - 32);
    return str_make(upper, name.n);
}

static void print_table(struct pool *p, const struct table *t)
{
    size_t at[COLUMNS_MAX], width[COLUMNS_MAX + 1] = {0}, n = pick_columns(t, at);
    const struct json *rows = json_get(t->doc, STR("rows")), *columns = json_get(t->doc, STR("columnDefinitions"));
    size_t nrows = json_count(rows), ncells = n + (t->with_ns ? 1 : 0), r = 1;
    struct str *cells = pool_array(p, struct str, (nrows + 1) * ncells);
    for (size_t i = 0; i < n; i++)
        cells[i + ncells - n] = header_text(p, json_at(columns, at[i]));
    if (t->with_ns)
        cells[0] = STR("NAMESPACE");
    json_for(rows, row) {
        struct str *line = cells + r++ * ncells;
        if (t->with_ns)
            line[0] = json_str_at(row, "object", "metadata", "namespace", NULL);
        for (size_t i = 0; i < n; i++)
            line[i + ncells - n] = cell_text(p, json_at(json_get(row, STR("cells")), at[i]));
    }
    for (size_t i = 0; i < (nrows + 1) * ncells; i++)
        width[i % ncells] = MAX(width[i % ncells], cells[i].n);
    for (size_t i = 0; i < (nrows + 1) * ncells; i++) {
        bool last = i % ncells == ncells - 1;
        printf("%-*.*s%s", last ? 0 : (int)width[i % ncells], STR_ARG(cells[i]), last ? "\n" : "   ");
    }
}

static int print_reply(struct pool *p, const struct client_options *o, const struct client_reply *reply, bool one, struct err **e)
{
    struct json *doc;
    if (json_parse(p, buf_str(&reply->body), &(struct json_limits){.bytes = 64u << 20, .nodes = 10000000}, &doc, e) < 0)
        return err_wrap(e, "reply");
    if (o->output && strcmp(o->output, "yaml") == 0) {
        _cleanup_(buf_clear) struct buf out = BUF_INIT;
        yaml_write(&out, doc);
        printf("%.*s", STR_ARG(buf_str(&out)));
    } else if (o->output && strcmp(o->output, "json") == 0) {
        _cleanup_(buf_clear) struct buf out = BUF_INIT;
        json_write_pretty(&out, doc, 4);
        printf("%.*s\n", STR_ARG(buf_str(&out)));
    } else if (!one && json_count(json_get(doc, STR("rows"))) == 0) {
        fprintf(stderr, "No resources found\n");
    } else {
        struct table t = {doc, o->output && strcmp(o->output, "wide") == 0, o->all};
        print_table(p, &t);
    }
    return 0;
}

static int get(const struct client_options *o, const struct strs *rest, struct err **e)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(schema_unrefp) struct schema *s = schema_builtin();
    struct client c = {0};
    struct client_reply reply = {0};
    struct str path;
    const char *accept = "*/*";
    bool document = o->output && (strcmp(o->output, "json") == 0 || strcmp(o->output, "yaml") == 0);
    if (o->output && !document && strcmp(o->output, "wide") != 0)
        return err_set(e, ERR_USAGE, "invalid value \"%s\" for --output: must be wide, json or yaml", o->output);
    if (o->raw) {
        path = str_of(o->raw);
    } else {
        if (rest->n < 1 || rest->n > 2)
            return err_set(e, ERR_USAGE, "usage: sampan get RESOURCE [NAME] [flags]");
        const struct schema_resource *r = client_resource(s, str_of(rest->v[0]));
        if (!r)
            return err_set(e, ERR_USAGE, "the server doesn't have a resource type \"%s\"", rest->v[0]);
        path = client_path(p, r, o->all ? STR_NULL : str_of(o->ns), rest->n == 2 ? str_of(rest->v[1]) : STR_NULL);
        if (o->selector) /* commas, equals signs and parentheses need no escape in a query; anything else is refused by the server */
            path = pool_printf(p, "%.*s?labelSelector=%s", STR_ARG(path), o->selector);
        accept = document ? "application/json" : TABLE;
    }
    int r = client_open(&c, o->run_dir, e);
    if (r == 0)
        r = client_call(&c, "GET", path, NULL, STR_NULL, accept, &reply, e);
    if (r == 0 && reply.status >= 300)
        r = client_status_error(&reply, e);
    else if (r == 0 && o->raw)
        printf("%.*s\n", STR_ARG(buf_str(&reply.body)));
    else if (r == 0)
        r = print_reply(p, o, &reply, rest->n == 2, e);
    client_reply_clear(&reply);
    client_close(&c);
    return r;
}

int cmd_get(int argc, char **argv)
{
    static const struct flag *const tables[] = {client_flags, NULL};
    struct client_options o = {0};
    struct strs rest = {0};
    struct err *e = NULL;
    int r = flags_parse(tables, argc, argv, &o, -1, NULL, &rest, &e);
    if (r == 0)
        r = get(&o, &rest, &e);
    for (size_t i = 0; i < rest.n; i++)
        free(rest.v[i]);
    free(rest.v);
    flags_clear(tables, &o);
    return r < 0 ? cli_fail(e) : 0;
}
