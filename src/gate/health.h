/* Answers at Services' health check node ports (health.c). One loop's thread. */
#pragma once
#include "base/loop.h"
#include "base/str.h"

struct health;
struct health *health_new(struct loop *l);
void health_free(struct health *h); /* NULL is fine */
/* The Service ns/name has this port (0: none any more) and so many ready endpoints on this node. */
void health_put(struct health *h, struct str key, uint16_t port, size_t local);
