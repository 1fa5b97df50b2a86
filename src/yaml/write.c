/* Block style as kubectl's users know it: sequences not indented below their key, multi-line text as a literal block. */
#include "yaml/yaml.h"
#include <stdlib.h>
#include "yaml/scalar.h"

enum { LONG_KEY = 128 };

/* The code point at p and its length; U+FFFD for a byte that is no UTF-8. */
static size_t decode(const char *p, const char *end, uint32_t *c)
{
    const unsigned char *u = (const unsigned char *)p;
    size_t n = u[0] < 0x80 ? 1 : u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;
    if (u[0] < 0x80) {
        *c = u[0];
        return 1;
    }
    if (!str_utf8_valid(str_make(p, MIN(n, (size_t)(end - p))))) {
        *c = 0xfffd;
        return 1;
    }
    *c = u[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++)
        *c = *c << 6 | (u[i] & 0x3f);
    return n;
}

/* May stand in a YAML stream as it is (YAML 1.1 section 5.1), line breaks aside. */
static bool printable(uint32_t c)
{
    return (c >= 0x20 && c < 0x7f) || (c >= 0xa0 && c < 0xd800 && c != 0x2028 && c != 0x2029) ||
           (c >= 0xe000 && c < 0xfffd && c != 0xfeff) || c == 0xfffd || (c >= 0x10000 && c < 0x110000);
}

static bool all_printable(struct str s, bool newlines)
{
    const char *p = s.p, *end = s.p + s.n;
    while (p < end) {
        uint32_t c;
        size_t n = decode(p, end, &c);
        if (!(printable(c) || (newlines && c == '\n')) || (c == 0xfffd && n == 1))
            return false;
        p += n;
    }
    return true;
}

static void write_double_quoted(struct buf *b, struct str s)
{
    static const char special[] = "\"\\\n\r\t\b\f", letter[] = "\"\\nrtbf";
    const char *p = s.p, *end = s.p + s.n;
    buf_putc(b, '"');
    while (p < end) {
        uint32_t c;
        size_t n = decode(p, end, &c);
        const char *at = c && c < 0x80 ? strchr(special, (int)c) : NULL;
        if (at)
            buf_printf(b, "\\%c", letter[at - special]);
        else if (!printable(c))
            buf_printf(b, "\\u%04x", (unsigned)c);
        else if (c == 0xfffd && n == 1)
            buf_puts(b, "\xef\xbf\xbd");
        else
            buf_add(b, p, n);
        p += n;
    }
    buf_putc(b, '"');
}

static void write_single_quoted(struct buf *b, struct str s)
{
    buf_putc(b, '\'');
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\'')
            buf_putc(b, '\'');
        buf_putc(b, s.p[i]);
    }
    buf_putc(b, '\'');
}

static bool plain_shape(struct str s)
{
    char first = s.p[0], last = s.p[s.n - 1];
    if (strchr(",[]{}#&*!|>'\"%@` ", first) || last == ' ' || last == ':')
        return false;
    if (strchr("-?:", first) && (s.n == 1 || s.p[1] == ' '))
        return false;
    if (str_starts(s, STR("---")) || str_starts(s, STR("...")))
        return false;
    return str_find(s, STR(": ")) < 0 && str_find(s, STR(" #")) < 0;
}

static void write_text(struct buf *b, struct str s)
{
    struct scalar_value v;
    if (s.n == 0)
        buf_puts(b, "\"\"");
    else if (!all_printable(s, false) || scalar_resolve(s, &v) != SCALAR_STR || scalar_looks_special(s))
        write_double_quoted(b, s);
    else if (plain_shape(s))
        buf_str_add(b, s);
    else
        write_single_quoted(b, s);
}

static void spaces(struct buf *b, int n)
{
    for (int i = 0; i < n; i++)
        buf_putc(b, ' ');
}

/* A literal block needs no indicator beyond - and + when its first line is neither blank nor indented. */
static bool literal_fits(struct str s)
{
    return s.n > 1 && memchr(s.p, '\n', s.n) && s.p[0] != ' ' && s.p[0] != '\n' && all_printable(s, true);
}

static void write_literal(struct buf *b, struct str s, int indent)
{
    bool ends = s.p[s.n - 1] == '\n';
    struct str rest = ends ? str_sub(s, 0, s.n - 1) : s, line;
    buf_putc(b, '|');
    if (!ends)
        buf_putc(b, '-');
    else if (s.n > 1 && s.p[s.n - 2] == '\n')
        buf_putc(b, '+');
    while (str_split(&rest, '\n', &line)) {
        buf_putc(b, '\n');
        if (line.n) {
            spaces(b, indent);
            buf_str_add(b, line);
        }
    }
}

static void write_scalar(struct buf *b, const struct json *j, int indent)
{
    struct str s = json_as_str(j);
    if (j->type != JSON_STR)
        json_write(b, j);
    else if (literal_fits(s))
        write_literal(b, s, indent);
    else
        write_text(b, s);
}

static int by_key(const void *a, const void *b)
{
    return str_cmp(json_key(*(const struct json *const *)a), json_key(*(const struct json *const *)b));
}

static void write_block(struct buf *b, const struct json *j, int indent);

static void write_key(struct buf *b, struct str key, int indent)
{
    bool is_long = key.n > LONG_KEY;
    if (is_long)
        buf_puts(b, "? ");
    write_text(b, key);
    if (is_long) {
        buf_putc(b, '\n');
        spaces(b, indent);
    }
    buf_putc(b, ':');
}

static void write_object(struct buf *b, const struct json *j, int indent)
{
    size_t n = 0;
    const struct json **sorted = xmalloc((j->n + 1) * sizeof *sorted);
    json_for (j, m)
        sorted[n++] = m;
    qsort(sorted, n, sizeof *sorted, by_key);
    for (size_t i = 0; i < n; i++) {
        const struct json *m = sorted[i];
        if (i)
            spaces(b, indent);
        write_key(b, json_key(m), indent);
        if (json_count(m)) {
            int below = m->type == JSON_OBJ ? indent + 2 : indent;
            buf_putc(b, '\n');
            spaces(b, below);
            write_block(b, m, below);
        } else {
            buf_putc(b, ' ');
            write_scalar(b, m, indent + 2);
            buf_putc(b, '\n');
        }
    }
    free(sorted);
}

/* The cursor stands at column `indent`; ends behind a newline. */
static void write_block(struct buf *b, const struct json *j, int indent)
{
    if (json_count(j) == 0) {
        write_scalar(b, j, indent);
        buf_putc(b, '\n');
    } else if (j->type == JSON_OBJ) {
        write_object(b, j, indent);
    } else {
        json_for (j, item) {
            if (item != j->first)
                spaces(b, indent);
            buf_puts(b, "- ");
            write_block(b, item, indent + 2);
        }
    }
}

void yaml_write(struct buf *b, const struct json *j)
{
    static const struct json null = {.type = JSON_NULL};
    if (json_is(j, JSON_STR) && literal_fits(json_as_str(j)))
        write_literal(b, json_as_str(j), 2), buf_putc(b, '\n');
    else
        write_block(b, j ? j : &null, 0);
}
