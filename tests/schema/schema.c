#include "schema/schema.h"

#include "harness.h"

TEST(every_kind_of_the_tables_is_found_by_resource_kind_and_type)
{
    struct schema *s = schema_builtin();
    const struct schema_resource *r = schema_find(s, STR("apps"), STR("v1"), STR("deployments"));
    OK(r != NULL);
    EQ_STR(r->kind, STR("Deployment"));
    EQ_STR(r->short_names[0], STR("deploy"));
    EQ_STR(r->storage, STR("apps/deployments"));
    OK(r->namespaced && r->has_status && r->has_spec_generation);
    OK(schema_find_kind(s, STR("apps"), STR("v1"), STR("Deployment")) == r);
    EQ(r->verbs, 255);
    OK(schema_sub(r, STR("scale")) != NULL);
    EQ_STR(schema_sub(r, STR("scale"))->group, STR("autoscaling"));
    OK(schema_find_type(s, STR("io.k8s.api.apps.v1.DeploymentSpec")) != NULL);
    OK(schema_find(s, STR(""), STR("v1"), STR("pods")) != NULL);
    OK(!schema_find(s, STR(""), STR("v1"), STR("podz")));
    size_t n = 0;
    for (const struct schema_resource *x; (x = schema_at(s, n)); n++) {
        OK(schema_find(s, x->group, x->version, x->resource) == x);
        OK(schema_field(x->type, STR("apiVersion")) != NULL);
    }
    OK(n > 60);
    schema_unref(s);
}

TEST(inlined_members_stand_in_their_owner_and_remember_their_message)
{
    struct schema *s = schema_builtin();
    const struct schema_type *volume = schema_find_type(s, STR("io.k8s.api.core.v1.Volume"));
    const struct schema_field *f = schema_field(volume, STR("configMap"));
    OK(f != NULL);
    EQ_Z(f->proto_via, "volumeSource");
    EQ(f->proto_via_num, 2);
    EQ(f->kind, SCH_OBJECT);
    EQ_STR(f->ref->name, STR("io.k8s.api.core.v1.ConfigMapVolumeSource"));
    const struct schema_type *pod = schema_find_type(s, STR("io.k8s.api.core.v1.PodSpec"));
    f = schema_field(pod, STR("containers"));
    EQ_STR(f->merge_key, STR("name"));
    OK(f->flags & SCH_LIST_MAP && f->flags & SCH_PATCH_MERGE && f->flags & SCH_REQUIRED);
    schema_unref(s);
}

TEST(the_hub_serves_its_own_choice)
{
    struct schema *s = schema_hub();
    OK(schema_find(s, STR("rbac.authorization.k8s.io"), STR("v1"), STR("clusterroles")) != NULL);
    OK(!schema_find(s, STR(""), STR("v1"), STR("pods")));
    schema_unref(s);
}
