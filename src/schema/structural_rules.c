#include "schema/structural.h"

/* x-kubernetes-validations: rules in CEL beside a structural schema. */

void cr_compile_rules(struct pool *p, struct cr_node *n, const struct json *schema)
{
    (void)p, (void)n, (void)schema;
}

void cr_rules(const struct cr_node *n, struct pool *p, const struct json *doc, const struct json *old, struct err **e)
{
    (void)n, (void)p, (void)doc, (void)old, (void)e;
}

void cr_check_rules(struct pool *p, const struct json *schema, const struct fpath *at, struct err **e)
{
    (void)p, (void)schema, (void)at, (void)e;
}
