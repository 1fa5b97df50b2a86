/* An API server in memory behind a unix socket in the test's folder, and a client that waits for its answers: tests read like curl. */
#pragma once
#include "api/api.h"
#include "api/api_keys.h"
#include "harness.h"

struct fixture {
    struct loop *loop;
    struct clock *clock;
    struct schema *schema;
    struct store *store;
    struct api *api;
    struct http_server *server;
    struct http_client *client;
    uint16_t port;     /* the same API by TLS on 127.0.0.1 */
    struct pool *pool; /* of answers */
    const char *user;  /* impersonated when set */
    const char *accept, *content_type;
};
struct answer {
    int status;
    struct str body;
    struct json *json; /* NULL: not JSON */
    struct http_header headers[24];
    size_t nheaders;
};

struct fixture *fixture_new(void);
void fixture_free(struct fixture *f);
/* One request, waited for (10 s). body may be NULL. */
struct answer ask(struct fixture *f, const char *method, const char *path, const char *body);
struct str answer_header(const struct answer *a, const char *name);
/* The same, with the status checked and the reason printed when it is another. */
struct json *want(struct fixture *f, int status, const char *method, const char *path, const char *body);
struct str at(const struct json *j, const char *dotted); /* "spec.replicas" as text; arrays by number */
/* A stream of lines (a watch). */
struct lines;
struct lines *lines_open(struct fixture *f, const char *path);
struct json *lines_next(struct fixture *f, struct lines *l, int ms); /* NULL: nothing came, or the end */
bool lines_ended(const struct lines *l);
void lines_close(struct lines *l);
