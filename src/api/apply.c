#include "api/impl.h"

/* Server-side apply and the upkeep of managedFields. */
int verb_apply(struct call *c, struct err **e)
{
    (void)c;
    return err_set(e, ERR_MEDIA_TYPE, "server-side apply is not served yet");
}
