/* Requests from above, inside the room: the paths that kubelets serve, as the api room asks for them (api/node_stream.c).
 *
 *     /containerLogs/{namespace}/{pod}/{container}     logs.c      /pods, /healthz                      serve.c
 *     /exec/{namespace}/{pod}[/{uid}]/{container}      exec.c      /stats/summary, /metrics...          stats.c
 *     /attach/...                                      attach.c    /proxy/{scheme}/{address}/{port}/... proxy.c
 *     /portForward/{namespace}/{pod}[/{uid}]           forward.c   /stats/usage                          usage.c
 *
 * Who may ask was decided above (RBAC on pods/exec and so on). A header sampan-pod-uid says which pod is meant: a newer one of the same
 * name is not found. Errors are plain text in the kubelet's words, since people and tools match on them.
 */
#pragma once
#include "gate/impl.h"

struct target {
    struct gpod *pod;
    struct str container; /* in the request's pool; absent when the path has none */
};

void serve_fail(struct http_req *rq, int status, const char *fmt, ...) _printf_(3, 4); /* a plain text answer */
bool serve_flag(const struct http_req *rq, const char *name); /* a query parameter that says yes: "1", "true", "" */
/* node's state of a container; NULL when node has said nothing of it. */
const struct node_container_state *serve_state(const struct gpod *gp, struct str container);

/* Each answers rq in every case. */
void serve_logs(struct gate *g, struct http_req *rq, const struct target *t);
void serve_exec(struct gate *g, struct http_req *rq, const struct target *t);
void serve_attach(struct gate *g, struct http_req *rq, const struct target *t);
void serve_forward(struct gate *g, struct http_req *rq, const struct target *t);
enum stats_form { STATS_SUMMARY, STATS_METRICS, STATS_CADVISOR };
void serve_stats(struct gate *g, struct http_req *rq, enum stats_form form);
void serve_own_metrics(struct gate *g, struct http_req *rq);
/* What containers use now, as rates (usage.c): what metrics.k8s.io is made of. */
void serve_usage(struct gate *g, struct http_req *rq);
void serve_proxy(struct gate *g, struct http_req *rq, struct str rest); /* "{scheme}/{address}/{port}/{path}" */
