#include "base/file.h"
#include <errno.h>
#include <sys/random.h>

void random_bytes(void *p, size_t n)
{
    char *at = p;
    while (n) {
        ssize_t r = getrandom(at, n, 0);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0) {
            fputs("sampan: getrandom failed\n", stderr);
            abort();
        }
        at += r;
        n -= (size_t)r;
    }
}

uint64_t random_u64(void)
{
    uint64_t v;
    random_bytes(&v, sizeof v);
    return v;
}

void random_suffix(char *out, size_t n)
{
    static const char alphabet[] = "bcdfghjklmnpqrstvwxz2456789";
    for (size_t i = 0; i < n;) {
        unsigned char c;
        random_bytes(&c, 1);
        if (c >= 256 / (sizeof alphabet - 1) * (sizeof alphabet - 1))
            continue; /* keeps every letter equally likely */
        out[i++] = alphabet[c % (sizeof alphabet - 1)];
    }
    out[n] = 0;
}

void random_uuid(char out[UUID_LEN + 1])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char b[16];
    random_bytes(b, sizeof b);
    b[6] = (unsigned char)(0x40 | (b[6] & 0x0f)); /* RFC 4122: version 4, */
    b[8] = (unsigned char)(0x80 | (b[8] & 0x3f)); /* its variant */
    char *to = out;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *to++ = '-';
        *to++ = digits[b[i] >> 4];
        *to++ = digits[b[i] & 15];
    }
    *to = 0;
}
