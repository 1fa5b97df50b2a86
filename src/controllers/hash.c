/* Names for revisions of a pod template, the same for equal templates whatever the order of their members. */
#include <stdlib.h>
#include "controllers/ctl.h"

static int by_key(const void *a, const void *b)
{
    return str_cmp(json_key(*(const struct json *const *)a), json_key(*(const struct json *const *)b));
}

void json_sorted(struct buf *b, const struct json *j)
{
    if (json_count(j) == 0) {
        json_write(b, j);
        return;
    }
    bool object = j->type == JSON_OBJ;
    size_t n = 0;
    const struct json **items = xmalloc(j->n * sizeof *items);
    for (const struct json *m = j->first; m; m = m->next)
        items[n++] = m;
    if (object)
        qsort(items, n, sizeof *items, by_key);
    buf_putc(b, object ? '{' : '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_putc(b, ',');
        if (object) {
            json_write_str(b, json_key(items[i]));
            buf_putc(b, ':');
        }
        json_sorted(b, items[i]);
    }
    buf_putc(b, object ? '}' : ']');
    free(items);
}

/* FNV-1a, 32 bits, spelled in letters that make no words (apimachinery's rand.SafeEncodeString). */
struct str template_hash(struct pool *p, const struct json *template, int64_t collisions)
{
    static const char letters[] = "bcdfghjklmnpqrstvwxz2456789";
    struct buf b = BUF_INIT;
    uint32_t h = 2166136261u;
    json_sorted(&b, template);
    if (collisions)
        buf_i64(&b, collisions);
    for (size_t i = 0; i < b.n; i++)
        h = (h ^ (unsigned char)b.p[i]) * 16777619u;
    buf_clear(&b);
    struct str digits = pool_printf(p, "%u", h);
    char *out = pool_alloc(p, digits.n);
    for (size_t i = 0; i < digits.n; i++)
        out[i] = letters[(unsigned char)digits.p[i] % (sizeof letters - 1)];
    return str_make(out, digits.n);
}

static const struct json *labels_of(const struct json *t)
{
    return json_path(t, "metadata", "labels", NULL);
}

/* Members of a that are not equal in b, but for the hash label and empty ones. */
static bool covers(const struct json *a, const struct json *b, bool labels)
{
    for (const struct json *m = json_is(a, JSON_OBJ) ? a->first : NULL; m; m = m->next) {
        if (labels && str_eqz(json_key(m), "pod-template-hash"))
            continue;
        const struct json *o = json_get(b, json_key(m));
        if (!o && (m->type == JSON_NULL || (m->type == JSON_OBJ && m->n == 0)))
            continue;
        if (!json_equal(m, o))
            return false;
    }
    return true;
}

static bool without_labels_equal(struct json *a, struct json *b)
{
    static const char *const parts[] = {"annotations", "finalizers", "name", "generateName", "namespace", "ownerReferences"};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        struct json *x = json_get(a, str_of(parts[i])), *y = json_get(b, str_of(parts[i]));
        if ((json_count(x) || json_count(y) || json_is(x, JSON_STR) || json_is(y, JSON_STR)) && !json_equal(x, y))
            return false;
    }
    return true;
}

bool template_equal(const struct json *a, const struct json *b)
{
    return json_equal(json_get(a, STR("spec")), json_get(b, STR("spec"))) && covers(labels_of(a), labels_of(b), true) &&
           covers(labels_of(b), labels_of(a), true) && without_labels_equal(json_get(a, STR("metadata")), json_get(b, STR("metadata")));
}
