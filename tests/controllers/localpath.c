#include "fixture.h"

#define SET "serviceaccount,pvc-protection,pv-protection,persistentvolume-binder,local-path"

static void claim(struct world *w, const char *name, const char *mode, const char *node)
{
    _cleanup_(freep) char *body = xasprintf(
        "{\"apiVersion\":\"v1\",\"kind\":\"PersistentVolumeClaim\",\"metadata\":{\"name\":\"%s\"%s%s%s},\"spec\":{\"accessModes\":[\"%s\"],"
        "\"resources\":{\"requests\":{\"storage\":\"1Gi\"}}}}",
        name, node ? ",\"annotations\":{\"volume.kubernetes.io/selected-node\":\"" : "", node ? node : "", node ? "\"}" : "", mode);
    world_create(w, "/persistentvolumeclaims", "default", body);
    world_run(w);
}

static struct str claim_at(struct world *w, const char *name, const char *pointer)
{
    return world_str(w, "/persistentvolumeclaims", "default", name, pointer);
}

TEST(the_class_is_made_as_the_default_and_waits_for_a_pod)
{
    struct world w;
    world_open(&w, SET);
    EQ_STR(world_str(&w, "storage.k8s.io/storageclasses", "", "local-path", "/provisioner"), STR("rancher.io/local-path"));
    EQ_STR(world_str(&w, "storage.k8s.io/storageclasses", "", "local-path", "/volumeBindingMode"), STR("WaitForFirstConsumer"));
    claim(&w, "c", "ReadWriteOnce", NULL);
    EQ_STR(claim_at(&w, "c", "/spec/storageClassName"), STR("local-path"));
    EQ_STR(claim_at(&w, "c", "/status/phase"), STR("Pending"));
    EQ(world_count(&w, "/persistentvolumes", ""), 0);
    world_close(&w);
}

TEST(a_claim_with_a_node_gets_a_folder_tied_to_it_and_is_bound)
{
    struct world w;
    world_open(&w, SET);
    world_node(&w, "n1", true);
    claim(&w, "c", "ReadWriteOnce", "n1");
    EQ_STR(claim_at(&w, "c", "/status/phase"), STR("Bound"));
    _cleanup_(freep) char *name = str_dup(claim_at(&w, "c", "/spec/volumeName")), *uid = str_dup(claim_at(&w, "c", "/metadata/uid"));
    _cleanup_(freep) char *want = xasprintf("pvc-%s", uid), *path = xasprintf("/base/pvc-%s_default_c", uid);
    EQ_Z(name, want);
    EQ_STR(world_str(&w, "/persistentvolumes", "", name, "/spec/hostPath/path"), str_of(path));
    EQ_STR(world_str(&w, "/persistentvolumes", "", name, "/spec/nodeAffinity/required/nodeSelectorTerms/0/matchExpressions/0/values/0"),
        STR("n1"));
    EQ_STR(world_str(&w, "/persistentvolumes", "", name, "/status/phase"), STR("Bound"));
    OK(world_event(&w, "default", "ProvisioningSucceeded"));
    /* released: its node removes it; once the node is no more nobody else could */
    world_do(&w, API_DELETE, "/persistentvolumeclaims", "default", "c", "", NULL, 200);
    world_run(&w);
    EQ_STR(world_str(&w, "/persistentvolumes", "", name, "/status/phase"), STR("Released"));
    world_do(&w, API_DELETE, "/nodes", "", "n1", "", NULL, 200);
    world_run(&w);
    OK(!world_get(&w, "/persistentvolumes", "", name));
    world_close(&w);
}

TEST(a_claim_that_local_path_cannot_serve_is_refused_with_an_event)
{
    struct world w;
    world_open(&w, SET);
    world_node(&w, "n1", true);
    claim(&w, "many", "ReadWriteMany", "n1");
    EQ_STR(claim_at(&w, "many", "/status/phase"), STR("Pending"));
    OK(world_event(&w, "default", "ProvisioningFailed"));
    EQ(world_count(&w, "/persistentvolumes", ""), 0);
    world_close(&w);
}

TEST(a_claim_whose_node_is_gone_lets_go_of_it)
{
    struct world w;
    world_open(&w, SET);
    claim(&w, "c", "ReadWriteOnce", "nowhere");
    EQ(world_count(&w, "/persistentvolumes", ""), 0);
    EQ_STR(claim_at(&w, "c", "/metadata/annotations/volume.kubernetes.io~1selected-node"), STR(""));
    world_close(&w);
}
