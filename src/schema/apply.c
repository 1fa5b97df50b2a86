#include "schema/apply.h"

#include <stdio.h>

#include "base/clock.h"
#include "schema/managers.h"
#include "schema/typed.h"

static const struct schema_type *type_of(const struct apply_ctx *c)
{
    return c->type ? c->type : c->res->type;
}
static const struct str applied_note = {"kubectl.kubernetes.io/last-applied-configuration", 48};

struct str manager_from_agent(struct str agent)
{
    ssize_t slash = str_chr(agent, '/'), space = str_chr(agent, ' ');
    if (slash >= 0)
        agent = str_sub(agent, 0, (size_t)slash);
    else if (space >= 0)
        agent = str_sub(agent, 0, (size_t)space);
    return agent.n ? str_sub(agent, 0, MIN(agent.n, (size_t)128)) : STR("unknown");
}

/* --- fields that nobody owns
 * ---------------------------------------------------------------------------------------------------------------------- */

#define MEMBER(n) {.name = {"f:" n, sizeof "f:" n - 1}, .member = true}
#define COMMON \
    MEMBER("apiVersion"), MEMBER("kind"), {.name = {"f:metadata", 10}, .child = (struct fieldset *)(uintptr_t)&nobodys_meta}
/* Sorted, as every set is; nobody changes them. */
static const struct fieldset_item meta_items[] = {MEMBER("creationTimestamp"), MEMBER("deletionGracePeriodSeconds"), MEMBER("deletionTimestamp"),
    MEMBER("generation"), MEMBER("managedFields"), MEMBER("name"), MEMBER("namespace"), MEMBER("resourceVersion"), MEMBER("selfLink"), MEMBER("uid")};
static const struct fieldset nobodys_meta = {(struct fieldset_item *)(uintptr_t)meta_items, ARRAY_LEN(meta_items), ARRAY_LEN(meta_items)};
static const struct fieldset_item common_items[] = {COMMON}, status_items[] = {COMMON, MEMBER("status")};
static const struct fieldset nobodys_common = {(struct fieldset_item *)(uintptr_t)common_items, ARRAY_LEN(common_items), ARRAY_LEN(common_items)},
                             nobodys_status = {(struct fieldset_item *)(uintptr_t)status_items, ARRAY_LEN(status_items), ARRAY_LEN(status_items)};

static const struct fieldset *nobodys(struct apply_ctx *c)
{
    if (!c->res->has_status || (c->type && c->type != c->res->type))
        return &nobodys_common;
    if (!str_eqz(c->sub, "status"))
        return &nobodys_status;
    struct fieldset *s = fieldset_copy(c->pool, &nobodys_common);
    const struct schema_type *t = type_of(c);
    for (uint16_t i = 0; i < t->nfields; i++)
        if (!str_eqz(t->fields[i].name, "metadata") && !str_eqz(t->fields[i].name, "status"))
            fieldset_item(c->pool, s, pool_printf(c->pool, "f:%.*s", STR_ARG(t->fields[i].name)))->member = true;
    return s;
}

/* The same without metadata as a member of its own. */
static struct fieldset *filter(struct apply_ctx *c, const struct fieldset *s, const struct fieldset *ignored)
{
    struct fieldset *out = fieldset_prune(c->pool, s, ignored);
    static const struct fieldset_item item = MEMBER("metadata");
    static const struct fieldset meta = {(struct fieldset_item *)(uintptr_t)&item, 1, 1};
    return fieldset_difference(c->pool, out, &meta);
}

/* --- managers
 * ------------------------------------------------------------------------------------------------------------------------------------- */

static struct str api_version(struct apply_ctx *c)
{
    return c->res->group.n ? pool_printf(c->pool, "%.*s/%.*s", STR_ARG(c->res->group), STR_ARG(c->res->version)) : c->res->version;
}

static struct str now_text(struct apply_ctx *c)
{
    char text[TIME_MAX];
    return pool_str(c->pool, time_format(c->now, text));
}

static struct manager me(struct apply_ctx *c, const char *operation)
{
    return (struct manager){
        .name = c->manager, .operation = str_of(operation), .api_version = api_version(c), .sub = c->sub.p ? c->sub : STR("")};
}

