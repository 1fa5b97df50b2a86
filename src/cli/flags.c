#include "cli/flags.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <ctype.h>

#include "base/file.h"
#include "base/map.h"
#include "yaml/yaml.h"

#define CONFIG_LIMIT (1u << 20)

static void *slot(void *opts, const struct flag *f)
{
    return (char *)opts + f->at;
}

static const struct flag *find(const struct flag *const *tables, struct str name)
{
    for (size_t t = 0; tables[t]; t++)
        for (const struct flag *f = tables[t]; f->name; f++)
            if (str_eqz(name, f->name) || (name.n == 1 && f->letter == name.p[0]))
                return f;
    return NULL;
}

static void strs_add(struct strs *s, struct str v)
{
    s->v = xrealloc(s->v, (s->n + 1) * sizeof *s->v);
    s->v[s->n++] = str_dup(v);
}

static void strs_drop(struct strs *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->v[i]);
    free(s->v);
    *s = (struct strs){0};
}

static int set_strs(const struct flag *f, void *at, struct str v, struct err **e)
{
    struct str rest = v, piece;
    while (str_split(&rest, ',', &piece)) {
        const char *wrong = f->check ? f->check(piece) : NULL;
        if (wrong)
            return err_set(e, ERR_USAGE, "invalid value \"%.*s\" for --%s: %s", STR_ARG(piece), f->name, wrong);
        strs_add(at, piece);
    }
    return 0;
}

static int set(const struct flag *f, void *opts, struct str v, struct err **e)
{
    void *at = slot(opts, f);
    int64_t n;
    switch (f->type) {
    case FLAG_REFUSED:
        return err_set(e, ERR_USAGE, "--%s is not supported: %s", f->name, f->help);
    case FLAG_BOOL:
        if (!str_eqz(v, "true") && !str_eqz(v, "false"))
            return err_set(e, ERR_USAGE, "invalid value \"%.*s\" for --%s: must be true or false", STR_ARG(v), f->name);
        *(bool *)at = str_eqz(v, "true");
        return 0;
    case FLAG_INT:
        if (!str_to_i64(v, &n) || n < f->min || n > f->max)
            return err_set(e, ERR_USAGE, "invalid value \"%.*s\" for --%s: must be a number from %" PRId64 " to %" PRId64, STR_ARG(v), f->name, f->min, f->max);
        *(int64_t *)at = n;
        return 0;
    case FLAG_STRS:
        return set_strs(f, at, v, e);
    case FLAG_STR:
        break;
    }
    const char *wrong = f->check ? f->check(v) : NULL;
    if (wrong)
        return err_set(e, ERR_USAGE, "invalid value \"%.*s\" for --%s: %s", STR_ARG(v), f->name, wrong);
    free(*(char **)at);
    *(char **)at = str_dup(v);
    return 0;
}

/* Which flags have a value already, by name: heavier sources come first and lighter ones leave those alone. */
static bool taken(struct map *seen, const struct flag *f)
{
    return map_get(seen, str_of(f->name)) != NULL;
}

static void take(struct map *seen, const struct flag *f)
{
    map_put(seen, str_of(f->name), (void *)f);
}

static int from_argv(const struct flag *const *tables, int argc, char **argv, void *opts, struct strs *rest, struct map *seen, struct err **e)
{
    bool flags_over = false;
    for (int i = 1; i < argc; i++) {
        struct str a = str_of(argv[i]), name, value = STR_NULL;
        if (flags_over || a.n < 2 || a.p[0] != '-') {
            if (!rest)
                return err_set(e, ERR_USAGE, "unexpected argument \"%s\"", argv[i]);
            strs_add(rest, a);
            continue;
        }
        if (str_eqz(a, "--")) {
            flags_over = true;
            continue;
        }
        name = str_sub(a, a.p[1] == '-' ? 2 : 1, a.n);
        bool inline_value = str_cut(name, '=', &name, &value);
        const struct flag *f = find(tables, name);
        if (!f)
            return err_set(e, ERR_USAGE, "flag provided but not defined: -%.*s", STR_ARG(name));
        if (!inline_value) {
            if (f->type == FLAG_BOOL) {
                value = STR("true");
            } else if (f->type != FLAG_REFUSED) {
                if (i + 1 >= argc)
                    return err_set(e, ERR_USAGE, "flag needs an argument: --%s", f->name);
                value = str_of(argv[++i]);
            }
        }
        int r = set(f, opts, value, e);
        if (r < 0)
            return r;
        take(seen, f);
    }
    return 0;
}

static char *env_name(const struct flag *f)
{
    if (f->env)
        return xstrdup(f->env);
    char *n = xasprintf("SAMPAN_%s", f->name);
    for (char *c = n; *c; c++)
        *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
    return n;
}

static int from_env(const struct flag *const *tables, void *opts, struct map *seen, struct err **e)
{
    for (size_t t = 0; tables[t]; t++) {
        for (const struct flag *f = tables[t]; f->name; f++) {
            _cleanup_(freep) char *name = env_name(f);
            const char *v = getenv(name);
            if (!v || !*v || taken(seen, f) || f->type == FLAG_REFUSED)
                continue;
            if (set(f, opts, str_of(v), e) < 0)
                return err_wrap(e, "environment variable %s", name);
            take(seen, f);
        }
    }
    return 0;
}

/* One scalar of a config file as the flag's text. */
static bool scalar_text(const struct json *j, struct pool *p, struct str *out)
{
    switch (j->type) {
    case JSON_STR:
        *out = json_as_str(j);
        return true;
    case JSON_BOOL:
        *out = j->b ? STR("true") : STR("false");
        return true;
    case JSON_INT:
        *out = pool_printf(p, "%" PRId64, j->i);
        return true;
    default:
        return false;
    }
}

