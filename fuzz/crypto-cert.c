/* PEM and DER from kubeconfigs, CSR objects and handshakes: certificates, requests, keys. */
#include <assert.h>
#include "crypto/crypto.h"

static void certs(struct str text)
{
    struct certs l = {0};
    struct err *e = NULL;
    if (certs_parse(text, &l, &e) < 0) {
        assert(e && e->message && l.n == 0);
        err_free(e);
        certs_clear(&l);
        return;
    }
    assert(cert_verify(&(struct certs){0}, &l, CERT_CLIENT, INT64_C(1800000000000000000), NULL) < 0);
    cert_fits_host(l.at[0], STR("localhost"));
    key_free(cert_key(l.at[0]));
    struct buf pem = BUF_INIT;
    struct certs again = {0};
    cert_pem(l.at[0], &pem);
    int r = certs_parse(buf_str(&pem), &again, NULL);
    assert(r == 0 && str_eq(cert_info(again.at[0])->fingerprint, cert_info(l.at[0])->fingerprint));
    buf_clear(&pem);
    certs_clear(&again);
    certs_clear(&l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_make((const char *)data, size);
    struct csr *r = NULL;
    struct key *k = NULL;
    certs(text);
    if (csr_parse(text, &r, NULL) == 0)
        assert(csr_info(r)->key_id.n == HASH_HEX);
    csr_free(r);
    if (key_parse(text, &k, NULL) == 0)
        assert(key_id(k).n == HASH_HEX);
    key_free(k);
    k = NULL;
    if (key_parse_spki(text, &k, NULL) == 0)
        assert(!key_is_private(k));
    key_free(k);
    return 0;
}
