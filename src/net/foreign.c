/* Firewalls of others that would drop what pods send through this node: Docker sets the policy of the FORWARD chain to drop, firewalld
 * rejects at the end of its own. A drop there cannot be undone from another table, so two rules go first in that chain, with the comment
 * "sampan": what comes from the pods' bridge and what goes to it is accepted. Nothing else of theirs is touched, and net_uninstall takes
 * these away. */
#include <stdlib.h>
#include "net/impl.h"

#define COMMENT "sampan"
#define FOUND_MAX 8

struct found {
    char *table, *chain;
    uint8_t family;
    bool drops, firewalld;
    uint64_t handles[16];
    size_t nhandles;
};
struct search {
    struct found v[FOUND_MAX];
    size_t n;
    bool docker[256]; /* by family: a chain DOCKER in table filter */
};

static void on_chain(void *arg, const struct nft_foreign *c, bool forward, bool drop)
{
    struct search *s = arg;
    bool filter = strcmp(c->table, "filter") == 0,
         firewalld = strcmp(c->table, "firewalld") == 0 && strcmp(c->chain, "filter_FORWARD") == 0;

    if (filter && (strcmp(c->chain, "DOCKER-USER") == 0 || strcmp(c->chain, "DOCKER") == 0))
        s->docker[c->family] = true;
    if (!(filter && forward) && !firewalld)
        return;
    if (s->n == FOUND_MAX || c->family == NFPROTO_IPV6)
        return;
    s->v[s->n++] =
        (struct found){.table = xstrdup(c->table), .chain = xstrdup(c->chain), .family = c->family, .drops = drop, .firewalld = firewalld};
}

static void on_rule(void *arg, uint64_t handle)
{
    struct found *f = arg;
    if (f->nhandles < ARRAY_LEN(f->handles))
        f->handles[f->nhandles++] = handle;
}

static int look(struct net *n, struct search *s, struct err **e)
{
    int r = nft_foreign_chains(n->nft, on_chain, s, e);

    for (size_t i = 0; i < s->n && r == 0; i++) {
        struct nft_foreign at = {s->v[i].family, s->v[i].table, s->v[i].chain};
        r = nft_foreign_rules(n->nft, &at, COMMENT, on_rule, &s->v[i], e);
    }
    return r;
}

static void search_clear(struct search *s)
{
    for (size_t i = 0; i < s->n; i++) {
        free(s->v[i].table);
        free(s->v[i].chain);
    }
}

static void accept_all(struct nft *b, const struct nft_foreign *at)
{
    const uint32_t keys[] = {NFT_META_IIFNAME, NFT_META_OIFNAME};
    char bridge[16] = NET_BRIDGE;

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        nft_rule_first(b, at, COMMENT);
        nft_x_meta(b, keys[i], NFT_REG_1);
        nft_x_cmp(b, NFT_REG_1, NFT_CMP_EQ, bridge, sizeof bridge);
        nft_x_verdict(b, NF_ACCEPT, NULL);
        nft_rule_end(b);
    }
}

int net_foreign(struct net *n, bool accept, struct err **e)
{
    struct search s = {0};
    struct nft b;
    int r = look(n, &s, e);

    nft_begin(&b);
    for (size_t i = 0; i < s.n && r == 0; i++) {
        struct found *f = &s.v[i];
        struct nft_foreign at = {f->family, f->table, f->chain};
        bool wanted = accept && (f->firewalld || (f->drops && s.docker[f->family]));
        if (wanted && f->nhandles == 2)
            continue;
        for (size_t k = 0; k < f->nhandles; k++)
            nft_rule_del(&b, &at, f->handles[k]);
        if (wanted)
            accept_all(&b, &at);
    }
    r = r == 0 ? nft_commit(&b, n->nft, e) : (nft_clear(&b), r);
    search_clear(&s);
    return r < 0 ? err_wrap(e, "accept in another firewall's forward chain") : 0;
}
