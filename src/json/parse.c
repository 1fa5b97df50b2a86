/* The parser: one loop with its own stack of open containers, nodes handed out from blocks, strings left where they are. */
#include "json/json.h"
#include "json/index.h"
#include "json/number.h"
#include "json/scan.h"
#include <stdio.h>

enum {
    BYTES_DEFAULT = 3 << 20,
    DEPTH_DEFAULT = 128,
    DEPTH_MAX = 512, /* also bounds what recursion over a parsed tree costs */
    NODES_DEFAULT = 1000000,
    BLOCK_MAX = 256,
    DUPS_MAX = 100, /* as many as Kubernetes reports */
};

struct parser {
    const char *start, *p, *end;
    const char *original; /* what the caller gave: start may be a copy in which escapes were resolved */
    bool in_place;        /* the text is our own copy: escapes may be resolved inside it */
    bool strict;
    struct pool *pool;
    struct json *node, *node_end;
    size_t nodes_left, block;
    size_t depth, depth_max;
    struct json *stack[DEPTH_MAX];
    struct json_dup **dup_tail; /* NULL when nobody asked */
    size_t ndups;
    struct err **e;
};

static int fail_at(const struct parser *ps, const char *at, enum err_code code, const char *what)
{
    size_t line = 1;
    const char *begin = ps->original;
    at = ps->original + (at - ps->start);
    for (const char *p = begin; p < at; p++)
        if (*p == '\n') {
            line++;
            begin = p + 1;
        }
    return err_set(ps->e, code, "%s at line %zu, column %zu", what, line, (size_t)(at - begin) + 1);
}

static int unexpected(const struct parser *ps, const char *where)
{
    char what[96];
    unsigned char c = ps->p < ps->end ? (unsigned char)*ps->p : 0;
    if (ps->p >= ps->end)
        return fail_at(ps, ps->end, ERR_PARSE, "unexpected end of JSON input");
    if (c >= 0x20 && c < 0x7f)
        snprintf(what, sizeof what, "invalid character '%c' %s", c, where);
    else
        snprintf(what, sizeof what, "invalid character '\\x%02x' %s", c, where);
    return fail_at(ps, ps->p, ERR_PARSE, what);
}

static struct json *more_nodes(struct parser *ps)
{
    size_t n = MIN(ps->block, ps->nodes_left);
    if (n == 0)
        return NULL;
    ps->nodes_left -= n;
    ps->block = MIN(ps->block * 2, (size_t)BLOCK_MAX);
    ps->node = pool_alloc(ps->pool, n * sizeof *ps->node);
    ps->node_end = ps->node + n;
    return ps->node++;
}

static inline struct json *new_node(struct parser *ps)
{
    return likely(ps->node < ps->node_end) ? ps->node++ : more_nodes(ps);
}

static inline void skip_space(struct parser *ps)
{
    const char *p = ps->p;
    while (p < ps->end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    ps->p = p;
}

static int hex4(const char *p, const char *end)
{
    int v = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int c = (unsigned char)p[i], low = c | 0x20;
        if (c >= '0' && c <= '9')
            v = v * 16 + c - '0';
        else if (low >= 'a' && low <= 'f')
            v = v * 16 + low - 'a' + 10;
        else
            return -1;
    }
    return v;
}

static char *put_utf8(char *o, unsigned c)
{
    if (c < 0x80) {
        *o++ = (char)c;
    } else if (c < 0x800) {
        *o++ = (char)(0xc0 | c >> 6);
        *o++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *o++ = (char)(0xe0 | c >> 12);
        *o++ = (char)(0x80 | (c >> 6 & 0x3f));
        *o++ = (char)(0x80 | (c & 0x3f));
    } else {
        *o++ = (char)(0xf0 | c >> 18);
        *o++ = (char)(0x80 | (c >> 12 & 0x3f));
        *o++ = (char)(0x80 | (c >> 6 & 0x3f));
        *o++ = (char)(0x80 | (c & 0x3f));
    }
    return o;
}

/* Four hexadecimal digits behind p (which stands on the u), with the second half of a surrogate pair. A lone half becomes U+FFFD, as in Go.
 */
