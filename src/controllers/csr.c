#include "controllers/csr.h"

#define CLIENT "kubernetes.io/kube-apiserver-client"
#define KUBELET_CLIENT "kubernetes.io/kube-apiserver-client-kubelet"
#define KUBELET_SERVING "kubernetes.io/kubelet-serving"

static bool condition_true(const struct json *tree, const char *type)
{
    return condition_find(json_path(tree, "status", "conditions", NULL), str_of(type)) != NULL;
}

int request_read(struct sync *s, const struct obj *o, struct request *r, struct err **e)
{
    struct buf pem = BUF_INIT;
    *r = (struct request){.o = o, .tree = sync_tree(s, o)};
    r->spec = json_get(r->tree, STR("spec"));
    r->signer = json_get_str(r->spec, "signerName");
    r->username = json_get_str(r->spec, "username");
    r->approved = condition_true(r->tree, "Approved");
    r->denied = condition_true(r->tree, "Denied");
    r->failed = condition_true(r->tree, "Failed");
    r->issued = json_str_at(r->tree, "status", "certificate", NULL).n > 0;
    json_for (json_get(r->spec, STR("usages")), u)
        r->usages |= cert_usage_of(json_as_str(u));
    int rc = buf_unbase64(&pem, json_get_str(r->spec, "request")) ? csr_parse(buf_str(&pem), &r->csr, e)
                                                                  : err_set(e, ERR_INVALID, "spec.request is not base64");
    buf_clear(&pem);
    if (rc < 0)
        return rc;
    r->info = csr_info(r->csr);
    return 0;
}

static const char *node_identity(const struct request *r)
{
    if (r->info->norgs != 1 || !str_eqz(r->info->orgs[0], "system:nodes"))
        return "organization in CSR is not system:nodes";
    if (!str_starts(r->info->cn, STR("system:node:")))
        return "CommonName in CSR does not start with system:node:";
    if (r->info->nemails || r->info->nuris)
        return "emails and URIs are not allowed";
    return NULL;
}

static const char *kubelet_client(const struct request *r)
{
    const char *why = node_identity(r);
    if (why)
        return why;
    if (r->info->ndns || r->info->nips)
        return "subjectAltNames are not allowed";
    return (r->usages & ~CERT_KEY_ENCIPHER) == (CERT_SIGNATURE | CERT_CLIENT)
               ? NULL
               : "usages did not match [client auth, digital signature, key encipherment]";
}

static const char *kubelet_serving(const struct request *r)
{
    const char *why = node_identity(r);
    if (why)
        return why;
    if (!r->info->ndns && !r->info->nips)
        return "at least one DNS name or IP address is required";
    if (!str_eq(r->info->cn, r->username))
        return "CommonName in CSR is not the requester's name";
    return (r->usages & ~CERT_KEY_ENCIPHER) == (CERT_SIGNATURE | CERT_SERVER)
               ? NULL
               : "usages did not match [digital signature, key encipherment, server auth]";
}

static const char *client(const struct request *r)
{
    const unsigned allowed = CERT_SIGNATURE | CERT_KEY_ENCIPHER | CERT_CLIENT;
    if (!(r->usages & CERT_CLIENT) || (r->usages & ~allowed))
        return "usages must include client auth, and no others than digital signature and key encipherment beside it";
    return NULL;
}

static const struct {
    const char *signer;
    const char *(*check)(const struct request *r);
} signers[] = {
    {CLIENT, client},
    {KUBELET_CLIENT, kubelet_client},
    {KUBELET_SERVING, kubelet_serving},
};

bool request_signer_known(struct str signer)
{
    for (size_t i = 0; i < ARRAY_LEN(signers); i++)
        if (str_eqz(signer, signers[i].signer))
            return true;
    return false;
}

const char *request_trouble(const struct request *r)
{
    for (size_t i = 0; i < ARRAY_LEN(signers); i++)
        if (str_eqz(r->signer, signers[i].signer))
            return signers[i].check(r);
    return "unknown signer";
}

int request_add_condition(
    struct sync *s, const struct request *r, const char *sub, const char *type, const char *reason, struct str message, struct err **e)
{
    struct json *status = json_put_obj(s->pool, r->tree, STR("status"));
    condition_set(s->pool, json_put_arr(s->pool, status, STR("conditions")), type, "True", reason, message, s->now, true);
    return MIN(sync_update(s, R_CSRS, r->o, sub, r->tree, NULL, e), 0);
}
