/* sampan check-config: what this machine offers, one line each, as `k3s check-config` does. Exit code 1 when something that is needed is missing. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <linux/netlink.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/commands.h"
#include "supervisor/lockdown.h"

static bool in_path(const char *program)
{
    static const char *const folders[] = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"};
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        _cleanup_(freep) char *path = xasprintf("%s/%s", folders[i], program);
        if (access(path, X_OK) == 0)
            return true;
    }
    return false;
}

static bool has_crun(void) { return in_path("crun"); }
static bool has_conmon(void) { return in_path("conmon"); }
static bool has_cgroup2(void) { return file_exists("/sys/fs/cgroup/cgroup.controllers"); }
static bool has_cgroup1(void) { return file_exists("/sys/fs/cgroup/memory/memory.limit_in_bytes"); }
static bool has_cgroups(void) { return has_cgroup2() || has_cgroup1(); }
static bool has_landlock(void) { return lockdown_landlock_abi() > 0; }

static bool has_netfilter(void)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static bool has_overlay(void)
{
    _cleanup_(buf_clear) struct buf text = BUF_INIT;
    return file_read("/proc/filesystems", 1 << 16, &text, NULL) == 0 && str_find(buf_str(&text), STR("overlay")) >= 0;
}

static const struct check {
    const char *name;
    bool (*fn)(void);
    bool needed;
} checks[] = {
    {"crun", has_crun, true},
    {"conmon", has_conmon, true},
    {"cgroups", has_cgroups, true},
    {"cgroup v2", has_cgroup2, false},
    {"overlayfs", has_overlay, true},
    {"nftables", has_netfilter, true},
    {"Landlock", has_landlock, false},
};

int cmd_check_config(int argc, char **argv)
{
    int missing = 0;
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        bool there = checks[i].fn();
        printf("- %s: %s\n", checks[i].name, there ? "present" : checks[i].needed ? "missing" : "missing (optional)");
        missing += !there && checks[i].needed;
    }
    printf("\nSTATUS: %s\n", missing ? "fail" : "pass");
    return missing ? 1 : 0;
}
