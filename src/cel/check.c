#include "cel/inner.h"

/* What can be known before an expression runs: names, and members of values whose shape is declared. Types flow from variables through
 * selection, indexing and the variables of comprehensions; where the shape ends, anything goes. */

struct known {
    const struct known *up;
    struct str name;
    const void *node;
};
struct checker {
    const struct cel *c;
    const struct cel_decl *vars;
    size_t n;
    const struct cel_typer *typer;
    struct err **e;
    bool failed;
};

static const void *check(struct checker *x, const struct cel_node *n, const struct known *scope);

static const void *bad(struct checker *x, const struct cel_node *n, const char *what, ...) _printf_(3, 4);
static const void *bad(struct checker *x, const struct cel_node *n, const char *what, ...)
{
    va_list ap;
    struct buf b = BUF_INIT, text = BUF_INIT;
    if (x->failed)
        return NULL;
    x->failed = true;
    va_start(ap, what);
    buf_vprintf(&text, what, ap);
    va_end(ap);
    cel_place(&b, x->c->text, n->at, text.p);
    (void)err_set(x->e, ERR_INVALID, "%.*s", STR_ARG(buf_str(&b)));
    buf_clear(&b);
    buf_clear(&text);
    return NULL;
}

static const void *name(struct checker *x, const struct cel_node *n, const struct known *scope)
{
    static const char *const types[] = {
        "bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type", "google", "optional_type"};
    for (const struct known *k = scope; k; k = k->up)
        if (str_eq(k->name, n->name))
            return k->node;
    for (size_t i = 0; i < x->n; i++)
        if (str_eq(x->vars[i].name, n->name))
            return x->vars[i].node;
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_eqz(n->name, types[i]))
            return NULL;
    return bad(x, n, "undeclared reference to '%.*s' (in container '')", STR_ARG(n->name));
}

static const void *member(struct checker *x, const struct cel_node *n, const void *of)
{
    bool missing = false;
    const void *node = of && x->typer ? x->typer->member(of, n->name, &missing) : NULL;
    return missing ? bad(x, n, "undefined field '%.*s'", STR_ARG(n->name)) : node;
}

static const void *check(struct checker *x, const struct cel_node *n, const struct known *scope)
{
    const void *a = NULL;
    if (x->failed)
        return NULL;
    switch ((enum cel_op)n->op) {
    case OP_LITERAL:
        return NULL;
    case OP_IDENT:
        return name(x, n, scope);
    case OP_SELECT:
    case OP_HAS:
        return member(x, n, check(x, n->kids[0], scope));
    case OP_INDEX:
        a = check(x, n->kids[0], scope);
        (void)check(x, n->kids[1], scope);
        return a && x->typer ? x->typer->item(a) : NULL;
    case OP_FOLD: {
        a = check(x, n->kids[0], scope);
        const void *item = a && x->typer ? x->typer->item(a) : NULL;
        struct known one = {scope, n->name, n->name2.n ? NULL : item}, two = {&one, n->name2, item};
        for (uint16_t i = 1; i < n->nkids; i++)
            (void)check(x, n->kids[i], n->name2.n ? &two : &one);
        return n->fold == FOLD_FILTER ? a : NULL;
    }
    case OP_BIND:
    case OP_OPT_MAP:
    case OP_OPT_FLAT: {
        struct known one = {scope, n->name, check(x, n->kids[0], scope)};
        return check(x, n->kids[1], &one);
    }
    case OP_IF:
        (void)check(x, n->kids[0], scope);
        a = check(x, n->kids[1], scope);
        (void)check(x, n->kids[2], scope);
        return a;
    default:
        for (uint16_t i = 0; i < n->nkids; i++)
            (void)check(x, n->kids[i], scope);
        return NULL;
    }
}

int cel_check(const struct cel *c, const struct cel_decl *vars, size_t n, const struct cel_typer *typer, struct err **e)
{
    struct checker x = {.c = c, .vars = vars, .n = n, .typer = typer, .e = e};
    (void)check(&x, c->root, NULL);
    return x.failed ? -ERR_INVALID : 0;
}

static bool names(const struct cel_node *n, struct str v)
{
    if (n->op == OP_IDENT && str_eq(n->name, v))
        return true;
    for (uint16_t i = 0; i < n->nkids; i++)
        if (names(n->kids[i], v))
            return true;
    return false;
}

bool cel_names(const struct cel *c, struct str variable)
{
    return names(c->root, variable);
}
