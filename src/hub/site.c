/* Calls from the control loop to a cluster's API, down its uplink and back. At the site they are user hub:system:sync in group hub:system:controllers, which the site has bound to
 * what it lets the hub keep in order there (ClusterRole sampan:hub-sync). */
#include <stdlib.h>

#include "hub/impl.h"

#define REPLY_MAX (16u << 20)

static void told(struct post *post)
{
    struct site_call *c = container_of(post, struct site_call, post);
    pthread_mutex_lock(&c->hub->lock);
    list_remove(&c->node);
    pthread_mutex_unlock(&c->hub->lock);
    c->done(c);
}

static void on_data(void *arg, const char *p, size_t n)
{
    struct site_call *c = arg;
    buf_add(&c->reply, p, n);
}

static void on_head(void *arg, const struct http_response *r)
{
    ((struct site_call *)arg)->status = r->status;
}

static void on_end(void *arg, const struct err *e)
{
    struct site_call *c = arg;
    if (e || buf_failed(&c->reply))
        c->status = 0;
    loop_post(c->hub->control, &c->post, told);
}

static void begin(struct post *post)
{
    static const struct http_call_events events = {on_head, on_data, NULL, on_end};
    struct site_call *c = container_of(post, struct site_call, post);
    struct http_header h[5] = {
        {STR("impersonate-user"), STR(HUB_PREFIX "system:sync")},
        {STR("impersonate-group"), STR(HUB_PREFIX "system:controllers")},
        {STR("accept"), c->accept.n ? c->accept : STR("application/json")},
        {STR("user-agent"), STR("sampan-hub")},
        {STR("content-type"), STR("application/json")},
    };
    struct http_request rq = {.method = c->method, .path = c->path, .headers = h, .nheaders = c->body.n ? 5 : 4, .body = c->body, .timeout_ms = 30000};
    struct loop *loop = NULL;
    struct http_client *client = links_client(c->hub, c->cluster, &loop);
    if (!client || loop != c->loop) {
        loop_post(c->hub->control, &c->post, told);
        return;
    }
    (void)http_call(client, &rq, &events, c);
}

void site_call(struct site_call *c)
{
    struct hub *h = c->hub;
    c->status = 0;
    buf_clear(&c->reply);
    c->reply.limit = REPLY_MAX;
    pthread_mutex_lock(&h->lock);
    list_push(&h->site_calls, &c->node);
    pthread_mutex_unlock(&h->lock);
    if (links_client(h, c->cluster, &c->loop))
        loop_post(c->loop, &c->post, begin);
    else
        loop_post(h->control, &c->post, told);
}
