/* One image's conversation with its registry: where to ask (mirrors in turn, then the registry itself), who we are (pull secrets,
 * registries.yaml, tokens), redirects. Inside the room.
 *
 * A session belongs to one attempt at one image; it keeps connections, and for each endpoint the Authorization that worked. A get is one
 * document or blob:
 *
 *     endpoint ──▶ request ──▶ 2xx ──▶ on_head, on_data..., on_end(NULL)
 *        ▲            │ ▲
 *        │            │ ├── 3xx: the same at another place; Authorization stays behind when host, port or scheme differ
 *        │            │ └── 401: token or password by the challenge, then again; 403: the next credentials
 *        └────────────┴──── anything else: the next endpoint; after the last one on_end with every endpoint's reason
 *
 * What is broken off in the middle of a body ends with ERR_IO or ERR_TIMEOUT: the caller resumes by another get from where it stands. A
 * peer that sends nothing for a minute is cut off. Passwords go only to hosts that they are meant for: pull secrets to the registry itself,
 * those of registries.yaml to the host that they stand under, both to the realm that this host names, which must be https when the host is.
 * A mirror at another host gets no pull secret. Source: OCI distribution-spec; distribution's token specification; RFC 9110.
 */
#pragma once
#include "base/loop.h"
#include "gate/registries_yaml.h"
#include "http/http.h"

struct registry_session;
/* creds, image and registries are used, not copied: they must outlive the session. */
struct registry_session *registry_open(struct loop *l, const struct clock *clock, struct registries *r, const struct registry_image *image,
    const struct registry_creds *creds);
void registry_close(struct registry_session *s); /* gets under way are to be cancelled before */

struct registry_head {
    int status; /* 200 or 206 */
    int64_t length /* of this body; -1: not told */, from /* of a 206 */;
    struct str digest /* Docker-Content-Digest */;
};
struct registry_events {
    void (*on_head)(void *arg, const struct registry_head *h); /* may cancel the get */
    void (*on_data)(void *arg, const char *p, size_t n);       /* likewise */
    void (*on_end)(void *arg, const struct err *e);            /* once, never from within registry_get; the get is gone */
};
struct registry_get;
/* what: "manifests/<tag or digest>" or "blobs/<digest>". accept may be NULL; from: first byte wanted. */
struct registry_get *registry_get(
    struct registry_session *s, struct str what, const char *accept, int64_t from, const struct registry_events *ev, void *arg);
void registry_cancel(struct registry_get *g); /* no more callbacks */
