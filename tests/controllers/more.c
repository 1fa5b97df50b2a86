#include "fixture.h"
#include "crypto/cert.h"

TEST(finished_jobs_go_when_their_time_is_over)
{
    struct world w;
    world_open(&w, "serviceaccount,job,ttl-after-finished,garbage");
    world_create(&w, "batch/jobs", "default",
        "{\"apiVersion\":\"batch/"
        "v1\",\"kind\":\"Job\",\"metadata\":{\"name\":\"j\"},\"spec\":{\"ttlSecondsAfterFinished\":60,\"template\":{\"spec\":{"
        "\"restartPolicy\":\"Never\","
        "\"containers\":[{\"name\":\"c\",\"image\":\"a\"}]}}}}");
    world_run(&w);
    world_pod_status(&w, world_nth(&w, "/pods", "default", 0), "Succeeded", false);
    world_run(&w);
    world_pass(&w, 59);
    OK(world_get(&w, "batch/jobs", "default", "j"));
    world_pass(&w, 2);
    OK(!world_get(&w, "batch/jobs", "default", "j"));
    EQ(world_count(&w, "/pods", "default"), 0);
    world_close(&w);
}

#define CRON(more)                                                                                                                         \
    "{\"apiVersion\":\"batch/v1\",\"kind\":\"CronJob\",\"metadata\":{\"name\":\"c\"},\"spec\":{\"schedule\":\"*/5 * * * *\"," more         \
    "\"jobTemplate\":{\"spec\":{\"template\":{\"spec\":{\"restartPolicy\":\"Never\",\"containers\":[{\"name\":\"c\",\"image\":\"a\"}]}}}}" \
    "}}"

static void end_jobs(struct world *w)
{
    for (size_t i = 0; i < world_count(w, "/pods", "default"); i++) {
        const struct obj *o = world_nth(w, "/pods", "default", i);
        if (((const struct pod_view *)o->view)->phase == POD_PENDING)
            world_pod_status(w, o, "Succeeded", false);
    }
    world_run(w);
}

TEST(a_cron_job_starts_jobs_at_its_times_and_keeps_a_few)
{
    struct world w;
    world_open(&w, "serviceaccount,job,cronjob,garbage");
    world_create(&w, "batch/cronjobs", "default", CRON("\"successfulJobsHistoryLimit\":2,"));
    world_run(&w);
    EQ(world_count(&w, "batch/jobs", "default"), 0);
    for (int i = 0; i < 5; i++) {
        world_pass(&w, 300);
        end_jobs(&w);
    }
    EQ(world_count(&w, "batch/jobs", "default"), 2);
    OK(world_str(&w, "batch/cronjobs", "default", "c", "/status/lastScheduleTime").n > 0);
    OK(world_str(&w, "batch/cronjobs", "default", "c", "/status/lastSuccessfulTime").n > 0);
    OK(world_event(&w, "default", "SawCompletedJob"));
    world_pass(&w, 30 * 86400); /* a month of missed times is one start */
    EQ(world_count(&w, "batch/jobs", "default"), 3);
    world_close(&w);
}

TEST(a_cron_job_may_forbid_or_replace_a_running_job)
{
    struct world w;
    world_open(&w, "serviceaccount,job,cronjob,garbage");
    world_create(&w, "batch/cronjobs", "default", CRON("\"concurrencyPolicy\":\"Forbid\","));
    world_run(&w);
    world_pass(&w, 300);
    struct str first = world_nth(&w, "batch/jobs", "default", 0)->name;
    world_pass(&w, 300);
    EQ(world_count(&w, "batch/jobs", "default"), 1);
    OK(world_event(&w, "default", "JobAlreadyActive"));
    world_do(&w, API_PATCH_MERGE, "batch/cronjobs", "default", "c", "", "{\"spec\":{\"concurrencyPolicy\":\"Replace\"}}", 200);
    world_run(&w);
    world_pass(&w, 300);
    EQ(world_count(&w, "batch/jobs", "default"), 1);
    OK(!str_eq(world_nth(&w, "batch/jobs", "default", 0)->name, first));
    world_do(&w, API_PATCH_MERGE, "batch/cronjobs", "default", "c", "", "{\"spec\":{\"suspend\":true}}", 200);
    end_jobs(&w);
    world_pass(&w, 3000);
    EQ(world_count(&w, "batch/jobs", "default"), 1);
    world_close(&w);
}

