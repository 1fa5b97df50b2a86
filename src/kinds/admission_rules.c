#include "kinds/admission_rules.h"

#include "cel/cel.h"
#include "schema/selector.h"

enum { CONDITIONS_MAX = 64, VARS_MAX = 16 };

/* Stands the text anywhere below old? */
static bool stood(const struct json *old, struct str text)
{
    if (json_is(old, JSON_STR))
        return str_eq(json_as_str(old), text);
    json_for (old, x)
        if (stood(x, text))
            return true;
    return false;
}

void admission_expression(struct str text, const struct json *old, const char *const *vars, const struct fpath *at, struct err **e)
{
    struct cel_decl decl[VARS_MAX];
    size_t n = 0;
    struct cel *c = NULL;
    struct err *why = NULL;
    if (!str_trim(text).n) {
        ferr_required(e, at, "");
        return;
    }
    for (; n < VARS_MAX && vars[n]; n++)
        decl[n] = (struct cel_decl){str_of(vars[n]), NULL};
    if (cel_parse(text, &c, &why) < 0 || cel_check(c, decl, n, NULL, &why) < 0) {
        struct buf b = BUF_INIT;
        buf_printf(&b, "compilation failed: %s", err_msg(why));
        if (!stood(old, text))
            ferr_invalid_str(e, at, text, b.p);
        buf_clear(&b);
    }
    err_free(why);
    cel_free(c);
}

void admission_conditions(const struct json *list, const struct json *old, const char *const *vars, const struct fpath *at, struct err **e)
{
    size_t i = 0;
    if (json_count(list) > CONDITIONS_MAX)
        ferr_too_many(e, at, json_count(list), CONDITIONS_MAX);
    json_for (list, x) {
        struct fpath here = fpath_at(at, i), name_at = FPATH(&here, "name"), expr_at = FPATH(&here, "expression");
        struct str name = json_get_str(x, "name");
        const char *why = name.n ? name_qualified(name) : NULL;
        size_t k = 0;
        if (!name.n)
            ferr_required(e, &name_at, "");
        else if (why)
            ferr_invalid_str(e, &name_at, name, why);
        json_for (list, o) {
            if (k++ >= i)
                break;
            if (name.n && str_eq(json_get_str(o, "name"), name)) {
                ferr_duplicate_str(e, &name_at, name);
                break;
            }
        }
        admission_expression(json_get_str(x, "expression"), old, vars, &expr_at, e);
        i++;
    }
}

static void wanted(const struct json *rule, const char *key, const struct fpath *at, struct err **e)
{
    struct fpath here = fpath_name(at, str_of(key));
    const struct json *list = json_get(rule, str_of(key));
    bool star = false;
    if (!json_count(list)) {
        ferr_required(e, &here, "");
        return;
    }
    json_for (list, x)
        star |= str_eqz(json_as_str(x), "*");
    if (star && json_count(list) > 1 && strcmp(key, "resources") != 0)
        ferr_invalid(e, &here, list,
            strcmp(key, "operations") == 0  ? "if '*' is present, must not specify other operations"
            : strcmp(key, "apiGroups") == 0 ? "if '*' is present, must not specify other API groups"
                                            : "if '*' is present, must not specify other API versions");
}

void admission_rules(const struct json *list, const struct fpath *at, struct err **e)
{
    static const char *const keys[] = {"operations", "apiGroups", "apiVersions", "resources"};
    static const struct str ops[] = {STR("*"), STR("CONNECT"), STR("CREATE"), STR("DELETE"), STR("UPDATE")},
                            scopes[] = {STR("*"), STR("Cluster"), STR("Namespaced")};
    size_t i = 0;
    json_for (list, r) {
        struct fpath here = fpath_at(at, i++), ops_at = FPATH(&here, "operations"), scope_at = FPATH(&here, "scope");
        struct str scope = json_get_str(r, "scope");
        size_t n = 0;
        for (size_t k = 0; k < ARRAY_LEN(keys); k++)
            wanted(r, keys[k], &here, e);
        json_for (json_get(r, STR("operations")), o) {
            struct fpath one = fpath_at(&ops_at, n++);
            bool known = false;
            for (size_t k = 0; k < ARRAY_LEN(ops); k++)
                known |= str_eq(ops[k], json_as_str(o));
            if (!known)
                ferr_not_supported(e, &one, json_as_str(o), ops, ARRAY_LEN(ops));
        }
        if (scope.n && !str_eqz(scope, "*") && !str_eqz(scope, "Cluster") && !str_eqz(scope, "Namespaced"))
            ferr_not_supported(e, &scope_at, scope, scopes, ARRAY_LEN(scopes));
    }
}
