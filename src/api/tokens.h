/* Tokens that the api makes and reads. Inside the room. */
#pragma once
#include "api/api.h"

struct str token_issuer(struct api *a, struct pool *p); /* https://kubernetes.default.svc.<domain> */
/* Is this the join token (or its password) that the server was given? Constant time. */
bool token_is_join(struct api *a, struct str token, struct str static_token);
/* A bootstrap token (bare, or behind K10<hash>::) that may join nodes: valid, and in the group below, which `sampan token create` gives. */
#define TOKEN_NODE_GROUP "system:bootstrappers:sampan:default-node-token"
bool token_joins_nodes(struct api *a, struct str token);
