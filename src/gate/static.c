/* Static pods, as the kubelet has them (pkg/kubelet/config/file.go and pkg/kubelet/pod/mirror_client.go of Kubernetes): each file of a folder holds one Pod, in YAML or JSON, which this
 * node runs whether there is a cluster or not. Its uid is the hash of what it says, so that a changed file is another pod: the old one ends before the new one begins. For each stands
 * a mirror pod at the cluster, made by us, that shows it; who deletes the mirror deletes nothing, and it is made again.
 *
 * The folder is watched; a file that cannot be read as a Pod is told in the log, once for each of its contents, and changes nothing else. Files are read with the
 * rights of this process: what root alone may read is not run. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "crypto/hash.h"
#include "gate/impl.h"
#include "kinds/kinds.h"
#include "schema/schema.h"
#include "yaml/yaml.h"

#define FILE_MAX (1u << 20)
#define FILES_MAX 256
#define UID_LEN 32
#define ASK_NS (20 * NS_PER_S)
#define SETTLE_NS (200 * NS_PER_MS)
#define MIRROR "kubernetes.io/config.mirror"

struct statics {
    struct gate *gate;
    struct watch watch;
    struct timer settle;
    struct map told;       /* file → hash of the contents that were complained about */
    bool kinds;            /* the tables' hooks are linked */
};

/* ---- a file ---- */

static int check(const struct json *pod, struct err **e)
{
    struct str name = json_str_at(pod, "metadata", "name", NULL);
    if (!str_eqz(json_get_str(pod, "kind"), "Pod") || !str_eqz(json_get_str(pod, "apiVersion"), "v1"))
        return err_set(e, ERR_INVALID, "it is no v1 Pod");
    if (!name.n || name.n > 200)
        return err_set(e, ERR_INVALID, "metadata.name is missing or too long");
    return json_count(json_path(pod, "spec", "containers", NULL)) ? 0 : err_set(e, ERR_INVALID, "spec.containers is missing");
}

/* Defaults and checks are the API's own: the tables and hooks of the kind. */
static int complete(struct gate *g, struct pool *p, struct json *pod, struct err **e)
{
    _cleanup_(schema_unrefp) struct schema *s = schema_builtin();
    struct schema_notes notes = {0};
    if (!g->statics->kinds)
        kinds_attach();
    g->statics->kinds = true;
    const struct schema_resource *r = schema_find(s, STR(""), STR("v1"), STR("pods"));
    struct kind_ctx ctx = {.pool = p, .res = r, .now = clock_now(g->clock)};
    if (schema_decode(r, r->type, p, pod, &notes, e) < 0)
        return -(int)(*e)->code;
    if (notes.n)
        return err_set(e, ERR_INVALID, "%.*s", STR_ARG(notes.items[0]));
    kind_default(&ctx, pod);
    return kind_validate(&ctx, pod, NULL, e);
}

static void dress(struct gate *g, struct pool *p, struct json *pod, const char *uid)
{
    char now[TIME_MAX];
    struct json *meta = json_put_obj(p, pod, STR("metadata")), *spec = json_put_obj(p, pod, STR("spec")), *notes = json_get(meta, STR("annotations"));
    struct str name = json_get_str(meta, "name");
    json_set_str(p, meta, STR("name"), pool_printf(p, "%.*s-%s", STR_ARG(name), g->o->node_name));
    if (!json_get_str(meta, "namespace").n)
        json_set_str(p, meta, STR("namespace"), STR("default"));
    json_set_str(p, meta, STR("uid"), str_of(uid));
    if (!notes)
        notes = json_put_obj(p, meta, STR("annotations"));
    json_set_str(p, notes, STR("kubernetes.io/config.hash"), str_of(uid));
    json_set_str(p, notes, STR("kubernetes.io/config.seen"), pool_str(p, time_format(clock_now(g->clock), now)));
    json_set_str(p, notes, STR("kubernetes.io/config.source"), STR("file"));
    json_set_str(p, spec, STR("nodeName"), str_of(g->o->node_name));
    struct json *list = json_get(spec, STR("tolerations")), *t = json_obj(p);
    json_set_str(p, t, STR("operator"), STR("Exists"));
    json_set_str(p, t, STR("effect"), STR("NoExecute"));
    json_append(list ? list : json_put_arr(p, spec, STR("tolerations")), t);
}

