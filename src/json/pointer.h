/* RFC 6901 tokens. Inside the room only. */
#pragma once
#include "json/json.h"

/* Takes the next token off *rest ("/a/b"), with ~0 and ~1 resolved (into pool when there are any). ERR_BAD_REQUEST when malformed. */
int pointer_token(struct pool *pool, struct str *rest, struct str whole, struct str *token, struct err **e) _must_check_;
/* An array index: digits without a leading zero. false when it is none. */
bool pointer_index(struct str token, size_t *at);
