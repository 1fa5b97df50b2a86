/* Names on the way to a registry: image references and URLs. Pure. Inside the room.
 *
 * A reference is taken apart in its long form (image/image.h: "nginx" is docker.io/library/nginx:latest). URLs come from registries.yaml,
 * from a registry's redirects and from its challenges: http:// and https:// only, no user in them, a port between 1 and 65535. Sources:
 * distribution/reference, RFC 3986 5.2 as far as registries use it.
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "base/pool.h"

struct registry_image {
    struct str ref /* long form */, host, repository, tag /* empty with a digest alone */, digest;
};
/* ERR_INVALID "couldn't parse image name ...". */
int registry_image_parse(struct pool *p, struct str ref, struct registry_image *out, struct err **e) _must_check_;
/* The reference with a tag added when it has neither tag nor digest, as the kubelet writes it in its events. */
struct str registry_image_tagged(struct pool *p, struct str ref);
bool registry_is_hub(struct str host); /* one of the names of docker.io */

struct registry_url {
    bool tls;
    struct str host /* without brackets */;
    uint16_t port;
    struct str path /* with the query; empty or from "/" on */;
};
int registry_url_parse(struct pool *p, struct str url, struct registry_url *out, struct err **e) _must_check_; /* ERR_INVALID */
/* A Location header: a whole URL, //host/path or /path. */
int registry_url_join(
    struct pool *p, const struct registry_url *base, struct str location, struct registry_url *out, struct err **e) _must_check_;
bool registry_url_same(const struct registry_url *a, const struct registry_url *b); /* scheme, host and port */
struct str registry_url_host(struct pool *p, const struct registry_url *u); /* "host" or "host:port" when it is not the scheme's own */
void registry_query_add(
    struct buf *b, const char *name, struct str value); /* "name=" and the value, percent-encoded; with & when b has something behind a ? */
