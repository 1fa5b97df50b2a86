/* The controllers' work queue, with client-go's semantics (util/workqueue): a key that is added while it waits is one entry; one that is
 * added while it is being worked on is queued again when it is done; failures back off per key (5 ms doubling to
 * 1000 s), with jitter; additions can be delayed. Runs on one loop; fn is called in bounded slices (budget per turn).
 */
#pragma once
#include "base/loop.h"

struct queue;
enum queue_result { QUEUE_DONE, QUEUE_RETRY /* back off */, QUEUE_PENDING /* queue_finish will be called later */ };
typedef enum queue_result queue_fn(void *arg, struct str key);

/* name is for metrics and logs. At most `workers` keys are in hand at once (they may be PENDING). */
struct queue *queue_new(struct loop *l, const char *name, int workers, queue_fn *fn, void *arg);
void queue_free(struct queue *q);
DEFINE_CLEANUP(struct queue *, queue_free)
void queue_add(struct queue *q, struct str key);
void queue_add_in(struct queue *q, struct str key, int64_t ns); /* the earlier of two delays for one key wins */
void queue_finish(struct queue *q, struct str key, enum queue_result r); /* ends a PENDING key: DONE or RETRY */
size_t queue_len(const struct queue *q); /* waiting + in hand, without delayed ones */
