#include "cel/inner.h"

#include <stdlib.h>

/* The grammar of CEL (cel-spec, doc/langdef.md), by recursive descent. */

enum { DEPTH_MAX = 200, NODES_MAX = 20000, TEXT_MAX = 64 << 10 };
enum token { T_END, T_IDENT, T_INT, T_UINT, T_DOUBLE, T_STRING, T_BYTES, T_OP };

struct parser {
    struct pool *p;
    struct str s;
    size_t at, begin; /* behind and before the token */
    enum token t;
    struct str text; /* IDENT, OP */
    struct cel_value value;
    size_t nodes;
    int depth;
    struct err **e;
    bool failed;
};

static void place(struct str s, size_t at, int *line, int *column)
{
    *line = 1, *column = 1;
    for (size_t i = 0; i < at && i < s.n; i++) {
        ++*column;
        if (s.p[i] == '\n')
            ++*line, *column = 1;
    }
}

/* "ERROR: <input>:1:5: what\n | text\n | ....^" */
void cel_place(struct buf *b, struct str s, size_t at, const char *what)
{
    int line, column;
    place(s, at, &line, &column);
    size_t begin = at > s.n ? s.n : at, end;
    while (begin > 0 && s.p[begin - 1] != '\n')
        begin--;
    for (end = begin; end < s.n && s.p[end] != '\n'; end++)
        ;
    buf_printf(b, "ERROR: <input>:%d:%d: %s\n | %.*s\n | ", line, column, what, (int)(end - begin), s.p + begin);
    for (int i = 1; i < column; i++)
        buf_putc(b, '.');
    buf_putc(b, '^');
}

static struct cel_node *bad(struct parser *x, size_t at, const char *fmt, ...) _printf_(3, 4);
static struct cel_node *bad(struct parser *x, size_t at, const char *fmt, ...)
{
    struct buf b = BUF_INIT, what = BUF_INIT;
    va_list ap;
    if (x->failed)
        return NULL;
    x->failed = true;
    va_start(ap, fmt);
    buf_vprintf(&what, fmt, ap);
    va_end(ap);
    cel_place(&b, x->s, at, what.p);
    (void)err_set(x->e, ERR_INVALID, "%.*s", STR_ARG(buf_str(&b)));
    buf_clear(&b);
    buf_clear(&what);
    return NULL;
}

/* ---- tokens ---- */

static bool is_id(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (!first && c >= '0' && c <= '9');
}

static void utf8(struct buf *b, uint32_t r)
{
    if (r < 0x80) {
        buf_putc(b, (char)r);
    } else if (r < 0x800) {
        buf_putc(b, (char)(0xc0 | r >> 6));
        buf_putc(b, (char)(0x80 | (r & 0x3f)));
    } else if (r < 0x10000) {
        buf_putc(b, (char)(0xe0 | r >> 12));
        buf_putc(b, (char)(0x80 | (r >> 6 & 0x3f)));
        buf_putc(b, (char)(0x80 | (r & 0x3f)));
    } else {
        buf_putc(b, (char)(0xf0 | r >> 18));
        buf_putc(b, (char)(0x80 | (r >> 12 & 0x3f)));
        buf_putc(b, (char)(0x80 | (r >> 6 & 0x3f)));
        buf_putc(b, (char)(0x80 | (r & 0x3f)));
    }
}

static bool digits(struct parser *x, int base, int count, uint32_t *out)
{
    uint32_t v = 0;
    for (int i = 0; i < count; i++, x->at++) {
        char c = x->at < x->s.n ? x->s.p[x->at] : 0;
        int d = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : 99;
        if (d >= base)
            return false;
        v = v * (uint32_t)base + (uint32_t)d;
    }
    *out = v;
    return true;
}

