/* From a challenge to an Authorization: Basic at once, Bearer by asking the realm for a token. */
#include <stdlib.h>

#include "gate/registry_challenge.h"
#include "gate/registry_impl.h"

#define CHALLENGES 8
#define TOKEN_MAX (256u << 10)
#define AUTHS_MAX 40

static const struct registry_cred *cred_of(const struct registry_place *place)
{
    return place->cred < place->creds.n ? &place->creds.at[place->cred] : NULL;
}

bool registry_next_cred(struct registry_get *g)
{
    struct registry_place *place = g->place;
    place->authorization = STR("");
    if (place->cred + 1 >= place->creds.n || ++g->auths > AUTHS_MAX)
        return false;
    place->cred++;
    return true;
}

static struct str basic(struct pool *p, const struct registry_cred *c)
{
    _cleanup_(buf_clear) struct buf plain = BUF_INIT, b = BUF_INIT;
    buf_printf(&plain, "%.*s:%.*s", STR_ARG(c->username), STR_ARG(c->password));
    buf_puts(&b, "Basic ");
    buf_base64(&b, plain.p, plain.n);
    return pool_str(p, buf_str(&b));
}

static void no_rights(struct registry_get *g)
{
    struct str text = registry_error_text(g->pool, buf_str(&g->body));
    registry_refused(g, ERR_UNAUTHORIZED, "%.*s: %s%s%.*s", STR_ARG(g->place->ep.repository),
        g->place->creds.n ? "authorization failed: the credentials are refused"
                          : "pull access denied, repository does not exist or may require authorization",
        text.n ? ": " : "", STR_ARG(text));
}

/* ---- tokens ---- */

static void token_head(void *arg, const struct http_response *r)
{
    ((struct registry_get *)arg)->status = r->status;
}

static void token_data(void *arg, const char *p, size_t n)
{
    struct registry_get *g = arg;
    buf_add(&g->body, p, MIN(n, TOKEN_MAX - g->body.n));
}

static void on_slow(struct timer *t)
{
    struct registry_get *g = container_of(t, struct registry_get, timer);
    http_call_cancel(TAKE(g->call));
    registry_refused(g, ERR_TIMEOUT, "the authorization server does not answer to its end");
}

static void token_end(void *arg, const struct err *why)
{
    struct registry_get *g = arg;
    _cleanup_(err_freep) struct err *e = NULL;
    struct str token;
    g->call = NULL;
    timer_del(&g->timer);
    if (why)
        registry_refused(g, why->code, "authorization server: %s", err_msg(why));
    else if ((g->status == 401 || g->status == 403) && registry_next_cred(g))
        registry_send(g);
    else if (g->status == 401 || g->status == 403)
        no_rights(g);
    else if (g->status != 200)
        registry_refused(g, ERR_UNAVAILABLE, "authorization server: unexpected status %d", g->status);
    else if (registry_token_parse(g->pool, buf_str(&g->body), &token, &e) < 0)
        registry_refused(g, e->code, "%s", err_msg(e));
    else {
        g->place->authorization = pool_printf(g->s->pool, "Bearer %.*s", STR_ARG(token));
        registry_send(g);
    }
}

static void put_scope(struct registry_get *g, const struct registry_challenge *c, struct buf *b)
{
    if (c->service.n)
        registry_query_add(b, "service", c->service);
    registry_query_add(b, "scope", c->scope.n ? c->scope : pool_printf(g->pool, "repository:%.*s:pull", STR_ARG(g->place->ep.repository)));
}

static void ask_token(struct registry_get *g, const struct registry_challenge *c)
{
    static const struct http_call_events events = {token_head, token_data, NULL, token_end};
    const struct registry_cred *cred = cred_of(g->place);
    _cleanup_(err_freep) struct err *e = NULL;
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    struct registry_url realm;
    struct http_header h[3] = {{STR("user-agent"), STR("sampan/" SAMPAN_VERSION)}};
    struct http_request rq = {.method = STR("GET"), .headers = h, .nheaders = 1};
    if (registry_url_parse(g->pool, c->realm, &realm, &e) < 0) {
        registry_refused(g, ERR_BAD_REQUEST, "its authorization server: %s", err_msg(e));
        return;
    }
    if (g->url.tls && !realm.tls) {
        registry_refused(g, ERR_FORBIDDEN, "its authorization server is not https");
        return;
    }
    struct http_client *client = registry_client(g->s, &realm, &e);
    if (!client) {
        registry_refused(g, e->code, "%s", err_msg(e));
        return;
    }
    if (cred && cred->identity.n) { /* OAuth2: the refresh token goes in the body */
        buf_puts(&b, "grant_type=refresh_token&client_id=sampan");
        put_scope(g, c, &b);
        registry_query_add(&b, "refresh_token", cred->identity);
        rq.method = STR("POST");
        rq.path = realm.path.n ? realm.path : STR("/");
        rq.body = buf_str(&b);
        h[rq.nheaders++] = (struct http_header){STR("content-type"), STR("application/x-www-form-urlencoded")};
    } else {
        buf_printf(&b, "%.*s%s", STR_ARG(realm.path.n ? realm.path : STR("/")), str_chr(realm.path, '?') >= 0 ? "" : "?");
        put_scope(g, c, &b);
        rq.path = buf_str(&b);
        if (cred)
            h[rq.nheaders++] = (struct http_header){STR("authorization"), basic(g->pool, cred)};
    }
    buf_reset(&g->body);
    g->status = 0;
    timer_in(g->s->loop, &g->timer, 60 * NS_PER_S, on_slow);
    g->call = http_call(client, &rq, &events, g);
}

void registry_authenticate(struct registry_get *g)
{
    struct registry_challenge list[CHALLENGES];
    struct registry_place *place = g->place;
    const struct registry_challenge *c = registry_challenge_pick(list, registry_challenges(g->pool, g->challenge, list, CHALLENGES));
    bool bearer = c && str_eq_nocase(c->scheme, STR("Bearer"));
    /* Refused with what we showed: a token that has run out is renewed once, other things give way to the next credentials. */
    if (g->authorized && !(bearer && g->auths == 0) && !registry_next_cred(g)) {
        no_rights(g);
        return;
    }
    if (++g->auths > AUTHS_MAX || !registry_url_same(&g->url, &place->ep.url) || !c || (!bearer && !cred_of(place))) {
        no_rights(g);
        return;
    }
    if (bearer) {
        ask_token(g, c);
        return;
    }
    place->authorization = basic(g->s->pool, cred_of(place));
    registry_send(g);
}
