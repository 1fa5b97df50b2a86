/* The uplink: the one connection between two tiers. The lower tier always dials: node → cluster, cluster → hub. One protocol and one code, used twice.
 *
 * Layers: TLS (or a unix socket) → HTTP/1.1 upgrade to WebSocket at UPLINK_PATH, subprotocol UPLINK_PROTOCOL → four binary messages that prove both identities (proof.h)
 * → HTTP/2 inside the WebSocket's messages, in which the UPPER side is the client and the LOWER side the server. On it:
 *   - one control stream (extended CONNECT, :protocol "sampan-control"): mirror downwards, acknowledgements and outbox upwards, calls that the lower tier starts, liveness;
 *   - one stream per request that the upper tier proxies down; upgrades (exec, port-forward) as extended CONNECT.
 *
 * Identity: each side has an Ed25519 key. Both sign both hellos (which hold both nonces) and the TLS exporter where there is one. The lower side pins the upper's key at its first
 * join (over TLS that it verified by the token's CA hash) and refuses another later. The upper side knows a lower one by its key; a join presents a token beside it.
 * The token is sent only after the upper side has proved itself.
 *
 * Mirror: the view of the upper store that the lower tier needs, kept on the lower tier's disk (mirror.h). It moves in consistent cuts: upserts and tombstones, then a commit with
 * (store uid, epoch, revision); a cut is applied as a whole or not at all. Resume names the last cut; when the upper side cannot continue from there it asks for the inventory
 * (key, uid, revision of all) and sends what differs. Deletion is always an explicit tombstone.
 * Outbox: the lower tier's reports as API requests (outbox.h), kept on disk until the upper side has answered each.
 *
 * Threads: everything belongs to one loop, on each side. Nothing here blocks but the commit of a cut to the local disk.
 */
#pragma once
#include "base/clock.h"
#include "crypto/key.h"
#include "http/http.h"
#include "uplink/mirror.h"
#include "uplink/outbox.h"

#define UPLINK_PATH "/v1/sampan/uplink"
#define UPLINK_PROTOCOL "sampan.uplink.v1"
#define UPLINK_VERSION 1

/* ================= lower side ================= */

struct uplink;
struct uplink_config {
    struct loop *loop;
    struct clock *clock;             /* corrected by the upper side's time once that is proved */
    struct endpoint endpoint;        /* strings are copied */
    const char *path_prefix;         /* put before UPLINK_PATH; NULL: none */
    struct key *key;                 /* ours, Ed25519 */
    bool through_proxy;              /* a proxy of the operator's ends TLS before the upper side: the proof is then not bound to the TLS session */
    const char *pin_path;            /* file that keeps the upper side's public key; made at the first join */
    struct str view;                 /* "node", "cluster": what the mirror is to hold */
    struct str name;                 /* wanted: the node's name; the upper side may assign another (a cluster's id) */
    struct str token;                /* to join with; absent: only a key that is known already gets in */
    struct str info;                 /* JSON about this tier for the upper side's eyes (version, kubernetes version); <= 16 KiB */
    struct mirror *mirror;           /* NULL: none */
    struct outbox *outbox;           /* NULL: none */
    http_handler *handler;           /* requests from above */
    void *handler_arg;
    int64_t idle_ns, active_ns;      /* liveness bounds; 0: 30 s and 5 s */
    int64_t backoff_max_ns;          /* between two tries, give or take half of it; 0: 30 s, so that a hub's 10,000 come back within a minute and not all at once */
    /* The state changed. connected false: why says it (also for a refused token: code ERR_UNAUTHORIZED or ERR_FORBIDDEN, which are tried again slowly). */
    void (*on_state)(void *arg, bool connected, struct str assigned_name, const struct err *why);
    void *arg;
};
struct uplink *uplink_new(const struct uplink_config *c, struct err **e); /* begins to dial at once; again with back-off and jitter, forever */
void uplink_free(struct uplink *u);
DEFINE_CLEANUP(struct uplink *, uplink_free)
bool uplink_connected(const struct uplink *u);
void uplink_redial(struct uplink *u, const struct endpoint *ep); /* the endpoint changed, or the link is suspect: a new connection at once */

/* A call to the upper side's API as ourselves: token requests, joins of names. Not kept on disk: fails with ERR_UNAVAILABLE when not connected (at once) or when the link goes.
 * done once. cancel with uplink_call_cancel. */