static const char *unescape_u(const char *p, const char *end, char **o)
{
    int c = hex4(p + 1, end), low;
    if (c < 0)
        return NULL;
    p += 5;
    if (c >= 0xd800 && c <= 0xdbff && end - p >= 6 && p[0] == '\\' && p[1] == 'u' && (low = hex4(p + 2, end)) >= 0xdc00 && low <= 0xdfff) {
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        p += 6;
    } else if (c >= 0xd800 && c <= 0xdfff) {
        c = 0xfffd;
    }
    *o = put_utf8(*o, (unsigned)c);
    return p;
}

/* One escape; p stands behind the backslash. NULL when it is none. */
static const char *unescape(const char *p, const char *end, char **o)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (p >= end)
        return NULL;
    if (*p == 'u')
        return unescape_u(p, end, o);
    const char *at = memchr(from, *p, sizeof from - 1);
    if (!at)
        return NULL;
    *(*o)++ = to[at - from];
    return p + 1;
}

/* The closing quote of a string that has escapes, found without resolving them. */
static const char *closing_quote(const char *p, const char *end)
{
    while (p < end && *p != '"') {
        if (*p == '\\')
            p++;
        p++;
    }
    return p < end ? p : end;
}

/* The rest of a string from its first backslash at p on; begin is its first byte. */
static int read_escaped(struct parser *ps, const char *begin, const char *p, struct str *out)
{
    char *base, *o;
    if (ps->in_place) {
        base = (char *)(uintptr_t)begin; /* the copy of json_parse_dups is writable */
    } else {
        base = pool_alloc(ps->pool, (size_t)(closing_quote(p, ps->end) - begin) + 1);
        memcpy(base, begin, (size_t)(p - begin));
    }
    o = base + (p - begin);
    for (;;) {
        size_t run = scan_plain(p, ps->end), n;
        memmove(o, p, run);
        o += run;
        p += run;
        if (p >= ps->end)
            return fail_at(ps, ps->end, ERR_PARSE, "unexpected end of JSON input");
        if (*p == '"')
            break;
        if (*p == '\\') {
            const char *after = unescape(p + 1, ps->end, &o);
            if (!after)
                return fail_at(ps, p, ERR_PARSE, "invalid escape in string literal");
            p = after;
        } else if ((unsigned char)*p >= 0x80 && (n = scan_utf8(p, ps->end)) > 0) {
            memmove(o, p, n);
            o += n;
            p += n;
        } else {
            return fail_at(
                ps, p, ERR_PARSE, (unsigned char)*p < 0x20 ? "control character in string literal" : "invalid UTF-8 in string literal");
        }
    }
    *out = str_make(base, (size_t)(o - base));
    ps->p = p + 1;
    return 0;
}

/* A string; ps->p stands behind its opening quote. */
static inline int read_string(struct parser *ps, struct str *out)
{
    const char *begin = ps->p, *p = begin;
    for (;;) {
        p += scan_plain(p, ps->end);
        if (unlikely(p >= ps->end))
            return fail_at(ps, ps->end, ERR_PARSE, "unexpected end of JSON input");
        if (likely(*p == '"')) {
            *out = str_make(begin, (size_t)(p - begin));
            ps->p = p + 1;
            return 0;
        }
        if (*p == '\\')
            return read_escaped(ps, begin, p, out);
        size_t n = (unsigned char)*p >= 0x80 ? scan_utf8(p, ps->end) : 0;
        if (n == 0)
            return fail_at(
                ps, p, ERR_PARSE, (unsigned char)*p < 0x20 ? "control character in string literal" : "invalid UTF-8 in string literal");
        p += n;
    }
}

static int read_word(struct parser *ps, struct json *v, const char *word, size_t n, enum json_type type, bool b)
{
    if ((size_t)(ps->end - ps->p) < n || memcmp(ps->p, word, n) != 0) {
        while (ps->p < ps->end && *ps->p == *word)
            ps->p++, word++;
        return unexpected(ps, "in literal");
    }
    ps->p += n;
    v->type = type;
    v->i = 0;
    v->b = b;
    return 0;
}

static int read_number(struct parser *ps, struct json *v)
{
    const char *after;
    switch (number_read(ps->p, ps->end, ps->strict, v, &after)) {
    case NUMBER_OK:
        ps->p = after;
        return 0;
    case NUMBER_RANGE:
        return fail_at(ps, ps->p, ERR_PARSE, "number out of range");
    default:
        return fail_at(ps, ps->p, ERR_PARSE, "invalid number literal");
    }
}

