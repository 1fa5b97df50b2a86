#include <stdlib.h>

#include "kinds/cell.h"
#include "kinds/rows.h"
#include "schema/ferr.h"
#include "schema/selector.h"

static void dflt(struct kind_ctx *c, struct json *doc)
{
    struct json *status = json_get(doc, STR("status"));
    const struct json *capacity = json_get(status, STR("capacity"));
    if (capacity && !json_get(status, STR("allocatable")))
        json_set(c->pool, status, STR("allocatable"), json_clone(c->pool, capacity));
}

static void validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct fpath at = FPATH(NULL, "spec"), taints = FPATH(&at, "taints"), cidr = FPATH(&at, "podCIDR"), id = FPATH(&at, "providerID");
    const struct json *spec = json_get(doc, STR("spec")), *was = json_get(old, STR("spec")), *list = json_get(spec, STR("taints"));
    size_t i = 0;
    (void)c;
    json_for (list, t) {
        struct fpath here = fpath_at(&taints, i++), key = FPATH(&here, "key"), val = FPATH(&here, "value"), eff = FPATH(&here, "effect");
        struct str k = json_get_str(t, "key"), v = json_get_str(t, "value"), effect = json_get_str(t, "effect");
        const char *why = name_qualified(k);
        if (why)
            ferr_invalid_str(e, &key, k, why);
        if ((why = name_label_value(v)))
            ferr_invalid_str(e, &val, v, why);
        if (!effect.n)
            ferr_required(e, &eff, "");
        size_t k2 = 0;
        json_for (list, other) {
            if (++k2 >= i)
                break;
            if (str_eq(json_get_str(other, "key"), k) && str_eq(json_get_str(other, "effect"), effect)) {
                ferr_duplicate(e, &here, t);
                break;
            }
        }
    }
    struct str was_cidr = json_get_str(was, "podCIDR"), was_id = json_get_str(was, "providerID");
    if (was_cidr.n && !str_eq(was_cidr, json_get_str(spec, "podCIDR")))
        ferr_forbidden(e, &cidr, "node updates may not change podCIDR except from \"\" to valid");
    if (was_id.n && !str_eq(was_id, json_get_str(spec, "providerID")))
        ferr_forbidden(e, &id, "node updates may not change providerID except from \"\" to valid");
}

static int cmp(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static struct str roles(struct kind_ctx *c, const struct json *doc)
{
    const struct json *labels = json_path(doc, "metadata", "labels", NULL);
    const struct str prefix = STR("node-role.kubernetes.io/");
    struct str *all = pool_array(c->pool, struct str, json_count(labels) + 1);
    size_t n = 0;
    json_for (labels, l) {
        if (str_starts(json_key(l), prefix) && l->keyn > prefix.n)
            all[n++] = str_sub(json_key(l), prefix.n, l->keyn);
        else if (str_eqz(json_key(l), "kubernetes.io/role") && l->n)
            all[n++] = json_as_str(l);
    }
    if (n)
        qsort(all, n, sizeof(*all), cmp);
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < n; i++)
        if (!i || !str_eq(all[i], all[i - 1]))
            buf_printf(&b, "%s%.*s", b.n ? "," : "", STR_ARG(all[i]));
    return buf_to_pool(&b, c->pool);
}

static struct str address(const struct json *doc, const char *type)
{
    json_for (json_path(doc, "status", "addresses", NULL), a)
        if (str_eqz(json_get_str(a, "type"), type))
            return json_get_str(a, "address");
    return STR_NULL;
}

static void cells(struct kind_ctx *c, const struct json *doc, struct json *row)
{
    const struct json *info = json_path(doc, "status", "nodeInfo", NULL);
    const char *status = "Unknown";
    json_for (json_path(doc, "status", "conditions", NULL), x)
        if (str_eqz(json_get_str(x, "type"), "Ready"))
            status = str_eqz(json_get_str(x, "status"), "True") ? "Ready" : "NotReady";
    bool cordoned = json_get_bool(json_get(doc, STR("spec")), "unschedulable", false);
    struct str kernel = json_get_str(info, "kernelVersion"), arch = json_get_str(info, "architecture");
    kernel = pool_printf(
        c->pool, "%.*s%s%.*s%s", STR_ARG(kernel.n ? kernel : STR("<unknown>")), arch.n ? " (" : "", STR_ARG(arch), arch.n ? ")" : "");
    cell_add_str(c, row, json_str_at(doc, "metadata", "name", NULL));
    cell_add_str(c, row, pool_printf(c->pool, "%s%s", status, cordoned ? ",SchedulingDisabled" : ""));
    cell_add_or(c, row, roles(c, doc), "<none>");
    cell_add_age(c, row, json_str_at(doc, "metadata", "creationTimestamp", NULL));
    cell_add_str(c, row, json_get_str(info, "kubeletVersion"));
    cell_add_or(c, row, address(doc, "InternalIP"), "<none>");
    cell_add_or(c, row, address(doc, "ExternalIP"), "<none>");
    cell_add_or(c, row, json_get_str(info, "osImage"), "<unknown>");
    cell_add_str(c, row, kernel);
    cell_add_or(c, row, json_get_str(info, "containerRuntimeVersion"), "<unknown>");
}

const struct kind_hooks kind_node = {
    KIND("", "Node"), .dflt = dflt, .validate = validate, .cells = cells, .keeps_status = true, .status_edits_meta = true};
