/* The OCI runtime configuration (config.json, runtime-spec 1.0) of one container, from plain C. What a container gets by default is what
 * containerd gives it under Kubernetes: the same mounts, masked and read-only paths, capabilities and seccomp profile.
 */
#pragma once
#include "base/pool.h"
#include "json/json.h"
#include "runtime/caps.h"
#include "runtime/cgroup.h"

struct oci_mount {
    const char *destination, *type, *source, *options; /* type NULL: a bind mount; options joined by ',' */
};
struct oci_device { const char *path; char type; /* 'c' or 'b' */ int64_t major, minor; uint32_t mode, uid, gid; };
enum oci_seccomp { OCI_SECCOMP_DEFAULT, OCI_SECCOMP_NONE, OCI_SECCOMP_FILE };
enum oci_propagation { OCI_PRIVATE, OCI_SLAVE, OCI_SHARED };

struct oci_spec {
    const char *root;             /* path of the root file system as the OCI runtime sees it */
    const struct str *args; size_t nargs;
    const struct str *env; size_t nenv;     /* NAME=value */
    struct str cwd;
    uint32_t uid, gid;
    const uint32_t *groups; size_t ngroups;
    bool tty, read_only, no_new_privs, privileged, proc_unmasked;
    uint64_t caps;
    enum oci_seccomp seccomp;
    struct str seccomp_profile;   /* OCI_SECCOMP_FILE: its JSON text */
    struct str apparmor;
    const struct oci_mount *mounts; size_t nmounts;      /* after the default ones, in order */
    const struct oci_device *devices; size_t ndevices;   /* beyond the default ones */
    /* namespace files to join; "" makes a new one; NULL uses the host's */
    const char *pid_ns, *net_ns, *ipc_ns, *uts_ns;
    bool cgroup_ns;               /* a cgroup namespace (v2) */
    const char *cgroup;           /* "/sampan/burstable/pod.../<id>" */
    struct cgroup_limits limits;
    int oom_score_adj;
    enum oci_propagation propagation; /* of the root */
};

/* ERR_PARSE when the seccomp profile is no JSON. */
int oci_config(struct pool *p, const struct oci_spec *s, struct buf *out, struct err **e) _must_check_;
/* The default seccomp profile for a capability set, as the "seccomp" object of config.json. */
struct json *seccomp_default(struct pool *p, uint64_t caps);

/* $(NAME) is replaced by the value of NAME in env (NAME=value entries, the last one wins), $$ is a $, anything unknown stays as it is:
 * k8s.io/kubernetes/third_party/forked/golang/expansion. */
struct str oci_expand(struct pool *p, struct str text, const struct str *env, size_t nenv);
/* Sets NAME=value, replacing an earlier one of that name. env has room for nenv + 1. */
size_t oci_env_set(struct pool *p, struct str *env, size_t nenv, struct str name, struct str value);
