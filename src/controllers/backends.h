/* Which pods stand behind which Services: shared by the EndpointSlice and the Endpoints controller. Inside the room. */
#pragma once
#include "controllers/ctl.h"

#define BACKENDS_PORTS 64
struct backend_port {
    struct str name, protocol, app_protocol;
    int64_t port;
};
struct backend {
    const struct obj *pod;
    struct str ip, node, zone, hostname; /* hostname: absent unless the Service names the pod */
    bool ready, serving, terminating;
    struct backend_port *ports;
    size_t nports;
};
struct service {
    const struct obj *o;
    struct json *tree, *spec;
    struct selector sel;
    bool headless, publish_all;
};
/* The Services' selectors, by namespace, as the controller last saw them: what a changed pod is matched against. */
struct services;
int services_start(struct ctl *c, struct err **e);
void services_stop(struct ctl *c);
void services_on_service(struct ctl *c, const struct change *ch);
void services_on_pod(struct ctl *c, const struct change *ch); /* adds the Services whose backends it changes */

/* false: no selector (somebody else writes the endpoints), ExternalName, or no Service. */
bool service_read(struct sync *s, const struct obj *o, struct service *out, struct err **e);
/* All pods behind it in one address family, with their ports. */
struct backend *service_backends(struct sync *s, const struct service *svc, bool ipv6, size_t *n);
