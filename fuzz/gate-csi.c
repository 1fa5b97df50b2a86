/* What node plugins answer: names that are taken have sane lengths, topologies are bounded; nothing else may happen. */
#include <stdlib.h>
#include "gate/csi_rpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct str in = str_make((const char *)data, size);
    struct csi_plugin_info info;
    struct csi_node_info node;
    if (csi_read_plugin_info(in, &info) && (!info.name.n || info.name.n > 253))
        abort();
    if (csi_read_node_info(p, in, &node) &&
        (!node.node_id.n || node.node_id.n > 256 || node.max_volumes < 0 || json_count(node.topology) > 64))
        abort();
    (void)csi_read_stages(in);
    (void)csi_read_multi_writer(in);
    return 0;
}
