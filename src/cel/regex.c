#include "cel/regex.h"

#include <stdlib.h>

#include "base/buf.h"

enum { NEST_MAX = 250, REPEAT_MAX = 1000, RUNE_MAX = 0x10ffff, RUNE_BAD = 0x110000 /* a byte that is no UTF-8 */ };

struct range {
    uint32_t lo, hi;
};
enum node_op { N_EMPTY, N_CLASS, N_CAT, N_ALT, N_REPEAT, N_ASSERT };
enum assertion { A_TEXT_BEGIN, A_TEXT_END, A_LINE_BEGIN, A_LINE_END, A_WORD, A_NOT_WORD };
struct node {
    enum node_op op;
    struct node *a, *b;
    int min, max; /* REPEAT; max -1: no bound */
    bool lazy;
    enum assertion assert;
    struct range *ranges; /* CLASS, sorted, disjoint */
    size_t n;
};

enum op { OP_CLASS, OP_SPLIT, OP_JUMP, OP_ASSERT, OP_MATCH };
struct inst {
    uint8_t op, assert;
    uint32_t x, y; /* SPLIT: x is tried first; CLASS: ranges [x, x + y) */
};
struct regex {
    struct inst *prog;
    size_t n;
    struct range *ranges;
    size_t nranges;
};

/* ---- reading characters ---- */

static uint32_t rune_at(struct str s, size_t i, size_t *n)
{
    const unsigned char *p = (const unsigned char *)s.p + i;
    size_t left = s.n - i, want;
    uint32_t r = p[0];
    *n = 1;
    if (r < 0x80)
        return r;
    want = r >= 0xc2 && r < 0xe0 ? 2 : r >= 0xe0 && r < 0xf0 ? 3 : r >= 0xf0 && r < 0xf5 ? 4 : 0;
    if (!want || want > left)
        return RUNE_BAD;
    r &= 0xffu >> (want + 1);
    for (size_t k = 1; k < want; k++) {
        if ((p[k] & 0xc0) != 0x80)
            return RUNE_BAD;
        r = r << 6 | (p[k] & 0x3f);
    }
    if ((want == 3 && r < 0x800) || (want == 4 && (r < 0x10000 || r > RUNE_MAX)) || (r >= 0xd800 && r < 0xe000))
        return RUNE_BAD;
    *n = want;
    return r;
}

/* ---- parsing ---- */

enum { F_FOLD = 1, F_DOT_NL = 2, F_MULTI = 4, F_LAZY = 8 };
struct parser {
    struct pool *p;
    struct str s;
    size_t at, nodes;
    unsigned flags;
    int depth;
    struct err **e;
    bool failed;
};

static struct node *bad(struct parser *x, const char *why, struct str what)
{
    if (!x->failed)
        (void)err_set(x->e, ERR_INVALID, "error parsing regexp: %s: `%.*s`", why, STR_ARG(what));
    x->failed = true;
    return NULL;
}

static struct node *node(struct parser *x, enum node_op op)
{
    struct node *n = pool_new_of(x->p, struct node);
    n->op = op;
    if (++x->nodes > REGEX_PROGRAM)
        return bad(x, "expression too large", x->s);
    return n;
}

struct set {
    struct range *r;
    size_t n, cap;
};
static void set_add(struct parser *x, struct set *s, uint32_t lo, uint32_t hi)
{
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 8;
        s->r = pool_grow(x->p, s->r, s->cap * sizeof *s->r, cap * sizeof *s->r);
        s->cap = cap;
    }
    s->r[s->n++] = (struct range){lo, hi};
}

static int cmp_range(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    return x->lo < y->lo ? -1 : x->lo > y->lo;
}

static void set_tidy(struct set *s)
{
    size_t n = 0;
    if (!s->n)
        return;
    qsort(s->r, s->n, sizeof *s->r, cmp_range);
    for (size_t i = 1; i < s->n; i++) {
        if (s->r[i].lo <= s->r[n].hi + 1)
            s->r[n].hi = MAX(s->r[n].hi, s->r[i].hi);
        else
            s->r[++n] = s->r[i];
    }
    s->n = n + 1;
}

static void set_negate(struct parser *x, struct set *s)
{
    struct set out = {0};
    uint32_t next = 0;
    set_tidy(s);
    for (size_t i = 0; i < s->n; i++) {
        if (s->r[i].lo > next)
            set_add(x, &out, next, s->r[i].lo - 1);
        next = s->r[i].hi + 1;
    }
    if (next <= RUNE_BAD)
        set_add(x, &out, next, RUNE_BAD);
    *s = out;
}

