#include "kinds/admission_rules.h"
#include "kinds/rows.h"
#include "schema/selector.h"

/* Validating- and MutatingWebhookConfiguration: what admissionregistration's validation asks of them. Calling them is api/webhook.c. */

static const char *const condition_vars[] = {"object", "oldObject", "request", "authorizer", NULL};

static void client(const struct json *c, const struct fpath *at, struct err **e)
{
    const struct json *svc = json_get(c, STR("service"));
    struct str url = json_get_str(c, "url");
    struct fpath url_at = FPATH(at, "url"), svc_at = FPATH(at, "service"), path_at = FPATH(&svc_at, "path"),
                 port_at = FPATH(&svc_at, "port");
    if ((url.n > 0) == json_is(svc, JSON_OBJ)) {
        ferr_required(e, at, "exactly one of url or service is required");
        return;
    }
    if (url.n && !str_starts(url, STR("https://")))
        ferr_invalid_str(e, &url_at, url, "'https' is the only allowed URL scheme; desired format: https://host[/path]");
    if (url.n && str_chr(url, '@') >= 0)
        ferr_invalid_str(e, &url_at, url, "user information is not permitted in the URL");
    if (url.n && (str_chr(url, '#') >= 0 || str_chr(url, '?') >= 0))
        ferr_invalid_str(e, &url_at, url, "query parameters and fragments are not permitted in the URL");
    struct str path = json_get_str(svc, "path");
    int64_t port = json_get_int(svc, "port", 443);
    if (path.n && path.p[0] != '/')
        ferr_invalid_str(e, &path_at, path, "must start with a '/'");
    if (svc && (port < 1 || port > 65535))
        ferr_invalid_int(e, &port_at, port, "port is not valid: must be between 1 and 65535, inclusive");
}

static void hook(const struct json *w, const struct json *old, const struct fpath *at, struct err **e)
{
    struct fpath name_at = FPATH(at, "name"), client_at = FPATH(at, "clientConfig"), side_at = FPATH(at, "sideEffects"),
                 time_at = FPATH(at, "timeoutSeconds"), versions_at = FPATH(at, "admissionReviewVersions"), rules_at = FPATH(at, "rules"),
                 conditions_at = FPATH(at, "matchConditions");
    static const struct str sides[] = {STR("None"), STR("NoneOnDryRun")};
    struct str name = json_get_str(w, "name"), side = json_get_str(w, "sideEffects");
    const char *why = name.n ? name_dns1123_subdomain(name) : NULL;
    int64_t timeout = json_get_int(w, "timeoutSeconds", 10);
    bool known = false;
    size_t dots = 0;
    for (size_t i = 0; i < name.n; i++)
        dots += name.p[i] == '.';
    if (why)
        ferr_invalid_str(e, &name_at, name, why);
    else if (name.n && dots < 2)
        ferr_invalid_str(e, &name_at, name, "should be a domain with at least three segments separated by dots");
    client(json_get(w, STR("clientConfig")), &client_at, e);
    if (side.n && !str_eqz(side, "None") && !str_eqz(side, "NoneOnDryRun"))
        ferr_not_supported(e, &side_at, side, sides, 2);
    if (timeout < 1 || timeout > 30)
        ferr_invalid_int(e, &time_at, timeout,
            timeout < 1 ? "the timeout value must be at least 1 second" : "the timeout value must not be greater than 30 seconds");
    json_for (json_get(w, STR("admissionReviewVersions")), v)
        known |= str_eqz(json_as_str(v), "v1") || str_eqz(json_as_str(v), "v1beta1");
    if (json_count(json_get(w, STR("admissionReviewVersions"))) && !known)
        ferr_invalid(e, &versions_at, json_get(w, STR("admissionReviewVersions")), "must include at least one of v1, v1beta1");
    admission_rules(json_get(w, STR("rules")), &rules_at, e);
    admission_conditions(json_get(w, STR("matchConditions")), old, condition_vars, &conditions_at, e);
}

static void validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct fpath list = FPATH(NULL, "webhooks");
    const struct json *all = json_get(doc, STR("webhooks"));
    size_t i = 0;
    (void)c;
    json_for (all, w) {
        struct fpath here = fpath_at(&list, i), name_at = FPATH(&here, "name");
        size_t k = 0;
        hook(w, json_get(old, STR("webhooks")), &here, e);
        json_for (all, o) {
            if (k++ >= i)
                break;
            if (str_eq(json_get_str(o, "name"), json_get_str(w, "name"))) {
                ferr_duplicate_str(e, &name_at, json_get_str(w, "name"));
                break;
            }
        }
        i++;
    }
}

#define GROUP "admissionregistration.k8s.io"
const struct kind_hooks kind_validating_webhook = {KIND(GROUP, "ValidatingWebhookConfiguration"), .validate = validate};
const struct kind_hooks kind_mutating_webhook = {KIND(GROUP, "MutatingWebhookConfiguration"), .validate = validate};
