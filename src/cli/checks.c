/* What a flag's value must look like. Each returns NULL or the end of the sentence "invalid value ... for --flag: ". */
#include <arpa/inet.h>

#include "cli/flags.h"
#include "schema/selector.h"

static bool is_ip(struct str v)
{
    char text[INET6_ADDRSTRLEN + 1];
    unsigned char out[16];
    if (v.n == 0 || v.n >= sizeof text)
        return false;
    memcpy(text, v.p, v.n);
    text[v.n] = 0;
    return inet_pton(AF_INET, text, out) == 1 || inet_pton(AF_INET6, text, out) == 1;
}

const char *check_ip(struct str v)
{
    return is_ip(v) ? NULL : "must be an IP address";
}

const char *check_cidr(struct str v)
{
    struct str ip, len;
    uint64_t n;
    if (!str_cut(v, '/', &ip, &len) || !is_ip(ip) || !str_to_u64(len, &n) || n > (str_chr(ip, ':') >= 0 ? 128u : 32u))
        return "must be an address range as 10.42.0.0/16";
    return NULL;
}

const char *check_url(struct str v)
{
    return str_starts(v, STR("https://")) && v.n > 8 ? NULL : "must be an https:// URL";
}

const char *check_node_name(struct str v)
{
    return name_dns1123_subdomain(v);
}

const char *check_label(struct str v)
{
    struct str key, value;
    if (!str_cut(v, '=', &key, &value))
        return "must be key=value";
    const char *wrong = name_qualified(key);
    return wrong ? wrong : name_label_value(value);
}

const char *check_taint(struct str v)
{
    ssize_t colon = str_rchr(v, ':');
    struct str key, value, effect;
    if (colon < 0)
        return "must be key=value:Effect";
    effect = str_sub(v, (size_t)colon + 1, v.n);
    key = str_sub(v, 0, (size_t)colon);
    if (!str_eqz(effect, "NoSchedule") && !str_eqz(effect, "PreferNoSchedule") && !str_eqz(effect, "NoExecute"))
        return "effect must be NoSchedule, PreferNoSchedule or NoExecute";
    if (!str_cut(key, '=', &key, &value))
        value = STR_NULL;
    const char *wrong = name_qualified(key);
    return wrong ? wrong : name_label_value(value);
}

const char *check_mode(struct str v)
{
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] < '0' || v.p[i] > '7')
            return "must be an octal file mode as 600";
    return v.n >= 3 && v.n <= 4 ? NULL : "must be an octal file mode as 600";
}

const char *check_backend(struct str v)
{
    if (str_eqz(v, "vxlan") || str_eqz(v, "host-gw") || str_eqz(v, "none"))
        return NULL;
    if (str_starts(v, STR("wireguard")) || str_eqz(v, "ipsec"))
        return "encrypts, which this version cannot do between nodes; must be vxlan, host-gw or none";
    if (str_starts(v, STR("vxlan=")) || str_starts(v, STR("host-gw=")) || str_eqz(v, "tailscale"))
        return "takes no options in this version; must be vxlan, host-gw or none";
    return "must be vxlan, host-gw or none";
}

const char *check_log_level(struct str v)
{
    return str_eqz(v, "error") || str_eqz(v, "warn") || str_eqz(v, "info") || str_eqz(v, "debug") ? NULL : "must be error, warn, info or debug";
}

const char *check_absolute(struct str v)
{
    return str_starts(v, STR("/")) ? NULL : "must be an absolute path";
}

const char *check_apiserver_arg(struct str v)
{
    static const char *const counts[] = {"max-requests-inflight", "max-mutating-requests-inflight", "audit-log-maxsize", "audit-log-maxbackup", "audit-log-maxage"};
    static const char *const paths[] = {"audit-policy-file", "audit-log-path"};
    struct str name, value;
    uint64_t n;
    if (!str_cut(v, '=', &name, &value))
        return "must be name=value";
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        if (str_eqz(name, counts[i]))
            return str_to_u64(value, &n) && n > 0 && n <= 1000000 ? NULL : "must be a number from 1 to 1000000";
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        if (str_eqz(name, paths[i]))
            return str_starts(value, STR("/")) && value.n > 1 ? NULL : "must be an absolute path";
    return "this flag of kube-apiserver has no meaning here; docs/flags.md names those that have";
}
