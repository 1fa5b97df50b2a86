/* The node process (root): runs pods. Speaks node/proto.h with gate over one socket; knows nothing of Kubernetes' API, HTTP or images'
 * registries. */
#pragma once
#include "base/clock.h"
#include "base/err.h"

struct node_options {
    const char *data_dir;      /* <data-dir>/agent: state, images, volumes live below it */
    const char *run_dir;       /* sockets and mounts that need not survive a reboot: /run/sampan */
    const char *kubelet_dir;   /* where node plugins expect the kubelet: /var/lib/kubelet; NULL: none are looked for */
    int gate_fd;               /* the socket to gate, from the supervisor; a new one comes over broker_fd when gate was restarted */
    int broker_fd;             /* wire to the supervisor, or -1 */
    const char *image_user;    /* unprivileged user for the helper that parses layers: "sampan" */
};
/* Runs until told to stop (SIGTERM: containers keep running). Returns the exit code. */
int node_main(const struct node_options *o);
