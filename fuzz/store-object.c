/* Any JSON document as an object of the store: it is refused with an error, or stands there with its revision in its bytes, reads back as
 * the same document, and a second write of it changes nothing. */
#include "base/pool.h"
#include "store/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct store_kind kinds[] = {{.name = {"/namespaced", 11}, .namespaced = true}, {.name = {"/global", 7}}};

static void check(struct store *s, struct store_res *r, struct pool *p, struct json *tree)
{
    const struct obj *o = NULL, *again = NULL, *last = NULL;
    struct json *back = NULL;
    if (store_create(s, r, p, tree, 0, &o, NULL) < 0)
        return;
    if (obj_parse(o, p, &back, NULL) < 0 || !json_equal(back, tree))
        abort();
    if (store_update(s, r, p, back, o->rev, 0, &again, NULL) < 0 || again != o)
        abort();
    if (store_delete(s, r, o->ns, o->name, o->uid, o->rev, 0, &last, NULL) < 0 || last->rev <= o->rev)
        abort();
    for (uint32_t i = 1; i < o->nlabels; i++)
        if (str_cmp(o->labels[i - 1].key, o->labels[i].key) >= 0)
            abort();
    obj_unref(o);
    obj_unref(again);
    obj_unref(last);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct store_config c = {.kinds = kinds, .nkinds = 2};
    struct store *s = NULL;
    struct pool *p = pool_new();
    struct json *tree = NULL;
    if (store_open(&c, &s, NULL) < 0)
        abort();
    for (int i = 0; i < 2; i++)
        if (json_parse(p, str_make((const char *)data, size), NULL, &tree, NULL) == 0)
            check(s, store_find(s, kinds[i].name), p, tree);
    store_close(s);
    pool_free(p);
    return 0;
}
