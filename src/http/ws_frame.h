/* WebSocket frames (RFC 6455 section 5): reading with all the rules of form, and writing. */
#pragma once
#include "base/buf.h"

enum { WS_CONT = 0, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };

struct ws_parser { /* zero-initialised but for the first two */
    bool masked;       /* what the peer must do: clients mask, servers do not */
    uint64_t max;      /* largest payload of one frame */
    uint8_t head[14], have;
    bool in_payload, fin;
    uint8_t op, key[4];
    uint64_t left, at; /* of the payload */
    size_t fragments;
    bool in_message;   /* a fragmented message is under way */
};
struct ws_piece {
    uint8_t op;        /* WS_CONT inside a fragmented message */
    bool first, last;  /* of the frame's payload */
    bool fin;
    struct str data;   /* still masked */
    uint8_t key[4];
    uint64_t at;       /* offset of data in the payload, for unmasking */
};
/* 1: a piece; 0: more input is needed; else the close code that the violation deserves (1002, 1009). */
int ws_next(struct ws_parser *p, struct str *in, struct ws_piece *out);
void ws_unmask(char *p, size_t n, const uint8_t key[4], uint64_t at);
/* Appends the head of a frame; key NULL: not masked. */
void ws_head(struct buf *b, uint8_t op, bool fin, uint64_t n, const uint8_t *key);
bool ws_close_code_ok(int code); /* may stand in a close frame */
