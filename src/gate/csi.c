#include "gate/csi.h"

#include <stdlib.h>

#include "base/file.h"
#include "crypto/hash.h"
#include "gate/csi_rpc.h"
#include "gate/csi_impl.h"

#define RETRY_FIRST (1 * NS_PER_S)
#define RETRY_MAX (120 * NS_PER_S)
#define REPUBLISH_NS (60 * NS_PER_S)
#define STATE_MAX (8u << 20)

/* ---- kept on disk ---- */

static void put_text(struct pool *p, struct json *o, const char *key, const char *value)
{
    json_set_str(p, o, str_of(key), str_of(value));
}

static void save(struct csi *s)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    _cleanup_(err_freep) struct err *e = NULL;
    struct json *doc = json_obj(p), *list = json_put_arr(p, doc, STR("volumes"));
    json_set_str(p, doc, STR("boot"), s->gate->hello.boot_id);
    map_for (&s->mounts, it) {
        const struct csi_mount *m = it->value;
        struct json *o = json_append(list, json_obj(p));
        const struct {
            const char *key, *value;
        } texts[] = {{"uid", m->uid}, {"volume", m->volume}, {"driver", m->driver}, {"handle", m->handle}, {"staging", m->staging},
            {"target", m->target}};
        for (size_t i = 0; i < ARRAY_LEN(texts); i++)
            put_text(p, o, texts[i].key, texts[i].value);
        if (m->state == CSI_PUBLISHED)
            put_text(p, o, "published", "yes");
    }
    json_write(&b, doc);
    if (file_replace(s->path, buf_str(&b), 0600, &e) < 0)
        log_error("CSI volumes: %s", err_msg(e));
}

static void mount_free(void *arg)
{
    struct csi_mount *m = arg;
    csi_call_cancel(m->call);
    if (m->asked)
        gate_forget(m->csi->gate, m->asked);
    timer_del(&m->retry);
    char *const texts[] = {m->key, m->uid, m->volume, m->driver, m->handle, m->staging, m->target, m->why, m->claim_ns, m->claim, m->size};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        free(texts[i]);
    struct buf *const requests[] = {&m->stage_request, &m->publish_request};
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) { /* secrets may stand in them */
        if (requests[i]->p)
            explicit_bzero(requests[i]->p, requests[i]->n);
        buf_clear(requests[i]);
    }
    free(m);
}

static struct csi_mount *mount_new(struct csi *s, struct str uid, struct str volume)
{
    struct csi_mount *m = xcalloc(1, sizeof *m);
    m->csi = s;
    m->uid = str_dup(uid);
    m->volume = str_dup(volume);
    m->key = xasprintf("%s/%s", m->uid, m->volume);
    map_put(&s->mounts, str_of(m->key), m);
    return m;
}

static void load(struct csi *s)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    _cleanup_(err_freep) struct err *e = NULL;
    struct json *doc;
    if (!file_exists(s->path))
        return;
    if (file_read(s->path, STATE_MAX, &b, &e) < 0 || json_parse(p, buf_str(&b), NULL, &doc, &e) < 0) {
        log_error("CSI volumes of earlier are not known: %s", err_msg(e));
        return;
    }
    s->boot = str_dup(json_get_str(doc, "boot"));
    json_for (json_get(doc, STR("volumes")), o) {
        struct csi_mount *m = mount_new(s, json_get_str(o, "uid"), json_get_str(o, "volume"));
        m->driver = str_dup(json_get_str(o, "driver"));
        m->handle = str_dup(json_get_str(o, "handle"));
        m->staging = str_dup(json_get_str(o, "staging"));
        m->target = str_dup(json_get_str(o, "target"));
        m->state = json_get_str(o, "published").n ? CSI_PUBLISHED : CSI_WAITING;
    }
}

/* Once node has said which start of the machine this is. */
static void check_boot(struct csi *s)
{
    if (!s->boot || !s->gate->hello.boot_id.n)
        return;
    if (!str_eqz(s->gate->hello.boot_id, s->boot))
        map_for (&s->mounts, it)
            ((struct csi_mount *)it->value)->state = CSI_WAITING;
    free(TAKE(s->boot));
}