/* Behind a backslash. */
static bool escape(struct parser *x, struct buf *b, bool bytes)
{
    static const char from[] = "abfnrtv\\?\"'`", to[] = "\a\b\f\n\r\t\v\\?\"'`";
    char c = x->at < x->s.n ? x->s.p[x->at++] : 0;
    const char *k = c ? strchr(from, c) : NULL;
    uint32_t v = 0;
    if (k) {
        buf_putc(b, to[k - from]);
        return true;
    }
    if (c == 'x' || c == 'X') {
        if (!digits(x, 16, 2, &v))
            return false;
    } else if (c >= '0' && c <= '3') {
        x->at--;
        if (!digits(x, 8, 3, &v))
            return false;
    } else if ((c == 'u' || c == 'U') && !bytes) {
        if (!digits(x, 16, c == 'u' ? 4 : 8, &v) || v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
            return false;
    } else {
        return false;
    }
    if (bytes)
        buf_putc(b, (char)v);
    else
        utf8(b, v);
    return true;
}

static bool string(struct parser *x, bool raw, bool bytes)
{
    char q = x->s.p[x->at];
    bool triple = x->at + 2 < x->s.n && x->s.p[x->at + 1] == q && x->s.p[x->at + 2] == q;
    size_t width = triple ? 3 : 1;
    struct buf b = BUF_INIT;
    x->at += width;
    for (;;) {
        if (x->at >= x->s.n || (!triple && x->s.p[x->at] == '\n'))
            break;
        char c = x->s.p[x->at];
        bool close = c == q && (!triple || (x->at + 2 < x->s.n && x->s.p[x->at + 1] == q && x->s.p[x->at + 2] == q));
        if (close) {
            x->at += width;
            x->value = (struct cel_value){.type = bytes ? CEL_BYTES : CEL_STRING, .s = buf_to_pool(&b, x->p)};
            x->t = bytes ? T_BYTES : T_STRING;
            return true;
        }
        x->at++;
        if (c != '\\' || raw) {
            buf_putc(&b, c);
        } else if (!escape(x, &b, bytes)) {
            break;
        }
    }
    buf_clear(&b);
    return bad(x, x->begin, "Syntax error: token recognition error at: '%.*s'", (int)MIN(x->s.n - x->begin, 40u), x->s.p + x->begin) !=
           NULL;
}

static bool number(struct parser *x)
{
    size_t i = x->at;
    bool hex = str_starts(str_sub(x->s, i, x->s.n), STR("0x")) || str_starts(str_sub(x->s, i, x->s.n), STR("0X")), real = false;
    if (hex) {
        for (i += 2; i < x->s.n && ((x->s.p[i] >= '0' && x->s.p[i] <= '9') || ((x->s.p[i] | 32) >= 'a' && (x->s.p[i] | 32) <= 'f')); i++)
            ;
    } else {
        while (i < x->s.n && x->s.p[i] >= '0' && x->s.p[i] <= '9')
            i++;
        if (i + 1 < x->s.n && x->s.p[i] == '.' && x->s.p[i + 1] >= '0' && x->s.p[i + 1] <= '9') {
            real = true;
            for (i++; i < x->s.n && x->s.p[i] >= '0' && x->s.p[i] <= '9'; i++)
                ;
        }
        if (i < x->s.n && (x->s.p[i] | 32) == 'e') {
            size_t k = i + 1 + (i + 1 < x->s.n && (x->s.p[i + 1] == '-' || x->s.p[i + 1] == '+'));
            if (k < x->s.n && x->s.p[k] >= '0' && x->s.p[k] <= '9') {
                real = true;
                for (i = k; i < x->s.n && x->s.p[i] >= '0' && x->s.p[i] <= '9'; i++)
                    ;
            }
        }
    }
    struct str text = str_sub(x->s, x->at, i);
    uint64_t u = 0;
    bool fine = true;
    x->at = i;
    if (real) {
        x->t = T_DOUBLE;
        x->value = (struct cel_value){.type = CEL_DOUBLE};
        fine = str_to_double(text, &x->value.d);
    } else {
        if (hex) {
            fine = text.n > 2 && text.n <= 18;
            for (size_t k = 2; k < text.n; k++)
                u = u * 16 + (uint64_t)(text.p[k] <= '9' ? text.p[k] - '0' : (text.p[k] | 32) - 'a' + 10);
        } else {
            fine = str_to_u64(text, &u);
        }
        bool is_unsigned = i < x->s.n && (x->s.p[i] | 32) == 'u';
        x->at += is_unsigned;
        x->t = is_unsigned ? T_UINT : T_INT;
        x->value = is_unsigned ? (struct cel_value){.type = CEL_UINT, .u = u} : (struct cel_value){.type = CEL_INT, .i = (int64_t)u};
        fine &= is_unsigned || u <= (uint64_t)INT64_MAX + 1; /* the one more is for a minus before it */
    }
    return fine || bad(x, x->begin, "invalid number literal");
}

static bool next(struct parser *x)
{
    static const char *const two[] = {"&&", "||", "==", "!=", "<=", ">=", "?.", "[?"};
    while (x->at < x->s.n) {
        char c = x->s.p[x->at];
        if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f')
            x->at++;
        else if (c == '/' && x->at + 1 < x->s.n && x->s.p[x->at + 1] == '/')
            while (x->at < x->s.n && x->s.p[x->at] != '\n')
                x->at++;
        else
            break;
    }
    x->begin = x->at;
    x->text = STR("");
    if (x->at >= x->s.n) {
        x->t = T_END;
        return true;
    }
    char c = x->s.p[x->at], d = x->at + 1 < x->s.n ? x->s.p[x->at + 1] : 0, f = x->at + 2 < x->s.n ? x->s.p[x->at + 2] : 0;
    bool rb = (c | 32) == 'r' || (c | 32) == 'b', quote = d == '"' || d == '\'';
    if (c == '"' || c == '\'')
        return string(x, false, false);
    if (rb && quote) {
        x->at++;
        return string(x, (c | 32) == 'r', (c | 32) == 'b');
    }
    if (rb && ((d | 32) == 'r' || (d | 32) == 'b') && (c | 32) != (d | 32) && (f == '"' || f == '\'')) {
        x->at += 2;
        return string(x, true, true);
    }
    if (c >= '0' && c <= '9')
        return number(x);
    if (c == '.' && d >= '0' && d <= '9') { /* .5 */
        struct str save = x->s;
        return save.n && bad(x, x->begin, "Syntax error: mismatched input '.'");
    }
    if (is_id(c, true)) {
        while (x->at < x->s.n && is_id(x->s.p[x->at], false))
            x->at++;
        x->t = T_IDENT;
        x->text = str_sub(x->s, x->begin, x->at);
        return true;
    }
    if (c == '`') { /* a quoted member name */
        ssize_t end = str_chr(str_sub(x->s, x->at + 1, x->s.n), '`');
        if (end < 0)
            return bad(x, x->begin, "Syntax error: token recognition error at: '`'");
        x->t = T_IDENT;
        x->text = str_sub(x->s, x->at + 1, x->at + 1 + (size_t)end);
        x->at += (size_t)end + 2;
        return true;
    }
    x->t = T_OP;
    for (size_t i = 0; i < ARRAY_LEN(two); i++)
        if (c == two[i][0] && d == two[i][1] && !(i == 6 && f >= '0' && f <= '9') && i != 6) {
            x->at += 2;
            x->text = str_of(two[i]);
            return true;
        }
    if (!strchr("+-*/%!<>?:.,()[]{}=", c))
        return bad(x, x->begin, "Syntax error: token recognition error at: '%c'", c >= 32 && c < 127 ? c : '?');
    x->text = str_sub(x->s, x->at, x->at + 1);
    x->at++;
    return true;
}

static bool is(const struct parser *x, const char *op)
{
    return x->t == T_OP && str_eqz(x->text, op);
}

static bool accept(struct parser *x, const char *op)
{
    if (!is(x, op))
        return false;
    (void)next(x);
    return true;
}

static bool expect(struct parser *x, const char *op)
{
    if (accept(x, op))
        return !x->failed;
    if (x->t == T_END)
        return bad(x, x->begin, "Syntax error: mismatched input '<EOF>' expecting '%s'", op);
    return bad(x, x->begin, "Syntax error: mismatched input '%.*s' expecting '%s'", (int)(x->at - x->begin), x->s.p + x->begin, op);
}

/* ---- the tree ---- */

static struct cel_node *node(struct parser *x, enum cel_op op, size_t at)
{
    struct cel_node *n = pool_new_of(x->p, struct cel_node);
    n->op = (uint8_t)op;
    n->at = (uint32_t)at;
    return ++x->nodes > NODES_MAX ? bad(x, at, "the expression is too large") : n;
}

static struct cel_node *with(struct parser *x, enum cel_op op, size_t at, struct cel_node *a, struct cel_node *b, struct cel_node *c)
{
    struct cel_node *n = a && !x->failed ? node(x, op, at) : NULL;
    if (!n)
        return NULL;
    n->kids = pool_array(x->p, struct cel_node *, 3);
    n->kids[0] = a, n->kids[1] = b, n->kids[2] = c;
    n->nkids = (uint16_t)(1 + (b != NULL) + (c != NULL));
    return n;
}

static bool kid_add(struct parser *x, struct cel_node *n, struct cel_node *k)
{
    if (!k || x->failed || n->nkids == UINT16_MAX)
        return false;
    if ((n->nkids & (n->nkids - 1)) == 0)
        n->kids = pool_grow(x->p, n->kids, n->nkids * sizeof *n->kids, (n->nkids ? n->nkids * 2u : 1u) * sizeof *n->kids);
    n->kids[n->nkids++] = k;
    return true;
}

static struct cel_node *expr(struct parser *x);

static bool reserved(struct str s)
{
    static const char *const words[] = {"in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop",
        "package", "namespace", "return", "var", "void", "while"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_eqz(s, words[i]))
            return true;
    return false;
}

/* "a.b" of a chain of plain names; absent otherwise. */
static struct str chain(struct parser *x, const struct cel_node *n)
{
    if (n->op == OP_IDENT)
        return n->name;
    if (n->op != OP_SELECT || n->optional)
        return STR_NULL;
    struct str head = chain(x, n->kids[0]);
    return head.p ? pool_printf(x->p, "%.*s.%.*s", STR_ARG(head), STR_ARG(n->name)) : STR_NULL;
}

/* Macros: receiver.fn(args). NULL and not failed: none of that name. */
static struct cel_node *macro(struct parser *x, struct cel_node *target, struct cel_node *call)
{
    static const struct {
        const char *name;
        uint8_t fold, vars, min, max; /* args */
    } rows[] = {{"all", FOLD_ALL, 1, 2, 2}, {"exists", FOLD_EXISTS, 1, 2, 2}, {"exists_one", FOLD_ONE, 1, 2, 2},
        {"existsOne", FOLD_ONE, 1, 2, 2}, {"map", FOLD_MAP, 1, 2, 3}, {"filter", FOLD_FILTER, 1, 2, 2}, {"all", FOLD_ALL, 2, 3, 3},
        {"exists", FOLD_EXISTS, 2, 3, 3}, {"existsOne", FOLD_ONE, 2, 3, 3}, {"transformList", FOLD_LIST, 2, 3, 4},
        {"transformMap", FOLD_MAP_VALUES, 2, 3, 4}};
    uint16_t args = (uint16_t)(call->nkids - 1);
    struct cel_node **a = call->kids + 1;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (!str_eqz(call->name, rows[i].name) || args < rows[i].min || args > rows[i].max)
            continue;
        if (a[0]->op != OP_IDENT || (rows[i].vars == 2 && a[1]->op != OP_IDENT))
            return bad(x, a[0]->at, "argument must be a simple name");
        struct cel_node *f = node(x, OP_FOLD, call->at);
        if (!f)
            return NULL;
        f->fold = rows[i].fold;
        f->name = a[0]->name;
        f->name2 = rows[i].vars == 2 ? a[1]->name : STR_NULL;
        if (!kid_add(x, f, target))
            return NULL;
        for (uint16_t k = rows[i].vars; k < args; k++)
            if (!kid_add(x, f, a[k]))
                return NULL;
        return f;
    }
    bool opt = str_eqz(call->name, "optMap"), flat = str_eqz(call->name, "optFlatMap");
    bool bind = str_eqz(call->name, "bind") && target->op == OP_IDENT && str_eqz(target->name, "cel") && args == 3;
    if (((opt || flat) && args == 2) || bind) {
        if (a[0]->op != OP_IDENT)
            return bad(x, a[0]->at, "variable name must be a simple identifier");
        struct cel_node *b =
            bind ? with(x, OP_BIND, call->at, a[1], a[2], NULL) : with(x, opt ? OP_OPT_MAP : OP_OPT_FLAT, call->at, target, a[1], NULL);
        if (b)
            b->name = a[0]->name;
        return b;
    }
    return NULL;
}

