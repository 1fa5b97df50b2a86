/* WWW-Authenticate values, tokens and errors of registries: never more challenges than room, never a token that could end a header line. */
#include <stdlib.h>
#include "gate/registry_challenge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct registry_challenge list[5] = {0};
    struct str text = str_make((const char *)data, size), token;
    size_t n = registry_challenges(p, text, list, 4);
    if (n > 4 || list[4].scheme.p)
        abort();
    const struct registry_challenge *c = registry_challenge_pick(list, n);
    if (c && (c < list || c >= list + n))
        abort();
    if (registry_token_parse(p, text, &token, NULL) == 0)
        for (size_t i = 0; i < token.n; i++)
            if (token.p[i] <= ' ' || token.p[i] > '~')
                abort();
    (void)registry_error_text(p, text);
    return 0;
}
