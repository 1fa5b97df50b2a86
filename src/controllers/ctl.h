/* What a controller's file builds on. Inside the room only.
 *
 *   struct controller   a row of the table: name, what it watches, how it syncs a key
 *   struct ctl          the controller while it runs: its queue, its user
 *   struct sync         one key in hand: a pool, the store as it stands, and the writes that it makes
 *
 * A sync is straight-line code. A write is usually applied when the call returns (0); if it has to wait (a webhook), the call returns
 * SYNC_WAITS, and the key stays in hand until the write has ended, so that no second sync of the same key sees half of it. What fails is
 * told to the caller, who returns it: the key is then tried again with back-off.
 */
#pragma once
#include "base/log.h"
#include "base/map.h"
#include "base/queue.h"
#include "controllers/controllers.h"
#include "kinds/pod.h"
#include "schema/selector.h"

enum ctl_resource {
    R_PODS,
    R_NODES,
    R_NAMESPACES,
    R_SERVICES,
    R_ENDPOINTS,
    R_CONFIGMAPS,
    R_SECRETS,
    R_SERVICEACCOUNTS,
    R_RCS,
    R_PVCS,
    R_PVS,
    R_QUOTAS,
    R_DEPLOYMENTS,
    R_REPLICASETS,
    R_STATEFULSETS,
    R_DAEMONSETS,
    R_REVISIONS,
    R_JOBS,
    R_CRONJOBS,
    R_SLICES,
    R_LEASES,
    R_PDBS,
    R_CLUSTERROLES,
    R_CSRS,
    R_CLASSES,
    R_ADDONS,
    R_HPAS,
    R_ATTACHMENTS,
    R_CSINODES,
    R_CSIDRIVERS,
    R_CIDRS,
    R_ADDRESSES,
    R_DEVICE_CLAIMS,
    R_DEVICE_TEMPLATES,
    R_RESOURCES,
    R_ANY = R_RESOURCES /* in a watch: every resource */
};
struct ctl_res {
    const char *group, *version, *resource, *kind;
};
extern const struct ctl_res ctl_resources[R_RESOURCES];

struct ctl;
struct sync;
/* A change: before is NULL for what is new (or when everything is looked at anew); gone: obj is the last state. */
struct change {
    const struct obj *obj, *before;
    bool gone;
};
struct ctl_watch {
    enum ctl_resource res;
    void (*fn)(struct ctl *c, const struct change *ch);
};
#define CTL_WATCHES 8
struct controller {
    const char *name;    /* for logs and queues: "deployment" */
    const char *account; /* "deployment-controller", in kube-system; also the events' component unless set */
    const char *component;
    struct ctl_watch watches[CTL_WATCHES];
    int (*sync)(struct sync *s, struct err **e); /* 0 or an error: back off and try again */
    int (*start)(struct ctl *c, struct err **e); /* may be NULL */
    void (*stop)(struct ctl *c);
    bool master; /* acts as a member of system:masters: for what applies other people's objects of any kind */
};

struct ctl {
    const struct controller *row;
    struct controllers *all;
    struct api *api;
    struct store *store;
    struct loop *loop;
    struct clock *clock;
    struct queue *queue;
    struct api_user user;
    char *user_name;
    void *state; /* the controller's own; start makes it, stop frees it */
};

struct sync {
    struct ctl *ctl;
    struct str key, ns, name; /* "ns/name"; cluster-scoped: "name" with an empty ns */
    struct pool *pool;
    struct store_view *view;
    int64_t now; /* site time */
    int waiting;
    bool failed, returned;
};
#define SYNC_WAITS 1

/* The rows. */
extern const struct controller deployment_controller, replicaset_controller, replication_controller, statefulset_controller,
    daemonset_controller, job_controller, cronjob_controller, namespace_controller, serviceaccount_controller, root_ca_controller,
    garbage_controller, endpointslice_controller, endpoints_controller, node_controller, taint_controller, podgc_controller,
    disruption_controller, quota_controller, aggregation_controller, csr_approving_controller, csr_signing_controller,
    ttl_after_finished_controller, claim_protection_controller, volume_protection_controller, volume_controller, ephemeral_controller,
    localpath_controller,
    mirroring_controller, manifests_controller, hpa_controller, attach_controller, csr_cleaner_controller, token_cleaner_controller, service_cidr_controller,
    ip_address_controller, servicelb_controller;