/* An opening bracket: 1 when something stands in it (then it lies on the stack), 0 when it is empty. */
static int read_open(struct parser *ps, struct json *v, enum json_type type, char closer)
{
    v->type = type;
    v->first = v->last = NULL;
    if (ps->depth >= ps->depth_max)
        return fail_at(ps, ps->p, ERR_LIMIT, "exceeded max depth");
    ps->p++;
    skip_space(ps);
    if (ps->p < ps->end && *ps->p == closer) {
        ps->p++;
        return 0;
    }
    ps->stack[ps->depth++] = v;
    return 1;
}

static inline int read_value(struct parser *ps, struct json *v)
{
    if (unlikely(ps->p >= ps->end))
        return unexpected(ps, "");
    switch (*ps->p) {
    case '"': {
        struct str s;
        ps->p++;
        int r = read_string(ps, &s);
        if (r < 0)
            return r;
        v->type = JSON_STR;
        v->sp = s.p;
        v->n = (uint32_t)s.n;
        return 0;
    }
    case '{':
        return read_open(ps, v, JSON_OBJ, '}');
    case '[':
        return read_open(ps, v, JSON_ARR, ']');
    case 't':
        return read_word(ps, v, "true", 4, JSON_BOOL, true);
    case 'f':
        return read_word(ps, v, "false", 5, JSON_BOOL, false);
    case 'n':
        return read_word(ps, v, "null", 4, JSON_NULL, false);
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        return read_number(ps, v);
    default:
        return unexpected(ps, "looking for beginning of value");
    }
}

static int read_key(struct parser *ps, struct json *v)
{
    struct str key;
    if (unlikely(ps->p >= ps->end || *ps->p != '"'))
        return unexpected(ps, "looking for beginning of object key string");
    ps->p++;
    int r = read_string(ps, &key);
    if (r < 0)
        return r;
    v->keyp = key.p;
    v->keyn = (uint32_t)key.n;
    skip_space(ps);
    if (unlikely(ps->p >= ps->end || *ps->p != ':'))
        return unexpected(ps, "after object key");
    ps->p++;
    skip_space(ps);
    return 0;
}

/* Remembers "a.b[3].key"; the path is read off the stack of open containers. */
static void note_dup(struct parser *ps, const struct json *member)
{
    struct buf b = BUF_INIT;
    if (!ps->dup_tail || ps->ndups++ >= DUPS_MAX)
        return;
    for (size_t i = 1; i < ps->depth; i++) {
        const struct json *in = ps->stack[i - 1], *at = ps->stack[i];
        if (in->type == JSON_ARR) {
            buf_printf(&b, "[%u]", in->n - 1);
        } else {
            buf_puts(&b, b.n ? "." : "");
            buf_str_add(&b, json_key(at));
        }
    }
    buf_puts(&b, b.n ? "." : "");
    buf_str_add(&b, json_key(member));
    struct json_dup *d = pool_new_of(ps->pool, struct json_dup);
    d->path = buf_to_pool(&b, ps->pool);
    *ps->dup_tail = d;
    ps->dup_tail = &d->next;
}

/* Takes the members that dup_member marked out of the list. */
static void drop_marked(struct json *obj)
{
    struct json **at = &obj->first, *last = NULL;
    uint32_t n = 0;
    for (struct json *m = obj->first; m; m = m->next) {
        if (m->flags)
            continue;
        *at = m;
        at = &m->next;
        last = m;
        n++;
    }
    *at = NULL;
    obj->last = last;
    obj->n = n;
}

static bool mark_dups_large(struct parser *ps, struct json *obj)
{
    struct index x = INDEX_NONE;
    bool any = false;
    index_build(&x, NULL, obj->n);
    for (struct json *m = obj->first; m; m = m->next) {
        struct json *old = index_put(&x, m);
        if (old) {
            old->flags = 1;
            any = true;
            note_dup(ps, m);
        }
    }
    index_clear(&x);
    return any;
}

