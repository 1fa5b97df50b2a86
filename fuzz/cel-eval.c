#include "cel/cel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
/* An expression, a newline that stands alone, a document that it sees as self. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str all = str_make((const char *)data, n), text = all, doc = STR("{}");
    struct cel *c;
    struct json *j = NULL;
    ssize_t cut = str_find(all, STR("\n\n"));
    if (n > 8192)
        return 0;
    if (cut >= 0) {
        text = str_sub(all, 0, (size_t)cut);
        doc = str_sub(all, (size_t)cut + 2, n);
    }
    if (cel_parse(text, &c, NULL) < 0)
        return 0;
    struct pool *p = pool_new();
    if (json_parse(p, doc, NULL, &j, NULL) < 0)
        j = NULL;
    struct cel_var vars[] = {{.name = STR("self"), .value = cel_of_json(j, NULL, NULL)}};
    struct cel_run r = {.pool = p, .vars = vars, .nvars = 1, .budget = 100000};
    struct cel_value v;
    if (cel_check(c, NULL, 0, NULL, NULL) < 0 && cel_eval(c, &r, &v, NULL) == 0)
        (void)cel_to_json(&r, v, NULL);
    cel_free(c);
    pool_free(p);
    return 0;
}
