/* HorizontalPodAutoscaler (autoscaling/v2; kube-controller-manager's pkg/controller/podautoscaler): hpa.c reads and writes the scale,
 * hpa_metrics.c says how many replicas each metric wants, hpa_rules.c how fast one may go there. Inside the room; hpa*.c only.
 *
 * Every 15 seconds, per autoscaler: read the scale, ask for the figures, propose, stabilise, write. Figures come from the metrics APIs
 * (metrics.k8s.io, custom.metrics.k8s.io, external.metrics.k8s.io) through the api's own path as user horizontal-pod-autoscaler, so that
 * whoever serves them need not be known here. An answer may take a while: the key is put on the queue again when the last one has come.
 */
#pragma once
#include "controllers/ctl.h"

#define HPA_PERIOD (15 * NS_PER_S)
#define HPA_STABLE_S 300 /* --horizontal-pod-autoscaler-downscale-stabilization */
enum { HPA_SAMPLES = 256, HPA_METRICS = 32 };

struct hpa_sample { /* a recommendation, or a change made */
    int64_t when, n;
};
struct hpa_samples { /* newest last; the oldest is dropped when it is full */
    struct hpa_sample at[HPA_SAMPLES];
    size_t n;
};
struct hpa;
struct hpa_answer {
    bool asked, come;
    struct pool *pool;
    struct json *doc; /* a list of figures; NULL: failed */
    char *error;
};
struct hpa {
    struct ctl *ctl;
    char *key;
    int64_t next;   /* not before, unless the object changed */
    uint64_t spec;  /* hash of the spec that was worked on last */
    char *selector; /* of its target */
    struct hpa_samples wished, ups, downs;
    struct hpa_answer answers[HPA_METRICS]; /* by place in spec.metrics */
    size_t waiting;
    bool gone; /* free it when the last answer has come */
};
struct hpa_turn { /* one look at an autoscaler */
    struct sync *s;
    struct hpa *h;
    const struct obj *o;
    struct json *tree, *spec, *status, *conditions, *scale;
    int64_t replicas, status_replicas, min, max; /* of the scale; the bounds */
    struct selector selector;
    struct obj_array pods; /* that the selector matches */
    double tolerance_up, tolerance_down;
};

void hpa_condition(struct hpa_turn *t, const char *type, bool status, const char *reason, struct str message);
/* Asks for the figures of all metrics. Nothing to wait for: h->waiting is 0 afterwards. */
void hpa_ask(struct hpa_turn *t);
void hpa_forget_answers(struct hpa *h);
/* What the metrics want together: the largest proposal, -1 when nothing can be said (*e set). *name: of the metric that decided. Adds to
 * currentMetrics. Some metrics may fail while others decide: *partly is then set. */
int64_t hpa_propose(struct hpa_turn *t, struct json *current, struct str *name, bool *partly, struct err **e);
/* Within the bounds and rates; sets AbleToScale and ScalingLimited. */
int64_t hpa_limit(struct hpa_turn *t, int64_t wished);
void hpa_note_change(struct hpa_turn *t, int64_t to);
void hpa_free(struct hpa *h);