/* A set of 64 bits tells most keys apart; only where one is hit twice are the members before compared. */
static bool mark_dups_small(struct parser *ps, struct json *obj)
{
    uint64_t seen = 0;
    bool any = false;
    for (struct json *m = obj->first; m; m = m->next) {
        unsigned h = m->keyn ? m->keyn * 5u + (unsigned char)m->keyp[0] * 7u + (unsigned char)m->keyp[m->keyn - 1] * 3u : 0;
        uint64_t bit = UINT64_C(1) << (h & 63);
        if (seen & bit)
            for (struct json *o = obj->first; o != m; o = o->next)
                if (!o->flags && index_key_is(o, json_key(m))) {
                    o->flags = 1;
                    any = true;
                    note_dup(ps, m);
                }
        seen |= bit;
    }
    return any;
}

static inline void close_object(struct parser *ps, struct json *obj)
{
    if (obj->n < 2)
        return;
    if (obj->n > INDEX_WORTH ? mark_dups_large(ps, obj) : mark_dups_small(ps, obj))
        drop_marked(obj);
}

static inline void attach(struct json *in, struct json *v)
{
    if (in->last)
        in->last->next = v;
    else
        in->first = v;
    in->last = v;
    in->n++;
}

/* Behind a value: closes what is closed here. 1: another value follows, 0: the document is complete. */
static inline int read_after_value(struct parser *ps)
{
    while (ps->depth) {
        struct json *top = ps->stack[ps->depth - 1];
        bool object = top->type == JSON_OBJ;
        skip_space(ps);
        if (likely(ps->p < ps->end && *ps->p == ',')) {
            ps->p++;
            skip_space(ps);
            return 1;
        }
        if (unlikely(ps->p >= ps->end || *ps->p != (object ? '}' : ']')))
            return unexpected(ps, object ? "after object key:value pair" : "after array element");
        ps->p++;
        if (object)
            close_object(ps, top);
        ps->depth--;
    }
    return 0;
}

static int read_document(struct parser *ps, struct json **out)
{
    struct json *root = NULL;
    int r;
    skip_space(ps);
    do {
        struct json *in = ps->depth ? ps->stack[ps->depth - 1] : NULL, *v = new_node(ps);
        if (!v)
            return fail_at(ps, ps->p, ERR_LIMIT, "too many values");
        memset(v, 0, sizeof *v);
        if (in) {
            if (in->type == JSON_OBJ && (r = read_key(ps, v)) < 0)
                return r;
            attach(in, v);
        } else {
            root = v;
        }
        r = read_value(ps, v);
        if (r == 0)
            r = read_after_value(ps);
    } while (r > 0);
    if (r < 0)
        return r;
    skip_space(ps);
    if (ps->p < ps->end)
        return unexpected(ps, "after top-level value");
    *out = root;
    return 0;
}

int json_parse_dups(
    struct pool *pool, struct str text, const struct json_limits *limits, struct json **out, struct json_dup **dups, struct err **e)
{
    static const struct json_limits defaults;
    const struct json_limits *l = limits ? limits : &defaults;
    struct json_dup *found = NULL;
    struct parser ps;
    size_t bytes = l->bytes ? l->bytes : BYTES_DEFAULT;
    if (text.n > MIN(bytes, (size_t)UINT32_MAX - 1))
        return err_set(e, ERR_LIMIT, "JSON document of %zu bytes is larger than the limit of %zu", text.n, bytes);
    if (!text.p)
        text = STR("");
    struct str own = l->view ? text : pool_str(pool, text);
    memset(&ps, 0, offsetof(struct parser, stack));
    ps.start = ps.p = own.p;
    ps.end = own.p + own.n;
    ps.original = text.p;
    ps.in_place = !l->view;
    ps.strict = l->strict_numbers;
    ps.pool = pool;
    ps.nodes_left = l->nodes ? l->nodes : NODES_DEFAULT;
    ps.block = MAX(MIN(text.n / 24, (size_t)BLOCK_MAX), (size_t)4);
    ps.depth_max = MIN(l->depth ? l->depth : DEPTH_DEFAULT, (size_t)DEPTH_MAX);
    ps.dup_tail = dups ? &found : NULL;
    ps.ndups = 0;
    ps.e = e;
    int r = read_document(&ps, out);
    if (r == 0 && dups)
        *dups = found;
    return r;
}

int json_parse(struct pool *pool, struct str text, const struct json_limits *limits, struct json **out, struct err **e)
{
    return json_parse_dups(pool, text, limits, out, NULL, e);
}
