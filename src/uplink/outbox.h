/* The outbox: the lower tier's reports, kept on its disk until the upper tier has answered each.
 *
 * An entry is an API request (method, path, content type, body) under a coalescing key: while an entry with the same key waits, a newer one replaces it in place (a pod's newer status), unless `append` is set
 * (Events). Entries leave in order of their sequence numbers; what is under way is not coalesced. Entries live under quotas: OUTBOX_BYTES and OUTBOX_AGE; the oldest
 * appended ones go first, and outbox_dropped counts them. One loop's thread only.
 *
 * Lazy entries (heartbeats, Events) are written to disk with the next urgent one, or after a minute; urgent ones at once.
 */
#pragma once
#include "base/clock.h"
#include "base/err.h"
#include "base/loop.h"
#include "crypto/seal.h"

#define OUTBOX_BYTES (8u << 20)
#define OUTBOX_AGE (7 * 24 * 3600 * NS_PER_S)

struct outbox;
struct outbox_entry { uint64_t seq; struct str key, method, path, content_type, body; };
int outbox_open(const char *path, struct loop *l, struct clock *clock, struct seal *seal, struct outbox **out, struct err **e) _must_check_;
void outbox_close(struct outbox *o);
DEFINE_CLEANUP(struct outbox *, outbox_close)
/* e->seq is ignored. lazy: see above. volatile_only: never on disk (leases). */
enum { OUTBOX_LAZY = 1, OUTBOX_APPEND = 2, OUTBOX_VOLATILE = 4 };
void outbox_put(struct outbox *o, const struct outbox_entry *entry, unsigned flags);
void outbox_forget(struct outbox *o, struct str key);          /* drops a waiting entry */
size_t outbox_count(const struct outbox *o);
uint64_t outbox_dropped(const struct outbox *o);
/* Told when the upper side refused an entry for good (status 4xx): the owner decides whether to report anew. */
void outbox_on_refused(struct outbox *o, void (*fn)(void *arg, const struct outbox_entry *entry, int status, struct str message), void *arg);

/* Used by the uplink. */
void outbox_on_ready(struct outbox *o, void (*fn)(void *arg), void *arg);   /* something waits to be sent */
const struct outbox_entry *outbox_next(struct outbox *o);                   /* the oldest that is not under way, and marks it so; NULL: none */
void outbox_done(struct outbox *o, uint64_t seq, int status, struct str message);
void outbox_rewind(struct outbox *o);                                       /* the link went: what was under way waits again */
