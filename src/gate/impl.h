/* Inside the room. One loop, one thread. The files:
 *
 *   gate.c       start, the wire to node, what comes from node, the turn in which changes are worked off
 *   cluster.c    the uplink to the cluster: dialling, joining, calls; the Node object, its status and lease
 *   pods.c       which pods should run; what was told to node; deletion; reports to the outbox
 *   resolve.c    a Pod and what it names → struct node_pod            (pure)
 *   volumes.c    its volumes                                          (pure)
 *   storage.c    this node's volumes of the class local-path whose claims are gone
 *   csi*.c       CSI node plugins: registration, and volumes that they publish
 *   status.c     a Pod, node's state of it, probes → PodStatus        (pure)
 *   probe.c      probes: timers, exec; readiness
 *   action.c     one HTTP, TCP or gRPC action, of a probe or a hook
 *   hook.c       lifecycle hooks over HTTP, which node asks for
 *   tokens.c     ServiceAccount tokens: asked for, kept sealed, renewed
 *   events.c     Events
 *   services.c   Services and EndpointSlices → NODE_SERVICES and the names in dns; other nodes → NODE_PEERS
 *   policies.c   NetworkPolicies → NODE_POLICIES
 *   names.c      the dns room's sockets and feeding
 *   serve.c      requests from above: logs (logs.c), exec and attach (exec.c), port-forward (forward.c), health
 *   pull.c       images: what a container waits for, back-off (pull_try.c one attempt, pull_blob.c one blob, registry*.c the registry, registries_yaml.c mirrors)
 *   connect.c    the hub's requests to a Kubernetes API
 */
#pragma once
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "crypto/key.h"
#include "crypto/seal.h"
#include "gate/gate.h"
#include "http/http.h"
#include "json/json.h"
#include "node/proto.h"
#include "uplink/uplink.h"

struct probes;      /* probe.c: of one pod */
struct services;    /* services.c */
struct policies;    /* policies.c */
struct names;       /* names.c */
struct tokens;      /* tokens.c */
struct node_link;   /* cluster.c: registration state */
struct serve;       /* serve.c */
struct events;      /* events.c */
struct pulls;       /* pull.c */
struct storage;     /* storage.c */
struct csi;         /* csi.c */
struct image_want;  /* pull.c: of one container */
struct resize;      /* resize.c */
struct usage;       /* usage.c: earlier looks at what containers use */

/* A pod that should run here, or that node still has. Keyed by uid. */
struct gpod {
    struct gate *gate;
    struct str uid, ns, name;       /* owned */
    struct bytes *object;           /* the Pod as the mirror has it; NULL: it is gone there, node is clearing up */
    struct pool *tree_pool;         /* tree of object, parsed when first needed */
    struct json *tree;
    struct bytes *sent;             /* the NODE_POD last sent, encoded; NULL: none since node (re)connected */
    bool deleting, stop_sent, gone; /* deletionTimestamp is set; NODE_POD_STOP was sent; NODE_POD_GONE came */
    int64_t stop_grace;
    bool wants_ip;                  /* its address is part of what node is told: resolved anew when it is known */
    bool dirty, report;             /* to be resolved anew; status to be composed anew */
    struct pool *state_pool;        /* of state */
    struct node_pod_state *state;   /* as node last told; NULL: nothing yet */
    struct bytes *reported;         /* the status last put into the outbox */
    struct probes *probes;
    struct list hooks;              /* under way; of hook.c */
    struct resize *resize;          /* of resize.c: what containers had when a wish could not be granted; NULL: spec.resources count */
    bool is_static;                 /* static.c: from a manifest of this node's; uid is its hash */
    struct str mirror_uid;          /* owned; of the pod that stands for it at the cluster; empty: there is none now */
    int64_t mirror_asked;           /* when it was last to be made, clock_mono; 0: never */
    char *refused, *refused_why;    /* admit.c: this node will not run it: reason and message; NULL: it may run */
    struct timer retry;             /* waiting for a token or an image: looked at again */
    unsigned tries;                 /* that failed, since the last that did not */
    struct image_want *wants;       /* of its containers; pull.c's */
};

/* What a request to node waits for. */
struct node_wait { void (*fn)(void *arg, struct wire_msg *m); void *arg; }; /* m NULL: node went away */