/* ---- moves ---- */

static void step(struct csi_mount *m);

static struct gpod *pod_of(struct csi_mount *m)
{
    return pods_find(m->csi->gate, str_of(m->uid));
}

static void move(struct csi_mount *m, enum csi_state to)
{
    static const uint8_t from[] = {
        [CSI_WAITING] = 1 << CSI_STAGING | 1 << CSI_PUBLISHING,
        [CSI_STAGING] = 1 << CSI_WAITING,
        [CSI_PUBLISHING] = 1 << CSI_STAGING | 1 << CSI_WAITING,
        [CSI_PUBLISHED] = 1 << CSI_PUBLISHING,
        [CSI_UNPUBLISHING] = 1 << CSI_PUBLISHED | 1 << CSI_WAITING | 1 << CSI_STAGING | 1 << CSI_PUBLISHING,
        [CSI_UNSTAGING] = 1 << CSI_UNPUBLISHING,
    };
    if (!(from[to] & 1 << m->state))
        log_error("volume=%s: from state %d to %d", m->key, m->state, to);
    m->state = to;
}

static void on_retry(struct timer *t)
{
    struct csi_mount *m = container_of(t, struct csi_mount, retry);
    struct gpod *gp = pod_of(m);
    if (m->state >= CSI_UNPUBLISHING)
        step(m);
    else if (gp)
        gpod_dirty(gp); /* resolved anew: all that it depends on is looked at again */
}

static void failed(struct csi_mount *m, const char *what, const struct err *e)
{
    struct gpod *gp = pod_of(m);
    free(m->why);
    m->why = xasprintf("%s failed: %s", what, err_msg(e));
    m->delay = m->delay ? MIN(m->delay * 2, RETRY_MAX) : RETRY_FIRST;
    if (gp && m->state >= CSI_UNPUBLISHING)
        event_pod(gp, STR_NULL, true, "FailedUnMount", "UnmountVolume.TearDown failed for volume \"%s\": %s", m->volume, m->why);
    if (m->state < CSI_PUBLISHED) {
        if (m->state != CSI_WAITING)
            move(m, CSI_WAITING);
        if (gp)
            gpod_dirty(gp);
    }
    timer_in(m->csi->gate->loop, &m->retry, m->delay, on_retry);
}

static void finished(struct csi_mount *m)
{
    struct csi *s = m->csi;
    _cleanup_(freep) char *uid = xstrdup(m->uid);
    map_del(&s->mounts, str_of(m->key));
    mount_free(m);
    save(s);
    map_for (&s->mounts, it)
        if (strcmp(((struct csi_mount *)it->value)->uid, uid) == 0)
            return;
    pods_gone(s->gate, str_of(uid));
}

/* ---- folders, made by node ---- */

static void on_dir(void *arg, struct wire_msg *w)
{
    struct csi_mount *m = arg;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct node_reply r = {.code = ERR_UNAVAILABLE, .message = STR("the node process is away")};
    m->asked = 0;
    if (w && (w->type != NODE_REPLY || wire_decode(&node_reply_type, w->body, p, &r, NULL) < 0))
        r = (struct node_reply){ERR_INTERNAL, STR("node's answer cannot be read")};
    m->dir_done = r.code == 0;
    if (r.code) {
        err_set(&e, ERR_IO, "%.*s", STR_ARG(r.message));
        failed(m, "folder", e);
    } else {
        step(m);
    }
}

static void ask_dir(struct csi_mount *m, struct str path, bool remove)
{
    struct node_csi_dir x = {path, remove};
    m->asked = gate_ask(m->csi->gate, NODE_CSI_DIR, &node_csi_dir_type, &x, on_dir, m);
}

static struct str parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    return str_make(path, (size_t)(slash - path));
}

/* ---- calls ---- */

static void rpc(struct csi_mount *m, const struct csi_driver *d, const char *method, const struct buf *b,
    void (*done)(void *arg, const struct err *e, struct str answer))
{
    m->call = csi_call(m->csi->gate, d->endpoint, method, buf_str(b), done, m);
}

