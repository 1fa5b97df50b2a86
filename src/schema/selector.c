#include "schema/selector.h"

#include <stdlib.h>

enum { MAX_REQUIREMENTS = 1000, MAX_VALUES = 10000 };
enum token { T_END, T_COMMA, T_OPEN, T_CLOSE, T_NOT, T_EQ, T_EQ2, T_NE, T_GT, T_LT, T_IN, T_NOTIN, T_WORD, T_ERROR };
struct lexer {
    struct str rest;
    struct pool *pool;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}
static bool is_symbol(char c)
{
    return c && strchr("=!(),<>", c);
}

/* The next token; in values, "in" and "notin" are plain words. */
static enum token scan(struct lexer *l, bool values, struct str *text)
{
    static const struct {
        const char *text;
        enum token t;
    } symbols[] = {
        {"==", T_EQ2}, {"!=", T_NE}, {"=", T_EQ}, {"!", T_NOT}, {"(", T_OPEN}, {")", T_CLOSE}, {",", T_COMMA}, {"<", T_LT}, {">", T_GT}};
    while (l->rest.n && is_space(l->rest.p[0]))
        l->rest = str_sub(l->rest, 1, l->rest.n);
    *text = str_sub(l->rest, 0, 0);
    if (!l->rest.n)
        return T_END;
    for (size_t i = 0; i < ARRAY_LEN(symbols); i++)
        if (str_starts(l->rest, str_of(symbols[i].text))) {
            *text = str_sub(l->rest, 0, strlen(symbols[i].text));
            l->rest = str_sub(l->rest, text->n, l->rest.n);
            return symbols[i].t;
        }
    size_t n = 0;
    while (n < l->rest.n && !is_space(l->rest.p[n]) && !is_symbol(l->rest.p[n]))
        n++;
    *text = str_sub(l->rest, 0, n);
    if (!n) { /* a NUL byte */
        *text = str_sub(l->rest, 0, 1);
        return T_ERROR;
    }
    l->rest = str_sub(l->rest, n, l->rest.n);
    if (!values && str_eqz(*text, "in"))
        return T_IN;
    return !values && str_eqz(*text, "notin") ? T_NOTIN : T_WORD;
}

static enum token peek(struct lexer *l, struct str *text)
{
    struct lexer copy = *l;
    return scan(&copy, true, text);
}

static int found(struct err **e, struct str text, const char *expected)
{
    return err_set(e, ERR_BAD_REQUEST, "found '%.*s', expected: %s", STR_ARG(text), expected);
}

static void add_value(struct pool *p, struct sel_req *r, struct str v, size_t *cap)
{
    struct str *values = (struct str *)r->values;
    for (size_t i = 0; i < r->nvalues && r->nvalues < 64; i++)
        if (str_eq(values[i], v))
            return;
    if (r->nvalues == *cap) {
        size_t grown = *cap ? *cap * 2 : 4;
        values = pool_grow(p, values, *cap * sizeof(*values), grown * sizeof(*values));
        *cap = grown;
    }
    values[r->nvalues++] = v;
    r->values = values;
}

static int cmp_str(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}
static int cmp_req(const void *a, const void *b)
{
    return str_cmp(((const struct sel_req *)a)->key, ((const struct sel_req *)b)->key);
}

static int parse_set(struct lexer *l, struct sel_req *r, struct err **e)
{
    struct str text;
    size_t cap = 0;
    bool expect_value = true;
    if (scan(l, true, &text) != T_OPEN)
        return err_set(e, ERR_BAD_REQUEST, "found '%.*s' expected: '('", STR_ARG(text));
    for (;;) {
        enum token t = scan(l, true, &text);
        if (t == T_WORD && expect_value) {
            add_value(l->pool, r, text, &cap);
            expect_value = false;
        } else if (t == T_COMMA) {
            if (expect_value)
                add_value(l->pool, r, STR(""), &cap);
            expect_value = true;
        } else if (t == T_CLOSE) {
            if (expect_value)
                add_value(l->pool, r, STR(""), &cap);
            qsort((void *)r->values, r->nvalues, sizeof(struct str), cmp_str);
            return 0;
        } else {
            return found(e, text, expect_value ? "',', or identifier" : "',' or ')'");
        }
        if (r->nvalues > MAX_VALUES)
            return err_set(e, ERR_LIMIT, "more than %d values in one requirement", MAX_VALUES);
    }
}

