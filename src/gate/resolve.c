/* A Pod and what it names → what node runs. Nothing of Kubernetes' API passes further down: environment, files, users and limits are settled here. */
#include <stdlib.h>

#include "base/file.h"
#include "gate/impl.h"
#include "gate/pull.h"
#include "gate/registry_name.h"
#include "schema/quantity.h"

struct json *mirror_tree(struct gate *g, struct pool *pool, const char *resource, struct str ns, struct str name)
{
    _cleanup_(buf_clear) struct buf key = BUF_INIT;
    struct json *tree;
    buf_printf(&key, "%s/%.*s/%.*s", resource, STR_ARG(ns), STR_ARG(name));
    const struct mirror_item *it = mirror_get(g->mirror, buf_str(&key));
    if (!it)
        return NULL;
    pool_hold(pool, bytes_ref(it->bytes));
    return json_parse(pool, bytes_str(it->bytes), &(struct json_limits){.view = true}, &tree, NULL) < 0 ? NULL : tree;
}

/* ---- quantities ---- */

static int64_t amount(const struct json *resources, const char *list, const char *name, bool milli)
{
    struct quantity q;
    struct str text = json_str_at(resources, list, name, NULL);
    if (str_empty(text) || quantity_parse(text, &q, NULL) < 0)
        return 0;
    return milli ? quantity_milli(q) : quantity_value(q);
}

/* Guaranteed: every container has limits for cpu and memory, equal to its requests; BestEffort: none has either. */
struct str pod_qos(const struct json *spec)
{
    bool any = false, all = true;
    static const char *const lists[] = {"initContainers", "containers"};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        json_for(json_get(spec, str_of(lists[i])), c) {
            const struct json *r = json_get(c, STR("resources"));
            for (int k = 0; k < 2; k++) {
                const char *name = k ? "memory" : "cpu";
                int64_t limit = amount(r, "limits", name, true), request = amount(r, "requests", name, true);
                any = any || limit || request;
                all = all && limit && (request == limit || !request);
            }
        }
    }
    return !any ? STR("BestEffort") : all ? STR("Guaranteed") : STR("Burstable");
}

/* ---- environment ---- */

static void add_env(struct pool *p, struct node_container *c, struct str name, struct str value, uint64_t kind)
{
    for (size_t i = 0; i < c->nenv; i++) { /* a later one of the same name replaces */
        if (str_eq(c->env[i].name, name)) {
            c->env[i].value = value;
            c->env[i].kind = kind;
            return;
        }
    }
    c->env = pool_grow(p, c->env, c->nenv * sizeof *c->env, (c->nenv + 1) * sizeof *c->env);
    c->env[c->nenv++] = (struct node_env){name, value, kind};
}

static bool env_name_ok(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == '=' || s.p[i] <= ' ' || s.p[i] > '~')
            return false;
    return s.n > 0;
}

static int decode_secret(struct pool *p, struct str value, struct str *out, struct err **e)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    if (!buf_unbase64(&b, value))
        return err_set(e, ERR_INVALID, "a value is no base64");
    *out = pool_str(p, buf_str(&b));
    return 0;
}

/* One key of a ConfigMap or Secret. *found false: it is not there, and optional. */
static int lookup(struct gate *g, struct gpod *gp, struct pool *p, const struct json *ref, bool secret, struct str *value, bool *found, struct err **e)
{
    struct str name = json_get_str(ref, "name"), key = json_get_str(ref, "key");
    struct json *o = mirror_tree(g, p, secret ? "/secrets" : "/configmaps", gp->ns, name);
    bool optional = json_get_bool(ref, "optional", false);
    *found = false;
    if (!o && !optional)
        return err_set(e, ERR_UNAVAILABLE, "%s \"%.*s\" not found", secret ? "secret" : "configmap", STR_ARG(name));
    const struct json *v = json_get(json_get(o, STR("data")), key);
    if (!v && !optional)
        return err_set(e, ERR_UNAVAILABLE, "couldn't find key %.*s in %s %.*s/%.*s", STR_ARG(key), secret ? "Secret" : "ConfigMap", STR_ARG(gp->ns), STR_ARG(name));
    if (!v)
        return 0;
    *found = true;
    *value = json_as_str(v);
    return secret ? decode_secret(p, *value, value, e) : 0;
}