static void on_staged(void *arg, const struct err *e, struct str answer)
{
    struct csi_mount *m = arg;
    (void)answer;
    m->call = NULL;
    if (m->released) {
        csi_let_go(m);
    } else if (e) {
        failed(m, "NodeStageVolume", e);
    } else {
        m->staged = true;
        m->dir_done = false;
        move(m, CSI_PUBLISHING);
        step(m);
    }
}

static void on_again(struct timer *t)
{
    struct csi_mount *m = container_of(t, struct csi_mount, retry);
    struct gpod *gp = pod_of(m);
    if (gp)
        gpod_dirty(gp);
}

static void on_republished(void *arg, const struct err *e, struct str answer)
{
    struct csi_mount *m = arg;
    struct gpod *gp = pod_of(m);
    (void)answer;
    m->call = NULL;
    if (m->released) {
        csi_let_go(m);
        return;
    }
    if (e && gp) /* the pod goes on with what it has */
        event_pod(gp, STR_NULL, true, "FailedMount", "MountVolume.SetUp failed for volume \"%s\" : NodePublishVolume failed: %s", m->volume,
            err_msg(e));
    m->again_at = loop_now(m->csi->gate->loop) + REPUBLISH_NS;
    timer_in(m->csi->gate->loop, &m->retry, REPUBLISH_NS, on_again);
}

/* The claim's status is the last word of an expansion: until it shows the new size the volume counts as being resized. */
static void tell_size(struct csi_mount *m)
{
    struct gate *g = m->csi->gate;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *patch = json_obj(p), *status = json_put_obj(p, patch, STR("status")), *kept = json_put_arr(p, status, STR("conditions"));
    const struct json *claim = mirror_tree(g, p, "/persistentvolumeclaims", str_of(m->claim_ns), str_of(m->claim));
    json_set_str(p, json_put_obj(p, status, STR("capacity")), STR("storage"), str_of(m->size));
    json_for (json_path(claim, "status", "conditions", NULL), c) {
        struct str type = json_get_str(c, "type");
        if (!str_eqz(type, "FileSystemResizePending") && !str_eqz(type, "Resizing") && !str_eqz(type, "NodeResizeError"))
            json_append(kept, json_clone(p, c));
    }
    struct outbox_entry x = {
        .key = pool_printf(p, "size/%s/%s", m->claim_ns, m->claim),
        .method = STR("PATCH"),
        .path = pool_printf(p, "/api/v1/namespaces/%s/persistentvolumeclaims/%s/status", m->claim_ns, m->claim),
        .content_type = STR("application/merge-patch+json"),
        .body = json_to_pool(p, patch),
    };
    outbox_put(g->outbox, &x, 0);
}

static void on_expanded(void *arg, const struct err *e, struct str answer)
{
    struct csi_mount *m = arg;
    struct gpod *gp = pod_of(m);
    (void)answer;
    m->call = NULL;
    m->expand_at = loop_now(m->csi->gate->loop) + REPUBLISH_NS; /* by then the new status is here */
    if (!e)
        tell_size(m);
    if (gp && e)
        event_pod(gp, STR_NULL, true, "VolumeResizeFailed", "NodeExpandVolume.NodeExpandVolume failed for volume \"%s\" : %s", m->volume,
            err_msg(e));
    else if (gp)
        event_pod(gp, STR_NULL, false, "FileSystemResizeSuccessful", "MountVolume.NodeExpandVolume succeeded for volume \"%s\"", m->volume);
    if (m->released)
        csi_let_go(m);
    else if (e && !m->retry.loop)
        timer_in(m->csi->gate->loop, &m->retry, REPUBLISH_NS, on_again);
}

void csi_expand(struct csi_mount *m, const struct csi_driver *d, const struct csi_volume *v, struct str ns, struct str claim,
    struct str size, int64_t bytes)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    if (m->call || m->released || m->expand_at > loop_now(m->csi->gate->loop))
        return;
    char **const texts[] = {&m->claim_ns, &m->claim, &m->size};
    const struct str values[] = {ns, claim, size};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        free(*texts[i]);
        *texts[i] = str_dup(values[i]);
    }
    csi_write_expand(&b, v, bytes);
    rpc(m, d, "/csi.v1.Node/NodeExpandVolume", &b, on_expanded);
}

