/* What the tests of this room share: a loop, a server behind a socket pair, and a raw peer that sends and reads bytes. */
#pragma once
#include "base/buf.h"
#include "base/loop.h"
#include "http/http.h"

struct rig {
    struct loop *loop;
    struct http_server *server;
    int fd;              /* the raw peer; -1: closed */
    struct buf got;      /* all that it has read */
    bool closed;         /* the server closed */
    struct http_req *held;
    int closes, conn_closes;
    struct buf body;
    struct stream *upgraded;
};
void rig_open(struct rig *r, const struct http_limits *limits, http_handler *fn);
void rig_open_stream(struct rig *r, http_handler *fn, struct stream **out); /* a stream instead of a raw peer */
void rig_close(struct rig *r);
void rig_connect(struct rig *r);
void rig_put(struct rig *r, struct str s);
void rig_step(struct rig *r);                 /* until nothing moves for a moment */
void rig_wait(struct rig *r, bool (*until)(struct rig *r), int ms);
bool rig_run(struct loop *l, bool *flag, int ms); /* until *flag */
struct str rig_talk(struct rig *r, const char *request); /* sends, steps, all output so far */
void rig_handler(struct http_req *rq, void *arg); /* /hello /echo /stream /hold /big /head /up /unread */
bool has(struct str s, const char *part);
#define HAS(s, part)                                                                                             \
    do {                                                                                                         \
        struct str has_s_ = (s);                                                                                 \
        if (!has(has_s_, part))                                                                                  \
            test_fail(__FILE__, __LINE__, "no \"%s\" in\n# \"%.*s\"", part, STR_ARG(has_s_));                    \
    } while (0)
