/* GET /v3/import/<token>_<cluster>.yaml: what `kubectl apply -f` makes of any Kubernetes a cluster of this hub: namespace, service account, its rights, the registration token, and one
 * Deployment that runs `sampan connect` from the image of setting agent-image. No login: the token is the secret. */
#include "crypto/crypto.h"
#include "hub/impl.h"

extern const char hub_import_yaml[];
extern const size_t hub_import_yaml_n;

/* {{name}} in the template becomes the value, as a YAML string where the template quotes it. */
static void fill(struct buf *out, struct str text, const struct http_header *values, size_t n)
{
    while (text.n) {
        ssize_t at = str_find(text, STR("{{")), end = at < 0 ? -1 : str_find(str_sub(text, (size_t)at, text.n), STR("}}"));
        if (end < 0)
            break;
        struct str name = str_sub(text, (size_t)at + 2, (size_t)(at + end));
        buf_str_add(out, str_sub(text, 0, (size_t)at));
        for (size_t i = 0; i < n; i++)
            if (str_eq(values[i].name, name))
                json_write_str(out, values[i].value);
        text = str_sub(text, (size_t)(at + end) + 2, text.n);
    }
    buf_str_add(out, text);
}

static void no_such(struct http_req *rq)
{
    _cleanup_(err_freep) struct err *e = NULL;
    (void)err_set(&e, ERR_NOT_FOUND, "no registration token of this name is good for this cluster");
    hub_refuse(rq, e);
}

void import_route(struct http_req *rq, const struct api_user *user, void *arg)
{
    struct hub *h = arg;
    struct pool *p = rq->pool;
    struct str file = str_sub(rq->path, sizeof "/v3/import/" - 1, rq->path.n), token, cluster;
    ssize_t at = str_rchr(file, '_');
    (void)user;
    if (!str_ends(file, STR(".yaml")) || at < 0) {
        no_such(rq);
        return;
    }
    token = str_sub(file, 0, (size_t)at);
    cluster = str_sub(file, (size_t)at + 1, file.n - 5);
    struct str found = clusters_by_token(h, p, token);
    if (!found.n || !str_eq(found, cluster)) {
        no_such(rq);
        return;
    }
    struct json *doc = hub_get(h, p, "clusters", STR_NULL, cluster);
    struct str image = json_str_at(doc, "spec", "agentImageOverride", NULL);
    struct http_header values[] = {
        {STR("cluster"), cluster},
        {STR("hub"), hub_url(h, p)},
        {STR("token"), clusters_join_token(h, p, token)},
        {STR("image"), image.n ? image : hub_setting(h, p, "agent-image")},
    };
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    fill(&b, str_make(hub_import_yaml, hub_import_yaml_n), values, ARRAY_LEN(values));
    http_reply_str(rq, 200, "text/yaml", buf_str(&b));
}