/* --- between versions: struct field_moves --- */

/* The set that holds this one path, and what stands at its end. */
static struct fieldset *set_of_path(struct pool *p, struct str path, struct fieldset_item **end)
{
    struct fieldset *top = pool_new_of(p, struct fieldset), *at = top;
    struct str name;
    *end = NULL;
    while (str_split(&path, '|', &name)) {
        if (*end)
            at = fieldset_under(p, *end);
        *end = fieldset_item(p, at, pool_printf(p, "f:%.*s", STR_ARG(name)));
    }
    return top;
}

static const struct fieldset_item *item_at(const struct fieldset *s, struct str path)
{
    char name[256];
    const struct fieldset_item *i = NULL;
    struct str part;
    while (str_split(&path, '|', &part)) {
        snprintf(name, sizeof name, "f:%.*s", STR_ARG(part));
        i = s ? fieldset_find(s, str_of(name)) : NULL;
        if (!i)
            return NULL;
        s = i->child;
    }
    return i;
}

/* s in the words of another apiVersion. What is whole in one version and has members in the other is owned whole. */
static struct fieldset *translate(struct apply_ctx *c, struct fieldset *s, struct str to)
{
    const struct field_moves *m = c->moves;
    bool right = str_eq(to, m->right);
    struct fieldset *out = s;
    for (size_t i = 0; i < m->n; i++) {
        const struct fieldset_item *there = item_at(s, str_of(m->pairs[i][!right]));
        struct fieldset_item *end;
        if (!there)
            continue;
        struct fieldset *gone = set_of_path(c->pool, str_of(m->pairs[i][!right]), &end);
        end->member = true;
        struct fieldset *come = set_of_path(c->pool, str_of(m->pairs[i][right]), &end);
        end->member = true;
        out = fieldset_union(c->pool, fieldset_prune(c->pool, out, gone), come);
    }
    return out;
}

static int read_managers(struct apply_ctx *c, const struct json *list, struct managers *m, struct err **e)
{
    int r = managers_parse(c->pool, list, m, e);
    struct str mine = api_version(c);
    for (size_t i = 0; r >= 0 && c->moves && i < m->n; i++) {
        struct manager *x = &m->items[i];
        if (str_eq(x->api_version, mine) || (!str_eq(x->api_version, c->moves->left) && !str_eq(x->api_version, c->moves->right)))
            continue;
        x->own = x->set;
        x->set = x->was = translate(c, x->set, mine);
    }
    return r;
}

/* Back into their own words: without what was taken from them meanwhile. */
static void restore_managers(struct apply_ctx *c, struct managers *m)
{
    for (size_t i = 0; i < m->n; i++) {
        struct manager *x = &m->items[i];
        if (!x->own)
            continue;
        struct fieldset *lost = fieldset_difference(c->pool, x->was, x->set);
        x->set = fieldset_empty(lost) ? x->own : fieldset_prune(c->pool, x->own, translate(c, lost, x->api_version));
        x->own = NULL;
    }
}

static struct managers live_managers(struct apply_ctx *c, const struct json *live)
{
    struct managers m = {0};
    if (read_managers(c, json_path(live, "metadata", "managedFields", NULL), &m, NULL) < 0)
        m = (struct managers){0};
    return m;
}

static void write_managers(struct apply_ctx *c, struct json *doc, struct managers *m)
{
    struct json *meta = json_put_obj(c->pool, doc, STR("metadata"));
    restore_managers(c, m);
    managers_drop_empty(m);
    managers_cap(c->pool, m);
    if (m->n)
        json_set(c->pool, meta, STR("managedFields"), managers_json(c->pool, m));
    else
        json_del(meta, STR("managedFields"));
}

/* A document without managedFields, to compare and merge with. */
static struct json *bare(struct apply_ctx *c, const struct json *doc)
{
    struct json *d = doc ? json_clone(c->pool, doc) : json_obj(c->pool);
    json_del(json_get(d, STR("metadata")), STR("managedFields"));
    schema_fill_zero(type_of(c), c->pool, d);
    return d;
}

