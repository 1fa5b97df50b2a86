/* registries.yaml, as K3s has it: other places for a registry's images, and how to speak to each host. Inside the room.
 *
 *     mirrors:
 *       docker.io:
 *         endpoint: ["https://mirror.example.com:5000", "http://10.0.0.2/v2/proxy"]    # tried in order, then docker.io itself
 *         rewrite: {"^library/(.*)": "mirrored/$1"}                                     # of the repository, at these endpoints only
 *       "*":                                                                            # for registries that are not named
 *         endpoint: [...]
 *     configs:
 *       mirror.example.com:5000:
 *         auth: {username: u, password: p}         # or auth: base64 of u:p, or identity_token
 *         tls: {ca_file: ..., cert_file: ..., key_file: ..., insecure_skip_verify: false}
 *
 * The file and those that it names are the administrator's and are read once, at the start, while rights to do so are still there. Unknown
 * keys are errors: a misspelt "rewrites" must not send pulls to the wrong place. Expressions are POSIX extended ones; $1 to $9 (or ${1}) in
 * the replacement are what the groups matched.
 */
#pragma once
#include "base/clock.h"
#include "crypto/tls.h"
#include "gate/registry_cred.h"

struct registry_config {
    struct str host;
    struct registry_cred auth;
    bool has_auth;
    bool insecure;
    struct str ca_pem, cert_pem, key_pem; /* absent: not given */
    bool has_tls;
    struct tls_ctx *ctx; /* made when first used */
};
struct registries;
/* path NULL or a file that does not exist: nothing is configured. ERR_INVALID, ERR_PARSE, ERR_IO with the field's or file's name. */
int registries_load(const char *path, struct registries **out, struct err **e) _must_check_;
int registries_parse(struct str text, struct registries **out, struct err **e) _must_check_;
void registries_free(struct registries *r);
DEFINE_CLEANUP(struct registries *, registries_free)

/* K3s' --disable-default-registry-endpoint: a registry that has mirrors (of its own name, or by "*") is not asked itself. */
void registries_mirrors_only(struct registries *r);

#define REGISTRY_ENDPOINTS_MAX 16
struct registry_endpoint {
    struct registry_url url /* path: "/v2" or what the endpoint names, without a slash at the end */;
    struct str repository;
    bool mirror;
};
/* Where to ask for an image, in order; the registry itself last, if at all. Returns their number. */
size_t registries_endpoints(
    const struct registries *r, struct pool *p, const struct registry_image *image, struct registry_endpoint out[REGISTRY_ENDPOINTS_MAX]);
/* What is configured for "host" or "host:port", else for "*"; NULL: nothing. */
const struct registry_config *registries_config(const struct registries *r, struct pool *p, const struct registry_url *u);
/* The TLS context for a host; it belongs to r. NULL with *e. */
struct tls_ctx *registries_tls(
    struct registries *r, struct pool *p, const struct registry_url *u, const struct clock *clock, struct err **e);
