/* registries.yaml: what is taken gives endpoints for any image. */
#include <stdlib.h>
#include "gate/registries_yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(registries_freep) struct registries *r = NULL;
    struct registry_endpoint ep[REGISTRY_ENDPOINTS_MAX];
    struct registry_image image;
    if (registry_image_parse(p, STR("docker.io/library/x:1"), &image, NULL) < 0)
        abort();
    if (size > 4096 || registries_parse(str_make((const char *)data, size), &r, NULL) < 0)
        return 0;
    size_t n = registries_endpoints(r, p, &image, ep);
    if (n == 0 || n > REGISTRY_ENDPOINTS_MAX)
        abort();
    return 0;
}