static bool arguments(struct parser *x, struct cel_node *call)
{
    if (accept(x, ")"))
        return !x->failed;
    do {
        if (!kid_add(x, call, expr(x)))
            return x->failed ? false : bad(x, x->begin, "too many arguments") != NULL;
    } while (accept(x, ",") && !is(x, ")"));
    return expect(x, ")");
}

static struct cel_node *resolve(struct parser *x, struct cel_node *call)
{
    bool known = false;
    if (call->has_target) {
        struct str head = chain(x, call->kids[0]);
        struct str whole = head.p ? pool_printf(x->p, "%.*s.%.*s", STR_ARG(head), STR_ARG(call->name)) : STR_NULL;
        if (whole.p && (call->fn = cel_fn_find(whole, false, call->nkids - 1u, &known))) {
            call->name = whole;
            call->kids++;
            call->nkids--;
            call->has_target = false;
            return call;
        }
    }
    known = false;
    call->fn = cel_fn_find(call->name, call->has_target, call->nkids, &known);
    if (call->fn)
        return call;
    if (known)
        return bad(x, call->at, "found no matching overload for '%.*s' applied to %u argument%s", STR_ARG(call->name), call->nkids,
            call->nkids == 1 ? "" : "s");
    return bad(x, call->at, "undeclared reference to '%.*s' (in container '')", STR_ARG(call->name));
}

