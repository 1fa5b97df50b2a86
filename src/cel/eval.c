#include "cel/inner.h"

#include <math.h>

/* Evaluation: one walk over the tree. */

enum { DEPTH_MAX = 1000, ITEMS_MAX = 1 << 20 };

static struct cel_value eval(struct cel_run *r, const struct cel_node *n);

/* ---- arithmetic ---- */

static struct cel_value overflow(struct cel_run *r, bool is_unsigned)
{
    return cel_error(r, is_unsigned ? "unsigned integer overflow" : "integer overflow");
}

static struct cel_value ints(struct cel_run *r, uint8_t op, int64_t a, int64_t b)
{
    int64_t v = 0;
    bool over = false;
    switch (op) {
    case OP_ADD:
        over = __builtin_add_overflow(a, b, &v);
        break;
    case OP_SUB:
        over = __builtin_sub_overflow(a, b, &v);
        break;
    case OP_MUL:
        over = __builtin_mul_overflow(a, b, &v);
        break;
    default:
        if (b == 0)
            return cel_error(r, op == OP_DIV ? "division by zero" : "modulus by zero");
        over = a == INT64_MIN && b == -1;
        if (!over)
            v = op == OP_DIV ? a / b : a % b;
    }
    return over ? overflow(r, false) : cel_int(v);
}

static struct cel_value uints(struct cel_run *r, uint8_t op, uint64_t a, uint64_t b)
{
    uint64_t v = 0;
    bool over = false;
    switch (op) {
    case OP_ADD:
        over = __builtin_add_overflow(a, b, &v);
        break;
    case OP_SUB:
        over = __builtin_sub_overflow(a, b, &v);
        break;
    case OP_MUL:
        over = __builtin_mul_overflow(a, b, &v);
        break;
    default:
        if (b == 0)
            return cel_error(r, op == OP_DIV ? "division by zero" : "modulus by zero");
        v = op == OP_DIV ? a / b : a % b;
    }
    return over ? overflow(r, true) : cel_uint(v);
}

static struct cel_value times(struct cel_run *r, uint8_t op, struct cel_value a, struct cel_value b)
{
    struct cel_value v = ints(r, op, a.i, b.i);
    if (v.type == CEL_ERROR)
        return v;
    bool both = a.type == CEL_TIMESTAMP && b.type == CEL_TIMESTAMP;
    if ((both && op == OP_ADD) || (a.type == CEL_DURATION && b.type == CEL_TIMESTAMP && op == OP_SUB) || (op != OP_ADD && op != OP_SUB))
        return cel_no_overload(r, "_+_", &a, 1);
    v.type = both || (a.type == CEL_DURATION && b.type == CEL_DURATION) ? CEL_DURATION : CEL_TIMESTAMP;
    return v;
}

static struct cel_value join(struct cel_run *r, struct cel_value a, struct cel_value b)
{
    size_t n, m;
    if (a.type == CEL_LIST) {
        const struct cel_value *x = cel_items(r, a, &n), *y = cel_items(r, b, &m);
        if (n + m > ITEMS_MAX || !cel_spend(r, (n + m) / 10 + 1))
            return cel_over(r);
        struct cel_value *all = pool_array(r->pool, struct cel_value, n + m + 1);
        for (size_t i = 0; i < n; i++)
            all[i] = x[i];
        for (size_t i = 0; i < m; i++)
            all[n + i] = y[i];
        return cel_list(all, n + m);
    }
    if (!cel_spend(r, (a.s.n + b.s.n) / 10))
        return cel_over(r);
    char *text = pool_alloc(r->pool, a.s.n + b.s.n + 1);
    if (a.s.n)
        memcpy(text, a.s.p, a.s.n);
    if (b.s.n)
        memcpy(text + a.s.n, b.s.p, b.s.n);
    return (struct cel_value){.type = a.type, .s = str_make(text, a.s.n + b.s.n)};
}

static struct cel_value arithmetic(struct cel_run *r, uint8_t op, struct cel_value a, struct cel_value b)
{
    if (a.type == CEL_INT && b.type == CEL_INT)
        return ints(r, op, a.i, b.i);
    if (a.type == CEL_UINT && b.type == CEL_UINT)
        return uints(r, op, a.u, b.u);
    if (a.type == CEL_DOUBLE && b.type == CEL_DOUBLE && op != OP_MOD)
        return cel_double(op == OP_ADD ? a.d + b.d : op == OP_SUB ? a.d - b.d : op == OP_MUL ? a.d * b.d : a.d / b.d);
    if ((a.type == CEL_TIMESTAMP || a.type == CEL_DURATION) && (b.type == CEL_TIMESTAMP || b.type == CEL_DURATION))
        return times(r, op, a, b);
    if (op == OP_ADD && a.type == b.type && (a.type == CEL_STRING || a.type == CEL_BYTES || a.type == CEL_LIST))
        return join(r, a, b);
    struct cel_value v[] = {a, b};
    return cel_no_overload(r, "_+_", v, 2);
}