bool csi_wants_again(struct csi_mount *m, bool required)
{
    struct loop *l = m->csi->gate->loop;
    if (!required || m->call || m->released)
        return false;
    if (m->again_at > loop_now(l) && !m->retry.loop)
        timer_in(l, &m->retry, m->again_at - loop_now(l), on_again);
    return m->again_at <= loop_now(l);
}

static void on_published(void *arg, const struct err *e, struct str answer)
{
    struct csi_mount *m = arg;
    struct gpod *gp = pod_of(m);
    (void)answer;
    m->call = NULL;
    if (m->released) {
        csi_let_go(m);
        return;
    }
    if (e) {
        failed(m, "NodePublishVolume", e);
        return;
    }
    move(m, CSI_PUBLISHED);
    m->delay = 0;
    m->again_at = loop_now(m->csi->gate->loop) + REPUBLISH_NS;
    save(m->csi);
    if (gp)
        gpod_dirty(gp);
}

static void on_unpublished(void *arg, const struct err *e, struct str answer)
{
    struct csi_mount *m = arg;
    (void)answer;
    m->call = NULL;
    if (e) {
        failed(m, "NodeUnpublishVolume", e);
        return;
    }
    m->unpublished = true;
    m->dir_done = false;
    step(m);
}

static void on_unstaged(void *arg, const struct err *e, struct str answer)
{
    struct csi_mount *m = arg;
    (void)answer;
    m->call = NULL;
    if (e) {
        failed(m, "NodeUnstageVolume", e);
        return;
    }
    m->staged = false;
    m->unstaged = true;
    m->dir_done = false;
    step(m);
}

/* Somebody else of this node's has the same volume staged, or is about to. */
static bool shared(const struct csi_mount *m)
{
    map_for (&m->csi->mounts, it) {
        const struct csi_mount *x = it->value;
        if (x != m && strcmp(x->staging, m->staging) == 0 && x->state != CSI_UNSTAGING)
            return true;
    }
    return false;
}

/* What the pod's resolver has put together; it lives for this turn only, so staging and publishing keep the encoded requests. */
static void step_in(struct csi_mount *m, const struct csi_driver *d)
{
    if (m->state == CSI_STAGING && !m->dir_done)
        ask_dir(m, str_of(m->staging), false);
    else if (m->state == CSI_STAGING)
        rpc(m, d, "/csi.v1.Node/NodeStageVolume", &m->stage_request, on_staged);
    else if (m->state == CSI_PUBLISHING && !m->dir_done)
        ask_dir(m, parent(m->target), false);
    else if (m->state == CSI_PUBLISHING)
        rpc(m, d, "/csi.v1.Node/NodePublishVolume", &m->publish_request, on_published);
}

static void step_out(struct csi_mount *m, const struct csi_driver *d)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    if (m->state == CSI_UNPUBLISHING && !m->unpublished) {
        csi_write_unpublish(&b, str_of(m->handle), str_of(m->target));
        rpc(m, d, "/csi.v1.Node/NodeUnpublishVolume", &b, on_unpublished);
    } else if (m->state == CSI_UNPUBLISHING && !m->dir_done) {
        ask_dir(m, str_of(m->target), true);
    } else if (m->state == CSI_UNPUBLISHING && (!d->stages || !*m->staging || shared(m))) {
        finished(m);
    } else if (m->state == CSI_UNPUBLISHING) {
        move(m, CSI_UNSTAGING);
        step(m);
    } else if (!m->unstaged) {
        csi_write_unpublish(&b, str_of(m->handle), str_of(m->staging));
        rpc(m, d, "/csi.v1.Node/NodeUnstageVolume", &b, on_unstaged);
    } else if (!m->dir_done) {
        ask_dir(m, str_of(m->staging), true);
    } else {
        finished(m);
    }
}

