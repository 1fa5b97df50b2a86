/* A Pod's volumes → what node mounts; and the values that downward references name. */
#include <stdlib.h>

#include "gate/impl.h"
#include "gate/csi.h"
#include "gate/pull.h"
#include "schema/quantity.h"

#define FILES_MAX 4096

/* ---- downward values ---- */

/* metadata.labels['x'] → the key; absent when path has another form. */
static struct str subscript(struct str path, struct str prefix)
{
    if (!str_starts(path, prefix) || !str_ends(path, STR("']")) || path.n < prefix.n + 4 || memcmp(path.p + prefix.n, "['", 2) != 0)
        return STR_NULL;
    return str_sub(path, prefix.n + 2, path.n - 2);
}

/* All of a map, a line each: key="escaped value". */
static struct str map_lines(struct pool *p, const struct json *map)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    json_for(map, item) {
        buf_printf(&b, "%s%.*s=", b.n ? "\n" : "", STR_ARG(json_key(item)));
        json_write_str(&b, json_as_str(item));
    }
    return pool_str(p, buf_str(&b));
}

int resolve_field(struct gate *g, const struct json *pod, struct str path, struct pool *p, struct str *value, uint64_t *kind, struct err **e)
{
    static const struct { const char *path, *a, *b; } plain[] = {
        {"metadata.name", "metadata", "name"}, {"metadata.namespace", "metadata", "namespace"}, {"metadata.uid", "metadata", "uid"},
        {"spec.nodeName", "spec", "nodeName"}, {"spec.serviceAccountName", "spec", "serviceAccountName"},
    };
    const struct json *meta = json_get(pod, STR("metadata"));
    struct str key;
    *kind = ENV_LITERAL;
    for (size_t i = 0; i < ARRAY_LEN(plain); i++)
        if (str_eqz(path, plain[i].path)) {
            *value = json_str_at(pod, plain[i].a, plain[i].b, NULL);
            return 0;
        }
    if ((key = subscript(path, STR("metadata.labels"))).p)
        *value = json_as_str(json_get(json_get(meta, STR("labels")), key));
    else if ((key = subscript(path, STR("metadata.annotations"))).p)
        *value = json_as_str(json_get(json_get(meta, STR("annotations")), key));
    else if (str_eqz(path, "metadata.labels"))
        *value = map_lines(p, json_get(meta, STR("labels")));
    else if (str_eqz(path, "metadata.annotations"))
        *value = map_lines(p, json_get(meta, STR("annotations")));
    else if (str_eqz(path, "status.podIP"))
        *kind = ENV_POD_IP;
    else if (str_eqz(path, "status.podIPs"))
        *kind = ENV_POD_IPS;
    else if (str_eqz(path, "status.hostIP") || str_eqz(path, "status.hostIPs"))
        *value = pool_str(p, str_of(g->host_ip));
    else
        return err_set(e, ERR_INVALID, "fieldRef: \"%.*s\" is not supported", STR_ARG(path));
    return 0;
}

static const struct json *container_of_pod(const struct json *pod, struct str name)
{
    static const char *const lists[] = {"containers", "initContainers"};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        json_for(json_path(pod, "spec", lists[i], NULL), c)
            if (str_eq(json_get_str(c, "name"), name))
                return c;
    return NULL;
}

int resolve_resource(struct gate *g, const struct json *pod, struct str container, struct str resource, struct str divisor, struct pool *p, struct str *value, struct err **e)
{
    struct str list, name;
    const struct json *c = container_of_pod(pod, container);
    struct quantity q = {0}, d = {.digits = 1};
    if (!c)
        return err_set(e, ERR_INVALID, "resourceFieldRef: container \"%.*s\" not found", STR_ARG(container));
    if (!str_cut(resource, '.', &list, &name))
        return err_set(e, ERR_INVALID, "resourceFieldRef: \"%.*s\" is not supported", STR_ARG(resource));
    struct str text = json_as_str(json_get(json_get(json_get(c, STR("resources")), list), name));
    bool cpu = str_eqz(name, "cpu");
    if (text.n && quantity_parse(text, &q, e) < 0)
        return err_wrap(e, "resourceFieldRef");
    if (divisor.n && !str_eqz(divisor, "0") && quantity_parse(divisor, &d, e) < 0)
        return err_wrap(e, "resourceFieldRef: divisor");
    int64_t have = cpu ? quantity_milli(q) : quantity_value(q), by = cpu ? quantity_milli(d) : quantity_value(d);
    if (!text.n && str_eqz(list, "limits")) /* no limit: all that the node has */
        have = cpu ? (int64_t)g->hello.cpus * 1000 : str_eqz(name, "memory") ? g->hello.memory : g->hello.storage;
    *value = pool_printf(p, "%" PRId64, by > 0 ? (have + by - 1) / by : have);
    return 0;
}