static struct cel_value compare(struct cel_run *r, uint8_t op, struct cel_value a, struct cel_value b)
{
    bool ok;
    int c = cel_compare(a, b, &ok);
    if (!ok && (isnan(a.type == CEL_DOUBLE ? a.d : 0) || isnan(b.type == CEL_DOUBLE ? b.d : 0)))
        return cel_bool(false);
    if (!ok) {
        struct cel_value v[] = {a, b};
        return cel_no_overload(r, "_<_", v, 2);
    }
    return cel_bool(op == OP_LT ? c < 0 : op == OP_LE ? c <= 0 : op == OP_GT ? c > 0 : c >= 0);
}

static struct cel_value is_in(struct cel_run *r, struct cel_value a, struct cel_value b)
{
    struct cel_value v;
    size_t n;
    if (b.type == CEL_MAP)
        return cel_bool(cel_map_get(r, b, a, &v));
    if (b.type != CEL_LIST)
        return cel_no_overload(r, "in", &b, 1);
    const struct cel_value *items = cel_items(r, b, &n);
    for (size_t i = 0; i < n; i++)
        if (cel_equal(r, a, items[i]))
            return cel_bool(true);
    return cel_bool(false);
}

static struct cel_value binary(struct cel_run *r, const struct cel_node *n)
{
    struct cel_value a = eval(r, n->kids[0]), b;
    if (a.type == CEL_ERROR)
        return a;
    b = eval(r, n->kids[1]);
    if (b.type == CEL_ERROR)
        return b;
    switch (n->op) {
    case OP_EQ:
        return cel_bool(cel_equal(r, a, b));
    case OP_NE:
        return cel_bool(!cel_equal(r, a, b));
    case OP_IN:
        return is_in(r, a, b);
    case OP_LT:
    case OP_LE:
    case OP_GT:
    case OP_GE:
        return compare(r, n->op, a, b);
    default:
        return arithmetic(r, n->op, a, b);
    }
}

/* Either side decides, whatever becomes of the other. */
static struct cel_value logic(struct cel_run *r, const struct cel_node *n)
{
    bool decides = n->op == OP_OR;
    struct cel_value a = eval(r, n->kids[0]);
    if (a.type == CEL_BOOL && a.b == decides)
        return a;
    struct cel_value b = eval(r, n->kids[1]);
    if (b.type == CEL_BOOL && b.b == decides)
        return b;
    if (a.type == CEL_BOOL && b.type == CEL_BOOL)
        return cel_bool(!decides);
    return a.type == CEL_ERROR ? a : b.type == CEL_ERROR ? b : cel_error(r, "no such overload");
}

/* ---- names and members ---- */

static struct cel_value variable(struct cel_run *r, const struct cel_node *n)
{
    static const char *const types[] = {"bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type"};
    for (const struct cel_scope *s = r->scope; s; s = s->up)
        if (str_eq(s->name, n->name))
            return s->value;
    for (size_t i = 0; i < r->nvars; i++) {
        struct cel_var *v = &r->vars[i];
        if (!v->lazy && str_eq(v->name, n->name))
            return v->value;
    }
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_eqz(n->name, types[i]))
            return (struct cel_value){.type = CEL_TYPE, .s = n->name};
    return cel_error(r, "no such attribute(s): %.*s", STR_ARG(n->name));
}

/* variables.x of a policy: made when it is first named. */
static bool lazy_variable(struct cel_run *r, const struct cel_node *n, struct cel_value *out)
{
    const struct cel_node *head = n->kids[0];
    if (head->op != OP_IDENT || !str_eqz(head->name, "variables"))
        return false;
    for (size_t i = 0; i < r->nvars; i++) {
        struct cel_var *v = &r->vars[i];
        if (!v->lazy || !str_eq(v->name, n->name))
            continue;
        if (v->state == 1) {
            *out = cel_error(r, "composited variable \"%.*s\" refers to itself", STR_ARG(n->name));
            return true;
        }
        if (v->state == 0) {
            struct cel_scope *scope = r->scope;
            v->state = 1;
            r->scope = NULL;
            v->value = eval(r, v->lazy->root);
            r->scope = scope;
            v->state = 2;
            if (v->value.type == CEL_ERROR)
                v->value = cel_error(r, "composited variable \"%.*s\" fails to evaluate: %.*s", STR_ARG(n->name), STR_ARG(v->value.s));
        }
        *out = v->value;
        return true;
    }
    return false;
}