/* ---- keys ---- */
void ctl_add(struct ctl *c, const struct obj *o); /* its key */
void ctl_add_key(struct ctl *c, struct str ns, struct str name);
void ctl_add_raw(struct ctl *c, struct str key);
void ctl_add_at(struct ctl *c, struct str key, int64_t when); /* at that site time; the earlier of two wins */
void ctl_add_change(struct ctl *c, const struct change *ch);  /* as a watch's fn: the changed object itself */
/* The controlling owner, if it is of that kind; also the one before, when it changed. */
void ctl_add_owner(struct ctl *c, const struct change *ch, enum ctl_resource owner);
static inline void sync_again_at(struct sync *s, int64_t when)
{
    ctl_add_at(s->ctl, s->key, when);
}

/* ---- reading ---- */
struct store_res *ctl_store_res(struct ctl *c, enum ctl_resource r);
bool obj_is(struct ctl *c, const struct obj *o, enum ctl_resource r);
const struct obj *sync_get(struct sync *s, enum ctl_resource r, struct str ns, struct str name); /* borrowed from the sync's view */
const struct obj *sync_self(struct sync *s, enum ctl_resource r);                                /* the key's object */
struct json *sync_tree(struct sync *s, const struct obj *o); /* parsed into the sync's pool; changing it changes nothing else */
void sync_fresh(struct sync *s);                             /* looks at the store anew: own writes appear */
struct obj_array {
    const struct obj **p;
    size_t n, cap;
};
void array_add(struct pool *p, struct obj_array *a, const struct obj *o);
struct obj_array sync_list(struct sync *s, enum ctl_resource r, struct str ns);
struct obj_array sync_owned(struct sync *s, enum ctl_resource r, struct str uid); /* whose controller has that uid */
struct obj_array sync_indexed(struct sync *s, enum ctl_resource r, struct str index, struct str key);
/* Objects of a namespace that nobody controls and that match: candidates for adoption. */
struct obj_array sync_orphans(struct sync *s, enum ctl_resource r, struct str ns, const struct selector *sel);
bool obj_matches(const struct obj *o, const struct selector *sel);

/* ---- writing ---- 0: applied; SYNC_WAITS: on its way; negative: refused, with *e. *out, if asked for, is held by the sync's pool; NULL
 * unless applied. */
int sync_create(struct sync *s, enum ctl_resource r, struct str ns, struct json *body, const struct obj **out, struct err **e) _must_check_;
int sync_update(struct sync *s, enum ctl_resource r, const struct obj *o, const char *sub, struct json *tree, const struct obj **out,
    struct err **e) _must_check_;
/* Merge patch; conditional on the uid. */
int sync_patch(struct sync *s, enum ctl_resource r, const struct obj *o, const char *sub, struct json *patch, const struct obj **out,
    struct err **e) _must_check_;
int sync_patch_strategic(
    struct sync *s, enum ctl_resource r, const struct obj *o, const char *sub, struct json *patch, struct err **e) _must_check_;
/* Deletes that very object (uid). Gone already is fine. propagation may be NULL. */
int sync_delete(struct sync *s, const struct obj *o, const char *propagation, struct err **e) _must_check_;
int sync_delete_now(struct sync *s, const struct obj *o, struct err **e) _must_check_; /* without grace: for pods whose node is gone */
/* A call about an object of whatever resource, for those who handle all alike. */
struct api_call sync_call_about(struct sync *s, const struct obj *o, enum api_verb verb);
/* The general form: everything but pool and user filled in. */
int sync_call(struct sync *s, struct api_call *c, const struct obj **out, struct err **e) _must_check_;
/* Writes the status when it differs from what stands in tree; status replaces it. 1: nothing to write. */
int sync_status(
    struct sync *s, enum ctl_resource r, const struct obj *o, struct json *tree, struct json *status, struct err **e) _must_check_;
