/* What ReplicaSets and ReplicationControllers share: so many pods like this one. Inside the room. */
#pragma once
#include "controllers/ctl.h"

int replicas_sync(struct sync *s, enum ctl_resource kind, struct err **e);
/* On a change of a pod: its controller, and, for a pod without one, all that would adopt it. */
void replicas_on_pod(struct ctl *c, const struct change *ch, enum ctl_resource kind);