/* ---- files ---- */

struct files { struct pool *p; struct node_file *at; size_t n; bool several; };

static int add_file(struct files *f, struct str path, struct str data, int64_t mode, struct err **e)
{
    for (size_t i = 0; f->several && i < f->n; i++) /* of several sources with one path the last counts */
        if (str_eq(f->at[i].path, path)) {
            f->at[i] = (struct node_file){path, data, (uint64_t)mode, -1};
            return 0;
        }
    if (f->n >= FILES_MAX)
        return err_set(e, ERR_LIMIT, "more than %d files in a volume", FILES_MAX);
    f->at = pool_grow(f->p, f->at, f->n * sizeof *f->at, (f->n + 1) * sizeof *f->at);
    f->at[f->n++] = (struct node_file){path, data, (uint64_t)mode, -1};
    return 0;
}

static int value_of(struct files *f, const struct json *item, bool base64, struct str *out, struct err **e)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    *out = json_as_str(item);
    if (!base64)
        return 0;
    if (!buf_unbase64(&b, *out))
        return err_set(e, ERR_INVALID, "the value of \"%.*s\" is no base64", STR_ARG(json_key(item)));
    *out = pool_str(f->p, buf_str(&b));
    return 0;
}

/* A ConfigMap's or Secret's keys as files: all, or those of items under their paths. */
static int keyed_files(struct gate *g, struct gpod *gp, struct files *f, const struct json *source, struct str name, bool secret, int64_t mode, struct err **e)
{
    const struct json *o = mirror_tree(g, f->p, secret ? "/secrets" : "/configmaps", gp->ns, name), *items = json_get(source, STR("items"));
    const struct json *maps[2] = {json_get(o, STR("data")), json_get(o, STR("binaryData"))};
    bool optional = json_get_bool(source, "optional", false);
    struct str value;
    if (!o)
        return optional ? 0 : err_set(e, ERR_UNAVAILABLE, "%s \"%.*s\" not found", secret ? "secret" : "configmap", STR_ARG(name));
    if (!items) {
        for (int i = 0; i < 2; i++)
            json_for(maps[i], item)
                if (value_of(f, item, secret || i == 1, &value, e) < 0 || add_file(f, json_key(item), value, mode, e) < 0)
                    return -(int)(*e)->code;
        return 0;
    }
    json_for(items, want) {
        struct str key = json_get_str(want, "key");
        const struct json *item = json_get(maps[0], key);
        bool binary = !item;
        item = item ? item : json_get(maps[1], key);
        if (!item && !optional)
            return err_set(e, ERR_UNAVAILABLE, "%s \"%.*s\": references non-existent %s key: %.*s", secret ? "secret" : "configmap", STR_ARG(name), secret ? "secret" : "config", STR_ARG(key));
        if (item && (value_of(f, item, secret || binary, &value, e) < 0 || add_file(f, json_get_str(want, "path"), value, json_get_int(want, "mode", mode), e) < 0))
            return -(int)(*e)->code;
    }
    return 0;
}

static int downward_files(struct gate *g, struct gpod *gp, struct files *f, const struct json *source, int64_t mode, struct err **e)
{
    json_for(json_get(source, STR("items")), item) {
        const struct json *field = json_get(item, STR("fieldRef")), *res = json_get(item, STR("resourceFieldRef"));
        struct str value = STR("");
        uint64_t kind = ENV_LITERAL;
        int r = field ? resolve_field(g, gpod_tree(gp), json_get_str(field, "fieldPath"), f->p, &value, &kind, e)
                      : resolve_resource(g, gpod_tree(gp), json_get_str(res, "containerName"), json_get_str(res, "resource"), json_get_str(res, "divisor"), f->p, &value, e);
        if (r < 0)
            return r;
        if (kind != ENV_LITERAL)
            value = gpod_ip(gp);
        if (add_file(f, json_get_str(item, "path"), value, json_get_int(item, "mode", mode), e) < 0)
            return -ERR_LIMIT;
    }
    return 0;
}

/* The user that every container runs as by the pod's own words; -1: none, or several. */
static int64_t user_of_all(const struct json *pod)
{
    static const char *const lists[] = {"initContainers", "containers"};
    const struct json *spec = json_get(pod, STR("spec"));
    int64_t of_pod = json_get_int(json_get(spec, STR("securityContext")), "runAsUser", -1), all = -1;
    bool first = true;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        json_for(json_get(spec, str_of(lists[i])), c) {
            int64_t own = json_get_int(json_get(c, STR("securityContext")), "runAsUser", of_pod);
            if (own < 0 || (!first && own != all))
                return -1;
            all = own;
            first = false;
        }
    return all;
}