static int env_from(struct gate *g, struct gpod *gp, struct pool *p, const struct json *container, struct node_container *c, struct err **e)
{
    json_for(json_get(container, STR("envFrom")), src) {
        bool secret = json_get(src, STR("secretRef")) != NULL;
        const struct json *ref = json_get(src, secret ? STR("secretRef") : STR("configMapRef"));
        struct str prefix = json_get_str(src, "prefix"), name = json_get_str(ref, "name");
        struct json *o = mirror_tree(g, p, secret ? "/secrets" : "/configmaps", gp->ns, name);
        if (!o && !json_get_bool(ref, "optional", false))
            return err_set(e, ERR_UNAVAILABLE, "%s \"%.*s\" not found", secret ? "secret" : "configmap", STR_ARG(name));
        json_for(json_get(o, STR("data")), item) {
            struct str value = json_as_str(item), full = pool_printf(p, "%.*s%.*s", STR_ARG(prefix), STR_ARG(json_key(item)));
            if (secret && decode_secret(p, value, &value, e) < 0)
                return err_wrap(e, "secret %.*s", STR_ARG(name));
            if (env_name_ok(full))
                add_env(p, c, full, value, ENV_LITERAL);
        }
    }
    return 0;
}

static int env_value_from(struct gate *g, struct gpod *gp, struct pool *p, const struct json *from, struct str container, struct str *value, uint64_t *kind, bool *found, struct err **e)
{
    const struct json *ref;
    *found = true;
    *kind = ENV_LITERAL;
    if ((ref = json_get(from, STR("configMapKeyRef"))))
        return lookup(g, gp, p, ref, false, value, found, e);
    if ((ref = json_get(from, STR("secretKeyRef"))))
        return lookup(g, gp, p, ref, true, value, found, e);
    if ((ref = json_get(from, STR("fieldRef"))))
        return resolve_field(g, gpod_tree(gp), json_get_str(ref, "fieldPath"), p, value, kind, e);
    if ((ref = json_get(from, STR("resourceFieldRef")))) {
        struct str of = json_get_str(ref, "containerName");
        const struct json *d = json_get(ref, STR("divisor"));
        return resolve_resource(g, gpod_tree(gp), of.n ? of : container, json_get_str(ref, "resource"), d ? json_is(d, JSON_STR) ? json_as_str(d) : json_to_pool(p, d) : STR("1"), p, value, e);
    }
    return err_set(e, ERR_INVALID, "env: valueFrom names no source");
}

static int env_list(struct gate *g, struct gpod *gp, struct pool *p, const struct json *container, struct node_container *c, struct err **e)
{
    json_for(json_get(container, STR("env")), item) {
        struct str value = json_get_str(item, "value");
        const struct json *from = json_get(item, STR("valueFrom"));
        uint64_t kind = ENV_LITERAL;
        bool found = true;
        if (from && env_value_from(g, gp, p, from, c->name, &value, &kind, &found, e) < 0)
            return -(int)(*e)->code;
        if (found)
            add_env(p, c, json_get_str(item, "name"), value, kind);
    }
    return 0;
}

