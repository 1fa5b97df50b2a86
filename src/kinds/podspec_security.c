#include "kinds/podspec.h"

#define SYSCTL_NAME_MAX 253
#define SYSCTL_TEXT \
    "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"

static bool lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Segments between dots or slashes: letters and digits at both ends, - and _ inside. */
static bool sysctl_name(struct str s)
{
    if (!s.n || s.n > SYSCTL_NAME_MAX)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        bool first = i == 0 || s.p[i - 1] == '.' || s.p[i - 1] == '/', last = i + 1 == s.n || s.p[i + 1] == '.' || s.p[i + 1] == '/';
        if (s.p[i] == '.' || s.p[i] == '/') {
            if (first || i + 1 == s.n)
                return false;
        } else if (!lower_alnum(s.p[i]) && (first || last || (s.p[i] != '-' && s.p[i] != '_'))) {
            return false;
        }
    }
    return true;
}

/* Dots and slashes may change places (sysctl.d(5)): the first of the two that comes is the separator. */
static bool below(struct str name, const char *prefix)
{
    struct str p = str_of(prefix);
    if (name.n < p.n)
        return false;
    for (size_t i = 0; i < p.n; i++)
        if (!(name.p[i] == p.p[i] || (p.p[i] == '.' && name.p[i] == '/')))
            return false;
    return true;
}

static void sysctls(const struct json *spec, const struct json *list, const struct fpath *at, struct err **e)
{
    bool net = json_get_bool(spec, "hostNetwork", false), ipc = json_get_bool(spec, "hostIPC", false);
    size_t i = 0;
    json_for (list, s) {
        struct fpath here = fpath_at(at, i++), name_at = FPATH(&here, "name");
        struct str name = json_get_str(s, "name");
        if (!name.n)
            ferr_required(e, &name_at, "");
        else if (!sysctl_name(name))
            ferr_invalid_str(e, &name_at, name, SYSCTL_TEXT);
        else if (net && below(name, "net."))
            ferr_invalid_str(e, &name_at, name, "may not be specified when 'hostNetwork' is true");
        else if (ipc && (below(name, "kernel.shm") || below(name, "kernel.msg") || below(name, "kernel.sem") || below(name, "fs.mqueue.")))
            ferr_invalid_str(e, &name_at, name, "may not be specified when 'hostIPC' is true");
        size_t k = 0;
        json_for (list, other) {
            if (k + 1 >= i)
                break;
            k++;
            if (name.n && str_eq(json_get_str(other, "name"), name))
                ferr_duplicate_str(e, &name_at, name);
        }
    }
}

static void user_id(const struct json *sc, const char *key, const struct fpath *at, struct err **e)
{
    const struct json *v = json_get(sc, str_of(key));
    struct fpath here = fpath_name(at, str_of(key));
    int64_t n = json_as_int(v, 0);
    if (v && (n < 0 || n > INT32_MAX))
        ferr_invalid_int(e, &here, n, "must be between 0 and 2147483647, inclusive");
}

static void container_context(const struct json *c, const struct fpath *at, struct err **e)
{
    const struct json *sc = json_get(c, STR("securityContext"));
    struct fpath here = FPATH(at, "securityContext"), escalation = FPATH(&here, "allowPrivilegeEscalation");
    const struct json *allow = json_get(sc, STR("allowPrivilegeEscalation"));
    user_id(sc, "runAsUser", &here, e);
    user_id(sc, "runAsGroup", &here, e);
    if (!allow || json_get_bool(sc, "allowPrivilegeEscalation", true))
        return;
    if (json_get_bool(sc, "privileged", false))
        ferr_invalid(e, &escalation, allow, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
    json_for (json_path(sc, "capabilities", "add", NULL), cap)
        if (str_eqz(json_as_str(cap), "CAP_SYS_ADMIN"))
            ferr_invalid(e, &escalation, allow, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN");
}

void podspec_validate_security(const struct json *spec, const struct fpath *at, struct err **e)
{
    static const char *const lists[] = {"initContainers", "containers", "ephemeralContainers"};
    const struct json *sc = json_get(spec, STR("securityContext"));
    struct fpath here = FPATH(at, "securityContext"), list = FPATH(&here, "sysctls");
    user_id(sc, "runAsUser", &here, e);
    user_id(sc, "runAsGroup", &here, e);
    user_id(sc, "fsGroup", &here, e);
    sysctls(spec, json_get(sc, STR("sysctls")), &list, e);
    for (size_t k = 0; k < ARRAY_LEN(lists); k++) {
        struct fpath cs = fpath_name(at, str_of(lists[k]));
        size_t i = 0;
        json_for (json_get(spec, str_of(lists[k])), c) {
            struct fpath ci = fpath_at(&cs, i++);
            container_context(c, &ci, e);
        }
    }
}
