/* Lifecycle hooks over HTTP, as the kubelet performs them (pkg/kubelet/lifecycle/handlers.go of Kubernetes): node says when (NODE_HOOK), the request goes to the pod's address from
 * here, and node hears how it ended. Any answer at all is a success; only not being reached is a failure. A hook is asked for again when node came back: it may then run twice, which
 * Kubernetes allows ("at least once"). */
#include <stdlib.h>

#include "gate/action.h"

#define DIAL_NS (30 * NS_PER_S)

struct hook {
    struct gpod *gp;
    struct list node;
    struct pool *pool;            /* of ask and spec */
    struct node_hook_ask ask;
    struct action *action;
    struct timer limit;
};

static void answer(struct gate *g, const struct node_hook_ask *a, const char *error)
{
    struct node_hook_done m = {a->uid, a->container, a->run, a->post_start, error != NULL, str_of(error ? error : "")};
    if (g->node)
        wire_send(g->node, NODE_HOOK_DONE, 0, &node_hook_done_type, &m, NULL, 0);
}

static void hook_free(struct hook *h)
{
    list_remove(&h->node);
    timer_del(&h->limit);
    action_cancel(h->action);
    pool_free(h->pool);
    free(h);
}

void hooks_forget(struct gpod *gp)
{
    struct hook *h;
    list_for(&gp->hooks, h, node)
        hook_free(h);
}

static void on_done(void *arg, const struct action_result *r)
{
    struct hook *h = arg;
    h->action = NULL;
    answer(h->gp->gate, &h->ask, r->error);
    hook_free(h);
}

static void on_limit(struct timer *t)
{
    struct hook *h = container_of(t, struct hook, limit);
    answer(h->gp->gate, &h->ask, "context deadline exceeded");
    hook_free(h);
}

static const struct json *container_of_pod(const struct json *pod, struct str name)
{
    static const char *const lists[] = {"initContainers", "containers"};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        json_for(json_path(pod, "spec", lists[i], NULL), c)
            if (str_eq(json_get_str(c, "name"), name))
                return c;
    return NULL;
}

static bool under_way(struct gpod *gp, const struct node_hook_ask *a)
{
    struct hook *h;
    list_for(&gp->hooks, h, node)
        if (str_eq(h->ask.container, a->container) && str_eq(h->ask.run, a->run) && h->ask.post_start == a->post_start)
            return true;
    return false;
}

void hook_ask(struct gate *g, struct wire_msg *m)
{
    struct pool *pool = pool_new();
    struct node_hook_ask a;
    struct json *pod = NULL;
    struct err *e = NULL;
    if (wire_decode(&node_hook_ask_type, pool_str(pool, m->body), pool, &a, &e) < 0) {
        log_error("from node: %s", err_msg(e));
        err_free(e);
        pool_free(pool);
        return;
    }
    struct gpod *gp = pods_find(g, a.uid);
    struct str text = gp && gp->object ? pool_str(pool, bytes_str(gp->object)) : STR_NULL;
    const struct json *con = text.n && json_parse(pool, text, NULL, &pod, NULL) == 0 ? container_of_pod(pod, a.container) : NULL;
    const struct json *handler = json_path(con, "lifecycle", a.post_start ? "postStart" : "preStop", NULL);
    if (!handler || under_way(gp, &a)) {
        if (!handler)
            answer(g, &a, "the pod is not known any more");
        pool_free(pool);
        return;
    }
    struct hook *h = xcalloc(1, sizeof *h);
    *h = (struct hook){.gp = gp, .pool = pool, .ask = a};
    list_push(&gp->hooks, &h->node);
    struct action_spec s = {.gp = gp, .con = con, .handler = handler, .timeout = DIAL_NS, .agent = "kube-lifecycle/1.36"};
    if (a.timeout_ms > 0)
        timer_in(g->loop, &h->limit, a.timeout_ms * NS_PER_MS, on_limit);
    h->action = action_start(&s, on_done, h);
}
