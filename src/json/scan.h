/* Looking at string bytes sixteen (SSE2) or eight at a time. Inside the room only. */
#pragma once
#include "base/base.h"
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Is there a byte in these eight that is a quote, a backslash, a control character or not ASCII? After "Bit Twiddling Hacks" (Anderson). */
static inline bool scan_word_special(uint64_t w)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), high = ones << 7;
    uint64_t quote = w ^ (ones * '"'), slash = w ^ (ones * '\\');
    return (((w - ones * 0x20) | (quote - ones) | (slash - ones) | w) & high) != 0;
}

static inline bool scan_plain_byte(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/* How many bytes from p are printable ASCII other than quote and backslash. */
static inline size_t scan_plain(const char *from, const char *end)
{
    const char *p = from;
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\'), space = _mm_set1_epi8(0x20);
    for (; end - p >= 16; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        /* signed: bytes above 0x7f are below a space too */
        __m128i bad = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)), _mm_cmplt_epi8(v, space));
        int mask = _mm_movemask_epi8(bad);
        if (mask)
            return (size_t)(p - from) + (size_t)__builtin_ctz((unsigned)mask);
    }
#endif
    for (uint64_t w; end - p >= 8; p += 8) {
        memcpy(&w, p, 8);
        if (scan_word_special(w))
            break;
    }
    while (p < end && scan_plain_byte((unsigned char)*p))
        p++;
    return (size_t)(p - from);
}

/* The length (2 to 4) of the valid sequence that begins at p with a byte above 0x7f; 0 when it is none (RFC 3629). */
static inline size_t scan_utf8(const char *p, const char *end)
{
    const unsigned char *u = (const unsigned char *)p;
    size_t n = (size_t)(end - p);
    if (u[0] >= 0xc2 && u[0] <= 0xdf)
        return n >= 2 && (u[1] & 0xc0) == 0x80 ? 2 : 0;
    if ((u[0] & 0xf0) == 0xe0) {
        if (n < 3 || (u[1] & 0xc0) != 0x80 || (u[2] & 0xc0) != 0x80)
            return 0;
        if ((u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] > 0x9f))
            return 0;
        return 3;
    }
    if (u[0] >= 0xf0 && u[0] <= 0xf4) {
        if (n < 4 || (u[1] & 0xc0) != 0x80 || (u[2] & 0xc0) != 0x80 || (u[3] & 0xc0) != 0x80)
            return 0;
        if ((u[0] == 0xf0 && u[1] < 0x90) || (u[0] == 0xf4 && u[1] > 0x8f))
            return 0;
        return 4;
    }
    return 0;
}
