/* What stands in a file of the auto-deploy folder. */
#include <stdlib.h>
#include "controllers/manifests.h"
#include "yaml/yaml.h"

struct parts {
    struct pool *pool;
    struct json **docs;
    size_t n, cap;
};

/* What an export by kubectl carries and no one can apply. */
static void strip(struct json *meta)
{
    static const char *const stamps[] = {"resourceVersion", "uid", "managedFields", "creationTimestamp", "generation", "selfLink"};
    for (size_t i = 0; i < ARRAY_LEN(stamps); i++)
        json_del(meta, str_of(stamps[i]));
}

static int add(struct parts *x, struct json *doc, int depth, struct err **e)
{
    struct str kind = json_get_str(doc, "kind");
    struct json *items = json_get(doc, STR("items"));
    if (!json_is(doc, JSON_OBJ))
        return err_set(e, ERR_PARSE, "document is no object");
    if (str_ends(kind, STR("List")) && json_is(items, JSON_ARR) && depth == 0) {
        json_for (items, one) {
            int r = add(x, one, 1, e);
            if (r < 0)
                return r;
        }
        return 0;
    }
    if (!json_get_str(doc, "apiVersion").n)
        return err_set(e, ERR_INVALID, "apiVersion: must be set");
    if (!kind.n)
        return err_set(e, ERR_INVALID, "kind: must be set");
    if (!json_str_at(doc, "metadata", "name", NULL).n)
        return err_set(e, ERR_INVALID, "%.*s: metadata.name: must be set", STR_ARG(kind));
    if (x->n == MANIFEST_OBJECTS)
        return err_set(e, ERR_LIMIT, "more than %d objects", MANIFEST_OBJECTS);
    if (x->n == x->cap) {
        size_t cap = x->cap ? x->cap * 2 : 16;
        x->docs = pool_grow(x->pool, x->docs, x->cap * sizeof *x->docs, cap * sizeof *x->docs);
        x->cap = cap;
    }
    strip(json_get(doc, STR("metadata")));
    x->docs[x->n++] = doc;
    return 0;
}

/* Who must stand before others can. */
static int rank(const struct json *doc)
{
    static const struct {
        const char *kind;
        int rank;
    } first[] = {{"Namespace", 0}, {"CustomResourceDefinition", 1}, {"PriorityClass", 1}, {"StorageClass", 1}, {"ServiceAccount", 2},
        {"APIService", 8}, {"ValidatingWebhookConfiguration", 9}, {"MutatingWebhookConfiguration", 9}};
    for (size_t i = 0; i < ARRAY_LEN(first); i++)
        if (str_eqz(json_get_str(doc, "kind"), first[i].kind))
            return first[i].rank;
    return 5;
}

/* Stable: within a rank the file's own order holds. */
static void order(struct parts *x)
{
    struct json **sorted = pool_array(x->pool, struct json *, x->n + 1);
    size_t n = 0;
    for (int r = 0; r < 10; r++)
        for (size_t i = 0; i < x->n; i++)
            if (rank(x->docs[i]) == r)
                sorted[n++] = x->docs[i];
    x->docs = sorted;
}

int manifest_parse(struct pool *p, struct str text, struct json ***docs, size_t *n, struct err **e)
{
    static const struct yaml_limits limits = {.bytes = MANIFEST_BYTES, .nodes = 500000, .documents = MANIFEST_OBJECTS};
    struct parts x = {.pool = p};
    struct json **raw;
    size_t nraw;
    int r = yaml_parse(p, text, &limits, &raw, &nraw, e);
    for (size_t i = 0; r == 0 && i < nraw; i++) {
        r = json_is(raw[i], JSON_NULL) ? 0 : add(&x, raw[i], 0, e);
        if (r < 0)
            r = err_wrap(e, "document %zu", i + 1);
    }
    if (r < 0)
        return r;
    order(&x);
    *docs = x.docs;
    *n = x.n;
    return 0;
}
