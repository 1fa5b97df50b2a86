#include "base/buf.h"

/* Hexadecimal and base64 (RFC 4648), both ways. */

static const char std_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void buf_hex(struct buf *b, const void *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *s = p;
    char *to = buf_reserve(b, n * 2);
    if (!to)
        return;
    for (size_t i = 0; i < n; i++) {
        *to++ = digits[s[i] >> 4];
        *to++ = digits[s[i] & 15];
    }
    *to = 0;
    b->n += n * 2;
}

static void encode64(struct buf *b, const unsigned char *s, size_t n, const char *alphabet, bool pad)
{
    char *start = buf_reserve(b, (n + 2) / 3 * 4), *to = start;
    if (!to)
        return;
    size_t i = 0;
    for (; i + 3 <= n; i += 3) {
        uint32_t v = (uint32_t)s[i] << 16 | (uint32_t)s[i + 1] << 8 | s[i + 2];
        *to++ = alphabet[v >> 18];
        *to++ = alphabet[v >> 12 & 63];
        *to++ = alphabet[v >> 6 & 63];
        *to++ = alphabet[v & 63];
    }
    if (n - i) {
        uint32_t v = (uint32_t)s[i] << 16 | (n - i == 2 ? (uint32_t)s[i + 1] << 8 : 0);
        *to++ = alphabet[v >> 18];
        *to++ = alphabet[v >> 12 & 63];
        if (n - i == 2)
            *to++ = alphabet[v >> 6 & 63];
        for (size_t k = n - i; pad && k < 3; k++)
            *to++ = '=';
    }
    *to = 0;
    b->n += (size_t)(to - start);
}

void buf_base64(struct buf *b, const void *p, size_t n)
{
    encode64(b, p, n, std_alphabet, true);
}

void buf_base64url(struct buf *b, const void *p, size_t n)
{
    encode64(b, p, n, url_alphabet, false);
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool buf_unhex(struct buf *b, struct str s)
{
    if (s.n % 2)
        return false;
    size_t before = b->n;
    char *to = buf_reserve(b, s.n / 2);
    if (!to)
        return false;
    for (size_t i = 0; i < s.n; i += 2) {
        int hi = hex_value(s.p[i]), lo = hex_value(s.p[i + 1]);
        if (hi < 0 || lo < 0) {
            b->p[before] = 0;
            return false;
        }
        *to++ = (char)(hi << 4 | lo);
    }
    *to = 0;
    b->n = before + s.n / 2;
    return true;
}

static int value64(char c, bool url)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == (url ? '-' : '+'))
        return 62;
    return c == (url ? '_' : '/') ? 63 : -1;
}

/* The standard form skips line ends and does not look at unused bits, as Go's StdEncoding; the URL form (tokens) has one spelling only. */
static bool decode64(struct buf *b, struct str s, bool url)
{
    size_t before = b->n, out = 0;
    char *to = buf_reserve(b, s.n / 4 * 3 + 3);
    if (!to)
        return false;
    uint32_t v = 0;
    unsigned have = 0, pad = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (!url && (s.p[i] == '\n' || s.p[i] == '\r'))
            continue;
        if (!url && s.p[i] == '=' && have + pad >= 2 && have + pad < 4) {
            pad++;
            continue;
        }
        int x = value64(s.p[i], url);
        if (x < 0 || pad)
            goto bad;
        v = v << 6 | (uint32_t)x;
        if (++have == 4) {
            to[out++] = (char)(v >> 16);
            to[out++] = (char)(v >> 8);
            to[out++] = (char)v;
            v = have = 0;
        }
    }
    if (have == 1 || (!url && have && have + pad != 4) || (url && ((have == 2 && v & 15) || (have == 3 && v & 3))))
        goto bad;
    if (have == 2)
        to[out++] = (char)(v >> 4);
    if (have == 3) {
        to[out++] = (char)(v >> 10);
        to[out++] = (char)(v >> 2);
    }
    to[out] = 0;
    b->n = before + out;
    return true;
bad:
    b->p[before] = 0;
    return false;
}

bool buf_unbase64(struct buf *b, struct str s)
{
    return decode64(b, s, false);
}

bool buf_unbase64url(struct buf *b, struct str s)
{
    return decode64(b, s, true);
}
