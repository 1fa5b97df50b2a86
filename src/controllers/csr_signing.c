/* Signs approved requests of the signers that this cluster keeps. */
#include "api/api_keys.h"
#include "controllers/csr.h"
#include "controllers/inner.h"

static const struct ca *ca_for(struct sync *s, struct str signer)
{
    const struct controllers_config *cfg = &s->ctl->all->cfg;
    struct api_keys *keys = api_get_keys(s->ctl->api);
    bool serving = str_eqz(signer, "kubernetes.io/kubelet-serving");
    const struct ca *given = serving ? cfg->server_ca : cfg->client_ca;
    if (given || !keys)
        return given;
    return serving ? api_keys_server_signer(keys) : api_keys_client_signer(keys);
}

static int sign(struct sync *s, const struct request *r, struct err **e)
{
    const struct ca *ca = ca_for(s, r->signer);
    struct buf pem = BUF_INIT, text = BUF_INIT;
    int64_t seconds = json_get_int(r->spec, "expirationSeconds", 365 * 86400);
    struct cert_spec spec = {
        .usages = r->usages, .recent = str_eqz(r->signer, "kubernetes.io/kube-apiserver-client"), .now = s->now, .lifetime = MIN(MAX(seconds, (int64_t)600), (int64_t)365 * 86400) * NS_PER_S};
    if (!ca)
        return 0;
    int rc = ca_sign_csr(ca, r->csr, &spec, &pem, e);
    if (rc == 0) {
        buf_base64(&text, pem.p, pem.n);
        json_set_str(s->pool, json_put_obj(s->pool, r->tree, STR("status")), STR("certificate"), buf_str(&text));
        rc = sync_update(s, R_CSRS, r->o, "status", r->tree, NULL, e);
    }
    buf_clear(&pem);
    buf_clear(&text);
    return MIN(rc, 0);
}

static int sync(struct sync *s, struct err **e)
{
    const struct obj *o = sync_self(s, R_CSRS);
    struct request r;
    if (!o || o->deleted)
        return 0;
    int rc = request_read(s, o, &r, e);
    if (!r.approved || r.denied || r.failed || r.issued || !request_signer_known(r.signer)) {
        err_free(TAKE(*e));
        rc = 0;
    } else if (rc < 0) {
        struct str why = pool_printf(s->pool, "unable to parse csr: %s", err_msg(*e));
        err_free(TAKE(*e));
        rc = request_add_condition(s, &r, "status", "Failed", "SignerValidationFailure", why, e);
    } else {
        const char *trouble = request_trouble(&r);
        rc = trouble ? request_add_condition(s, &r, "status", "Failed", "SignerValidationFailure", str_of(trouble), e) : sign(s, &r, e);
    }
    csr_free(r.csr);
    return err_is(e, ERR_NOT_FOUND) ? 0 : rc;
}

const struct controller csr_signing_controller = {
    .name = "csr-signing",
    .account = "certificate-controller",
    .watches = {{R_CSRS, ctl_add_change}},
    .sync = sync,
};
