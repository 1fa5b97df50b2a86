#include "api/audit.h"
#include "harness.h"

static enum audit_level find(const struct audit_policy *p, struct audit_subject s)
{
    unsigned omit = 0;
    bool managed = false;
    return audit_policy_find(p, &s, &omit, &managed);
}

TEST(the_first_audit_rule_that_fits_decides)
{
    static const struct str groups[] = {STR("dev"), STR("system:authenticated")};
    struct audit_policy *p = NULL;
    struct err *e = NULL;
    FINE(audit_policy_parse(STR("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n"
                                "- {level: None, users: [quiet]}\n"
                                "- {level: Request, userGroups: [dev], verbs: [create]}\n"
                                "- {level: RequestResponse, namespaces: [ns], resources: [{group: apps, resources: [deployments, '*/scale', 'pods/*']}]}\n"
                                "- {level: Metadata, resources: [{group: '', resources: [secrets], resourceNames: [s]}]}\n"
                                "- {level: Metadata, nonResourceURLs: ['/healthz', '/logs/*']}\n"),
             &p, &e),
        e);
    struct audit_subject s = {.user = STR("quiet"), .verb = STR("create"), .groups = groups, .ngroups = 2, .is_resource = true};
    EQ(find(p, s), AUDIT_NONE);
    s.user = STR("loud");
    EQ(find(p, s), AUDIT_REQUEST);
    s = (struct audit_subject){.user = STR("u"), .verb = STR("get"), .group = STR("apps"), .resource = STR("deployments"), .ns = STR("ns"), .is_resource = true};
    EQ(find(p, s), AUDIT_RESPONSE);
    s.subresource = STR("status");
    EQ(find(p, s), AUDIT_NONE);
    s.subresource = STR("scale");
    EQ(find(p, s), AUDIT_RESPONSE);
    s.resource = STR("pods"), s.subresource = STR("log");
    EQ(find(p, s), AUDIT_RESPONSE);
    s.ns = STR("other");
    EQ(find(p, s), AUDIT_NONE);
    s = (struct audit_subject){.user = STR("u"), .verb = STR("get"), .group = STR(""), .resource = STR("secrets"), .name = STR("s"), .is_resource = true};
    EQ(find(p, s), AUDIT_METADATA);
    s.name = STR("t");
    EQ(find(p, s), AUDIT_NONE);
    s = (struct audit_subject){.user = STR("u"), .verb = STR("get"), .path = STR("/logs/x")};
    EQ(find(p, s), AUDIT_METADATA);
    s.path = STR("/healthz/x");
    EQ(find(p, s), AUDIT_NONE);
    audit_policy_free(p);
}

TEST(a_wrong_audit_policy_names_its_rule_and_field)
{
    static const struct {
        const char *text, *says;
    } rows[] = {{"a", "must be apiVersion"}, {"apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: []\n", "there must be 1"},
        {"apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Some}]\n", "rules[0].level"},
        {"apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None}, {level: None, users: x}]\n", "rules[1].users: must be a list of strings"},
        {"apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None, omitStages: [X]}]\n", "rules[0].omitStages"},
        {"apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None, nonResourceURLs: [a], namespaces: [b]}]\n", "rules[0].nonResourceURLs"},
        {"apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [3]\n", "rules[0]: must be a map"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct audit_policy *p = NULL;
        struct err *e = NULL;
        OK(audit_policy_parse(str_of(rows[i].text), &p, &e) < 0);
        if (str_find(str_of(err_msg(e)), str_of(rows[i].says)) < 0)
            test_fail(__FILE__, __LINE__, "%s: %s", rows[i].text, err_msg(e));
        err_free(e);
    }
}
