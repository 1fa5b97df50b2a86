/* Messages of the gate-node protocol: the first byte chooses the type. What decodes, encoded and decoded again, encodes to the same bytes.
 */
#include <stdlib.h>
#include "node/proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct wire_type *const types[] = {&node_empty_type, &node_uid_type, &node_reply_type, &node_config_type, &node_pod_type,
    &node_pod_stop_type, &node_restart_type, &node_exec_type, &node_exec_done_type, &node_resize_type, &node_attach_type, &node_log_type,
    &node_connect_type, &node_listen_type, &node_pod_state_type, &node_event_type, &node_hello_type, &node_addresses_type,
    &node_images_type, &node_image_import_type, &node_image_ref_type, &node_volume_update_type, &node_services_type, &node_peers_type,
    &node_stats_type, &node_pressure_type, &node_policies_type, &node_paths_type};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    const struct wire_type *t = types[data[0] % ARRAY_LEN(types)];
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(buf_clear) struct buf one = BUF_INIT, two = BUF_INIT;
    void *msg = pool_zalloc(p, t->size), *again = pool_zalloc(p, t->size);
    if (wire_decode(t, str_make((const char *)data + 1, size - 1), p, msg, NULL) < 0)
        return 0;
    wire_encode(t, msg, &one);
    if (wire_decode(t, buf_str(&one), p, again, NULL) < 0)
        abort();
    wire_encode(t, again, &two);
    if (!str_eq(buf_str(&one), buf_str(&two)))
        abort();
    return 0;
}