static int set_config_value(const struct flag *f, void *opts, const struct json *v, struct pool *p, const char *file, struct err **e)
{
    struct str text;
    if (v->type == JSON_ARR && f->type == FLAG_STRS) {
        json_for(v, item) {
            if (!scalar_text(item, p, &text))
                return err_set(e, ERR_USAGE, "%s: %s: items must be strings", file, f->name);
            if (set(f, opts, text, e) < 0)
                return err_wrap(e, "%s", file);
        }
        return 0;
    }
    if (!scalar_text(v, p, &text))
        return err_set(e, ERR_USAGE, "%s: %s: must be %s", file, f->name, f->type == FLAG_STRS ? "a list" : "a single value");
    return set(f, opts, text, e) < 0 ? err_wrap(e, "%s", file) : 0;
}

static int from_file(const struct flag *const *tables, const char *path, void *opts, struct map *heavier, struct map *here, struct err **e)
{
    _cleanup_(buf_clear) struct buf text = BUF_INIT;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *doc = NULL;
    if (file_read(path, CONFIG_LIMIT, &text, e) < 0)
        return err_wrap(e, "config file");
    if (str_empty(str_trim(buf_str(&text))))
        return 0;
    if (yaml_parse_one(p, buf_str(&text), NULL, &doc, e) < 0)
        return err_wrap(e, "%s", path);
    if (!json_is(doc, JSON_OBJ))
        return err_set(e, ERR_USAGE, "%s: must be a map of flag names to values", path);
    json_for(doc, item) {
        struct str key = json_key(item);
        bool add = str_ends(key, STR("+"));
        if (add)
            key.n--;
        const struct flag *f = find(tables, key);
        if (!f || key.n == 1)
            return err_set(e, ERR_USAGE, "%s: unknown key \"%.*s\"", path, STR_ARG(key));
        if (taken(heavier, f))
            continue;
        if (f->type == FLAG_STRS && !add)
            strs_drop(slot(opts, f));
        int r = set_config_value(f, opts, item, p, path, e);
        if (r < 0)
            return r;
        take(here, f);
    }
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int from_folder(const struct flag *const *tables, const char *path, void *opts, struct map *heavier, struct map *here, struct err **e)
{
    struct strs names = {0};
    DIR *d = opendir(path);
    int r = 0;
    if (!d)
        return 0;
    for (struct dirent *ent; (ent = readdir(d));) {
        struct str n = str_of(ent->d_name);
        if (n.p[0] != '.' && (str_ends(n, STR(".yaml")) || str_ends(n, STR(".yml"))))
            strs_add(&names, n);
    }
    closedir(d);
    if (names.n)
        qsort(names.v, names.n, sizeof *names.v, by_name);
    for (size_t i = 0; i < names.n && r == 0; i++) {
        _cleanup_(freep) char *file = xasprintf("%s/%s", path, names.v[i]);
        r = from_file(tables, file, opts, heavier, here, e);
    }
    strs_drop(&names);
    return r;
}

static int defaults(const struct flag *const *tables, void *opts, struct map *seen, struct err **e)
{
    for (size_t t = 0; tables[t]; t++)
        for (const struct flag *f = tables[t]; f->name; f++)
            if (f->dflt && f->type != FLAG_REFUSED && !taken(seen, f) && set(f, opts, str_of(f->dflt), e) < 0)
                return err_wrap(e, "default");
    return 0;
}

static int parse_all(const struct flag *const *tables, int argc, char **argv, void *opts, ssize_t config_at, const char *config_default, struct strs *rest, struct map *seen, struct map *in_file, struct err **e)
{
    int r = from_argv(tables, argc, argv, opts, rest, seen, e);
    if (r == 0)
        r = from_env(tables, opts, seen, e);
    if (r == 0 && config_at >= 0) {
        const char *given = *(char **)((char *)opts + config_at);
        const char *path = given ? given : config_default;
        _cleanup_(freep) char *folder = xasprintf("%s.d", path);
        if (given || file_exists(path))
            r = from_file(tables, path, opts, seen, in_file, e);
        if (r == 0)
            r = from_folder(tables, folder, opts, seen, in_file, e);
        map_for(in_file, it)
            take(seen, it->value);
    }
    return r == 0 ? defaults(tables, opts, seen, e) : r;
}

int flags_parse(const struct flag *const *tables, int argc, char **argv, void *opts, ssize_t config_at, const char *config_default, struct strs *rest, struct err **e)
{
    struct map seen = {0}, in_file = {0};
    int r = parse_all(tables, argc, argv, opts, config_at, config_default, rest, &seen, &in_file, e);
    map_clear(&seen, NULL);
    map_clear(&in_file, NULL);
    return r;
}

void flags_help(const struct flag *const *tables)
{
    for (size_t t = 0; tables[t]; t++) {
        for (const struct flag *f = tables[t]; f->name; f++) {
            if (f->type == FLAG_REFUSED)
                continue;
            _cleanup_(freep) char *env = env_name(f);
            _cleanup_(freep) char *left = f->letter ? xasprintf("--%s, -%c", f->name, f->letter) : xasprintf("--%s", f->name);
            printf("  %-32s %s%s%s%s [$%s]\n", left, f->help, f->dflt ? " (default: " : "", f->dflt ? f->dflt : "", f->dflt ? ")" : "", env);
        }
    }
}

void flags_clear(const struct flag *const *tables, void *opts)
{
    for (size_t t = 0; tables[t]; t++) {
        for (const struct flag *f = tables[t]; f->name; f++) {
            if (f->type == FLAG_STR) {
                free(*(char **)slot(opts, f));
                *(char **)slot(opts, f) = NULL;
            } else if (f->type == FLAG_STRS) {
                strs_drop(slot(opts, f));
            }
        }
    }
}