/* The other case of ASCII and Latin-1/Greek/Cyrillic letters is what patterns in use ask for. */
static void set_fold(struct parser *x, struct set *s)
{
    size_t n = s->n;
    static const struct {
        uint32_t lo, hi;
        int32_t by;
    } rows[] = {{'A', 'Z', 32}, {'a', 'z', -32}, {0xc0, 0xd6, 32}, {0xd8, 0xde, 32}, {0xe0, 0xf6, -32}, {0xf8, 0xfe, -32},
        {0x391, 0x3a1, 32}, {0x3a3, 0x3a9, 32}, {0x3b1, 0x3c1, -32}, {0x3c3, 0x3c9, -32}, {0x410, 0x42f, 32}, {0x430, 0x44f, -32},
        {0x400, 0x40f, 80}, {0x450, 0x45f, -80}};
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
            uint32_t lo = MAX(s->r[i].lo, rows[k].lo), hi = MIN(s->r[i].hi, rows[k].hi);
            if (lo <= hi)
                set_add(x, s, (uint32_t)((int32_t)lo + rows[k].by), (uint32_t)((int32_t)hi + rows[k].by));
        }
}

static struct node *class_node(struct parser *x, struct set *s)
{
    struct node *n = node(x, N_CLASS);
    if (!n)
        return NULL;
    set_tidy(s);
    n->ranges = s->r;
    n->n = s->n;
    return n;
}

static struct node *literal(struct parser *x, uint32_t r)
{
    struct set s = {0};
    set_add(x, &s, r, r);
    if (x->flags & F_FOLD)
        set_fold(x, &s);
    return class_node(x, &s);
}

/* \d \w \s and their opposites. */
static bool perl_class(struct parser *x, char c, struct set *out)
{
    struct set s = {0};
    switch (c | 32) {
    case 'd':
        set_add(x, &s, '0', '9');
        break;
    case 'w':
        set_add(x, &s, '0', '9'), set_add(x, &s, 'A', 'Z'), set_add(x, &s, '_', '_'), set_add(x, &s, 'a', 'z');
        break;
    case 's':
        set_add(x, &s, '\t', '\n'), set_add(x, &s, '\f', '\r'), set_add(x, &s, ' ', ' ');
        break;
    default:
        return false;
    }
    if (c < 'a')
        set_negate(x, &s);
    for (size_t i = 0; i < s.n; i++)
        set_add(x, out, s.r[i].lo, s.r[i].hi);
    return true;
}

static bool posix_class(struct parser *x, struct set *out)
{
    static const struct {
        const char *name, *pairs;
    } rows[] = {{"alnum", "09AZaz"}, {"alpha", "AZaz"}, {"ascii", "\0\x7f"}, {"blank", "\t\t  "}, {"cntrl", "\0\x1f\x7f\x7f"},
        {"digit", "09"}, {"graph", "!~"}, {"lower", "az"}, {"print", " ~"}, {"punct", "!/:@[`{~"}, {"space", "\t\r  "}, {"upper", "AZ"},
        {"word", "09AZaz__"}, {"xdigit", "09AFaf"}};
    static const uint8_t lengths[] = {6, 4, 2, 4, 4, 2, 2, 2, 2, 8, 4, 2, 8, 6};
    struct str rest = str_sub(x->s, x->at, x->s.n), name;
    ssize_t end = str_find(rest, STR(":]"));
    if (!str_starts(rest, STR("[:")) || end < 0)
        return false;
    name = str_sub(rest, 2, (size_t)end);
    bool negate = name.n && name.p[0] == '^';
    name = str_sub(name, negate, name.n);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct set s = {0};
        if (!str_eqz(name, rows[i].name))
            continue;
        for (uint8_t k = 0; k < lengths[i]; k += 2)
            set_add(x, &s, (unsigned char)rows[i].pairs[k], (unsigned char)rows[i].pairs[k + 1]);
        if (negate)
            set_negate(x, &s);
        for (size_t k = 0; k < s.n; k++)
            set_add(x, out, s.r[k].lo, s.r[k].hi);
        x->at += (size_t)end + 2;
        return true;
    }
    (void)bad(x, "invalid character class range", str_sub(rest, 0, (size_t)end + 2));
    return true;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* Behind "\x". */
