/* The table of controllers, and what turns changes in the store into keys on their queues. */
#include "controllers/controllers.h"
#include <stdlib.h>
#include "controllers/ctl.h"
#include "controllers/inner.h"

static const struct controller *const rows[] = {
    &namespace_controller,
    &serviceaccount_controller,
    &root_ca_controller,
    &garbage_controller,
    &deployment_controller,
    &replicaset_controller,
    &replication_controller,
    &statefulset_controller,
    &daemonset_controller,
    &job_controller,
    &endpointslice_controller,
    &endpoints_controller,
    &node_controller,
    &taint_controller,
    &podgc_controller,
    &cronjob_controller,
    &disruption_controller,
    &aggregation_controller,
    &csr_approving_controller,
    &csr_signing_controller,
    &ttl_after_finished_controller,
    &quota_controller,
    &claim_protection_controller,
    &volume_protection_controller,
    &volume_controller,
    &ephemeral_controller,
    &localpath_controller,
    &mirroring_controller,
    &servicelb_controller,
    &manifests_controller,
    &hpa_controller,
    &attach_controller,
    &csr_cleaner_controller,
    &token_cleaner_controller,
    &service_cidr_controller,
    &ip_address_controller,
};

const struct ctl_res ctl_resources[R_RESOURCES] = {
    [R_PODS] = {"", "v1", "pods", "Pod"},
    [R_NODES] = {"", "v1", "nodes", "Node"},
    [R_NAMESPACES] = {"", "v1", "namespaces", "Namespace"},
    [R_SERVICES] = {"", "v1", "services", "Service"},
    [R_ENDPOINTS] = {"", "v1", "endpoints", "Endpoints"},
    [R_CONFIGMAPS] = {"", "v1", "configmaps", "ConfigMap"},
    [R_SECRETS] = {"", "v1", "secrets", "Secret"},
    [R_SERVICEACCOUNTS] = {"", "v1", "serviceaccounts", "ServiceAccount"},
    [R_RCS] = {"", "v1", "replicationcontrollers", "ReplicationController"},
    [R_PVCS] = {"", "v1", "persistentvolumeclaims", "PersistentVolumeClaim"},
    [R_PVS] = {"", "v1", "persistentvolumes", "PersistentVolume"},
    [R_QUOTAS] = {"", "v1", "resourcequotas", "ResourceQuota"},
    [R_DEPLOYMENTS] = {"apps", "v1", "deployments", "Deployment"},
    [R_REPLICASETS] = {"apps", "v1", "replicasets", "ReplicaSet"},
    [R_STATEFULSETS] = {"apps", "v1", "statefulsets", "StatefulSet"},
    [R_DAEMONSETS] = {"apps", "v1", "daemonsets", "DaemonSet"},
    [R_REVISIONS] = {"apps", "v1", "controllerrevisions", "ControllerRevision"},
    [R_JOBS] = {"batch", "v1", "jobs", "Job"},
    [R_CRONJOBS] = {"batch", "v1", "cronjobs", "CronJob"},
    [R_SLICES] = {"discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"},
    [R_LEASES] = {"coordination.k8s.io", "v1", "leases", "Lease"},
    [R_PDBS] = {"policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget"},
    [R_CLUSTERROLES] = {"rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole"},
    [R_CLASSES] = {"storage.k8s.io", "v1", "storageclasses", "StorageClass"},
    [R_CSRS] = {"certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest"},
    [R_ADDONS] = {"k3s.cattle.io", "v1", "addons", "Addon"},
    [R_HPAS] = {"autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"},
    [R_ATTACHMENTS] = {"storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment"},
    [R_CSINODES] = {"storage.k8s.io", "v1", "csinodes", "CSINode"},
    [R_CSIDRIVERS] = {"storage.k8s.io", "v1", "csidrivers", "CSIDriver"},
    [R_CIDRS] = {"networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR"},
    [R_ADDRESSES] = {"networking.k8s.io", "v1", "ipaddresses", "IPAddress"},
    [R_DEVICE_CLAIMS] = {"resource.k8s.io", "v1", "resourceclaims", "ResourceClaim"},
    [R_DEVICE_TEMPLATES] = {"resource.k8s.io", "v1", "resourceclaimtemplates", "ResourceClaimTemplate"},
};

