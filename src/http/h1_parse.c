#include "http/h1_parse.h"
#include "base/buf.h"

size_t h1_head_end(struct str s, size_t from)
{
    for (size_t i = from; i + 3 < s.n;) {
        const char *r = memchr(s.p + i, '\r', s.n - i - 3);
        if (!r)
            return 0;
        i = (size_t)(r - s.p);
        if (memcmp(r, "\r\n\r\n", 4) == 0)
            return i + 4;
        i++;
    }
    return 0;
}

/* RFC 9110 5.6.2: tchar */
static const uint8_t tchar[256] = {
    ['!'] = 1,
    ['#'] = 1,
    ['$'] = 1,
    ['%'] = 1,
    ['&'] = 1,
    ['\''] = 1,
    ['*'] = 1,
    ['+'] = 1,
    ['-'] = 1,
    ['.'] = 1,
    ['^'] = 1,
    ['_'] = 1,
    ['`'] = 1,
    ['|'] = 1,
    ['~'] = 1,
    ['0' ... '9'] = 1,
    ['a' ... 'z'] = 1,
    ['A' ... 'Z'] = 2,
};

bool h1_token(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!tchar[(uint8_t)s.p[i]])
            return false;
    return s.n > 0;
}

bool h1_has_token(struct str list, const char *token)
{
    struct str piece;
    while (str_split(&list, ',', &piece))
        if (str_eq_nocase(str_trim(piece), str_of(token)))
            return true;
    return false;
}

#define REFUSE(status, text) return *why = (text), (status)

static int content_length(struct h1_head *h, struct str v, const char **why)
{
    uint64_t n;
    if (h->length >= 0)
        REFUSE(400, "more than one Content-Length");
    if (!str_to_u64(v, &n) || n > INT64_MAX || v.n > 18 || v.p[0] == '+')
        REFUSE(400, "malformed Content-Length");
    h->length = (int64_t)n;
    return 0;
}

static int known_header(struct h1_head *h, struct str name, struct str v, const char **why)
{
    switch (name.n) {
    case 4:
        if (str_eq(name, STR("host"))) {
            if (h->host.p)
                REFUSE(400, "more than one Host");
            h->host = v;
        }
        break;
    case 6:
        if (str_eq(name, STR("expect"))) {
            if (!str_eq_nocase(v, STR("100-continue")))
                REFUSE(417, "unknown expectation");
            h->expect_continue = true;
        }
        break;
    case 7:
        if (str_eq(name, STR("upgrade")))
            h->protocol = v;
        break;
    case 10:
        if (str_eq(name, STR("connection"))) {
            h->close |= h1_has_token(v, "close");
            h->keep_alive |= h1_has_token(v, "keep-alive");
            h->upgrade |= h1_has_token(v, "upgrade");
        }
        break;
    case 14:
        if (str_eq(name, STR("content-length")))
            return content_length(h, v, why);
        break;
    case 17:
        if (str_eq(name, STR("transfer-encoding"))) {
            if (h->chunked)
                REFUSE(400, "more than one Transfer-Encoding");
            if (!str_eq_nocase(v, STR("chunked")))
                REFUSE(501, "Transfer-Encoding other than chunked");
            h->chunked = true;
        }
        break;
    }
    return 0;
}

static int parse_line(char *p, size_t n, struct http_header *out, const char **why)
{
    size_t i = 0;
    for (; i < n && tchar[(uint8_t)p[i]]; i++)
        if (tchar[(uint8_t)p[i]] == 2)
            p[i] |= 0x20;
    if (i == 0 || i == n || p[i] != ':')
        REFUSE(400, "malformed header name");
    struct str v = str_trim(str_make(p + i + 1, n - i - 1));
    for (size_t k = 0; k < v.n; k++)
        if ((uint8_t)v.p[k] < 0x20 ? v.p[k] != '\t' : v.p[k] == 0x7f)
            REFUSE(400, "control character in a header value");
    if (!v.p)
        v = STR("");
    *out = (struct http_header){{p, i}, v};
    return 0;
}

