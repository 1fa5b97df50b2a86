#include "fixture.h"

#define SET "serviceaccount,pvc-protection,pv-protection,persistentvolume-binder"
#define CLAIM(name, size, more)                                                                                                            \
    "{\"apiVersion\":\"v1\",\"kind\":\"PersistentVolumeClaim\",\"metadata\":{\"name\":\"" name                                             \
    "\"},\"spec\":{\"accessModes\":[\"ReadWriteOnce\"]," more "\"resources\":{\"requests\":{\"storage\":\"" size "\"}}}}"
#define VOLUME(name, size, more)                                                                                                           \
    "{\"apiVersion\":\"v1\",\"kind\":\"PersistentVolume\",\"metadata\":{\"name\":\"" name                                                  \
    "\"},\"spec\":{\"accessModes\":[\"ReadWriteOnce\"]," more "\"capacity\":{\"storage\":\"" size "\"},\"hostPath\":{\"path\":\"/x\"}}}"

static struct str claim_phase(struct world *w, const char *name)
{
    return world_str(w, "/persistentvolumeclaims", "default", name, "/status/phase");
}
static struct str volume_phase(struct world *w, const char *name)
{
    return world_str(w, "/persistentvolumes", "", name, "/status/phase");
}

TEST(a_claim_takes_the_smallest_volume_that_fits)
{
    struct world w;
    world_open(&w, SET);
    world_create(&w, "/persistentvolumes", "", VOLUME("big", "10Gi", ""));
    world_create(&w, "/persistentvolumes", "", VOLUME("fit", "2Gi", ""));
    world_create(&w, "/persistentvolumes", "", VOLUME("small", "500Mi", ""));
    world_run(&w);
    EQ_STR(volume_phase(&w, "fit"), STR("Available"));
    world_create(&w, "/persistentvolumeclaims", "default", CLAIM("c", "1Gi", "\"storageClassName\":\"\","));
    world_run(&w);
    EQ_STR(claim_phase(&w, "c"), STR("Bound"));
    EQ_STR(world_str(&w, "/persistentvolumeclaims", "default", "c", "/spec/volumeName"), STR("fit"));
    EQ_STR(world_str(&w, "/persistentvolumeclaims", "default", "c", "/status/capacity/storage"), STR("2Gi"));
    EQ_STR(volume_phase(&w, "fit"), STR("Bound"));
    EQ_STR(world_str(&w, "/persistentvolumes", "", "fit", "/spec/claimRef/name"), STR("c"));
    world_do(&w, API_DELETE, "/persistentvolumeclaims", "default", "c", "", NULL, 200);
    world_run(&w);
    OK(!world_get(&w, "/persistentvolumeclaims", "default", "c"));
    EQ_STR(volume_phase(&w, "fit"), STR("Released"));
    world_close(&w);
}

TEST(a_claim_in_use_goes_after_its_pod_and_a_bound_volume_after_its_claim)
{
    struct world w;
    world_open(&w, SET);
    world_create(&w, "/persistentvolumes", "", VOLUME("v", "2Gi", ""));
    world_create(&w, "/persistentvolumeclaims", "default", CLAIM("c", "1Gi", "\"storageClassName\":\"\","));
    world_create(&w, "/pods", "default",
        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"a\"}],"
        "\"volumes\":[{\"name\":\"d\",\"persistentVolumeClaim\":{\"claimName\":\"c\"}}]}}");
    world_run(&w);
    world_do(&w, API_DELETE, "/persistentvolumeclaims", "default", "c", "", NULL, 200);
    world_do(&w, API_DELETE, "/persistentvolumes", "", "v", "", NULL, 200);
    world_run(&w);
    OK(world_get(&w, "/persistentvolumeclaims", "default", "c")->deleted);
    OK(world_get(&w, "/persistentvolumes", "", "v")->deleted);
    world_do(
        &w, API_DELETE, "/pods", "default", "p", "", "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\",\"gracePeriodSeconds\":0}", 200);
    world_run(&w);
    OK(!world_get(&w, "/persistentvolumeclaims", "default", "c"));
    OK(!world_get(&w, "/persistentvolumes", "", "v"));
    world_close(&w);
}