static struct cel_value index_of(struct cel_run *r, struct cel_value a, struct cel_value key, bool optional)
{
    struct cel_value v;
    size_t n;
    if (a.type == CEL_OPTIONAL) {
        if (!a.inner)
            return a;
        v = index_of(r, *a.inner, key, true);
        return v.type == CEL_OPTIONAL || v.type == CEL_ERROR ? v : cel_opt(r, &v);
    }
    if (a.type == CEL_MAP) {
        if (cel_map_get(r, a, key, &v))
            return optional ? cel_opt(r, &v) : v;
        if (optional)
            return cel_opt(r, NULL);
        struct cel_value text = cel_to_text(r, key);
        return cel_error(r, "no such key: %.*s", STR_ARG(text.s));
    }
    if (a.type == CEL_LIST && (key.type == CEL_INT || key.type == CEL_UINT || key.type == CEL_DOUBLE)) {
        const struct cel_value *items = cel_items(r, a, &n);
        double at = key.type == CEL_INT ? (double)key.i : key.type == CEL_UINT ? (double)key.u : key.d;
        if (at >= 0 && at < (double)n && at == floor(at))
            return optional ? cel_opt(r, &items[(size_t)at]) : items[(size_t)at];
        return optional ? cel_opt(r, NULL) : cel_error(r, "index out of bounds: %.0f", at);
    }
    return optional && a.type == CEL_NULL ? cel_opt(r, NULL) : cel_no_overload(r, "_[_]", &a, 1);
}

static struct cel_value select_of(struct cel_run *r, const struct cel_node *n)
{
    struct cel_value v;
    if (lazy_variable(r, n, &v))
        return v;
    v = eval(r, n->kids[0]);
    if (v.type == CEL_ERROR)
        return v;
    if (v.type == CEL_AUTHZ) { /* authorizer.requestResource: a variable with a dot in its name */
        for (size_t i = 0; i < r->nvars; i++)
            if (str_eqz(n->name, "requestResource") && str_eqz(r->vars[i].name, "authorizer.requestResource"))
                return r->vars[i].value;
    }
    if (v.type != CEL_MAP && v.type != CEL_OPTIONAL)
        return n->optional && v.type == CEL_NULL ? cel_opt(r, NULL) : cel_error(r, "no such key: %.*s", STR_ARG(n->name));
    return index_of(r, v, cel_str(n->name), n->optional);
}

static struct cel_value has(struct cel_run *r, const struct cel_node *n)
{
    struct cel_value v = eval(r, n->kids[0]), m;
    if (v.type == CEL_ERROR)
        return v;
    if (v.type == CEL_OPTIONAL) {
        if (!v.inner)
            return cel_bool(false);
        v = *v.inner;
    }
    if (v.type != CEL_MAP)
        return cel_bool(false);
    return cel_bool(cel_map_get(r, v, cel_str(n->name), &m) && !(m.type == CEL_NULL && v.node));
}

/* ---- literals ---- */

static struct cel_value list(struct cel_run *r, const struct cel_node *n)
{
    struct cel_value *items = pool_array(r->pool, struct cel_value, n->nkids + 1u);
    size_t count = 0;
    for (uint16_t i = 0; i < n->nkids; i++) {
        const struct cel_node *k = n->kids[i];
        bool opt = k->op == OP_LIST && k->optional;
        struct cel_value v = eval(r, opt ? k->kids[0] : k);
        if (v.type == CEL_ERROR)
            return v;
        if (opt && v.type != CEL_OPTIONAL)
            return cel_error(r, "cannot initialize optional list element from non-optional value");
        if (opt && !v.inner)
            continue;
        items[count++] = opt ? *v.inner : v;
    }
    return cel_list(items, count);
}