/* --- conflicts
 * ------------------------------------------------------------------------------------------------------------------------------------ */

struct conflicts {
    struct apply_ctx *c;
    struct err *found;
    struct buf text;
    struct buf who;
    size_t n;
    struct str first;
};

static void add_conflict(void *arg, struct str path)
{
    struct conflicts *k = arg;
    err_cause(&k->found, "FieldManagerConflict", path, "conflict with %.*s", STR_ARG(buf_str(&k->who)));
    buf_printf(&k->text, "\n- %.*s", STR_ARG(path));
    if (k->n++ == 0)
        k->first = pool_str(k->c->pool, path);
}

static void describe(struct buf *b, const struct manager *m)
{
    buf_reset(b);
    json_write_str(b, m->name);
    if (m->sub.n) {
        buf_puts(b, " with subresource ");
        json_write_str(b, m->sub);
    }
    if (str_eqz(m->operation, "Update"))
        buf_printf(b, " using %.*s", STR_ARG(m->api_version));
}

static int conflict_error(struct apply_ctx *c, struct managers *all, struct fieldset **per_manager, struct err **e)
{
    struct conflicts k = {.c = c};
    struct buf lines = BUF_INIT;
    for (size_t i = 0; i < all->n; i++) {
        if (fieldset_empty(per_manager[i]))
            continue;
        describe(&k.who, &all->items[i]);
        buf_reset(&k.text);
        fieldset_each(per_manager[i], add_conflict, &k);
        buf_printf(&lines, "%sconflicts with %.*s:%.*s", lines.n ? "\n" : "", STR_ARG(buf_str(&k.who)), STR_ARG(buf_str(&k.text)));
    }
    struct err *one = NULL;
    if (k.n == 1)
        (void)err_set(&one, ERR_CONFLICT, "Apply failed with 1 conflict: %s: %.*s", k.found->causes[0].message, STR_ARG(k.first));
    else
        (void)err_set(&one, ERR_CONFLICT, "Apply failed with %zu conflicts: %.*s", k.n, STR_ARG(buf_str(&lines)));
    for (size_t i = 0; k.found && i < k.found->ncauses; i++) /* the text above is the message; causes move over */
        err_cause(&one, k.found->causes[i].reason, str_of(k.found->causes[i].field), "%s", k.found->causes[i].message);
    err_free(k.found);
    buf_clear(&k.text);
    buf_clear(&k.who);
    buf_clear(&lines);
    return err_move(e, one);
}

/* Takes from the other managers what changed. `mine` is an index into all, or all->n. allowed: conflicts with it are none (client-side
 * apply's fields). */
static int take(struct apply_ctx *c, struct managers *all, size_t mine, const struct typed_diff *d, bool force,
    const struct fieldset *allowed, struct err **e)
{
    struct fieldset *changed = fieldset_union(c->pool, d->modified, d->added), **per = pool_array(c->pool, struct fieldset *, all->n + 1),
                    *refused = NULL;
    for (size_t i = 0; i < all->n; i++) {
        if (i == mine)
            continue;
        per[i] = fieldset_intersect(c->pool, all->items[i].set, changed);
        refused = fieldset_union(c->pool, refused, allowed ? fieldset_difference(c->pool, per[i], allowed) : per[i]);
    }
    if (!force && !fieldset_empty(refused)) {
        for (size_t i = 0; allowed && i < all->n; i++)
            if (per[i])
                per[i] = fieldset_difference(c->pool, per[i], allowed);
        return conflict_error(c, all, per, e);
    }
    for (size_t i = 0; i < all->n; i++) {
        if (i == mine)
            continue;
        struct fieldset *rest = fieldset_difference(c->pool, all->items[i].set, per[i]);
        all->items[i].set = fieldset_difference(c->pool, rest, d->removed);
    }
    return 0;
}

static struct typed_diff compare(struct apply_ctx *c, const struct json *live, const struct json *doc, const struct fieldset *ignored)
{
    struct typed_diff d;
    typed_compare(type_of(c), c->pool, live, doc, &d);
    d.added = filter(c, d.added, ignored);
    d.modified = filter(c, d.modified, ignored);
    d.removed = filter(c, d.removed, ignored);
    return d;
}

