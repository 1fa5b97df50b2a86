/* Claims and volumes: which fits which, for the binder and the scheduler alike (kube's volume.FindMatchingVolume). On parsed documents. */
#pragma once
#include "base/pool.h"
#include "json/json.h"

/* Class, access modes, mode, size, attributes class and selector. Whether the volume is free, and where it can be reached, is the caller's. */
bool volume_fits_claim(struct pool *p, const struct json *volume, const struct json *claim);
int volume_size_cmp(const struct json *a, const struct json *b);                    /* spec.capacity.storage of two volumes */
bool volume_is_for(const struct json *volume, struct str ns, struct str name, struct str uid); /* claimRef names it, with its uid or none */
bool claim_has_mode(const struct json *claim, const char *mode);                    /* "ReadWriteOncePod" */