static bool hex_escape(struct parser *x, uint32_t *out)
{
    uint32_t r = 0;
    size_t digits = 0;
    bool braces = x->at < x->s.n && x->s.p[x->at] == '{';
    x->at += braces;
    for (int d; x->at < x->s.n && (d = hex_digit(x->s.p[x->at])) >= 0 && digits < (braces ? 8u : 2u); x->at++, digits++)
        if ((r = r * 16 + (uint32_t)d) > RUNE_MAX)
            return false;
    if (!digits || (!braces && digits < 2))
        return false;
    if (braces && (x->at >= x->s.n || x->s.p[x->at++] != '}'))
        return false;
    *out = r;
    return true;
}

/* One character behind a backslash; at stands behind it. */
static bool escape(struct parser *x, uint32_t *out)
{
    size_t begin = x->at - 1, n;
    if (x->at >= x->s.n)
        return bad(x, "trailing backslash at end of expression", STR("")) != NULL;
    char c = x->s.p[x->at];
    static const char from[] = "aftnrv", to[] = "\a\f\t\n\r\v";
    const char *k = strchr(from, c);
    if (c && k) {
        *out = (unsigned char)to[k - from];
        x->at++;
        return true;
    }
    if (c == 'x') {
        x->at++;
        if (hex_escape(x, out))
            return true;
    } else if (c >= '0' && c <= '7') {
        uint32_t r = 0;
        for (size_t d = 0; d < 3 && x->at < x->s.n && x->s.p[x->at] >= '0' && x->s.p[x->at] <= '7'; d++)
            r = r * 8 + (uint32_t)(x->s.p[x->at++] - '0');
        *out = r;
        if (c == '0' || x->at - begin > 2)
            return true;
    } else if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))) {
        *out = rune_at(x->s, x->at, &n);
        x->at += n;
        return true;
    }
    return bad(x, c == 'p' || c == 'P' ? "character classes by Unicode property are not supported" : "invalid escape sequence",
               str_sub(x->s, begin, MAX(x->at, begin + 2))) != NULL;
}

static bool class_char(struct parser *x, uint32_t *out)
{
    size_t n;
    if (x->s.p[x->at] == '\\') {
        x->at++;
        return escape(x, out);
    }
    *out = rune_at(x->s, x->at, &n);
    x->at += n;
    return true;
}

/* Behind "[". */
static struct node *bracket(struct parser *x)
{
    struct set s = {0};
    size_t begin = x->at - 1;
    bool negate = x->at < x->s.n && x->s.p[x->at] == '^';
    x->at += negate;
    for (bool first = true; !x->failed; first = false) {
        uint32_t lo, hi;
        if (x->at >= x->s.n)
            return bad(x, "missing closing ]", str_sub(x->s, begin, x->s.n));
        char c = x->s.p[x->at];
        if (c == ']' && !first)
            break;
        if (c == '[' && x->at + 1 < x->s.n && x->s.p[x->at + 1] == ':' && posix_class(x, &s))
            continue;
        if (c == '\\' && x->at + 1 < x->s.n && perl_class(x, x->s.p[x->at + 1], &s)) {
            x->at += 2;
            continue;
        }
        size_t from = x->at;
        if (!class_char(x, &lo))
            return NULL;
        hi = lo;
        if (x->at + 1 < x->s.n && x->s.p[x->at] == '-' && x->s.p[x->at + 1] != ']') {
            x->at++;
            if (!class_char(x, &hi))
                return NULL;
            if (hi < lo)
                return bad(x, "invalid character class range", str_sub(x->s, from, x->at));
        }
        set_add(x, &s, lo, hi);
    }
    x->at++;
    if (x->flags & F_FOLD)
        set_fold(x, &s);
    if (negate)
        set_negate(x, &s);
    return x->failed ? NULL : class_node(x, &s);
}

static struct node *assertion(struct parser *x, enum assertion a)
{
    struct node *n = node(x, N_ASSERT);
    if (n)
        n->assert = a;
    return n;
}

static struct node *alternatives(struct parser *x);

