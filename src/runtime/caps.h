/* Linux capabilities by name, as Kubernetes writes them (without CAP_; with it is accepted; "ALL"). A set is a bit mask by number. */
#pragma once
#include "base/err.h"

#define CAPS_MAX 41
extern const char *const caps_names[CAPS_MAX];  /* "CHOWN"..., by number */
#define CAPS_ALL ((UINT64_C(1) << CAPS_MAX) - 1)
uint64_t caps_default(void);                    /* what containerd and docker give a container */
int caps_parse(struct str name, uint64_t *mask, struct err **e) _must_check_; /* ERR_INVALID for an unknown name */
uint64_t caps_bounding(void);                   /* what this process may hand on at all */
static inline bool caps_has(uint64_t set, int cap) { return set >> cap & 1; }
