/* Who a container runs as: numbers from the image's User ("", "uid", "name", "uid:gid", "name:group") and from its /etc/passwd and
 * /etc/group, which are the image maker's and read as such: with RESOLVE_IN_ROOT, at most 1 MiB, line by line, malformed lines skipped. */
#pragma once
#include "base/err.h"
#include "base/pool.h"

struct users_result { uint32_t uid, gid; const uint32_t *groups; size_t ngroups; struct str home; };
/* uid, gid: runAsUser and runAsGroup, -1 when not set. ERR_NOT_FOUND when a name is not in the image ("unable to find user x: no matching
 * entries in passwd file"). */
int users_resolve(
    struct pool *p, int root_fd, struct str user, int64_t uid, int64_t gid, struct users_result *out, struct err **e) _must_check_;
/* The same from the files' texts: what the fuzzer calls. */
int users_from_text(struct pool *p, struct str passwd, struct str group, struct str user, int64_t uid, int64_t gid,
    struct users_result *out, struct err **e) _must_check_;
/* Opens path below root_fd as if root_fd were /: never leaves it, whatever links say. flags as open(2). fd or -errno. */
int users_open_in_root(int root_fd, const char *path, int flags);