/* (?flags) and (?flags:...): at stands behind "(?". *scope: flags for the rest of the surrounding group only. */
static bool group_flags(struct parser *x, size_t begin, bool *scope)
{
    unsigned flags = x->flags;
    bool off = false;
    for (; x->at < x->s.n; x->at++) {
        unsigned f = 0;
        switch (x->s.p[x->at]) {
        case 'i':
            f = F_FOLD;
            break;
        case 's':
            f = F_DOT_NL;
            break;
        case 'm':
            f = F_MULTI;
            break;
        case 'U':
            f = F_LAZY;
            break;
        case '-':
            if (off)
                goto wrong;
            off = true;
            continue;
        case ':':
        case ')':
            *scope = x->s.p[x->at++] == ')';
            x->flags = flags;
            return true;
        default:
            goto wrong;
        }
        flags = off ? flags & ~f : flags | f;
    }
wrong:
    (void)bad(x, "invalid or unsupported Perl syntax", str_sub(x->s, begin, MIN(x->at + 1, x->s.n)));
    return false;
}

/* Behind "(". */
static struct node *group(struct parser *x)
{
    size_t begin = x->at - 1;
    unsigned flags = x->flags;
    struct str rest = str_sub(x->s, x->at, x->s.n);
    if (x->depth >= NEST_MAX)
        return bad(x, "expression nests too deeply", x->s);
    if (str_starts(rest, STR("?P<")) || (str_starts(rest, STR("?<")) && !str_starts(rest, STR("?<=")) && !str_starts(rest, STR("?<!")))) {
        ssize_t end = str_chr(rest, '>');
        if (end < 0)
            return bad(x, "invalid named capture", str_sub(x->s, begin, x->s.n));
        x->at += (size_t)end + 1;
    } else if (str_starts(rest, STR("?"))) {
        bool scope;
        x->at++;
        if (!group_flags(x, begin, &scope))
            return NULL;
        if (scope) /* the flags stay for the group around */
            return node(x, N_EMPTY);
    }
    x->depth++;
    struct node *n = alternatives(x);
    x->depth--;
    if (x->failed)
        return NULL;
    if (x->at >= x->s.n)
        return bad(x, "missing closing )", x->s);
    x->at++;
    x->flags = flags;
    return n;
}

