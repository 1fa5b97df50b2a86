/* Sealing of Secrets, seen and changed while the server runs: what `sampan secrets-encrypt` asks for.
 *
 *   GET  /v1-sampan/encrypt/status        {"enabled":true,"keys":2,"stage":"reencrypt_finished","changed":17}
 *   POST /v1-sampan/encrypt/rotate-keys   202 and the same; a new key is made and everything sealed is written anew under it, in the background
 *
 * stage: "start" (nothing was rotated since the process began), "reencrypt_active", "reencrypt_finished", or "reencrypt_failed" with "message".
 * Who asks needs `get` or `create` on that path as a nonresource URL: system:masters, in a new cluster.
 */
#pragma once
#include "api/api.h"
#include "store/seal.h"

struct encrypt;
/* seal NULL: Secrets are not sealed and never were. Everything given outlives it. Before api_start. */
struct encrypt *encrypt_new(struct api *api, struct store_seal *seal, struct store *store, bool enabled);
void encrypt_free(struct encrypt *x); /* waits for a walk that is under way */
