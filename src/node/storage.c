/* Volumes of the class local-path on this node: a folder each, made before the first pod that mounts it, removed when gate says that its
 * claim is gone. Only folders whose names say that they are such (volume_provisioned_path_ok). */
#include "base/file.h"
#include "node/impl.h"

struct removal {
    struct list node;
    struct node *n;
    struct helper *helper;
    uint64_t reply_to;
    char *path;
};

int storage_provide(struct pod *p, struct err **e)
{
    for (size_t i = 0; i < p->spec.nvolumes; i++) {
        const struct node_volume *v = &p->spec.volumes[i];
        bool fresh = false, limited = false;
        if (v->kind != VOL_PROVISIONED)
            continue;
        int r = volume_provision(v->path, v->size_limit, &fresh, &limited, e);
        if (r < 0)
            return err_wrap(e, "volume \"%.*s\"", STR_ARG(v->name)), r;
        if (fresh && v->size_limit > 0 && !limited)
            pod_event(p, STR_NULL, false, "VolumeSizeNotEnforced",
                "volume \"%.*s\": the size of %" PRId64 " bytes is not enforced: the file system of %.*s has no project quotas",
                STR_ARG(v->name), v->size_limit, STR_ARG(v->path));
    }
    return 0;
}

static bool in_use(struct node *n, struct str path)
{
    map_for (&n->pods, it) {
        const struct pod *p = it->value;
        for (size_t i = 0; p->state != PS_GONE && i < p->spec.nvolumes; i++)
            if (p->spec.volumes[i].kind == VOL_PROVISIONED && str_eq(p->spec.volumes[i].path, path))
                return true;
    }
    return false;
}

static void removal_free(struct removal *x)
{
    list_remove(&x->node);
    helper_cancel(x->helper);
    free(x->path);
    free(x);
}

static int run(void *arg, struct buf *out, struct err **e)
{
    const struct removal *x = arg;
    (void)out;
    return volume_unprovision(str_of(x->path), e);
}

static void on_done(void *owner, const struct err *e, struct str out)
{
    struct removal *x = owner;
    (void)out;
    x->helper = NULL;
    node_reply(x->n, x->reply_to, e, NULL, 0);
    removal_free(x);
}

void storage_remove(struct node *n, struct wire_msg *m)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct node_storage s;
    int r = wire_decode(&node_storage_type, m->body, p, &s, &e);
    if (r == 0 && !volume_provisioned_path_ok(s.path))
        r = err_set(&e, ERR_INVALID, "path \"%.*s\" is not one of a provisioned volume", STR_ARG(s.path));
    if (r == 0 && in_use(n, s.path))
        r = err_set(&e, ERR_CONFLICT, "%.*s is used by a pod", STR_ARG(s.path));
    if (r < 0) {
        node_reply(n, m->id, e, NULL, 0);
        return;
    }
    struct removal *x = xcalloc(1, sizeof *x);
    *x = (struct removal){.n = n, .reply_to = m->id, .path = str_dup(s.path)};
    list_push(&n->removals, &x->node);
    x->helper = helper_start(n->loop, run, x, NULL, 0, 0, on_done, x, &e);
    if (!x->helper)
        on_done(x, e, STR_NULL);
}

void storage_free(struct node *n)
{
    for (struct removal *x; (x = list_first(&n->removals, struct removal, node));)
        removal_free(x);
}
