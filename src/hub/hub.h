/* The hub: one cloud manager of many clusters. It is the api process with the hub's kinds (management.cattle.io/v3) and, beside them, what this room adds:
 *
 *   registration   a Cluster object gets a namespace of its name and a ClusterRegistrationToken in it, whose status holds the token (clusters.c);
 *   uplinks        clusters dial in at UPLINK_PATH and prove their key; a token binds the first key that redeems it to its cluster, later that key is
 *                  enough (links.c). The binding stands in the Cluster's annotation HUB_KEY_ANNOTATION;
 *   state          the Cluster's conditions Connected and Ready follow its uplink, with LastSeen and why (clusters.c);
 *   proxy          /k8s/clusters/<id>/... goes down the uplink as the user who asked, renamed hub:<user> and hub:<group>: never system:* (proxy.c).
 *
 * Threads: uplinks and proxied requests live on the I/O loops; clusters.c on the control loop. The table of links has a lock.
 */
#pragma once
#include "api/api.h"

#define HUB_KEY_ANNOTATION "sampan.io/uplink-key"
#define HUB_PREFIX "hub:"

struct hub;
/* state_dir: an existing folder of the hub's own, for its identity key. public_url: how clusters reach the hub, for the commands in registration tokens. Registers the routes: before api_start. */
int hub_new(struct api *api, const char *state_dir, struct str public_url, struct hub **out, struct err **e) _must_check_;
/* fn on the control loop, once, when a first start has made the admin user and that is durable. Before hub_start. */
void hub_on_first(struct hub *h, void (*fn)(void *arg, struct str password), void *arg);
int hub_start(struct hub *h, struct loop *control, struct err **e) _must_check_;   /* on the control loop's thread */
void hub_stop(struct hub *h);                                                      /* the same; before the control loop goes */
void hub_free(struct hub *h);                                                      /* when no loop runs any more */
