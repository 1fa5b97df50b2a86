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
    h->store_uid = str_dup(store_uid(api_store(api)));
    if (key_load_or_make(key, KEY_ED25519, &h->key, e) < 0) {
        hub_free(h);
        return err_wrap(e, "the hub's identity");
    }
    api_route(api, STR(UPLINK_PATH), false, links_route, h);
    api_route(api, STR("/k8s/clusters/"), true, proxy_route, h);
    api_route(api, STR("/ping"), false, ping_route, h);
    *out = h;
    return 0;
}

int hub_start(struct hub *h, struct loop *control, struct err **e)
{
    h->control = control;
    return clusters_start(h, e);
}

void hub_stop(struct hub *h)
{
    if (h)
        clusters_stop(h);
}

void hub_free(struct hub *h)
{
    if (!h)
        return;
    map_clear(&h->links, NULL);
    map_clear(&h->presence, free);
    key_free(h->key);
    free(h->store_uid);
    free(h->url);
    pthread_mutex_destroy(&h->lock);
    free(h);
}