/* ---- timers on the site clock ---- */

struct due {
    int64_t when;
    struct ctl *ctl;
    struct str key; /* behind this struct */
    size_t at;
};
enum { SLEEP_MAX_S = 600 }; /* the site clock may jump forward (a hub's time arrives): look again now and then while something is due */

static void heap_put(struct controllers *cs, size_t i, struct due *d)
{
    cs->heap[i] = d;
    d->at = i;
}

static void heap_up(struct controllers *cs, struct due *d)
{
    size_t i = d->at;
    for (; i > 0 && cs->heap[(i - 1) / 2]->when > d->when; i = (i - 1) / 2)
        heap_put(cs, i, cs->heap[(i - 1) / 2]);
    heap_put(cs, i, d);
}

static void heap_down(struct controllers *cs, struct due *d)
{
    size_t i = d->at;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= cs->nheap)
            break;
        if (child + 1 < cs->nheap && cs->heap[child + 1]->when < cs->heap[child]->when)
            child++;
        if (cs->heap[child]->when >= d->when)
            break;
        heap_put(cs, i, cs->heap[child]);
        i = child;
    }
    heap_put(cs, i, d);
}

static struct str due_name(struct buf *b, const struct ctl *c, struct str key)
{
    buf_reset(b);
    buf_puts(b, c->row->name);
    buf_putc(b, ' ');
    buf_str_add(b, key);
    return buf_str(b);
}

static void on_timer(struct timer *t)
{
    controllers_tick(container_of(t, struct controllers, timer));
}

static void arm(struct controllers *cs)
{
    if (!cs->nheap) {
        timer_del(&cs->timer);
        return;
    }
    int64_t in = cs->heap[0]->when - clock_now(cs->cfg.clock);
    timer_in(cs->cfg.loop, &cs->timer, MIN(MAX(in, NS_PER_MS), SLEEP_MAX_S * NS_PER_S), on_timer);
}

void ctl_add_at(struct ctl *c, struct str key, int64_t when)
{
    struct controllers *cs = c->all;
    struct buf name = BUF_INIT;
    struct due *d = map_get(&cs->due, due_name(&name, c, key));
    if (!d) {
        d = xmalloc(sizeof *d + key.n + 1);
        *d = (struct due){.when = INT64_MAX, .ctl = c, .key = {(char *)(d + 1), key.n}, .at = cs->nheap};
        memcpy(d + 1, key.p, key.n);
        map_put(&cs->due, buf_str(&name), d);
        if (cs->nheap == cs->heap_cap) {
            cs->heap_cap = cs->heap_cap ? cs->heap_cap * 2 : 64;
            cs->heap = xrealloc(cs->heap, cs->heap_cap * sizeof *cs->heap);
        }
        cs->heap[cs->nheap++] = d;
    }
    buf_clear(&name);
    if (when < d->when) {
        d->when = when;
        heap_up(cs, d);
        arm(cs);
    }
}

void controllers_tick(struct controllers *cs)
{
    struct buf name = BUF_INIT;
    while (cs->nheap && cs->heap[0]->when <= clock_now(cs->cfg.clock)) {
        struct due *d = cs->heap[0], *last = cs->heap[--cs->nheap];
        if (last != d) {
            last->at = 0;
            heap_down(cs, last);
        }
        map_del(&cs->due, due_name(&name, d->ctl, d->key));
        ctl_add_raw(d->ctl, d->key);
        free(d);
    }
    buf_clear(&name);
    arm(cs);
}

