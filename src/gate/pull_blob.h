/* One blob from a registry into a file, so that no byte of it comes twice. Inside the room.
 *
 *     <dir>/<hex>.part   what has come so far; kept over cuts and restarts
 *     <dir>/<hex>        whole, its digest checked
 *
 * The digest is counted while bytes come in; of a part that an earlier process left it is counted anew, in slices, so that the loop is
 * never held up. A connection that breaks is tried again after 1, 2, 4 and 8 s, from the byte where it broke; every byte that comes sets
 * this count back. A registry that gives whole blobs only is read past what is there. A part whose digest turns out wrong is thrown away;
 * when some of it came from an earlier process, it is fetched once more from its beginning (a power cut may have spoilt it).
 */
#pragma once
#include "gate/registry.h"

struct blob_fetch;
/* digest: valid (image_digest_valid). done: once, never from within blob_fetch_start; the fetch is gone then. ERR_INVALID: it is not what
 * its digest says. */
struct blob_fetch *blob_fetch_start(struct loop *l, struct registry_session *s, const char *dir, struct str digest, int64_t size,
    void (*done)(void *arg, const struct err *e), void *arg);
void blob_fetch_cancel(struct blob_fetch *b);        /* the part stays */
int64_t blob_fetch_came(const struct blob_fetch *b); /* bytes from the network by this fetch */

bool blob_present(const char *dir, struct str digest, int64_t size);
int64_t blob_part_size(const char *dir, struct str digest);                                       /* 0: none */
void blob_remove(const char *dir, struct str digest);                                             /* the whole one; a part stays */
int blob_write(const char *dir, struct str digest, struct str text, struct err **e) _must_check_; /* a small one that is there already */
