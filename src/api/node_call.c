#include "api/nodes.h"

/* Requests that a node sends over its uplink (calls, outbox entries) take the same path as those from the network, with the body already
 * there and the answer handed to a function (call.sink) instead of a socket. They pass the door like any other: what the node hears as done
 * is durable. */

struct node_request {
    struct call call;   /* first: the sink finds us */
    struct http_req rq; /* only its head: method, path, query, headers */
    struct http_header headers[1];
    struct node_link *link;
    struct list node;
    uint64_t id;
    node_done_fn *done;
    struct pool *pool;
};

static void finish(struct call *c, int code, struct str body)
{
    struct node_request *r = container_of(c, struct node_request, call);
    struct pool *p = r->pool;
    if (r->link) {
        list_remove(&r->node);
        r->done(r->link, r->id, code, body);
    }
    pool_free(p);
}

void node_call(
    struct node_link *l, uint64_t id, struct str method, struct str path, struct str content_type, struct str body, node_done_fn *done)
{
    struct pool *p = pool_new();
    struct node_request *r = pool_new_of(p, struct node_request);
    struct str query = STR_NULL, plain = pool_str(p, path);
    (void)str_cut(plain, '?', &plain, &query);
    r->link = l;
    r->id = id;
    r->done = done;
    r->pool = p;
    r->headers[0] = (struct http_header){STR("content-type"), pool_str(p, content_type)};
    r->rq = (struct http_req){.pool = p,
        .method = pool_str(p, method),
        .path = plain,
        .query = query,
        .headers = r->headers,
        .nheaders = str_empty(content_type) ? 0 : 1,
        .version = 2};
    list_push(&l->calls, &r->node);
    struct call *c = &r->call;
    c->api = l->api;
    c->pool = p;
    c->loop = l->loop;
    c->rq = &r->rq;
    c->sink = finish;
    c->user = user_copy(p, l->user);
    c->body = pool_str(p, body);
    call_begin(c);
}

/* The link is gone: what is under way ends for nobody. */
void node_calls_drop(struct node_link *l)
{
    struct node_request *r;
    list_for (&l->calls, r, node) {
        list_remove(&r->node);
        r->link = NULL;
    }
}
