/* Bringing a file of the auto-deploy folder into the cluster, and taking out what it no longer has. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "controllers/inner.h"
#include "controllers/manifests.h"

enum { RETRY_MOST_S = 300 };

/* ---- reading ---- */

static int read_fd(int fd, struct pool *p, struct str *text, struct err **e)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_errno(e, errno, "stat");
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_INVALID, "not a regular file");
    if (st.st_size > MANIFEST_BYTES)
        return err_set(e, ERR_LIMIT, "larger than %d MiB", MANIFEST_BYTES >> 20);
    char *to = pool_alloc(p, (size_t)st.st_size + 1);
    size_t n = 0;
    for (ssize_t got; n < (size_t)st.st_size; n += (size_t)got) {
        got = pread(fd, to + n, (size_t)st.st_size - n, (off_t)n);
        if (got < 0)
            return err_errno(e, errno, "read");
        if (got == 0)
            break;
    }
    *text = str_make(to, n);
    return 0;
}

/* 1: somebody else was asked to open it. */
static int read_file(struct sync *s, struct manifests *m, struct manifest *f, struct str *text, struct err **e)
{
    const struct controllers_manifests *cfg = &s->ctl->all->cfg.manifests;
    _cleanup_(freep) char *path = xasprintf("%s/%s", m->dir, f->path);
    _cleanup_(closep) int fd = f->fd;
    f->fd = -1;
    if (fd < 0)
        fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd >= 0) {
        f->asked = false;
        return read_fd(fd, s->pool, text, e);
    }
    if (errno == EACCES && cfg->open && !f->asked) {
        f->asked = true;
        cfg->open(cfg->arg, str_of(f->path));
        return 1;
    }
    int failed = errno;
    f->asked = false;
    return err_errno(e, failed, "open");
}

/* ---- the Addon ---- */

static bool same_object(const struct json *a, const struct json *b)
{
    static const char *const words[] = {"kind", "namespace", "name"};
    struct str va = json_get_str(a, "apiVersion"), vb = json_get_str(b, "apiVersion"), ga = STR(""), gb = STR("");
    str_cut(va, '/', &ga, &va);
    str_cut(vb, '/', &gb, &vb);
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (!str_eq(json_get_str(a, words[i]), json_get_str(b, words[i])))
            return false;
    return str_eq(ga, gb);
}

static bool has_object(const struct json *list, const struct json *one)
{
    json_for ((struct json *)(uintptr_t)list, x)
        if (same_object(x, one))
            return true;
    return false;
}

static struct json *reference(struct pool *p, const struct json *doc)
{
    struct json *x = json_obj(p);
    json_set_str(p, x, STR("apiVersion"), json_get_str(doc, "apiVersion"));
    json_set_str(p, x, STR("kind"), json_get_str(doc, "kind"));
    if (json_str_at(doc, "metadata", "namespace", NULL).n)
        json_set_str(p, x, STR("namespace"), json_str_at(doc, "metadata", "namespace", NULL));
    json_set_str(p, x, STR("name"), json_str_at(doc, "metadata", "name", NULL));
    return x;
}

static void list_kinds(struct pool *p, struct json *status, struct json **docs, size_t n)
{
    struct json *kinds = json_arr(p);
    for (size_t i = 0; i < n; i++) {
        struct str group, version, kind;
        struct json *k;
        bool known = false;
        if (!schema_gvk(docs[i], &group, &version, &kind))
            continue;
        json_for (kinds, old)
            known |= str_eq(json_get_str(old, "kind"), kind) && str_eq(json_get_str(old, "group"), group);
        if (known)
            continue;
        k = json_append(kinds, json_obj(p));
        if (group.n)
            json_set_str(p, k, STR("group"), group);
        json_set_str(p, k, STR("version"), version);
        json_set_str(p, k, STR("kind"), kind);
    }
    json_set(p, status, STR("gvks"), kinds);
}

