#include "schema/ferr.h"

#include <stdio.h>

void fpath_write(struct buf *b, const struct fpath *p)
{
    if (!p)
        return;
    fpath_write(b, p->up);
    if (p->index >= 0) {
        buf_printf(b, "[%" PRId64 "]", p->index);
    } else if (p->key) {
        buf_putc(b, '[');
        buf_str_add(b, p->name);
        buf_putc(b, ']');
    } else {
        if (b->n)
            buf_putc(b, '.');
        buf_str_add(b, p->name);
    }
}

void go_quote(struct buf *b, struct str s)
{
    buf_putc(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        static const char *const named = "\aa\bb\ff\nn\rr\tt\vv";
        const char *esc = c && c < 32 ? strchr(named, c) : NULL;
        if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", c);
        else if (esc && (esc - named) % 2 == 0)
            buf_printf(b, "\\%c", esc[1]);
        else if (c < 32 || c == 127)
            buf_printf(b, "\\x%02x", c);
        else
            buf_putc(b, (char)c);
    }
    buf_putc(b, '"');
}

static void add(struct err **e, const char *reason, const struct fpath *p, const char *what, const char *value, const char *detail)
{
    struct buf path = BUF_INIT;
    fpath_write(&path, p);
    struct str at = path.n ? buf_str(&path) : STR("<nil>");
    err_cause(
        e, reason, at, "%s%s%s%s%s", what, value ? ": " : "", value ? value : "", detail && *detail ? ": " : "", detail ? detail : "");
    buf_clear(&path);
}

static void add_str(struct err **e, const char *reason, const struct fpath *p, const char *what, struct str value, const char *detail)
{
    struct buf b = BUF_INIT;
    go_quote(&b, value);
    add(e, reason, p, what, b.p, detail);
    buf_clear(&b);
}

static void add_json(
    struct err **e, const char *reason, const struct fpath *p, const char *what, const struct json *value, const char *detail)
{
    if (json_is(value, JSON_STR)) {
        add_str(e, reason, p, what, json_as_str(value), detail);
        return;
    }
    struct buf b = BUF_INIT;
    if (value)
        json_write(&b, value);
    else
        buf_puts(&b, "null");
    add(e, reason, p, what, b.p, detail);
    buf_clear(&b);
}

void ferr_required(struct err **e, const struct fpath *p, const char *detail)
{
    add(e, "FieldValueRequired", p, "Required value", NULL, detail);
}
void ferr_forbidden(struct err **e, const struct fpath *p, const char *detail)
{
    add(e, "FieldValueForbidden", p, "Forbidden", NULL, detail);
}

void ferr_invalid(struct err **e, const struct fpath *p, const struct json *value, const char *detail)
{
    add_json(e, "FieldValueInvalid", p, "Invalid value", value, detail);
}

void ferr_invalid_str(struct err **e, const struct fpath *p, struct str value, const char *detail)
{
    add_str(e, "FieldValueInvalid", p, "Invalid value", value, detail);
}

void ferr_invalid_int(struct err **e, const struct fpath *p, int64_t value, const char *detail)
{
    char text[32];
    snprintf(text, sizeof(text), "%" PRId64, value);
    add(e, "FieldValueInvalid", p, "Invalid value", text, detail);
}

void ferr_type_invalid(struct err **e, const struct fpath *p, struct str value, const char *detail)
{
    add_str(e, "FieldValueTypeInvalid", p, "Invalid value", value, detail);
}

void ferr_duplicate(struct err **e, const struct fpath *p, const struct json *value)
{
    add_json(e, "FieldValueDuplicate", p, "Duplicate value", value, NULL);
}

void ferr_duplicate_str(struct err **e, const struct fpath *p, struct str value)
{
    add_str(e, "FieldValueDuplicate", p, "Duplicate value", value, NULL);
}

void ferr_not_found(struct err **e, const struct fpath *p, struct str value)
{
    add_str(e, "FieldValueNotFound", p, "Not found", value, NULL);
}

void ferr_not_supported(struct err **e, const struct fpath *p, struct str value, const struct str *valid, size_t n)
{
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < n; i++) {
        if (str_empty(valid[i]))
            continue;
        buf_puts(&b, b.n ? ", " : "supported values: ");
        go_quote(&b, valid[i]);
    }
    add_str(e, "FieldValueNotSupported", p, "Unsupported value", value, b.p);
    buf_clear(&b);
}

void ferr_not_supported_json(struct err **e, const struct fpath *p, const struct json *value, const struct str *valid, size_t n)
{
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < n; i++) {
        buf_puts(&b, b.n ? ", " : "supported values: ");
        go_quote(&b, valid[i]);
    }
    add_json(e, "FieldValueNotSupported", p, "Unsupported value", value, b.p);
    buf_clear(&b);
}

void ferr_too_long(struct err **e, const struct fpath *p, int max)
{
    char text[64];
    snprintf(text, sizeof(text), "may not be more than %d byte%s", max, max == 1 ? "" : "s");
    add(e, "FieldValueTooLong", p, "Too long", NULL, text);
}

void ferr_too_many(struct err **e, const struct fpath *p, size_t actual, int max)
{
    char text[64], value[32];
    snprintf(text, sizeof(text), "must have at most %d item%s", max, max == 1 ? "" : "s");
    snprintf(value, sizeof(value), "%zu", actual);
    add(e, "FieldValueTooMany", p, "Too many", value, text);
}

static bool seen_before(const struct err *e, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (strcmp(e->causes[k].field, e->causes[i].field) == 0 && strcmp(e->causes[k].message, e->causes[i].message) == 0)
            return true;
    return false;
}

void ferr_join(struct buf *b, const struct err *e)
{
    size_t n = 0, start = b->n;
    for (size_t i = 0; e && i < e->ncauses; i++) {
        /* hostile objects can have thousands of wrong fields: the check for doubles is quadratic, so it stops early */
        if (i < 256 && seen_before(e, i))
            continue;
        if (n++)
            buf_puts(b, ", ");
        buf_printf(b, "%s: %s", e->causes[i].field, e->causes[i].message);
    }
    if (n > 1) {
        struct buf all = BUF_INIT;
        buf_putc(&all, '[');
        buf_add(&all, b->p + start, b->n - start);
        buf_putc(&all, ']');
        b->n = start;
        buf_str_add(b, buf_str(&all));
        buf_clear(&all);
    }
}
