/* A pod's packed projection: what scheduler, controllers and mirror views need without parsing the object. Little-endian, one block: this struct, then the variable
 * parts; strings are (offset, length) into the block. */
#pragma once
#include "base/str.h"

enum pod_phase { POD_PENDING, POD_RUNNING, POD_SUCCEEDED, POD_FAILED, POD_UNKNOWN };
enum pod_view_flags { POD_READY = 1, POD_DELETING = 2, POD_HOST_NETWORK = 4, POD_GATED = 8, POD_DAEMON = 16, POD_MIRROR = 32, POD_INITIALIZED = 64 };
struct pod_view_str { uint32_t at, n; };
struct pod_view {
    uint32_t size;              /* of the whole block */
    uint8_t phase, flags, qos, npolicy; /* qos: 0 BestEffort 1 Burstable 2 Guaranteed; npolicy, restartPolicy: 0 Always 1 OnFailure 2 Never */
    int64_t cpu_milli, memory, storage; /* requests, as the scheduler counts them (init containers, sidecars, overhead) */
    int32_t priority;
    uint32_t nports, ports_at;  /* struct pod_view_port[] */
    struct pod_view_str node, scheduler, ip, service_account;
};
struct pod_view_port { uint16_t host_port, container_port; uint8_t proto; /* 0 TCP 1 UDP 2 SCTP */ uint8_t pad[3]; struct pod_view_str host_ip, name; };
static inline struct str pod_view_get(const struct pod_view *v, struct pod_view_str s) { return (struct str){(const char *)v + s.at, s.n}; }