struct uplink_call;
typedef void uplink_reply_fn(void *arg, int status, struct str body, const struct err *e);
struct uplink_call *uplink_call(struct uplink *u, struct str method, struct str path, struct str content_type, struct str body, uplink_reply_fn *done, void *arg);
void uplink_call_cancel(struct uplink_call *k);

/* ================= upper side ================= */

struct uplink_peer;                  /* one lower tier, connected */
struct uplink_who {                  /* what a lower side says of itself; its key is proved when this is shown */
    struct str key_id;               /* HASH_HEX digits */
    struct str public_key;           /* KEY_PUBLIC bytes */
    struct str view, name, token, info;
    struct stream *conn;             /* the connection below: peer address, unix credentials */
};
struct uplink_accept_config {
    struct loop *loop;
    struct clock *clock;
    struct key *key;                 /* the upper tier's identity */
    struct str store_uid;            /* and epoch, for the mirror's resume points */
    int64_t (*epoch)(void *arg);
    /* Who is this, may it in? Answer with uplink_admit or uplink_refuse, now or later. */
    void (*on_hello)(void *arg, struct uplink_peer *p, const struct uplink_who *who);
    void (*on_connected)(void *arg, struct uplink_peer *p);
    /* The lower side wants its mirror continued after this cut. known: the store uid is ours and the epoch not newer than ours. rev 0: it has nothing. Begin to send. */
    void (*on_resume)(void *arg, struct uplink_peer *p, bool known, int64_t epoch, int64_t rev);
    void (*on_inventory)(void *arg, struct uplink_peer *p, const struct mirror_item *items, size_t n); /* answer to uplink_ask_inventory */
    void (*on_ack)(void *arg, struct uplink_peer *p, int64_t rev);
    /* A report from the outbox; answer with uplink_entry_done(seq) when its effect is durable. In order; several may be under way. */
    void (*on_entry)(void *arg, struct uplink_peer *p, const struct outbox_entry *entry);
    /* A call from below; answer with uplink_reply(id). */
    void (*on_call)(void *arg, struct uplink_peer *p, uint64_t id, struct str method, struct str path, struct str content_type, struct str body);
    void (*on_closed)(void *arg, struct uplink_peer *p, const struct err *why); /* once; p is gone afterwards. Also after a refusal */
    void *arg;
};
/* Takes over an upgrade request at UPLINK_PATH. c is copied shallowly (strings and pointers must outlive the peer). */
void uplink_accept(struct http_req *rq, const struct uplink_accept_config *c);
void uplink_admit(struct uplink_peer *p, struct str assigned_name);
void uplink_refuse(struct uplink_peer *p, const struct err *why);
void uplink_close(struct uplink_peer *p, const struct err *why);      /* on_closed comes */
void uplink_peer_set_user(struct uplink_peer *p, void *user);
void *uplink_peer_user(const struct uplink_peer *p);
struct str uplink_peer_name(const struct uplink_peer *p);             /* as admitted */
struct str uplink_peer_key_id(const struct uplink_peer *p);
struct http_client *uplink_peer_client(struct uplink_peer *p);        /* for requests downwards; NULL before on_connected */
int64_t uplink_peer_seen(const struct uplink_peer *p);                /* clock_mono of the last sign of life */
void uplink_peer_probe(struct uplink_peer *p);                        /* before a request goes down a link that was silent for a while: a dead one is found within seconds, not at its next turn */
size_t uplink_peer_queued(const struct uplink_peer *p);               /* bytes on the control stream: the mirror's sender waits above 256 KiB */
void uplink_peer_on_drain(struct uplink_peer *p, void (*fn)(void *arg, struct uplink_peer *p));

/* Mirror downwards. Strings are copied. */
void uplink_upsert(struct uplink_peer *p, struct str key, struct str uid, int64_t rev, struct str bytes);
void uplink_delete(struct uplink_peer *p, struct str key, struct str uid, int64_t rev);
void uplink_commit(struct uplink_peer *p, int64_t rev);               /* what was sent since the last commit is one cut at this revision */
void uplink_ask_inventory(struct uplink_peer *p);
void uplink_entry_done(struct uplink_peer *p, uint64_t seq, int status, struct str message); /* 2xx: accepted; 5xx and 429: kept and tried again; else dropped and told */
void uplink_reply(struct uplink_peer *p, uint64_t id, int status, struct str body);
