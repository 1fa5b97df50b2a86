#include "net/rtnl.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>
#include "net/net.h"

int rtnl_socket(void)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    struct sockaddr_nl a = {.nl_family = AF_NETLINK};
    struct timeval limit = {.tv_sec = 5}; /* the kernel answers inside sendmsg; this only guards against a lost ack */

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0) {
        int r = -errno;
        close(fd);
        return r;
    }
    return fd;
}

int rtnl_socket_in(int netns)
{
    _cleanup_(closep) int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    int fd, r;

    if (home < 0)
        return -errno;
    if (setns(netns, CLONE_NEWNET) < 0)
        return -errno;
    fd = rtnl_socket();
    r = setns(home, CLONE_NEWNET);
    if (r < 0)
        abort(); /* nothing of this process may go on in a pod's namespace */
    return fd;
}

static int send_req(int fd, struct nlmsghdr *nlh)
{
    static uint32_t seq;
    struct sockaddr_nl a = {.nl_family = AF_NETLINK};

    nlh->nlmsg_seq = ++seq;
    return sendto(fd, nlh, nlh->nlmsg_len, 0, (struct sockaddr *)&a, sizeof a) < 0 ? -errno : 0;
}

/* 1: done, 0: more to come, < 0: -errno */
static int take(char *buf, size_t n, uint32_t seq, int (*each)(const struct nlmsghdr *, void *), void *arg)
{
    int len = (int)n;
    for (struct nlmsghdr *h = (struct nlmsghdr *)(void *)buf; mnl_nlmsg_ok(h, len); h = mnl_nlmsg_next(h, &len)) {
        if (h->nlmsg_seq != seq)
            continue;
        if (h->nlmsg_type == NLMSG_DONE)
            return 1;
        if (h->nlmsg_type == NLMSG_ERROR) {
            const struct nlmsgerr *er = mnl_nlmsg_get_payload(h);
            return er->error ? er->error : 1;
        }
        if (each) {
            int r = each(h, arg);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

static int talk(int fd, struct nlmsghdr *nlh, int (*each)(const struct nlmsghdr *, void *), void *arg)
{
    _cleanup_(freep) char *buf = xmalloc(32768);
    int r = send_req(fd, nlh);

    while (r == 0) {
        ssize_t n = recv(fd, buf, 32768, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? -ETIMEDOUT : -errno;
        r = take(buf, (size_t)n, nlh->nlmsg_seq, each, arg);
    }
    return r < 0 ? r : 0;
}

int rtnl_talk(int fd, struct nlmsghdr *nlh)
{
    nlh->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
    return talk(fd, nlh, NULL, NULL);
}

int rtnl_dump(int fd, struct nlmsghdr *nlh, int (*each)(const struct nlmsghdr *, void *), void *arg)
{
    nlh->nlmsg_flags |= NLM_F_REQUEST | NLM_F_DUMP;
    return talk(fd, nlh, each, arg);
}

void *rtnl_begin(struct rtnl_req *r, uint16_t type, uint16_t flags, size_t head)
{
    memset(r->buf, 0, 512);
    r->nlh = mnl_nlmsg_put_header(r->buf);
    r->nlh->nlmsg_type = type;
    r->nlh->nlmsg_flags = flags;
    return mnl_nlmsg_put_extra_header(r->nlh, head);
}

int rtnl_ifindex(const char *name)
{
    return (int)if_nametoindex(name);
}

static struct ifinfomsg *link_begin(struct rtnl_req *r, uint16_t type, uint16_t flags)
{
    struct ifinfomsg *i = rtnl_begin(r, type, flags, sizeof *i);
    i->ifi_family = AF_UNSPEC;
    return i;
}

static int found(const struct nlmsghdr *h, void *arg)
{
    *(int *)arg = ((const struct ifinfomsg *)mnl_nlmsg_get_payload(h))->ifi_index;
    return 0;
}

int rtnl_find(int fd, const char *name)
{
    struct rtnl_req r;
    int index = 0, rc;

    link_begin(&r, RTM_GETLINK, NLM_F_REQUEST | NLM_F_ACK);
    mnl_attr_put_strz(r.nlh, IFLA_IFNAME, name);
    rc = talk(fd, r.nlh, found, &index);
    return rc < 0 ? rc : index ? index : -ENODEV;
}

int rtnl_link_del(int fd, int ifindex)
{
    struct rtnl_req r;
    link_begin(&r, RTM_DELLINK, 0)->ifi_index = ifindex;
    return rtnl_talk(fd, r.nlh);
}

int rtnl_link_set(int fd, int ifindex, bool up, int master, uint32_t mtu, const uint8_t mac[6])
{
    struct rtnl_req r;
    struct ifinfomsg *i = link_begin(&r, RTM_NEWLINK, 0);

    i->ifi_index = ifindex;
    if (up)
        i->ifi_flags = i->ifi_change = IFF_UP;
    if (master)
        mnl_attr_put_u32(r.nlh, IFLA_MASTER, (uint32_t)master);
    if (mtu)
        mnl_attr_put_u32(r.nlh, IFLA_MTU, mtu);
    if (mac)
        mnl_attr_put(r.nlh, IFLA_ADDRESS, 6, mac);
    return rtnl_talk(fd, r.nlh);
}

int rtnl_link_make(int fd, const char *name, const char *kind, const uint8_t mac[6], uint32_t mtu)
{
    struct rtnl_req r;
    struct nlattr *info;

    link_begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    mnl_attr_put_strz(r.nlh, IFLA_IFNAME, name);
    if (mac)
        mnl_attr_put(r.nlh, IFLA_ADDRESS, 6, mac);
    if (mtu)
        mnl_attr_put_u32(r.nlh, IFLA_MTU, mtu);
    info = mnl_attr_nest_start(r.nlh, IFLA_LINKINFO);
    mnl_attr_put_strz(r.nlh, IFLA_INFO_KIND, kind);
    mnl_attr_nest_end(r.nlh, info);
    return rtnl_talk(fd, r.nlh);
}

int rtnl_veth_make(int fd, const char *name, int master, const char *peer, int peer_netns, const uint8_t peer_mac[6], uint32_t mtu)
{
    struct rtnl_req r;
    struct nlattr *info, *data, *peer_nest;
    struct ifinfomsg *i = link_begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);

    i->ifi_flags = i->ifi_change = IFF_UP;
    mnl_attr_put_strz(r.nlh, IFLA_IFNAME, name);
    mnl_attr_put_u32(r.nlh, IFLA_MTU, mtu);
    mnl_attr_put_u32(r.nlh, IFLA_MASTER, (uint32_t)master);
    info = mnl_attr_nest_start(r.nlh, IFLA_LINKINFO);
    mnl_attr_put_strz(r.nlh, IFLA_INFO_KIND, "veth");
    data = mnl_attr_nest_start(r.nlh, IFLA_INFO_DATA);
    peer_nest = mnl_attr_nest_start(r.nlh, VETH_INFO_PEER);
    mnl_nlmsg_put_extra_header(r.nlh, sizeof(struct ifinfomsg));
    mnl_attr_put_strz(r.nlh, IFLA_IFNAME, peer);
    mnl_attr_put_u32(r.nlh, IFLA_MTU, mtu);
    mnl_attr_put(r.nlh, IFLA_ADDRESS, 6, peer_mac);
    mnl_attr_put_u32(r.nlh, IFLA_NET_NS_FD, (uint32_t)peer_netns);
    mnl_attr_nest_end(r.nlh, peer_nest);
    mnl_attr_nest_end(r.nlh, data);
    mnl_attr_nest_end(r.nlh, info);
    return rtnl_talk(fd, r.nlh);
}

int rtnl_hairpin(int fd, int ifindex)
{
    struct rtnl_req r;
    struct ifinfomsg *i = link_begin(&r, RTM_SETLINK, 0);
    struct nlattr *port;

    i->ifi_family = AF_BRIDGE;
    i->ifi_index = ifindex;
    port = mnl_attr_nest_start(r.nlh, IFLA_PROTINFO);
    mnl_attr_put_u8(r.nlh, IFLA_BRPORT_MODE, 1);
    mnl_attr_nest_end(r.nlh, port);
    return rtnl_talk(fd, r.nlh);
}

int rtnl_vxlan_make(int fd, const char *name, uint32_t vni, uint16_t port, uint32_t local, int dev, const uint8_t mac[6], uint32_t mtu)
{
    struct rtnl_req r;
    struct nlattr *info, *data;

    link_begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    mnl_attr_put_strz(r.nlh, IFLA_IFNAME, name);
    mnl_attr_put(r.nlh, IFLA_ADDRESS, 6, mac);
    mnl_attr_put_u32(r.nlh, IFLA_MTU, mtu);
    info = mnl_attr_nest_start(r.nlh, IFLA_LINKINFO);
    mnl_attr_put_strz(r.nlh, IFLA_INFO_KIND, "vxlan");
    data = mnl_attr_nest_start(r.nlh, IFLA_INFO_DATA);
    mnl_attr_put_u32(r.nlh, IFLA_VXLAN_ID, vni);
    mnl_attr_put_u32(r.nlh, IFLA_VXLAN_LOCAL, local);
    if (dev)
        mnl_attr_put_u32(r.nlh, IFLA_VXLAN_LINK, (uint32_t)dev);
    mnl_attr_put_u8(r.nlh, IFLA_VXLAN_LEARNING, 0);
    mnl_attr_put_u16(r.nlh, IFLA_VXLAN_PORT, htons(port));
    mnl_attr_nest_end(r.nlh, data);
    mnl_attr_nest_end(r.nlh, info);
    return rtnl_talk(fd, r.nlh);
}

struct vxlan {
    uint32_t local, mtu;
};

static int vxlan_of(const struct nlmsghdr *h, void *arg)
{
    struct vxlan *v = arg;
    const struct nlattr *a, *b, *c;

    mnl_attr_for_each(a, h, sizeof(struct ifinfomsg))
    {
        if (mnl_attr_get_type(a) == IFLA_MTU)
            v->mtu = mnl_attr_get_u32(a);
        if (mnl_attr_get_type(a) != IFLA_LINKINFO)
            continue;
        mnl_attr_for_each_nested(b, a) if (mnl_attr_get_type(b) == IFLA_INFO_DATA)
            mnl_attr_for_each_nested(c, b) if (mnl_attr_get_type(c) == IFLA_VXLAN_LOCAL) v->local = mnl_attr_get_u32(c);
    }
    return 0;
}

bool rtnl_vxlan_is(int fd, int ifindex, uint32_t local, uint32_t mtu)
{
    struct rtnl_req r;
    struct vxlan v = {0};

    link_begin(&r, RTM_GETLINK, NLM_F_REQUEST | NLM_F_ACK)->ifi_index = ifindex;
    return talk(fd, r.nlh, vxlan_of, &v) == 0 && v.local == local && v.mtu == mtu;
}

static int addr(int fd, uint16_t type, uint16_t flags, int ifindex, uint32_t ip, int prefix, bool no_route)
{
    struct rtnl_req r;
    struct ifaddrmsg *a = rtnl_begin(&r, type, flags, sizeof *a);

    a->ifa_family = AF_INET;
    a->ifa_prefixlen = (uint8_t)prefix;
    a->ifa_index = (unsigned)ifindex;
    mnl_attr_put_u32(r.nlh, IFA_LOCAL, ip);
    mnl_attr_put_u32(r.nlh, IFA_ADDRESS, ip);
    if (no_route)
        mnl_attr_put_u32(r.nlh, IFA_FLAGS, IFA_F_NOPREFIXROUTE);
    return rtnl_talk(fd, r.nlh);
}

int rtnl_addr_add(int fd, int ifindex, uint32_t ip, int prefix, bool no_route)
{
    return addr(fd, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, ifindex, ip, prefix, no_route);
}

int rtnl_addr_del(int fd, int ifindex, uint32_t ip, int prefix)
{
    return addr(fd, RTM_DELADDR, 0, ifindex, ip, prefix, false);
}

int rtnl_route(int fd, bool add, const struct rtnl_route *o)
{
    struct rtnl_req r;
    struct rtmsg *m = rtnl_begin(&r, add ? RTM_NEWROUTE : RTM_DELROUTE, add ? NLM_F_CREATE | NLM_F_REPLACE : 0, sizeof *m);

    m->rtm_family = AF_INET;
    m->rtm_dst_len = (uint8_t)o->prefix;
    m->rtm_table = RT_TABLE_MAIN;
    m->rtm_protocol = NET_ROUTE_PROTO;
    m->rtm_scope = add ? o->scope : RT_SCOPE_NOWHERE;
    m->rtm_type = add ? RTN_UNICAST : RTN_UNSPEC;
    if (o->onlink)
        m->rtm_flags = RTNH_F_ONLINK;
    mnl_attr_put_u32(r.nlh, RTA_DST, o->dst);
    if (o->gateway)
        mnl_attr_put_u32(r.nlh, RTA_GATEWAY, o->gateway);
    if (o->src)
        mnl_attr_put_u32(r.nlh, RTA_PREFSRC, o->src);
    if (o->ifindex)
        mnl_attr_put_u32(r.nlh, RTA_OIF, (uint32_t)o->ifindex);
    if (o->mtu) {
        struct nlattr *metrics = mnl_attr_nest_start(r.nlh, RTA_METRICS);
        mnl_attr_put_u32(r.nlh, RTAX_MTU, o->mtu);
        mnl_attr_nest_end(r.nlh, metrics);
    }
    return rtnl_talk(fd, r.nlh);
}

static struct ndmsg *neigh_begin(struct rtnl_req *r, bool add, int ifindex)
{
    struct ndmsg *n = rtnl_begin(r, add ? RTM_NEWNEIGH : RTM_DELNEIGH, add ? NLM_F_CREATE | NLM_F_REPLACE : 0, sizeof *n);
    n->ndm_ifindex = ifindex;
    n->ndm_state = NUD_PERMANENT;
    return n;
}

int rtnl_neigh(int fd, bool add, int ifindex, uint32_t ip, const uint8_t mac[6])
{
    struct rtnl_req r;
    struct ndmsg *n = neigh_begin(&r, add, ifindex);

    n->ndm_family = AF_INET;
    mnl_attr_put_u32(r.nlh, NDA_DST, ip);
    mnl_attr_put(r.nlh, NDA_LLADDR, 6, mac);
    return rtnl_talk(fd, r.nlh);
}

int rtnl_fdb(int fd, bool add, int ifindex, const uint8_t mac[6], uint32_t dst)
{
    struct rtnl_req r;
    struct ndmsg *n = neigh_begin(&r, add, ifindex);

    n->ndm_family = AF_BRIDGE;
    n->ndm_flags = NTF_SELF;
    mnl_attr_put(r.nlh, NDA_LLADDR, 6, mac);
    mnl_attr_put_u32(r.nlh, NDA_DST, dst);
    return rtnl_talk(fd, r.nlh);
}