/* {NAME}_SERVICE_HOST and the rest, for the Services of the pod's namespace; those of `kubernetes` always. */
static void service_env(struct pool *p, struct node_container *c, const struct json *svc)
{
    struct str ip = json_str_at(svc, "spec", "clusterIP", NULL);
    char *name = pool_strz(p, json_str_at(svc, "metadata", "name", NULL));
    bool first = true;
    if (str_empty(ip) || str_eqz(ip, "None"))
        return;
    for (char *s = name; *s; s++)
        *s = *s == '-' || *s == '.' ? '_' : *s >= 'a' && *s <= 'z' ? (char)(*s - 32) : *s;
    add_env(p, c, pool_printf(p, "%s_SERVICE_HOST", name), ip, ENV_LITERAL);
    json_for(json_path(svc, "spec", "ports", NULL), port) {
        struct str number = pool_printf(p, "%" PRId64, json_get_int(port, "port", 0)), proto = json_get_str(port, "protocol"), pname = json_get_str(port, "name");
        char *lower = pool_strz(p, proto.n ? proto : STR("TCP")), *upper = pool_strz(p, str_of(lower)), *label = pool_strz(p, pname);
        for (char *s = lower; *s; s++)
            *s = (char)(*s | 32);
        for (char *s = label; *s; s++)
            *s = *s == '-' ? '_' : *s >= 'a' && *s <= 'z' ? (char)(*s - 32) : *s;
        struct str url = pool_printf(p, "%s://%.*s:%.*s", lower, STR_ARG(ip), STR_ARG(number)), base = pool_printf(p, "%s_PORT_%.*s_%s", name, STR_ARG(number), upper);
        if (first) {
            add_env(p, c, pool_printf(p, "%s_SERVICE_PORT", name), number, ENV_LITERAL);
            add_env(p, c, pool_printf(p, "%s_PORT", name), url, ENV_LITERAL);
        }
        if (label[0])
            add_env(p, c, pool_printf(p, "%s_SERVICE_PORT_%s", name, label), number, ENV_LITERAL);
        add_env(p, c, base, url, ENV_LITERAL);
        add_env(p, c, pool_printf(p, "%.*s_PROTO", STR_ARG(base)), str_of(lower), ENV_LITERAL);
        add_env(p, c, pool_printf(p, "%.*s_PORT", STR_ARG(base)), number, ENV_LITERAL);
        add_env(p, c, pool_printf(p, "%.*s_ADDR", STR_ARG(base)), ip, ENV_LITERAL);
        first = false;
    }
}

struct service_walk { struct pool *p; struct node_container *c; };

static bool one_service(void *arg, const struct mirror_item *it)
{
    struct service_walk *w = arg;
    struct json *svc;
    pool_hold(w->p, bytes_ref(it->bytes));
    if (json_parse(w->p, bytes_str(it->bytes), &(struct json_limits){.view = true}, &svc, NULL) == 0)
        service_env(w->p, w->c, svc);
    return true;
}

/* The Services that a running container started with stay its environment: what was sent once is kept, so that a new Service does not remake pods. */
static void all_service_env(struct gate *g, struct gpod *gp, struct pool *p, struct node_container *c)
{
    struct service_walk w = {p, c};
    struct json *kubernetes = mirror_tree(g, p, "/services", STR("default"), STR("kubernetes"));
    if (kubernetes)
        service_env(p, c, kubernetes);
    if (json_get_bool(json_get(gpod_tree(gp), STR("spec")), "enableServiceLinks", true)) {
        struct str prefix = pool_printf(p, "/services/%.*s/", STR_ARG(gp->ns));
        mirror_each(g->mirror, prefix, one_service, &w);
    }
}

/* ---- images ---- */

/* docker.io/library/x:latest and x are the same; compared in the long form, by the digest alone where there is one. */
static struct str long_image(struct pool *p, struct str ref)
{
    struct registry_image i;
    if (registry_image_parse(p, ref, &i, NULL) < 0)
        return ref;
    return i.digest.n ? pool_printf(p, "%.*s/%.*s@%.*s", STR_ARG(i.host), STR_ARG(i.repository), STR_ARG(i.digest)) : i.ref;
}

const struct node_image *gate_image(struct gate *g, struct pool *p, struct str ref)
{
    struct str want = long_image(p, ref);
    for (size_t i = 0; i < g->images.nimages; i++) {
        const struct node_image *im = &g->images.images[i];
        if (str_eq(im->id, ref))
            return im;
        for (size_t k = 0; k < im->nnames; k++)
            if (str_eq(im->names[k], want))
                return im;
        for (size_t k = 0; k < im->ndigests; k++)
            if (str_eq(im->digests[k], want))
                return im;
    }
    return NULL;
}

