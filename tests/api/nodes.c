#include "fixture.h"
#include "crypto/tls.h"
#include "uplink/uplink.h"

#define PODS "/api/v1/namespaces/default/pods"

struct node {
    struct fixture *f;
    struct mirror *mirror;
    struct outbox *outbox;
    struct uplink *link;
    struct key *key;
    bool connected;
    char refusal[256];
    int cuts;
    char broken[256]; /* a pod that came before its ConfigMap */
    int reply_status;
    char reply[512];
};

static void on_state(void *arg, bool connected, struct str name, const struct err *why)
{
    struct node *n = arg;
    n->connected = connected;
    if (why)
        snprintf(n->refusal, sizeof n->refusal, "%s", err_msg(why));
}

static void on_change(void *arg, struct str key, const struct mirror_item *before, const struct mirror_item *after)
{
    struct node *n = arg;
    if (after && str_starts(key, STR("/pods/")) && !mirror_get(n->mirror, STR("/configmaps/default/conf")))
        snprintf(n->broken, sizeof n->broken, "%.*s", STR_ARG(key));
}

static void on_cut(void *arg)
{
    ((struct node *)arg)->cuts++;
}

/* A request from above: says what it was asked. */
static void serve(struct http_req *rq, void *arg)
{
    struct str body = pool_printf(rq->pool, "%.*s?%.*s uid=%.*s auth=%.*s", STR_ARG(rq->path), STR_ARG(rq->query),
        STR_ARG(http_header(rq, STR("sampan-pod-uid"))), STR_ARG(http_header(rq, STR("authorization"))));
    http_reply_str(rq, 200, "text/plain", body);
}

static struct tls_ctx *tls; /* set: nodes come over TCP, where nobody is trusted for being local */

static struct node *node_new(struct fixture *f, const char *dir, const char *name, const char *token, struct key *key)
{
    struct node *n = xcalloc(1, sizeof *n);
    struct err *e = NULL;
    struct str m = pool_printf(f->pool, "%s/%s.mirror", dir, name), o = pool_printf(f->pool, "%s/%s.outbox", dir, name),
               pin = pool_printf(f->pool, "%s/%s.pin", dir, name);
    struct str sock = pool_printf(f->pool, "%s/s", dir);
    n->f = f;
    n->key = key ? key_ref(key) : key_make(KEY_ED25519, &e);
    FINE(mirror_open(m.p, NULL, &n->mirror, &e), e);
    FINE(outbox_open(o.p, f->loop, f->clock, NULL, &n->outbox, &e), e);
    struct mirror_listener l = {on_change, on_cut, n};
    mirror_listen(n->mirror, &l);
    struct endpoint local = {.unix_path = sock.p}, remote = {.host = "127.0.0.1", .port = f->port, .tls = tls};
    struct uplink_config c = {.loop = f->loop,
        .clock = f->clock,
        .endpoint = tls ? remote : local,
        .key = n->key,
        .pin_path = pin.p,
        .view = STR("node"),
        .name = str_of(name),
        .token = str_of(token),
        .mirror = n->mirror,
        .outbox = n->outbox,
        .handler = serve,
        .handler_arg = n,
        .on_state = on_state,
        .arg = n};
    n->link = uplink_new(&c, &e);
    OK(n->link);
    return n;
}

static void node_free(struct node *n)
{
    uplink_free(n->link);
    outbox_close(n->outbox);
    mirror_close(n->mirror);
    key_free(n->key);
    for (int i = 0; i < 20; i++)
        loop_step(n->f->loop, 0);
    free(n);
}

#define UNTIL(f, cond)                                                                                                                     \
    do {                                                                                                                                   \
        for (int64_t until_ = clock_mono((f)->clock) + 10 * NS_PER_S; !(cond) && clock_mono((f)->clock) < until_;)                         \
            loop_step((f)->loop, 20);                                                                                                      \
        OK(cond);                                                                                                                          \
    } while (0)