static int check_req(const struct sel_req *r, struct err **e)
{
    const char *why = name_qualified(r->key);
    if (why)
        return err_set(e, ERR_BAD_REQUEST, "key: Invalid value: \"%.*s\": %s", STR_ARG(r->key), why);
    int64_t n;
    if ((r->op == SEL_GT || r->op == SEL_LT) && !str_to_i64(r->values[0], &n))
        return err_set(e, ERR_BAD_REQUEST, "values[0]: Invalid value: \"%.*s\": for 'Gt', 'Lt' operators, the value must be an integer",
            STR_ARG(r->values[0]));
    for (size_t i = 0; i < r->nvalues; i++)
        if ((why = name_label_value(r->values[i])))
            return err_set(
                e, ERR_BAD_REQUEST, "values[%zu][%.*s]: Invalid value: \"%.*s\": %s", i, STR_ARG(r->key), STR_ARG(r->values[i]), why);
    return 0;
}

static int parse_operator(struct lexer *l, struct sel_req *r, struct err **e)
{
    struct str text, after;
    enum token t = scan(l, false, &text);
    if (t == T_IN || t == T_NOTIN) {
        r->op = t == T_IN ? SEL_IN : SEL_NOT_IN;
        return parse_set(l, r, e);
    }
    if (t != T_EQ && t != T_EQ2 && t != T_NE && t != T_GT && t != T_LT)
        return found(e, text, "in, notin, =, ==, !=, gt, lt");
    r->op = t == T_NE ? SEL_NOT_IN : t == T_GT ? SEL_GT : t == T_LT ? SEL_LT : SEL_IN;
    struct str *value = pool_new_of(l->pool, struct str);
    *value = STR("");
    enum token next = peek(l, &after);
    if (next != T_END && next != T_COMMA) {
        if (scan(l, true, value) != T_WORD)
            return found(e, *value, "identifier");
    }
    r->values = value;
    r->nvalues = 1;
    return 0;
}

static int parse_req(struct lexer *l, struct sel_req *r, struct err **e)
{
    struct str text, after;
    enum token t = scan(l, true, &text);
    bool negated = t == T_NOT;
    if (negated)
        t = scan(l, true, &text);
    if (t != T_WORD)
        return found(e, text, "identifier");
    r->key = text;
    const char *why = name_qualified(text);
    if (why)
        return err_set(e, ERR_BAD_REQUEST, "<nil>: Invalid value: \"%.*s\": %s", STR_ARG(text), why);
    enum token next = peek(l, &after);
    if (negated || next == T_END || next == T_COMMA) {
        r->op = negated ? SEL_NOT_EXISTS : SEL_EXISTS;
        return 0;
    }
    int rc = parse_operator(l, r, e);
    return rc < 0 ? rc : check_req(r, e);
}

static struct sel_req *push(struct pool *p, struct selector *s, size_t *cap)
{
    if (s->n == *cap) {
        size_t grown = *cap ? *cap * 2 : 4;
        s->reqs = pool_grow(p, s->reqs, *cap * sizeof(*s->reqs), grown * sizeof(*s->reqs));
        *cap = grown;
    }
    s->reqs[s->n] = (struct sel_req){0};
    return &s->reqs[s->n++];
}

int selector_parse(struct pool *p, struct str text, struct selector *out, struct err **e)
{
    struct lexer l = {pool_str(p, text), p};
    struct selector s = {0};
    struct str word;
    size_t cap = 0;
    for (enum token t = peek(&l, &word); t != T_END;) {
        if (t != T_WORD && t != T_NOT)
            return found(e, word, "!, identifier, or 'end of string'");
        if (s.n == MAX_REQUIREMENTS)
            return err_set(e, ERR_LIMIT, "more than %d requirements in a selector", MAX_REQUIREMENTS);
        if (parse_req(&l, push(p, &s, &cap), e) < 0) {
            if (e)
                return err_wrap(e, "unable to parse requirement");
            return -ERR_BAD_REQUEST;
        }
        t = scan(&l, true, &word);
        if (t == T_END)
            break;
        if (t != T_COMMA)
            return found(e, word, "',' or 'end of string'");
        t = peek(&l, &word);
        if (t != T_WORD && t != T_NOT)
            return found(e, word, "identifier after ','");
    }
    if (s.n)
        qsort(s.reqs, s.n, sizeof(*s.reqs), cmp_req);
    *out = s;
    return 0;
}

