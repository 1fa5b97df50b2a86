/* Typed records between our own processes over a unix socket: what the gate-node protocol and the supervisor's broker are made of. A message is a C
 * struct described by a table; the same table encodes and decodes, so neither side holds parser code of its own, and the root side never sees a
 * document format. The decoder checks every length, count, enum bound and depth against the table and rejects the whole message otherwise.
 *
 *     struct wire_pod { struct str uid; uint64_t flags; struct wire_mount *mounts; size_t nmounts; };
 *     static const struct wire_field pod_fields[] = {
 *         WIRE_STR(struct wire_pod, uid, 64),
 *         WIRE_U64(struct wire_pod, flags),
 *         WIRE_LIST(struct wire_pod, mounts, nmounts, &mount_type, 256),
 *         WIRE_END };
 *     const struct wire_type pod_type = {"pod", sizeof(struct wire_pod), pod_fields};
 *
 * Encoding: fields in table order; u64/i64/bool as LEB128 (i64 zig-zag), str and bytes as length + bytes, lists as count + items, a struct as
 * its byte length + fields. A field that a newer writer added at the end is skipped by an older reader (length), one that an older writer lacks is zero:
 * so supervisor, api, gate and node of neighbouring versions understand each other during an upgrade.
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "base/loop.h"
#include "base/pool.h"

enum wire_kind { WIRE_K_END, WIRE_K_STR, WIRE_K_U64, WIRE_K_I64, WIRE_K_BOOL, WIRE_K_LIST, WIRE_K_STRUCT, WIRE_K_STRS };
struct wire_type;
struct wire_field {
    enum wire_kind kind;
    const char *name;               /* for errors */
    size_t at, at_count;            /* offsets */
    const struct wire_type *type;   /* LIST, STRUCT */
    uint64_t max;                   /* bytes of a str, items of a list, largest u64 (0: no bound) */
};
struct wire_type {
    const char *name;
    size_t size;
    const struct wire_field *fields;
};
#define WIRE_STR(t, m, maxlen) {WIRE_K_STR, #m, offsetof(t, m), 0, NULL, maxlen}                 /* struct str */
#define WIRE_U64(t, m) {WIRE_K_U64, #m, offsetof(t, m), 0, NULL, 0}                              /* uint64_t */
#define WIRE_ENUM(t, m, count) {WIRE_K_U64, #m, offsetof(t, m), 0, NULL, (count)-1}              /* uint64_t below count */
#define WIRE_I64(t, m) {WIRE_K_I64, #m, offsetof(t, m), 0, NULL, 0}                              /* int64_t */
#define WIRE_BOOL(t, m) {WIRE_K_BOOL, #m, offsetof(t, m), 0, NULL, 0}                            /* bool */
#define WIRE_STRS(t, m, cnt, maxn) {WIRE_K_STRS, #m, offsetof(t, m), offsetof(t, cnt), NULL, maxn}     /* struct str *, size_t; each <= 1 MiB */
#define WIRE_LIST(t, m, cnt, ty, maxn) {WIRE_K_LIST, #m, offsetof(t, m), offsetof(t, cnt), ty, maxn}   /* item *, size_t */
#define WIRE_STRUCT(t, m, ty) {WIRE_K_STRUCT, #m, offsetof(t, m), 0, ty, 0}                      /* embedded struct */
#define WIRE_END {WIRE_K_END, NULL, 0, 0, NULL, 0}

void wire_encode(const struct wire_type *t, const void *msg, struct buf *out);
/* Views point into in, lists into pool: keep both as long as msg. ERR_PARSE names type and field. */
int wire_decode(const struct wire_type *t, struct str in, struct pool *pool, void *msg, struct err **e) _must_check_;

/* A connection: frames of {u32 length, u16 type, u16 nfds, u64 id}, little-endian, then the body; file descriptors ride on the frame's first
 * byte (SCM_RIGHTS) and are counted in nfds, since the kernel may hand them over together with the end of an earlier frame.
 * A body is at most WIRE_MAX; a peer that breaks the framing is cut off. */
#define WIRE_MAX (8u << 20)
#define WIRE_FDS 8
struct wire;
struct wire_msg {
    uint16_t type;  /* the protocol's own numbers */
    uint64_t id;    /* pairs reply and request; 0 for what needs no reply */
    struct str body;
    int fds[WIRE_FDS]; /* the receiver owns those it sets to -1 before returning; the rest are closed */
    size_t nfds;
};
struct wire_ops {
    void (*on_msg)(void *arg, struct wire_msg *m);   /* m and its body are valid during the call */
    void (*on_close)(void *arg, const struct err *e); /* once; e NULL at a clean end. wire_free is allowed inside */
};
struct wire *wire_new(struct loop *l, int fd /* taken over */, const struct wire_ops *ops, void *arg, struct err **e);
void wire_free(struct wire *w); /* no on_close */
DEFINE_CLEANUP(struct wire *, wire_free)
/* Queues a frame; fds are duplicated. Never blocks; a peer that does not read for long lets the queue grow to 64 MiB, then it is cut off. */
void wire_send(struct wire *w, uint16_t type, uint64_t id, const struct wire_type *t, const void *msg, const int *fds, size_t nfds);