static int put_addon(struct sync *s, struct manifests *m, struct manifest *f, const char *sum, const struct obj **addon, struct err **e)
{
    struct pool *p = s->pool;
    struct json *tree = *addon ? sync_tree(s, *addon) : json_obj(p), *spec = json_put_obj(p, tree, STR("spec"));
    struct str source = pool_printf(p, "%s/%s", m->dir, f->path);
    if (*addon && str_eq(json_get_str(spec, "source"), source) && str_eqz(json_get_str(spec, "checksum"), sum))
        return 0;
    json_set_str(p, spec, STR("source"), source);
    json_set_str(p, spec, STR("checksum"), str_of(sum));
    if (*addon)
        return sync_update(s, R_ADDONS, *addon, NULL, tree, addon, e);
    json_set_str(p, json_put_obj(p, tree, STR("metadata")), STR("name"), s->name);
    json_set_str(p, json_put_obj(p, tree, STR("metadata")), STR("namespace"), STR(MANIFEST_NS));
    return sync_create(s, R_ADDONS, STR(MANIFEST_NS), tree, addon, e);
}

/* state and message in it; objects as they are. */
static int put_status(struct sync *s, const struct obj *addon, const char *state, struct str message, struct json *status, struct err **e)
{
    struct pool *p = s->pool;
    const struct obj *now = sync_get(s, R_ADDONS, STR(MANIFEST_NS), addon->name);
    struct json *tree = sync_tree(s, now ? now : addon);
    json_set_str(p, status, STR("state"), str_of(state));
    if (message.n)
        json_set_str(p, status, STR("message"), message);
    else
        json_del(status, STR("message"));
    if (str_eqz(str_of(state), "Applied"))
        json_set(p, status, STR("lastAppliedTime"), time_json(p, s->now));
    int r = sync_status(s, R_ADDONS, now ? now : addon, tree, status, e);
    return MIN(r, 0);
}

/* What is wrong stands in the Addon and in an Event; objects that stand are left alone. */
static int complain(struct sync *s, struct manifests *m, struct manifest *f, const struct obj *addon, const char *reason, const char *what,
    struct json *status, struct err *why, struct err **e)
{
    struct str message = pool_printf(s->pool, "%s manifest at \"%s/%s\" failed: %s", what, m->dir, f->path, err_msg(why));
    const struct json *old = sync_tree(s, addon);
    bool news = !str_eq(json_str_at(old, "status", "message", NULL), message);
    if (!status)
        status = json_get(old, STR("status")) ? json_clone(s->pool, json_get(old, STR("status"))) : json_obj(s->pool);
    if (!news)
        return 0;
    ctl_event(s->ctl, R_ADDONS, addon, true, reason, "%.*s", STR_ARG(message));
    sync_fresh(s);
    return put_status(s, addon, "Failed", message, status, e);
}

/* ---- objects ---- */

static int apply_one(struct sync *s, struct json *doc, struct err **e)
{
    struct str group = STR(""), version, kind, ns = json_str_at(doc, "metadata", "namespace", NULL);
    struct schema *schema = api_schema_ref(s->ctl->api);
    const struct schema_resource *r = schema_gvk(doc, &group, &version, &kind) ? schema_find_kind(schema, group, version, kind) : NULL;
    struct api_call c = {.verb = API_APPLY, .sub = STR(""), .body = doc, .force = true, .field_manager = STR("deploy")};
    struct json *meta = json_get(doc, STR("metadata")), *notes;
    int rc;
    if (!r || r->virtual_only) {
        schema_unref(schema);
        return err_set(e, ERR_NOT_FOUND, "no matches for kind \"%.*s\" in version \"%.*s\"", STR_ARG(json_get_str(doc, "kind")),
            STR_ARG(json_get_str(doc, "apiVersion")));
    }
    if (r->namespaced && !ns.n)
        json_set_str(s->pool, meta, STR("namespace"), STR("default"));
    else if (!r->namespaced)
        json_del(meta, STR("namespace"));
    notes = json_put_obj(s->pool, meta, STR("annotations"));
    json_set_str(s->pool, notes, STR("objectset.rio.cattle.io/owner-gvk"), STR("k3s.cattle.io/v1, Kind=Addon"));
    json_set_str(s->pool, notes, STR(MANIFEST_OWNER), s->name);
    json_set_str(s->pool, notes, STR("objectset.rio.cattle.io/owner-namespace"), STR(MANIFEST_NS));
    c.group = pool_str(s->pool, r->group);
    c.version = pool_str(s->pool, r->version);
    c.resource = pool_str(s->pool, r->resource);
    c.ns = json_get_str(meta, "namespace").n ? json_get_str(meta, "namespace") : STR("");
    c.name = json_get_str(meta, "name");
    schema_unref(schema);
    rc = sync_call(s, &c, NULL, e);
    if (rc < 0)
        (void)err_wrap(e, "%.*s %.*s%s%.*s", STR_ARG(kind), STR_ARG(c.ns), c.ns.n ? "/" : "", STR_ARG(c.name));
    return rc;
}

