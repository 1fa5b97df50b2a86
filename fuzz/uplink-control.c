/* The control stream's frames, decoded by type, from any peer. */
#include "http-pipe.h"
#include "uplink/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct end {
    struct control *c;
};

static void on_frame(void *arg, enum control_type type, struct str body)
{
    static const struct wire_type *const types[CONTROL_TYPES] = {
        [C_UPSERT] = &c_object_type,
        [C_DELETE] = &c_object_type,
        [C_COMMIT] = &c_cut_type,
        [C_RESUME] = &c_cut_type,
        [C_ACK] = &c_cut_type,
        [C_INVENTORY] = &c_inventory_type,
        [C_ENTRY] = &c_request_type,
        [C_CALL] = &c_request_type,
        [C_REPLY] = &c_reply_type,
        [C_ENTRY_DONE] = &c_reply_type,
    };
    union {
        struct c_object object;
        struct c_cut cut;
        struct c_inventory inventory;
        struct c_request request;
        struct c_reply reply;
    } m = {0};
    struct pool *p = pool_new();
    if (types[type] && wire_decode(types[type], body, p, &m, NULL) < 0) {
        struct end *e = arg;
        control_free(TAKE(e->c)); /* as both ends do */
    }
    pool_free(p);
}

static void on_gone(void *arg, const struct err *why)
{
    control_free(TAKE(((struct end *)arg)->c));
}
static const struct control_ops ops = {on_frame, NULL, on_gone};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct loop *l = loop_new(NULL);
    struct stream *peer;
    struct end e;
    pipe_new(l, &peer);
    e.c = control_new(peer, NS_PER_S, NS_PER_S, &ops, &e);
    pipe_feed(l, &peer, data, size);
    control_free(e.c);
    while (loop_step(l, 0) > 0)
        ;
    loop_free(l);
    return 0;
}