static struct cel_node *method(struct parser *x, struct cel_node *target, struct str name, size_t at)
{
    struct cel_node *call = node(x, OP_CALL, at), *m;
    if (!call)
        return NULL;
    call->name = name;
    call->has_target = true;
    if (!kid_add(x, call, target) || !arguments(x, call))
        return NULL;
    if ((m = macro(x, target, call)) || x->failed)
        return m;
    return resolve(x, call);
}

static struct cel_node *global_call(struct parser *x, struct str name, size_t at)
{
    struct cel_node *call = node(x, OP_CALL, at);
    if (!call)
        return NULL;
    call->name = name;
    if (!arguments(x, call))
        return NULL;
    if (str_eqz(name, "has") && call->nkids == 1) {
        struct cel_node *s = call->kids[0];
        if (s->op != OP_SELECT)
            return bad(x, s->at, "invalid argument to has() macro");
        s->op = OP_HAS;
        return s;
    }
    return resolve(x, call);
}

static struct cel_node *list_literal(struct parser *x, size_t at)
{
    struct cel_node *l = node(x, OP_LIST, at);
    while (l && !is(x, "]")) {
        bool opt = accept(x, "?");
        struct cel_node *k = expr(x);
        if (k && opt)
            k->optional = true, k = with(x, OP_LIST, k->at, k, NULL, NULL); /* marked: a list of one that stands for an optional element */
        if (k && opt)
            k->optional = true;
        if (!kid_add(x, l, k))
            return NULL;
        if (!accept(x, ","))
            break;
    }
    return l && expect(x, "]") ? l : NULL;
}

