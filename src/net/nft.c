#include "net/nft.h"
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- netlink attributes in a growing buffer ---- */

static void pad(struct buf *b)
{
    while (b->n & 3)
        buf_putc(b, 0);
}

static void attr(struct nft *b, uint16_t type, const void *data, size_t n)
{
    struct nlattr a = {.nla_len = (uint16_t)(sizeof a + n), .nla_type = type};
    buf_add(&b->b, &a, sizeof a);
    buf_add(&b->b, data, n);
    pad(&b->b);
}

static void attr_z(struct nft *b, uint16_t type, const char *z)
{
    attr(b, type, z, strlen(z) + 1);
}

static void attr_u32(struct nft *b, uint16_t type, uint32_t v)
{
    uint32_t be = htonl(v);
    attr(b, type, &be, sizeof be);
}

static void attr_u64(struct nft *b, uint16_t type, uint64_t v)
{
    uint64_t be = htobe64(v);
    attr(b, type, &be, sizeof be);
}

static size_t nest(struct nft *b, uint16_t type)
{
    struct nlattr a = {.nla_len = 0, .nla_type = (uint16_t)(type | NLA_F_NESTED)};
    size_t at = b->b.n;
    buf_add(&b->b, &a, sizeof a);
    return at;
}

static void nest_end(struct nft *b, size_t at)
{
    uint16_t len = (uint16_t)(b->b.n - at);
    memcpy(b->b.p + at, &len, sizeof len);
}

static void msg(struct nft *b, uint16_t type, uint16_t flags, uint8_t family, uint16_t res)
{
    struct nlmsghdr h = {.nlmsg_type = type, .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags), .nlmsg_seq = b->seq++};
    struct nfgenmsg g = {.nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(res)};

    b->msg = b->b.n;
    buf_add(&b->b, &h, sizeof h);
    buf_add(&b->b, &g, sizeof g);
}

static void msg_end(struct nft *b)
{
    uint32_t len = (uint32_t)(b->b.n - b->msg);
    memcpy(b->b.p + b->msg, &len, sizeof len);
}

static void nft_msg(struct nft *b, uint16_t type, uint16_t flags)
{
    msg(b, (uint16_t)((NFNL_SUBSYS_NFTABLES << 8) | type), flags, b->foreign.table ? b->foreign.family : NFPROTO_INET, 0);
}

static const char *table_of(const struct nft *b)
{
    return b->foreign.table ? b->foreign.table : NFT_TABLE;
}

/* ---- batches ---- */

int nft_socket(struct err **e)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER), big = 64 << 20;
    struct sockaddr_nl a = {.nl_family = AF_NETLINK};

    if (fd < 0)
        return err_errno(e, errno, "netfilter socket");
    if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0) {
        int r = err_errno(e, errno, "netfilter socket: bind");
        close(fd);
        return r;
    }
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &big, sizeof big);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof big);
    return fd;
}

