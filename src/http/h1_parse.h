/* HTTP/1.1 message syntax (RFC 9112), for both sides, strict where leniency has been used for request smuggling: CRLF only, no obs-fold, no white
 * space before the colon, one Content-Length, never with Transfer-Encoding, and "chunked" alone as coding.
 */
#pragma once
#include "base/err.h"
#include "base/pool.h"
#include "http/http.h"

/* Length of the head with its empty line, or 0 when it is not complete. Looks from `from` on (what was searched before, less 3). */
size_t h1_head_end(struct str s, size_t from);

struct h1_head {
    int status;                 /* responses */
    struct str method, target;  /* requests */
    int minor;                  /* HTTP/1.minor */
    struct http_header *headers;
    size_t nheaders;
    int64_t length;             /* Content-Length, or -1 */
    bool chunked, close, keep_alive, expect_continue, upgrade /* Connection: upgrade */;
    struct str host, protocol;  /* Upgrade's value */
};
/* head is the whole head in memory of the caller's: names are put in lower case in place, views point into it; the header array comes from pool.
 * 0, or the HTTP status that refuses it, with a reason in *why (static text). */
int h1_parse_request(char *head, size_t n, struct pool *pool, size_t max_headers, struct h1_head *out, const char **why);
int h1_parse_response(char *head, size_t n, struct pool *pool, size_t max_headers, struct h1_head *out, const char **why);

/* A body on its way in. */
enum h1_body_kind { H1_NONE, H1_LENGTH, H1_CHUNKED, H1_UNTIL_CLOSE };
struct h1_body {
    enum h1_body_kind kind;
    uint8_t state;
    bool done;
    uint64_t left;   /* of the length or of the current chunk */
    uint32_t line;   /* bytes of the chunk line or of the trailers so far */
};
void h1_body_init(struct h1_body *b, enum h1_body_kind kind, uint64_t length);
/* Takes bytes from *in (moves it) until a piece of data is found, the input ends or the body is done. 1: *data is a piece; 0: nothing more here;
 * -1: malformed. */
int h1_body_next(struct h1_body *b, struct str *in, struct str *data);

bool h1_token(struct str s);                          /* RFC 9110 token, not empty */
bool h1_has_token(struct str list, const char *token); /* in a comma-separated list, any case */
/* Adds "name: value\r\n"; line breaks and NUL in either are turned into spaces, so that no caller can be made to split a head. */
struct buf;
void h1_put_header(struct buf *b, struct str name, struct str value);
const char *h1_status_text(int status);
