/* The links of the node itself: bridge, overlay, the DNS address; and what the host's addresses are. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "net/impl.h"

#define VXLAN_HEADER 50 /* outer Ethernet, IPv4, UDP, VXLAN */

int net_sysctl(const char *path, const char *value)
{
    _cleanup_(freep) char *p = xasprintf("/proc/sys/%s", path);
    _cleanup_(closep) int fd = open(p, O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    return write(fd, value, strlen(value)) < 0 ? -errno : 0;
}

static void link_sysctl(const char *link, const char *key, const char *value)
{
    _cleanup_(freep) char *p = xasprintf("net/ipv4/conf/%s/%s", link, key);
    (void)net_sysctl(p, value); /* a kernel without the knob works without it */
}

static int mtu_of(const char *name)
{
    struct ifreq r = {0};
    _cleanup_(closep) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
    return fd >= 0 && ioctl(fd, SIOCGIFMTU, &r) == 0 ? r.ifr_mtu : 0;
}

int net_iface_of(uint32_t ip, int *mtu)
{
    struct ifaddrs *all, *a;
    int index = 0;

    if (getifaddrs(&all) < 0)
        return 0;
    for (a = all; a && !index; a = a->ifa_next)
        if (a->ifa_addr && a->ifa_addr->sa_family == AF_INET && ((struct sockaddr_in *)(void *)a->ifa_addr)->sin_addr.s_addr == ip) {
            index = (int)if_nametoindex(a->ifa_name);
            if (mtu)
                *mtu = mtu_of(a->ifa_name);
        }
    freeifaddrs(all);
    return index;
}

static bool ours(const char *name)
{
    return strncmp(name, "sampan", 6) == 0 || (strncmp(name, "sp", 2) == 0 && strlen(name) == 12);
}

/* The source that the default route gives, without sending anything. */
static uint32_t preferred(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(0xC0000201) /* 192.0.2.1, RFC 5737 */},
                       me;
    socklen_t n = sizeof me;
    _cleanup_(closep) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0 || getsockname(fd, (struct sockaddr *)&me, &n) < 0)
        return 0;
    return me.sin_addr.s_addr;
}

size_t net_host_addresses(struct net *n, char (*out)[NET_ADDR_TEXT], size_t max)
{
    struct ifaddrs *all = NULL, *a;
    uint32_t first = preferred();
    size_t k = 0;
    char t[16];

    if (max == 0 || getifaddrs(&all) < 0)
        return 0;
    if (first && first != (n ? n->gateway : 0) && ntohl(first) >> 24 != 127)
        snprintf(out[k++], NET_ADDR_TEXT, "%s", net_ip_text(first, t));
    for (a = all; a && k < max; a = a->ifa_next) {
        uint32_t ip;
        if (!a->ifa_addr || a->ifa_addr->sa_family != AF_INET || !(a->ifa_flags & IFF_UP) || ours(a->ifa_name))
            continue;
        ip = ((struct sockaddr_in *)(void *)a->ifa_addr)->sin_addr.s_addr;
        if (ip != first && ntohl(ip) >> 24 != 127 && ntohl(ip) >> 16 != 0xA9FE)
            snprintf(out[k++], NET_ADDR_TEXT, "%s", net_ip_text(ip, t));
    }
    freeifaddrs(all);
    return k;
}

static int bridge(struct net *n, struct err **e)
{
    uint8_t mac[6];
    int r;

    net_mac_of(n->gateway, mac);
    n->br = rtnl_ifindex(NET_BRIDGE);
    if (!n->br) {
        r = rtnl_link_make(n->rt, NET_BRIDGE, "bridge", mac, 0);
        if (r < 0)
            return err_errno(e, -r, "make the bridge " NET_BRIDGE);
        n->br = rtnl_ifindex(NET_BRIDGE);
    }
    r = rtnl_link_set(n->rt, n->br, true, 0, (uint32_t)n->mtu, mac);
    if (r < 0)
        return err_errno(e, -r, "bridge " NET_BRIDGE);
    r = rtnl_addr_add(n->rt, n->br, n->gateway, n->pod.prefix, false);
    if (r < 0 && r != -EEXIST)
        return err_errno(e, -r, "bridge " NET_BRIDGE ": address");
    link_sysctl(NET_BRIDGE, "send_redirects", "0"); /* pods reach each other through us on purpose */
    link_sysctl("all", "send_redirects", "0");
    link_sysctl(NET_BRIDGE, "forwarding", "1");
    link_sysctl(NET_BRIDGE, "route_localnet", "1"); /* host ports at 127.0.0.1; table.c keeps everybody else out */
    return 0;
}