static struct node *backslash(struct parser *x)
{
    struct set s = {0};
    uint32_t r;
    char c = x->at < x->s.n ? x->s.p[x->at] : 0;
    static const struct {
        char c;
        enum assertion a;
    } rows[] = {{'A', A_TEXT_BEGIN}, {'z', A_TEXT_END}, {'b', A_WORD}, {'B', A_NOT_WORD}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (c == rows[i].c) {
            x->at++;
            return assertion(x, rows[i].a);
        }
    if (c == 'Q') { /* \Q...\E */
        struct node *all = node(x, N_EMPTY);
        x->at++;
        while (all && x->at < x->s.n && !str_starts(str_sub(x->s, x->at, x->s.n), STR("\\E"))) {
            size_t n;
            struct node *cat = node(x, N_CAT);
            r = rune_at(x->s, x->at, &n);
            x->at += n;
            if (!cat)
                return NULL;
            cat->a = all;
            cat->b = literal(x, r);
            all = cat;
        }
        x->at = MIN(x->at + 2, x->s.n);
        return all;
    }
    if (c && perl_class(x, c, &s)) {
        x->at++;
        return class_node(x, &s);
    }
    return escape(x, &r) ? literal(x, r) : NULL;
}

static struct node *atom(struct parser *x)
{
    size_t n;
    struct set s = {0};
    uint32_t r = rune_at(x->s, x->at, &n);
    size_t begin = x->at;
    x->at += n;
    switch (r) {
    case '(':
        return group(x);
    case '[':
        return bracket(x);
    case '.':
        if (!(x->flags & F_DOT_NL))
            set_add(x, &s, '\n', '\n');
        set_negate(x, &s);
        return class_node(x, &s);
    case '^':
        return assertion(x, x->flags & F_MULTI ? A_LINE_BEGIN : A_TEXT_BEGIN);
    case '$':
        return assertion(x, x->flags & F_MULTI ? A_LINE_END : A_TEXT_END);
    case '\\':
        return backslash(x);
    case '*':
    case '+':
    case '?':
        return bad(x, "missing argument to repetition operator", str_sub(x->s, begin, x->at));
    case RUNE_BAD:
        return bad(x, "invalid UTF-8", str_sub(x->s, begin, x->at));
    default:
        return literal(x, r);
    }
}

static bool number(struct parser *x, int *out)
{
    size_t begin = x->at;
    int v = 0;
    for (; x->at < x->s.n && x->s.p[x->at] >= '0' && x->s.p[x->at] <= '9'; x->at++)
        v = MIN(v * 10 + (x->s.p[x->at] - '0'), REPEAT_MAX + 1);
    *out = v;
    return x->at > begin;
}

/* {n}, {n,}, {n,m}; anything else is a literal brace. */
static bool braces(struct parser *x, int *min, int *max)
{
    size_t begin = x->at++;
    if (number(x, min)) {
        *max = *min;
        if (x->at < x->s.n && x->s.p[x->at] == ',') {
            x->at++;
            if (!number(x, max))
                *max = -1;
        }
        if (x->at < x->s.n && x->s.p[x->at] == '}') {
            x->at++;
            if (*min > REPEAT_MAX || *max > REPEAT_MAX || (*max >= 0 && *max < *min))
                (void)bad(x, "invalid repeat count", str_sub(x->s, begin, x->at));
            return true;
        }
    }
    x->at = begin;
    return false;
}

static bool quantifier(struct parser *x, int *min, int *max)
{
    switch (x->at < x->s.n ? x->s.p[x->at] : 0) {
    case '*':
        *min = 0, *max = -1;
        break;
    case '+':
        *min = 1, *max = -1;
        break;
    case '?':
        *min = 0, *max = 1;
        break;
    case '{':
        return braces(x, min, max);
    default:
        return false;
    }
    x->at++;
    return true;
}

static struct node *repeated(struct parser *x)
{
    struct node *n = atom(x);
    size_t begin = x->at;
    int min, max;
    for (unsigned times = 0; n && !x->failed && quantifier(x, &min, &max); times++) {
        struct node *r = node(x, N_REPEAT);
        if (!r || x->failed)
            return NULL;
        bool swap = x->at < x->s.n && x->s.p[x->at] == '?';
        x->at += swap;
        *r = (struct node){.op = N_REPEAT, .a = n, .min = min, .max = max, .lazy = swap != !!(x->flags & F_LAZY)};
        if (times)
            return bad(x, "invalid nested repetition operator", str_sub(x->s, begin, x->at));
        n = r;
    }
    return n;
}

static struct node *sequence(struct parser *x)
{
    struct node *all = NULL;
    while (!x->failed && x->at < x->s.n && x->s.p[x->at] != '|' && x->s.p[x->at] != ')') {
        struct node *n = repeated(x), *cat;
        if (!n)
            return NULL;
        if (all) {
            if (!(cat = node(x, N_CAT)))
                return NULL;
            cat->a = all;
            cat->b = n;
            n = cat;
        }
        all = n;
    }
    return all ? all : node(x, N_EMPTY);
}

static struct node *alternatives(struct parser *x)
{
    struct node *all = sequence(x);
    while (all && !x->failed && x->at < x->s.n && x->s.p[x->at] == '|') {
        struct node *alt = node(x, N_ALT);
        x->at++;
        if (!alt)
            return NULL;
        alt->a = all;
        alt->b = sequence(x);
        all = alt->b ? alt : NULL;
    }
    return all;
}

/* ---- compiling ---- */

struct compiler {
    struct regex *r;
    size_t cap, range_cap;
    bool large;
    unsigned depth;
};

static size_t emit(struct compiler *c, struct inst i)
{
    struct regex *r = c->r;
    if (r->n >= REGEX_PROGRAM) {
        c->large = true;
        return 0;
    }
    if (r->n == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 16;
        r->prog = xrealloc(r->prog, c->cap * sizeof *r->prog);
    }
    r->prog[r->n] = i;
    return r->n++;
}

static void emit_class(struct compiler *c, const struct node *n)
{
    struct regex *r = c->r;
    if (c->large)
        return;
    if (r->nranges + n->n > c->range_cap) {
        c->range_cap = (r->nranges + n->n) * 2;
        r->ranges = xrealloc(r->ranges, c->range_cap * sizeof *r->ranges);
    }
    if (n->n)
        memcpy(r->ranges + r->nranges, n->ranges, n->n * sizeof *n->ranges);
    emit(c, (struct inst){.op = OP_CLASS, .x = (uint32_t)r->nranges, .y = (uint32_t)n->n});
    r->nranges += n->n;
}

static void compile(struct compiler *c, const struct node *n);

static void split_to(struct compiler *c, size_t at, bool lazy, size_t skip)
{
    if (c->large)
        return;
    struct inst *i = &c->r->prog[at];
    if (lazy)
        i->y = i->x, i->x = (uint32_t)skip;
    else
        i->y = (uint32_t)skip;
}

static void compile_repeat(struct compiler *c, const struct node *n)
{
    for (int i = 0; i < n->min && !c->large; i++)
        compile(c, n->a);
    if (n->max < 0) { /* L: split body, end; body; jump L */
        size_t at = emit(c, (struct inst){.op = OP_SPLIT});
        if (!c->large)
            c->r->prog[at].x = (uint32_t)at + 1;
        compile(c, n->a);
        emit(c, (struct inst){.op = OP_JUMP, .x = (uint32_t)at});
        split_to(c, at, n->lazy, c->r->n);
        return;
    }
    size_t splits[REPEAT_MAX], count = 0;
    for (int i = n->min; i < n->max && !c->large; i++) {
        size_t at = splits[count++] = emit(c, (struct inst){.op = OP_SPLIT});
        if (!c->large)
            c->r->prog[at].x = (uint32_t)at + 1;
        compile(c, n->a);
    }
    for (size_t i = 0; i < count; i++)
        split_to(c, splits[i], n->lazy, c->r->n);
}

static void compile_alt(struct compiler *c, const struct node *n)
{
    size_t split = emit(c, (struct inst){.op = OP_SPLIT});
    if (!c->large)
        c->r->prog[split].x = (uint32_t)split + 1;
    compile(c, n->a);
    size_t jump = emit(c, (struct inst){.op = OP_JUMP});
    split_to(c, split, false, c->r->n);
    compile(c, n->b);
    if (!c->large)
        c->r->prog[jump].x = (uint32_t)c->r->n;
}

/* A long sequence leans to the left: its spine is walked without recursion. */
static void compile_cat(struct compiler *c, const struct node *n)
{
    size_t k = 0, cap = 0;
    const struct node **spine = NULL;
    for (; n->op == N_CAT; n = n->a) {
        if (k == cap) {
            cap = cap ? cap * 2 : 16;
            spine = xrealloc(spine, cap * sizeof *spine);
        }
        spine[k++] = n->b;
    }
    compile(c, n);
    while (k)
        compile(c, spine[--k]);
    free(spine);
}

static void compile(struct compiler *c, const struct node *n)
{
    if (c->large)
        return;
    if (c->depth > 4 * NEST_MAX) {
        c->large = true;
        return;
    }
    c->depth++;
    switch (n->op) {
    case N_EMPTY:
        break;
    case N_CLASS:
        emit_class(c, n);
        break;
    case N_CAT:
        compile_cat(c, n);
        break;
    case N_ALT:
        compile_alt(c, n);
        break;
    case N_REPEAT:
        compile_repeat(c, n);
        break;
    case N_ASSERT:
        emit(c, (struct inst){.op = OP_ASSERT, .assert = (uint8_t)n->assert});
        break;
    }
    c->depth--;
}

int regex_new(struct str pattern, struct regex **out, struct err **e)
{
    if (pattern.n > REGEX_PATTERN)
        return err_set(e, ERR_INVALID, "error parsing regexp: a pattern of more than %d bytes", REGEX_PATTERN);
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct parser x = {.p = p, .s = pattern.p ? pattern : STR(""), .e = e};
    struct node *n = alternatives(&x);
    if (n && !x.failed && x.at < pattern.n)
        n = bad(&x, "unexpected )", pattern);
    if (!n || x.failed)
        return -ERR_INVALID;
    struct compiler c = {.r = xcalloc(1, sizeof(struct regex))};
    compile(&c, n);
    emit(&c, (struct inst){.op = OP_MATCH});
    if (c.large) {
        regex_free(c.r);
        return err_set(e, ERR_INVALID, "error parsing regexp: expression too large");
    }
    *out = c.r;
    return 0;
}

void regex_free(struct regex *r)
{
    if (!r)
        return;
    free(r->prog);
    free(r->ranges);
    free(r);
}

size_t regex_cost(const struct regex *r)
{
    return r->n;
}

/* ---- the machine ---- */

struct thread {
    uint32_t pc;
    size_t start;
};
struct threads { /* in order of preference; a sparse set by pc */
    struct thread *list;
    uint32_t *sparse;
    uint32_t n;
};
struct machine {
    const struct regex *r;
    struct str s;
    struct threads now, next;
    uint32_t *stack;
};

static bool is_word(struct str s, size_t i)
{
    unsigned char c = i < s.n ? (unsigned char)s.p[i] : 0;
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
}

static bool holds(struct str s, size_t at, enum assertion a)
{
    bool before = at > 0 && is_word(s, at - 1), after = is_word(s, at);
    switch (a) {
    case A_TEXT_BEGIN:
        return at == 0;
    case A_TEXT_END:
        return at == s.n;
    case A_LINE_BEGIN:
        return at == 0 || s.p[at - 1] == '\n';
    case A_LINE_END:
        return at == s.n || s.p[at] == '\n';
    case A_WORD:
        return before != after;
    default:
        return before == after;
    }
}

static bool has(const struct threads *t, uint32_t pc)
{
    return t->sparse[pc] < t->n && t->list[t->sparse[pc]].pc == pc;
}

/* Follows what reads no character; the stack keeps the order of preference. */
static void add(struct machine *m, struct threads *t, uint32_t pc, size_t start, size_t at)
{
    size_t top = 0;
    m->stack[top++] = pc;
    while (top) {
        pc = m->stack[--top];
        if (has(t, pc))
            continue;
        t->sparse[pc] = t->n;
        t->list[t->n++] = (struct thread){pc, start};
        const struct inst *i = &m->r->prog[pc];
        if (i->op == OP_JUMP) {
            m->stack[top++] = i->x;
        } else if (i->op == OP_SPLIT) {
            m->stack[top++] = i->y;
            m->stack[top++] = i->x;
        } else if (i->op == OP_ASSERT && holds(m->s, at, i->assert)) {
            m->stack[top++] = pc + 1;
        }
    }
}

static bool in_class(const struct regex *r, const struct inst *i, uint32_t c)
{
    const struct range *q = i->y ? r->ranges + i->x : NULL; /* a class may be empty */
    size_t lo = 0, hi = i->y;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (c < q[mid].lo)
            hi = mid;
        else if (c > q[mid].hi)
            lo = mid + 1;
        else
            return true;
    }
    return false;
}