/* Removes what an Addon's list names, if it is ours still. */
static int prune_one(struct sync *s, const struct json *ref, struct err **e)
{
    struct str group = STR(""), version, kind, ns = json_get_str(ref, "namespace");
    struct schema *schema = api_schema_ref(s->ctl->api);
    const struct schema_resource *r = schema_gvk(ref, &group, &version, &kind) ? schema_find_kind(schema, group, version, kind) : NULL;
    struct store_res *res = r && !r->virtual_only ? store_find(s->ctl->store, r->storage) : NULL;
    schema_unref(schema);
    const struct obj *o = res ? view_get(s->view, res, ns.n ? ns : STR(""), json_get_str(ref, "name")) : NULL;
    if (!o)
        return 0;
    struct json *notes = json_path(sync_tree(s, o), "metadata", "annotations", NULL);
    if (!str_eq(json_get_str(notes, MANIFEST_OWNER), s->name))
        return 0; /* another file's by now, or never ours */
    int rc = sync_delete(s, o, "Background", e);
    return rc < 0 ? err_wrap(e, "delete %.*s %.*s", STR_ARG(kind), STR_ARG(o->name)) : 0;
}

/* In reverse: what came last goes first. */
static int prune(struct sync *s, const struct json *old, const struct json *kept, struct err **e)
{
    int result = 0;
    sync_fresh(s);
    for (size_t i = json_count(old); i-- > 0;) {
        struct err *one = NULL;
        if (has_object(kept, json_at(old, i)))
            continue;
        int r = prune_one(s, json_at(old, i), &one);
        if (r < 0 && result == 0)
            result = err_move(e, one);
        else
            err_free(one);
    }
    return result;
}

struct outcome {
    size_t failed;
    bool waits;
    struct err *first;
};

static void apply_all(struct sync *s, struct json **docs, size_t n, struct outcome *out)
{
    for (size_t i = 0; i < n; i++) {
        struct err *e = NULL;
        int r = apply_one(s, docs[i], &e);
        out->waits |= r == SYNC_WAITS;
        out->failed += r < 0;
        if (r < 0 && !out->first)
            out->first = e;
        else
            err_free(e);
    }
}

static void retry(struct sync *s, struct manifest *f)
{
    int64_t wait = INT64_C(1) << MIN(f->tries, 9u);
    f->tries++;
    sync_again_at(s, s->now + MIN(wait, (int64_t)RETRY_MOST_S) * NS_PER_S);
}

static struct json *inventory(struct sync *s, struct json **docs, size_t n, const struct json *old)
{
    struct json *list = json_arr(s->pool);
    for (size_t i = 0; i < n; i++)
        json_append(list, reference(s->pool, docs[i]));
    json_for ((struct json *)(uintptr_t)old, x)
        if (!has_object(list, x))
            json_append(list, json_clone(s->pool, x));
    return list;
}

