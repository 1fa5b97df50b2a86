/* Both ends of an uplink in one process, with a relay between them that can be cut, made deaf, or limited to so many bytes. */
#pragma once
#include "base/loop.h"
#include "crypto/crypto.h"
#include "uplink/uplink.h"

struct pair {
    struct loop *loop;
    struct clock *clock;
    /* upper */
    struct http_server *server;
    struct key *upper_key;
    char store_uid[64];
    int64_t epoch;
    struct uplink_accept_config accept;
    struct uplink_peer *peer;        /* connected */
    int hellos, connects, closes;
    char *closed_why;
    struct str tokens[4];            /* good for one join each; emptied by use */
    char known[4][HASH_HEX + 1];     /* key ids that may come without a token */
    char seen_token[64], seen_name[64], seen_view[16], seen_info[64], seen_key[HASH_HEX + 1];
    bool hold_hello;                 /* on_hello does not answer */
    struct uplink_peer *asked;
    bool resume_known;
    int resumes, inventories;
    int64_t resume_epoch, resume_rev, acked;
    size_t inventory_items;
    void (*on_resumed)(struct pair *p);
    void (*on_entry)(struct pair *p, const struct outbox_entry *x);
    struct buf entries;              /* "path=body;" of each */
    int entry_status;
    struct buf calls;
    bool hold_calls;
    uint64_t held_call;
    /* lower */
    struct uplink_config config;
    struct uplink *up;
    struct key *lower_key;
    int ups, downs;
    char assigned[64];
    enum err_code down_code;
    char *down_why;
    struct buf requests;
    /* relay */
    char upper_path[200], relay_path[200], pin_path[200];
    struct watch relay;
    int relay_fd;
    struct link *links[16];
    bool deaf;                       /* bytes are swallowed */
    int64_t budget;                  /* bytes until the next cut; 0: no limit */
    int cuts;
};
void pair_open(struct pair *p);
void pair_start(struct pair *p);     /* makes the lower side from p->config */
void pair_close(struct pair *p);
void pair_cut(struct pair *p);       /* every link, at once */
void pair_step(struct pair *p, int ms);
bool pair_until(struct pair *p, bool (*is)(struct pair *p), int ms);
bool pair_connected(struct pair *p);
bool pair_down(struct pair *p);      /* on_state(false) was heard */