/* --- ordinary writes
 * ------------------------------------------------------------------------------------------------------------------------------ */

/* Which managers an ordinary write starts from. false: this object is not tracked (it was written before anybody tracked it). */
static bool starting_managers(struct apply_ctx *c, const struct json *live, const struct json *doc, struct managers *m)
{
    const struct json *given = json_path(doc, "metadata", "managedFields", NULL), *had = json_path(live, "metadata", "managedFields", NULL);
    bool reset = json_is(given, JSON_ARR) && (given->n == 0 || (given->n == 1 && json_count(given->first) == 0));
    *m = (struct managers){0};
    if (given && live && reset && json_count(had))
        return true;
    if (json_count(given) && !reset && read_managers(c, given, m, NULL) == 0)
        return true;
    *m = live_managers(c, live);
    return !live || m->n > 0;
}

void schema_manage(struct apply_ctx *c, const struct json *live, struct json *doc)
{
    struct managers all;
    bool tracked = starting_managers(c, live, doc, &all);
    struct json *before = bare(c, live), *after = bare(c, doc);
    if (!tracked) {
        json_del(json_get(doc, STR("metadata")), STR("managedFields"));
        return;
    }
    struct typed_diff d = compare(c, before, after, nobodys(c));
    (void)take(c, &all, all.n, &d, true, NULL, NULL);
    struct fieldset *taken = fieldset_union(c->pool, d.modified, d.added);
    if (!fieldset_empty(taken)) {
        struct manager self = me(c, "Update"), *have = managers_find(&all, &self);
        if (!have)
            have = managers_add(c->pool, &all, self);
        have->set = fieldset_union(c->pool, have->set, taken);
        have->time = now_text(c);
    }
    write_managers(c, doc, &all);
}

/* --- apply
 * ----------------------------------------------------------------------------------------------------------------------------------------
 */

/* What the manager set last time and does not set now goes, unless somebody else owns it. */
static struct json *prune(struct apply_ctx *c, struct json *merged, struct managers *all, const struct fieldset *last)
{
    const struct schema_type *t = type_of(c);
    struct pool *p = c->pool;
    struct fieldset *owned = NULL;
    if (fieldset_empty(last))
        return merged;
    struct json *pruned = json_clone(p, merged);
    typed_remove(t, p, pruned, typed_named(t, p, last));
    struct fieldset *merged_set = typed_named(t, p, typed_stored_fields(t, p, merged)), *pruned_set = typed_stored_fields(t, p, pruned);
    for (size_t i = 0; i < all->n; i++)
        owned = fieldset_union(p, owned, all->items[i].set);
    /* owned items come back */
    struct fieldset *keep = fieldset_union(p, typed_named(t, p, pruned_set), typed_named(t, p, owned));
    pruned = json_clone(p, merged);
    typed_remove(t, p, pruned, fieldset_difference(p, merged_set, keep));
    /* and so do those that this manager never set */
    pruned_set = typed_stored_fields(t, p, pruned);
    struct fieldset *gone = fieldset_difference(p, merged_set, typed_named(t, p, pruned_set));
    pruned = json_clone(p, merged);
    typed_remove(t, p, pruned, fieldset_intersect(p, gone, typed_named(t, p, last)));
    return pruned;
}

/* What `kubectl apply` on the client side had set: a first server-side apply by kubectl may take it over. NULL: nothing. */
static struct fieldset *client_side(struct apply_ctx *c, const struct json *live)
{
    struct json *doc;
    struct fieldset *s = NULL;
    struct str text = json_as_str(json_get(json_path(live, "metadata", "annotations", NULL), applied_note));
    if (!str_eqz(c->manager, "kubectl") || !text.n || json_parse(c->pool, text, NULL, &doc, NULL) < 0)
        return NULL;
    if (!json_is(doc, JSON_OBJ) || schema_decode(c->res, type_of(c), c->pool, doc, NULL, NULL) < 0 ||
        typed_fields(type_of(c), c->pool, doc, &s, NULL) < 0)
        return NULL;
    struct fieldset *note = pool_new_of(c->pool, struct fieldset),
                    *meta = fieldset_under(c->pool, fieldset_item(c->pool, note, STR("f:metadata"))),
                    *ann = fieldset_under(c->pool, fieldset_item(c->pool, meta, STR("f:annotations")));
    fieldset_item(c->pool, ann, pool_printf(c->pool, "f:%.*s", STR_ARG(applied_note)))->member = true;
    return fieldset_union(c->pool, s, note);
}

