#include "cel/cel.h"
#include "schema/structural.h"

/* x-kubernetes-validations: rules in CEL beside a structural schema (KEP-2876). A rule sees its value as self and, on updates, what stood
 * there as oldSelf; it is evaluated where both can be found. A document's rules share one budget. */

#define DOCUMENT_BUDGET 10000000ull /* RuntimeCELCostBudget */

struct cr_rule {
    struct cel *program, *message_program; /* NULL: did not compile (the CRD was not judged here) */
    struct str text, message, reason, path;
    bool transition, optional_old;
};

/* ---- shapes ---- */

static bool same_name(struct str prop, struct str name)
{
    static const char *const words[] = {"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if",
        "import", "let", "loop", "package", "namespace", "return", "var", "void", "while"};
    if (str_eq(prop, name))
        return true;
    struct buf b = BUF_INIT;
    bool word = false, same;
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        word |= str_eqz(prop, words[i]);
    if (word)
        buf_puts(&b, "__");
    for (size_t i = 0; i < prop.n; i++) {
        if (prop.p[i] == '_' && i + 1 < prop.n && prop.p[i + 1] == '_') {
            buf_puts(&b, "__underscores__");
            i++;
        } else {
            buf_puts(&b, prop.p[i] == '.' ? "__dot__" : prop.p[i] == '-' ? "__dash__" : prop.p[i] == '/' ? "__slash__" : "");
            if (prop.p[i] != '.' && prop.p[i] != '-' && prop.p[i] != '/')
                buf_putc(&b, prop.p[i]);
        }
    }
    if (word)
        buf_puts(&b, "__");
    same = str_eq(buf_str(&b), name);
    buf_clear(&b);
    return same;
}

static const void *shape_member(const void *node, struct str name, bool *missing)
{
    const struct cr_node *n = node, *m = cr_member(n, name);
    for (uint16_t i = 0; !m && i < n->nprops; i++)
        if (same_name(n->props[i].name, name))
            m = n->props[i].node;
    bool meta = n->flags & CR_EMBEDDED && (str_eqz(name, "metadata") || str_eqz(name, "apiVersion") || str_eqz(name, "kind"));
    if (m && !meta)
        return m;
    if (n->flags & CR_ADDITIONAL)
        return n->additional;
    *missing = !meta && n->kind == CR_OBJECT && !(n->flags & CR_PRESERVE);
    return NULL;
}

static const void *shape_item(const void *node)
{
    const struct cr_node *n = node;
    return n->kind == CR_OBJECT ? n->additional : n->items;
}

static enum cel_shape shape_of(const void *node)
{
    const struct cr_node *n = node;
    struct str format = n->checks ? n->checks->format : STR_NULL;
    if (n->kind == CR_INTEGER)
        return CEL_SHAPE_INT;
    if (n->kind == CR_NUMBER)
        return CEL_SHAPE_DOUBLE;
    if (n->kind != CR_STRING)
        return CEL_SHAPE_ANY;
    if (str_eqz(format, "date-time") || str_eqz(format, "date"))
        return CEL_SHAPE_TIMESTAMP;
    return str_eqz(format, "duration") ? CEL_SHAPE_DURATION : str_eqz(format, "byte") ? CEL_SHAPE_BYTES : CEL_SHAPE_STRING;
}

static bool shape_keyed(const void *node, const struct str **keys, size_t *n)
{
    const struct cr_node *c = node;
    *keys = c->flags & CR_LIST_MAP ? c->keys : NULL;
    *n = c->nkeys;
    return c->kind == CR_ARRAY && c->flags & (CR_LIST_MAP | CR_LIST_SET);
}

static const struct cel_typer typer = {shape_member, shape_item, shape_of, shape_keyed};

/* ---- compiling ---- */

static void free_cel(void *c)
{
    cel_free(c);
}

static struct cel *program(struct pool *p, struct str text)
{
    struct cel *c = NULL;
    if (!text.n || cel_parse(text, &c, NULL) < 0)
        return NULL;
    pool_on_free(p, free_cel, c);
    return c;
}

static struct cr_rule *rule_of(struct pool *p, const struct json *r)
{
    struct cr_rule *x = pool_new_of(p, struct cr_rule);
    x->text = json_get_str(r, "rule");
    x->message = json_get_str(r, "message");
    x->reason = json_get_str(r, "reason");
    x->path = json_get_str(r, "fieldPath");
    x->optional_old = json_get_bool(r, "optionalOldSelf", false);
    x->program = program(p, str_trim(x->text));
    x->message_program = program(p, str_trim(json_get_str(r, "messageExpression")));
    x->transition = x->program && cel_names(x->program, STR("oldSelf"));
    return x;
}

