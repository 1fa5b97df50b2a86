/* Shared by pull.c (wants, states, events) and pull_try.c (one attempt). */
#pragma once
#include "gate/pull.h"
#include "gate/pull_blob.h"
#include "gate/registry_manifest.h"

#define PULL_BLOBS_AT_ONCE 3

enum pull_state { PULL_ASKING, PULL_FETCHING, PULL_HANDING, PULL_FAILED, PULL_BACKOFF };

struct pull_item {
    struct pull *pull;
    struct registry_blob blob;
    struct blob_fetch *fetch;
    bool done;
};

struct pull {
    struct pulls *ps;
    struct list node; /* in ps->all */
    char *key;
    struct pool *pool;
    struct registry_image image;
    struct registry_creds creds;
    struct list wants;
    enum pull_state state;
    unsigned fails;
    char *why;            /* of the last attempt that failed */
    int64_t asked, ended; /* mono ns: when the attempt began; when the last one failed */
    struct timer timer;
    /* of one attempt */
    struct pool *tries;
    struct registry_session *session;
    struct registry_get *get;
    struct buf body;
    struct err *bad;
    struct str told, root, expected; /* digests: the registry's header; of the first document; that the next one must have */
    int depth;
    struct str *documents;
    size_t ndocuments; /* digests of the manifest and its index */
    struct pull_item *items;
    size_t nitems;
    int64_t size;   /* config and layers, as they come */
    uint64_t reply; /* id of the hand-over; 0: none */
};

struct pulls {
    struct gate *gate;
    struct registries *registries;
    struct err *config_bad;
    char *dir, *blobs;
    struct list all;
    unsigned fetching;
};

/* pull_try.c */
void try_start(struct pull *pl);
void try_stop(struct pull *pl);       /* lets go of everything; parts stay on disk. Not from within a connection's callback */
void try_drop_blobs(struct pull *pl); /* what only this pull needs */
void try_pump(struct pulls *ps);      /* starts blobs while there is room */
void try_sweep(struct pulls *ps);

/* pull.c */
void pull_moved(struct pull *pl, enum pull_state to);
void pull_failed(struct pull *pl, const struct err *e);
void pull_done(struct pull *pl, const struct node_image *im, int64_t size);