TEST(a_budget_says_how_many_pods_may_go)
{
    struct world w;
    world_open(&w, "serviceaccount,deployment,replicaset,disruption");
    world_create(&w, "apps/deployments", "default",
        "{\"apiVersion\":\"apps/"
        "v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"web\"},\"spec\":{\"replicas\":4,\"selector\":{\"matchLabels\":{\"app\":"
        "\"web\"}},\"template\":{\"metadata\":{\"labels\":{\"app\":\"web\"}},"
        "\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"a\"}]}}}}");
    world_create(&w, "policy/poddisruptionbudgets", "default",
        "{\"apiVersion\":\"policy/"
        "v1\",\"kind\":\"PodDisruptionBudget\",\"metadata\":{\"name\":\"b\"},\"spec\":{\"maxUnavailable\":\"25%\",\"selector\":{"
        "\"matchLabels\":{\"app\":\"web\"}}}}");
    world_run(&w);
    EQ(world_int(&w, "policy/poddisruptionbudgets", "default", "b", "/status/disruptionsAllowed"), 0);
    world_all_ready(&w, "default");
    EQ(world_int(&w, "policy/poddisruptionbudgets", "default", "b", "/status/expectedPods"), 4);
    EQ(world_int(&w, "policy/poddisruptionbudgets", "default", "b", "/status/desiredHealthy"), 3);
    EQ(world_int(&w, "policy/poddisruptionbudgets", "default", "b", "/status/disruptionsAllowed"), 1);
    const char *pod = pool_strz(w.pool, world_nth(&w, "/pods", "default", 0)->name),
               *second = pool_strz(w.pool, world_nth(&w, "/pods", "default", 1)->name);
    world_do(&w, API_CREATE, "/pods", "default", pod, "eviction",
        pool_printf(
            w.pool, "{\"apiVersion\":\"policy/v1\",\"kind\":\"Eviction\",\"metadata\":{\"name\":\"%s\",\"namespace\":\"default\"}}", pod)
            .p,
        201);
    world_run(&w);
    world_do(&w, API_CREATE, "/pods", "default", second, "eviction",
        pool_printf(
            w.pool, "{\"apiVersion\":\"policy/v1\",\"kind\":\"Eviction\",\"metadata\":{\"name\":\"%s\",\"namespace\":\"default\"}}", second)
            .p,
        429);
    world_all_ready(&w, "default");
    EQ(world_int(&w, "policy/poddisruptionbudgets", "default", "b", "/status/disruptionsAllowed"), 1);
    world_close(&w);
}

TEST(aggregated_roles_hold_the_rules_of_their_parts)
{
    struct world w;
    world_open(&w, "clusterrole-aggregation");
    world_create(&w, "rbac.authorization.k8s.io/clusterroles", "",
        "{\"apiVersion\":\"rbac.authorization.k8s.io/"
        "v1\",\"kind\":\"ClusterRole\",\"metadata\":{\"name\":\"all\"},\"aggregationRule\":{\"clusterRoleSelectors\":[{\"matchLabels\":{"
        "\"part\":\"yes\"}}]},\"rules\":[]}");
    world_create(&w, "rbac.authorization.k8s.io/clusterroles", "",
        "{\"apiVersion\":\"rbac.authorization.k8s.io/"
        "v1\",\"kind\":\"ClusterRole\",\"metadata\":{\"name\":\"one\",\"labels\":{\"part\":\"yes\"}},\"rules\":[{\"apiGroups\":[\"\"],"
        "\"resources\":[\"pods\"],\"verbs\":[\"get\"]}]}");
    world_run(&w);
    EQ(json_count(json_get(world_tree(&w, "rbac.authorization.k8s.io/clusterroles", "", "all"), STR("rules"))), 1);
    world_do(&w, API_DELETE, "rbac.authorization.k8s.io/clusterroles", "", "one", "", NULL, 200);
    world_run(&w);
    EQ(json_count(json_get(world_tree(&w, "rbac.authorization.k8s.io/clusterroles", "", "all"), STR("rules"))), 0);
    world_close(&w);
}

