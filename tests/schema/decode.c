#include "harness.h"
#include "schema/ferr.h"
#include "schema/schema.h"

static struct pool *pool;
static struct schema *schema;

static const struct schema_resource *res(const char *group, const char *resource)
{
    return schema_find(schema, str_of(group), STR("v1"), str_of(resource));
}

static struct json *parse(const char *text)
{
    struct err *e = NULL;
    struct json *j;
    FINE(json_parse(pool, str_of(text), NULL, &j, &e), e);
    return j;
}

static void begin(void)
{
    pool = pool_new();
    schema = schema_builtin();
}

static void end(void)
{
    pool_free(pool);
    schema_unref(schema);
}

static void refused(const char *group, const char *resource, const char *doc, const char *message)
{
    struct err *e = NULL;
    const struct schema_resource *r = res(group, resource);
    OK(schema_decode(r, r->type, pool, parse(doc), NULL, &e) < 0);
    EQ_Z(e->message, message);
    EQ(e->code, ERR_BAD_REQUEST);
    err_free(e);
}

static struct str decoded(const char *group, const char *resource, const char *doc, struct schema_notes *notes)
{
    struct err *e = NULL;
    const struct schema_resource *r = res(group, resource);
    struct json *j = parse(doc);
    FINE(schema_decode(r, r->type, pool, j, notes, &e), e);
    return json_to_pool(pool, j);
}

TEST(wrong_types_are_refused_in_the_words_of_go)
{
    begin();
    refused("apps", "deployments", "{\"spec\":{\"replicas\":\"x\"}}",
        "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field "
        "DeploymentSpec.spec.replicas of type int32");
    refused("", "pods", "{\"spec\":{\"containers\":[{\"image\":1}]}}",
        "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal number into Go struct field "
        "Container.spec.containers.image of type string");
    refused("", "pods", "{\"spec\":{\"containers\":{}}}",
        "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal object into Go struct field PodSpec.spec.containers of "
        "type []v1.Container");
    refused("", "pods", "{\"metadata\":{\"labels\":{\"a\":true}}}",
        "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of "
        "type string");
    refused("", "pods", "{\"spec\":{\"restartPolicy\":{}}}",
        "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal object into Go struct field PodSpec.spec.restartPolicy "
        "of type v1.RestartPolicy");
    refused(
        "", "pods", "[]", "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal array into Go value of type v1.Pod");
    refused("", "secrets", "{\"data\":{\"a\":\"b!\"}}",
        "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data at input byte 1");
    refused("", "pods", "{\"spec\":{\"containers\":[{\"resources\":{\"limits\":{\"cpu\":\"x\"}}}]}}",
        "Pod in version \"v1\" cannot be handled as a Pod: quantities must match the regular expression "
        "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
    refused("apps", "deployments", "{\"spec\":{\"replicas\":5000000000}}",
        "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal number 5000000000 into Go struct field "
        "DeploymentSpec.spec.replicas of "
        "type int32");
    end();
}

TEST(unknown_fields_are_removed_and_noted_with_their_paths)
{
    struct schema_notes notes;
    begin();
    EQ_STR(decoded("", "pods", "{\"spec\":{\"containers\":[{\"name\":\"a\",\"imag\":\"x\"}],\"foo\":{}},\"Spec\":1}", &notes),
        STR("{\"spec\":{\"containers\":[{\"name\":\"a\"}]}}"));
    EQ(notes.n, 3);
    EQ_STR(notes.items[0], STR("unknown field \"spec.containers[0].imag\""));
    EQ_STR(notes.items[1], STR("unknown field \"spec.foo\""));
    EQ_STR(notes.items[2], STR("unknown field \"Spec\""));
    end();
}

TEST(values_take_the_form_that_go_would_write)
{
    begin();
    EQ_STR(decoded("", "pods",
               "{\"metadata\":{\"creationTimestamp\":null,\"deletionTimestamp\":\"2024-05-06T09:08:09.5+02:00\",\"labels\":{}},\"spec\":{"
               "\"hostNetwork\":false,"
               "\"terminationGracePeriodSeconds\":0,\"containers\":[{\"args\":[],\"resources\":{\"limits\":{\"cpu\":0.5,\"memory\":"
               "\"1024Mi\",\"x/y\":1}}}]}}",
               NULL),
        STR("{\"metadata\":{\"deletionTimestamp\":\"2024-05-06T07:08:09Z\"},\"spec\":{\"terminationGracePeriodSeconds\":0,\"containers\":[{"
            "\"resources\":{\"limits\":"
            "{\"cpu\":\"500m\",\"memory\":\"1Gi\",\"x/y\":\"1\"}}}]}}"));
    end();
}

TEST(defaults_and_zero_values_give_the_stored_form)
{
    begin();
    const struct schema_resource *r = res("apps", "deployments");
    struct json *j = parse("{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"a\",\"ports\":[{\"containerPort\":80}]}]}}},"
                           "\"kind\":\"Deployment\"}");
    schema_default(r->type, pool, j);
    schema_fill_zero(r->type, pool, j);
    EQ_STR(json_to_pool(pool, j),
        STR("{\"kind\":\"Deployment\",\"metadata\":{},\"spec\":{\"replicas\":1,\"selector\":null,\"template\":{\"metadata\":{},\"spec\":{"
            "\"containers\":[{\"name\":\"a\","
            "\"ports\":[{\"containerPort\":80,\"protocol\":\"TCP\"}],\"resources\":{},\"terminationMessagePath\":\"/dev/termination-log\","
            "\"terminationMessagePolicy\":\"File\"}],\"restartPolicy\":\"Always\",\"terminationGracePeriodSeconds\":30,\"dnsPolicy\":"
            "\"ClusterFirst\","
            "\"securityContext\":{},\"schedulerName\":\"default-scheduler\"}},\"strategy\":{},\"revisionHistoryLimit\":10,"
            "\"progressDeadlineSeconds\":600},"
            "\"status\":{}}"));
    end();
}

TEST(structural_validation_speaks_as_field_errors_do)
{
    begin();
    struct err *e = NULL;
    const struct schema_resource *r = res("apps", "deployments");
    struct json *j = parse("{\"spec\":{\"replicas\":-1,\"selector\":{},\"template\":{\"spec\":{\"containers\":[{\"imagePullPolicy\":\"x\"}]"
                           ",\"restartPolicy\":\"Maybe\"}}}}");
    EQ(schema_validate(r->type, pool, j, NULL, &e), -ERR_INVALID);
    struct buf b = BUF_INIT;
    ferr_join(&b, e);
    EQ_STR(buf_str(&b),
        STR("[spec.replicas: Invalid value: -1: must be greater than or equal to 0, spec.template.spec.containers[0].name: Required value, "
            "spec.template.spec.containers[0].imagePullPolicy: Unsupported value: \"x\": supported values: \"Always\", \"Never\", "
            "\"IfNotPresent\", "
            "spec.template.spec.restartPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"OnFailure\", \"Never\"]"));
    buf_clear(&b);
    err_free(e);
    end();
}
