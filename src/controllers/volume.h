/* Volumes and claims: which fits which. Inside the room; volume*.c only. */
#pragma once
#include "controllers/ctl.h"
#include "kinds/claim.h"

#define ANN_BOUND_BY "pv.kubernetes.io/bound-by-controller"
#define ANN_BIND_COMPLETED "pv.kubernetes.io/bind-completed"
#define ANN_PROVISIONED_BY "pv.kubernetes.io/provisioned-by"
#define ANN_SELECTED_NODE "volume.kubernetes.io/selected-node"

struct claim {
    struct sync *s;
    const struct obj *o;
    struct json *tree, *spec;
    struct str class, volume, selected_node;
    const struct json *class_tree; /* NULL: none of that name */
};
void claim_read(struct sync *s, const struct obj *o, struct claim *out);
/* The volume made for this claim, or else the smallest that fits; NULL: none. */
const struct obj *claim_find_volume(struct claim *c);
struct str annotation_of(const struct json *tree, const char *name);
