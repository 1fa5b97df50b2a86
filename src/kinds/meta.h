/* metadata: what every kind's objects share. Inside the room only. */
#pragma once
#include "kinds/kinds.h"

void meta_validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e);
/* On an update: what the server decides comes from old. */
void meta_keep(struct kind_ctx *c, struct json *doc, const struct json *old);
