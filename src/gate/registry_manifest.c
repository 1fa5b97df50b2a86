#include "gate/registry_manifest.h"

#include "image/image.h"
#include "json/json.h"

#if defined(__x86_64__)
#define ARCH "amd64"
#elif defined(__aarch64__)
#define ARCH "arm64"
#else
#define ARCH "arm"
#endif

static int descriptor(const struct json *o, const char *what, struct registry_blob *out, struct err **e)
{
    struct str digest = json_get_str(o, "digest");
    int64_t size = json_get_int(o, "size", -1);
    if (!image_digest_valid(digest))
        return err_set(e, ERR_PARSE, "manifest: %s: \"%.*s\" is not a sha256 digest", what, STR_ARG(str_sub(digest, 0, 100)));
    if (size < 0)
        return err_set(e, ERR_PARSE, "manifest: %s: the size is missing", what);
    *out = (struct registry_blob){digest, size};
    return 0;
}

/* The first entry for linux and our architecture, or one that names no platform: as the node side picks. */
static int pick(const struct json *list, struct registry_blob *out, struct err **e)
{
    json_for (list, it) {
        const struct json *platform = json_get(it, STR("platform"));
        if (!platform || (str_eqz(json_get_str(platform, "os"), "linux") && str_eqz(json_get_str(platform, "architecture"), ARCH)))
            return descriptor(it, "manifests", out, e);
    }
    return err_set(e, ERR_NOT_FOUND, "no match for platform in manifest: nothing for linux/" ARCH);
}

static int read_layers(struct pool *p, const struct json *list, struct registry_manifest *m, struct err **e)
{
    if (json_count(list) > REGISTRY_LAYERS_MAX)
        return err_set(e, ERR_LIMIT, "manifest: %zu layers; %d are possible", json_count(list), REGISTRY_LAYERS_MAX);
    m->layers = pool_array(p, struct registry_blob, json_count(list) + 1);
    json_for (list, it) {
        struct str type = json_get_str(it, "mediaType");
        int r = descriptor(it, "layers", &m->layers[m->nlayers++], e);
        if (r < 0)
            return r;
        if (str_find(type, STR("foreign")) >= 0 || str_ends(type, STR("+encrypted")))
            return err_set(e, ERR_INVALID, "manifest: a layer of type %.*s cannot be used", STR_ARG(str_sub(type, 0, 100)));
    }
    return 0;
}

int registry_manifest_parse(struct pool *p, struct str text, struct registry_manifest *out, struct err **e)
{
    struct registry_manifest m = {0};
    struct json *o;
    int r = json_parse(p, text, &(struct json_limits){.bytes = REGISTRY_MANIFEST_MAX, .depth = 32, .nodes = 200000}, &o, e);
    if (r < 0) {
        err_wrap(e, "manifest");
        return r;
    }
    const struct json *list = json_get(o, STR("manifests"));
    if (json_get_int(o, "schemaVersion", 2) == 1)
        return err_set(e, ERR_INVALID, "manifest: docker's schema 1 is no longer supported: push the image anew");
    if (json_is(list, JSON_ARR)) {
        r = pick(list, &m.picked, e);
    } else {
        r = descriptor(json_get(o, STR("config")), "config", &m.config, e);
        if (r == 0)
            r = read_layers(p, json_get(o, STR("layers")), &m, e);
        if (r == 0 && m.config.size > REGISTRY_MANIFEST_MAX)
            r = err_set(e, ERR_LIMIT, "manifest: a config of %" PRId64 " bytes; %u are possible", m.config.size, REGISTRY_MANIFEST_MAX);
    }
    if (r == 0)
        *out = m;
    return r;
}