/* {k: v}, and the members of a message. */
static struct cel_node *map_literal(struct parser *x, size_t at, bool message)
{
    struct cel_node *m = node(x, message ? OP_MESSAGE : OP_MAP, at);
    while (m && !is(x, "}")) {
        bool opt = accept(x, "?");
        struct cel_node *k = NULL;
        if (message && x->t == T_IDENT) {
            if ((k = node(x, OP_LITERAL, x->begin)))
                k->value = cel_str(x->text);
            (void)next(x);
        } else if (message) {
            return bad(x, x->begin, "Syntax error: a field name is expected");
        } else {
            k = expr(x);
        }
        if (!k || x->failed || !expect(x, ":"))
            return NULL;
        struct cel_node *pair = with(x, OP_LIST, k->at, k, expr(x), NULL);
        if (!pair || pair->nkids != 2 || !kid_add(x, m, pair))
            return NULL;
        pair->optional = opt;
        if (!accept(x, ","))
            break;
    }
    return m && expect(x, "}") ? m : NULL;
}

static struct cel_node *literal(struct parser *x, struct cel_value v, size_t at)
{
    struct cel_node *n = node(x, OP_LITERAL, at);
    if (n)
        n->value = v;
    return n;
}

static struct cel_node *name(struct parser *x, size_t at)
{
    struct str s = x->text;
    (void)next(x);
    if (str_eqz(s, "true") || str_eqz(s, "false"))
        return literal(x, cel_bool(s.p[0] == 't'), at);
    if (str_eqz(s, "null"))
        return literal(x, (struct cel_value){.type = CEL_NULL}, at);
    if (reserved(s))
        return bad(x, at, "reserved identifier: %.*s", STR_ARG(s));
    if (accept(x, "("))
        return global_call(x, s, at);
    struct cel_node *n = node(x, OP_IDENT, at);
    if (n)
        n->name = s;
    return n;
}

