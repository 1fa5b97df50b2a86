/* ReplicationControllers: ReplicaSets with an older selector. */
#include "controllers/replicas.h"

static void on_pod(struct ctl *c, const struct change *ch)
{
    replicas_on_pod(c, ch, R_RCS);
}
static int sync(struct sync *s, struct err **e)
{
    return replicas_sync(s, R_RCS, e);
}

const struct controller replication_controller = {
    .name = "replication",
    .account = "replication-controller",
    .watches = {{R_RCS, ctl_add_change}, {R_PODS, on_pod}},
    .sync = sync,
};
