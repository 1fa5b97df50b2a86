/* One HTTP, TCP or gRPC action upon a pod, as probes and lifecycle hooks name it (core/v1 HTTPGetAction, TCPSocketAction, GRPCAction): the address, the named port, the request and
 * its outcome. It knows nothing of thresholds, periods or what an outcome means for the container; probe.c and hook.c do.
 *
 * As the kubelet does it (pkg/probe and pkg/kubelet/lifecycle of Kubernetes): no certificate is checked; a redirect to the same host is followed, ten at most, one to another host is an
 * answer; of a body no more than 10 KiB is read. gRPC is grpc.health.v1.Health/Check over HTTP/2 without TLS.
 *
 * One loop, one thread. done is called once, never from within action_start; afterwards the action is gone. The handler's tree must live as long as the action. */
#pragma once
#include "gate/impl.h"

struct action;
struct action_result {
    const char *error;   /* it could not be reached or answered nonsense; NULL: it answered */
    int status;          /* of HTTP; 0 else */
    bool good;           /* HTTP: 200 to 399; TCP: connected; gRPC: SERVING */
    bool redirected;     /* HTTP: good only because it points to another host */
    struct str body;     /* of HTTP, its beginning; valid during the call */
};
struct action_spec {
    struct gpod *gp;
    const struct json *con;       /* the container, for named ports */
    const struct json *handler;   /* has httpGet, tcpSocket or grpc */
    int64_t timeout;              /* ns, for a connection to come about; the whole is the caller's to bound with action_cancel */
    const char *agent;            /* User-Agent, as "kube-probe/1.36" */
};
struct action *action_start(const struct action_spec *s, void (*done)(void *arg, const struct action_result *r), void *arg);
void action_cancel(struct action *a); /* NULL is fine; done is not called any more */
