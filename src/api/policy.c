#include "api/hooks.h"

int policies_mutate(struct hook_request *rq, struct err **e)
{
    (void)rq, (void)e;
    return 0;
}

int policies_validate(struct hook_request *rq, struct err **e)
{
    (void)rq, (void)e;
    return 0;
}
