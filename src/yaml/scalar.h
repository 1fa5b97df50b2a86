/* What a plain scalar means. Inside the room only. */
#pragma once
#include "json/json.h"

enum scalar { SCALAR_STR, SCALAR_NULL, SCALAR_BOOL, SCALAR_INT, SCALAR_DOUBLE, SCALAR_MERGE, SCALAR_NO_JSON /* .inf, .nan */ };
struct scalar_value {
    bool b;
    int64_t i;
    double d;
};
/* As go-yaml v2's resolve(). A number without a fraction is an INT wherever int64 holds it, however it was written: Kubernetes turns YAML
 * into JSON text first, where 8.0 stands as 8. */
enum scalar scalar_resolve(struct str s, struct scalar_value *out);
/* Would another reader of YAML 1.1 take it for a time or a base-60 number? Such strings are written in quotes. */
bool scalar_looks_special(struct str s);