static void begin(struct fixture *f)
{
    want(f, 201, "POST", "/api/v1/namespaces/default/serviceaccounts",
        "{\"metadata\":{\"name\":\"default\"},\"automountServiceAccountToken\":false}");
    want(f, 201, "POST", "/api/v1/namespaces/default/configmaps", "{\"metadata\":{\"name\":\"conf\"},\"data\":{\"a\":\"b\"}}");
    want(f, 201, "POST", "/api/v1/namespaces/default/configmaps", "{\"metadata\":{\"name\":\"other\"}}");
}

static const char *const pod = "{\"metadata\":{\"name\":\"p\"},\"spec\":{\"nodeName\":\"n1\",\"containers\":[{\"name\":\"c\",\"image\":"
                               "\"i\",\"envFrom\":[{\"configMapRef\":{\"name\":\"conf\"}}]}]}}";

TEST(a_nodes_mirror_holds_its_pods_and_what_they_name)
{
    struct fixture *f = fixture_new();
    begin(f);
    struct node *n = node_new(f, test_tmpdir(), "n1", "agent-secret", NULL);
    UNTIL(f, n->connected && n->cuts > 0);
    OK(api_node_connected(f->api, STR("n1")));
    OK(mirror_get(n->mirror, STR("/services/default/kubernetes")));
    OK(mirror_get(n->mirror, STR("discovery.k8s.io/endpointslices/default/kubernetes")));
    OK(!mirror_get(n->mirror, STR("/configmaps/default/conf")));
    want(f, 201, "POST", PODS, pod);
    UNTIL(f, mirror_get(n->mirror, STR("/pods/default/p")));
    OK(mirror_get(n->mirror, STR("/configmaps/default/conf")));
    OK(!mirror_get(n->mirror, STR("/configmaps/default/other")));
    EQ_Z(n->broken, "");
    want(f, 200, "DELETE", PODS "/p", "{\"gracePeriodSeconds\":0}");
    UNTIL(f, !mirror_get(n->mirror, STR("/pods/default/p")));
    UNTIL(f, !mirror_get(n->mirror, STR("/configmaps/default/conf")));
    node_free(n);
    fixture_free(f);
}

TEST(a_mirror_catches_up_with_what_went_while_it_was_away)
{
    struct fixture *f = fixture_new();
    begin(f);
    want(f, 201, "POST", PODS, pod);
    struct node *n = node_new(f, test_tmpdir(), "n1", "agent-secret", NULL);
    UNTIL(f, mirror_get(n->mirror, STR("/pods/default/p")));
    struct key *key = key_ref(n->key);
    node_free(n);
    want(f, 200, "DELETE", PODS "/p", "{\"gracePeriodSeconds\":0}");
    want(f, 201, "POST", "/api/v1/namespaces/default/services", "{\"metadata\":{\"name\":\"new\"},\"spec\":{\"ports\":[{\"port\":1}]}}");
    n = node_new(f, test_tmpdir(), "n1", "", key); /* the key alone */
    UNTIL(f, mirror_get(n->mirror, STR("/services/default/new")));
    OK(!mirror_get(n->mirror, STR("/pods/default/p")));
    OK(!mirror_get(n->mirror, STR("/configmaps/default/conf")));
    node_free(n);
    key_free(key);
    fixture_free(f);
}

static void replied(void *arg, int status, struct str body, const struct err *e)
{
    struct node *n = arg;
    n->reply_status = e ? -1 : status;
    snprintf(n->reply, sizeof n->reply, "%.*s", STR_ARG(body));
}

