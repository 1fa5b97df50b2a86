#include "cel/regex.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
/* A pattern, a newline, a text. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str all = str_make((const char *)data, n), pattern, text;
    struct regex *r;
    size_t from = 0, to = 0;
    if (n > 4096 || !str_cut(all, '\n', &pattern, &text) || regex_new(pattern, &r, NULL) < 0)
        return 0;
    if (regex_find(r, text, 0, &from, &to) && (from > to || to > text.n))
        __builtin_trap();
    regex_free(r);
    return 0;
}
