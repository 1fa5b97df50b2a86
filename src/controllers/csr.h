/* Certificate signing requests: what the approving and the signing controller share. Inside the room. */
#pragma once
#include "controllers/ctl.h"
#include "crypto/cert.h"

struct request {
    const struct obj *o;
    struct json *tree;
    const struct json *spec;
    struct str signer, username;
    struct csr *csr;              /* csr_free */
    const struct cert_info *info; /* of csr */
    unsigned usages;
    bool approved, denied, failed, issued;
};
/* ERR_INVALID when the request itself is no good. */
int request_read(struct sync *s, const struct obj *o, struct request *out, struct err **e) _must_check_;
/* NULL when the request asks for what its signer gives; otherwise why not. */
const char *request_trouble(const struct request *r);
bool request_signer_known(struct str signer);
int request_add_condition(struct sync *s, const struct request *r, const char *sub, const char *type, const char *reason,
    struct str message, struct err **e) _must_check_;
