/* Inside the room: one row per mounted hierarchy. */
#pragma once
#include "runtime/cgroup.h"

struct hierarchy {
    char *mount, *controllers; /* v1: "cpu,cpuacct"; v2: "" */
    int fd;
};
struct cgroups {
    bool v2, hybrid;
    char *root;
    struct hierarchy h[24];
    size_t n;
};
const struct hierarchy *cgroup_hierarchy(const struct cgroups *c, const char *controller); /* v2: the only one; NULL when absent */
int cgroup_write(const struct cgroups *c, const char *controller, const char *path, const char *file, const char *value); /* 0 or errno */
int cgroup_read(
    const struct cgroups *c, const char *controller, const char *path, const char *file, char *out, size_t n); /* bytes or -1; NUL-ended */
