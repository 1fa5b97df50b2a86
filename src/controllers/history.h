/* ControllerRevisions: the past templates of a StatefulSet or DaemonSet (after Kubernetes' pkg/controller/history). Inside the room. */
#pragma once
#include "controllers/ctl.h"

struct revision {
    const struct obj *o;
    struct json *tree;
    int64_t number;
    struct str hash; /* label controller-revision-hash */
};
struct history {
    struct revision *list;
    size_t n;                /* by number, lowest first */
    struct revision *update; /* the one of the present template */
    int64_t collisions;      /* for status.collisionCount */
};
/* Finds, makes or renumbers the revision of the present template. full_name: the label carries the revision's whole name (StatefulSets). */
int history_sync(struct sync *s, enum ctl_resource kind, const struct obj *owner, const struct json *tree, const struct selector *sel,
    bool full_name, struct history *out, struct err **e) _must_check_;
struct revision *history_named(struct history *h, struct str name);
struct json *history_template(struct sync *s, const struct revision *r); /* of spec.template; a copy */
/* Removes the oldest beyond spec.revisionHistoryLimit that `live` does not name. */
int history_trim(struct sync *s, struct history *h, int64_t limit, const struct str *live, size_t nlive, struct err **e) _must_check_;