/* The pod of one file, as bytes, with its place. NULL: it is none; *e says why. */
static struct bytes *read_pod(struct gate *g, struct pool *p, struct str text, char uid[UID_LEN + 1], struct str *ns, struct str *name, struct err **e)
{
    struct json *pod;
    char hex[HASH_HEX + 1];
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    hash_sha256_hex(pool_printf(p, "%s\n%.*s", g->o->node_name, STR_ARG(text)), hex);
    snprintf(uid, UID_LEN + 1, "%.*s", UID_LEN, hex);
    if (yaml_parse_one(p, text, NULL, &pod, e) < 0 || check(pod, e) < 0)
        return NULL;
    dress(g, p, pod, uid);
    if (complete(g, p, pod, e) < 0)
        return NULL;
    *ns = json_str_at(pod, "metadata", "namespace", NULL);
    *name = json_str_at(pod, "metadata", "name", NULL);
    json_write(&b, pod);
    return buf_to_bytes(&b);
}

/* ---- the folder ---- */

static void complain(struct statics *s, const char *file, const char *uid, const char *why)
{
    const char *last = map_get(&s->told, str_of(file));
    if (last && strcmp(last, uid) == 0)
        return;
    free(map_put(&s->told, str_of(file), xstrdup(uid)));
    log_warn("static pod %s: %s", file, why);
}

static void take_file(struct gate *g, const char *name, struct map *seen)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", g->o->static_pods, name);
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(buf_clear) struct buf text = BUF_INIT;
    _cleanup_(err_freep) struct err *e = NULL;
    char uid[UID_LEN + 1] = "";
    struct str ns, pod;
    struct stat st;
    if (name[0] == '.' || stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return;
    struct bytes *object = file_read(path, FILE_MAX, &text, &e) < 0 ? NULL : read_pod(g, p, buf_str(&text), uid, &ns, &pod, &e);
    if (!object) {
        complain(g->statics, name, uid, err_msg(e));
        return;
    }
    map_put(seen, str_of(uid), g);
    if (!pods_find(g, str_of(uid)))
        pods_put_static(g, str_of(uid), ns, pod, object);
    bytes_unref(object);
}

static void scan(struct gate *g)
{
    struct map seen = {0};
    size_t n = 0;
    DIR *d = opendir(g->o->static_pods);
    if (!d && errno != ENOENT)
        log_warn("static pods: %s: %s", g->o->static_pods, strerror(errno));
    for (struct dirent *x; d && (x = readdir(d)) && n++ < FILES_MAX;)
        take_file(g, x->d_name, &seen);
    if (d)
        closedir(d);
    bool more = d != NULL; /* a folder that cannot be read says nothing of its pods */
    while (more) {
        more = false;
        map_for(&g->pods, it) {
            struct gpod *gp = it->value;
            if (!gp->is_static || !gp->object || map_get(&seen, gp->uid))
                continue;
            pods_drop_static(gp);
            more = true;
            break; /* the map may have changed */
        }
    }
    map_clear(&seen, NULL);
    gate_turn(g);
}

static void on_settled(struct timer *t)
{
    scan(container_of(t, struct statics, settle)->gate);
}

static void on_change(struct watch *w, uint32_t events)
{
    struct statics *s = container_of(w, struct statics, watch);
    char chunk[4096];
    (void)events;
    while (read(w->fd, chunk, sizeof chunk) > 0)
        ;
    timer_in(s->gate->loop, &s->settle, SETTLE_NS, on_settled); /* a file is often written in several steps */
}

int statics_open(struct gate *g, struct err **e)
{
    if (!g->o->static_pods)
        return 0;
    struct statics *s = g->statics = xcalloc(1, sizeof *s);
    s->gate = g;
    s->watch.fd = -1;
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fd < 0 || inotify_add_watch(fd, g->o->static_pods, IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE) < 0) {
        log_warn("static pods: %s cannot be watched: %s", g->o->static_pods, strerror(errno));
        closep(&fd);
    } else if (watch_add(g->loop, &s->watch, fd, EPOLLIN, on_change, e) < 0) {
        close(fd);
        return -(int)(*e)->code;
    }
    scan(g);
    return 0;
}

void statics_close(struct gate *g)
{
    struct statics *s = TAKE(g->statics);
    if (!s)
        return;
    watch_del(&s->watch);
    closep(&s->watch.fd);
    timer_del(&s->settle);
    map_clear(&s->told, free);
    free(s);
}

bool statics_waits(const struct gpod *gp)
{
    if (!gp->is_static)
        return false;
    map_for(&gp->gate->pods, it) {
        const struct gpod *x = it->value;
        if (x != gp && x->is_static && !x->object && !x->gone && str_eq(x->ns, gp->ns) && str_eq(x->name, gp->name))
            return true;
    }
    return false;
}

/* ---- mirrors ---- */

bool statics_is_mirror(const struct mirror_item *it)
{
    return it && str_find(bytes_str(it->bytes), STR("\"" MIRROR "\"")) >= 0;
}

static struct gpod *of_mirror(struct gate *g, struct str key)
{
    struct str rest = str_sub(key, sizeof "/pods/" - 1, key.n), ns, name;
    struct gpod *p = str_cut(rest, '/', &ns, &name) ? pods_find_name(g, ns, name) : NULL;
    return p && p->is_static ? p : NULL;
}