/* An object that kubectl once applied from the client keeps its note of what was applied up to date, so that a client-side apply still
 * works. */
static void keep_applied_note(struct apply_ctx *c, const struct json *live, const struct json *config, struct json *doc)
{
    struct str text = json_as_str(json_get(json_path(live, "metadata", "annotations", NULL), applied_note));
    if (!str_eqz(c->manager, "kubectl") || !text.n)
        return;
    struct json *d = json_clone(c->pool, config), *ann = json_path(d, "metadata", "annotations", NULL);
    if (ann)
        json_del(ann, applied_note);
    struct json *to = json_put_obj(c->pool, json_put_obj(c->pool, doc, STR("metadata")), STR("annotations"));
    json_set_str(c->pool, to, applied_note, pool_printf(c->pool, "%.*s\n", STR_ARG(json_to_pool(c->pool, d))));
}

/* An object that nobody tracked so far: everything in it is one manager's, before-first-apply. */
static void adopt(struct apply_ctx *c, const struct json *live, const struct fieldset *ignored, struct managers *all)
{
    struct typed_diff d = compare(c, bare(c, NULL), live, ignored);
    struct manager before = {.name = STR("before-first-apply"),
        .operation = STR("Update"),
        .api_version = api_version(c),
        .sub = STR(""),
        .set = fieldset_union(c->pool, d.added, d.modified)};
    managers_add(c->pool, all, before);
}

struct json *schema_merge(const struct schema_type *t, struct pool *p, const struct json *live, const struct json *config)
{
    return typed_merge(t, p, live, config);
}

int schema_apply(struct apply_ctx *c, const struct json *live, const struct json *config, struct json **out, struct err **e)
{
    const struct schema_type *t = type_of(c);
    const struct fieldset *ignored = nobodys(c);
    struct fieldset *set, *last = NULL;
    const struct json *given = json_path(config, "metadata", "managedFields", NULL);
    if (json_count(given))
        return err_set(e, ERR_BAD_REQUEST, "metadata.managedFields must be nil");
    int rc = typed_fields(t, c->pool, config, &set, e);
    if (rc < 0)
        return rc;
    set = filter(c, set, ignored);
    struct managers all = live_managers(c, live);
    struct json *before = bare(c, live), *merged = typed_merge(t, c->pool, before, config);
    if (live && !all.n)
        adopt(c, before, ignored, &all);
    struct manager self = me(c, "Apply"), *mine = managers_find(&all, &self);
    if (mine)
        last = mine->set;
    else
        mine = managers_add(c->pool, &all, self);
    bool same = mine->time.n && fieldset_equal(last, set) && str_eq(mine->api_version, self.api_version);
    mine->set = set;
    mine->own = NULL;
    mine->api_version = self.api_version;
    size_t at = (size_t)(mine - all.items);
    struct json *doc = prune(c, merged, &all, last);
    rc = schema_decode(c->res, t, c->pool, doc, NULL, e); /* what pruning emptied is null: away with it */
    if (rc < 0)
        return rc;
    schema_fill_zero(t, c->pool, doc);
    struct typed_diff d = compare(c, before, doc, ignored);
    rc = take(c, &all, at, &d, c->force, client_side(c, live), e);
    if (rc < 0)
        return rc;
    bool changed = !fieldset_empty(d.added) || !fieldset_empty(d.modified) || !fieldset_empty(d.removed);
    if (!same || changed)
        all.items[at].time = now_text(c);
    write_managers(c, doc, &all);
    keep_applied_note(c, live, config, doc);
    *out = doc;
    return 0;
}
