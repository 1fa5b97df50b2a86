#include "runtime/oci.h"
#include "harness.h"

static struct json *config(struct pool *p, struct oci_spec *s)
{
    static const struct str args[] = {{"/bin/x", 6}};
    struct buf b = BUF_INIT;
    struct json *o = NULL;
    struct err *e = NULL;
    s->root = "/r";
    s->args = args;
    s->nargs = 1;
    s->cwd = STR("/");
    s->cgroup = "/a/b";
    FINE(oci_config(p, s, &b, &e), e);
    FINE(json_parse(p, buf_to_pool(&b, p), NULL, &o, &e), e);
    return o;
}

static bool lists(const struct json *list, const char *text)
{
    json_for(list, it) {
        if (str_eqz(json_as_str(it), text))
            return true;
    }
    return false;
}

/* Which action the profile has for a call without arguments to look at; NULL: the default. */
static const struct json *rule_for(const struct json *profile, const char *name)
{
    json_for(json_get(profile, STR("syscalls")), it) {
        if (lists(json_get(it, STR("names")), name))
            return it;
    }
    return NULL;
}

TEST(the_default_configuration_masks_drops_and_filters)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct oci_spec s = {.caps = caps_default(), .pid_ns = "", .net_ns = "/proc/7/ns/net"};
    const struct json *o = config(p, &s), *lin = json_get(o, STR("linux"));
    OK(lists(json_get(lin, STR("maskedPaths")), "/proc/kcore"));
    OK(lists(json_get(lin, STR("readonlyPaths")), "/proc/sys"));
    EQ(json_count(json_path(o, "process", "capabilities", "bounding", NULL)), 14);
    EQ(json_count(json_path(o, "process", "capabilities", "ambient", NULL)), 0);
    EQ_STR(json_str_at(lin, "seccomp", "defaultAction", NULL), STR("SCMP_ACT_ERRNO"));
    EQ_STR(json_str_at(lin, "cgroupsPath", NULL), STR("/a/b"));
    EQ(json_count(json_get(lin, STR("namespaces"))), 3); /* pid, network, mount */
    EQ_STR(json_get_str(json_at(json_get(lin, STR("namespaces")), 1), "path"), STR("/proc/7/ns/net"));
    OK(!json_get_bool(json_at(json_path(lin, "resources", "devices", NULL), 0), "allow", true));
}

TEST(a_privileged_container_has_no_filter_and_a_writable_sys)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct oci_spec s = {.caps = CAPS_ALL, .privileged = true, .pid_ns = ""};
    const struct json *o = config(p, &s), *lin = json_get(o, STR("linux"));
    OK(!json_get(lin, STR("seccomp")));
    OK(!json_get(lin, STR("maskedPaths")));
    json_for(json_get(o, STR("mounts")), it) {
        if (str_eq(json_get_str(it, "type"), STR("sysfs")))
            OK(lists(json_get(it, STR("options")), "rw") && !lists(json_get(it, STR("options")), "ro"));
    }
}

TEST(the_default_profile_follows_the_capabilities)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    const struct json *plain = seccomp_default(p, caps_default()), *admin = seccomp_default(p, CAPS_ALL);
    OK(rule_for(plain, "read"));
    OK(!rule_for(plain, "mount"));
    OK(!rule_for(plain, "keyctl"));
    OK(!rule_for(plain, "bpf"));
    OK(!rule_for(plain, "io_uring_setup"));
    OK(rule_for(plain, "chroot")); /* SYS_CHROOT is in the default set */
    OK(rule_for(admin, "mount"));
    EQ_STR(json_get_str(rule_for(plain, "clone3"), "action"), STR("SCMP_ACT_ERRNO"));
    EQ(json_get_int(rule_for(plain, "clone3"), "errnoRet", 0), 38);
    EQ_STR(json_get_str(rule_for(admin, "clone3"), "action"), STR("SCMP_ACT_ALLOW"));
}

TEST(limits_become_what_the_kernel_counts_in)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct oci_spec s = {.pid_ns = "", .limits = {250, 500, 64 << 20, 100}};
    const struct json *res = json_path(config(p, &s), "linux", "resources", NULL);
    EQ(json_as_int(json_path(res, "cpu", "shares", NULL), 0), 256);
    EQ(json_as_int(json_path(res, "cpu", "quota", NULL), 0), 50000);
    EQ(json_as_int(json_path(res, "memory", "limit", NULL), 0), 64 << 20);
    EQ(json_as_int(json_path(res, "pids", "limit", NULL), 0), 100);
    EQ(cgroup_cpu_shares(0), 2);
    EQ(cgroup_cpu_weight(2), 1);
    EQ(cgroup_cpu_weight(262144), 10000);
}

TEST(a_seccomp_profile_that_is_no_json_is_an_error)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    struct oci_spec s = {.root = "/", .cgroup = "/x", .seccomp = OCI_SECCOMP_FILE, .seccomp_profile = STR("{not")};
    EQ(oci_config(p, &s, &b, &e), -ERR_PARSE);
}

TEST(variables_expand_as_in_kubernetes)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    const struct str env[] = {STR("A=one"), STR("B="), STR("A=two")};
    static const struct { struct str in, out;
    } rows[] = {{{"$(A)", 4}, {"two", 3}}, {{"x$(B)y", 6}, {"xy", 2}}, {{"$(NO)", 5}, {"$(NO)", 5}}, {{"$$(A)", 5}, {"$(A)", 4}},
        {{"$A", 2}, {"$A", 2}}, {{"$(A", 3}, {"$(A", 3}}, {{"a$", 2}, {"a$", 2}}, {{"$$", 2}, {"$", 1}}, {{"", 0}, {"", 0}}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        EQ_STR(oci_expand(p, rows[i].in, env, ARRAY_LEN(env)), rows[i].out);
}

TEST(capability_names_are_checked)
{
    uint64_t mask = 0;
    _cleanup_(err_freep) struct err *e = NULL;
    FINE(caps_parse(STR("NET_ADMIN"), &mask, &e), e);
    EQ(mask, UINT64_C(1) << 12);
    FINE(caps_parse(STR("CAP_SYS_ADMIN"), &mask, &e), e);
    EQ(mask, UINT64_C(1) << 21);
    FINE(caps_parse(STR("ALL"), &mask, &e), e);
    OK(mask == CAPS_ALL);
    EQ(caps_parse(STR("WHATEVER"), &mask, &e), -ERR_INVALID);
}
