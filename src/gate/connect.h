/* Inside the room: what a hub may ask a site for. */
#pragma once
#include "http/http.h"

/* The request names a user, and that user and every group is one that the hub may speak for (hub:<name>); nothing else is impersonated.
 * *why says what is wrong. */
bool connect_permitted(const struct http_req *rq, struct str *why);
