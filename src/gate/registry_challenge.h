/* What a registry says to a request without rights: the WWW-Authenticate header (RFC 7235) and the token that its authorization service
 * hands out. Pure. Inside the room.
 *
 * Everything here comes from a stranger: unknown schemes and parameters are passed over, what is malformed ends the reading where it
 * stands, a token with bytes that could end a header line is refused. Source: distribution's token authentication specification.
 */
#pragma once
#include "base/err.h"
#include "base/pool.h"

struct registry_challenge {
    struct str scheme /* as sent */, realm, service, scope, error;
}; /* parameters: absent when not given */
/* The challenges of one header value (several headers: joined by ", "), at most max. Returns their number. */
size_t registry_challenges(struct pool *p, struct str value, struct registry_challenge *out, size_t max);
/* Bearer before Basic; NULL when there is neither. */
const struct registry_challenge *registry_challenge_pick(const struct registry_challenge *list, size_t n);
/* {"token": ...} or {"access_token": ...}. ERR_PARSE. */
int registry_token_parse(struct pool *p, struct str body, struct str *token, struct err **e) _must_check_;
/* The first errors of a registry's {"errors":[{"code","message"}]} as one line; empty when the body is none. */
struct str registry_error_text(struct pool *p, struct str body);