/* One character for all threads. true: a match ended before it, and what is less preferred was dropped. */
static bool step(struct machine *m, uint32_t c, size_t at, size_t next_at, size_t *start)
{
    m->next.n = 0;
    for (uint32_t k = 0; k < m->now.n; k++) {
        const struct thread t = m->now.list[k];
        const struct inst *i = &m->r->prog[t.pc];
        if (i->op == OP_MATCH) {
            *start = t.start;
            return true;
        }
        if (i->op == OP_CLASS && at < m->s.n && in_class(m->r, i, c))
            add(m, &m->next, t.pc + 1, t.start, next_at);
    }
    return false;
}

static bool run(struct machine *m, size_t from, bool only, size_t *start, size_t *end)
{
    bool found = false;
    for (size_t at = from;;) {
        size_t n = 1, begin;
        uint32_t c = at < m->s.n ? rune_at(m->s, at, &n) : 0;
        if (!found)
            add(m, &m->now, 0, at, at);
        if (m->now.n == 0 && found)
            return true;
        if (step(m, c, at, at + n, &begin)) {
            found = true;
            *start = begin;
            *end = at;
            if (only)
                return true;
        }
        if (at >= m->s.n)
            return found;
        struct threads swap = m->now;
        m->now = m->next;
        m->next = swap;
        at += n;
    }
}

static bool find(const struct regex *r, struct str text, size_t from, bool only, size_t *start, size_t *end)
{
    struct machine m = {.r = r, .s = text.p ? text : STR("")};
    size_t one = r->n * (sizeof(struct thread) + sizeof(uint32_t));
    char *mem = xcalloc(1, 2 * one + (r->n * 2 + 2) * sizeof(uint32_t));
    m.now.list = (struct thread *)mem;
    m.next.list = m.now.list + r->n;
    m.now.sparse = (uint32_t *)(m.next.list + r->n);
    m.next.sparse = m.now.sparse + r->n;
    m.stack = m.next.sparse + r->n;
    bool ok = from <= text.n && run(&m, from, only, start, end);
    free(mem);
    return ok;
}

bool regex_find(const struct regex *r, struct str text, size_t from, size_t *start, size_t *end)
{
    return find(r, text, from, false, start, end);
}

bool regex_match(const struct regex *r, struct str text)
{
    size_t start, end;
    return find(r, text, 0, true, &start, &end);
}
