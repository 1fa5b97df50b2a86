#include "controllers/history.h"
#include <stdlib.h>

#define HASH_LABEL STR("controller-revision-hash")
enum { TRIES = 8 };

static int by_number(const void *a, const void *b)
{
    const struct revision *x = a, *y = b;
    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return x->o->created != y->o->created ? (x->o->created < y->o->created ? -1 : 1) : str_cmp(x->o->name, y->o->name);
}

static void read_revision(struct sync *s, struct revision *r, const struct obj *o)
{
    r->o = o;
    r->tree = sync_tree(s, o);
    r->number = json_get_int(r->tree, "revision", 0);
    r->hash = obj_label(o, HASH_LABEL);
}

/* What is kept: the template, to be put in the place of another as a whole. Members stand in order of their keys, byte for byte as
 * kube-controller-manager writes them: clients compare the bytes. */
static struct json *data_of(struct sync *s, const struct json *tree)
{
    struct json *data = json_obj(s->pool), *spec = json_put_obj(s->pool, data, STR("spec"));
    struct json *template = json_set(s->pool, spec, STR("template"), json_clone(s->pool, json_path(tree, "spec", "template", NULL)));
    struct buf text = BUF_INIT;
    struct json *sorted;
    json_set_str(s->pool, template, STR("$patch"), STR("replace"));
    json_sorted(&text, data);
    return json_parse(s->pool, buf_to_pool(&text, s->pool), NULL, &sorted, NULL) == 0 ? sorted : data;
}

static int make(struct sync *s, enum ctl_resource kind, const struct obj *owner, const struct json *tree, int64_t number, bool full_name,
    struct history *h, struct revision *out, struct err **e)
{
    struct pool *p = s->pool;
    struct json *data = data_of(s, tree);
    for (int i = 0; i < TRIES; i++) {
        struct str hash = template_hash(p, data, h->collisions), name = pool_printf(p, "%.*s-%.*s", STR_ARG(owner->name), STR_ARG(hash));
        struct json *rev = json_obj(p), *meta = json_put_obj(p, rev, STR("metadata"));
        const struct json *labels = json_path(tree, "spec", "template", "metadata", "labels", NULL);
        const struct obj *made;
        json_set_str(p, meta, STR("name"), name);
        json_set_str(p, meta, STR("namespace"), owner->ns);
        struct json *own = json_set(p, meta, STR("labels"), labels ? json_clone(p, labels) : json_obj(p));
        json_set_str(p, own, HASH_LABEL, full_name ? name : hash);
        json_append(json_put_arr(p, meta, STR("ownerReferences")), owner_ref(p, kind, owner, true));
        json_set(p, rev, STR("data"), json_clone(p, data));
        json_set_int(p, rev, STR("revision"), number);
        int r = sync_create(s, R_REVISIONS, owner->ns, rev, &made, e);
        if (r == 0)
            read_revision(s, out, made);
        if (!err_is(e, ERR_EXISTS))
            return r;
        h->collisions++;
    }
    return err_set(e, ERR_CONFLICT, "no free name for a revision of %.*s", STR_ARG(owner->name));
}

static int renumber(struct sync *s, struct revision *r, int64_t number, struct err **e)
{
    const struct obj *now;
    json_set_int(s->pool, r->tree, STR("revision"), number);
    int rc = sync_update(s, R_REVISIONS, r->o, NULL, r->tree, &now, e);
    if (rc == 0)
        read_revision(s, r, now);
    return rc;
}

int history_sync(struct sync *s, enum ctl_resource kind, const struct obj *owner, const struct json *tree, const struct selector *sel,
    bool full_name, struct history *h, struct err **e)
{
    struct obj_array all;
    struct json *wanted = data_of(s, tree);
    *h = (struct history){.collisions = json_get_int(json_get(tree, STR("status")), "collisionCount", 0)};
    int r = sync_claim(s, R_REVISIONS, kind, owner, sel, &all, e);
    if (r < 0)
        return r;
    h->list = pool_array(s->pool, struct revision, all.n + 1);
    for (size_t i = 0; i < all.n; i++)
        read_revision(s, &h->list[h->n++], all.p[i]);
    qsort(h->list, h->n, sizeof *h->list, by_number);
    for (size_t i = h->n; i > 0 && !h->update; i--)
        if (template_equal(json_path(h->list[i - 1].tree, "data", "spec", "template", NULL), json_path(wanted, "spec", "template", NULL)))
            h->update = &h->list[i - 1];
    if (owner->deleted)
        return 0;
    int64_t next = h->n ? h->list[h->n - 1].number + 1 : 1;
    if (!h->update) {
        h->update = &h->list[h->n];
        r = make(s, kind, owner, tree, next, full_name, h, h->update, e);
        if (r != 0)
            return r;
        h->n++;
    } else if (h->update->number + 1 != next) {
        r = renumber(s, h->update, next, e);
    }
    return r;
}

struct revision *history_named(struct history *h, struct str name)
{
    for (size_t i = 0; i < h->n; i++)
        if (str_eq(h->list[i].o->name, name))
            return &h->list[i];
    return NULL;
}

struct json *history_template(struct sync *s, const struct revision *r)
{
    struct json *t = json_clone(s->pool, json_path(r->tree, "data", "spec", "template", NULL));
    json_del(t, STR("$patch"));
    return t;
}

static bool is_live(const struct revision *r, const struct str *live, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(r->o->name, live[i]) || str_eq(r->hash, live[i]))
            return true;
    return false;
}

int history_trim(struct sync *s, struct history *h, int64_t limit, const struct str *live, size_t nlive, struct err **e)
{
    int64_t dead = 0;
    for (size_t i = 0; i < h->n; i++)
        dead += &h->list[i] != h->update && !is_live(&h->list[i], live, nlive);
    for (size_t i = 0; i < h->n && dead > limit; i++) {
        if (&h->list[i] == h->update || is_live(&h->list[i], live, nlive))
            continue;
        int r = sync_delete(s, h->list[i].o, NULL, e);
        if (r < 0)
            return r;
        dead--;
    }
    return 0;
}
