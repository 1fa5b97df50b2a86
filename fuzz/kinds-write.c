/* The first byte chooses a kind; the rest is a document, and after a newline perhaps the one that it replaces. Defaults, preparation,
 * validation, cells, projection and indexes of every kind stand whatever decodes; what was written once is written again without a change.
 */
#include <stdlib.h>
#include "kinds/kinds.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct json *read_doc(struct pool *p, const struct schema_resource *r, struct str text)
{
    struct json *j;
    struct schema_notes notes;
    if (json_parse(p, text, NULL, &j, NULL) < 0 || schema_decode(r, r->type, p, j, &notes, NULL) < 0)
        return NULL;
    return j;
}

static void write_doc(struct kind_ctx *c, struct json *doc, const struct json *old)
{
    _cleanup_(err_freep) struct err *e = NULL;
    kind_default(c, doc);
    if (kind_prepare(c, doc, old, NULL) < 0)
        abort();
    (void)kind_validate(c, doc, old, &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct schema *s;
    static size_t n;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    if (!s) {
        kinds_attach();
        s = schema_builtin();
        while (schema_at(s, n))
            n++;
    }
    if (size < 2)
        return 0;
    const struct schema_resource *r = schema_at(s, data[0] % n);
    struct kind_ctx c = {p, r, STR(""), INT64_C(1767225600000000000)};
    struct str text = {(const char *)data + 1, size - 1}, before = STR_NULL;
    struct json *old = NULL, *doc, *row = json_arr(p);
    (void)str_cut(text, '\n', &text, &before);
    if (before.n && (old = read_doc(p, r, before)))
        write_doc(&c, old, NULL);
    if (!(doc = read_doc(p, r, text)))
        return 0;
    write_doc(&c, doc, old);
    kind_cells(&c, doc, row);
    if (row->n != r->ncolumns)
        abort();
    if (r->hooks && r->hooks->project) {
        struct str view;
        r->hooks->project(p, doc, &view);
    }
    if (r->hooks && r->hooks->index) {
        struct obj_index ix = {.pool = p};
        r->hooks->index(p, doc, &ix);
    }
    struct json *again = json_clone(p, doc);
    write_doc(&c, again, doc);
    struct json *third = json_clone(p, again);
    write_doc(&c, third, again);
    if (!json_equal(again, third))
        abort();
    if (r->hooks && r->hooks->convert) {
        (void)r->hooks->convert(&c, again, str_eqz(r->group, "autoscaling") ? STR("autoscaling/v1") : STR("events.k8s.io/v1"), NULL);
        (void)r->hooks->convert(&c, again, str_eqz(r->group, "autoscaling") ? STR("autoscaling/v2") : STR("v1"), NULL);
    }
    return 0;
}
