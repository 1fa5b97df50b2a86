/* The hub's view of this site: rows of listed columns (sight_rows.h) of nodes, namespaces, pods, workloads and warnings, followed at the site's own API and handed up as what has changed.
 * Nothing else of an object leaves: no env, no args, no annotations. Inside the room.
 *
 *   at the site    each kind is listed in pages, then watched; a row is kept per object, which is a name and some hundred bytes
 *   upwards        POST /view calls on the control stream (uplink.h), one at a time, at most one every FLUSH_EVERY, only when something has changed:
 *                    {"resume": s}                                      do you still have what was sent in session s? 200: yes; 404: send all
 *                    {"session": s, "rows": [[kind, ns, name, [cells]]...], "gone": [[kind, ns, name]...], "end": bool}
 *                    {"off": true}                                      the site's grant says view: "false": forget all rows
 *                  A session begins with all rows; "end" closes that, and the hub drops what it had of older ones. Only then are names gone by their absence, and only then.
 */
#pragma once
#include "base/clock.h"
#include "gate/kube.h"
#include "uplink/uplink.h"

struct sight;
struct sight *sight_open(struct loop *l, struct kube *kube);
void sight_close(struct sight *v);
void sight_allow(struct sight *v, bool allowed);          /* the grant's word; false until told */
void sight_connected(struct sight *v, struct uplink *u);  /* NULL: the link has gone */
