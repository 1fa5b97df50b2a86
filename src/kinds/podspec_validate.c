#include <stdio.h>

#include "base/map.h"
#include "kinds/podspec.h"
#include "schema/quantity.h"
#include "schema/selector.h"

void labels_validate(const struct json *map, const struct fpath *at, struct err **e)
{
    json_for (map, m) {
        const char *why = name_qualified(json_key(m));
        if (why)
            ferr_invalid_str(e, at, json_key(m), why);
        why = name_label_value(json_as_str(m));
        if (why)
            ferr_invalid_str(e, at, json_as_str(m), why);
    }
}

void selector_validate(const struct json *sel, const struct fpath *at, struct err **e)
{
    struct fpath labels = FPATH(at, "matchLabels"), exprs = FPATH(at, "matchExpressions");
    labels_validate(json_get(sel, STR("matchLabels")), &labels, e);
    size_t i = 0;
    json_for (json_get(sel, STR("matchExpressions")), x) {
        struct fpath here = fpath_at(&exprs, i++), values = FPATH(&here, "values"), key = FPATH(&here, "key"),
                     op_at = FPATH(&here, "operator");
        struct str op = json_get_str(x, "operator");
        const struct json *v = json_get(x, STR("values"));
        if (str_eqz(op, "In") || str_eqz(op, "NotIn")) {
            if (!json_count(v))
                ferr_required(e, &values, "must be specified when `operator` is 'In' or 'NotIn'");
        } else if (str_eqz(op, "Exists") || str_eqz(op, "DoesNotExist")) {
            if (json_count(v))
                ferr_forbidden(e, &values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        } else {
            ferr_invalid_str(e, &op_at, op, "not a valid selector operator");
        }
        const char *why = name_qualified(json_get_str(x, "key"));
        if (why)
            ferr_invalid_str(e, &key, json_get_str(x, "key"), why);
        size_t k = 0;
        json_for (v, one) {
            struct fpath item = fpath_at(&values, k++);
            if ((why = name_label_value(json_as_str(one))))
                ferr_invalid_str(e, &item, json_as_str(one), why);
        }
    }
}

static bool percent(struct str s, uint64_t *out)
{
    return str_ends(s, STR("%")) && str_to_u64(str_sub(s, 0, s.n - 1), out);
}

int64_t int_or_percent_value(const struct json *v)
{
    uint64_t n;
    if (json_is(v, JSON_STR) && percent(json_as_str(v), &n))
        return (int64_t)n;
    return json_as_int(v, 0);
}

void int_or_percent_validate(const struct json *v, const struct fpath *at, bool max100, struct err **e)
{
    uint64_t n = 0;
    if (!v || v->type == JSON_NULL)
        return;
    if (v->type == JSON_STR && !percent(json_as_str(v), &n))
        ferr_invalid(e, at, v,
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is "
            "'[0-9]+%')");
    else if (v->type == JSON_INT && v->i < 0)
        ferr_invalid(e, at, v, "must be greater than or equal to 0");
    else if (max100 && v->type == JSON_STR && n > 100)
        ferr_invalid(e, at, v, "must not be greater than 100%");
}

static void ports(const struct json *list, const struct fpath *at, struct map *names, struct err **e)
{
    size_t i = 0;
    json_for (list, p) {
        struct fpath here = fpath_at(at, i++), name = FPATH(&here, "name"), cport = FPATH(&here, "containerPort"),
                     hport = FPATH(&here, "hostPort");
        struct str n = json_get_str(p, "name");
        int64_t c = json_get_int(p, "containerPort", 0), h = json_get_int(p, "hostPort", 0);
        const char *why = n.n ? name_port(n) : NULL;
        if (why)
            ferr_invalid_str(e, &name, n, why);
        else if (n.n && map_put(names, n, (void *)1))
            ferr_duplicate_str(e, &name, n);
        if (c == 0)
            ferr_required(e, &cport, "");
        else if (c < 1 || c > 65535)
            ferr_invalid_int(e, &cport, c, "must be between 1 and 65535, inclusive");
        if (h < 0 || h > 65535)
            ferr_invalid_int(e, &hport, h, "must be between 1 and 65535, inclusive");
    }
}

static void env(const struct json *list, const struct fpath *at, struct err **e)
{
    size_t i = 0;
    json_for (list, v) {
        struct fpath here = fpath_at(at, i++), name = FPATH(&here, "name"), from = FPATH(&here, "valueFrom");
        struct str n = json_get_str(v, "name");
        const char *why = n.n ? name_env_var(n) : NULL;
        const struct json *source = json_get(v, STR("valueFrom"));
        if (why)
            ferr_invalid_str(e, &name, n, why);
        if (!source)
            continue;
        if (json_count(source) == 0)
            ferr_invalid_str(e, &from, STR(""),
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`");
        else if (json_get_str(v, "value").n)
            ferr_invalid_str(e, &from, STR(""), "may not be specified when `value` is not empty");
        else if (json_count(source) > 1)
            ferr_invalid_str(e, &from, STR(""), "may not have more than one field specified at a time");
    }
}

static void mounts(const struct json *list, const struct map *volumes, const struct fpath *at, struct err **e)
{
    struct map paths = {0};
    size_t i = 0;
    json_for (list, m) {
        struct fpath here = fpath_at(at, i++), name = FPATH(&here, "name"), path = FPATH(&here, "mountPath"), sub = FPATH(&here, "subPath");
        struct str n = json_get_str(m, "name"), p = json_get_str(m, "mountPath"), s = json_get_str(m, "subPath"), rest = s, piece;
        if (n.n && !map_get(volumes, n))
            ferr_not_found(e, &name, n);
        if (p.n && map_put(&paths, p, (void *)1))
            ferr_invalid_str(e, &path, p, "must be unique");
        if (s.n && s.p[0] == '/')
            ferr_invalid_str(e, &sub, s, "must be a relative path");
        while (str_split(&rest, '/', &piece))
            if (str_eqz(piece, ".."))
                ferr_invalid_str(e, &sub, s, "must not contain '..'");
    }
    map_clear(&paths, NULL);
}

static void resource_name(struct str name, const struct fpath *at, struct err **e)
{
    static const char *const standard[] = {"cpu", "memory", "ephemeral-storage"};
    const char *why = name_qualified(name);
    if (why) {
        ferr_invalid_str(e, at, name, why);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(standard); i++)
        if (str_eqz(name, standard[i]))
            return;
    if (str_chr(name, '/') < 0 && !str_starts(name, STR("hugepages-")))
        ferr_invalid_str(e, at, name, "must be a standard resource type or fully qualified");
}

static void resources(const struct json *r, const struct fpath *at, struct err **e)
{
    const struct json *limits = json_get(r, STR("limits")), *requests = json_get(r, STR("requests"));
    struct fpath lat = FPATH(at, "limits"), rat = FPATH(at, "requests");
    struct quantity q, l;
    json_for (limits, x) {
        struct fpath key = fpath_key(&lat, json_key(x));
        resource_name(json_key(x), &key, e);
        if (quantity_parse(json_as_str(x), &q, NULL) == 0 && q.digits < 0)
            ferr_invalid(e, &key, x, "must be greater than or equal to 0");
    }
    json_for (requests, x) {
        struct fpath key = fpath_key(&rat, json_key(x));
        resource_name(json_key(x), &key, e);
        if (quantity_parse(json_as_str(x), &q, NULL) < 0)
            continue;
        const struct json *limit = json_get(limits, json_key(x));
        char why[256];
        if (q.digits < 0)
            ferr_invalid(e, &key, x, "must be greater than or equal to 0");
        else if (limit && quantity_parse(json_as_str(limit), &l, NULL) == 0 && quantity_cmp(q, l) > 0) {
            snprintf(why, sizeof(why), "must be less than or equal to %.*s limit of %.*s", (int)MIN(x->keyn, 128u), x->keyp,
                (int)MIN(limit->n, 64u), limit->sp);
            ferr_invalid(e, &rat, x, why);
        }
    }
}

static void probe(const struct json *p, const struct fpath *at, struct err **e)
{
    static const char *const handlers[] = {"exec", "httpGet", "tcpSocket", "grpc"};
    size_t n = 0;
    if (!p)
        return;
    for (size_t i = 0; i < ARRAY_LEN(handlers); i++)
        if (json_get(p, str_of(handlers[i])) && n++) {
            struct fpath here = fpath_name(at, str_of(handlers[i]));
            ferr_forbidden(e, &here, "may not specify more than 1 handler type");
        }
    if (!n)
        ferr_required(e, at, "must specify a handler type");
}

static void container(
    const struct json *c, const struct map *volumes, const struct fpath *at, bool init, struct map *port_names, struct err **e)
{
    static const char *const probes[] = {"livenessProbe", "readinessProbe", "startupProbe"};
    struct fpath name = FPATH(at, "name"), image = FPATH(at, "image"), pat = FPATH(at, "ports"), eat = FPATH(at, "env"),
                 mat = FPATH(at, "volumeMounts"), rat = FPATH(at, "resources");
    struct str n = json_get_str(c, "name"), im = json_get_str(c, "image");
    const char *why = n.n ? name_dns1123_label(n) : NULL;
    if (why)
        ferr_invalid_str(e, &name, n, why);
    if (!im.n)
        ferr_required(e, &image, "");
    else if (str_trim(im).n != im.n)
        ferr_invalid_str(e, &image, im, "must not have leading or trailing whitespace");
    ports(json_get(c, STR("ports")), &pat, port_names, e);
    env(json_get(c, STR("env")), &eat, e);
    mounts(json_get(c, STR("volumeMounts")), volumes, &mat, e);
    resources(json_get(c, STR("resources")), &rat, e);
    for (size_t i = 0; i < ARRAY_LEN(probes); i++) {
        struct fpath here = fpath_name(at, str_of(probes[i]));
        const struct json *p = json_get(c, str_of(probes[i]));
        if (p && init && !podspec_is_sidecar(c))
            ferr_forbidden(e, &here, "may not be set for init containers without restartPolicy=Always");
        else
            probe(p, &here, e);
    }
}

static void volumes(const struct json *list, const struct fpath *at, struct map *names, struct err **e)
{
    size_t i = 0;
    json_for (list, v) {
        struct fpath here = fpath_at(at, i++), name = FPATH(&here, "name");
        struct str n = json_get_str(v, "name");
        const char *why = n.n ? name_dns1123_label(n) : NULL;
        size_t sources = json_count(v) - (json_get(v, STR("name")) ? 1 : 0);
        if (why)
            ferr_invalid_str(e, &name, n, why);
        else if (n.n && map_put(names, n, (void *)1))
            ferr_duplicate_str(e, &name, n);
        if (sources == 0) {
            ferr_required(e, &here, "must specify a volume type");
        } else if (sources > 1) {
            size_t seen = 0;
            json_for (v, m)
                if (!str_eqz(json_key(m), "name") && seen++) {
                    struct fpath source = fpath_name(&here, json_key(m));
                    ferr_forbidden(e, &source, "may not specify more than 1 volume type");
                }
        }
    }
}

static void tolerations(const struct json *list, const struct fpath *at, struct err **e)
{
    size_t i = 0;
    json_for (list, t) {
        struct fpath here = fpath_at(at, i++), key = FPATH(&here, "key"), op_at = FPATH(&here, "operator"), eff = FPATH(&here, "effect");
        struct str k = json_get_str(t, "key"), op = json_get_str(t, "operator"), v = json_get_str(t, "value");
        const char *why = k.n ? name_qualified(k) : NULL;
        if (why)
            ferr_invalid_str(e, &key, k, why);
        if (!k.n && !str_eqz(op, "Exists"))
            ferr_invalid_str(e, &op_at, op, "operator must be Exists when `key` is empty, which means \"match all values and all keys\"");
        if (str_eqz(op, "Exists") && v.n)
            ferr_invalid(e, &op_at, t, "value must be empty when `operator` is 'Exists'");
        if (json_get(t, STR("tolerationSeconds")) && !str_eqz(json_get_str(t, "effect"), "NoExecute"))
            ferr_invalid_str(e, &eff, json_get_str(t, "effect"), "effect must be 'NoExecute' when `tolerationSeconds` is set");
    }
}

static void containers(const struct json *spec, const struct fpath *at, const struct map *vols, struct err **e)
{
    static const char *const lists[] = {"initContainers", "containers"};
    struct map names = {0};
    for (size_t k = 0; k < ARRAY_LEN(lists); k++) {
        struct fpath list_at = fpath_name(at, str_of(lists[k]));
        size_t i = 0;
        json_for (json_get(spec, str_of(lists[k])), c) {
            struct fpath here = fpath_at(&list_at, i++), name = FPATH(&here, "name");
            struct map port_names = {0};
            struct str n = json_get_str(c, "name");
            container(c, vols, &here, k == 0, &port_names, e);
            map_clear(&port_names, NULL);
            if (n.n && map_put(&names, n, (void *)1))
                ferr_duplicate_str(e, &name, n);
        }
    }
    map_clear(&names, NULL);
}

void podspec_validate(const struct json *spec, const struct fpath *at, struct err **e)
{
    struct map vols = {0};
    struct fpath vat = FPATH(at, "volumes"), sel = FPATH(at, "nodeSelector"), sa_at = FPATH(at, "serviceAccountName"),
                 node_at = FPATH(at, "nodeName"), tol = FPATH(at, "tolerations"), host = FPATH(at, "hostname"),
                 sub = FPATH(at, "subdomain");
    struct str sa = json_get_str(spec, "serviceAccountName"), node = json_get_str(spec, "nodeName"),
               hostname = json_get_str(spec, "hostname"), subdomain = json_get_str(spec, "subdomain");
    const char *why;
    volumes(json_get(spec, STR("volumes")), &vat, &vols, e);
    containers(spec, at, &vols, e);
    map_clear(&vols, NULL);
    labels_validate(json_get(spec, STR("nodeSelector")), &sel, e);
    if (sa.n && (why = name_dns1123_subdomain(sa)))
        ferr_invalid_str(e, &sa_at, sa, why);
    if (node.n && (why = name_dns1123_subdomain(node)))
        ferr_invalid_str(e, &node_at, node, why);
    if (hostname.n && (why = name_dns1123_label(hostname)))
        ferr_invalid_str(e, &host, hostname, why);
    if (subdomain.n && (why = name_dns1123_label(subdomain)))
        ferr_invalid_str(e, &sub, subdomain, why);
    tolerations(json_get(spec, STR("tolerations")), &tol, e);
    podspec_validate_security(spec, at, e);
    if (json_get_bool(spec, "hostNetwork", false)) {
        struct fpath cs = FPATH(at, "containers");
        size_t i = 0;
        json_for (json_get(spec, STR("containers")), c) {
            struct fpath ci = fpath_at(&cs, i++), ps = FPATH(&ci, "ports");
            size_t k = 0;
            json_for (json_get(c, STR("ports")), p) {
                struct fpath pi = fpath_at(&ps, k++), cp = FPATH(&pi, "hostPort");
                int64_t h = json_get_int(p, "hostPort", 0);
                if (h && h != json_get_int(p, "containerPort", 0))
                    ferr_invalid_int(e, &cp, h, "must match `containerPort` when `hostNetwork` is true");
            }
        }
    }
}

void podtemplate_validate(struct pool *p, const struct json *tmpl, const struct json *selector, const struct fpath *at, struct err **e)
{
    struct fpath meta = FPATH(at, "metadata"), labels = FPATH(&meta, "labels"), spec = FPATH(at, "spec");
    const struct json *have = json_path(tmpl, "metadata", "labels", NULL);
    struct selector s;
    if (json_count(selector) && selector_from_json(p, selector, &s, NULL) == 0 && s.n && !selector_match_json(&s, have))
        ferr_invalid(e, &labels, have, "`selector` does not match template `labels`");
    labels_validate(have, &labels, e);
    podspec_validate(json_get(tmpl, STR("spec")), &spec, e);
}

void podtemplate_always(const struct json *tmpl, const struct fpath *at, struct err **e)
{
    static const struct str always[] = {{"Always", 6}};
    struct fpath spec = FPATH(at, "spec"), policy = FPATH(&spec, "restartPolicy"), deadline = FPATH(&spec, "activeDeadlineSeconds");
    struct str have = json_str_at(tmpl, "spec", "restartPolicy", NULL);
    if (have.n && !str_eqz(have, "Always"))
        ferr_not_supported(e, &policy, have, always, 1);
    if (json_path(tmpl, "spec", "activeDeadlineSeconds", NULL))
        ferr_forbidden(e, &deadline, "activeDeadlineSeconds in ReplicaSet is not Supported");
}