/* ---- security ---- */

static int64_t int_of(const struct json *inner, const struct json *outer, const char *key)
{
    return json_get_int(inner, key, json_get_int(outer, key, -1));
}

static struct str *strings(struct pool *p, const struct json *arr, size_t *n)
{
    struct str *out = pool_array(p, struct str, json_count(arr) + 1);
    *n = 0;
    json_for(arr, item)
        out[(*n)++] = json_as_str(item);
    return out;
}

static struct str profile(struct pool *p, const struct json *inner, const struct json *outer, const char *key, struct str dflt)
{
    const struct json *o = json_get(inner, str_of(key));
    o = o ? o : json_get(outer, str_of(key));
    struct str type = json_get_str(o, "type");
    if (str_eqz(type, "Unconfined"))
        return STR("unconfined");
    if (str_eqz(type, "RuntimeDefault"))
        return STR("runtime/default");
    return str_eqz(type, "Localhost") ? pool_printf(p, "localhost/%.*s", STR_ARG(json_get_str(o, "localhostProfile"))) : dflt;
}

static int check_non_root(struct gate *g, struct pool *p, struct node_container *c, struct err **e)
{
    const struct node_image *im = gate_image(g, p, c->image_ref);
    struct str user = im ? im->user : STR_NULL, name;
    uint64_t n = 0;
    if (!c->security.run_as_non_root || c->security.uid > 0 || !im)
        return 0;
    if (!str_cut(user, ':', &name, &user))
        name = im->user;
    if (c->security.uid == 0)
        return err_set(e, ERR_INVALID, "container's runAsUser breaks non-root policy (container: %.*s)", STR_ARG(c->name));
    if (name.n && !str_to_u64(name, &n))
        return err_set(e, ERR_INVALID, "container has runAsNonRoot and image has non-numeric user (%.*s), cannot verify user is non-root", STR_ARG(name));
    return n == 0 ? err_set(e, ERR_INVALID, "container has runAsNonRoot and image will run as root (container: %.*s)", STR_ARG(c->name)) : 0;
}

static int resolve_security(struct gate *g, struct pool *p, const struct json *spec, const struct json *container, struct node_container *c, struct err **e)
{
    const struct json *sc = json_get(container, STR("securityContext")), *psc = json_get(spec, STR("securityContext")), *caps = json_get(sc, STR("capabilities"));
    struct node_security *s = &c->security;
    s->uid = int_of(sc, psc, "runAsUser");
    s->gid = int_of(sc, psc, "runAsGroup");
    s->run_as_non_root = json_get_bool(sc, "runAsNonRoot", json_get_bool(psc, "runAsNonRoot", false));
    s->privileged = json_get_bool(sc, "privileged", false);
    s->read_only_root = json_get_bool(sc, "readOnlyRootFilesystem", false);
    s->no_new_privs = !json_get_bool(sc, "allowPrivilegeEscalation", true);
    s->proc_unmasked = str_eqz(json_get_str(sc, "procMount"), "Unmasked");
    s->add_caps = strings(p, json_get(caps, STR("add")), &s->nadd);
    s->drop_caps = strings(p, json_get(caps, STR("drop")), &s->ndrop);
    s->seccomp = profile(p, sc, psc, "seccompProfile", s->privileged ? STR("unconfined") : STR("runtime/default"));
    s->apparmor = profile(p, sc, psc, "appArmorProfile", STR(""));
    return check_non_root(g, p, c, e);
}

/* ---- containers ---- */

static void resolve_hook(struct pool *p, const struct json *container, const char *name, struct node_hook *h)
{
    const struct json *hook = json_path(container, "lifecycle", name, NULL), *exec = json_get(hook, STR("exec")), *sleep = json_get(hook, STR("sleep"));
    h->by_gate = hook && !exec && !sleep; /* httpGet; what is none of these fails there, with an Event */
    h->set = exec || sleep || h->by_gate;
    h->argv = strings(p, json_get(exec, STR("command")), &h->nargv);
    h->sleep_s = json_get_int(sleep, "seconds", 0);
}

