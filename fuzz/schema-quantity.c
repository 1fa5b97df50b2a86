/* A quantity's canonical form reads back as the same amount; the second form is final (62.5Ki: 64000, 64k). */
#include <stdlib.h>
#include "schema/quantity.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct quantity a, b;
    struct buf one = BUF_INIT, two = BUF_INIT;
    if (quantity_parse((struct str){(const char *)data, size}, &a, NULL) < 0)
        return 0;
    quantity_write(&one, a);
    if (quantity_parse(buf_str(&one), &b, NULL) < 0 || quantity_cmp(a, b) != 0)
        abort();
    quantity_write(&two, b);
    buf_reset(&one);
    if (quantity_parse(buf_str(&two), &b, NULL) < 0)
        abort();
    quantity_write(&one, b);
    if (!str_eq(buf_str(&one), buf_str(&two)))
        abort();
    (void)quantity_value(a);
    (void)quantity_milli(quantity_sub(a, b));
    (void)quantity_milli(quantity_add(a, b));
    buf_clear(&one);
    buf_clear(&two);
    return 0;
}
