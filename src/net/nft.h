/* nftables batches, written straight as netlink (linux/netfilter/nf_tables.h): one growing buffer, one sendmsg, all or nothing. Nothing is
 * read back, so an update costs what it changes, however much stands in the kernel. Everything goes to the table `inet sampan`.
 *
 *     struct nft b; nft_begin(&b);
 *     nft_chain(&b, "s1", NULL);
 *     nft_rule(&b, "s1"); nft_x_payload(&b, NFT_AT_NET, 12, 4, R0); ... nft_rule_end(&b);
 *     r = nft_commit(&b, fd, &e);      (also frees the buffer)
 *
 * Registers are the 32-bit ones: R0 + i. A key of several fields lies in consecutive registers, each field padded to four bytes.
 */
#pragma once
#include <netinet/in.h> /* before linux/netfilter.h, which otherwise brings its own copy */
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include "base/buf.h"
#include "base/err.h"

#define NFT_TABLE "sampan"
#define R0 NFT_REG32_00
enum { NFT_AT_NET = NFT_PAYLOAD_NETWORK_HEADER, NFT_AT_TH = NFT_PAYLOAD_TRANSPORT_HEADER };
/* nft(8)'s numbers of types, so that `nft list` shows sets readably; a concatenation is six bits each */
enum { NFT_T_IP4 = 7, NFT_T_PROTO = 12, NFT_T_PORT = 13, NFT_T_MARK = 19 /* a number in host order */ };
#define NFT_CAT2(a, b) (((a) << 6) | (b))
#define NFT_CAT3(a, b, c) (((a) << 12) | ((b) << 6) | (c))

struct nft_foreign { /* a chain of somebody else's table */
    uint8_t family;
    const char *table, *chain;
};
struct nft {
    struct buf b;
    struct nft_foreign foreign; /* table set: where the message under construction goes, instead of our own */
    uint32_t seq;
    size_t msg, rule_exprs, anon;
};
struct nft_hook {
    uint32_t num;
    int32_t priority;
    const char *type;
};
struct nft_set {
    const char *name;
    uint32_t key_type, key_len;
    bool map, verdicts; /* a map of data, or of verdicts */
    uint32_t data_type, data_len;
    uint64_t timeout_ms; /* dynamic set with time-out; 0: none */
    bool dynamic, interval;
};

int nft_socket(struct err **e);
void nft_begin(struct nft *b);
void nft_clear(struct nft *b);
static inline bool nft_empty(const struct nft *b)
{
    return b->seq <= 1;
} /* nothing but the frame */
/* ERR_IO; *e names the errno. Whatever the batch holds happened whole, or not at all. */
int nft_commit(struct nft *b, int fd, struct err **e) _must_check_;

void nft_table_add(struct nft *b);
void nft_table_del(struct nft *b);
void nft_chain(struct nft *b, const char *name, const struct nft_hook *hook); /* existing is fine */
void nft_chain_flush(struct nft *b, const char *name);
void nft_chain_del(struct nft *b, const char *name);      /* must be empty and unreferenced by then */
void nft_set_add(struct nft *b, const struct nft_set *s); /* existing with the same form is fine */
void nft_set_del(struct nft *b, const char *name);
void nft_set_flush(struct nft *b, const char *name);
/* data: bytes of a map's value; chain: goto verdict of a verdict map. Both NULL: a plain set. */
void nft_elem(struct nft *b, bool add, const char *set, const void *key, size_t nkey, const void *data, size_t ndata, const char *chain);
void nft_elem_end(struct nft *b, const char *set, const void *key, size_t nkey); /* the closing element of an interval */

void nft_rule(struct nft *b, const char *chain);
void nft_rule_end(struct nft *b);
void nft_x_meta(struct nft *b, uint32_t key, uint32_t dreg);
void nft_x_meta_set(struct nft *b, uint32_t key, uint32_t sreg);
void nft_x_payload(struct nft *b, uint32_t base, uint32_t offset, uint32_t len, uint32_t dreg);
void nft_x_ct(struct nft *b, uint32_t key, int dir /* -1: none */, uint32_t dreg);
void nft_x_cmp(struct nft *b, uint32_t sreg, uint32_t op, const void *data, size_t n);
void nft_x_mask(struct nft *b, uint32_t reg, const void *mask, const void *xor_, size_t n); /* reg = (reg & mask) ^ xor */
void nft_x_imm(struct nft *b, uint32_t dreg, const void *data, size_t n);
void nft_x_verdict(struct nft *b, int32_t code, const char *chain);
void nft_x_lookup(struct nft *b, const char *set, uint32_t sreg, int dreg /* -1: none */, bool invert);
void nft_x_numgen(struct nft *b, uint32_t dreg, uint32_t mod);
void nft_x_dynset(struct nft *b, const char *set, uint32_t op, uint32_t skey, int sdata /* -1 */, uint64_t timeout_ms);
void nft_x_dnat(struct nft *b, uint32_t addr_reg, uint32_t port_reg);
void nft_x_masq(struct nft *b);
void nft_x_reject(struct nft *b);
void nft_x_fib_type(struct nft *b, uint32_t dreg); /* type of the destination address: RTN_LOCAL... */
void nft_x_is_ip4(struct nft *b);                  /* nfproto == ipv4, else the rule ends */

/* Reads back the names of all chains, or sets, of the table: fn for each. */
int nft_list(int fd, bool sets, void (*fn)(void *arg, struct str name), void *arg, struct err **e) _must_check_;

/* Somebody else's chains: one rule with a comment put before all others, found again by the comment, deleted by handle. Between
 * nft_rule_first and nft_rule_end stand expressions as usual. */
void nft_rule_first(struct nft *b, const struct nft_foreign *at, const char *comment);
void nft_rule_del(struct nft *b, const struct nft_foreign *at, uint64_t handle);
/* All chains but ours; forward: a base chain at that hook, drop: its policy. chain's strings live for the call. */
int nft_foreign_chains(
    int fd, void (*fn)(void *arg, const struct nft_foreign *chain, bool forward, bool drop), void *arg, struct err **e) _must_check_;
/* Handles of the rules there that bear the comment. */
int nft_foreign_rules(int fd, const struct nft_foreign *at, const char *comment, void (*fn)(void *arg, uint64_t handle), void *arg,
    struct err **e) _must_check_;
