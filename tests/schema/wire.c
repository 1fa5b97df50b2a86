#include "harness.h"
#include "schema/wire.h"

static const char *const documents[] = {
    "{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"c\",\"namespace\":\"d\",\"uid\":\"u\",\"resourceVersion\":\"7\","
    "\"creationTimestamp\":\"2026-01-02T03:04:05Z\",\"labels\":{\"a\":\"b\",\"e\":\"\"},\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":\"p\","
    "\"uid\":\"q\",\"controller\":false}],\"managedFields\":[{\"manager\":\"m\",\"operation\":\"Apply\",\"apiVersion\":\"v1\",\"time\":\"2026-01-02T03:04:05Z\","
    "\"fieldsType\":\"FieldsV1\",\"fieldsV1\":{\"f:data\":{\".\":{}}}}]},\"data\":{\"k\":\"v\"},\"binaryData\":{\"b\":\"AAEC\"}}",
    "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"p\",\"deletionGracePeriodSeconds\":0},\"spec\":{\"volumes\":[{\"name\":\"v\",\"hostPath\":"
    "{\"path\":\"/x\",\"type\":\"\"}},{\"name\":\"w\",\"projected\":{\"sources\":[{\"secret\":{\"name\":\"s\",\"items\":[{\"key\":\"k\",\"path\":\"p\",\"mode\":0}]}}]}}],"
    "\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"ports\":[{\"containerPort\":80}],\"resources\":{\"limits\":{\"cpu\":\"100m\",\"memory\":\"1Gi\"}},"
    "\"livenessProbe\":{\"httpGet\":{\"port\":\"http\"},\"initialDelaySeconds\":3},\"env\":[{\"name\":\"E\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"spec.nodeName\"}}}]}],"
    "\"ephemeralContainers\":[{\"name\":\"e\",\"image\":\"i\",\"targetContainerName\":\"c\",\"resources\":{}}],\"terminationGracePeriodSeconds\":0,\"hostUsers\":false},"
    "\"status\":{\"containerStatuses\":[{\"name\":\"c\",\"state\":{\"running\":{\"startedAt\":\"2026-01-02T03:04:05Z\"}},\"lastState\":{},\"ready\":false,"
    "\"restartCount\":0,\"image\":\"i\",\"imageID\":\"\"}]}}",
    "{\"kind\":\"Deployment\",\"apiVersion\":\"apps/v1\",\"metadata\":{\"name\":\"d\"},\"spec\":{\"replicas\":0,\"selector\":{\"matchLabels\":{\"a\":\"b\"}},"
    "\"template\":{\"metadata\":{},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"resources\":{}}]}},\"strategy\":{\"type\":\"RollingUpdate\","
    "\"rollingUpdate\":{\"maxSurge\":\"25%\",\"maxUnavailable\":0}}},\"status\":{}}",
    "{\"kind\":\"CertificateSigningRequest\",\"apiVersion\":\"certificates.k8s.io/v1\",\"metadata\":{\"name\":\"r\"},\"spec\":{\"request\":\"AAEC\","
    "\"signerName\":\"s\",\"extra\":{\"k\":[\"a\",\"b\"],\"l\":[\"c\"]}},\"status\":{}}",
    "{\"kind\":\"Lease\",\"apiVersion\":\"coordination.k8s.io/v1\",\"metadata\":{\"name\":\"l\"},\"spec\":{\"holderIdentity\":\"\",\"renewTime\":\"2026-01-02T03:04:05.000006Z\"}}",
    "{\"kind\":\"CustomResourceDefinition\",\"apiVersion\":\"apiextensions.k8s.io/v1\",\"metadata\":{\"name\":\"x\"},\"spec\":{\"group\":\"g\",\"names\":{\"plural\":"
    "\"xs\",\"kind\":\"X\"},\"scope\":\"Cluster\",\"versions\":[{\"name\":\"v1\",\"served\":true,\"storage\":false,\"schema\":{\"openAPIV3Schema\":{\"type\":\"object\","
    "\"properties\":{\"p\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"maximum\":1.5},\"q\":{\"additionalProperties\":true,\"default\":{\"z\":1}}}}},"
    "\"subresources\":{\"status\":{}}}]},\"status\":{\"conditions\":null,\"acceptedNames\":{\"plural\":\"\",\"kind\":\"\"},\"storedVersions\":null}}",
};

static const struct schema_type *type_of(const struct json *doc)
{
    _cleanup_(schema_unrefp) struct schema *s = schema_builtin();
    struct str g, v, k;
    OK(schema_gvk(doc, &g, &v, &k));
    const struct schema_resource *r = schema_find_kind(s, g, v, k);
    OK(r && schema_has_wire(r->type));
    return r->type;
}

/* What a JSON client would not see a difference in: nulls, and the order of members. */
static void drop_nulls(struct json *j)
{
    json_for(j, it)
    {
        if (it->type == JSON_NULL)
            json_remove(j, it);
        else
            drop_nulls(it);
    }
}

TEST(documents_survive_protobuf_and_back)
{
    for (size_t i = 0; i < ARRAY_LEN(documents); i++) {
        _cleanup_(pool_freep) struct pool *p = pool_new();
        _cleanup_(buf_clear) struct buf wire = BUF_INIT;
        struct json *doc, *back = json_obj(p);
        struct err *e = NULL;
        FINE(json_parse(p, str_of(documents[i]), NULL, &doc, &e), e);
        const struct schema_type *t = type_of(doc);
        FINE(proto_encode(&schema_wire, t, doc, &wire, &e), e);
        json_set_str(p, back, STR("kind"), json_get_str(doc, "kind"));
        json_set_str(p, back, STR("apiVersion"), json_get_str(doc, "apiVersion"));
        FINE(proto_decode(&schema_wire, t, p, buf_str(&wire), back, &e), e);
        drop_nulls(doc);
        if (!json_equal(doc, back))
            test_fail(__FILE__, __LINE__, "%.*s", STR_ARG(json_to_pool(p, back)));
    }
}

/* ConfigMap: metadata 1 (name 1, namespace 3), data 2; by hand from the message definitions. */
TEST(a_config_map_has_the_bytes_of_its_message)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(buf_clear) struct buf wire = BUF_INIT;
    struct json *doc;
    struct err *e = NULL;
    FINE(json_parse(p, STR("{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"c\",\"namespace\":\"d\"},\"data\":{\"k\":\"v\"}}"), NULL, &doc, &e), e);
    FINE(proto_encode(&schema_wire, type_of(doc), doc, &wire, &e), e);
    EQ_STR(buf_str(&wire), STR("\x0a\x06\x0a\x01" "c\x1a\x01" "d\x12\x06\x0a\x01k\x12\x01v"));
}

/* Volume: name 1, volumeSource 2 (configMap 19); Probe: handler 1 (tcpSocket 3). */
TEST(inlined_sources_are_messages_of_their_own)
{
    _cleanup_(schema_unrefp) struct schema *s = schema_builtin();
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(buf_clear) struct buf wire = BUF_INIT;
    struct json *doc;
    struct err *e = NULL;
    const struct schema_type *t = schema_find_type(s, STR("io.k8s.api.core.v1.Volume"));
    OK(t);
    FINE(json_parse(p, STR("{\"name\":\"v\",\"configMap\":{\"optional\":true}}"), NULL, &doc, &e), e);
    FINE(proto_encode(&schema_wire, t, doc, &wire, &e), e);
    EQ_STR(buf_str(&wire), STR("\x0a\x01v\x12\x05\x9a\x01\x02\x20\x01"));
}