/* The parsed file meets the cluster. */
static int bring(struct sync *s, struct manifests *m, struct manifest *f, const struct obj *addon, const char *sum, struct json **docs,
    size_t n, struct err **e)
{
    struct pool *p = s->pool;
    struct json *status = json_obj(p), *old = json_path(sync_tree(s, addon), "status", "objects", NULL), *now;
    struct outcome out = {0};
    for (size_t i = 0; i < n; i++) /* as it will be applied, so that the list names it right */
        if (!json_str_at(docs[i], "metadata", "namespace", NULL).n) {
            struct str group, version, kind;
            struct schema *schema = api_schema_ref(s->ctl->api);
            const struct schema_resource *r =
                schema_gvk(docs[i], &group, &version, &kind) ? schema_find_kind(schema, group, version, kind) : NULL;
            if (r && r->namespaced)
                json_set_str(p, json_get(docs[i], STR("metadata")), STR("namespace"), STR("default"));
            schema_unref(schema);
        }
    now = inventory(s, docs, n, NULL);
    list_kinds(p, status, docs, n);
    json_set(p, status, STR("objects"), inventory(s, docs, n, old));
    int r = put_status(s, addon, "Applying", STR(""), json_clone(p, status), e);
    if (r < 0)
        return r;
    if (!f->tries)
        ctl_event(s->ctl, R_ADDONS, addon, false, "ApplyingManifest", "Applying manifest at \"%s/%s\"", m->dir, f->path);
    apply_all(s, docs, n, &out);
    r = out.failed ? 0 : prune(s, old, now, &out.first);
    if (r < 0 || out.failed) {
        if (out.failed > 1)
            (void)err_wrap(&out.first, "%zu of %zu objects, the first", out.failed, n);
        r = complain(s, m, f, addon, "ApplyManifestFailed", "Apply", status, out.first, e);
        err_free(out.first);
        retry(s, f);
        return r;
    }
    if (out.waits) { /* a webhook is being asked: look again whether all stands */
        retry(s, f);
        return 0;
    }
    json_set(p, status, STR("objects"), now);
    sync_fresh(s);
    r = put_status(s, addon, "Applied", STR(""), status, e);
    if (r < 0)
        return r;
    f->tries = 0;
    snprintf(f->applied, sizeof f->applied, "%s", sum);
    ctl_event(s->ctl, R_ADDONS, addon, false, "AppliedManifest", "Applied manifest at \"%s/%s\"", m->dir, f->path);
    return 0;
}

int manifest_deploy(struct sync *s, struct manifests *m, struct manifest *f, const struct obj *addon, struct err **e)
{
    struct str text = STR("");
    struct json **docs = NULL;
    size_t n = 0;
    char sum[HASH_HEX + 1] = "";
    _cleanup_(err_freep) struct err *why = NULL;
    int r = read_file(s, m, f, &text, &why);
    if (r > 0)
        return 0;
    bool unread = r < 0;
    if (!unread)
        hash_sha256_hex(text, sum);
    if (!unread && addon && str_eqz(str_of(f->applied), sum))
        return 0;
    if (!unread)
        r = manifest_parse(s->pool, text, &docs, &n, &why);
    int put = put_addon(s, m, f, sum, &addon, e);
    if (put != 0) {
        if (put == -ERR_NOT_FOUND && err_is(e, ERR_NOT_FOUND)) { /* kube-system is not there yet */
            retry(s, f);
            return 0;
        }
        return MIN(put, 0);
    }
    if (r < 0)
        return complain(s, m, f, addon, unread ? "ReadManifestFailed" : "ParseManifestFailed", unread ? "Read" : "Parse", NULL, why, e);
    return bring(s, m, f, addon, sum, docs, n, e);
}

int manifest_withdraw(struct sync *s, const struct obj *addon, struct err **e)
{
    const struct json *tree = sync_tree(s, addon);
    struct str source = json_str_at(tree, "spec", "source", NULL);
    ctl_event(s->ctl, R_ADDONS, addon, false, "DeletingManifest", "Deleting manifest at \"%.*s\"", STR_ARG(source));
    int r = prune(s, json_path(tree, "status", "objects", NULL), NULL, e);
    return r < 0 ? r : MIN(sync_delete(s, addon, NULL, e), 0);
}