static void resolve_rules(struct pool *p, const struct json *container, struct node_container *c)
{
    const struct json *list = json_get(container, STR("restartPolicyRules"));
    c->rules = pool_array(p, struct node_restart_rule, json_count(list) + 1);
    json_for(list, rule) {
        const struct json *codes = json_get(rule, STR("exitCodes")), *values = json_get(codes, STR("values"));
        struct node_restart_rule *r = &c->rules[c->nrules++];
        r->all = str_eqz(json_get_str(rule, "action"), "RestartAllContainers");
        r->negate = str_eqz(json_get_str(codes, "operator"), "NotIn");
        r->codes = pool_array(p, struct str, json_count(values) + 1);
        json_for(values, v)
            r->codes[r->ncodes++] = pool_printf(p, "%" PRId64, json_as_int(v, 0));
    }
}

static uint64_t recursive(struct str how)
{
    return str_eqz(how, "Enabled") ? 2 : str_eqz(how, "IfPossible") ? 1 : 0;
}

static void resolve_mounts(struct pool *p, const struct json *container, struct node_container *c)
{
    const struct json *list = json_get(container, STR("volumeMounts"));
    c->mounts = pool_array(p, struct node_mount, json_count(list) + 1);
    json_for(list, m) {
        struct str how = json_get_str(m, "mountPropagation");
        c->mounts[c->nmounts++] = (struct node_mount){
            .volume = json_get_str(m, "name"),
            .path = json_get_str(m, "mountPath"),
            .sub_path = json_get_str(m, "subPath"), /* subPathExpr is expanded below */
            .read_only = json_get_bool(m, "readOnly", false),
            .recursive = json_get_bool(m, "readOnly", false) ? recursive(json_get_str(m, "recursiveReadOnly")) : 0,
            .propagation = str_eqz(how, "Bidirectional") ? 2 : str_eqz(how, "HostToContainer") ? 1 : 0,
        };
    }
    const struct json *devices = json_get(container, STR("volumeDevices"));
    c->devices = pool_array(p, struct node_device, json_count(devices) + 1);
    json_for(devices, d)
        c->devices[c->ndevices++] = (struct node_device){json_get_str(d, "name"), json_get_str(d, "devicePath")};
}

static struct str env_text(struct gpod *gp, const struct node_env *v)
{
    if (v->kind != ENV_POD_IP && v->kind != ENV_POD_IPS)
        return v->value.p ? v->value : STR("");
    gp->wants_ip = true;
    struct str ip = json_get_bool(json_get(gpod_tree(gp), STR("spec")), "hostNetwork", false) ? str_of(gp->gate->host_ip) : gpod_ip(gp);
    return ip.n ? ip : STR_NULL; /* not known yet */
}

/* $(NAME) in a subPathExpr; $$ is a dollar. *missing: a name without a value, which the kubelet does not let pass either. */
static struct str expand(struct gpod *gp, struct pool *p, struct str s, const struct node_container *c, struct str *missing)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '$' && i + 1 < s.n && s.p[i + 1] == '$') {
            buf_putc(&b, s.p[i++]);
            continue;
        }
        ssize_t close = s.p[i] == '$' && i + 1 < s.n && s.p[i + 1] == '(' ? str_chr(str_sub(s, i, s.n), ')') : -1;
        const struct node_env *found = NULL;
        struct str name = close < 0 ? STR_NULL : str_sub(s, i + 2, i + (size_t)close);
        for (size_t k = 0; close >= 0 && k < c->nenv; k++)
            if (str_eq(c->env[k].name, name))
                found = &c->env[k];
        struct str value = found ? env_text(gp, found) : STR_NULL;
        if (close >= 0 && !value.p)
            *missing = name;
        if (value.p) {
            buf_str_add(&b, value);
            i += (size_t)close;
        } else {
            buf_putc(&b, s.p[i]);
        }
    }
    return pool_str(p, buf_str(&b));
}

