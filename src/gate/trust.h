/* Whom to trust at an https:// URL: the upper side's CA, fetched once from its /cacerts and checked by the hash in the join token, then kept on disk. Inside the room. */
#pragma once
#include "base/clock.h"
#include "http/http.h"

struct trust;
/* done once: with an endpoint that lives as long as the trust, or with an error (and then again later: fetching is tried until it works). A file at ca_path is used
 * as it is. No hash: the CA that answers first is taken, with a warning in the log (a token without K10<hash>:: cannot say better). */
struct trust *trust_open(struct loop *l, struct clock *clock, const char *url, struct str ca_hash, const char *ca_path,
    void (*done)(void *arg, const struct endpoint *ep, const struct err *e), void *arg, struct err **e);
void trust_close(struct trust *t);
/* https://host[:port][/path] → its parts; port 443 when none is named. ERR_USAGE. */
int url_split(struct pool *p, struct str url, struct str *host, uint16_t *port, struct str *path, struct err **e) _must_check_;
