/* --kubelet-arg key=value, as K3s has it: there is no kubelet inside, but what these arguments of its mean to a node's pods is honoured under the same names. An argument that is not in the
 * table is refused with a line that says so; none is taken without effect. Source: Kubernetes' "kubelet" command line reference. */
#pragma once
#include "supervisor/options.h"

/* Reads all of them into o->settings, o->static_pods and o->unsafe_sysctls. ERR_USAGE names the argument. */
int kubelet_args(struct options *o, struct err **e) _must_check_;
