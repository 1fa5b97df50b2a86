#include "supervisor/broker.h"

static const struct wire_field ready_fields[] = {
    WIRE_STR(struct broker_ready, kubeconfig, 1 << 20),
    WIRE_STR(struct broker_ready, ca_hash, 64),
    WIRE_STR(struct broker_ready, admin_password, 128),
    WIRE_END,
};
const struct wire_type broker_ready_type = {"broker_ready", sizeof(struct broker_ready), ready_fields};

static const struct wire_field file_fields[] = {
    WIRE_STR(struct broker_file, path, 4096),
    WIRE_END,
};
const struct wire_type broker_file_type = {"broker_file", sizeof(struct broker_file), file_fields};
