/* What every custom resource has in common, as hooks would have it: cells by JSONPath, values of field selectors. */
#pragma once
#include "kinds/kinds.h"

/* One cell per column of c->res (apiextensions' tableconvertor): Name, then the CRD's additionalPrinterColumns. */
void custom_cells(struct kind_ctx *c, const struct json *doc, struct json *cells);
/* The text that a field selector compares with: "" when unset. */
struct str custom_field(const struct json *doc, struct str path);
