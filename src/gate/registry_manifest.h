/* Manifests and indexes as registries send them: docker v2 and OCI. Pure. Inside the room. The node side parses them again, unprivileged,
 * and checks every digest itself: what is read here only says what to fetch. Source: OCI image-spec, docker's image manifest v2 schema 2.
 */
#pragma once
#include "base/err.h"
#include "base/pool.h"

#define REGISTRY_MANIFEST_MAX (4u << 20) /* bytes of a manifest, an index or a config */
#define REGISTRY_LAYERS_MAX 127          /* as the node side */
#define REGISTRY_ACCEPT                                                                                                                    \
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "                                                \
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"

struct registry_blob {
    struct str digest;
    int64_t size;
};
struct registry_manifest {
    struct registry_blob picked; /* an index: the manifest for this machine's platform; digest empty otherwise */
    struct registry_blob config, *layers;
    size_t nlayers; /* a manifest */
};
/* ERR_PARSE, ERR_LIMIT, ERR_INVALID; ERR_NOT_FOUND when an index has nothing for this platform. The strings live in pool. */
int registry_manifest_parse(struct pool *p, struct str text, struct registry_manifest *out, struct err **e) _must_check_;
