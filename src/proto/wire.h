/* Inside the room: varints, tags and fields (protobuf.dev/programming-guides/encoding). */
#pragma once
#include "proto/proto.h"

enum { WT_VARINT = 0, WT_64 = 1, WT_BYTES = 2, WT_32 = 5 };

struct raw { /* one field as it stands on the wire */
    uint32_t number;
    uint8_t wt;
    uint64_t v;   /* VARINT, 64, 32 */
    struct str s; /* BYTES */
};
/* Takes the next field off *in. false: malformed. */
bool wire_next(struct str *in, struct raw *out);

/* A message of a few scalar fields with small numbers, read at once; the last of a repeated one counts. false: malformed. */
#define SMALL 4
struct small {
    uint64_t v[SMALL + 1];
    struct str s[SMALL + 1];
};
bool wire_small(struct str in, struct small *out);

void wire_varint(struct buf *out, uint64_t v);
void wire_tag(struct buf *out, uint32_t number, int wt);
void wire_bytes(struct buf *out, uint32_t number, struct str s);
void wire_number(struct buf *out, uint32_t number, uint64_t v);
/* Puts a length before what was appended since `at`. */
void wire_length(struct buf *out, size_t at);
