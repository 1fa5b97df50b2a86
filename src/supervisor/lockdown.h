/* Giving up rights, for the processes that face the network: another user, no new privileges, no core dumps, a list of permitted system calls (seccomp) and of
 * permitted folders (Landlock, where the kernel has it). Irreversible; call once, before the first untrusted byte is read and before threads are made. */
#pragma once
#include "base/err.h"

struct lockdown {
    const char *user;                 /* NULL: stay */
    const char *const *writable;      /* NULL-ended folders; these and what is below may be read and written */
    const char *const *readable;      /* NULL-ended; read only. Beyond them: shared libraries, /etc (resolver, certificates), /proc/self, /dev/urandom and /dev/null */
};
int lockdown_apply(const struct lockdown *l, struct err **e) _must_check_;
/* Whether this kernel enforces Landlock: for `sampan check-config` and the log. */
int lockdown_landlock_abi(void);