static void expand_sub_paths(struct gpod *gp, struct pool *p, const struct json *container, struct node_container *c)
{
    size_t i = 0;
    struct str missing = STR_NULL;
    json_for(json_get(container, STR("volumeMounts")), m) {
        struct str expr = json_get_str(m, "subPathExpr");
        if (expr.n)
            c->mounts[i].sub_path = expand(gp, p, expr, c, &missing);
        i++;
    }
    if (missing.p && !c->waiting_reason.n) {
        c->image = STR_NULL;
        c->waiting_reason = STR("CreateContainerConfigError");
        c->waiting_message = pool_printf(p, "missing value for \"%.*s\"", STR_ARG(missing));
    }
}

static void resolve_limits(struct gpod *gp, const struct json *container, struct node_container *c)
{
    const struct json *r = resize_resources(gp, container);
    json_for(json_get(container, STR("resizePolicy")), rule) {
        bool restart = str_eqz(json_get_str(rule, "restartPolicy"), "RestartContainer");
        c->resize_restarts_cpu |= restart && str_eqz(json_get_str(rule, "resourceName"), "cpu");
        c->resize_restarts_memory |= restart && str_eqz(json_get_str(rule, "resourceName"), "memory");
    }
    c->cpu_request_milli = amount(r, "requests", "cpu", true);
    c->cpu_limit_milli = amount(r, "limits", "cpu", true);
    c->memory_request = amount(r, "requests", "memory", false);
    c->memory_limit = amount(r, "limits", "memory", false);
    c->storage_limit = amount(r, "limits", "ephemeral-storage", false);
}

static void resolve_ports(struct pool *p, const struct json *container, struct node_container *c)
{
    const struct json *list = json_get(container, STR("ports"));
    c->ports = pool_array(p, struct node_port, json_count(list) + 1);
    json_for(list, port) {
        struct str proto = json_get_str(port, "protocol");
        c->ports[c->nports++] = (struct node_port){
            .container_port = (uint64_t)json_get_int(port, "containerPort", 0),
            .host_port = (uint64_t)json_get_int(port, "hostPort", 0),
            .protocol = proto.n ? proto : STR("TCP"),
            .host_ip = json_get_str(port, "hostIP"),
        };
    }
}

static int resolve_container(struct gate *g, struct gpod *gp, struct pool *p, const struct json *container, uint64_t kind, struct node_container *c, struct err **e)
{
    const struct json *spec = json_get(gpod_tree(gp), STR("spec"));
    struct err *wrong = NULL;
    c->name = json_get_str(container, "name");
    c->kind = kind;
    c->image_ref = json_get_str(container, "image");
    pulls_image(gp, p, json_get_str(container, "imagePullPolicy"), c);
    c->command = strings(p, json_get(container, STR("command")), &c->ncommand);
    c->args = strings(p, json_get(container, STR("args")), &c->nargs);
    c->working_dir = json_get_str(container, "workingDir");
    all_service_env(g, gp, p, c);
    if (env_from(g, gp, p, container, c, &wrong) < 0 || env_list(g, gp, p, container, c, &wrong) < 0 || resolve_security(g, p, spec, container, c, &wrong) < 0) {
        c->image = STR_NULL; /* this container waits; its pod and the others are set up */
        c->waiting_reason = STR("CreateContainerConfigError");
        c->waiting_message = pool_str(p, str_of(err_msg(wrong)));
        event_pod(gp, c->name, true, "Failed", "Error: %s", err_msg(wrong));
        err_free(wrong);
    }
    resolve_mounts(p, container, c);
    expand_sub_paths(gp, p, container, c);
    resolve_limits(gp, container, c);
    resolve_ports(p, container, c);
    c->tty = json_get_bool(container, "tty", false);
    c->stdin_open = json_get_bool(container, "stdin", false);
    c->stdin_once = json_get_bool(container, "stdinOnce", false);
    resolve_hook(p, container, "postStart", &c->post_start);
    resolve_hook(p, container, "preStop", &c->pre_stop);
    c->stop_signal = json_str_at(container, "lifecycle", "stopSignal", NULL);
    c->termination_path = json_get_str(container, "terminationMessagePath");
    c->termination_policy = json_get_str(container, "terminationMessagePolicy");
    c->restart_policy = json_get_str(container, "restartPolicy");
    resolve_rules(p, container, c);
    c->target = json_get_str(container, "targetContainerName");
    c->startup_probe = kind == CON_SIDECAR && json_get(container, STR("startupProbe"));
    c->spec_hash = 0;
    for (size_t i = 0; i < c->image_ref.n; i++) /* FNV-1a: the same after a restart, unlike str_hash */
        c->spec_hash = (c->spec_hash ^ (unsigned char)c->image_ref.p[i]) * 1099511628211u;
    (void)e;
    return 0;
}

