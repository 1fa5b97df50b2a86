/* The connector's key, when it runs in a pod of a foreign cluster, whose disk goes with it: the Secret sampan-connect-identity of its own namespace holds it. Inside the room. */
#pragma once
#include "base/clock.h"
#include "base/err.h"

/* Before the key is loaded: fetches it to `path` from the Secret, or makes one and puts it there, so that of two who begin at once one wins. Does nothing when path is there already, or
 * when this is no pod. Blocks, for at most some seconds; the API must answer. */
int identity_fetch(const char *path, struct clock *clock, struct err **e) _must_check_;
