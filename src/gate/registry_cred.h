/* Credentials for registries out of pull secrets, matched to an image as the kubelet does (pkg/credentialprovider). Pure. Inside the room.
 */
#pragma once
#include "gate/registry_name.h"
#include "json/json.h"

struct registry_cred {
    struct str username, password, identity /* a refresh token, instead */;
};
#define REGISTRY_CREDS_MAX 16
struct registry_creds {
    struct registry_cred at[REGISTRY_CREDS_MAX];
    size_t n;
};

/* Adds what a secret of type kubernetes.io/dockerconfigjson ({"auths":{...}}) or kubernetes.io/dockercfg ({...}) holds for image. text is
 * the decoded value. ERR_PARSE. */
int registry_creds_add(
    struct pool *p, struct str text, const struct registry_image *image, struct registry_creds *out, struct err **e) _must_check_;
/* Whether a key of such a file ("quay.io", "https://index.docker.io/v1/", "*.example.com:5000/team") fits an image. */
bool registry_key_fits(struct pool *p, struct str key, const struct registry_image *image);
bool registry_auth_decode(struct pool *p, struct str base64, struct registry_cred *out); /* "user:password" in base64 */