/* ---- changes ---- */

static struct str orphan_name(struct buf *b, const struct obj *o)
{
    buf_reset(b);
    buf_printf(b, "%.*s/", STR_ARG(store_res_name(o->res)));
    buf_printf(b, "%.*s/%.*s", STR_ARG(o->ns), STR_ARG(o->name));
    return buf_str(b);
}

/* Pods, ReplicaSets and revisions without a controller: the few that somebody may adopt. */
static void track_orphan(struct controllers *cs, const struct change *ch)
{
    const struct obj *o = ch->obj;
    if (o->res != cs->res[R_PODS] && o->res != cs->res[R_REPLICASETS] && o->res != cs->res[R_REVISIONS])
        return;
    bool was = ch->before && !obj_controller(ch->before), is = !ch->gone && !obj_controller(o);
    if (!was && !is)
        return;
    struct buf b = BUF_INIT;
    struct str name = orphan_name(&b, o);
    struct obj *old = map_del(&cs->orphans, name);
    if (is)
        map_put(&cs->orphans, name, obj_ref(o));
    obj_unref(old);
    buf_clear(&b);
}

static void deliver(struct controllers *cs, const struct change *ch)
{
    track_orphan(cs, ch);
    for (size_t i = 0; i < cs->nctls; i++)
        for (const struct ctl_watch *w = cs->ctls[i].row->watches; w->fn; w++)
            if (w->res == R_ANY || cs->res[w->res] == ch->obj->res)
                w->fn(&cs->ctls[i], ch);
}

static void drop_orphan(void *o)
{
    obj_unref(o);
}

/* Looks at everything that stands, as if it had just appeared, and watches from there on. */
static int look_anew(struct controllers *cs, struct err **e)
{
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(cs->store);
    bool any = false;
    store_watch_close(TAKE(cs->watch));
    int r = store_watch_open(cs->store, NULL, view_rev(v), 0, cs->cfg.loop, controllers_on_notify, cs, &cs->watch, e);
    if (r < 0)
        return r;
    map_clear(&cs->orphans, drop_orphan);
    for (size_t i = 0; i < cs->nctls; i++)
        for (const struct ctl_watch *w = cs->ctls[i].row->watches; w->fn; w++)
            any |= w->res == R_ANY;
    for (size_t i = 0; i < R_RESOURCES; i++) {
        struct store_iter it;
        if (!cs->res[i])
            continue;
        iter_start(&it, v, cs->res[i], STR(""), STR_NULL, STR_NULL);
        for (const struct obj *o; (o = iter_next(&it));)
            deliver(cs, &(struct change){.obj = o});
    }
    if (any)
        controllers_look_at_others(cs, v);
    return 0;
}

/* Resources beyond the table, for those who watch all (the garbage collector). */
void controllers_look_at_others(struct controllers *cs, struct store_view *v)
{
    struct schema *schema = api_schema_ref(cs->cfg.api);
    const struct schema_resource *r;
    for (size_t i = 0; (r = schema_at(schema, i)); i++) {
        struct store_res *res = store_find(cs->store, r->storage);
        struct store_iter it;
        bool known = !res || !str_eq(r->version, r->storage_version);
        for (size_t k = 0; k < R_RESOURCES && !known; k++)
            known = cs->res[k] == res;
        if (known)
            continue;
        iter_start(&it, v, res, STR(""), STR_NULL, STR_NULL);
        for (const struct obj *o; (o = iter_next(&it));)
            deliver(cs, &(struct change){.obj = o});
    }
    schema_unref(schema);
}

enum { SLICE = 512 }; /* events per turn, so that queues and timers get theirs */

static void on_defer(struct defer *d)
{
    controllers_on_notify(container_of(d, struct controllers, defer));
}