TEST(a_provisioner_is_asked_and_its_volume_bound)
{
    struct world w;
    world_open(&w, SET);
    world_create(&w, "storage.k8s.io/storageclasses", "",
        "{\"apiVersion\":\"storage.k8s.io/v1\",\"kind\":\"StorageClass\",\"metadata\":{\"name\":\"late\"},\"provisioner\":\"example.com/"
        "p\",\"volumeBindingMode\":\"WaitForFirstConsumer\"}");
    world_create(&w, "/persistentvolumeclaims", "default", CLAIM("c", "1Gi", "\"storageClassName\":\"late\","));
    world_run(&w);
    EQ_STR(claim_phase(&w, "c"), STR("Pending"));
    OK(world_event(&w, "default", "WaitForFirstConsumer"));
    OK(!world_str(&w, "/persistentvolumeclaims", "default", "c", "/metadata/annotations/volume.kubernetes.io~1storage-provisioner").n);
    world_do(&w, API_PATCH_MERGE, "/persistentvolumeclaims", "default", "c", "",
        "{\"metadata\":{\"annotations\":{\"volume.kubernetes.io/selected-node\":\"n1\"}}}", 200);
    world_run(&w);
    EQ_STR(world_str(&w, "/persistentvolumeclaims", "default", "c", "/metadata/annotations/volume.kubernetes.io~1storage-provisioner"),
        STR("example.com/p"));
    OK(world_event(&w, "default", "ExternalProvisioning"));
    struct str uid = world_get(&w, "/persistentvolumeclaims", "default", "c")->uid;
    world_create(&w, "/persistentvolumes", "",
        pool_printf(w.pool,
            "{\"apiVersion\":\"v1\",\"kind\":\"PersistentVolume\",\"metadata\":{\"name\":\"pvc-1\",\"annotations\":{\"pv.kubernetes.io/"
            "provisioned-by\":\"example.com/p\"}},\"spec\":{\"storageClassName\":\"late\","
            "\"accessModes\":[\"ReadWriteOnce\"],\"capacity\":{\"storage\":\"1Gi\"},\"persistentVolumeReclaimPolicy\":\"Delete\","
            "\"hostPath\":{\"path\":\"/"
            "x\"},\"claimRef\":{\"kind\":\"PersistentVolumeClaim\",\"apiVersion\":\"v1\",\"namespace\":\"default\",\"name\":\"c\",\"uid\":"
            "\"%.*s\"}}}",
            STR_ARG(uid))
            .p);
    world_run(&w);
    EQ_STR(claim_phase(&w, "c"), STR("Bound"));
    EQ_STR(volume_phase(&w, "pvc-1"), STR("Bound"));
    world_close(&w);
}

TEST(an_ephemeral_volume_has_a_claim_as_long_as_its_pod)
{
    struct world w;
    world_open(&w, "serviceaccount,ephemeral-volume,garbage,pvc-protection");
    world_create(&w, "/pods", "default",
        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"a\"}],"
        "\"volumes\":[{\"name\":\"d\",\"ephemeral\":"
        "{\"volumeClaimTemplate\":{\"metadata\":{\"labels\":{\"x\":\"y\"}},\"spec\":{\"accessModes\":[\"ReadWriteOnce\"],\"resources\":{"
        "\"requests\":{\"storage\":\"1Gi\"}}}}}}]}}");
    world_run(&w);
    EQ_STR(obj_label(world_get(&w, "/persistentvolumeclaims", "default", "p-d"), STR("x")), STR("y"));
    world_do(
        &w, API_DELETE, "/pods", "default", "p", "", "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\",\"gracePeriodSeconds\":0}", 200);
    world_run(&w);
    OK(!world_get(&w, "/persistentvolumeclaims", "default", "p-d"));
    world_close(&w);
}
