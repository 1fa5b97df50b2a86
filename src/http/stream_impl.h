/* The inside of struct stream, for those who make a new kind of it (fd, TLS, HTTP/2 stream, WebSocket tunnel); users include http/stream.h only.
 *
 * The maker embeds struct stream first, calls stream_init, and reports through stream_in*. The core keeps what arrives before somebody listens or
 * while the stream is paused, keeps order (data, end of input, close) and decides when memory goes:
 *
 *     open ──stream_close/abort──▶ forgotten ──(maker flushes)──stream_in_close──▶ freed in the loop
 *       └───stream_in_close──▶ finished ──on_close told──▶ freed in the loop
 *
 * impl->free is called from a turn of its own, never below a callback; so a maker may look at its own fields after any stream_in* call.
 */
#pragma once
#include "base/buf.h"
#include "http/stream.h"

struct stream_impl {
    void (*write)(struct stream *s, struct bytes *b, size_t from, size_t n); /* takes its own reference */
    void (*copy)(struct stream *s, const void *p, size_t n);
    void (*shutdown)(struct stream *s);
    void (*pause)(struct stream *s, bool paused);   /* stop or go on calling stream_in; also called when a listener comes */
    void (*close)(struct stream *s, bool abort);    /* flush unless abort, then stream_in_close */
    size_t (*queued)(const struct stream *s);
    void (*free)(struct stream *s);                 /* frees the embedding object; calls stream_fini */
    void (*consumed)(struct stream *s, size_t n);   /* the listener took n bytes of stream_in; may be NULL */
    struct stream *(*below)(const struct stream *s); /* for fd, peer and TLS facts; may be NULL */
    int (*fd)(const struct stream *s);              /* may be NULL */
    void *(*ssl)(const struct stream *s);           /* the OpenSSL session; may be NULL */
};

struct stream {
    const struct stream_impl *impl;
    struct loop *loop;
    const struct stream_events *ev;
    void *arg;
    struct buf early;  /* arrived while nobody listened or while paused */
    struct err *why;
    struct defer later;
    char *peer;        /* made when asked for */
    bool paused, forgotten, finished, eof, eof_told, high;
};

#define STREAM_LOW_WATER (64u << 10)

void stream_init(struct stream *s, struct loop *l, const struct stream_impl *impl);
void stream_fini(struct stream *s);
void stream_in(struct stream *s, const char *p, size_t n);
void stream_in_eof(struct stream *s);
void stream_in_close(struct stream *s, struct err *why); /* takes why; once; the maker's transport is gone */
void stream_in_drain(struct stream *s);                  /* the queue got shorter */
void stream_unread(struct stream *s, const char *p, size_t n); /* a listener hands back what it did not understand, for the next one */
static inline bool stream_wants(const struct stream *s) { return s->ev && !s->paused && !s->forgotten; }
