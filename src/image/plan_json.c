#include "image/impl.h"
#include "json/json.h"

#if defined __x86_64__
#define GOARCH "amd64"
#elif defined __aarch64__
#define GOARCH "arm64"
#else
#define GOARCH "arm"
#endif

int plan_pick(struct pool *p, struct str index, struct str wanted, struct str *digest, bool *is_index, struct err **e)
{
    struct json *o;
    int r = json_parse(p, index, NULL, &o, e);
    if (r < 0)
        return err_wrap(e, "image index"), r;
    const struct json *list = json_get(o, STR("manifests")), *best = NULL;
    json_for(list, it) {
        const struct json *platform = json_get(it, STR("platform"));
        struct str os = json_get_str(platform, "os"), arch = json_get_str(platform, "architecture");
        if (!str_empty(wanted) ? str_eq(json_get_str(it, "digest"), wanted)
                               : (str_eq(os, STR("linux")) && str_eq(arch, STR(GOARCH))) || !platform) {
            best = it;
            break;
        }
    }
    if (!best)
        return err_set(e, ERR_NOT_FOUND, "no match for platform linux/" GOARCH " in the image index");
    struct str type = json_get_str(best, "mediaType");
    *digest = json_get_str(best, "digest");
    *is_index = str_find(type, STR("index")) >= 0 || str_find(type, STR("manifest.list")) >= 0;
    return image_digest_valid(*digest) ? 0 : err_set(e, ERR_PARSE, "image index: \"%.*s\" is not a sha256 digest", STR_ARG(*digest));
}

static int descriptor(const struct json *o, struct plan_blob *out, struct err **e)
{
    struct str digest = json_get_str(o, "digest");
    int64_t size = json_get_int(o, "size", -1);
    if (!image_digest_valid(digest) || size < 0)
        return err_set(e, ERR_PARSE, "manifest: digest \"%.*s\" or size is not valid", STR_ARG(digest));
    *out = (struct plan_blob){digest, 0, (uint64_t)size, false};
    return 0;
}

int plan_layout(struct pool *p, struct str index, struct str manifest, struct plan *out, struct err **e)
{
    struct json *o;
    int r = json_parse(p, manifest, NULL, &o, e);
    if (r < 0)
        return err_wrap(e, "image manifest"), r;
    const struct json *layers = json_get(o, STR("layers"));
    if (json_count(layers) > LAYERS_MAX)
        return err_set(e, ERR_LIMIT, "image has %zu layers; %d are possible", json_count(layers), LAYERS_MAX);
    struct plan_image *i = pool_new_of(p, struct plan_image);
    r = descriptor(json_get(o, STR("config")), &i->config, e);
    i->layers = pool_array(p, struct plan_blob, json_count(layers) + 1);
    json_for(layers, it) {
        if (r == 0)
            r = descriptor(it, &i->layers[i->nlayers++], e);
    }
    if (r < 0)
        return r;
    out->images = i;
    out->nimages = 1;
    return 0;
}

static void strings(struct pool *p, const struct json *list, struct str **out, size_t *n, size_t max)
{
    *out = pool_array(p, struct str, json_count(list) + 1);
    *n = 0;
    json_for(list, it) {
        if (*n < max && json_is(it, JSON_STR) && !memchr(it->sp, 0, it->n))
            (*out)[(*n)++] = json_as_str(it);
    }
}

int plan_config(struct pool *p, struct str text, struct image_config *out, struct err **e)
{
    struct json *o;
    int r = json_parse(p, text, NULL, &o, e);
    if (r < 0)
        return err_wrap(e, "image config"), r;
    const struct json *c = json_get(o, STR("config")), *rootfs = json_get(o, STR("rootfs"));
    strings(p, json_get(c, STR("Entrypoint")), &out->entrypoint, &out->nentrypoint, 4096);
    strings(p, json_get(c, STR("Cmd")), &out->cmd, &out->ncmd, 4096);
    strings(p, json_get(c, STR("Env")), &out->env, &out->nenv, 4096);
    strings(p, json_get(rootfs, STR("diff_ids")), &out->diff_ids, &out->ndiff_ids, LAYERS_MAX);
    out->working_dir = json_get_str(c, "WorkingDir");
    out->user = json_get_str(c, "User");
    out->stop_signal = json_get_str(c, "StopSignal");
    out->os = json_get_str(o, "os");
    out->arch = json_get_str(o, "architecture");
    if (!str_empty(out->os) && !str_eq(out->os, STR("linux")))
        return err_set(e, ERR_INVALID, "image is for %.*s, not for linux", STR_ARG(out->os));
    if (!str_empty(out->arch) && !str_eq(out->arch, STR(GOARCH)))
        return err_set(e, ERR_INVALID, "image is for %.*s, not for " GOARCH, STR_ARG(out->arch));
    return 0;
}
