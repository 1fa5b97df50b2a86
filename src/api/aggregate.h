/* Aggregated API servers: an APIService that names a Service hands a group version over to it (kube-aggregator).
 *
 * Each such APIService is probed on the control loop (its discovery document, every half minute, and soon after a change of APIServices);
 * what came of it is its Available condition, and the document goes into this server's own discovery. Requests for the group version are
 * authenticated and authorised here and then passed on with the user in X-Remote-User, -Group, -Uid and -Extra-* under a client certificate
 * of the request-header CA, which the ConfigMap kube-system/extension-apiserver-authentication tells to whoever should trust it. Group
 * versions that this server serves itself stay its own.
 */
#pragma once
#include "api/call.h"

struct aggregates;
int aggregate_start(struct api *a, struct err **e) _must_check_;
void aggregate_free(struct aggregates *g);
/* Is the request for an aggregated group version? (Also its discovery and OpenAPI v3 documents.) */
bool aggregate_wants(struct call *c);
int aggregate_proxy(struct call *c, struct err **e) _must_check_; /* CALL_WAIT: handed over */
/* fn for each group version that is available and not served here, with its APIResourceList; the newest documents. */
void aggregate_each(struct api *a, void (*fn)(void *arg, struct str group, struct str version, const struct json *resources), void *arg);