static int expression(struct pool *p, const struct json *x, struct sel_req *r, struct err **e)
{
    static const struct {
        const char *name;
        enum sel_op op;
    } ops[] = {{"In", SEL_IN}, {"NotIn", SEL_NOT_IN}, {"Exists", SEL_EXISTS}, {"DoesNotExist", SEL_NOT_EXISTS}};
    struct str op = json_get_str(x, "operator");
    const struct json *values = json_get(x, STR("values"));
    size_t i = 0, cap = 0;
    while (i < ARRAY_LEN(ops) && !str_eqz(op, ops[i].name))
        i++;
    if (i == ARRAY_LEN(ops))
        return err_set(e, ERR_BAD_REQUEST, "\"%.*s\" is not a valid label selector operator", STR_ARG(op));
    r->op = ops[i].op;
    r->key = pool_str(p, json_get_str(x, "key"));
    json_for (values, v)
        add_value(p, r, pool_str(p, json_as_str(v)), &cap);
    bool set = r->op == SEL_IN || r->op == SEL_NOT_IN;
    if (set && !r->nvalues)
        return err_set(e, ERR_BAD_REQUEST, "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty");
    if (!set && r->nvalues)
        return err_set(e, ERR_BAD_REQUEST, "values: Invalid value: values set must be empty for exists and does not exist");
    return check_req(r, e);
}

int selector_from_json(struct pool *p, const struct json *sel, struct selector *out, struct err **e)
{
    struct selector s = {0};
    size_t cap = 0;
    if (!json_is(sel, JSON_OBJ)) {
        *out = (struct selector){.nothing = true};
        return 0;
    }
    json_for (json_get(sel, STR("matchLabels")), m) {
        struct sel_req *r = push(p, &s, &cap);
        struct str *v = pool_new_of(p, struct str);
        *v = pool_str(p, json_as_str(m));
        *r = (struct sel_req){.key = pool_str(p, json_key(m)), .op = SEL_IN, .values = v, .nvalues = 1};
        int rc = check_req(r, e);
        if (rc < 0)
            return rc;
    }
    json_for (json_get(sel, STR("matchExpressions")), x) {
        int rc = expression(p, x, push(p, &s, &cap), e);
        if (rc < 0)
            return rc;
    }
    if (s.n)
        qsort(s.reqs, s.n, sizeof(*s.reqs), cmp_req);
    *out = s;
    return 0;
}

void selector_from_map(struct pool *p, const struct json *map, bool empty_none, struct selector *out)
{
    struct selector s = {0};
    size_t cap = 0;
    json_for (map, m) {
        struct str *v = pool_new_of(p, struct str);
        *v = pool_str(p, json_as_str(m));
        *push(p, &s, &cap) = (struct sel_req){.key = pool_str(p, json_key(m)), .op = SEL_IN, .values = v, .nvalues = 1};
    }
    s.nothing = !s.n && empty_none;
    if (s.n)
        qsort(s.reqs, s.n, sizeof(*s.reqs), cmp_req);
    *out = s;
}

static bool in_values(const struct sel_req *r, struct str v)
{
    for (size_t i = 0; i < r->nvalues; i++)
        if (str_eq(r->values[i], v))
            return true;
    return false;
}

static bool req_match(const struct sel_req *r, const struct str *value)
{
    int64_t have, want;
    switch (r->op) {
    case SEL_IN:
        return value && in_values(r, *value);
    case SEL_NOT_IN:
        return !value || !in_values(r, *value);
    case SEL_EXISTS:
        return value;
    case SEL_NOT_EXISTS:
        return !value;
    case SEL_GT:
    case SEL_LT:
        if (!value || !str_to_i64(*value, &have) || !str_to_i64(r->values[0], &want))
            return false;
        return r->op == SEL_GT ? have > want : have < want;
    }
    return false;
}

