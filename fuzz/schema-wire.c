/* Protobuf bodies as a client may send them, against the tables of the API: the first byte chooses the kind. What decodes must encode, and decode to
 * the same again. */
#include <assert.h>
#include "schema/wire.h"

static const struct {
    const char *group, *kind;
} kinds[] = {{"", "Pod"}, {"apps", "Deployment"}, {"", "ConfigMap"}, {"certificates.k8s.io", "CertificateSigningRequest"},
    {"apiextensions.k8s.io", "CustomResourceDefinition"}, {"coordination.k8s.io", "Lease"}, {"batch", "CronJob"}, {"", "Service"}};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct schema *s;
    if (!s)
        s = schema_builtin();
    if (!size)
        return 0;
    size_t k = data[0] % ARRAY_LEN(kinds);
    const struct schema_resource *r = schema_find_kind(s, str_of(kinds[k].group), STR("v1"), str_of(kinds[k].kind));
    assert(r);
    struct str text = str_make((const char *)data + 1, size - 1);
    struct proto_envelope v;
    struct pool *p = pool_new();
    if (proto_is_envelope(text))
        text = proto_open(text, &v, NULL) == 0 ? v.raw : STR("");
    struct json *first = json_obj(p), *second = json_obj(p);
    if (proto_decode(&schema_wire, r->type, p, text, first, NULL) == 0) {
        struct buf wire = BUF_INIT;
        int n = proto_encode(&schema_wire, r->type, first, &wire, NULL);
        assert(n == 0);
        n = proto_decode(&schema_wire, r->type, p, buf_str(&wire), second, NULL);
        assert(n == 0 && json_equal(first, second));
        buf_clear(&wire);
    }
    pool_free(p);
    return 0;
}
