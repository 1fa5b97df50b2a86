/* Manifests and indexes: what is taken names only sha256 digests (they become file names) and sizes that are not negative. Also docker's
 * credential files and URLs. */
#include <stdlib.h>
#include "gate/registry_cred.h"
#include "gate/registry_manifest.h"
#include "image/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct registry_blob *b)
{
    if (!image_digest_valid(b->digest) || b->size < 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct str text = str_make((const char *)data, size);
    struct registry_manifest m;
    struct registry_image image;
    struct registry_creds creds = {0};
    struct registry_url u;
    if (registry_manifest_parse(p, text, &m, NULL) == 0) {
        if (m.picked.digest.n)
            check(&m.picked);
        else
            check(&m.config);
        for (size_t i = 0; i < m.nlayers; i++)
            check(&m.layers[i]);
    }
    if (registry_image_parse(p, STR("reg.example.com:5000/a/b:1"), &image, NULL) < 0)
        abort();
    if (registry_creds_add(p, text, &image, &creds, NULL) == 0 && creds.n > REGISTRY_CREDS_MAX)
        abort();
    if (registry_url_parse(p, text, &u, NULL) == 0 && (!u.host.n || !u.port))
        abort();
    return 0;
}
