/* A layer under SQLite that remembers what was written and not yet synced, so that a power cut can be photographed at any moment, and that can let
 * the n-th write or sync fail. */
#pragma once
#include "base/str.h"

void shim_on(void);   /* becomes SQLite's default; no database may be open */
void shim_off(void);
/* Copies folder/store.db and its log to another folder as a power cut would leave them: what is synced is there; of the rest each 512-byte sector is there
 * with a chance of keep in 256. The shared-memory file is not copied. */
void shim_photo(const char *folder, const char *to, unsigned keep, unsigned *seed);
void shim_fail(int n, int rc); /* the n-th write or sync from now, and those behind it, answer rc (an SQLITE_ code); 0: heal */
int shim_count(void);          /* writes and syncs since shim_fail or shim_on */
