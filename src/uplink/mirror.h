/* The mirror: the lower tier's copy of what it needs of the upper store, on its own disk, so that a reboot without a link finds everything.
 *
 * Entries: key ("<group>/<resource>/<namespace>/<name>", the core group empty: "/pods/default/web", "/nodes//a"), uid, revision, bytes (the object's JSON, immutable). All of
 * it is in memory; on disk (SQLite, WAL) values are sealed when a seal is given. Changes arrive in cuts (mirror_stage_*, then mirror_commit) and are applied and written as one transaction; then
 * the listener hears of each change. A damaged file is set aside (renamed *.damaged) and the mirror starts empty: it can be fetched again.
 *
 * Frozen: when the upper store is another one (uid) or an older one (epoch) than the mirror was made from, tombstones are kept aside and not applied until mirror_thaw, or until the upper store
 * shows a newer epoch of the known uid: an emptied or restored upper tier prunes nothing below.
 * One loop's thread only.
 */
#pragma once
#include "base/bytes.h"
#include "base/err.h"
#include "crypto/seal.h"

struct mirror;
struct mirror_item { struct str key, uid; int64_t rev; struct bytes *bytes; };
struct mirror_listener {
    /* before or after NULL: created or deleted. Called after the cut is on disk, for each change, in key order of arrival. */
    void (*on_change)(void *arg, struct str key, const struct mirror_item *before, const struct mirror_item *after);
    void (*on_cut)(void *arg);       /* after the last change of a cut */
    void *arg;
};
/* seal may be NULL. */
int mirror_open(const char *path, struct seal *seal, struct mirror **out, struct err **e) _must_check_;
void mirror_close(struct mirror *m);
DEFINE_CLEANUP(struct mirror *, mirror_close)
void mirror_listen(struct mirror *m, const struct mirror_listener *l);
const struct mirror_item *mirror_get(const struct mirror *m, struct str key);                 /* borrowed until the next commit */
/* In no certain order; fn must not change the mirror. false ends. */
void mirror_each(const struct mirror *m, struct str prefix, bool (*fn)(void *arg, const struct mirror_item *it), void *arg);
size_t mirror_count(const struct mirror *m);
struct mirror_cut { char store_uid[64]; int64_t epoch, rev; };  /* rev 0: never synced */
struct mirror_cut mirror_cut(const struct mirror *m);
bool mirror_frozen(const struct mirror *m);
void mirror_thaw(struct mirror *m);

/* Used by the uplink. */
void mirror_stage_put(struct mirror *m, struct str key, struct str uid, int64_t rev, struct str bytes);
void mirror_stage_delete(struct mirror *m, struct str key, struct str uid, int64_t rev);
void mirror_stage_drop(struct mirror *m);                      /* the link went in the middle of a cut */
int mirror_commit(struct mirror *m, struct str store_uid, int64_t epoch, int64_t rev, struct err **e) _must_check_;
