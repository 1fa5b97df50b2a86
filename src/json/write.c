#include "json/json.h"
#include "json/number.h"
#include "json/scan.h"

/* One character that cannot stand as it is. Returns how many bytes of the input it took. As Go 1.22: invalid UTF-8 turns into \ufffd, and
 * U+2028 and U+2029 are escaped because JavaScript once took them for line ends. */
static size_t write_special(struct buf *b, const char *p, const char *end)
{
    static const char hex[] = "0123456789abcdef";
    unsigned char c = (unsigned char)*p;
    const char *two = NULL;
    if (c >= 0x80) {
        size_t n = scan_utf8(p, end);
        if (n == 3 && c == 0xe2 && (unsigned char)p[1] == 0x80 && ((unsigned char)p[2] & 0xfe) == 0xa8)
            buf_puts(b, (unsigned char)p[2] == 0xa8 ? "\\u2028" : "\\u2029");
        else if (n)
            buf_add(b, p, n);
        else
            buf_puts(b, "\\ufffd");
        return n ? n : 1;
    }
    switch (c) {
    case '"':
        two = "\\\"";
        break;
    case '\\':
        two = "\\\\";
        break;
    case '\b':
        two = "\\b";
        break;
    case '\f':
        two = "\\f";
        break;
    case '\n':
        two = "\\n";
        break;
    case '\r':
        two = "\\r";
        break;
    case '\t':
        two = "\\t";
        break;
    default:
        break;
    }
    if (two)
        buf_add(b, two, 2);
    else
        buf_add(b, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
    return 1;
}

void json_write_str(struct buf *b, struct str s)
{
    const char *p = s.p ? s.p : "", *end = p + s.n;
    size_t plain = scan_plain(p, end);
    char *o = buf_reserve(b, plain + 2);
    if (!o)
        return;
    *o++ = '"';
    memcpy(o, p, plain);
    if (plain == s.n) { /* nearly always */
        o[plain] = '"';
        b->n += plain + 2;
        b->p[b->n] = 0;
        return;
    }
    b->n += plain + 1;
    for (p += plain; p < end;) {
        p += write_special(b, p, end);
        plain = scan_plain(p, end);
        buf_add(b, p, plain);
        p += plain;
    }
    buf_putc(b, '"');
}

static void write_scalar(struct buf *b, const struct json *j)
{
    char number[NUMBER_MAX];
    switch (j->type) {
    case JSON_BOOL:
        if (j->b)
            buf_add(b, "true", 4);
        else
            buf_add(b, "false", 5);
        break;
    case JSON_INT:
        buf_i64(b, j->i);
        break;
    case JSON_DOUBLE:
        buf_add(b, number, number_write(j->d, number));
        break;
    case JSON_STR:
        json_write_str(b, str_make(j->sp, j->n));
        break;
    default:
        buf_add(b, "null", 4);
        break;
    }
}

void json_write(struct buf *b, const struct json *j)
{
    if (!j || (j->type != JSON_ARR && j->type != JSON_OBJ)) {
        write_scalar(b, j ? j : &(struct json){.type = JSON_NULL});
        return;
    }
    bool object = j->type == JSON_OBJ;
    buf_putc(b, object ? '{' : '[');
    for (const struct json *c = j->first; c; c = c->next) {
        if (c != j->first)
            buf_putc(b, ',');
        if (object) {
            json_write_str(b, json_key(c));
            buf_putc(b, ':');
        }
        if (c->type == JSON_STR)
            json_write_str(b, str_make(c->sp, c->n));
        else
            json_write(b, c);
    }
    buf_putc(b, object ? '}' : ']');
}

static void new_line(struct buf *b, int spaces)
{
    buf_putc(b, '\n');
    char *o = buf_reserve(b, (size_t)spaces);
    if (!o)
        return;
    memset(o, ' ', (size_t)spaces);
    b->n += (size_t)spaces;
    b->p[b->n] = 0;
}

static void pretty(struct buf *b, const struct json *j, int indent, int at)
{
    if (json_count(j) == 0) {
        json_write(b, j);
        return;
    }
    bool object = j->type == JSON_OBJ;
    buf_putc(b, object ? '{' : '[');
    for (const struct json *c = j->first; c; c = c->next) {
        if (c != j->first)
            buf_putc(b, ',');
        new_line(b, at + indent);
        if (object) {
            json_write_str(b, json_key(c));
            buf_add(b, ": ", 2);
        }
        pretty(b, c, indent, at + indent);
    }
    new_line(b, at);
    buf_putc(b, object ? '}' : ']');
}

void json_write_pretty(struct buf *b, const struct json *j, int indent)
{
    pretty(b, j, MAX(indent, 0), 0);
}

struct str json_to_pool(struct pool *pool, const struct json *j)
{
    struct buf b = BUF_INIT;
    json_write(&b, j);
    return buf_to_pool(&b, pool);
}
