#include "base/clock.h"
#include "kinds/cell.h"
#include "kinds/rows.h"
#include "schema/ferr.h"

/* The request never changes; approval and status are subresources. */
static void prepare(struct kind_ctx *c, struct json *doc, const struct json *old)
{
    const struct json *spec = json_get(old, STR("spec")), *conditions = json_path(old, "status", "conditions", NULL);
    if (!old)
        return;
    if (spec)
        json_set(c->pool, doc, STR("spec"), json_clone(c->pool, spec));
    if (str_eqz(c->sub, "status") && conditions) { /* only approval writes Approved and Denied */
        struct json *status = json_put_obj(c->pool, doc, STR("status"));
        if (!json_get(status, STR("conditions")))
            json_set(c->pool, status, STR("conditions"), json_clone(c->pool, conditions));
    }
}

static void validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct fpath at = FPATH(NULL, "spec"), usages = FPATH(&at, "usages"), expires = FPATH(&at, "expirationSeconds"),
                 status = FPATH(NULL, "status"), conds = FPATH(&status, "conditions");
    const struct json *seconds = json_path(doc, "spec", "expirationSeconds", NULL);
    bool approved = false, denied = false;
    (void)c;
    if (!old && !json_count(json_path(doc, "spec", "usages", NULL)))
        ferr_required(e, &usages, "");
    if (json_is(seconds, JSON_INT) && seconds->i < 600)
        ferr_invalid_int(e, &expires, seconds->i, "may not specify a duration less than 600 seconds (10 minutes)");
    json_for (json_path(doc, "status", "conditions", NULL), x) {
        approved |= str_eqz(json_get_str(x, "type"), "Approved");
        denied |= str_eqz(json_get_str(x, "type"), "Denied");
    }
    if (approved && denied)
        ferr_invalid_str(e, &conds, STR("Denied"), "Approved and Denied conditions are mutually exclusive");
}

static void cells(struct kind_ctx *c, const struct json *doc, struct json *row)
{
    const struct json *spec = json_get(doc, STR("spec")), *seconds = json_get(spec, STR("expirationSeconds"));
    bool approved = false, denied = false, failed = false;
    json_for (json_path(doc, "status", "conditions", NULL), x) {
        approved |= str_eqz(json_get_str(x, "type"), "Approved");
        denied |= str_eqz(json_get_str(x, "type"), "Denied");
        failed |= str_eqz(json_get_str(x, "type"), "Failed");
    }
    bool issued = json_str_at(doc, "status", "certificate", NULL).n > 0;
    cell_add_str(c, row, json_str_at(doc, "metadata", "name", NULL));
    cell_add_age(c, row, json_str_at(doc, "metadata", "creationTimestamp", NULL));
    cell_add_or(c, row, json_get_str(spec, "signerName"), "<none>");
    cell_add_str(c, row, json_get_str(spec, "username"));
    cell_add_str(c, row, json_is(seconds, JSON_INT) ? cell_duration(c->pool, seconds->i * NS_PER_S) : STR("<none>"));
    cell_add_str(c, row,
        pool_printf(c->pool, "%s%s%s",
            denied     ? "Denied"
            : approved ? "Approved"
                       : "Pending",
            failed ? ",Failed" : "", issued ? ",Issued" : ""));
}

const struct kind_hooks kind_csr = {
    KIND("certificates.k8s.io", "CertificateSigningRequest"), .prepare = prepare, .validate = validate, .cells = cells};