/* The lines behind the first one. p stands on the first header or on the final CRLF. */
static int parse_headers(char *p, char *end, struct pool *pool, size_t max, struct h1_head *h, const char **why)
{
    size_t lines = 0;
    for (char *q = p; (q = memchr(q, '\n', (size_t)(end - q))); q++)
        lines++;
    if (lines > max + 1)
        REFUSE(431, "too many headers");
    h->headers = pool_alloc(pool, sizeof(struct http_header) * lines);
    while (p < end) {
        char *nl = memchr(p, '\n', (size_t)(end - p));
        if (!nl || nl == p || nl[-1] != '\r')
            REFUSE(400, "a line ends without CR LF");
        size_t n = (size_t)(nl - p) - 1;
        if (n == 0)
            break;
        struct http_header *x = &h->headers[h->nheaders];
        int r = parse_line(p, n, x, why);
        if (r || (r = known_header(h, x->name, x->value, why)))
            return r;
        h->nheaders++;
        p = nl + 1;
    }
    return 0;
}

static bool version(struct str s, int *minor)
{
    if (s.n != 8 || memcmp(s.p, "HTTP/1.", 7) != 0 || (s.p[7] != '0' && s.p[7] != '1'))
        return false;
    *minor = s.p[7] - '0';
    return true;
}

static char *first_line(char *head, size_t n, struct str *line)
{
    char *nl = memchr(head, '\n', n);
    if (!nl || nl == head || nl[-1] != '\r')
        return NULL;
    *line = str_make(head, (size_t)(nl - head) - 1);
    return nl + 1;
}

static bool target_ok(struct str t)
{
    for (size_t i = 0; i < t.n; i++)
        if ((uint8_t)t.p[i] <= 0x20 || t.p[i] == 0x7f || t.p[i] == '#')
            return false;
    return t.n > 0;
}

int h1_parse_request(char *head, size_t n, struct pool *pool, size_t max_headers, struct h1_head *out, const char **why)
{
    struct h1_head h = {.length = -1};
    struct str line, rest, v;
    char *p = first_line(head, n, &line);
    if (!p || !str_cut(line, ' ', &h.method, &rest) || !str_cut(rest, ' ', &h.target, &v))
        REFUSE(400, "malformed request line");
    if (!version(v, &h.minor))
        REFUSE(str_starts(v, STR("HTTP/")) ? 505 : 400, "unknown HTTP version");
    if (!h1_token(h.method) || !target_ok(h.target))
        REFUSE(400, "malformed request line");
    int r = parse_headers(p, head + n, pool, max_headers, &h, why);
    if (r)
        return r;
    if (h.minor == 1 && !h.host.p)
        REFUSE(400, "no Host");
    if (h.chunked && h.length >= 0)
        REFUSE(400, "both Transfer-Encoding and Content-Length");
    if (h.chunked && h.minor == 0)
        REFUSE(400, "Transfer-Encoding in HTTP/1.0");
    *out = h;
    return 0;
}

int h1_parse_response(char *head, size_t n, struct pool *pool, size_t max_headers, struct h1_head *out, const char **why)
{
    struct h1_head h = {.length = -1};
    struct str line;
    uint64_t status;
    char *p = first_line(head, n, &line);
    if (!p || line.n < 12 || !version(str_sub(line, 0, 8), &h.minor) || line.p[8] != ' ' || (line.n > 12 && line.p[12] != ' ') ||
        !str_to_u64(str_sub(line, 9, 12), &status) || status < 100 || status > 999)
        REFUSE(502, "malformed status line");
    h.status = (int)status;
    int r = parse_headers(p, head + n, pool, max_headers, &h, why);
    if (r)
        return r;
    if (h.chunked && h.length >= 0)
        REFUSE(502, "both Transfer-Encoding and Content-Length");
    *out = h;
    return 0;
}

/* ---- bodies ---- */
#define CHUNK_LINE 256 /* size and extensions */
#define TRAILERS (8u << 10)
enum { C_SIZE0, C_SIZE, C_EXT, C_SIZE_LF, C_DATA, C_DATA_CR, C_DATA_LF, C_TRAILER0, C_TRAILER, C_TRAILER_LF, C_END_LF, C_BAD };

