/* Inside the room: making the parts of a certificate or request out of a struct cert_spec. */
#pragma once
#include "crypto/ossl.h"

int issue_subject(const struct cert_spec *spec, X509_NAME **out, struct err **e);
/* NULL in *out when there are no names. */
int issue_sans(const struct cert_spec *spec, GENERAL_NAMES **out, struct err **e);
struct issue {
    EVP_PKEY *subject_key;
    X509_NAME *subject;
    GENERAL_NAMES *sans; /* or NULL */
    unsigned usages;
    int64_t not_before, not_after;
    bool is_ca;
    X509 *issuer; /* NULL: signs itself */
    EVP_PKEY *issuer_key;
};
int issue_cert(const struct issue *i, X509 **out, struct err **e);