void nft_begin(struct nft *b)
{
    *b = (struct nft){.b = BUF_INIT};
    msg(b, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
    msg_end(b);
}

void nft_clear(struct nft *b)
{
    buf_clear(&b->b);
}

/* The kernel has answered every message by the time sendto returns; only errors and the ack asked for are in the queue. */
static int answers(int fd, struct err **e)
{
    _cleanup_(freep) char *in = xmalloc(65536);
    int first = 0;

    for (;;) {
        ssize_t n = recv(fd, in, 65536, MSG_DONTWAIT);
        int len = (int)n;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        for (struct nlmsghdr *h = (struct nlmsghdr *)(void *)in; mnl_nlmsg_ok(h, len); h = mnl_nlmsg_next(h, &len)) {
            const struct nlmsgerr *er = mnl_nlmsg_get_payload(h);
            if (h->nlmsg_type == NLMSG_ERROR && er->error && !first) {
                first = -er->error;
                err_errno(e, first, "nftables: message %u of type %u", er->msg.nlmsg_seq, er->msg.nlmsg_type & 0xff);
            }
        }
    }
    return first ? -ERR_IO : 0;
}

int nft_commit(struct nft *b, int fd, struct err **e)
{
    struct sockaddr_nl a = {.nl_family = AF_NETLINK};
    int r = 0;

    if (!nft_empty(b)) {
        msg(b, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
        msg_end(b);
        if (sendto(fd, b->b.p, b->b.n, 0, (struct sockaddr *)&a, sizeof a) < 0)
            r = err_errno(e, errno, "nftables: send a batch of %zu bytes", b->b.n);
        else
            r = answers(fd, e);
    }
    nft_clear(b);
    return r;
}

/* ---- tables, chains, sets ---- */

static void table(struct nft *b, uint16_t type, uint16_t flags)
{
    nft_msg(b, type, flags);
    attr_z(b, NFTA_TABLE_NAME, NFT_TABLE);
    msg_end(b);
}

void nft_table_add(struct nft *b)
{
    table(b, NFT_MSG_NEWTABLE, NLM_F_CREATE);
}
void nft_table_del(struct nft *b)
{
    table(b, NFT_MSG_DELTABLE, 0);
}

void nft_chain(struct nft *b, const char *name, const struct nft_hook *hook)
{
    nft_msg(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
    attr_z(b, NFTA_CHAIN_TABLE, NFT_TABLE);
    attr_z(b, NFTA_CHAIN_NAME, name);
    if (hook) {
        size_t at = nest(b, NFTA_CHAIN_HOOK);
        attr_u32(b, NFTA_HOOK_HOOKNUM, hook->num);
        attr_u32(b, NFTA_HOOK_PRIORITY, (uint32_t)hook->priority);
        nest_end(b, at);
        attr_u32(b, NFTA_CHAIN_POLICY, NF_ACCEPT);
        attr_z(b, NFTA_CHAIN_TYPE, hook->type);
    }
    msg_end(b);
}

void nft_chain_flush(struct nft *b, const char *name)
{
    nft_msg(b, NFT_MSG_DELRULE, 0);
    attr_z(b, NFTA_RULE_TABLE, NFT_TABLE);
    attr_z(b, NFTA_RULE_CHAIN, name);
    msg_end(b);
}

void nft_chain_del(struct nft *b, const char *name)
{
    nft_msg(b, NFT_MSG_DELCHAIN, 0);
    attr_z(b, NFTA_CHAIN_TABLE, NFT_TABLE);
    attr_z(b, NFTA_CHAIN_NAME, name);
    msg_end(b);
}

void nft_set_add(struct nft *b, const struct nft_set *s)
{
    uint32_t flags = (s->map ? NFT_SET_MAP : 0) | (s->timeout_ms ? NFT_SET_TIMEOUT : 0) | (s->dynamic ? NFT_SET_EVAL : 0) |
                     (s->interval ? NFT_SET_INTERVAL : 0);

    nft_msg(b, NFT_MSG_NEWSET, NLM_F_CREATE);
    attr_z(b, NFTA_SET_TABLE, NFT_TABLE);
    attr_z(b, NFTA_SET_NAME, s->name);
    attr_u32(b, NFTA_SET_ID, b->seq);
    attr_u32(b, NFTA_SET_FLAGS, flags);
    attr_u32(b, NFTA_SET_KEY_TYPE, s->key_type);
    attr_u32(b, NFTA_SET_KEY_LEN, s->key_len);
    if (s->map) {
        attr_u32(b, NFTA_SET_DATA_TYPE, s->verdicts ? (uint32_t)NFT_DATA_VERDICT : s->data_type);
        attr_u32(b, NFTA_SET_DATA_LEN, s->verdicts ? 16 : s->data_len);
    }
    if (s->timeout_ms)
        attr_u64(b, NFTA_SET_TIMEOUT, s->timeout_ms);
    if (s->dynamic) {
        size_t at = nest(b, NFTA_SET_DESC);
        attr_u32(b, NFTA_SET_DESC_SIZE, 65535); /* clients remembered per port: bounded, whoever connects */
        nest_end(b, at);
    }
    msg_end(b);
}

static void set_msg(struct nft *b, uint16_t type, const char *name)
{
    nft_msg(b, type, 0);
    attr_z(b, NFTA_SET_TABLE, NFT_TABLE);
    attr_z(b, NFTA_SET_NAME, name);
    msg_end(b);
}

void nft_set_del(struct nft *b, const char *name)
{
    set_msg(b, NFT_MSG_DELSET, name);
}
void nft_set_flush(struct nft *b, const char *name)
{
    set_msg(b, NFT_MSG_DELSETELEM, name);
}

static void data_value(struct nft *b, uint16_t type, const void *p, size_t n)
{
    size_t at = nest(b, type);
    attr(b, NFTA_DATA_VALUE, p, n);
    nest_end(b, at);
}

static void data_verdict(struct nft *b, uint16_t type, int32_t code, const char *chain)
{
    size_t at = nest(b, type), v = nest(b, NFTA_DATA_VERDICT);
    attr_u32(b, NFTA_VERDICT_CODE, (uint32_t)code);
    if (chain)
        attr_z(b, NFTA_VERDICT_CHAIN, chain);
    nest_end(b, v);
    nest_end(b, at);
}

static void elem(struct nft *b, bool add, const char *set, uint32_t flags, const void *key, size_t nkey, const void *data, size_t ndata,
    const char *chain)
{
    size_t list, one;

    nft_msg(b, add ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM, add ? NLM_F_CREATE : 0);
    attr_z(b, NFTA_SET_ELEM_LIST_TABLE, NFT_TABLE);
    attr_z(b, NFTA_SET_ELEM_LIST_SET, set);
    list = nest(b, NFTA_SET_ELEM_LIST_ELEMENTS);
    one = nest(b, NFTA_LIST_ELEM);
    if (flags)
        attr_u32(b, NFTA_SET_ELEM_FLAGS, flags);
    data_value(b, NFTA_SET_ELEM_KEY, key, nkey);
    if (chain)
        data_verdict(b, NFTA_SET_ELEM_DATA, NFT_GOTO, chain);
    else if (data)
        data_value(b, NFTA_SET_ELEM_DATA, data, ndata);
    nest_end(b, one);
    nest_end(b, list);
    msg_end(b);
}

void nft_elem(struct nft *b, bool add, const char *set, const void *key, size_t nkey, const void *data, size_t ndata, const char *chain)
{
    elem(b, add, set, 0, key, nkey, data, ndata, chain);
}

void nft_elem_end(struct nft *b, const char *set, const void *key, size_t nkey)
{
    elem(b, true, set, NFT_SET_ELEM_INTERVAL_END, key, nkey, NULL, 0, NULL);
}

/* ---- rules ---- */

void nft_rule(struct nft *b, const char *chain)
{
    nft_msg(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
    attr_z(b, NFTA_RULE_TABLE, NFT_TABLE);
    attr_z(b, NFTA_RULE_CHAIN, chain);
    b->rule_exprs = nest(b, NFTA_RULE_EXPRESSIONS);
}

/* User data as nft(8) reads comments: type 0, length, text with its end. */
void nft_rule_first(struct nft *b, const struct nft_foreign *at, const char *comment)
{
    char data[64] = {0};
    size_t n = strnlen(comment, sizeof data - 3) + 1;

    data[1] = (char)n;
    memcpy(data + 2, comment, n - 1);
    b->foreign = *at;
    nft_msg(b, NFT_MSG_NEWRULE, NLM_F_CREATE);
    attr_z(b, NFTA_RULE_TABLE, table_of(b));
    attr_z(b, NFTA_RULE_CHAIN, at->chain);
    attr(b, NFTA_RULE_USERDATA, data, n + 2);
    b->rule_exprs = nest(b, NFTA_RULE_EXPRESSIONS);
}

void nft_rule_del(struct nft *b, const struct nft_foreign *at, uint64_t handle)
{
    b->foreign = *at;
    nft_msg(b, NFT_MSG_DELRULE, 0);
    attr_z(b, NFTA_RULE_TABLE, table_of(b));
    attr_z(b, NFTA_RULE_CHAIN, at->chain);
    attr_u64(b, NFTA_RULE_HANDLE, handle);
    msg_end(b);
    b->foreign = (struct nft_foreign){0};
}

void nft_rule_end(struct nft *b)
{
    nest_end(b, b->rule_exprs);
    msg_end(b);
    b->foreign = (struct nft_foreign){0};
}

struct expr {
    size_t elem, data;
};

static struct expr expr(struct nft *b, const char *name)
{
    struct expr x = {.elem = nest(b, NFTA_LIST_ELEM)};
    attr_z(b, NFTA_EXPR_NAME, name);
    x.data = nest(b, NFTA_EXPR_DATA);
    return x;
}

static void expr_end(struct nft *b, struct expr x)
{
    nest_end(b, x.data);
    nest_end(b, x.elem);
}

void nft_x_meta(struct nft *b, uint32_t key, uint32_t dreg)
{
    struct expr x = expr(b, "meta");
    attr_u32(b, NFTA_META_KEY, key);
    attr_u32(b, NFTA_META_DREG, dreg);
    expr_end(b, x);
}

void nft_x_meta_set(struct nft *b, uint32_t key, uint32_t sreg)
{
    struct expr x = expr(b, "meta");
    attr_u32(b, NFTA_META_KEY, key);
    attr_u32(b, NFTA_META_SREG, sreg);
    expr_end(b, x);
}

void nft_x_payload(struct nft *b, uint32_t base, uint32_t offset, uint32_t len, uint32_t dreg)
{
    struct expr x = expr(b, "payload");
    attr_u32(b, NFTA_PAYLOAD_DREG, dreg);
    attr_u32(b, NFTA_PAYLOAD_BASE, base);
    attr_u32(b, NFTA_PAYLOAD_OFFSET, offset);
    attr_u32(b, NFTA_PAYLOAD_LEN, len);
    expr_end(b, x);
}

void nft_x_ct(struct nft *b, uint32_t key, int dir, uint32_t dreg)
{
    struct expr x = expr(b, "ct");
    attr_u32(b, NFTA_CT_KEY, key);
    attr_u32(b, NFTA_CT_DREG, dreg);
    if (dir >= 0) {
        uint8_t d = (uint8_t)dir;
        attr(b, NFTA_CT_DIRECTION, &d, 1);
    }
    expr_end(b, x);
}

void nft_x_cmp(struct nft *b, uint32_t sreg, uint32_t op, const void *data, size_t n)
{
    struct expr x = expr(b, "cmp");
    attr_u32(b, NFTA_CMP_SREG, sreg);
    attr_u32(b, NFTA_CMP_OP, op);
    data_value(b, NFTA_CMP_DATA, data, n);
    expr_end(b, x);
}

void nft_x_mask(struct nft *b, uint32_t reg, const void *mask, const void *xor_, size_t n)
{
    struct expr x = expr(b, "bitwise");
    attr_u32(b, NFTA_BITWISE_SREG, reg);
    attr_u32(b, NFTA_BITWISE_DREG, reg);
    attr_u32(b, NFTA_BITWISE_LEN, (uint32_t)n);
    data_value(b, NFTA_BITWISE_MASK, mask, n);
    data_value(b, NFTA_BITWISE_XOR, xor_, n);
    expr_end(b, x);
}

void nft_x_imm(struct nft *b, uint32_t dreg, const void *data, size_t n)
{
    struct expr x = expr(b, "immediate");
    attr_u32(b, NFTA_IMMEDIATE_DREG, dreg);
    data_value(b, NFTA_IMMEDIATE_DATA, data, n);
    expr_end(b, x);
}

void nft_x_verdict(struct nft *b, int32_t code, const char *chain)
{
    struct expr x = expr(b, "immediate");
    attr_u32(b, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    data_verdict(b, NFTA_IMMEDIATE_DATA, code, chain);
    expr_end(b, x);
}

void nft_x_lookup(struct nft *b, const char *set, uint32_t sreg, int dreg, bool invert)
{
    struct expr x = expr(b, "lookup");
    attr_z(b, NFTA_LOOKUP_SET, set);
    attr_u32(b, NFTA_LOOKUP_SREG, sreg);
    if (dreg >= 0)
        attr_u32(b, NFTA_LOOKUP_DREG, (uint32_t)dreg);
    if (invert)
        attr_u32(b, NFTA_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
    expr_end(b, x);
}

void nft_x_numgen(struct nft *b, uint32_t dreg, uint32_t mod)
{
    struct expr x = expr(b, "numgen");
    attr_u32(b, NFTA_NG_DREG, dreg);
    attr_u32(b, NFTA_NG_MODULUS, mod);
    attr_u32(b, NFTA_NG_TYPE, NFT_NG_RANDOM);
    attr_u32(b, NFTA_NG_OFFSET, 0);
    expr_end(b, x);
}

void nft_x_dynset(struct nft *b, const char *set, uint32_t op, uint32_t skey, int sdata, uint64_t timeout_ms)
{
    struct expr x = expr(b, "dynset");
    attr_z(b, NFTA_DYNSET_SET_NAME, set);
    attr_u32(b, NFTA_DYNSET_OP, op);
    attr_u32(b, NFTA_DYNSET_SREG_KEY, skey);
    if (sdata >= 0)
        attr_u32(b, NFTA_DYNSET_SREG_DATA, (uint32_t)sdata);
    if (timeout_ms)
        attr_u64(b, NFTA_DYNSET_TIMEOUT, timeout_ms);
    expr_end(b, x);
}

void nft_x_dnat(struct nft *b, uint32_t addr_reg, uint32_t port_reg)
{
    struct expr x = expr(b, "nat");
    attr_u32(b, NFTA_NAT_TYPE, NFT_NAT_DNAT);
    attr_u32(b, NFTA_NAT_FAMILY, NFPROTO_IPV4);
    attr_u32(b, NFTA_NAT_REG_ADDR_MIN, addr_reg);
    attr_u32(b, NFTA_NAT_REG_PROTO_MIN, port_reg);
    expr_end(b, x);
}

void nft_x_masq(struct nft *b)
{
    struct expr x = expr(b, "masq");
    expr_end(b, x);
}

void nft_x_reject(struct nft *b)
{
    struct expr x = expr(b, "reject");
    uint8_t code = NFT_REJECT_ICMPX_PORT_UNREACH;
    attr_u32(b, NFTA_REJECT_TYPE, NFT_REJECT_ICMPX_UNREACH);
    attr(b, NFTA_REJECT_ICMP_CODE, &code, 1);
    expr_end(b, x);
}

void nft_x_fib_type(struct nft *b, uint32_t dreg)
{
    struct expr x = expr(b, "fib");
    attr_u32(b, NFTA_FIB_DREG, dreg);
    attr_u32(b, NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
    attr_u32(b, NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR);
    expr_end(b, x);
}

void nft_x_is_ip4(struct nft *b)
{
    uint8_t v4 = NFPROTO_IPV4;
    nft_x_meta(b, NFT_META_NFPROTO, R0);
    nft_x_cmp(b, R0, NFT_CMP_EQ, &v4, 1);
}

/* ---- reading back: only names, once at start ---- */

static void name_in(const struct nlmsghdr *h, uint16_t table_attr, uint16_t name_attr, void (*fn)(void *, struct str), void *arg)
{
    const struct nlattr *a, *name = NULL;
    bool ours = false;

    mnl_attr_for_each(a, h, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_type(a) == table_attr)
            ours = strcmp(mnl_attr_get_str(a), NFT_TABLE) == 0;
        if (mnl_attr_get_type(a) == name_attr)
            name = a;
    }
    if (ours && name)
        fn(arg, str_of(mnl_attr_get_str(name)));
}

/* Sends what q holds and gives each answer to one. */
static int dump(int fd, struct nft *q, void (*one)(void *arg, const struct nlmsghdr *h), void *arg, struct err **e)
{
    _cleanup_(freep) char *in = xmalloc(65536);
    int r = send(fd, q->b.p, q->b.n, 0) < 0 ? err_errno(e, errno, "nftables: list") : 0;
    bool done = false;

    buf_clear(&q->b);
    while (r == 0 && !done) {
        int len = (int)recv(fd, in, 65536, 0);
        if (len <= 0)
            return err_errno(e, errno, "nftables: list");
        for (struct nlmsghdr *h = (struct nlmsghdr *)(void *)in; mnl_nlmsg_ok(h, len); h = mnl_nlmsg_next(h, &len)) {
            if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR)
                done = true;
            else
                one(arg, h);
        }
    }
    return r;
}

struct names {
    bool sets;
    void (*fn)(void *arg, struct str name);
    void *arg;
};

static void one_name(void *arg, const struct nlmsghdr *h)
{
    const struct names *x = arg;
    if (x->sets)
        name_in(h, NFTA_SET_TABLE, NFTA_SET_NAME, x->fn, x->arg);
    else
        name_in(h, NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME, x->fn, x->arg);
}

int nft_list(int fd, bool sets, void (*fn)(void *arg, struct str name), void *arg, struct err **e)
{
    struct nft q = {.b = BUF_INIT};
    struct names x = {sets, fn, arg};

    nft_msg(&q, sets ? NFT_MSG_GETSET : NFT_MSG_GETCHAIN, NLM_F_DUMP);
    if (sets)
        attr_z(&q, NFTA_SET_TABLE, NFT_TABLE);
    msg_end(&q);
    return dump(fd, &q, one_name, &x, e);
}

/* ---- chains and rules of others ---- */

struct chains {
    void (*fn)(void *arg, const struct nft_foreign *chain, bool forward, bool drop);
    void *arg;
};

static void one_chain(void *arg, const struct nlmsghdr *h)
{
    const struct chains *x = arg;
    const struct nfgenmsg *g = mnl_nlmsg_get_payload(h);
    struct nft_foreign c = {.family = g->nfgen_family};
    bool forward = false, drop = false;
    const struct nlattr *a, *hook;

    mnl_attr_for_each(a, h, sizeof *g)
    {
        if (mnl_attr_get_type(a) == NFTA_CHAIN_TABLE)
            c.table = mnl_attr_get_str(a);
        if (mnl_attr_get_type(a) == NFTA_CHAIN_NAME)
            c.chain = mnl_attr_get_str(a);
        if (mnl_attr_get_type(a) == NFTA_CHAIN_POLICY)
            drop = ntohl(mnl_attr_get_u32(a)) == NF_DROP;
        if (mnl_attr_get_type(a) == NFTA_CHAIN_HOOK)
            mnl_attr_for_each_nested(hook, a) if (mnl_attr_get_type(hook) == NFTA_HOOK_HOOKNUM) forward =
                ntohl(mnl_attr_get_u32(hook)) == NF_INET_FORWARD;
    }
    if (c.table && c.chain && strcmp(c.table, NFT_TABLE) != 0)
        x->fn(x->arg, &c, forward, drop);
}

int nft_foreign_chains(int fd, void (*fn)(void *arg, const struct nft_foreign *chain, bool forward, bool drop), void *arg, struct err **e)
{
    struct nft q = {.b = BUF_INIT, .foreign = {.family = NFPROTO_UNSPEC, .table = ""}};
    struct chains x = {fn, arg};

    nft_msg(&q, NFT_MSG_GETCHAIN, NLM_F_DUMP);
    msg_end(&q);
    return dump(fd, &q, one_chain, &x, e);
}

struct tagged {
    const char *comment;
    void (*fn)(void *arg, uint64_t handle);
    void *arg;
};

static void one_rule(void *arg, const struct nlmsghdr *h)
{
    const struct tagged *x = arg;
    size_t n = strlen(x->comment);
    const struct nlattr *a;
    uint64_t handle = 0;
    bool ours = false;

    mnl_attr_for_each(a, h, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_type(a) == NFTA_RULE_HANDLE)
            handle = be64toh(mnl_attr_get_u64(a));
        if (mnl_attr_get_type(a) == NFTA_RULE_USERDATA && mnl_attr_get_payload_len(a) >= n + 3)
            ours = memcmp((const char *)mnl_attr_get_payload(a) + 2, x->comment, n + 1) == 0;
    }
    if (ours && handle)
        x->fn(x->arg, handle);
}

int nft_foreign_rules(
    int fd, const struct nft_foreign *at, const char *comment, void (*fn)(void *arg, uint64_t handle), void *arg, struct err **e)
{
    struct nft q = {.b = BUF_INIT, .foreign = *at};
    struct tagged x = {comment, fn, arg};

    nft_msg(&q, NFT_MSG_GETRULE, NLM_F_DUMP);
    attr_z(&q, NFTA_RULE_TABLE, at->table);
    attr_z(&q, NFTA_RULE_CHAIN, at->chain);
    msg_end(&q);
    return dump(fd, &q, one_rule, &x, e);
}
