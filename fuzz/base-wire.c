/* Decoding of what the process on the other side of a socket sent: must neither crash nor take memory out of proportion, and what was accepted
 * must encode to something that decodes to the same. */
#include <assert.h>
#include "base/wire.h"

struct leaf {
    struct str name;
    int64_t n;
    bool on;
};
static const struct wire_field leaf_fields[] = {WIRE_STR(struct leaf, name, 64), WIRE_I64(struct leaf, n), WIRE_BOOL(struct leaf, on), WIRE_END};
static const struct wire_type leaf_type = {"leaf", sizeof(struct leaf), leaf_fields};

struct node {
    struct str id, text;
    uint64_t kind, flags;
    struct leaf one, *leaves;
    size_t nleaves;
    struct node *children;
    size_t nchildren;
    struct str *args;
    size_t nargs;
};
static const struct wire_type node_type;
static const struct wire_field node_fields[] = {WIRE_STR(struct node, id, 36), WIRE_STR(struct node, text, 4096), WIRE_ENUM(struct node, kind, 5),
    WIRE_U64(struct node, flags), WIRE_STRUCT(struct node, one, &leaf_type), WIRE_LIST(struct node, leaves, nleaves, &leaf_type, 1000),
    WIRE_LIST(struct node, children, nchildren, &node_type, 100), WIRE_STRS(struct node, args, nargs, 1000), WIRE_END};
static const struct wire_type node_type = {"node", sizeof(struct node), node_fields};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pool *p = pool_new();
    struct node n, again;
    struct err *e = NULL;
    if (wire_decode(&node_type, str_make((const char *)data, size), p, &n, &e) < 0) {
        assert(e && e->message);
        err_free(e);
    } else {
        struct buf first = BUF_INIT, second = BUF_INIT;
        wire_encode(&node_type, &n, &first);
        if (wire_decode(&node_type, buf_str(&first), p, &again, &e) == 0) {
            wire_encode(&node_type, &again, &second);
            assert(str_eq(buf_str(&first), buf_str(&second)));
        } else {
            /* what an older writer left out stands there now, one level deeper than the limit */
            assert(strstr(err_msg(e), "nested too deeply"));
            err_free(e);
        }
        buf_clear(&first);
        buf_clear(&second);
    }
    pool_free(p);
    return 0;
}