static struct cel_value map(struct cel_run *r, const struct cel_node *n)
{
    struct cel_pair *pairs = pool_array(r->pool, struct cel_pair, n->nkids + 1u);
    size_t count = 0;
    for (uint16_t i = 0; i < n->nkids; i++) {
        const struct cel_node *k = n->kids[i];
        struct cel_value key = eval(r, k->kids[0]), v = eval(r, k->kids[1]), had;
        if (key.type == CEL_ERROR || v.type == CEL_ERROR)
            return key.type == CEL_ERROR ? key : v;
        if (k->optional && v.type != CEL_OPTIONAL)
            return cel_error(r, "cannot initialize optional entry from non-optional value");
        if (k->optional && !v.inner)
            continue;
        if (cel_map_get(r, cel_map(pairs, count), key, &had))
            return cel_error(r, "Failed with repeated key");
        pairs[count++] = (struct cel_pair){key, k->optional ? *v.inner : v};
    }
    return cel_map(pairs, count);
}

/* ---- comprehensions ---- */

struct folding {
    struct cel_run *r;
    const struct cel_node *n;
    struct cel_scope one, two;
    struct cel_value *out;
    struct cel_pair *pairs;
    size_t nout, matches;
    struct cel_value error; /* of all and exists: stands unless another element decides */
};

/* One element. true: the result is in *done. */
static bool fold_step(struct folding *f, struct cel_value key, struct cel_value *done)
{
    struct cel_run *r = f->r;
    const struct cel_node *n = f->n;
    bool filtered = n->nkids == 3;
    struct cel_value v = eval(r, n->kids[1]);
    if (!cel_spend(r, 1)) {
        *done = cel_over(r);
        return true;
    }
    bool wants_bool = n->fold <= FOLD_ONE || n->fold == FOLD_FILTER || filtered;
    if (v.type == CEL_ERROR || (wants_bool && v.type != CEL_BOOL)) {
        if (v.type != CEL_ERROR)
            v = cel_error(r, "no such overload");
        if ((n->fold == FOLD_ALL || n->fold == FOLD_EXISTS) && r->cost <= r->budget) {
            f->error = v;
            return false;
        }
        *done = v;
        return true;
    }
    switch (n->fold) {
    case FOLD_ALL:
    case FOLD_EXISTS:
        if (v.b == (n->fold == FOLD_EXISTS)) {
            *done = v;
            return true;
        }
        return false;
    case FOLD_ONE:
        f->matches += v.b;
        return false;
    case FOLD_FILTER:
        if (v.b)
            f->out[f->nout++] = f->one.value;
        return false;
    default:
        break;
    }
    if (filtered) {
        if (!v.b)
            return false;
        v = eval(r, n->kids[2]);
        if (v.type == CEL_ERROR) {
            *done = v;
            return true;
        }
    }
    if (n->fold == FOLD_MAP_VALUES)
        f->pairs[f->nout++] = (struct cel_pair){key, v};
    else
        f->out[f->nout++] = v;
    return false;
}

static struct cel_value fold_result(struct folding *f)
{
    switch (f->n->fold) {
    case FOLD_ALL:
    case FOLD_EXISTS:
        return f->error.s.p ? f->error : cel_bool(f->n->fold == FOLD_ALL);
    case FOLD_ONE:
        return cel_bool(f->matches == 1);
    case FOLD_MAP_VALUES:
        return cel_map(f->pairs, f->nout);
    default:
        return cel_list(f->out, f->nout);
    }
}

static struct cel_value fold(struct cel_run *r, const struct cel_node *n)
{
    struct cel_value range = eval(r, n->kids[0]), done;
    struct folding f = {.r = r, .n = n};
    struct cel_scope *outer = r->scope;
    size_t count;
    bool two = n->name2.n > 0, ended = false;
    if (range.type == CEL_ERROR)
        return range;
    if (range.type != CEL_LIST && range.type != CEL_MAP)
        return cel_no_overload(r, "all", &range, 1);
    const struct cel_value *items = range.type == CEL_LIST ? cel_items(r, range, &count) : NULL;
    const struct cel_pair *pairs = range.type == CEL_MAP ? cel_pairs(r, range, &count) : NULL;
    f.out = pool_array(r->pool, struct cel_value, count + 1);
    f.pairs = n->fold == FOLD_MAP_VALUES ? pool_array(r->pool, struct cel_pair, count + 1) : NULL;
    f.one = (struct cel_scope){.up = outer, .name = n->name};
    f.two = (struct cel_scope){.up = &f.one, .name = n->name2};
    r->scope = two ? &f.two : &f.one;
    for (size_t i = 0; i < count && !ended; i++) {
        struct cel_value key = items ? cel_int((int64_t)i) : pairs[i].key;
        f.one.value = two ? key : items ? items[i] : pairs[i].key;
        f.two.value = items ? items[i] : pairs[i].value;
        ended = fold_step(&f, key, &done);
    }
    r->scope = outer;
    return ended ? done : fold_result(&f);
}

