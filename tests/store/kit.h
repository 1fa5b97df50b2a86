/* What the tests of the store share: a store with a few kinds, objects out of a name and a value, waiting for the door. */
#pragma once
#include <unistd.h>
#include "base/clock.h"
#include "base/loop.h"
#include "harness.h"
#include "store/inner.h"

enum { KIND_CM, KIND_POD, KIND_NODE, KIND_EVENT, KINDS };
extern const struct store_kind kit_kinds[KINDS]; /* /configmaps, /pods (index "node", a view), /nodes (cluster-scoped), /events (1 h, 64 KiB) */

struct kit_pod { uint32_t node_len; char node[60]; }; /* the pods' view */

struct store *kit_open(const char *path, struct clock *c);  /* fails the test */
struct json *kit_obj(struct pool *p, const char *ns, const char *name, const char *uid, const char *value); /* data.v */
/* Create or update; fails the test. The new revision. */
int64_t kit_put(struct store *s, const char *res, const char *ns, const char *name, const char *value);
int kit_try(struct store *s, const char *res, const char *ns, const char *name, const char *value, unsigned flags, int64_t *rev); /* a negative code */
int kit_delete(struct store *s, const char *res, const char *ns, const char *name);
bool kit_has(struct store *s, const char *res, const char *ns, const char *name, const char *value); /* NULL: any */
int kit_wait(struct store *s, int64_t rev);  /* blocks until the door answers; its result */
size_t kit_count(struct store *s, const char *res);