static int resolve_containers(struct gate *g, struct gpod *gp, struct pool *p, const struct json *spec, struct node_pod *out, struct err **e)
{
    static const struct { const char *list; uint64_t kind; } lists[] = {{"initContainers", CON_INIT}, {"containers", CON_MAIN}, {"ephemeralContainers", CON_EPHEMERAL}};
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        n += json_count(json_get(spec, str_of(lists[i].list)));
    out->containers = pool_array(p, struct node_container, n + 1);
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        json_for(json_get(spec, str_of(lists[i].list)), c) {
            bool sidecar = lists[i].kind == CON_INIT && str_eqz(json_get_str(c, "restartPolicy"), "Always");
            int r = resolve_container(g, gp, p, c, sidecar ? CON_SIDECAR : lists[i].kind, &out->containers[out->ncontainers++], e);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

/* ---- names ---- */

static void add_lines(struct buf *b, const char *word, const struct json *arr)
{
    json_for(arr, item)
        buf_printf(b, "%s %.*s\n", word, STR_ARG(json_as_str(item)));
}

static struct str resolv_conf(struct gate *g, struct gpod *gp, struct pool *p, const struct json *spec)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT, host = BUF_INIT, search = BUF_INIT, options = BUF_INIT;
    const struct json *config = json_get(spec, STR("dnsConfig"));
    struct str policy = json_get_str(spec, "dnsPolicy");
    bool on_host = json_get_bool(spec, "hostNetwork", false);
    bool cluster = str_eqz(policy, "ClusterFirstWithHostNet") || (str_eqz(policy, "ClusterFirst") && !on_host);
    const char *domain = g->o->cluster_domain ? g->o->cluster_domain : "cluster.local";
    if (cluster) {
        buf_printf(&search, "%.*s.svc.%s svc.%s %s", STR_ARG(gp->ns), domain, domain, domain);
        buf_puts(&options, " ndots:5");
    } else if (!str_eqz(policy, "None")) {
        if (file_read(g->o->resolv_conf ? g->o->resolv_conf : "/etc/resolv.conf", 64 << 10, &host, NULL) == 0)
            buf_str_add(&b, buf_str(&host));
        if (b.n && b.p[b.n - 1] != '\n')
            buf_putc(&b, '\n');
    }
    json_for(json_get(config, STR("searches")), s)
        buf_printf(&search, "%s%.*s", search.n ? " " : "", STR_ARG(json_as_str(s)));
    json_for(json_get(config, STR("options")), o) {
        struct str value = json_get_str(o, "value");
        buf_printf(&options, " %.*s%s%.*s", STR_ARG(json_get_str(o, "name")), value.n ? ":" : "", STR_ARG(value));
    }
    if (search.n)
        buf_printf(&b, "search %.*s\n", STR_ARG(buf_str(&search)));
    if (cluster && g->o->cluster_dns)
        buf_printf(&b, "nameserver %s\n", g->o->cluster_dns);
    add_lines(&b, "nameserver", json_get(config, STR("nameservers")));
    if (options.n)
        buf_printf(&b, "options%.*s\n", STR_ARG(buf_str(&options)));
    return pool_str(p, buf_str(&b));
}

static void host_aliases(struct pool *p, const struct json *spec, struct node_pod *out)
{
    const struct json *list = json_get(spec, STR("hostAliases"));
    out->hosts = pool_array(p, struct str, json_count(list) + 1);
    json_for(list, a) {
        _cleanup_(buf_clear) struct buf b = BUF_INIT;
        buf_str_add(&b, json_get_str(a, "ip"));
        json_for(json_get(a, STR("hostnames")), h)
            buf_printf(&b, "\t%.*s", STR_ARG(json_as_str(h)));
        out->hosts[out->nhosts++] = pool_str(p, buf_str(&b));
    }
}

static void security_of_pod(struct pool *p, const struct json *spec, struct node_pod *out)
{
    const struct json *psc = json_get(spec, STR("securityContext")), *groups = json_get(psc, STR("supplementalGroups")), *sysctls = json_get(psc, STR("sysctls"));
    out->strict_groups = str_eqz(json_get_str(psc, "supplementalGroupsPolicy"), "Strict");
    out->fs_group = json_get_int(psc, "fsGroup", -1);
    out->fs_group_on_mismatch = str_eqz(json_get_str(psc, "fsGroupChangePolicy"), "OnRootMismatch");
    out->supplemental_groups = pool_array(p, struct str, json_count(groups) + 1);
    json_for(groups, item)
        out->supplemental_groups[out->nsupplemental++] = pool_printf(p, "%" PRId64, json_as_int(item, 0));
    out->sysctls = pool_array(p, struct node_sysctl, json_count(sysctls) + 1);
    json_for(sysctls, s)
        out->sysctls[out->nsysctls++] = (struct node_sysctl){json_get_str(s, "name"), json_get_str(s, "value")};
}

int resolve_pod(struct gate *g, struct gpod *gp, struct pool *p, struct node_pod *out, struct err **e)
{
    const struct json *pod = gpod_tree(gp), *spec = json_get(pod, STR("spec"));
    struct str hostname = json_get_str(spec, "hostname"), handler = STR_NULL, runtime = json_get_str(spec, "runtimeClassName");
    *out = (struct node_pod){.uid = gp->uid, .ns = gp->ns, .name = gp->name};
    resize_judge(gp);
    if (runtime.n) {
        const struct json *rc = mirror_tree(g, p, "node.k8s.io/runtimeclasses", STR(""), runtime);
        if (!rc)
            return err_set(e, ERR_UNAVAILABLE, "RuntimeClass \"%.*s\" not found", STR_ARG(runtime));
        handler = json_get_str(rc, "handler");
    }
    out->hostname = hostname.n ? hostname : str_sub(gp->name, 0, 63);
    out->subdomain = json_get_str(spec, "subdomain");
    out->service_account = json_get_str(spec, "serviceAccountName");
    out->generation = (uint64_t)json_get_int(json_get(pod, STR("metadata")), "generation", 0);
    out->restart_policy = json_get_str(spec, "restartPolicy");
    out->grace_s = json_get_int(spec, "terminationGracePeriodSeconds", 30);
    out->active_deadline_s = json_get_int(spec, "activeDeadlineSeconds", 0);
    out->host_network = json_get_bool(spec, "hostNetwork", false);
    out->policed = !out->host_network && policies_select(g, gp->uid);
    out->host_pid = json_get_bool(spec, "hostPID", false);
    out->host_ipc = json_get_bool(spec, "hostIPC", false);
    out->share_pids = json_get_bool(spec, "shareProcessNamespace", false);
    out->mirror_static = gp->is_static;
    out->host_users = json_get_bool(spec, "hostUsers", true);
    out->fqdn_hostname = json_get_bool(spec, "setHostnameAsFQDN", false);
    out->qos = pod_qos(spec);
    out->resolv_conf = resolv_conf(g, gp, p, spec);
    out->runtime_handler = handler;
    out->ip = json_str_at(pod, "status", "podIP", NULL);
    host_aliases(p, spec, out);
    security_of_pod(p, spec, out);
    if (resolve_volumes(g, gp, p, out, e) < 0)
        return -(int)(*e)->code;
    return resolve_containers(g, gp, p, spec, out, e);
}