void h1_body_init(struct h1_body *b, enum h1_body_kind kind, uint64_t length)
{
    *b = (struct h1_body){.kind = kind, .left = length, .done = kind == H1_NONE || (kind == H1_LENGTH && length == 0)};
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte outside of data. False: malformed. */
static bool chunk_byte(struct h1_body *b, char c)
{
    int v;
    if (++b->line > (b->state >= C_TRAILER0 ? TRAILERS : CHUNK_LINE))
        return false;
    switch (b->state) {
    case C_SIZE0:
    case C_SIZE:
        if ((v = hex(c)) >= 0) {
            if (b->left >> 56)
                return false;
            b->left = b->left << 4 | (unsigned)v;
            b->state = C_SIZE;
            return true;
        }
        if (b->state == C_SIZE0)
            return false;
        b->state = c == '\r' ? C_SIZE_LF : C_EXT;
        return c == '\r' || c == ';' || c == ' ' || c == '\t';
    case C_EXT:
        if (c == '\r')
            b->state = C_SIZE_LF;
        return c != '\n' && c != 0;
    case C_SIZE_LF:
        b->state = b->left ? C_DATA : C_TRAILER0;
        b->line = 0;
        return c == '\n';
    case C_DATA_CR:
        b->state = C_DATA_LF;
        return c == '\r';
    case C_DATA_LF:
        b->state = C_SIZE0;
        b->line = 0;
        return c == '\n';
    case C_TRAILER0:
    case C_TRAILER:
        if (c == '\r')
            b->state = b->state == C_TRAILER0 ? C_END_LF : C_TRAILER_LF;
        else
            b->state = C_TRAILER;
        return c != '\n' && c != 0;
    case C_TRAILER_LF:
        b->state = C_TRAILER0;
        return c == '\n';
    case C_END_LF:
        b->done = true;
        return c == '\n';
    }
    return false;
}

static int plain(struct h1_body *b, struct str *in, struct str *data)
{
    size_t n = b->kind == H1_UNTIL_CLOSE ? in->n : (size_t)MIN((uint64_t)in->n, b->left);
    if (b->done || !n)
        return 0;
    *data = str_make(in->p, n);
    *in = str_make(in->p + n, in->n - n);
    b->left -= n;
    b->done = b->kind == H1_LENGTH && b->left == 0;
    return 1;
}

int h1_body_next(struct h1_body *b, struct str *in, struct str *data)
{
    if (b->kind != H1_CHUNKED)
        return plain(b, in, data);
    if (b->state == C_BAD)
        return -1;
    while (in->n && !b->done) {
        if (b->state == C_DATA) {
            size_t n = (size_t)MIN((uint64_t)in->n, b->left);
            *data = str_make(in->p, n);
            *in = str_make(in->p + n, in->n - n);
            b->left -= n;
            if (!b->left)
                b->state = C_DATA_CR;
            return 1;
        }
        char c = in->p[0];
        *in = str_make(in->p + 1, in->n - 1);
        if (!chunk_byte(b, c))
            b->state = C_BAD;
        if (b->state == C_BAD)
            return -1;
    }
    return 0;
}

/* ---- writing ---- */
static void put_clean(struct buf *b, struct str s)
{
    size_t at = b->n;
    buf_str_add(b, s);
    for (size_t i = at; i < b->n; i++)
        if (b->p[i] == '\r' || b->p[i] == '\n' || b->p[i] == 0)
            b->p[i] = ' ';
}

void h1_put_header(struct buf *b, struct str name, struct str value)
{
    if (!h1_token(name))
        return;
    buf_str_add(b, name);
    buf_puts(b, ": ");
    put_clean(b, value);
    buf_puts(b, "\r\n");
}

const char *h1_status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } rows[] = {
        {200, "OK"},
        {101, "Switching Protocols"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Payload Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Entity"},
        {426, "Upgrade Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
        {100, "Continue"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].status == status)
            return rows[i].text;
    return "Status";
}
