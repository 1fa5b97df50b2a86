#include "schema/structural.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
/* A schema, an empty line, a document: violations, nodes, defaults, judgement. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str all = str_make((const char *)data, n);
    ssize_t cut = str_find(all, STR("\n\n"));
    struct pool *p = pool_new();
    struct json *schema, *doc;
    struct err *e = NULL;
    if (n < 16384 && cut >= 0 && json_parse(p, str_sub(all, 0, (size_t)cut), NULL, &schema, NULL) == 0 && schema->type == JSON_OBJ &&
        json_parse(p, str_sub(all, (size_t)cut + 2, n), NULL, &doc, NULL) == 0) {
        cr_violations(schema, NULL, &e);
        cr_check_rules(p, schema, NULL, &e);
        struct cr_node *root = cr_compile(p, schema);
        cr_compile_rules(p, root, schema);
        cr_default(root, p, doc);
        cr_validate_node(root, p, doc, NULL, &e);
        cr_rules(root, p, doc, doc, &e);
    }
    err_free(e);
    pool_free(p);
    return 0;
}