/* The same for calls that answer with a document (a scale, a list of figures); *tree lives in the sync's pool. */
int sync_call_tree(struct sync *s, struct api_call *c, struct json **tree, struct err **e) _must_check_;
bool err_is(struct err **e, enum err_code code); /* frees and clears *e when it has that code */
void ctl_event(struct ctl *c, enum ctl_resource r, const struct obj *about, bool warning, const char *reason, const char *fmt, ...)
    _printf_(6, 7);

/* ---- small things that several controllers need (owners.c, conditions.c, pods.c) ---- */
struct json *owner_ref(struct pool *p, enum ctl_resource kind, const struct obj *owner, bool controller);
/* Takes o under owner's control, or lets it go; 0 or an error. A pod that is gone or taken by another is fine. */
int sync_adopt(
    struct sync *s, enum ctl_resource r, const struct obj *o, enum ctl_resource kind, const struct obj *owner, struct err **e) _must_check_;
int sync_release(struct sync *s, enum ctl_resource r, const struct obj *o, struct str owner_uid, struct err **e) _must_check_;
/* Those of r that owner controls, after adopting matching orphans and letting go of what matches no longer (Kubernetes'
 * ControllerRefManager). */
int sync_claim(struct sync *s, enum ctl_resource r, enum ctl_resource kind, const struct obj *owner, const struct selector *sel,
    struct obj_array *out, struct err **e) _must_check_;

struct json *time_json(struct pool *p, int64_t ns); /* metav1.Time */
int64_t time_of(struct str s);                      /* 0 when absent or malformed */
struct json *condition_find(const struct json *conditions, struct str type);
/* Sets a condition in the array: lastTransitionTime changes with the status only. Returns whether anything changed. */
bool condition_set(struct pool *p, struct json *conditions, const char *type, const char *status, const char *reason, struct str message,
    int64_t now, bool with_update_time);
bool condition_del(struct json *conditions, struct str type);

static inline const struct pod_view *pod_view_of(const struct obj *o)
{
    return o->view && o->nview >= sizeof(struct pod_view) ? o->view : NULL;
}
enum pod_phase pod_phase_of(const struct obj *o);
bool pod_ready(const struct obj *o);
bool pod_active(const struct obj *o); /* neither finished nor being deleted */
struct str pod_node(const struct obj *o);
/* Ready for min_ready_ns. Otherwise *again is lowered to the time when it would be. */
bool pod_available(struct sync *s, const struct obj *o, int64_t min_ready_ns, int64_t *again);
/* A pod from a template, owned by owner, named <prefix>-xxxxx unless name is given. */
struct json *pod_from_template(
    struct sync *s, const struct json *template, enum ctl_resource kind, const struct obj *owner, struct str name);
/* Creates it and records SuccessfulCreate or FailedCreate on the owner. */
int sync_create_pod(
    struct sync *s, struct json *pod, enum ctl_resource kind, const struct obj *owner, const struct obj **out, struct err **e) _must_check_;
/* Deletes it and records SuccessfulDelete or FailedDelete on the owner. */
int sync_delete_pod(struct sync *s, const struct obj *pod, enum ctl_resource kind, const struct obj *owner, struct err **e) _must_check_;
/* Orders pods so that those to delete first come first (Kubernetes' ActivePodsWithRanks). related: the number of related pods on each pod's
 * node. */
void pods_rank(struct sync *s, struct obj_array *pods, struct obj_array related);
bool template_equal(const struct json *a, const struct json *b);                           /* but for the label pod-template-hash */
struct str template_hash(struct pool *p, const struct json *template, int64_t collisions); /* eight to ten letters safe in names */
void json_sorted(struct buf *b, const struct json *j); /* compact, members by key: the same bytes for equal documents */
/* nodes.c */
struct node_traits traits_of(const struct obj *node);
bool taints_tolerated(const struct json *node, const struct json *tolerations, const char *effect);
bool node_selected(const struct obj *node, const struct json *pod_spec); /* nodeSelector and required node affinity */
/* maxSurge and such: an int, or a percentage of total. false: neither. */
bool int_or_percent(const struct json *j, int64_t total, bool up, int64_t *out);
