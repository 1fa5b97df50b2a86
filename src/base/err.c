#include "base/err.h"
#include <errno.h>
#include "base/buf.h"

static const struct {
    int http;
    const char *reason;
} codes[ERR_CODES] = {
    [ERR_NONE] = {200, ""},
    [ERR_BAD_REQUEST] = {400, "BadRequest"},
    [ERR_UNAUTHORIZED] = {401, "Unauthorized"},
    [ERR_FORBIDDEN] = {403, "Forbidden"},
    [ERR_NOT_FOUND] = {404, "NotFound"},
    [ERR_METHOD] = {405, "MethodNotAllowed"},
    [ERR_NOT_ACCEPTABLE] = {406, "NotAcceptable"},
    [ERR_EXISTS] = {409, "AlreadyExists"},
    [ERR_CONFLICT] = {409, "Conflict"},
    [ERR_GONE] = {410, "Gone"},
    [ERR_EXPIRED] = {410, "Expired"},
    [ERR_TOO_LARGE] = {413, "RequestEntityTooLarge"},
    [ERR_MEDIA_TYPE] = {415, "UnsupportedMediaType"},
    [ERR_INVALID] = {422, "Invalid"},
    [ERR_TOO_MANY] = {429, "TooManyRequests"},
    [ERR_INTERNAL] = {500, "InternalError"},
    [ERR_NOT_IMPLEMENTED] = {501, ""},
    [ERR_UNAVAILABLE] = {503, "ServiceUnavailable"},
    [ERR_TIMEOUT] = {504, "Timeout"},
    [ERR_STORAGE_FULL] = {507, "InsufficientStorage"},
    [ERR_USAGE] = {400, "BadRequest"},
    [ERR_IO] = {500, "InternalError"},
    [ERR_PARSE] = {400, "BadRequest"},
    [ERR_LIMIT] = {400, "BadRequest"},
};

int err_http(enum err_code code)
{
    return (unsigned)code < ERR_CODES ? codes[code].http : 500;
}

const char *err_reason(enum err_code code)
{
    return (unsigned)code < ERR_CODES ? codes[code].reason : "InternalError";
}

static struct err *make(enum err_code code, char *message)
{
    struct err *x = xcalloc(1, sizeof *x);
    x->code = code;
    x->message = message;
    return x;
}

int err_setv(struct err **e, enum err_code code, const char *fmt, va_list ap)
{
    if (e) {
        struct buf b = BUF_INIT;
        buf_vprintf(&b, fmt, ap);
        err_free(*e); /* a second failure on the way out replaces the first */
        *e = make(code, buf_take(&b));
    }
    return -(int)code;
}

int err_set(struct err **e, enum err_code code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int r = err_setv(e, code, fmt, ap);
    va_end(ap);
    return r;
}

int err_errno(struct err **e, int errnum, const char *fmt, ...)
{
    enum err_code code = errnum == ENOSPC || errnum == EDQUOT ? ERR_STORAGE_FULL : ERR_IO;
    if (e) {
        va_list ap;
        struct buf b = BUF_INIT;
        va_start(ap, fmt);
        buf_vprintf(&b, fmt, ap);
        va_end(ap);
        char tmp[128];
        buf_printf(&b, ": %s", strerror_r(errnum, tmp, sizeof tmp));
        err_free(*e);
        *e = make(code, buf_take(&b));
    }
    return -(int)code;
}

int err_wrap(struct err **e, const char *fmt, ...)
{
    if (!e)
        return -ERR_INTERNAL; /* called on failure: whoever did not ask why must not read it as success */
    if (!*e)
        return 0;
    va_list ap;
    struct buf b = BUF_INIT;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    buf_printf(&b, ": %s", err_msg(*e));
    free((*e)->message);
    (*e)->message = buf_take(&b);
    return -(int)(*e)->code;
}

int err_cause(struct err **e, const char *reason, struct str field, const char *fmt, ...)
{
    if (!e)
        return -ERR_INVALID;
    va_list ap;
    struct buf b = BUF_INIT;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    if (!*e)
        *e = make(ERR_INVALID, field.n ? xasprintf("%.*s: %s", STR_ARG(field), buf_str(&b).p) : xstrdup(buf_str(&b).p));
    struct err *x = *e;
    x->causes = xrealloc(x->causes, (x->ncauses + 1) * sizeof *x->causes);
    x->causes[x->ncauses++] = (struct err_cause){xstrdup(reason), buf_take(&b), str_dup(field)};
    return -(int)x->code;
}

void err_free(struct err *e)
{
    if (!e)
        return;
    for (size_t i = 0; i < e->ncauses; i++) {
        free(e->causes[i].reason);
        free(e->causes[i].message);
        free(e->causes[i].field);
    }
    free(e->causes);
    free(e->message);
    free(e);
}

int err_move(struct err **dst, struct err *src)
{
    int r = src ? -(int)src->code : 0;
    if (dst && src) {
        err_free(*dst);
        *dst = src;
    } else {
        err_free(src);
    }
    return r;
}
