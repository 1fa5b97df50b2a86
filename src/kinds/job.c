#include "base/clock.h"
#include "kinds/cell.h"
#include "kinds/podspec.h"
#include "kinds/rows.h"

static void dflt(struct kind_ctx *c, struct json *doc)
{
    struct json *spec = json_put_obj(c->pool, doc, STR("spec")), *labels = json_path(spec, "template", "metadata", "labels", NULL),
                *meta = json_put_obj(c->pool, doc, STR("metadata"));
    podspec_default(c->pool, json_path(spec, "template", "spec", NULL));
    if (!json_get(spec, STR("completions")) && !json_get(spec, STR("parallelism")))
        json_set_int(c->pool, spec, STR("completions"), 1);
    if (!json_get(spec, STR("parallelism")))
        json_set_int(c->pool, spec, STR("parallelism"), 1);
    if (!json_get(spec, STR("backoffLimit")))
        json_set_int(c->pool, spec, STR("backoffLimit"), json_get(spec, STR("backoffLimitPerIndex")) ? INT32_MAX : 6);
    if (!json_get(spec, STR("podReplacementPolicy")))
        json_set_str(c->pool, spec, STR("podReplacementPolicy"),
            json_get(spec, STR("podFailurePolicy")) ? STR("Failed") : STR("TerminatingOrFailed"));
    if (json_count(labels) && !json_count(json_get(meta, STR("labels"))))
        json_set(c->pool, meta, STR("labels"), json_clone(c->pool, labels));
}

/* A Job names its pods by its own uid unless told that the selector is the user's: labels and selector are made here. The uid is given
 * before prepare. */
static void prepare(struct kind_ctx *c, struct json *doc, const struct json *old)
{
    struct json *spec = json_get(doc, STR("spec"));
    struct str uid = json_str_at(doc, "metadata", "uid", NULL), name = json_str_at(doc, "metadata", "name", NULL);
    if (old || json_get_bool(spec, "manualSelector", false) || !uid.n)
        return;
    struct json *tmpl = json_put_obj(c->pool, spec, STR("template")), *meta = json_put_obj(c->pool, tmpl, STR("metadata")),
                *labels = json_put_obj(c->pool, meta, STR("labels"));
    if (!json_get(labels, STR("job-name")))
        json_set_str(c->pool, labels, STR("job-name"), name);
    if (!json_get(labels, STR("batch.kubernetes.io/job-name")))
        json_set_str(c->pool, labels, STR("batch.kubernetes.io/job-name"), name);
    if (!json_get(labels, STR("controller-uid")))
        json_set_str(c->pool, labels, STR("controller-uid"), uid);
    if (!json_get(labels, STR("batch.kubernetes.io/controller-uid")))
        json_set_str(c->pool, labels, STR("batch.kubernetes.io/controller-uid"), uid);
    struct json *match = json_put_obj(c->pool, json_put_obj(c->pool, spec, STR("selector")), STR("matchLabels"));
    if (!json_get(match, STR("batch.kubernetes.io/controller-uid")))
        json_set_str(c->pool, match, STR("batch.kubernetes.io/controller-uid"), uid);
}

static void validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    static const struct str policies[] = {{"OnFailure", 9}, {"Never", 5}};
    struct fpath at = FPATH(NULL, "spec"), tmpl = FPATH(&at, "template"), sel = FPATH(&at, "selector"), tspec = FPATH(&tmpl, "spec"),
                 policy = FPATH(&tspec, "restartPolicy"), comp = FPATH(&at, "completions");
    const struct json *spec = json_get(doc, STR("spec")), *was = json_get(old, STR("spec"));
    if (str_eqz(c->sub, "status"))
        return;
    selector_validate(json_get(spec, STR("selector")), &sel, e);
    podtemplate_validate(c->pool, json_get(spec, STR("template")), json_get(spec, STR("selector")), &tmpl, e);
    struct str have = json_str_at(spec, "template", "spec", "restartPolicy", NULL);
    if (str_eqz(have, "Always"))
        ferr_not_supported(e, &policy, have, policies, ARRAY_LEN(policies));
    if (str_eqz(json_get_str(spec, "completionMode"), "Indexed") && !json_get(spec, STR("completions")))
        ferr_required(e, &comp, "when completion mode is Indexed");
    if (!was)
        return;
    const struct json *a = json_get(spec, STR("completions")), *b = json_get(was, STR("completions"));
    bool indexed = str_eqz(json_get_str(spec, "completionMode"), "Indexed");
    if (!indexed && (a || b) && !(a && b && json_equal(a, b)))
        ferr_invalid(e, &comp, a, "field is immutable");
    bool suspended = json_get_bool(was, "suspend", false);
    a = json_get(spec, STR("template"));
    b = json_get(was, STR("template"));
    if (!suspended && a && b && !json_equal(a, b))
        ferr_invalid(e, &tmpl, a, "field is immutable");
}

static bool has(const struct json *doc, const char *type)
{
    json_for (json_path(doc, "status", "conditions", NULL), x)
        if (str_eqz(json_get_str(x, "type"), type))
            return str_eqz(json_get_str(x, "status"), "True");
    return false;
}

static const char *state(const struct json *doc)
{
    static const struct {
        const char *type, *cell;
    } rows[] = {{"Complete", "Complete"}, {"Failed", "Failed"}, {NULL, "Terminating"}, {"Suspended", "Suspended"},
        {"FailureTarget", "FailureTarget"}, {"SuccessCriteriaMet", "SuccessCriteriaMet"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].type ? has(doc, rows[i].type) : json_str_at(doc, "metadata", "deletionTimestamp", NULL).n > 0)
            return rows[i].cell;
    return "Running";
}

static void cells(struct kind_ctx *c, const struct json *doc, struct json *row)
{
    const struct json *spec = json_get(doc, STR("spec")), *want = json_get(spec, STR("completions")),
                      *tmpl = json_path(spec, "template", "spec", "containers", NULL);
    int64_t done = json_get_int(json_get(doc, STR("status")), "succeeded", 0), width = json_get_int(spec, "parallelism", 0), from,
            to = c->now;
    struct str started = json_str_at(doc, "status", "startTime", NULL), ended = json_str_at(doc, "status", "completionTime", NULL);
    cell_add_str(c, row, json_str_at(doc, "metadata", "name", NULL));
    cell_add_z(c, row, state(doc));
    if (want)
        cell_add_str(c, row, pool_printf(c->pool, "%" PRId64 "/%" PRId64, done, json_as_int(want, 0)));
    else if (width > 1)
        cell_add_str(c, row, pool_printf(c->pool, "%" PRId64 "/1 of %" PRId64, done, width));
    else
        cell_add_str(c, row, pool_printf(c->pool, "%" PRId64 "/1", done));
    if (time_parse(started, &from) && (!ended.n || time_parse(ended, &to)))
        cell_add_str(c, row, cell_duration(c->pool, cell_between(from, to)));
    else
        cell_add_z(c, row, "");
    cell_add_age(c, row, json_str_at(doc, "metadata", "creationTimestamp", NULL));
    cell_add_str(c, row, cell_member_join(c->pool, tmpl, "name", ","));
    cell_add_str(c, row, cell_member_join(c->pool, tmpl, "image", ","));
    cell_add_str(c, row, cell_selector(c->pool, json_get(spec, STR("selector"))));
}

const struct kind_hooks kind_job = {KIND("batch", "Job"), .dflt = dflt, .prepare = prepare, .validate = validate, .cells = cells};
