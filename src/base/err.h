/* struct err: the one error type. It carries a code (a row of the table in err.c: Kubernetes' reason and HTTP status), a message that
 * grows to the left as it is wrapped ("start: bind 6443: address in use"), and, for field errors, causes.
 *
 * Convention: `int f(..., struct err **e)` returns 0, or a negative enum err_code after filling *e. e may be NULL when the caller
 * only needs the code. *e must be NULL on entry. The caller owns *e (err_free, or _cleanup_(err_freep)).
 * Room code returns errors and never logs them; programs log (house rule 7).
 * Mapping to Kubernetes Status: k8s.io/apimachinery/pkg/apis/meta/v1 StatusReason.
 */
#pragma once
#include <stdarg.h>
#include "base/str.h"

enum err_code {
    ERR_NONE = 0,
    ERR_BAD_REQUEST,     /* 400 BadRequest */
    ERR_UNAUTHORIZED,    /* 401 Unauthorized */
    ERR_FORBIDDEN,       /* 403 Forbidden */
    ERR_NOT_FOUND,       /* 404 NotFound */
    ERR_METHOD,          /* 405 MethodNotAllowed */
    ERR_NOT_ACCEPTABLE,  /* 406 NotAcceptable */
    ERR_EXISTS,          /* 409 AlreadyExists */
    ERR_CONFLICT,        /* 409 Conflict */
    ERR_GONE,            /* 410 Gone */
    ERR_EXPIRED,         /* 410 Expired */
    ERR_TOO_LARGE,       /* 413 RequestEntityTooLarge */
    ERR_MEDIA_TYPE,      /* 415 UnsupportedMediaType */
    ERR_INVALID,         /* 422 Invalid */
    ERR_TOO_MANY,        /* 429 TooManyRequests */
    ERR_INTERNAL,        /* 500 InternalError */
    ERR_NOT_IMPLEMENTED, /* 501, reason "" */
    ERR_UNAVAILABLE,     /* 503 ServiceUnavailable */
    ERR_TIMEOUT,         /* 504 Timeout (ServerTimeout is 500 with retry) */
    ERR_STORAGE_FULL,    /* 507, reason "InsufficientStorage" */
    ERR_USAGE,           /* a command line or config file is wrong: exit code 2 */
    ERR_IO,              /* 500: a system call failed; message carries strerror */
    ERR_PARSE,           /* 400: a document is malformed */
    ERR_LIMIT,           /* 400: a limit of size, depth or count was passed */
    ERR_CODES
};

struct err_cause { /* one row of Status.details.causes */
    char *reason;  /* FieldValueRequired, FieldValueInvalid, FieldManagerConflict... */
    char *message; /* without the field path */
    char *field;   /* spec.containers[0].image */
};

struct err {
    enum err_code code;
    char *message;
    struct err_cause *causes;
    size_t ncauses;
    int retry_after_s; /* 0: none */
};

/* Fills *e (if e) and returns -code, so that `return err_set(e, ERR_X, "...")` reads well. */
int err_set(struct err **e, enum err_code code, const char *fmt, ...) _printf_(3, 4);
int err_setv(struct err **e, enum err_code code, const char *fmt, va_list ap) _printf_(3, 0);
/* The same for a failed system call: code from errno (ENOSPC and EDQUOT give ERR_STORAGE_FULL, else ERR_IO), ": strerror" added. */
int err_errno(struct err **e, int errnum, const char *fmt, ...) _printf_(3, 4);
/* Puts "fmt: " before the message. Returns -(*e)->code; 0 when *e is NULL (no error); -ERR_INTERNAL when e is: call it on failure only. */
int err_wrap(struct err **e, const char *fmt, ...) _printf_(2, 3);
/* Adds a cause (creating an ERR_INVALID error when *e is NULL). */
int err_cause(struct err **e, const char *reason, struct str field, const char *fmt, ...) _printf_(4, 5);
void err_free(struct err *e);
DEFINE_CLEANUP(struct err *, err_free)
/* Moves src into *dst (frees src when dst is NULL). Returns -(src->code). */
int err_move(struct err **dst, struct err *src);

int err_http(enum err_code code);             /* HTTP status */
const char *err_reason(enum err_code code);   /* Kubernetes' StatusReason */
static inline const char *err_msg(const struct err *e) { return e && e->message ? e->message : "unknown error"; }