struct gate {
    const struct gate_options *o;
    struct loop *loop;
    struct clock *clock;
    struct seal *seal;
    struct key *key;
    /* node */
    struct wire *node, *broker;
    uint64_t next_id;
    struct map waits;               /* id as text → struct node_wait */
    struct pool *hello_pool;
    struct node_hello hello;        /* cpus 0: has not said hello */
    struct node_pressure pressure;
    struct pool *paths_pool;        /* of paths */
    struct node_paths paths;        /* ways to other nodes, as node found them */
    struct pool *images_pool;
    struct node_images images;
    bool images_known, synced;
    /* cluster */
    struct mirror *mirror;
    struct outbox *outbox;
    struct uplink *uplink;
    struct node_link *link;
    /* work */
    struct map pods;                /* uid → struct gpod */
    struct defer turn;
    bool all_dirty, services_dirty, names_dirty, peers_dirty, config_dirty, storage_dirty;
    char pod_cidr[64], host_ip[64]; /* of this node; empty: not known yet */
    struct services *services;
    struct policies *policies;
    struct names *names;
    struct tokens *tokens;
    struct serve *serve;
    struct events *events;
    struct pulls *pulls;
    struct storage *storage;
    struct csi *csi;
    struct usage *usage;
    struct statics *statics;
    struct facts *facts;            /* facts.c: what the cluster said of itself; o points into it */
    int code;
};

/* gate.c */
void gate_turn(struct gate *g);                       /* works off what is marked dirty, at the end of this turn */
/* Sends a request to node; fn comes once with the reply (of whatever type), or with NULL. Returns the id. */
uint64_t gate_ask(struct gate *g, uint16_t type, const struct wire_type *t, const void *msg, void (*fn)(void *arg, struct wire_msg *m), void *arg);
void gate_forget(struct gate *g, uint64_t id);        /* the answer is not wanted any more */
void gate_keep(struct gate *g, uint64_t id, void (*fn)(void *arg, struct wire_msg *m), void *arg); /* wait on for another message of the same id (NODE_EXEC_DONE) */

int64_t gate_max_pods(const struct gate *g);

/* cluster.c */
int cluster_start(struct gate *g, struct err **e) _must_check_;
void cluster_stop(struct gate *g);
void cluster_node_changed(struct gate *g);            /* hello, images or addresses changed: report */
void cluster_hello(struct gate *g);                   /* node said hello: register if that is still to be done */
const struct json *cluster_node_tree(struct gate *g, struct pool *p); /* our Node as mirrored, or NULL */

/* pods.c */
void pods_mirror_change(struct gate *g, struct str key, const struct mirror_item *before, const struct mirror_item *after);
void pods_load(struct gate *g);                       /* from the mirror, at start */
void pods_work(struct gate *g);                       /* resolve and send what is dirty, report what changed */
void pods_state(struct gate *g, struct wire_msg *m);  /* NODE_POD_STATE */
void pods_gone(struct gate *g, struct str uid);       /* NODE_POD_GONE */
void pods_node_restarted(struct gate *g);             /* everything is to be sent again */
struct gpod *pods_find(struct gate *g, struct str uid);
struct gpod *pods_find_name(struct gate *g, struct str ns, struct str name);
struct json *gpod_tree(struct gpod *p);               /* parsed object; NULL when gone */
void gpod_dirty(struct gpod *p);                      /* resolve anew (a token came, an image came) */
void gpod_report(struct gpod *p);                     /* status anew (a probe's result) */
void pods_free(struct gate *g);
bool gpod_serving(const struct gpod *p, bool *ready); /* has an address; *ready: its Ready condition, by node's own truth */
struct str gpod_ip(const struct gpod *p);            /* as node told it; absent when none */

/* resolve.c: everything is looked up in the mirror. 0; ERR_UNAVAILABLE: something is not there yet (*e names it: the pod waits, an Event says why); ERR_INVALID: it can never run so.
 * out's strings live in pool or in the mirror's bytes (valid within this turn). */
