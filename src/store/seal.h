/* Secrets sealed at rest: joins the store's seal hooks to a ring of keys (crypto/seal.h), and changes keys while the store runs.
 *
 * Objects of the named resources are sealed in their rows and in the change log, under the newest key, bound to their resource and key
 * (ns/name): a row that is copied to another place does not open there. In memory they are plain. What is plain on disk stays readable, and
 * what is sealed stays so after sealing was switched off: rows change their form when they are next written, or all at once by
 * store_seal_walk.
 *
 * Old keys stay in the ring's file, since backups may be sealed under them; whoever wants them gone removes the lines above the last one
 * after a rotation.
 */
#pragma once
#include "store/store.h"

struct store_seal;
/* Loads or makes the ring. names (copied): resources to seal, "/secrets". on false: nothing is sealed from now on, what is sealed can be
 * read. */
int store_seal_new(const char *key_file, const struct str *names, size_t n, bool on, struct store_seal **out, struct err **e) _must_check_;
void store_seal_free(struct store_seal *x); /* after the store */
DEFINE_CLEANUP(struct store_seal *, store_seal_free)
void store_seal_config(struct store_seal *x, struct store_config *c); /* before store_open */
size_t store_seal_keys(struct store_seal *x);

/* Puts every row and log entry of the sealed resources into the form that it would be written in now. Blocks its caller, and writers for a
 * few milliseconds at a time; *changed counts rows. May be called again after a failure: it goes on where something is left. */
int store_seal_walk(struct store_seal *x, struct store *s, size_t *changed, struct err **e) _must_check_;
/* A new key, on disk before it seals anything; then a walk. When the walk fails the new key stays: call store_seal_walk again. */
int store_seal_rotate(struct store_seal *x, struct store *s, size_t *changed, struct err **e) _must_check_;