static struct cel_value bind(struct cel_run *r, const struct cel_node *n, struct cel_value v)
{
    struct cel_scope s = {.up = r->scope, .name = n->name, .value = v}, *outer = r->scope;
    r->scope = &s;
    v = eval(r, n->kids[1]);
    r->scope = outer;
    return v;
}

static struct cel_value opt_map(struct cel_run *r, const struct cel_node *n, struct cel_value v)
{
    if (v.type == CEL_ERROR)
        return v;
    if (v.type != CEL_OPTIONAL)
        return cel_no_overload(r, "optMap", &v, 1);
    if (!v.inner)
        return v;
    v = bind(r, n, *v.inner);
    if (v.type == CEL_ERROR || n->op == OP_OPT_FLAT)
        return v;
    return cel_opt(r, &v);
}

/* ---- the walk ---- */

static struct cel_value call(struct cel_run *r, const struct cel_node *n)
{
    struct cel_value v[16];
    if (n->nkids > ARRAY_LEN(v))
        return cel_error(r, "too many arguments");
    for (uint16_t i = 0; i < n->nkids; i++) {
        v[i] = eval(r, n->kids[i]);
        if (v[i].type == CEL_ERROR)
            return v[i];
    }
    return n->fn->fn(r, v, n->nkids);
}

static struct cel_value eval_node(struct cel_run *r, const struct cel_node *n)
{
    struct cel_value v;
    switch ((enum cel_op)n->op) {
    case OP_LITERAL:
        return n->value;
    case OP_IDENT:
        return variable(r, n);
    case OP_SELECT:
        return select_of(r, n);
    case OP_HAS:
        return has(r, n);
    case OP_INDEX: {
        struct cel_value a = eval(r, n->kids[0]), key = a.type == CEL_ERROR ? a : eval(r, n->kids[1]);
        return key.type == CEL_ERROR ? key : index_of(r, a, key, n->optional);
    }
    case OP_CALL:
        return call(r, n);
    case OP_LIST:
        return list(r, n);
    case OP_MAP:
    case OP_MESSAGE:
        return map(r, n);
    case OP_NOT:
        v = eval(r, n->kids[0]);
        return v.type == CEL_BOOL ? cel_bool(!v.b) : cel_no_overload(r, "!_", &v, 1);
    case OP_NEG:
        v = eval(r, n->kids[0]);
        if (v.type == CEL_INT || v.type == CEL_DURATION) {
            if (v.i == INT64_MIN)
                return overflow(r, false);
            v.i = -v.i;
            return v;
        }
        return v.type == CEL_DOUBLE ? cel_double(-v.d) : cel_no_overload(r, "-_", &v, 1);
    case OP_AND:
    case OP_OR:
        return logic(r, n);
    case OP_IF:
        v = eval(r, n->kids[0]);
        if (v.type != CEL_BOOL)
            return cel_no_overload(r, "_?_:_", &v, 1);
        return eval(r, n->kids[v.b ? 1 : 2]);
    case OP_FOLD:
        return fold(r, n);
    case OP_BIND:
        v = eval(r, n->kids[0]);
        return v.type == CEL_ERROR ? v : bind(r, n, v);
    case OP_OPT_MAP:
    case OP_OPT_FLAT:
        return opt_map(r, n, eval(r, n->kids[0]));
    default:
        return binary(r, n);
    }
}

static struct cel_value eval(struct cel_run *r, const struct cel_node *n)
{
    if (!cel_spend(r, 1))
        return cel_over(r);
    if (r->depth >= DEPTH_MAX)
        return cel_error(r, "the expression nests too deeply");
    r->depth++;
    struct cel_value v = eval_node(r, n);
    r->depth--;
    return v;
}

int cel_eval(const struct cel *c, struct cel_run *r, struct cel_value *out, struct err **e)
{
    if (!r->budget)
        r->budget = CEL_BUDGET;
    r->scope = NULL;
    r->depth = 0;
    struct cel_value v = eval(r, c->root);
    if (r->cost > r->budget)
        return err_set(e, ERR_LIMIT, "operation cancelled: actual cost limit exceeded");
    if (v.type == CEL_ERROR)
        return err_set(e, ERR_INVALID, "%.*s", STR_ARG(v.s));
    *out = v;
    return 0;
}
