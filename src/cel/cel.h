/* The Common Expression Language (github.com/google/cel-spec) with the libraries that Kubernetes gives it: an expression is parsed once and
 * evaluated often, by any thread, with a budget.
 *
 *   parse     cel_parse: text to a tree; macros (has, all, exists, exists_one, map, filter, optMap, cel.bind...) are nodes of their own.
 * Depth and size are bounded. check     cel_check: identifiers and functions must be known; members of values whose shape is known must be
 * there ("undefined field 'x'"). There is no full type inference: what it would find beyond that is found when the expression runs.
 *   evaluate  cel_eval: values are copied nowhere; JSON is wrapped as it lies. Each step costs, and text and lists by their size; past the
 * budget it ends.
 *
 * Values live in the run's pool. An error is a value (CEL_ERROR) until it reaches the top, since && and || may absorb it.
 */
#pragma once
#include "base/err.h"
#include "base/pool.h"
#include "json/json.h"

enum cel_type {
    CEL_ERROR,
    CEL_NULL,
    CEL_BOOL,
    CEL_INT,
    CEL_UINT,
    CEL_DOUBLE,
    CEL_STRING,
    CEL_BYTES,
    CEL_LIST,
    CEL_MAP,
    CEL_TYPE,
    CEL_DURATION,
    CEL_TIMESTAMP,
    CEL_OPTIONAL,
    CEL_QUANTITY,
    CEL_URL,
    CEL_IP,
    CEL_CIDR,
    CEL_SEMVER,
    CEL_FORMAT,
    CEL_AUTHZ,
    CEL_DECISION,
    CEL_TYPES
};
struct cel_pair;
struct cel_value {
    uint8_t type;
    union {
        bool b;
        int64_t i; /* INT; DURATION, TIMESTAMP: ns */
        uint64_t u;
        double d;
        struct str s; /* STRING, BYTES, ERROR (its message), TYPE (its name), FORMAT */
        struct {
            const struct cel_value *items;
            size_t n;
        } list; /* json NULL */
        struct {
            const struct cel_pair *pairs;
            size_t npairs;
        };                             /* MAP, json NULL */
        const struct cel_value *inner; /* OPTIONAL: NULL: none */
        const void *p;                 /* the library's own */
    };
    const struct json *json; /* LIST, MAP: a document as it lies */
    const void *node;        /* its shape, for the typer; NULL: none */
};
struct cel_pair {
    struct cel_value key, value;
};

/* What is known of the shape of JSON values. */
enum cel_shape {
    CEL_SHAPE_ANY,
    CEL_SHAPE_INT,
    CEL_SHAPE_DOUBLE,
    CEL_SHAPE_BYTES,
    CEL_SHAPE_TIMESTAMP,
    CEL_SHAPE_DURATION,
    CEL_SHAPE_STRING
};
struct cel_typer {
    const void *(*member)(const void *node, struct str name, bool *missing); /* missing: such an object never has it */
    const void *(*item)(const void *node);                                   /* of a list, or the values of a map */
    enum cel_shape (*shape)(const void *node);
    bool (*keyed)(const void *node, const struct str **keys, size_t *n); /* a list-type map; NULL keys: a set. May be NULL */
};

struct cel;                                                                    /* immutable */
int cel_parse(struct str text, struct cel **out, struct err **e) _must_check_; /* ERR_INVALID: "Syntax error: ..." with line and column */
void cel_free(struct cel *c);
DEFINE_CLEANUP(struct cel *, cel_free)
struct str cel_text(const struct cel *c);

struct cel_decl {
    struct str name;
    const void *node;
};
/* ERR_INVALID: "undeclared reference to 'x' (in container '')", "undefined field 'x'"; in cel-go's form, with the place. */
int cel_check(const struct cel *c, const struct cel_decl *vars, size_t n, const struct cel_typer *typer, struct err **e) _must_check_;
bool cel_names(const struct cel *c, struct str variable); /* is the variable used? */

struct cel_var {
    struct str name;
    struct cel_value value;
    const struct cel *lazy; /* instead: evaluated when first named (composition variables); value is kept here then */
    uint8_t state;          /* 0, 1: being evaluated, 2: value is there */
};
struct cel_attributes {
    struct str verb, group, resource, sub, ns, name, path, field_selector, label_selector;
    bool user_set;
    struct str sa_ns, sa_name;
};
struct cel_run {
    struct pool *pool;
    struct cel_var *vars;
    size_t nvars;
    const struct cel_typer *typer;
    uint64_t budget, cost; /* budget 0: CEL_BUDGET */
    bool (*authorize)(void *arg, const struct cel_attributes *at, struct str *reason);
    void *authorize_arg;
    /* private */
    struct cel_scope *scope;
    int depth;
};
#define CEL_BUDGET 10000000ull     /* of one expression, as Kubernetes' RuntimeCELCostBudget */
#define CEL_BUDGET_CALL 1000000ull /* PerCallLimit */
/* ERR_INVALID with the expression's own error ("no such key: x"); ERR_LIMIT: past the budget. */
int cel_eval(const struct cel *c, struct cel_run *r, struct cel_value *out, struct err **e) _must_check_;

struct cel_value cel_of_json(const struct json *j, const void *node, const struct cel_typer *typer);
struct json *cel_to_json(struct cel_run *r, struct cel_value v, struct err **e); /* NULL: it has no JSON form */
struct cel_value cel_str(struct str s);
struct cel_value cel_bool(bool b);
bool cel_equal(struct cel_run *r, struct cel_value a, struct cel_value b);