static struct cel_node *primary(struct parser *x)
{
    size_t at = x->begin;
    struct cel_value v = x->value;
    switch (x->t) {
    case T_INT:
        if (v.i == INT64_MIN)
            return bad(x, at, "invalid int literal");
        (void)next(x);
        return literal(x, v, at);
    case T_UINT:
    case T_DOUBLE:
    case T_STRING:
    case T_BYTES:
        (void)next(x);
        return literal(x, v, at);
    case T_IDENT:
        return name(x, at);
    case T_END:
        return bad(x, at,
            "Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, "
            "NUM_UINT, STRING, BYTES, IDENTIFIER}");
    default:
        break;
    }
    if (accept(x, "(")) {
        struct cel_node *n = expr(x);
        return n && expect(x, ")") ? n : NULL;
    }
    if (accept(x, "["))
        return list_literal(x, at);
    if (accept(x, "{"))
        return map_literal(x, at, false);
    if (accept(x, ".") && x->t == T_IDENT)
        return name(x, at);
    return bad(x, at,
        "Syntax error: mismatched input '%.*s' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, "
        "NUM_UINT, STRING, BYTES, IDENTIFIER}",
        (int)(x->at - x->begin), x->s.p + x->begin);
}

static struct cel_node *member(struct parser *x)
{
    struct cel_node *n = primary(x);
    while (n && !x->failed) {
        size_t at = x->begin;
        if (accept(x, ".")) {
            bool opt = accept(x, "?");
            if (x->t != T_IDENT)
                return bad(x, x->begin, "Syntax error: no viable alternative at input '.'");
            struct str s = x->text;
            (void)next(x);
            if (!opt && accept(x, "(")) {
                n = method(x, n, s, at);
                continue;
            }
            if ((n = with(x, OP_SELECT, at, n, NULL, NULL)))
                n->name = s, n->optional = opt;
        } else if (is(x, "[") || is(x, "[?")) {
            bool opt = is(x, "[?");
            (void)next(x);
            struct cel_node *i = expr(x);
            if (!i || !expect(x, "]") || !(n = with(x, OP_INDEX, at, n, i, NULL)))
                return NULL;
            n->optional = opt;
        } else if (is(x, "{")) {
            struct str type = chain(x, n);
            if (!type.p)
                return n;
            (void)next(x);
            if ((n = map_literal(x, at, true)))
                n->name = type;
        } else {
            return n;
        }
    }
    return n;
}

