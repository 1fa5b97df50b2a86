/* SPDY/3.1's header blocks: names and values, counted, under one zlib stream per direction of a connection, primed with a dictionary. Inside the room. */
#pragma once
#include <zlib.h>
#include "base/buf.h"
#include "base/pool.h"
#include "http/http.h"

#define SPDY_BLOCK_MAX (64u << 10) /* of a header block, inflated */
#define SPDY_HEADERS_MAX 100

enum { SPDY_SYN_STREAM = 1, SPDY_SYN_REPLY, SPDY_RST_STREAM, SPDY_SETTINGS, SPDY_PING = 6, SPDY_GOAWAY, SPDY_HEADERS, SPDY_WINDOW_UPDATE };
enum { SPDY_FIN = 1, SPDY_UNIDIRECTIONAL = 2 };
enum { SPDY_PROTOCOL_ERROR = 1, SPDY_INVALID_STREAM, SPDY_REFUSED_STREAM, SPDY_UNSUPPORTED_VERSION, SPDY_CANCEL, SPDY_INTERNAL_ERROR };

extern const struct str spdy_dictionary;

struct spdy_zip { z_stream out, in; bool ready; };
bool spdy_zip_init(struct spdy_zip *z);
void spdy_zip_clear(struct spdy_zip *z);
/* Every block of a connection has to pass here, in order, wanted or not. false: malformed, the connection is lost. Names come in lower case; several values
 * of one name become one header each. */
bool spdy_unpack(struct spdy_zip *z, struct str block, struct pool *p, struct http_header **h, size_t *n);
void spdy_pack(struct spdy_zip *z, const struct http_header *h, size_t n, struct buf *out);

void spdy_put32(struct buf *b, uint32_t v);
uint32_t spdy_get32(const char *p);
void spdy_put_head(struct buf *b, unsigned type, unsigned flags, size_t n); /* of a control frame */
