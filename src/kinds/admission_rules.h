/* What webhook configurations and admission policies have in common. Inside the room only. */
#pragma once
#include "kinds/kinds.h"
#include "schema/ferr.h"

/* An expression must parse and name only what it may; vars is NULL-ended. Where it stood the same before, it was judged then. */
void admission_expression(struct str text, const struct json *old, const char *const *vars, const struct fpath *at, struct err **e);
void admission_conditions(const struct json *list, const struct json *old, const char *const *vars, const struct fpath *at, struct err **e);
void admission_rules(const struct json *list, const struct fpath *at, struct err **e);
