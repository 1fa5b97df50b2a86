/* X.509: our own small CA, and reading and checking other people's certificates.
 *
 * Names follow Kubernetes: a client certificate's CN is the user, each O a group; a server's names are its SANs, never its CN.
 * Everything that we issue is dated back by a year (a device without a clock battery starts in the past: ARCHITECTURE "Time").
 * Verifying takes the time from the caller and reports in this order: who signed it, whether it is in time, what it may be used for.
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "base/pool.h"
#include "crypto/key.h"

/* Usages, as certificates.k8s.io/v1 names them; KeyUsage below bit 16, ExtendedKeyUsage from it on. */
enum cert_usage {
    CERT_SIGNATURE = 1 << 0,     /* "digital signature", "signing" */
    CERT_COMMITMENT = 1 << 1,    /* "content commitment" */
    CERT_KEY_ENCIPHER = 1 << 2,  /* "key encipherment" */
    CERT_DATA_ENCIPHER = 1 << 3, /* "data encipherment" */
    CERT_KEY_AGREE = 1 << 4,     /* "key agreement" */
    CERT_SIGN = 1 << 5,          /* "cert sign" */
    CERT_CRL_SIGN = 1 << 6,      /* "crl sign" */
    CERT_ENCIPHER_ONLY = 1 << 7, /* "encipher only" */
    CERT_DECIPHER_ONLY = 1 << 8, /* "decipher only" */
    CERT_ANY = 1 << 16,          /* "any" */
    CERT_SERVER = 1 << 17,       /* "server auth" */
    CERT_CLIENT = 1 << 18,       /* "client auth" */
    CERT_CODE = 1 << 19,         /* "code signing" */
    CERT_EMAIL = 1 << 20,        /* "email protection", "s/mime" */
    CERT_TIMESTAMP = 1 << 21,    /* "timestamping" */
    CERT_OCSP = 1 << 22,         /* "ocsp signing" */
};
unsigned cert_usage_of(struct str name); /* 0: not a usage that can be granted ("ipsec user" and the like are refused) */

/* What a certificate says. All views live as long as the struct cert or csr. */
struct cert_info {
    struct str cn;                    /* absent when there is none */
    const struct str *orgs;           /* O, in order */
    size_t norgs;
    const struct str *dns, *ips, *emails, *uris; /* SANs; addresses as text */
    size_t ndns, nips, nemails, nuris;
    int64_t not_before, not_after;    /* ns; beyond what fits, the nearest that does. 0 in a CSR */
    bool is_ca;
    unsigned usages;
    struct str serial;                /* hexadecimal */
    struct str subject, issuer;       /* RFC 2253, for people */
    struct str key_id;                /* of its public key: key_id of key.h */
    struct str fingerprint;           /* SHA-256 of the DER, hexadecimal */
};

/* One certificate. Immutable, reference-counted. */
struct cert;
struct cert *cert_ref(struct cert *c);
void cert_free(struct cert *c);
DEFINE_CLEANUP(struct cert *, cert_free)
const struct cert_info *cert_info(const struct cert *c);
struct key *cert_key(const struct cert *c);        /* a new reference; NULL for kinds that key.h does not know */
void cert_pem(const struct cert *c, struct buf *out);
void cert_der(const struct cert *c, struct buf *out);

/* A list of certificates: a chain (leaf first) or a pool of CAs. */
struct certs {
    struct cert **at;
    size_t n;
};
#define CERTS_MAX 512      /* in one list */
#define CERT_PEM_MAX (1u << 20)
void certs_clear(struct certs *l);
/* All "CERTIFICATE" blocks of a PEM text (other blocks are skipped), or one DER certificate. None at all is ERR_PARSE. Appends. */
int certs_parse(struct str text, struct certs *l, struct err **e) _must_check_;
int certs_load(const char *path, struct certs *l, struct err **e) _must_check_;
void certs_add(struct certs *l, struct cert *c); /* takes over the reference */

/* Is chain->at[0] good for `usage` (CERT_SERVER, CERT_CLIENT, or 0) at `now` by one of cas? Further certificates of the chain may stand between.
 * ERR_UNAUTHORIZED with a message such as "certificate CN=x: expired at 2026-01-01T00:00:00Z" or "signed by unknown authority". */
int cert_verify(const struct certs *cas, const struct certs *chain, unsigned usage, int64_t now, struct err **e) _must_check_;
/* host: a DNS name or an address, against the SANs (RFC 6125, one leading wildcard label). */
bool cert_fits_host(const struct cert *c, struct str host);

/* What is to be issued. Texts are copied. */
struct cert_spec {
    struct str cn;
    const struct str *orgs;
    size_t norgs;
    const struct str *dns, *ips; /* an entry of dns that is an address is taken as one */
    size_t ndns, nips;
    unsigned usages;    /* of enum cert_usage */
    int64_t now;        /* site time, ns: not_before is a year earlier... */
    bool recent;        /* five minutes earlier instead, as Kubernetes' signers do: for people and programs elsewhere, whose clocks go */
    int64_t lifetime;   /* ...and not_after this much later; cut to the CA's own end. 0: a year */
};
#define CERT_YEAR (INT64_C(365) * 86400 * NS_PER_S)

/* A certificate authority: certificate and key. Immutable, reference-counted. */
struct ca;
struct ca *ca_ref(struct ca *ca);
void ca_free(struct ca *ca);
DEFINE_CLEANUP(struct ca *, ca_free)
int ca_make(struct str cn, int64_t now, struct ca **out, struct err **e) _must_check_; /* ECDSA P-256, ten years */
int ca_parse(struct str cert_pem, struct str key_pem, struct ca **out, struct err **e) _must_check_; /* checks that they belong together */
int ca_load(const char *cert_path, const char *key_path, struct ca **out, struct err **e) _must_check_;
int ca_save(const struct ca *ca, const char *cert_path, const char *key_path, struct err **e) _must_check_; /* 0644, 0600; key first */
int ca_load_or_make(const char *cert_path, const char *key_path, struct str cn, int64_t now, struct ca **out, struct err **e) _must_check_;
struct cert *ca_cert(const struct ca *ca); /* borrowed */
struct key *ca_key(const struct ca *ca);   /* borrowed */
struct str ca_pem(const struct ca *ca);    /* the certificate; lives as long as ca */

/* Appends the new certificate as PEM (without the CA's). subject: its public half is enough. */
int ca_issue(const struct ca *ca, const struct key *subject, const struct cert_spec *spec, struct buf *pem, struct err **e) _must_check_;

/* Certificate signing requests (PKCS #10). */
struct csr;
void csr_free(struct csr *r);
DEFINE_CLEANUP(struct csr *, csr_free)
int csr_make(const struct key *k, const struct cert_spec *spec, struct buf *pem, struct err **e) _must_check_; /* names only; usages and times are the CA's */
int csr_parse(struct str pem, struct csr **out, struct err **e) _must_check_; /* its self-signature is checked */
const struct cert_info *csr_info(const struct csr *r);
/* Subject and SANs as the request has them, usages and times as given (spec's names are not looked at). Extensions a request asks for are
 * not taken over; is-CA never. */
int ca_sign_csr(const struct ca *ca, const struct csr *r, const struct cert_spec *spec, struct buf *pem, struct err **e) _must_check_;
