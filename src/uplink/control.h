/* The control stream's frames, and its liveness. Inside the room.
 *
 * A frame is u32 length (of what follows), u8 type, then a typed record (base/wire.h), little-endian; at most CONTROL_MAX. Both sides send C_PING when nothing was heard for the idle
 * bound and give the peer the active bound to be heard again; otherwise the link counts as gone, although TCP may not know it yet.
 */
#pragma once
#include "base/wire.h"
#include "http/stream.h"
#include "uplink/mirror.h"

#define CONTROL_MAX (8u << 20)

enum control_type {
    C_PING = 1, C_PONG,
    /* upper → lower */
    C_UPSERT, C_DELETE, C_COMMIT, C_ASK_INVENTORY, C_ENTRY_DONE, C_REPLY,
    /* lower → upper */
    C_RESUME, C_INVENTORY, C_ACK, C_ENTRY, C_CALL,
    CONTROL_TYPES
};
struct c_object { struct str key, uid, bytes; int64_t rev; };                 /* UPSERT, DELETE (no bytes) */
struct c_cut { struct str store_uid; int64_t epoch, rev; };                   /* COMMIT, RESUME, ACK (rev only) */
struct c_item { struct str key, uid; int64_t rev; };
struct c_inventory { struct c_item *items; size_t nitems; bool last; };
struct c_request { uint64_t id; struct str method, path, content_type, body; }; /* ENTRY (id is its seq), CALL */
struct c_reply { uint64_t id, status; struct str body; };                      /* REPLY, ENTRY_DONE (body is a message) */
extern const struct wire_type c_object_type, c_cut_type, c_inventory_type, c_request_type, c_reply_type;

struct control;
struct ws;
/* The kernel need not ask as well: an uplink has its own liveness, and on a metered line a keep-alive a minute costs more than that. */
void control_no_keepalive(const struct ws *w);
struct control_ops {
    void (*on_frame)(void *arg, enum control_type type, struct str body);
    void (*on_drain)(void *arg);
    void (*on_gone)(void *arg, const struct err *why);   /* once; control_free is allowed inside and must follow */
};
struct control *control_new(struct stream *s /* taken over */, int64_t idle_ns, int64_t active_ns, const struct control_ops *ops, void *arg);
void control_free(struct control *c);
void control_send(struct control *c, enum control_type type, const struct wire_type *t, const void *msg);
size_t control_queued(const struct control *c);
int64_t control_heard(const struct control *c);          /* loop_now of the last frame */
void control_probe(struct control *c);                   /* ping now; gone unless heard within the active bound */