int resolve_pod(struct gate *g, struct gpod *gp, struct pool *pool, struct node_pod *out, struct err **e) _must_check_;
/* The image as node listed it last, by any of its names, name@digest or id; NULL: it is not here. */
const struct node_image *gate_image(struct gate *g, struct pool *p, struct str ref);
struct str pod_qos(const struct json *spec);           /* Guaranteed, Burstable, BestEffort */
/* volumes.c */
int resolve_volumes(struct gate *g, struct gpod *gp, struct pool *pool, struct node_pod *out, struct err **e) _must_check_;
/* The value of fieldRef ("metadata.name", "status.podIP", "metadata.labels['x']"); kind says whether node has to fill it in. */
int resolve_field(struct gate *g, const struct json *pod, struct str path, struct pool *pool, struct str *value, uint64_t *env_kind, struct err **e) _must_check_;
int resolve_resource(struct gate *g, const struct json *pod, struct str container, struct str resource, struct str divisor, struct pool *pool, struct str *value, struct err **e) _must_check_;
/* An object of the mirror as a tree, e.g. mirror_tree(g, pool, "/configmaps", ns, name); NULL when absent. */
struct json *mirror_tree(struct gate *g, struct pool *pool, const char *resource, struct str ns, struct str name);

/* storage.c */
void storage_open(struct gate *g);
void storage_close(struct gate *g);
void storage_mirror_change(struct gate *g, struct str key, bool gone); /* a PersistentVolume */
void storage_work(struct gate *g);                     /* once node knows which pods are still to come */
bool storage_ours(const struct json *pv);             /* made by our own provisioner */

/* status.c: the whole status object, or NULL when node has said nothing of this pod and there is nothing to say. */
struct json *status_compose(struct gate *g, struct gpod *gp, struct pool *pool);
bool status_pod_ready(const struct json *status);

/* probe.c */
void probes_update(struct gpod *gp);                  /* after a new state or spec: starts and stops probes of containers that run or no longer do */
void probes_free(struct probes *p);
bool probes_ready(const struct gpod *gp, struct str container);    /* readiness; true when it has none and the container runs */
bool probes_started(const struct gpod *gp, struct str container);  /* startup; true when it has none */

/* facts.c: the cluster's ranges, names' address and domain, from flags, from the server, from disk. */
struct facts;
void facts_open(struct gate *g);
void facts_close(struct gate *g);
void facts_ask(struct gate *g);                       /* the link is back */
void facts_cancel(struct gate *g);                    /* the uplink is about to go */

/* static.c: pods from a folder of manifests, and their mirrors at the cluster. */
struct statics;
int statics_open(struct gate *g, struct err **e) _must_check_;
void statics_close(struct gate *g);
void statics_mirror(struct gate *g, const struct mirror_item *before, const struct mirror_item *after); /* a mirror pod came, changed or went */
void statics_drop_mirror(struct gpod *p);             /* its pod goes, or becomes another */
bool statics_is_mirror(const struct mirror_item *it);
void statics_work(struct gate *g);                    /* makes mirrors that are missing */
bool statics_waits(const struct gpod *gp);            /* an older version of it is not gone yet */
struct gpod *pods_put_static(struct gate *g, struct str uid, struct str ns, struct str name, struct bytes *object);
void pods_drop_static(struct gpod *p);
struct str gpod_api_uid(const struct gpod *p);        /* the uid that the cluster knows it by */

/* admit.c: what this node refuses to run, before anything of it has begun. true: gp->refused says why, and the pod is Failed. */
bool pod_refused(struct gpod *gp);

/* resize.c: in-place resize. A wish that the node cannot grant leaves what was granted before in force. */
struct resize;
void resize_judge(struct gpod *gp);                   /* anew: at each resolving */
const struct json *resize_resources(struct gpod *gp, const struct json *container); /* those that count now */
void resize_conditions(struct gpod *gp, struct pool *p, struct json *list);         /* PodResizePending, PodResizeInProgress */
void resize_free(struct resize *r);
void cluster_allocatable(const struct gate *g, int64_t *cpu_milli, int64_t *memory);

/* facts.c: the cluster's ranges, names' address and domain, from flags, from the server, from disk. */
struct facts;
void facts_open(struct gate *g);
void facts_close(struct gate *g);
void facts_ask(struct gate *g);                       /* the link is back */
void facts_cancel(struct gate *g);                    /* the uplink is about to go */

