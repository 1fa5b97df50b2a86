/* A gate as seen from above, with the real protocol on both sides: requests come over HTTP/2 on a socket pair (as through the uplink), and
 * at the other end of the wire to node sits a small node that runs real local processes and opens real files. */
#pragma once
#include "gate/impl.h"

struct above {
    struct gate gate;
    struct gpod pod;
    struct node_pod_state state;
    struct node_container_state con;
    struct http_server *server;
    struct http_client *client;
    /* node */
    struct wire *node;
    struct list procs;
    char files[3][256]; /* what NODE_LOG opens, oldest first */
    size_t nfiles;
    int logs_asked, connects, resizes;
    unsigned width, height;
    uint16_t port;        /* NODE_CONNECT goes to this one on 127.0.0.1 */
    enum err_code refuse; /* every request */
    int attach_fd;        /* what NODE_ATTACH hands over; -1 */
    uint64_t attach_id;
    bool detached;
    struct node_stats *stats;
};
void above_open(struct above *a);
void above_close(struct above *a);
bool above_until(struct above *a, bool *flag, int ms);
void above_wait(struct above *a, int ms);

struct answer { /* of a plain request */
    struct above *above;
    struct http_call *call;
    int status;
    struct buf body;
    bool ended, failed;
};
void above_get(struct above *a, struct answer *x, const char *path);         /* starts it */
struct str above_fetch(struct above *a, struct answer *x, const char *path); /* to its end */
void answer_clear(struct answer *x);

struct talk { /* a WebSocket session, as kubectl's */
    struct above *above;
    struct ws *ws;
    char protocol[40];
    struct buf out, err, status, refused;
    bool opened, closed, slow;
    int code;
};
void talk_open(struct above *a, struct talk *t, const char *path, const char *protocol);
void talk_say(struct talk *t, char channel, const char *text);
void talk_clear(struct talk *t);
