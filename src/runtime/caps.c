#include "runtime/caps.h"
#include <linux/capability.h>
#include <sys/prctl.h>

const char *const caps_names[CAPS_MAX] = {"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
    "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE",
    "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG",
    "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND",
    "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE"};

uint64_t caps_default(void)
{
    static const int list[] = {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FSETID, CAP_FOWNER, CAP_MKNOD, CAP_NET_RAW, CAP_SETGID, CAP_SETUID,
        CAP_SETFCAP, CAP_SETPCAP, CAP_NET_BIND_SERVICE, CAP_SYS_CHROOT, CAP_KILL, CAP_AUDIT_WRITE};
    uint64_t set = 0;
    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        set |= UINT64_C(1) << list[i];
    return set;
}

int caps_parse(struct str name, uint64_t *mask, struct err **e)
{
    struct str bare = str_starts(name, STR("CAP_")) ? str_sub(name, 4, name.n) : name;
    if (str_eq_nocase(bare, STR("ALL"))) {
        *mask = CAPS_ALL;
        return 0;
    }
    for (int i = 0; i < CAPS_MAX; i++)
        if (str_eq_nocase(bare, str_of(caps_names[i]))) {
            *mask = UINT64_C(1) << i;
            return 0;
        }
    return err_set(e, ERR_INVALID, "unknown capability \"%.*s\"", STR_ARG(name));
}

uint64_t caps_bounding(void)
{
    uint64_t set = 0;
    for (int i = 0; i < CAPS_MAX; i++)
        if (prctl(PR_CAPBSET_READ, i, 0, 0, 0) == 1)
            set |= UINT64_C(1) << i;
    return set;
}