/* static.c: pods from a folder of manifests, and their mirrors at the cluster. */
struct statics;
int statics_open(struct gate *g, struct err **e) _must_check_;
void statics_close(struct gate *g);
void statics_mirror(struct gate *g, const struct mirror_item *before, const struct mirror_item *after); /* a mirror pod came, changed or went */
void statics_drop_mirror(struct gpod *p);             /* its pod goes, or becomes another */
bool statics_is_mirror(const struct mirror_item *it);
void statics_work(struct gate *g);                    /* makes mirrors that are missing */
bool statics_waits(const struct gpod *gp);            /* an older version of it is not gone yet */
struct gpod *pods_put_static(struct gate *g, struct str uid, struct str ns, struct str name, struct bytes *object);
void pods_drop_static(struct gpod *p);
struct str gpod_api_uid(const struct gpod *p);        /* the uid that the cluster knows it by */

/* admit.c: what this node refuses to run, before anything of it has begun. true: gp->refused says why, and the pod is Failed. */
bool pod_refused(struct gpod *gp);

/* resize.c: in-place resize. A wish that the node cannot grant leaves what was granted before in force. */
void resize_judge(struct gpod *gp);                   /* anew: at each resolving */
bool resize_waits(const struct gpod *gp);             /* deferred: judged again when other pods have changed */
const struct json *resize_resources(struct gpod *gp, const struct json *container); /* those that count now */
/* Into the status of a container: what it was granted and what it has. before: the status told last. */
void resize_status(struct gpod *gp, struct pool *p, const struct json *container, const struct json *before, struct json *to);
/* The condition that stands now, if one does: its type, reason and message. */
bool resize_condition(struct gpod *gp, const struct json *before, const char **type, const char **reason, struct str *message);
void resize_free(struct resize *r);
void cluster_allocatable(const struct gate *g, int64_t *cpu_milli, int64_t *memory);

/* hook.c */
void hook_ask(struct gate *g, struct wire_msg *m);    /* NODE_HOOK */
void hooks_forget(struct gpod *gp);                   /* the pod goes, or node does */

void usage_free(struct usage *u);                     /* usage.c */

/* tokens.c */
int tokens_open(struct gate *g, struct err **e) _must_check_;
void tokens_close(struct gate *g);
/* The token for a projected volume. ERR_UNAVAILABLE: none is there yet; it was asked for, and gpod_dirty is called when it comes. A stale one is given while a newer is asked for. */
int tokens_get(struct gate *g, struct gpod *gp, struct str service_account, struct str audience, int64_t expiration_s, struct pool *pool, struct str *token, struct err **e) _must_check_;

void tokens_connected(struct gate *g);                /* the link is back */

/* events.c: reason and message as the kubelet's. */
void event_pod(struct gpod *gp, struct str container, bool warning, const char *reason, const char *fmt, ...) _printf_(5, 6);
struct events *events_new(void);
void events_free(struct events *ev);
void event_node(struct gate *g, bool warning, const char *reason, const char *fmt, ...) _printf_(4, 5);

/* services.c */
int services_open(struct gate *g, struct err **e) _must_check_;
void services_close(struct gate *g);
void services_mirror_change(struct gate *g, struct str key); /* a Service or EndpointSlice */
void services_work(struct gate *g);                   /* sends differences to node, feeds names */
void services_node_restarted(struct gate *g);
void peers_work(struct gate *g);

/* policies.c */
void policies_open(struct gate *g);
void policies_close(struct gate *g);
void policies_mirror_change(struct gate *g, struct str key);
void policies_pod_changed(struct gate *g);            /* node told something new of a pod: perhaps its address */
void policies_node_restarted(struct gate *g);
void policies_work(struct gate *g);                   /* before pods_work: rules go to node before the pods they are for */
bool policies_select(struct gate *g, struct str uid); /* a policy selects that pod, as of the last policies_work */

/* names.c */
int names_open(struct gate *g, struct err **e) _must_check_;
void names_close(struct gate *g);
void names_extra(struct gate *g);                      /* hosts and stub domains anew, from the mirror */
void names_node_ready(struct gate *g);                /* node can hand over sockets */

/* serve.c */
void serve_request(struct http_req *rq, void *gate);  /* from above */
/* connect.c */
struct connect;
int connect_open(struct gate *g, struct connect **out, struct err **e) _must_check_;
void connect_close(struct connect *c);