TEST(reports_and_calls_of_a_node_run_as_that_node)
{
    struct fixture *f = fixture_new();
    begin(f);
    struct node *n = node_new(f, test_tmpdir(), "n1", "server-secret", NULL);
    UNTIL(f, n->connected);
    uplink_call(n->link, STR("POST"), STR("/api/v1/nodes"), STR("application/json"), STR("{\"metadata\":{\"name\":\"n1\"}}"), replied, n);
    UNTIL(f, n->reply_status);
    EQ(n->reply_status, 201);
    OK(str_starts(at(want(f, 200, "GET", "/api/v1/nodes/n1", NULL), "spec.podCIDR"), STR("10.42.")));
    n->reply_status = 0;
    uplink_call(n->link, STR("GET"), STR("/api/v1/namespaces/kube-system/secrets/x"), STR(""), STR(""), replied, n);
    UNTIL(f, n->reply_status);
    EQ(n->reply_status, 403);
    want(f, 201, "POST", PODS, pod);
    struct outbox_entry x = {.key = STR("p"),
        .method = STR("PATCH"),
        .path = STR(PODS "/p/status"),
        .content_type = STR("application/merge-patch+json"),
        .body = STR("{\"status\":{\"phase\":\"Running\"}}")};
    outbox_put(n->outbox, &x, 0);
    UNTIL(f, outbox_count(n->outbox) == 0);
    EQ_STR(at(want(f, 200, "GET", PODS "/p", NULL), "status.phase"), STR("Running"));
    node_free(n);
    fixture_free(f);
}

TEST(requests_about_a_pod_reach_its_node)
{
    struct fixture *f = fixture_new();
    begin(f);
    want(f, 201, "POST", PODS, pod);
    want(f, 503, "GET", PODS "/p/log", NULL);
    struct node *n = node_new(f, test_tmpdir(), "n1", "agent-secret", NULL);
    UNTIL(f, n->connected);
    struct answer a = ask(f, "GET", PODS "/p/log?tailLines=5", NULL);
    EQ(a.status, 200);
    OK(str_starts(a.body, STR("/containerLogs/default/p/c?tailLines=5 uid=")));
    OK(str_ends(a.body, STR("auth=")));
    want(f, 400, "GET", PODS "/p/log?container=none", NULL);
    want(f, 400, "GET", PODS "/p/log?tailLines=x", NULL);
    want(f, 400, "POST", PODS "/p/exec?command=ls", NULL);
    node_free(n);
    UNTIL(f, !api_node_connected(f->api, STR("n1")));
    fixture_free(f);
}

TEST(who_has_no_token_does_not_join_and_a_name_belongs_to_its_first_key)
{
    struct fixture *f = fixture_new();
    struct err *e = NULL;
    struct certs cas = {0};
    begin(f);
    FINE(certs_parse(api_ca_pem(f->api), &cas, &e), e);
    struct tls_config t = {.clock = f->clock, .cas = &cas};
    tls = tls_ctx_new(&t, &e);
    OK(tls);
    struct node *n = node_new(f, test_tmpdir(), "n1", "wrong", NULL);
    UNTIL(f, n->refusal[0]);
    OK(str_find(str_of(n->refusal), STR("token is not valid")) >= 0);
    node_free(n);
    struct str k10 = pool_printf(f->pool, "K10%.*s::node:agent-secret", STR_ARG(api_ca_hash(f->api)));
    n = node_new(f, test_tmpdir(), "n1", k10.p, NULL);
    UNTIL(f, n->connected);
    node_free(n);
    n = node_new(f, test_tmpdir(), "n1", "agent-secret", NULL); /* another key under the same name */
    UNTIL(f, n->refusal[0]);
    OK(str_find(str_of(n->refusal), STR("has joined with another key")) >= 0);
    node_free(n);
    want(f, 201, "POST", "/api/v1/nodes", "{\"metadata\":{\"name\":\"n1\"}}");
    want(f, 200, "DELETE", "/api/v1/nodes/n1", NULL); /* gives the name free */
    n = node_new(f, test_tmpdir(), "n1", "agent-secret", NULL);
    UNTIL(f, n->connected);
    node_free(n);
    certs_clear(&cas);
    tls_ctx_free(TAKE(tls));
    fixture_free(f);
}