void controllers_on_notify(void *arg)
{
    struct controllers *cs = arg;
    for (int i = 0; i < SLICE; i++) {
        struct err *e = NULL;
        struct store_event *ev = store_watch_next(cs->watch, &e);
        bool anew = e || (ev && ev->type == STORE_RESYNC);
        err_free(e);
        if (!anew && !ev)
            return;
        if (!anew)
            deliver(cs, &(struct change){.obj = ev->obj, .before = ev->before, .gone = ev->type == STORE_DELETE});
        store_event_unref(ev);
        if (anew) {
            struct err *e2 = NULL;
            if (look_anew(cs, &e2) < 0)
                log_error("controllers: cannot watch the store: %s", err_msg(e2));
            err_free(e2);
            return;
        }
    }
    loop_defer(cs->cfg.loop, &cs->defer, on_defer);
}

/* ---- life ---- */

static bool wanted(const struct controllers_config *cfg, const struct controller *row)
{
    struct str rest = str_of(cfg->only), one;
    if (!cfg->only)
        return true;
    while (str_split(&rest, ',', &one))
        if (str_eqz(one, row->name))
            return true;
    return false;
}

static int start_one(struct controllers *cs, const struct controller *row, struct err **e)
{
    static const struct str groups[] = {
        {"system:serviceaccounts", 22}, {"system:serviceaccounts:kube-system", 34}, {"system:authenticated", 20}, {"system:masters", 14}};
    struct ctl *c = &cs->ctls[cs->nctls];
    *c = (struct ctl){.row = row, .all = cs, .api = cs->cfg.api, .store = cs->store, .loop = cs->cfg.loop, .clock = cs->cfg.clock};
    c->user_name = xasprintf("system:serviceaccount:kube-system:%s", row->account);
    c->user = (struct api_user){.name = str_of(c->user_name), .groups = groups, .ngroups = ARRAY_LEN(groups) - !row->master};
    c->queue = queue_new(c->loop, row->name, 16, sync_run, c);
    cs->nctls++;
    return row->start ? row->start(c, e) : 0;
}

int controllers_start(const struct controllers_config *cfg, struct controllers **out, struct err **e)
{
    _cleanup_(controllers_stopp) struct controllers *cs = xcalloc(1, sizeof *cs);
    int r = 0;
    cs->cfg = *cfg;
    cs->store = api_store(cfg->api);
    cs->ctls = xcalloc(ARRAY_LEN(rows), sizeof *cs->ctls);
    for (size_t i = 0; i < R_RESOURCES; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s/%s", ctl_resources[i].group, ctl_resources[i].resource);
        cs->res[i] = store_find(cs->store, str_of(name));
    }
    for (size_t i = 0; i < ARRAY_LEN(rows) && r == 0; i++)
        if (wanted(cfg, rows[i]))
            r = start_one(cs, rows[i], e);
    if (r == 0)
        r = look_anew(cs, e);
    if (r < 0)
        return err_wrap(e, "controllers");
    *out = TAKE(cs);
    return 0;
}

void controllers_free(struct controllers *cs)
{
    for (size_t i = 0; i < cs->nctls; i++)
        free(cs->ctls[i].user_name);
    free(cs->ctls);
    free(cs);
}

void controllers_stop(struct controllers *cs)
{
    if (!cs)
        return;
    store_watch_close(cs->watch);
    defer_del(cs->cfg.loop, &cs->defer);
    timer_del(&cs->timer);
    for (size_t i = 0; i < cs->nctls; i++) {
        struct ctl *c = &cs->ctls[i];
        if (c->row->stop)
            c->row->stop(c);
        queue_free(c->queue);
    }
    map_clear(&cs->orphans, drop_orphan);
    map_clear(&cs->due, free);
    free(cs->heap);
    cs->stopping = true;
    if (!cs->flying)
        controllers_free(cs);
}

size_t controllers_busy(const struct controllers *cs)
{
    size_t n = 0;
    for (size_t i = 0; i < cs->nctls; i++)
        n += queue_len(cs->ctls[i].queue);
    return n;
}