TEST(an_approved_request_is_signed_and_an_unfit_one_refused)
{
    struct world w;
    struct err *e = NULL;
    world_open(&w, "csr-approving,csr-signing");
    struct key *key = key_make(KEY_P256, &e);
    OK(key);
    struct buf pem = BUF_INIT, text = BUF_INIT;
    struct cert_spec spec = {.cn = STR("jane")};
    FINE(csr_make(key, &spec, &pem, &e), e);
    buf_base64(&text, pem.p, pem.n);
    static const struct {
        const char *name, *usage;
    } rows[] = {{"good", "client auth"}, {"bad", "server auth"}};
    for (int i = 0; i < 2; i++) {
        world_create(&w, "certificates.k8s.io/certificatesigningrequests", "",
            pool_printf(w.pool,
                "{\"apiVersion\":\"certificates.k8s.io/"
                "v1\",\"kind\":\"CertificateSigningRequest\",\"metadata\":{\"name\":\"%s\"},\"spec\":{\"request\":\"%s\",\"signerName\":"
                "\"kubernetes.io/kube-apiserver-client\",\"usages\":[\"%s\"]}}",
                rows[i].name, text.p, rows[i].usage)
                .p);
        world_run(&w);
        OK(!world_str(&w, "certificates.k8s.io/certificatesigningrequests", "", rows[i].name, "/status/certificate").n);
        world_do(&w, API_PATCH_MERGE, "certificates.k8s.io/certificatesigningrequests", "", rows[i].name, "approval",
            "{\"status\":{\"conditions\":[{\"type\":\"Approved\",\"status\":\"True\",\"reason\":\"test\",\"message\":\"m\"}]}}", 200);
        world_run(&w);
    }
    struct buf cert = BUF_INIT;
    struct certs chain = {0};
    OK(buf_unbase64(&cert, world_str(&w, "certificates.k8s.io/certificatesigningrequests", "", "good", "/status/certificate")));
    FINE(certs_parse(buf_str(&cert), &chain, &e), e);
    EQ_STR(cert_info(chain.at[0])->cn, STR("jane"));
    EQ_STR(world_str(&w, "certificates.k8s.io/certificatesigningrequests", "", "bad", "/status/conditions/1/type"), STR("Failed"));
    world_pass(&w, 3601);
    EQ(world_count(&w, "certificates.k8s.io/certificatesigningrequests", ""), 0);
    certs_clear(&chain);
    buf_clear(&cert);
    buf_clear(&pem);
    buf_clear(&text);
    key_free(key);
    world_close(&w);
}

TEST(a_quota_shows_what_is_used)
{
    struct world w;
    world_open(&w, "serviceaccount,resourcequota");
    world_create(&w, "/resourcequotas", "default",
        "{\"apiVersion\":\"v1\",\"kind\":\"ResourceQuota\",\"metadata\":{\"name\":\"q\"},\"spec\":{\"hard\":{\"pods\":\"5\",\"requests."
        "cpu\":\"2\",\"requests.memory\":\"1Gi\",\"count/configmaps\":\"9\"}}}");
    world_run(&w);
    EQ_STR(world_str(&w, "/resourcequotas", "default", "q", "/status/used/pods"), STR("0"));
    for (int i = 0; i < 2; i++)
        world_create(&w, "/pods", "default",
            pool_printf(w.pool,
                "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p%d\"},\"spec\":{\"containers\":[{\"name\":\"c\","
                "\"image\":\"a\","
                "\"resources\":{\"requests\":{\"cpu\":\"250m\",\"memory\":\"64Mi\"}}}]}}",
                i)
                .p);
    world_create(&w, "/configmaps", "default", "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"c\"}}");
    world_run(&w);
    world_pass(&w, 2);
    EQ_STR(world_str(&w, "/resourcequotas", "default", "q", "/status/used/pods"), STR("2"));
    EQ_STR(world_str(&w, "/resourcequotas", "default", "q", "/status/used/requests.cpu"), STR("500m"));
    EQ_STR(world_str(&w, "/resourcequotas", "default", "q", "/status/used/requests.memory"), STR("128Mi"));
    EQ_STR(world_str(&w, "/resourcequotas", "default", "q", "/status/used/count~1configmaps"), STR("1"));
    world_pod_status(&w, world_get(&w, "/pods", "default", "p0"), "Succeeded", false);
    world_run(&w);
    world_pass(&w, 2);
    EQ_STR(world_str(&w, "/resourcequotas", "default", "q", "/status/used/pods"), STR("1"));
    world_close(&w);
}