bool selector_match(const struct selector *s, const struct label *labels, size_t n)
{
    if (s->nothing)
        return false;
    for (size_t i = 0; i < s->n; i++) {
        const struct str *value = NULL;
        for (size_t k = 0; k < n && !value; k++)
            if (str_eq(labels[k].key, s->reqs[i].key))
                value = &labels[k].value;
        if (!req_match(&s->reqs[i], value))
            return false;
    }
    return true;
}

bool selector_match_json(const struct selector *s, const struct json *labels_obj)
{
    if (s->nothing)
        return false;
    for (size_t i = 0; i < s->n; i++) {
        const struct json *m = json_get(labels_obj, s->reqs[i].key);
        struct str value = m && json_is(m, JSON_STR) ? json_as_str(m) : STR("");
        if (!req_match(&s->reqs[i], m ? &value : NULL))
            return false;
    }
    return true;
}

/* One term of a field selector: the first unescaped operator cuts it; backslash escapes itself, a comma and an equals sign. */
static bool field_term(struct pool *p, struct str term, struct sel_req *r)
{
    size_t i = 0, op = 0;
    for (; i < term.n; i++) {
        if (term.p[i] == '\\') {
            i++;
            continue;
        }
        struct str at = str_sub(term, i, term.n);
        op = str_starts(at, STR("!=")) || str_starts(at, STR("==")) ? 2 : str_starts(at, STR("=")) ? 1 : 0;
        if (op)
            break;
    }
    if (!op)
        return false;
    r->op = term.p[i] == '!' ? SEL_NOT_IN : SEL_IN;
    r->key = str_sub(term, 0, i);
    struct str raw = str_sub(term, i + op, term.n), *value = pool_new_of(p, struct str);
    char *out = pool_alloc(p, raw.n + 1);
    size_t n = 0;
    for (size_t k = 0; k < raw.n; k++) {
        if (raw.p[k] == '\\') {
            if (++k == raw.n || !memchr("\\,=", raw.p[k], 3))
                return false;
        } else if (raw.p[k] == '=' || raw.p[k] == ',') {
            return false;
        }
        out[n++] = raw.p[k];
    }
    *value = str_make(out, n);
    r->values = value;
    r->nvalues = 1;
    return true;
}

int field_selector_parse(struct pool *p, struct str text, struct selector *out, struct err **e)
{
    struct selector s = {0};
    size_t cap = 0;
    text = pool_str(p, text);
    for (size_t at = 0; at < text.n;) {
        size_t end = at;
        while (end < text.n && text.p[end] != ',')
            end += text.p[end] == '\\' ? 2 : 1;
        end = MIN(end, text.n);
        struct str term = str_sub(text, at, end);
        at = end + 1;
        if (!term.n)
            continue;
        if (s.n == MAX_REQUIREMENTS)
            return err_set(e, ERR_LIMIT, "more than %d requirements in a selector", MAX_REQUIREMENTS);
        if (!field_term(p, term, push(p, &s, &cap)))
            return err_set(e, ERR_BAD_REQUEST, "invalid selector: '%.*s'; can't understand '%.*s'", STR_ARG(text), STR_ARG(term));
    }
    *out = s;
    return 0;
}

struct str selector_text(struct pool *p, const struct selector *s)
{
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < s->n; i++) {
        const struct sel_req *r = &s->reqs[i];
        bool set = r->op <= SEL_NOT_IN && r->nvalues != 1;
        if (i)
            buf_putc(&b, ',');
        if (r->op == SEL_NOT_EXISTS)
            buf_putc(&b, '!');
        buf_str_add(&b, r->key);
        if (r->op <= SEL_NOT_IN)
            buf_puts(&b, set ? (r->op == SEL_IN ? " in (" : " notin (") : r->op == SEL_IN ? "=" : "!=");
        else if (r->op >= SEL_GT)
            buf_putc(&b, r->op == SEL_GT ? '>' : '<');
        for (size_t k = 0; k < r->nvalues; k++) {
            if (k)
                buf_putc(&b, ',');
            buf_str_add(&b, r->values[k]);
        }
        if (set)
            buf_putc(&b, ')');
    }
    return buf_to_pool(&b, p);
}