static bool compile(struct pool *p, struct cr_node *n, const struct json *s)
{
    const struct json *rules = json_get(s, STR("x-kubernetes-validations")), *props = json_get(s, STR("properties")),
                      *items = json_get(s, STR("items")), *more = json_get(s, STR("additionalProperties"));
    bool below = false;
    struct cr_rule **all = pool_array(p, struct cr_rule *, json_count(rules) + 1);
    json_for (rules, r)
        if (n->nrules < 1000)
            all[n->nrules++] = rule_of(p, r);
    n->rules = all;
    for (uint16_t i = 0; i < n->nprops; i++) /* nodes are made here and nobody else sees them yet */
        below |= compile(p, (struct cr_node *)(uintptr_t)n->props[i].node, json_get(props, n->props[i].name));
    if (n->items)
        below |= compile(p, (struct cr_node *)(uintptr_t)n->items, items);
    if (n->additional)
        below |= compile(p, (struct cr_node *)(uintptr_t)n->additional, more);
    below |= n->nrules > 0;
    if (below)
        n->flags |= CR_RULES_BELOW;
    return below;
}

void cr_compile_rules(struct pool *p, struct cr_node *n, const struct json *schema)
{
    (void)compile(p, n, schema);
}

/* ---- evaluating ---- */

struct judge {
    struct pool *p;
    struct err **e;
    uint64_t cost;
    bool over;
};

static int run(struct judge *j, const struct cel *c, const struct cr_rule *rule, const struct cr_node *n, const struct json *v,
    const struct json *old, struct cel_value *out, struct cel_run *r, struct err **e)
{
    struct cel_var *vars = pool_array(j->p, struct cel_var, 2);
    struct cel_value was = cel_of_json(old, n, &typer);
    *r = (struct cel_run){.pool = j->p, .vars = vars, .nvars = 1, .typer = &typer, .budget = DOCUMENT_BUDGET, .cost = j->cost};
    vars[0] = (struct cel_var){.name = STR("self"), .value = cel_of_json(v, n, &typer)};
    if (old || rule->optional_old) {
        struct cel_value *inner = pool_new_of(j->p, struct cel_value);
        *inner = was;
        vars[r->nvars++] = (struct cel_var){.name = STR("oldSelf"),
            .value = rule->optional_old ? (struct cel_value){.type = CEL_OPTIONAL, .inner = old ? inner : NULL} : was};
    }
    int rc = cel_eval(c, r, out, e);
    j->cost = r->cost;
    j->over |= r->cost > r->budget;
    return rc;
}

static const char *kind_name(const struct cr_node *n)
{
    static const char *const names[] = {"object", "object", "array", "string", "integer", "number", "boolean"};
    return names[n->kind];
}

static void tell(
    struct judge *j, const struct cr_rule *rule, const struct cr_node *n, const struct json *v, const struct fpath *at, struct str message)
{
    struct fpath steps[8];
    size_t k = 0;
    struct str rest = rule->path, name;
    if (rest.n && rest.p[0] == '.')
        rest = str_sub(rest, 1, rest.n);
    while (rest.n && k < ARRAY_LEN(steps) && str_split(&rest, '.', &name)) {
        steps[k] = fpath_name(k ? &steps[k - 1] : at, name);
        k++;
    }
    const struct fpath *here = k ? &steps[k - 1] : at;
    char *z = pool_strz(j->p, message);
    if (str_eqz(rule->reason, "FieldValueRequired"))
        ferr_required(j->e, here, z);
    else if (str_eqz(rule->reason, "FieldValueForbidden"))
        ferr_forbidden(j->e, here, z);
    else if (str_eqz(rule->reason, "FieldValueDuplicate"))
        ferr_duplicate(j->e, here, v);
    else if (v->type == JSON_OBJ || v->type == JSON_ARR)
        ferr_invalid_str(j->e, here, str_of(kind_name(n)), z);
    else
        ferr_invalid(j->e, here, v, z);
}

static void judge_rule(struct judge *j, const struct cr_rule *rule, const struct cr_node *n, const struct json *v, const struct json *old,
    const struct fpath *at)
{
    struct err *why = NULL;
    struct cel_value out, text;
    struct cel_run r;
    struct str name = rule->message.n ? rule->message : pool_printf(j->p, "failed rule: %.*s", STR_ARG(str_trim(rule->text)));
    if (!rule->program || (rule->transition && !old && !rule->optional_old))
        return;
    if (run(j, rule->program, rule, n, v, old, &out, &r, &why) < 0) {
        struct str said = j->over ? STR("validation failed due to running out of cost budget, no further validation rules will be run")
                                  : pool_printf(j->p, "%s evaluating rule: %.*s", err_msg(why),
                                        STR_ARG(rule->message.n ? rule->message : str_trim(rule->text)));
        err_free(why);
        ferr_invalid_str(j->e, at, str_of(kind_name(n)), said.p);
        return;
    }
    if (out.type == CEL_BOOL && out.b)
        return;
    if (rule->message_program && run(j, rule->message_program, rule, n, v, old, &text, &r, NULL) == 0 && text.type == CEL_STRING) {
        struct str said = str_trim(text.s);
        if (said.n && said.n <= 5120 && str_chr(said, '\n') < 0)
            name = said;
    }
    tell(j, rule, n, v, at, name);
}

