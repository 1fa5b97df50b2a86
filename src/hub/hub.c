#include "hub/hub.h"

#include <stdlib.h>

#include "hub/impl.h"

static void ping_route(struct http_req *rq, const struct api_user *user, void *arg)
{
    http_reply_str(rq, 200, "text/plain", STR("pong"));
}

int hub_new(struct api *api, const char *state_dir, struct str public_url, struct hub **out, struct err **e)
{
    _cleanup_(freep) char *key = xasprintf("%s/uplink.key", state_dir);
    struct hub *h = xcalloc(1, sizeof *h);
    pthread_mutex_init(&h->lock, NULL);
    h->api = api;
    h->started = clock_mono(NULL);
    h->url = str_dup(public_url);
    list_init(&h->site_calls);
    h->store_uid = str_dup(store_uid(api_store(api)));
    if (key_load_or_make(key, KEY_ED25519, &h->key, e) < 0) {
        hub_free(h);
        return err_wrap(e, "the hub's identity");
    }
    if (view_open(h, state_dir, e) < 0) {
        hub_free(h);
        return -(int)(*e)->code;
    }
    api_set_tokens(api, token_user, h);
    api_set_admission(api, STR(HUB_GROUP), hub_admit, h);
    api_route(api, STR("/v3-public/localProviders/local"), false, login_route, h);
    api_route(api, STR("/v1/sampan/login"), false, login_route, h);
    api_route(api, STR("/v1/sampan/logout"), true, logout_route, h);
    api_route(api, STR("/v1/sampan/password"), true, password_route, h);
    api_route(api, STR("/v1/sampan/tokens"), true, tokens_route, h);
    api_route(api, STR("/v1/sampan/tokens/"), true, tokens_route, h);
    api_route(api, STR("/v1/sampan/kubeconfig"), true, kubeconfig_route, h);
    api_route(api, STR("/v1/sampan/view/"), true, view_route, h);
    api_route(api, STR("/v3/import/"), false, import_route, h);
    api_route(api, STR(UPLINK_PATH), false, links_route, h);
    api_route(api, STR("/k8s/clusters/"), true, proxy_route, h);
    api_route(api, STR("/ping"), false, ping_route, h);
    *out = h;
    return 0;
}

int hub_start(struct hub *h, struct loop *control, struct err **e)
{
    h->control = control;
    site_roles_start(h);
    if (builtin_start(h, e) < 0 || login_open(h, e) < 0 || clusters_start(h, e) < 0 || roles_start(h, e) < 0)
        return -(int)(*e)->code;
    return 0;
}

void hub_on_first(struct hub *h, void (*fn)(void *arg, struct str password), void *arg)
{
    h->on_first = fn;
    h->on_first_arg = arg;
}

void hub_stop(struct hub *h)
{
    if (!h || !h->control)
        return;
    roles_stop(h);
    clusters_stop(h);
    site_roles_stop(h);
}

void hub_free(struct hub *h)
{
    if (!h)
        return;
    login_close(h);
    view_close(h);
    site_roles_free(h);
    free(h->first_password);
    map_clear(&h->links, NULL);
    map_clear(&h->presence, free);
    key_free(h->key);
    free(h->store_uid);
    free(h->url);
    pthread_mutex_destroy(&h->lock);
    free(h);
}
