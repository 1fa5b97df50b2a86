/* Images for pods: what is here, what has to be pulled, and what a container waits for meanwhile. Inside the room.
 *
 * A want is one container of one pod and the image that its spec names. Several wants of one image with the same credentials share one
 * pull:
 *
 *                  ┌──────────────────────── the time is up ◀── BACKOFF ◀── 3 s ── FAILED
 *                  ▼                                                                ▲ ▲ ▲
 *     (new) ──▶ ASKING ── manifest ──▶ FETCHING ── blobs are whole ──▶ HANDING ─────┼─┘ │
 *                  │                      └─────────────────────────────────────────┘   │
 *                  └── the image is here already, by its digest ──▶ (done)  ◀── HANDING ── error
 *
 * Pull policies are the kubelet's: Always asks the registry for the digest and fails when it cannot be asked; but a container that ran
 * before on this node (its status says so) does not ask again, so that a node without a link starts what it ran. The back-off is 10 s,
 * doubled up to 5 min; another pod that wants the image starts a try at once.
 *
 * On disk: <state_dir>/pull is one OCI layout (oci-layout, index.json, blobs/sha256/...) for all pulls under way; the node side is given
 * that folder and the digest to begin at. Files stay in the folder that they were made in, since Landlock lets nothing be moved to another.
 * What an image had is removed when it was imported; what nobody asks for goes after a day.
 */
#pragma once
#include "gate/impl.h"

struct image_want;
/* Fills c->image, or leaves it empty with c->waiting_reason and _message. c->name and c->image_ref are set. */
void pulls_image(struct gpod *gp, struct pool *p, struct str policy, struct node_container *c);
#define PULL_VOLUME "volume/" /* begins c->name when it is not a container, but a volume that is an image */
void pulls_forget(struct gpod *gp); /* the pod is gone */

void pulls_config(
    struct gate *g, const char *path); /* reads registries.yaml: before rights are given up. A faulty one is told by every pull */
int pulls_open(struct gate *g, struct err **e) _must_check_;
void pulls_close(struct gate *g); /* after all pods were freed */
