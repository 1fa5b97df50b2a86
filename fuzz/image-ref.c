/* A name that is accepted is stable: normalising it again changes nothing. */
#include <stdlib.h>
#include "image/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(buf_clear) struct buf one = BUF_INIT, two = BUF_INIT;
    if (image_ref_normalize(str_make((const char *)data, size), &one, NULL) < 0)
        return 0;
    if (image_ref_normalize(buf_str(&one), &two, NULL) < 0 || !str_eq(buf_str(&one), buf_str(&two)))
        abort();
    return 0;
}