static void set_mirror(struct gpod *p, struct str uid)
{
    free((char *)p->mirror_uid.p);
    p->mirror_uid = uid.n ? str_make(str_dup(uid), uid.n) : STR_NULL;
    p->mirror_asked = 0;
    bytes_unref(TAKE(p->reported)); /* another object: it has to be told all */
    gpod_report(p);
}

static void delete_mirror(struct gate *g, struct str uid, struct str ns, struct str name)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct outbox_entry x = {
        .key = pool_printf(p, "delete/%.*s", STR_ARG(uid)),
        .method = STR("DELETE"),
        .path = pool_printf(p, "/api/v1/namespaces/%.*s/pods/%.*s", STR_ARG(ns), STR_ARG(name)),
        .content_type = STR("application/json"),
        .body = pool_printf(p, "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\",\"gracePeriodSeconds\":0,\"preconditions\":{\"uid\":\"%.*s\"}}", STR_ARG(uid)),
    };
    outbox_put(g->outbox, &x, 0);
}

void statics_drop_mirror(struct gpod *p)
{
    if (p->mirror_uid.n)
        delete_mirror(p->gate, p->mirror_uid, p->ns, p->name);
    free((char *)p->mirror_uid.p);
    p->mirror_uid = STR_NULL;
}

void statics_mirror(struct gate *g, const struct mirror_item *before, const struct mirror_item *after)
{
    struct gpod *p = of_mirror(g, (after ? after : before)->key);
    _cleanup_(pool_freep) struct pool *pool = pool_new();
    struct json *tree = NULL;
    if (!after) {
        if (p && (!p->mirror_uid.n || str_eq(p->mirror_uid, before->uid)))
            set_mirror(p, STR_NULL);
        gate_turn(g);
        return;
    }
    if (json_parse(pool, bytes_str(after->bytes), NULL, &tree, NULL) < 0)
        return;
    struct str hash = json_as_str(json_get(json_path(tree, "metadata", "annotations", NULL), STR(MIRROR)));
    bool leaves = json_str_at(tree, "metadata", "deletionTimestamp", NULL).n > 0;
    struct str rest = str_sub(after->key, sizeof "/pods/" - 1, after->key.n), ns = STR_NULL, name = STR_NULL;
    (void)str_cut(rest, '/', &ns, &name);
    if (!p || !str_eq(hash, p->uid) || leaves)
        delete_mirror(g, after->uid, ns, name); /* of a pod that is no more, of an older version, or to be made again */
    else if (!str_eq(p->mirror_uid, after->uid))
        set_mirror(p, after->uid);
}

static void make_mirror(struct gate *g, struct gpod *gp, struct str node_uid)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    struct json *pod = json_clone(p, gpod_tree(gp)), *meta = json_get(pod, STR("metadata")), *owner = json_obj(p);
    json_set_str(p, json_get(meta, STR("annotations")), STR(MIRROR), gp->uid);
    json_del(meta, STR("uid"));
    json_set_str(p, owner, STR("apiVersion"), STR("v1"));
    json_set_str(p, owner, STR("kind"), STR("Node"));
    json_set_str(p, owner, STR("name"), str_of(g->o->node_name));
    json_set_str(p, owner, STR("uid"), node_uid);
    json_set_bool(p, owner, STR("controller"), true);
    json_append(json_put_arr(p, meta, STR("ownerReferences")), owner);
    json_write(&b, pod);
    struct outbox_entry x = {
        .key = pool_printf(p, "mirror/%.*s", STR_ARG(gp->uid)),
        .method = STR("POST"),
        .path = pool_printf(p, "/api/v1/namespaces/%.*s/pods", STR_ARG(gp->ns)),
        .content_type = STR("application/json"),
        .body = buf_str(&b),
    };
    outbox_put(g->outbox, &x, 0);
}

void statics_work(struct gate *g)
{
    int64_t now = clock_mono(NULL);
    _cleanup_(pool_freep) struct pool *p = NULL;
    struct str node_uid = STR_NULL;
    bool waits = false;
    if (!g->statics)
        return;
    map_for(&g->pods, it) {
        struct gpod *gp = it->value;
        if (!gp->is_static || !gp->object || gp->mirror_uid.n || !uplink_connected(g->uplink))
            continue;
        waits = true;
        if (gp->mirror_asked && now - gp->mirror_asked < ASK_NS)
            continue;
        if (!p)
            node_uid = json_str_at(cluster_node_tree(g, p = pool_new()), "metadata", "uid", NULL);
        if (!node_uid.n)
            continue;
        gp->mirror_asked = now;
        make_mirror(g, gp, node_uid);
    }
    if (waits && !g->statics->settle.loop)
        timer_in(g->loop, &g->statics->settle, ASK_NS, on_settled);
}
