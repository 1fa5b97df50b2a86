#include "crypto/ossl.h"
#include <openssl/err.h>

int ossl_err(struct err **e, enum err_code code, const char *fmt, ...)
{
    const char *why = ERR_reason_error_string(ERR_peek_last_error());
    struct buf b = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    if (why)
        buf_printf(&b, ": %s", why);
    ERR_clear_error();
    int r = err_set(e, code, "%s", buf_str(&b).p);
    buf_clear(&b);
    return r;
}
