/* JSONPath as CustomResourceDefinitions use it (client-go's jsonpath): .a.b, ['a'], [0], [-1], [1:3], [*], .*, ..a and filters such as
 * [?(@.type=="Ready")], [?(@.n>3)], [?(@.x)]. A malformed path finds nothing; jsonpath_simple says whether a path only names members. */
#pragma once
#include "json/json.h"

/* At most max values that the path names, in document order. */
size_t jsonpath_find(const struct json *doc, struct str path, const struct json **out, size_t max);
const struct json *jsonpath_first(const struct json *doc, struct str path); /* NULL: nothing */
bool jsonpath_valid(struct str path);
bool jsonpath_simple(struct str path); /* .a.b['c'] */
/* Sets the value at a simple path, making the objects on the way. false: not simple, or something else stands there. */
bool jsonpath_set(struct pool *p, struct json *doc, struct str path, struct json *value);