static void step(struct csi_mount *m)
{
    const struct csi_driver *d = csi_driver(m->csi, str_of(m->driver));
    if (m->call || m->asked)
        return;
    if (m->released && m->state < CSI_UNPUBLISHING) {
        csi_let_go(m);
        return;
    }
    if (!d) {
        _cleanup_(err_freep) struct err *e = NULL;
        err_set(&e, ERR_UNAVAILABLE, "driver name %s not found in the list of registered CSI drivers", m->driver);
        failed(m, m->state >= CSI_UNPUBLISHING ? "unmounting" : "mounting", e);
    } else if (m->state < CSI_PUBLISHED) {
        step_in(m, d);
    } else if (m->state > CSI_PUBLISHED) {
        step_out(m, d);
    }
}

/* ---- release ---- */

void csi_let_go(struct csi_mount *m)
{
    m->released = true;
    if (m->call || m->asked)
        return; /* what is under way is told the end first */
    move(m, CSI_UNPUBLISHING);
    m->unpublished = m->dir_done = false;
    m->delay = 0;
    timer_del(&m->retry);
    step(m);
}

bool csi_release(struct gate *g, struct str uid)
{
    bool any = false;
    struct csi_mount *found[64];
    size_t n = 0;
    map_for (&g->csi->mounts, it) {
        struct csi_mount *m = it->value;
        if (!str_eqz(uid, m->uid))
            continue;
        any = true;
        if (!m->released && n < ARRAY_LEN(found))
            found[n++] = m;
    }
    for (size_t i = 0; i < n; i++)
        csi_let_go(found[i]);
    return any;
}

void csi_synced(struct gate *g)
{
    check_boot(g->csi);
    map_for (&g->csi->mounts, it) {
        struct csi_mount *m = it->value;
        struct node_pod_stop stop = {.uid = str_of(m->uid), .reason = STR("deleted")};
        if (!m->released && !pods_find(g, str_of(m->uid))) /* node answers that it is gone, now or when it is */
            wire_send(g->node, NODE_POD_STOP, 0, &node_pod_stop_type, &stop, NULL, 0);
    }
}

/* ---- from a pod's resolver ---- */

struct csi_mount *csi_mount_of(struct csi *s, struct str uid, struct str volume)
{
    char key[400];
    int n = snprintf(key, sizeof key, "%.*s/%.*s", STR_ARG(uid), STR_ARG(volume));
    check_boot(s);
    return n > 0 && (size_t)n < sizeof key ? map_get(&s->mounts, str_make(key, (size_t)n)) : NULL;
}

struct csi_mount *csi_mount_new(struct csi *s, struct str uid, struct str volume, struct str driver, const struct csi_volume *v)
{
    struct csi_mount *m = mount_new(s, uid, volume);
    m->driver = str_dup(driver);
    m->handle = str_dup(v->handle);
    m->staging = str_dup(v->staging);
    m->target = str_dup(v->target);
    save(s);
    return m;
}

void csi_begin(struct csi_mount *m, const struct csi_driver *d, const struct csi_volume *stage, const struct csi_volume *publish)
{
    bool again = m->state == CSI_PUBLISHED && !m->call && !m->released;
    if (!again && (m->state != CSI_WAITING || m->retry.loop || m->released))
        return;
    buf_reset(&m->stage_request);
    buf_reset(&m->publish_request);
    csi_write_stage(&m->stage_request, stage);
    csi_write_publish(&m->publish_request, publish);
    if (again) {
        m->again_at = loop_now(m->csi->gate->loop) + REPUBLISH_NS;
        rpc(m, d, "/csi.v1.Node/NodePublishVolume", &m->publish_request, on_republished);
        return;
    }
    m->dir_done = false;
    bool stages = d->stages && *m->staging;
    move(m, stages ? CSI_STAGING : CSI_PUBLISHING);
    step(m);
}

/* ---- start and end ---- */

int csi_open(struct gate *g, struct err **e)
{
    struct csi *s = g->csi = xcalloc(1, sizeof *s);
    (void)e;
    s->gate = g;
    s->path = xasprintf("%s/csi", g->o->state_dir);
    load(s);
    return 0;
}

void csi_close(struct gate *g)
{
    struct csi *s = TAKE(g->csi);
    if (!s)
        return;
    map_clear(&s->mounts, mount_free);
    csi_plugins_free(s);
    free(s->boot);
    free(s->path);
    free(s);
}
