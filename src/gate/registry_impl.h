/* Shared by registry.c and registry_auth.c. */
#pragma once
#include "gate/registry.h"

struct registry_place { /* an endpoint of this session */
    struct registry_endpoint ep;
    struct registry_creds creds; /* that may be shown to it */
    size_t cred;                 /* the one in use */
    struct str authorization;    /* header value that is sent; empty: none yet */
};

struct registry_peer {
    struct registry_peer *next;
    struct registry_url url;
    struct http_client *client;
};

struct registry_session {
    struct loop *loop;
    const struct clock *clock;
    struct registries *registries;
    const struct registry_image *image;
    struct pool *pool;
    struct registry_place *places[REGISTRY_ENDPOINTS_MAX];
    size_t nplaces, first; /* first: the one that answered last */
    struct registry_peer *peers;
    size_t npeers;
};

struct registry_get {
    struct registry_session *s;
    struct pool *pool;
    struct str what;
    const char *accept;
    int64_t from;
    struct registry_events ev;
    void *arg;
    size_t tried; /* endpoints so far */
    struct registry_place *place;
    struct registry_url url; /* of the request under way */
    struct http_call *call;
    int redirects, auths, status;
    bool streaming, authorized; /* 2xx came; the request carried an Authorization */
    struct str location, challenge;
    struct buf body;    /* of an answer that is not 2xx, or of a token's */
    struct buf why;     /* what every endpoint said */
    enum err_code code; /* of the failure, as it stands */
    struct timer timer; /* silence, or the failure to be told later */
    int64_t heard;
};

struct http_client *registry_client(struct registry_session *s, const struct registry_url *u, struct err **e);
void registry_send(struct registry_get *g); /* the request again, with the Authorization of now */
void registry_refused(struct registry_get *g, enum err_code code, const char *fmt, ...)
    _printf_(3, 4); /* this endpoint will not: the next one */
/* After a 401: finds a new Authorization and sends again, or gives the endpoint up. */
void registry_authenticate(struct registry_get *g);
bool registry_next_cred(struct registry_get *g); /* false: there is none */