static const struct json *was(const struct cr_node *n, const struct json *old, const struct json *x)
{
    if (!(n->flags & CR_LIST_MAP) || !json_is(old, JSON_ARR) || x->type != JSON_OBJ)
        return NULL;
    json_for (old, o) {
        bool equal = o->type == JSON_OBJ;
        for (uint8_t k = 0; k < n->nkeys && equal; k++) {
            const struct json *a = json_get(x, n->keys[k]), *b = json_get(o, n->keys[k]);
            equal = (!a && !b) || (a && b && json_equal(a, b));
        }
        if (equal)
            return o;
    }
    return NULL;
}

static void walk(struct judge *j, const struct cr_node *n, const struct json *v, const struct json *old, const struct fpath *at)
{
    size_t i = 0;
    if (!n || !(n->flags & CR_RULES_BELOW) || j->over || v->type == JSON_NULL)
        return;
    bool same = old && json_equal(v, old);
    for (uint16_t k = 0; k < n->nrules && !j->over; k++)
        if (!same || n->rules[k]->transition) /* what did not change is not judged again, unless the rule is about change */
            judge_rule(j, n->rules[k], n, v, old, at);
    if (v->type == JSON_ARR) {
        json_for (v, x) {
            struct fpath here = fpath_at(at, i++);
            walk(j, n->items, x, was(n, old, x), &here);
        }
        return;
    }
    json_for (v, x) {
        const struct cr_node *child = cr_member(n, json_key(x));
        bool extra = !child;
        struct fpath here = extra ? fpath_key(at, json_key(x)) : fpath_name(at, json_key(x));
        walk(j, extra ? n->additional : child, x, json_get(old, json_key(x)), &here);
    }
}

void cr_rules(const struct cr_node *n, struct pool *p, const struct json *doc, const struct json *old, struct err **e)
{
    struct judge j = {.p = p, .e = e};
    walk(&j, n, doc, old, NULL);
}

/* ---- judging the rules of a CRD ---- */

static void check_program(
    struct pool *p, const struct cr_node *n, struct str text, bool old, const struct fpath *at, const char *what, struct err **e)
{
    struct err *why = NULL;
    struct cel *c = NULL;
    struct cel_decl vars[] = {{STR("self"), n}, {STR("oldSelf"), old ? NULL : n}};
    (void)p;
    if (cel_parse(text, &c, &why) == 0 && cel_check(c, vars, ARRAY_LEN(vars), &typer, &why) == 0) {
        cel_free(c);
        return;
    }
    struct buf b = BUF_INIT;
    buf_printf(&b, "%s: compilation failed: %s", what, err_msg(why));
    ferr_invalid_str(e, at, text, b.p + strlen(what) + 2);
    buf_clear(&b);
    err_free(why);
    cel_free(c);
}

static void check_rules(struct pool *p, const struct cr_node *n, const struct json *s, const struct fpath *at, int depth, struct err **e)
{
    const struct json *props = json_get(s, STR("properties"));
    struct fpath list = FPATH(at, "x-kubernetes-validations"), props_at = FPATH(at, "properties"), items_at = FPATH(at, "items"),
                 more_at = FPATH(at, "additionalProperties");
    size_t i = 0;
    if (depth > 64)
        return;
    json_for (json_get(s, STR("x-kubernetes-validations")), r) {
        struct fpath one = fpath_at(&list, i++), rule_at = FPATH(&one, "rule"), message_at = FPATH(&one, "message"),
                     expr_at = FPATH(&one, "messageExpression");
        struct str text = str_trim(json_get_str(r, "rule")), message = json_get_str(r, "message"),
                   expr = str_trim(json_get_str(r, "messageExpression"));
        bool old = json_get_bool(r, "optionalOldSelf", false);
        if (!text.n)
            ferr_required(e, &rule_at, "rule is not specified");
        else
            check_program(p, n, text, old, &rule_at, "rule", e);
        if (str_chr(message, '\n') >= 0)
            ferr_invalid_str(e, &message_at, message, "message must not contain line breaks");
        if (str_chr(text, '\n') >= 0 && !message.n)
            ferr_required(e, &message_at, "message must be specified if rule contains line breaks");
        if (expr.n)
            check_program(p, n, expr, old, &expr_at, "messageExpression", e);
    }
    for (uint16_t k = 0; k < n->nprops; k++) {
        struct fpath here = fpath_key(&props_at, n->props[k].name);
        check_rules(p, n->props[k].node, json_get(props, n->props[k].name), &here, depth + 1, e);
    }
    if (n->items)
        check_rules(p, n->items, json_get(s, STR("items")), &items_at, depth + 1, e);
    if (n->additional)
        check_rules(p, n->additional, json_get(s, STR("additionalProperties")), &more_at, depth + 1, e);
}

void cr_check_rules(struct pool *p, const struct json *schema, const struct fpath *at, struct err **e)
{
    struct cr_node *n = cr_compile(p, schema);
    n->flags |= CR_EMBEDDED;
    check_rules(p, n, schema, at, 0, e);
}
