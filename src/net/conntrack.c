/* UDP flows that were led to an endpoint which is gone: conntrack would go on sending them there for as long as the client does not pause.
 * They are forgotten, so that the next datagram is led anew. (TCP needs none of it: the connection's end is gone, and the client hears so.)
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <sys/socket.h>
#include "net/impl.h"

#define FLOWS_MAX 65536 /* in one go: whatever stands in the table */

struct flows {
    const struct map *gone;
    struct buf tuples; /* CTA_TUPLE_ORIG attributes, one after the other, each as long as its header says */
    size_t n;
};

struct tuple {
    uint32_t src;
    uint16_t sport;
    uint8_t proto;
};

static void tuple_read(const struct nlattr *t, struct tuple *out)
{
    const struct nlattr *a, *b;

    memset(out, 0, sizeof *out);
    mnl_attr_for_each_nested(a, t) mnl_attr_for_each_nested(b, a)
    {
        if (mnl_attr_get_type(a) == CTA_TUPLE_IP && mnl_attr_get_type(b) == CTA_IP_V4_SRC)
            out->src = mnl_attr_get_u32(b);
        if (mnl_attr_get_type(a) == CTA_TUPLE_PROTO && mnl_attr_get_type(b) == CTA_PROTO_NUM)
            out->proto = mnl_attr_get_u8(b);
        if (mnl_attr_get_type(a) == CTA_TUPLE_PROTO && mnl_attr_get_type(b) == CTA_PROTO_SRC_PORT)
            out->sport = mnl_attr_get_u16(b);
    }
}

static int flow(const struct nlmsghdr *h, void *arg)
{
    struct flows *f = arg;
    const struct nlattr *a, *orig = NULL, *reply = NULL;
    uint32_t status = 0;
    struct tuple t;
    char key[NET_FLOW_KEY];

    mnl_attr_for_each(a, h, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_type(a) == CTA_TUPLE_ORIG)
            orig = a;
        if (mnl_attr_get_type(a) == CTA_TUPLE_REPLY)
            reply = a;
        if (mnl_attr_get_type(a) == CTA_STATUS)
            status = ntohl(mnl_attr_get_u32(a));
    }
    if (!orig || !reply || !(status & IPS_DST_NAT) || f->n >= FLOWS_MAX)
        return 0;
    tuple_read(reply, &t);
    if (t.proto != IPPROTO_UDP || !map_get(f->gone, net_flow_key(t.src, t.sport, key)))
        return 0;
    buf_add(&f->tuples, orig, MNL_ALIGN(orig->nla_len));
    f->n++;
    return 0;
}

struct str net_flow_key(uint32_t ip, uint16_t port, char out[NET_FLOW_KEY])
{
    memcpy(out, &ip, 4);
    memcpy(out + 4, &port, 2);
    return str_make(out, NET_FLOW_KEY);
}

static struct nlmsghdr *begin(struct rtnl_req *r, uint16_t type, uint16_t flags)
{
    struct nfgenmsg *g = rtnl_begin(r, (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type), flags, sizeof *g);
    g->nfgen_family = AF_INET;
    g->version = NFNETLINK_V0;
    return r->nlh;
}

void net_flows_forget(struct net *n, const struct map *gone)
{
    struct flows f = {.gone = gone};
    struct rtnl_req r;

    if (!map_count(gone))
        return;
    rtnl_dump(n->nft, begin(&r, IPCTNL_MSG_CT_GET, 0), flow, &f);
    for (size_t at = 0; at < f.tuples.n;) {
        const struct nlattr *a = (const struct nlattr *)(void *)(f.tuples.p + at);
        struct nlmsghdr *h = begin(&r, IPCTNL_MSG_CT_DELETE, 0);
        if (a->nla_len < sizeof *a || a->nla_len > 512)
            break;
        memcpy((char *)h + h->nlmsg_len, a, MNL_ALIGN(a->nla_len));
        h->nlmsg_len += MNL_ALIGN(a->nla_len);
        rtnl_talk(n->nft, h); /* it may have ended by itself in between */
        at += MNL_ALIGN(a->nla_len);
    }
    buf_clear(&f.tuples);
}
