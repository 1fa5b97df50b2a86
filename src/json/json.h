/* JSON documents (RFC 8259): a tree in a pool, parsed and written fast, numbers exact, limits on everything.
 *
 * A node is 48 bytes and lives in a pool; so do keys and strings, or they are views into the parsed text when they hold no escape (JSON_VIEW:
 * the text must then outlive the tree; parse copies the text into the pool first unless told that it need not).
 * Children form a list in document order; pointers to nodes stay valid while the tree is changed. An object with many members is looked up
 * in linear time by json_get; code that walks a hostile object key by key iterates instead (json_for).
 * Numbers: an integer that fits int64 is JSON_INT, everything else JSON_DOUBLE and written so that it reads back the same (shortest form).
 * Trees are not shared between threads while anyone changes them.
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "base/pool.h"

enum json_type { JSON_NULL, JSON_BOOL, JSON_INT, JSON_DOUBLE, JSON_STR, JSON_ARR, JSON_OBJ };

struct json {
    struct json *next;  /* sibling */
    const char *keyp;   /* member of an object: its key */
    uint32_t keyn;
    uint8_t type;       /* enum json_type */
    uint8_t flags;      /* the owner's use (schema marks nodes); 0 after parsing */
    uint16_t mark;      /* the owner's use */
    union {
        bool b;
        int64_t i;
        double d;
        const char *sp;
        struct json *first; /* ARR, OBJ */
    };
    union {
        uint32_t n;         /* length of a string; children of ARR, OBJ */
    };
    struct json *last;
};

struct json_limits {
    size_t bytes, depth, nodes; /* 0: the default (3 MiB, 128... see json.c) */
    bool view;                  /* strings may point into the input */
    bool strict_numbers;        /* refuse numbers that a double cannot hold */
};
struct json_dup { struct json_dup *next; struct str path; }; /* "spec.a": a key that came twice; the last one won */

/* ERR_PARSE with line and column; ERR_LIMIT. *dups, if asked for, lists duplicate keys as dotted paths (fieldValidation wants them). */
int json_parse(struct pool *pool, struct str text, const struct json_limits *limits, struct json **out, struct err **e) _must_check_;
int json_parse_dups(struct pool *pool, struct str text, const struct json_limits *limits, struct json **out, struct json_dup **dups, struct err **e) _must_check_;
void json_write(struct buf *b, const struct json *j);                         /* compact, no newline */
void json_write_pretty(struct buf *b, const struct json *j, int indent);
void json_write_str(struct buf *b, struct str s);                             /* one quoted string; as Go's encoder but without HTML escapes */
struct str json_to_pool(struct pool *pool, const struct json *j);

/* Making and changing. Strings are copied into pool unless the name says view. */
struct json *json_null(struct pool *p);
struct json *json_bool(struct pool *p, bool v);
struct json *json_int(struct pool *p, int64_t v);
struct json *json_double(struct pool *p, double v);
struct json *json_str(struct pool *p, struct str s);
struct json *json_str_view(struct pool *p, struct str s);
struct json *json_arr(struct pool *p);
struct json *json_obj(struct pool *p);
/* Sets (replacing) a member; value must not stand in another tree already. Returns value. */
struct json *json_set(struct pool *p, struct json *obj, struct str key, struct json *value);
struct json *json_set_str(struct pool *p, struct json *obj, struct str key, struct str value);
struct json *json_set_int(struct pool *p, struct json *obj, struct str key, int64_t value);
struct json *json_set_bool(struct pool *p, struct json *obj, struct str key, bool value);
struct json *json_put_obj(struct pool *p, struct json *obj, struct str key);  /* the member, made an object when it is none */
struct json *json_put_arr(struct pool *p, struct json *obj, struct str key);
struct json *json_append(struct json *arr, struct json *value);
struct json *json_insert(struct json *arr, size_t at, struct json *value);
bool json_del(struct json *obj, struct str key);
bool json_remove(struct json *parent, struct json *child); /* from an array or object */
void json_replace(struct json *old, const struct json *with); /* old takes with's contents (children shared), keeps key and place */
struct json *json_clone(struct pool *p, const struct json *j); /* deep; strings copied */

/* Reading. All accept NULL and the wrong type (and then answer as for absent). */
struct json *json_get(const struct json *obj, struct str key);
struct json *json_at(const struct json *arr, size_t i);
struct json *json_path(const struct json *j, ...) __attribute__((sentinel)); /* json_path(o, "metadata", "name", NULL); array steps not possible */
static inline bool json_is(const struct json *j, enum json_type t) { return j && j->type == t; }
static inline struct str json_key(const struct json *j) { return (struct str){j->keyp, j->keyn}; }
static inline struct str json_as_str(const struct json *j) { return json_is(j, JSON_STR) ? (struct str){j->sp, j->n} : STR_NULL; }
static inline int64_t json_as_int(const struct json *j, int64_t absent) { return json_is(j, JSON_INT) ? j->i : absent; }
static inline bool json_as_bool(const struct json *j, bool absent) { return json_is(j, JSON_BOOL) ? j->b : absent; }
static inline size_t json_count(const struct json *j) { return json_is(j, JSON_ARR) || json_is(j, JSON_OBJ) ? j->n : 0; }
struct str json_get_str(const struct json *obj, const char *key);
int64_t json_get_int(const struct json *obj, const char *key, int64_t absent);
bool json_get_bool(const struct json *obj, const char *key, bool absent);
/* The string at a path: json_str_at(o, "metadata", "name", NULL). */
struct str json_str_at(const struct json *j, ...) __attribute__((sentinel));
bool json_equal(const struct json *a, const struct json *b); /* objects regardless of order; 1 and 1.0 differ */
const char *json_type_name(enum json_type t);                 /* as Go says it: string, number, bool, object, array, null */

#define json_for(parent, it) \
    for (struct json *it = ((parent) && ((parent)->type == JSON_ARR || (parent)->type == JSON_OBJ)) ? (parent)->first : NULL, \
                     *it##_nx = it ? it->next : NULL; it; it = it##_nx, it##_nx = it ? it->next : NULL)

/* RFC 6901. NULL when absent; ERR_BAD_REQUEST when the pointer itself is malformed. */
int json_pointer(const struct json *j, struct str pointer, struct json **out, struct err **e) _must_check_;
/* RFC 7386. Changes *target (which may be replaced). */
void json_merge_patch(struct pool *p, struct json **target, const struct json *patch);
/* RFC 6902, all operations, atomic: target is untouched on error. At most 10,000 operations (as Kubernetes); copies bounded.
 * A failing "test" is ERR_INVALID, malformed patches ERR_BAD_REQUEST, with the messages evanphx/json-patch users know where sensible. */
int json_patch(struct pool *p, struct json **target, const struct json *patch, struct err **e) _must_check_;
