/* rtnetlink in few words, on libmnl: links, addresses, routes, neighbours. Every function returns 0 or -errno (not an enum err_code):
 * callers know which errno they can bear, and say what they did in their own words. `fd` is a socket from rtnl_socket; it acts on the
 * namespace it was opened in. Addresses are IPv4 in network byte order.
 */
#pragma once
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include "base/base.h"

#define RTNL_BUF 8192
struct rtnl_req { /* a request under construction */
    char buf[RTNL_BUF];
    struct nlmsghdr *nlh;
};

int rtnl_socket(void);                       /* fd or -errno */
int rtnl_socket_in(int netns);               /* the same inside another namespace; the caller's namespace is back afterwards */
int rtnl_talk(int fd, struct nlmsghdr *nlh); /* sends and waits for the ack */
int rtnl_dump(int fd, struct nlmsghdr *nlh, int (*each)(const struct nlmsghdr *nlh, void *arg), void *arg);

void *rtnl_begin(struct rtnl_req *r, uint16_t type, uint16_t flags, size_t head); /* the zeroed fixed head */

int rtnl_ifindex(const char *name);      /* 0: none. In the caller's namespace */
int rtnl_find(int fd, const char *name); /* ifindex in the socket's namespace, or -errno (-ENODEV) */
int rtnl_link_del(int fd, int ifindex);
/* up, and what is not 0/NULL of the rest */
int rtnl_link_set(int fd, int ifindex, bool up, int master, uint32_t mtu, const uint8_t mac[6]);
int rtnl_link_make(int fd, const char *name, const char *kind, const uint8_t mac[6], uint32_t mtu);
int rtnl_veth_make(int fd, const char *name, int master, const char *peer, int peer_netns, const uint8_t peer_mac[6], uint32_t mtu);
int rtnl_hairpin(int fd, int ifindex); /* a bridge port may get its own frames back */
int rtnl_vxlan_make(int fd, const char *name, uint32_t vni, uint16_t port, uint32_t local, int dev, const uint8_t mac[6], uint32_t mtu);
bool rtnl_vxlan_is(int fd, int ifindex, uint32_t local, uint32_t mtu); /* the link has this local address and MTU */
int rtnl_addr_add(int fd, int ifindex, uint32_t addr, int prefix, bool no_route);
int rtnl_addr_del(int fd, int ifindex, uint32_t addr, int prefix);
struct rtnl_route {
    uint32_t dst;
    int prefix;
    uint32_t gateway, src;
    int ifindex;
    bool onlink;
    uint8_t scope;
    uint32_t mtu;
};
int rtnl_route(int fd, bool add, const struct rtnl_route *r); /* add replaces */
int rtnl_neigh(int fd, bool add, int ifindex, uint32_t ip, const uint8_t mac[6]);
int rtnl_fdb(int fd, bool add, int ifindex, const uint8_t mac[6], uint32_t dst);
