/* sampan apply -f FILE: creates what is missing and merges what differs, document by document, in the words of kubectl. It keeps no last-applied annotation: what a
 * newer file leaves out stays. Users with kubectl use that. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "yaml/yaml.h"

#define FILE_LIMIT (16u << 20)

static int read_manifest(const char *file, struct buf *out, struct err **e)
{
    return file_read(strcmp(file, "-") == 0 ? "/dev/stdin" : file, FILE_LIMIT, out, e);
}

static int apply_one(struct client *c, const struct schema *s, struct pool *p, const struct client_options *o, struct json *doc, struct err **e)
{
    struct str group, version, kind, name = json_str_at(doc, "metadata", "name", NULL), ns = json_str_at(doc, "metadata", "namespace", NULL);
    struct client_reply before = {0}, reply = {0};
    if (!schema_gvk(doc, &group, &version, &kind))
        return err_set(e, ERR_BAD_REQUEST, "apiVersion and kind are required");
    const struct schema_resource *res = schema_find_kind(s, group, version, kind);
    if (!res)
        return err_set(e, ERR_BAD_REQUEST, "no matches for kind \"%.*s\" in version \"%.*s\"", STR_ARG(kind), STR_ARG(json_get_str(doc, "apiVersion")));
    if (str_empty(name))
        return err_set(e, ERR_BAD_REQUEST, "%.*s: metadata.name is required", STR_ARG(kind));
    ns = str_empty(ns) ? str_of(o->ns) : ns;
    struct str path = client_path(p, res, ns, name), text = json_to_pool(p, doc);
    int r = client_call(c, "GET", path, NULL, STR_NULL, "application/json", &before, e);
    bool there = r == 0 && before.status == 200;
    if (r == 0 && !there)
        r = client_call(c, "POST", client_path(p, res, ns, STR_NULL), "application/json", text, "application/json", &reply, e);
    else if (r == 0)
        r = client_call(c, "PATCH", path, "application/merge-patch+json", text, "application/json", &reply, e);
    if (r == 0 && reply.status >= 300)
        r = client_status_error(&reply, e);
    if (r == 0) {
        const char *what = !there ? "created" : str_eq(buf_str(&before.body), buf_str(&reply.body)) ? "unchanged" : "configured";
        printf("%.*s%s%.*s/%.*s %s\n", STR_ARG(res->singular), str_empty(res->group) ? "" : ".", STR_ARG(res->group), STR_ARG(name), what);
    }
    client_reply_clear(&before);
    client_reply_clear(&reply);
    return r;
}

static int apply(const struct client_options *o, struct err **e)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(schema_unrefp) struct schema *s = schema_builtin();
    _cleanup_(buf_clear) struct buf text = BUF_INIT;
    struct client c = {0};
    struct json **docs;
    size_t n;
    if (!o->file)
        return err_set(e, ERR_USAGE, "must specify -f");
    if (read_manifest(o->file, &text, e) < 0)
        return -ERR_IO;
    if (yaml_parse(p, buf_str(&text), NULL, &docs, &n, e) < 0)
        return err_wrap(e, "%s", o->file);
    int r = client_open(&c, o->run_dir, e);
    for (size_t i = 0; i < n && r == 0; i++)
        r = apply_one(&c, s, p, o, docs[i], e);
    client_close(&c);
    return r;
}

int cmd_apply(int argc, char **argv)
{
    static const struct flag *const tables[] = {client_flags, NULL};
    struct client_options o = {0};
    struct err *e = NULL;
    int r = flags_parse(tables, argc, argv, &o, -1, NULL, NULL, &e);
    if (r == 0)
        r = apply(&o, &e);
    flags_clear(tables, &o);
    return r < 0 ? cli_fail(e) : 0;
}
