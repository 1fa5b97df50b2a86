/* Work that blocks, changes namespaces or could take the process with it runs in a forked child, so that the one loop never waits and never
 * changes its own namespaces. The child runs fn, sends its result and ends; its memory is a copy, so that fn may use whatever arg points to
 * but changes nothing here. A child outlives nobody's patience: it is killed when it is not done after timeout_ms (0: never). Programs that
 * use this have one thread.
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "base/loop.h"

struct helper;
#define HELPER_OUTPUT_MAX (4u << 20)
/* In the child. All file descriptors but 0-2 and `keep` are closed (keep NULL: all stay open). What is put into out reaches done. 0 or a
 * negative error. */
typedef int helper_fn(void *arg, struct buf *out, struct err **e);
/* In the parent, once: e is NULL when fn succeeded. helper is gone. */
typedef void helper_done(void *owner, const struct err *e, struct str out);

/* NULL with *e filled when it could not be started. */
struct helper *helper_start(struct loop *l, helper_fn *fn, void *arg, const int *keep, size_t nkeep, int timeout_ms, helper_done *done,
    void *owner, struct err **e);
void helper_cancel(struct helper *h); /* kills it; done is not called; NULL is nothing */
pid_t helper_pid(const struct helper *h);
/* The same, waiting for it: for start-up and tests. out may be NULL. */
int helper_wait(helper_fn *fn, void *arg, struct buf *out, struct err **e) _must_check_;
/* For children: closes every descriptor above 2 but those kept. */
void helper_close_fds(const int *keep, size_t nkeep);
