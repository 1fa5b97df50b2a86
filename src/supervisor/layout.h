/* Where everything lies on disk, and to whom it belongs. Made by the supervisor as root, before it starts anybody.
 *
 *     <data-dir>/                  root 0755
 *       supervisor.lock            one supervisor per folder
 *       clock                      floor of the site clock
 *       server/                    root:<user> 0750
 *         db/ tls/                 <user> 0700   the store; CA and keys
 *         token node-token agent-token   root 0600
 *         manifests/               root 0755     (the auto-deploy folder)
 *       agent/                     root 0755
 *         gate/                    <user> 0700   the node's key, mirror, outbox, blobs under way
 *         node/                    root 0700     runtime state, pods' volumes
 *         images/                  root 0755     air-gap archives
 *     <run-dir>/                   root 0755     api.sock (<user> and root only), sockets, mounts
 */
#pragma once
#include <sys/types.h>
#include "supervisor/broker.h"
#include "supervisor/options.h"

struct layout {
    char *data, *run, *server, *db, *tls, *agent, *gate, *node, *images, *manifests, *api_socket, *clock;
    char *token, *agent_token;   /* the passwords alone; server only */
    uid_t uid;
    gid_t gid;
    int lock_fd;
};

/* Makes what is missing, takes the lock and reads or makes the tokens. ERR_EXISTS: another supervisor runs on this folder. */
int layout_make(struct layout *l, const struct options *o, struct err **e) _must_check_;
int layout_own_socket(struct layout *l, struct err **e) _must_check_;
/* Writes kubeconfig and token files once the API has told its CA. */
int layout_write_access(struct layout *l, const struct options *o, const struct broker_ready *m, struct err **e) _must_check_;
/* Opens a file of the manifests folder for reading, for those who may not: a regular file, reached without links, or a negative error. */
int layout_open_manifest(struct layout *l, struct str path, struct err **e) _must_check_;
void layout_clear(struct layout *l);
/* "K10<hash>::user:password" or "user:password" or "password" → the password; the hash, if there, in *ca_hash. ERR_USAGE when malformed. */
int token_parse(struct str token, struct str *ca_hash, struct str *password, struct err **e) _must_check_;