static struct cel_node *unary(struct parser *x)
{
    size_t at = x->begin;
    struct cel_node *n;
    if (x->depth >= DEPTH_MAX)
        return bad(x, at, "expression recursion limit exceeded: %d", DEPTH_MAX);
    x->depth++;
    if (accept(x, "!")) {
        n = with(x, OP_NOT, at, unary(x), NULL, NULL);
    } else if (is(x, "-")) {
        (void)next(x);
        if (x->t == T_INT && x->value.i == INT64_MIN) {
            n = literal(x, x->value, at);
            (void)next(x);
        } else {
            n = with(x, OP_NEG, at, unary(x), NULL, NULL);
        }
    } else {
        n = member(x);
    }
    x->depth--;
    return n;
}

static const struct {
    const char *op;
    uint8_t node, level;
} binary_ops[] = {{"*", OP_MUL, 4}, {"/", OP_DIV, 4}, {"%", OP_MOD, 4}, {"+", OP_ADD, 3}, {"-", OP_SUB, 3}, {"==", OP_EQ, 2},
    {"!=", OP_NE, 2}, {"<=", OP_LE, 2}, {">=", OP_GE, 2}, {"<", OP_LT, 2}, {">", OP_GT, 2}, {"&&", OP_AND, 1}, {"||", OP_OR, 0}};

static struct cel_node *binary(struct parser *x, int level)
{
    struct cel_node *n = level > 4 ? unary(x) : binary(x, level + 1);
    while (n && !x->failed && level <= 4) {
        size_t at = x->begin, i = 0;
        while (i < ARRAY_LEN(binary_ops) && !(binary_ops[i].level == level && is(x, binary_ops[i].op)))
            i++;
        bool in = level == 2 && x->t == T_IDENT && str_eqz(x->text, "in");
        if (i == ARRAY_LEN(binary_ops) && !in)
            break;
        (void)next(x);
        struct cel_node *b = binary(x, level + 1);
        n = b ? with(x, in ? OP_IN : binary_ops[i].node, at, n, b, NULL) : NULL;
    }
    return n;
}

static struct cel_node *expr(struct parser *x)
{
    if (x->depth >= DEPTH_MAX)
        return bad(x, x->begin, "expression recursion limit exceeded: %d", DEPTH_MAX);
    x->depth++;
    struct cel_node *n = binary(x, 0);
    size_t at = x->begin;
    if (n && accept(x, "?")) {
        struct cel_node *a = binary(x, 0);
        struct cel_node *b = a && expect(x, ":") ? expr(x) : NULL;
        n = b ? with(x, OP_IF, at, n, a, b) : NULL;
    }
    x->depth--;
    return x->failed ? NULL : n;
}

int cel_parse(struct str text, struct cel **out, struct err **e)
{
    if (text.n > TEXT_MAX)
        return err_set(e, ERR_INVALID, "an expression of more than %d bytes", TEXT_MAX);
    if (!str_utf8_valid(text))
        return err_set(e, ERR_INVALID, "the expression is not UTF-8");
    struct pool *p = pool_new();
    struct parser x = {.p = p, .s = pool_str(p, text), .e = e};
    struct cel_node *n = next(&x) ? expr(&x) : NULL;
    if (n && !x.failed && x.t != T_END)
        n = bad(&x, x.begin, "Syntax error: extraneous input '%.*s' expecting <EOF>", (int)(x.at - x.begin), x.s.p + x.begin);
    if (!n || x.failed) {
        pool_free(p);
        if (!x.failed)
            return err_set(e, ERR_INVALID, "Syntax error");
        return -ERR_INVALID;
    }
    struct cel *c = pool_new_of(p, struct cel);
    *c = (struct cel){p, x.s, n};
    *out = c;
    return 0;
}

void cel_free(struct cel *c)
{
    if (c)
        pool_free(c->pool);
}

struct str cel_text(const struct cel *c)
{
    return c->text;
}
