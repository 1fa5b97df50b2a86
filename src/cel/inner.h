/* The tree, and what the libraries share. Inside the room only. */
#pragma once
#include "base/buf.h"
#include "cel/cel.h"

enum cel_op {
    OP_LITERAL,
    OP_IDENT,
    OP_SELECT,
    OP_HAS,
    OP_INDEX,
    OP_CALL,
    OP_LIST,
    OP_MAP,
    OP_MESSAGE,
    OP_NOT,
    OP_NEG,
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_MOD,
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE,
    OP_IN,
    OP_AND,
    OP_OR,
    OP_IF,
    OP_FOLD,
    OP_BIND,
    OP_OPT_MAP,
    OP_OPT_FLAT
};
enum fold { FOLD_ALL, FOLD_EXISTS, FOLD_ONE, FOLD_MAP, FOLD_FILTER, FOLD_LIST /* transformList */, FOLD_MAP_VALUES /* transformMap */ };
struct cel_fn;
struct cel_node {
    uint8_t op, fold;
    bool optional;          /* SELECT, INDEX: .?, [?; elements of lists and maps: ?x */
    uint32_t at;            /* offset in the text */
    struct str name, name2; /* IDENT, SELECT, CALL; variables of FOLD, BIND; the type of MESSAGE */
    struct cel_value value; /* LITERAL */
    struct cel_node **kids; /* operands; CALL: target first when has_target; FOLD: range, then bodies; MAP: key, value, ... */
    uint16_t nkids;
    bool has_target;
    const struct cel_fn *fn; /* CALL: the first row of its name */
};
struct cel {
    struct pool *pool;
    struct str text;
    struct cel_node *root;
};

struct cel_scope { /* a variable of a comprehension */
    const struct cel_scope *up;
    struct str name;
    struct cel_value value;
};

typedef struct cel_value cel_fn_t(struct cel_run *r, struct cel_value *v, size_t n);
struct cel_fn {
    const char *name; /* "size"; "ip.isCanonical" */
    uint8_t min, max; /* values, the target among them */
    bool member, global;
    cel_fn_t *fn;
};
const struct cel_fn *cel_fn_find(struct str name, bool member, size_t n, bool *known); /* known: the name is, though not so */

struct cel_value cel_error(struct cel_run *r, const char *fmt, ...) _printf_(2, 3);
struct cel_value cel_no_overload(struct cel_run *r, const char *fn, const struct cel_value *v, size_t n);
struct cel_value cel_int(int64_t i);
struct cel_value cel_uint(uint64_t u);
struct cel_value cel_double(double d);
struct cel_value cel_null(void);
struct cel_value cel_opt(struct cel_run *r, const struct cel_value *v); /* NULL: none */
struct cel_value cel_list(const struct cel_value *items, size_t n);
struct cel_value cel_map(const struct cel_pair *pairs, size_t n);
bool cel_spend(struct cel_run *r, uint64_t n); /* false: past the budget */
struct cel_value cel_over(struct cel_run *r);  /* the error for that */
/* Items of a list; a JSON list is unfolded into the pool. */
const struct cel_value *cel_items(struct cel_run *r, struct cel_value v, size_t *n);
const struct cel_pair *cel_pairs(struct cel_run *r, struct cel_value v, size_t *n);
bool cel_map_get(struct cel_run *r, struct cel_value m, struct cel_value key, struct cel_value *out);
int cel_compare(struct cel_value a, struct cel_value b, bool *ok); /* numbers across types, strings, bytes, bools, times */
struct str cel_type_name(struct cel_value v);
size_t cel_runes(struct str s);
struct cel_value cel_to_text(struct cel_run *r, struct cel_value v); /* string(v) */
/* "ERROR: <input>:1:5: what" with the line and a mark below it. */
struct buf;
void cel_place(struct buf *b, struct str s, size_t at, const char *what);
/* tables of functions */
extern const struct cel_fn cel_std[], cel_strings[], cel_lists[], cel_kube[], cel_net[];
bool cel_duration_parse(struct str s, int64_t *ns); /* "1h30m", "-1.5s" */
/* lib_kube.c, lib_net.c: values of their own that can be compared */
bool cel_kube_equal(struct cel_value a, struct cel_value b);
struct cel_value cel_net_text(struct cel_run *r, struct cel_value v);
bool cel_net_equal(struct cel_value a, struct cel_value b);
struct cel_value cel_quantity(struct cel_run *r, struct str s);