/* The DNS address stands on every node, so that a pod's question never leaves its node. A kernel without dummy links has bridges. */
static int dns_link(struct net *n, struct err **e)
{
    int at = rtnl_ifindex(NET_DNS), r;

    if (!at) {
        r = rtnl_link_make(n->rt, NET_DNS, "dummy", NULL, 0);
        if (r < 0)
            r = rtnl_link_make(n->rt, NET_DNS, "bridge", NULL, 0);
        if (r < 0)
            return err_errno(e, -r, "make the link " NET_DNS);
        at = rtnl_ifindex(NET_DNS);
    }
    r = rtnl_link_set(n->rt, at, true, 0, 0, NULL);
    if (r == 0)
        r = rtnl_addr_add(n->rt, at, n->dns_ip, 32, true);
    return r < 0 && r != -EEXIST ? err_errno(e, -r, "link " NET_DNS) : 0;
}

static int overlay(struct net *n, struct err **e)
{
    uint8_t mac[6];
    int r, dev;

    net_mac_of(htonl(n->pod.base), mac);
    n->vx = rtnl_ifindex(NET_VXLAN);
    dev = net_iface_of(n->node_ip, NULL);
    if (n->vx && rtnl_vxlan_is(n->rt, n->vx, n->node_ip, (uint32_t)n->mtu))
        return 0; /* of an earlier run: whoever talks over it goes on */
    if (n->vx)    /* its local address cannot be changed: made anew, and the peers' routes with it */
        rtnl_link_del(n->rt, n->vx);
    r = rtnl_vxlan_make(n->rt, NET_VXLAN, NET_VNI, NET_VXLAN_PORT, n->node_ip, dev, mac, (uint32_t)n->mtu);
    if (r < 0)
        return err_errno(e, -r, "make the overlay link " NET_VXLAN);
    n->vx = rtnl_ifindex(NET_VXLAN);
    r = rtnl_link_set(n->rt, n->vx, true, 0, 0, NULL);
    if (r == 0)
        r = rtnl_addr_add(n->rt, n->vx, htonl(n->pod.base), 32, true);
    return r < 0 && r != -EEXIST ? err_errno(e, -r, "overlay link " NET_VXLAN) : 0;
}

int net_links(struct net *n, struct err **e)
{
    int mtu = 0, r = 0;

    if (n->node_ip)
        net_iface_of(n->node_ip, &mtu);
    n->mtu = (mtu ? mtu : 1500) - (n->backend == BACKEND_VXLAN ? VXLAN_HEADER : 0);
    if (n->mtu < 576)
        n->mtu = 576;
    rtnl_link_set(n->rt, 1, true, 0, 0, NULL); /* lo, in namespaces made for a node */
    if (n->dns_ip && (r = dns_link(n, e)) < 0)
        return r;
    if (n->pod.prefix < 0)
        return 0;
    r = net_sysctl("net/ipv4/ip_forward", "1");
    if (r < 0)
        return err_errno(e, -r, "sysctl net.ipv4.ip_forward");
    if ((r = bridge(n, e)) < 0)
        return r;
    if (n->service.prefix >= 0) { /* so that a host without a default route reaches Services; DNAT happens before the packet would leave */
        struct rtnl_route s = {
            .dst = htonl(n->service.base), .prefix = n->service.prefix, .ifindex = n->br, .src = n->gateway, .scope = RT_SCOPE_LINK};
        (void)rtnl_route(n->rt, true, &s);
    }
    if (n->backend == BACKEND_VXLAN && n->node_ip)
        return overlay(n, e);
    return 0;
}
