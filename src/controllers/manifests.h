/* The auto-deploy folder, as K3s has it: manifests.c knows which files there are, manifests_read.c what stands in one, manifests_apply.c
 * brings that into the cluster. Inside the room; manifests*.c only.
 *
 * Every file has an Addon (k3s.cattle.io/v1) in kube-system. Its status lists the objects that came from the file: written before the first
 * of them is applied, so that whoever is killed in between leaves a list that is too long rather than too short. An object is pruned when
 * its file no longer has it, and only if it carries the annotations that we put on what we apply: a forged list can delete nothing else.
 */
#pragma once
#include "controllers/ctl.h"
#include "crypto/hash.h"

#define MANIFEST_NS "kube-system"
#define MANIFEST_OWNER "objectset.rio.cattle.io/owner-name"
enum { MANIFEST_BYTES = 4 << 20, MANIFEST_OBJECTS = 2000 };

struct manifest {
    char *path; /* below the folder */
    char *name; /* of its Addon */
    int64_t mtime, size;
    uint64_t ino;
    bool here;                  /* the last look found it, neither skipped nor disabled */
    bool seen;                  /* during a look */
    bool skipped;               /* a .skip stands beside it: neither applied nor pruned */
    bool asked;                 /* somebody who may read it was asked to open it */
    int fd;                     /* what came of that; -1: nothing */
    unsigned tries;             /* failed in a row */
    char applied[HASH_HEX + 1]; /* the contents that stand in the cluster, as far as this process knows */
};
struct manifests {
    struct ctl *ctl;
    const char *dir;
    struct map files; /* Addon's name to struct manifest */
    bool blind;       /* the folder cannot be read: nothing is pruned */
    int inotify;
    struct watch watch;
    struct timer quiet;
    int64_t stirred;    /* since when changes keep coming; 0: quiet */
    struct map writing; /* "watch/name" of files that were written to and not closed yet */
};

/* The file's objects: lists are taken apart, what comes first in a cluster stands first (namespaces, definitions), what an export carries
 * and nobody can apply is removed. ERR_PARSE, ERR_LIMIT, ERR_INVALID: nothing of the file is to be used. */
int manifest_parse(struct pool *p, struct str text, struct json ***docs, size_t *n, struct err **e) _must_check_;
/* Brings the file into the cluster, or takes out what an earlier one brought. */
int manifest_deploy(struct sync *s, struct manifests *m, struct manifest *f, const struct obj *addon, struct err **e) _must_check_;
int manifest_withdraw(struct sync *s, const struct obj *addon, struct err **e) _must_check_;
