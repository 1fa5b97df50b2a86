#include "api/admit.h"
#include "crypto/cert.h"

/* Certificate admission: who may approve for a signer, who may sign, and that nobody asks for system:masters; the requester's identity is
 * written by us. */

static bool may(struct call *c, const char *verb, struct str signer)
{
    struct api_attrs at = {
        .verb = str_of(verb), .group = STR("certificates.k8s.io"), .version = STR("v1"), .resource = STR("signers"), .name = signer};
    if (authz_decide(c->api, c->user, &at, NULL) == DECISION_ALLOW)
        return true;
    struct str domain, rest;
    if (!str_cut(signer, '/', &domain, &rest))
        return false;
    at.name = pool_printf(c->pool, "%.*s/*", STR_ARG(domain));
    return authz_decide(c->api, c->user, &at, NULL) == DECISION_ALLOW;
}

static int create(struct call *c, struct json *spec, struct str signer, struct err **e)
{
    struct json *u = user_json(c->pool, c->user);
    static const char *const keys[] = {"username", "uid", "groups", "extra"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const struct json *v = json_get(u, str_of(keys[i]));
        if (v)
            json_set(c->pool, spec, str_of(keys[i]), json_clone(c->pool, v));
        else
            json_del(spec, str_of(keys[i]));
    }
    if (!str_eqz(signer, "kubernetes.io/kube-apiserver-client"))
        return 0;
    struct buf pem = BUF_INIT;
    struct csr *csr = NULL;
    int r = 0;
    if (buf_unbase64(&pem, json_get_str(spec, "request")) && csr_parse(buf_str(&pem), &csr, NULL) >= 0) {
        const struct cert_info *i = csr_info(csr);
        for (size_t k = 0; k < i->norgs && r == 0; k++)
            if (str_eqz(i->orgs[k], "system:masters"))
                r = admit_forbid(c, e, "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed");
    }
    csr_free(csr);
    buf_clear(&pem);
    return r;
}

int admit_csr(struct call *c, struct err **e)
{
    struct json *spec = json_put_obj(c->pool, c->w.doc, STR("spec"));
    struct str signer = json_get_str(spec, "signerName");
    if (c->w.op == WRITE_CREATE)
        return str_empty(c->ri.sub) ? create(c, spec, signer, e) : 0;
    signer = json_str_at(c->w.old, "spec", "signerName", NULL);
    if (str_eqz(c->ri.sub, "approval") && !may(c, "approve", signer))
        return admit_forbid(c, e, "user not permitted to approve requests with signerName \"%.*s\"", STR_ARG(signer));
    if (str_eqz(c->ri.sub, "status")) {
        const struct json *a = json_path(c->w.doc, "status", "certificate", NULL), *b = json_path(c->w.old, "status", "certificate", NULL);
        if (!str_eq(json_as_str(a), json_as_str(b)) && !may(c, "sign", signer))
            return admit_forbid(c, e, "user not permitted to sign requests with signerName \"%.*s\"", STR_ARG(signer));
    }
    return 0;
}
