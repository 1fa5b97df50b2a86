/* Pod specs and the templates that hold them: what pods and all workload kinds share. */
#pragma once
#include "kinds/kinds.h"
#include "schema/ferr.h"

void podspec_default(struct pool *p, struct json *spec); /* image pull policies, volumes without a source */
void podspec_validate(const struct json *spec, const struct fpath *at, struct err **e);
/* A pod template of a workload: labels, spec, and that selector (a LabelSelector; NULL: not checked) matches the labels. */
void podtemplate_validate(struct pool *p, const struct json *tmpl, const struct json *selector, const struct fpath *at, struct err **e);
void podtemplate_always(const struct json *tmpl, const struct fpath *at, struct err **e); /* restartPolicy must be Always */
/* Requests as the scheduler counts them: containers and sidecars summed, each init container at its peak, overhead added. */
struct pod_requests {
    int64_t cpu_milli, memory, storage;
};
struct pod_requests podspec_requests(const struct json *spec);
uint8_t podspec_qos(const struct json *spec); /* 0 BestEffort, 1 Burstable, 2 Guaranteed */
const char *podspec_qos_name(uint8_t qos);
/* "ConfigMap/ns/name", "Secret/ns/name" and "PersistentVolumeClaim/ns/name" of everything that the pod names, and the claims that its generic
 * ephemeral volumes will have. */
void podspec_refs(struct str ns, struct str pod, const struct json *spec, struct obj_index *out);
bool podspec_is_sidecar(const struct json *container);
/* int or percent fields; shared by rollout strategies. */
void int_or_percent_validate(const struct json *v, const struct fpath *at, bool max100, struct err **e);
int64_t int_or_percent_value(const struct json *v); /* the number, whichever it is; 0 when absent */
void labels_validate(const struct json *map, const struct fpath *at, struct err **e);
void selector_validate(const struct json *sel, const struct fpath *at, struct err **e);
void podspec_validate_security(const struct json *spec, const struct fpath *at, struct err **e); /* podspec_security.c: part of podspec_validate */
