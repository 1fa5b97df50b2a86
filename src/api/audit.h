/* The audit log: one line of JSON (audit.k8s.io/v1 Event) per stage of a request that the policy wants to know of, in the file that
 * --audit-log-path names. Inside the room, but for audit_policy_parse.
 *
 * The policy is Kubernetes' (audit.k8s.io/v1 Policy, YAML or JSON): the first rule that fits a request says how much is written: nothing,
 * Metadata, Request (with the object sent), RequestResponse (with the answer too); no rule: nothing. Stages are RequestReceived,
 * ResponseStarted (what lasts: watches, and connections that are handed over, whose end is not written) and ResponseComplete. A line
 * about an answer is written when the answer passed the door, so it never tells of what a power cut took back.
 *
 * Requests from the network are written; what controllers do inside the process, and what nodes hand in over their uplinks, is not.
 * Threads: any I/O loop; writing takes a lock. A log that cannot be written is told once a minute; requests go on.
 */
#pragma once
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

struct call;
struct audit;
struct audit_policy;

enum audit_level { AUDIT_NONE, AUDIT_METADATA, AUDIT_REQUEST, AUDIT_RESPONSE };
enum audit_stage { AUDIT_RECEIVED = 1, AUDIT_STARTED = 2, AUDIT_COMPLETE = 4, AUDIT_PANIC = 8 };

struct audit_entry { /* of one call, in its pool */
    enum audit_level level;
    unsigned omit; /* stages */
    bool omit_managed;
    bool denied;          /* by the authorizer */
    struct str id;        /* a UUID, or the client's Audit-ID */
    int64_t received;     /* clock_now */
    struct str object;    /* what was sent, as JSON */
};

/* What a rule looks at. */
struct audit_subject {
    struct str user, verb, group, resource, subresource, ns, name, path;
    const struct str *groups;
    size_t ngroups;
    bool is_resource;
};

int audit_policy_parse(struct str text, struct audit_policy **out, struct err **e) _must_check_; /* ERR_USAGE names the field */
void audit_policy_free(struct audit_policy *p);
enum audit_level audit_policy_find(const struct audit_policy *p, const struct audit_subject *s, unsigned *omit, bool *omit_managed);

struct audit_config {
    struct str policy;                 /* its text */
    const char *path;                  /* the log; a folder that this process may write in */
    unsigned max_mb, backups, max_days; /* when the file is put aside (0: 100), how many such are kept and how long (0: all) */
};
int audit_open(const struct audit_config *c, struct clock *clock, struct audit **out, struct err **e) _must_check_;
void audit_free(struct audit *a);
void audit_begin(struct call *c);  /* the user is known, or could not be told: finds the rule, writes RequestReceived */
void audit_object(struct call *c); /* the body was decoded */
/* code 0: not known. body: the answer as JSON, or empty. */
void audit_write(struct call *c, enum audit_stage stage, int code, struct str body);
