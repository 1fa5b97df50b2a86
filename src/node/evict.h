/* Who is evicted when, apart from how it is measured: for evict.c and its tests. */
#pragma once
#include "base/base.h"

enum evict_signal { EVICT_MEMORY, EVICT_DISK, EVICT_INODES, EVICT_PIDS, EVICT_COUNT };
struct evict_threshold { const char *name; int64_t bytes; int percent; }; /* low below either; 0: not asked */
struct evict_candidate { int64_t used, requested; bool guaranteed; };

/* false when it cannot be told (capacity 0, available negative). */
bool evict_low(const struct evict_threshold *t, int64_t available, int64_t capacity);
/* > 0: a goes before b. */
int evict_compare(const struct evict_candidate *a, const struct evict_candidate *b);

/* Image collection: starts above high, ends below low (percent of the disk that is used); the kubelet's defaults. */
#define IMAGE_GC_HIGH 85
#define IMAGE_GC_LOW 80
