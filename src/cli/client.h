/* A small client of the local API for machines without kubectl: `sampan get|apply|exec`. Speaks over the server's unix socket, where root is system:masters.
 * Blocking; one call at a time. */
#pragma once
#include "base/buf.h"
#include "cli/flags.h"
#include "http/http.h"
#include "schema/schema.h"

struct client {
    struct loop *loop;
    struct http_client *http;
};
/* Where the socket of the server with this data folder is: run_dir if given, else as the server chooses it. To be freed. */
char *client_run_dir(const char *data_dir, const char *run_dir);
int client_open(struct client *c, const char *run_dir, struct err **e) _must_check_;
void client_close(struct client *c);
struct client_reply { int status; struct buf body; };
/* Any status is a reply; an error is a call that had none. content_type NULL: no body. */
int client_call(struct client *c, const char *method, struct str path, const char *content_type, struct str body, const char *accept, struct client_reply *out, struct err **e) _must_check_;
void client_reply_clear(struct client_reply *r);
/* The message of a Status reply as an error ("Error from server (NotFound): ..."). */
int client_status_error(const struct client_reply *r, struct err **e);
/* "po", "pods", "Pod", "deployments.apps" → resource; NULL: unknown. */
const struct schema_resource *client_resource(const struct schema *s, struct str word);
/* /api/v1/namespaces/ns/pods/name; name may be empty. */
struct str client_path(struct pool *p, const struct schema_resource *r, struct str ns, struct str name);

struct client_options { char *run_dir, *ns, *output, *selector, *file, *raw; bool all; };
extern const struct flag client_flags[];