static int token_file(struct gate *g, struct gpod *gp, struct files *f, const struct json *source, int64_t mode, struct err **e)
{
    struct str token, account = json_str_at(gpod_tree(gp), "spec", "serviceAccountName", NULL);
    if (tokens_get(g, gp, account.n ? account : STR("default"), json_get_str(source, "audience"), json_get_int(source, "expirationSeconds", 3600), f->p, &token, e) < 0)
        return -(int)(*e)->code;
    /* the kubelet's rule: with one user for all containers it is his, and nobody else's; an fsGroup may read it too */
    int64_t user = user_of_all(gpod_tree(gp));
    bool group = json_get(json_path(gpod_tree(gp), "spec", "securityContext", NULL), STR("fsGroup")) != NULL;
    int r = add_file(f, json_get_str(source, "path"), token, user >= 0 || group ? 0600 : mode, e);
    if (r == 0 && user >= 0)
        f->at[f->n - 1].uid = user;
    return r;
}

static int projected_files(struct gate *g, struct gpod *gp, struct files *f, const struct json *volume, struct err **e)
{
    int64_t mode = json_get_int(volume, "defaultMode", 0644);
    f->several = true;
    json_for(json_get(volume, STR("sources")), s) {
        const struct json *src;
        int r;
        if ((src = json_get(s, STR("configMap"))))
            r = keyed_files(g, gp, f, src, json_get_str(src, "name"), false, mode, e);
        else if ((src = json_get(s, STR("secret"))))
            r = keyed_files(g, gp, f, src, json_get_str(src, "name"), true, mode, e);
        else if ((src = json_get(s, STR("downwardAPI"))))
            r = downward_files(g, gp, f, src, mode, e);
        else if ((src = json_get(s, STR("serviceAccountToken"))))
            r = token_file(g, gp, f, src, mode, e);
        else
            r = err_set(e, ERR_INVALID, "this kind of projected source is not supported");
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- volumes ---- */

static bool owned_by(const struct json *o, struct str uid)
{
    json_for(json_path(o, "metadata", "ownerReferences", NULL), owner)
        if (json_get_bool(owner, "controller", false) && str_eq(json_get_str(owner, "uid"), uid))
            return true;
    return false;
}

/* A folder of the class local-path: the claim's own request is its size. */
static void provisioned_volume(const struct json *spec, struct node_volume *v)
{
    struct quantity q;
    v->kind = VOL_PROVISIONED;
    v->path = json_str_at(spec, "hostPath", "path", NULL);
    if (quantity_parse(json_str_at(spec, "capacity", "storage", NULL), &q, NULL) == 0)
        v->size_limit = quantity_value(q);
}

static int claim_volume(struct gate *g, struct gpod *gp, struct pool *p, struct str claim, bool of_pod, struct node_volume *v, struct err **e)
{
    const struct json *pvc = mirror_tree(g, p, "/persistentvolumeclaims", gp->ns, claim);
    if (!pvc)
        return err_set(e, ERR_UNAVAILABLE, "persistentvolumeclaim \"%.*s\" not found", STR_ARG(claim));
    if (of_pod && !owned_by(pvc, gp->uid))
        return err_set(e, ERR_UNAVAILABLE, "PVC \"%.*s\" was not created for this pod", STR_ARG(claim));
    struct str name = json_str_at(pvc, "spec", "volumeName", NULL);
    const struct json *pv = name.n ? mirror_tree(g, p, "/persistentvolumes", STR(""), name) : NULL, *spec = json_get(pv, STR("spec"));
    if (!pv)
        return err_set(e, ERR_UNAVAILABLE, "persistentvolumeclaim \"%.*s\" is not bound", STR_ARG(claim));
    if (json_get(spec, STR("hostPath")) && storage_ours(pv)) {
        provisioned_volume(spec, v);
    } else if (json_get(spec, STR("hostPath"))) {
        v->kind = VOL_HOST_PATH;
        v->path = json_str_at(spec, "hostPath", "path", NULL);
        v->path_type = json_str_at(spec, "hostPath", "type", NULL);
    } else if (json_get(spec, STR("local"))) {
        v->kind = VOL_LOCAL;
        v->path = json_str_at(spec, "local", "path", NULL);
    } else if (json_get(spec, STR("csi"))) {
        return csi_volume(g, gp, pv, NULL, v, e);
    } else {
        return err_set(e, ERR_INVALID, "PersistentVolume \"%.*s\" is of a kind that is not supported", STR_ARG(name));
    }
    return 0;
}

/* What a tmpfs may hold: the volume's own limit, the pod's memory limit, the machine's memory; the smallest. */
static int64_t memory_size(struct gate *g, const struct json *pod, int64_t limit)
{
    int64_t sum = 0, most = g->hello.memory;
    bool all = true;
    json_for(json_path(pod, "spec", "containers", NULL), c) {
        struct quantity q;
        struct str text = json_str_at(c, "resources", "limits", "memory", NULL);
        all = all && text.n && quantity_parse(text, &q, NULL) == 0;
        sum += all ? quantity_value(q) : 0;
    }
    most = all && sum > 0 ? MIN(sum, most) : most;
    return limit > 0 ? MIN(limit, most) : most;
}

static void empty_dir(struct gate *g, const struct json *pod, const struct json *src, struct node_volume *v)
{
    struct quantity q;
    struct str medium = json_get_str(src, "medium");
    v->kind = VOL_EMPTY_DIR;
    v->in_memory = medium.n > 0;
    if (str_starts(medium, STR("HugePages")))
        v->path_type = medium;
    if (json_get_str(src, "sizeLimit").n && quantity_parse(json_get_str(src, "sizeLimit"), &q, NULL) == 0)
        v->size_limit = quantity_value(q);
    if (str_eqz(medium, "Memory"))
        v->size_limit = memory_size(g, pod, v->size_limit);
}

/* An image's files as a volume: pulled as a container's image is. */
static int image_volume(struct gpod *gp, struct pool *p, const struct json *src, struct node_volume *v, struct err **e)
{
    struct node_container c = {.name = pool_printf(p, PULL_VOLUME "%.*s", STR_ARG(v->name)), .image_ref = json_get_str(src, "reference")};
    v->kind = VOL_IMAGE;
    if (!c.image_ref.n)
        return err_set(e, ERR_INVALID, "image.reference is missing");
    pulls_image(gp, p, json_get_str(src, "pullPolicy"), &c);
    v->image = c.image;
    if (c.image.n)
        return 0;
    return c.waiting_reason.n ? err_set(e, ERR_UNAVAILABLE, "%.*s: %.*s", STR_ARG(c.waiting_reason), STR_ARG(c.waiting_message))
                              : err_set(e, ERR_UNAVAILABLE, "image \"%.*s\" is being pulled", STR_ARG(c.image_ref));
}

static int one_volume(struct gate *g, struct gpod *gp, struct pool *p, const struct json *volume, struct node_volume *v, struct err **e)
{
    struct files f = {.p = p};
    const struct json *src;
    int r = 0;
    v->name = json_get_str(volume, "name");
    if ((src = json_get(volume, STR("emptyDir")))) {
        empty_dir(g, gpod_tree(gp), src, v);
        return 0;
    }
    if ((src = json_get(volume, STR("image"))))
        return image_volume(gp, p, src, v, e);
    if ((src = json_get(volume, STR("hostPath")))) {
        v->kind = VOL_HOST_PATH;
        v->path = json_get_str(src, "path");
        v->path_type = json_get_str(src, "type");
        return 0;
    }
    if ((src = json_get(volume, STR("persistentVolumeClaim"))))
        return claim_volume(g, gp, p, json_get_str(src, "claimName"), false, v, e);
    if (json_get(volume, STR("csi")))
        return csi_volume(g, gp, NULL, volume, v, e);
    if (json_get(volume, STR("ephemeral")))
        return claim_volume(g, gp, p, pool_printf(p, "%.*s-%.*s", STR_ARG(gp->name), STR_ARG(v->name)), true, v, e);
    v->kind = VOL_FILES;
    if ((src = json_get(volume, STR("configMap")))) {
        r = keyed_files(g, gp, &f, src, json_get_str(src, "name"), false, json_get_int(src, "defaultMode", 0644), e);
    } else if ((src = json_get(volume, STR("secret")))) {
        v->in_memory = true;
        r = keyed_files(g, gp, &f, src, json_get_str(src, "secretName"), true, json_get_int(src, "defaultMode", 0644), e);
    } else if ((src = json_get(volume, STR("downwardAPI")))) {
        r = downward_files(g, gp, &f, src, json_get_int(src, "defaultMode", 0644), e);
    } else if ((src = json_get(volume, STR("projected")))) {
        v->in_memory = true;
        r = projected_files(g, gp, &f, src, e);
    } else {
        return err_set(e, ERR_INVALID, "this kind of volume is not supported");
    }
    v->files = f.at;
    v->nfiles = f.n;
    return r;
}

int resolve_volumes(struct gate *g, struct gpod *gp, struct pool *p, struct node_pod *out, struct err **e)
{
    const struct json *list = json_path(gpod_tree(gp), "spec", "volumes", NULL);
    out->volumes = pool_array(p, struct node_volume, json_count(list) + 1);
    json_for(list, volume)
        if (one_volume(g, gp, p, volume, &out->volumes[out->nvolumes++], e) < 0)
            return err_wrap(e, "MountVolume.SetUp failed for volume \"%.*s\"", STR_ARG(json_get_str(volume, "name")));
    return 0;
}
