/* Field errors in Kubernetes' words (apimachinery/pkg/util/validation/field): each adds one cause to *e with reason, field path and
 * message.
 *
 * A path is a chain of steps on the stack, built while walking down and written out only when something is wrong:
 *     struct fpath spec = FPATH(NULL, "spec"), item = FPATH_AT(&spec, i);
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "json/json.h"

struct fpath {
    const struct fpath *up;
    struct str name; /* a member; with key: a map's key, written [name] */
    int64_t index;   /* >= 0: an element */
    bool key;
};
#define FPATH(up_, lit) ((struct fpath){.up = (up_), .name = STR(lit), .index = -1})
static inline struct fpath fpath_name(const struct fpath *up, struct str name)
{
    return (struct fpath){.up = up, .name = name, .index = -1};
}
static inline struct fpath fpath_key(const struct fpath *up, struct str name)
{
    return (struct fpath){.up = up, .name = name, .index = -1, .key = true};
}
static inline struct fpath fpath_at(const struct fpath *up, size_t i)
{
    return (struct fpath){.up = up, .index = (int64_t)i};
}
void fpath_write(struct buf *b, const struct fpath *p); /* "spec.containers[0].env[KEY]" */

void ferr_required(struct err **e, const struct fpath *p, const char *detail); /* detail may be "" */
void ferr_forbidden(struct err **e, const struct fpath *p, const char *detail);
void ferr_invalid(struct err **e, const struct fpath *p, const struct json *value, const char *detail); /* NULL value: null */
void ferr_invalid_str(struct err **e, const struct fpath *p, struct str value, const char *detail);
void ferr_invalid_int(struct err **e, const struct fpath *p, int64_t value, const char *detail);
void ferr_type_invalid(struct err **e, const struct fpath *p, struct str value, const char *detail); /* reason FieldValueTypeInvalid */
void ferr_duplicate(struct err **e, const struct fpath *p, const struct json *value);
void ferr_duplicate_str(struct err **e, const struct fpath *p, struct str value);
void ferr_not_found(struct err **e, const struct fpath *p, struct str value);
void ferr_not_supported(struct err **e, const struct fpath *p, struct str value, const struct str *valid, size_t n);
void ferr_not_supported_json(struct err **e, const struct fpath *p, const struct json *value, const struct str *valid, size_t n);
void ferr_too_long(struct err **e, const struct fpath *p, int max); /* bytes */
void ferr_too_many(struct err **e, const struct fpath *p, size_t actual, int max);

void go_quote(struct buf *b, struct str s); /* as Go's %q */
/* The causes of an ERR_INVALID error as one line, as Kubernetes' aggregate prints them: "a" or "[a, b]", doubles left out. */
void ferr_join(struct buf *b, const struct err *e);
