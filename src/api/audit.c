#include "api/audit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/impl.h"
#include "base/file.h"
#include "base/log.h"

#define OBJECT_MAX (1 << 20) /* bigger bodies and answers stay out of the log */
#define OTHERS_MAX 1024      /* old logs that are looked at */

struct audit {
    struct clock *clock;
    struct audit_policy *policy;
    pthread_mutex_t lock;
    char *path;
    int fd;
    int64_t limit, max_age, complained;
    unsigned backups;
};

static int reopen(struct audit *a, struct err **e)
{
    if (a->fd >= 0)
        close(a->fd);
    a->fd = open(a->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (a->fd < 0)
        return err_errno(e, errno, "--audit-log-path: %s", a->path);
    return 0;
}

int audit_open(const struct audit_config *c, struct clock *clock, struct audit **out, struct err **e)
{
    struct audit *a = xcalloc(1, sizeof *a);
    a->clock = clock;
    a->fd = -1;
    pthread_mutex_init(&a->lock, NULL);
    a->path = xstrdup(c->path);
    a->limit = (int64_t)(c->max_mb ? c->max_mb : 100) << 20;
    a->backups = c->backups;
    a->max_age = (int64_t)c->max_days * 24 * 3600 * NS_PER_S;
    if (audit_policy_parse(c->policy, &a->policy, e) < 0 || reopen(a, e) < 0) {
        audit_free(a);
        return -(int)(*e)->code;
    }
    *out = a;
    return 0;
}

void audit_free(struct audit *a)
{
    if (!a)
        return;
    audit_policy_free(a->policy);
    if (a->fd >= 0)
        close(a->fd);
    pthread_mutex_destroy(&a->lock);
    free(a->path);
    free(a);
}

/* ---- the file: <name>.log, put aside as <name>-2026-01-02T03-04-05.000.log ---- */

static struct str stem(const char *path, struct str *ending)
{
    ssize_t slash = str_rchr(str_of(path), '/');
    struct str name = str_sub(str_of(path), (size_t)(slash + 1), strlen(path));
    ssize_t dot = str_rchr(name, '.');
    *ending = dot >= 0 ? str_sub(name, (size_t)dot, name.n) : STR("");
    return dot >= 0 ? str_sub(name, 0, (size_t)dot) : name;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)b, *(char *const *)a); /* the newest first: the name is the time */
}

/* Old logs go when there are too many of them, or when they are too old. */
static void sweep(struct audit *a, const char *folder)
{
    char *found[OTHERS_MAX];
    size_t n = 0;
    struct str end, base = stem(a->path, &end);
    DIR *d = opendir(folder);
    struct stat st;
    for (struct dirent *x; d && (x = readdir(d)) && n < OTHERS_MAX;) {
        struct str name = str_of(x->d_name);
        if (name.n == base.n + 24 + end.n && str_starts(name, base) && name.p[base.n] == '-' && str_ends(name, end))
            found[n++] = xasprintf("%s/%s", folder, x->d_name);
    }
    if (d)
        closedir(d);
    qsort(found, n, sizeof *found, by_name);
    for (size_t i = 0; i < n; i++) {
        bool old = a->max_age && stat(found[i], &st) == 0 && clock_now(a->clock) - (int64_t)st.st_mtime * NS_PER_S > a->max_age;
        if ((a->backups && i >= a->backups) || old)
            (void)unlink(found[i]);
        free(found[i]);
    }
}

static void put_aside(struct audit *a)
{
    char now[TIME_MAX];
    struct err *e = NULL;
    struct str end, base = stem(a->path, &end), t = time_format_micro(clock_now(a->clock), now);
    _cleanup_(freep) char *copy = xstrdup(a->path);
    const char *folder = dirname(copy);
    for (char *q = now; *q; q++)
        if (*q == ':')
            *q = '-';
    _cleanup_(freep) char *to = xasprintf("%s/%.*s-%.*s%.*s", folder, STR_ARG(base), 23, t.p, STR_ARG(end));
    if (rename(a->path, to) < 0 || reopen(a, &e) < 0)
        log_warn("the audit log was not put aside: %s", e ? err_msg(e) : strerror(errno));
    err_free(e);
    sweep(a, folder);
}

static void put_line(struct audit *a, struct str line)
{
    pthread_mutex_lock(&a->lock);
    struct stat st;
    if (a->fd >= 0 && fstat(a->fd, &st) == 0 && st.st_size && (int64_t)st.st_size + (int64_t)line.n > a->limit)
        put_aside(a);
    ssize_t n = a->fd >= 0 ? write(a->fd, line.p, line.n) : -1;
    int why = errno;
    int64_t now = clock_mono(a->clock);
    bool tell = n != (ssize_t)line.n && (!a->complained || now - a->complained > 60 * NS_PER_S);
    if (tell)
        a->complained = now;
    pthread_mutex_unlock(&a->lock);
    if (tell)
        log_warn("the audit log cannot be written: %s", n < 0 ? strerror(why) : "a line was cut short");
}

/* ---- events ---- */

static struct str verb_of(const struct call *c)
{
    return c->ri.resource ? str_of(verb_name(c->ri.verb)) : c->ri.http_verb;
}

void audit_begin(struct call *c)
{
    struct audit *a = c->api->audit;
    if (!a || !c->rq || c->in || c->sink || c->audit)
        return;
    const struct request_info *ri = &c->ri;
    struct audit_subject s = {.user = c->user ? c->user->name : STR(""),
        .verb = verb_of(c),
        .group = ri->group,
        .resource = ri->res,
        .subresource = ri->sub,
        .ns = ri->ns,
        .name = ri->name,
        .path = ri->path,
        .is_resource = ri->resource};
    if (c->user)
        s.groups = c->user->groups, s.ngroups = c->user->ngroups;
    struct audit_entry x = {.received = clock_now(a->clock)};
    x.level = audit_policy_find(a->policy, &s, &x.omit, &x.omit_managed);
    if (x.level == AUDIT_NONE)
        return;
    struct str given = http_header(c->rq, STR("audit-id"));
    char id[UUID_LEN + 1];
    if (str_empty(given) || given.n > 64) {
        random_uuid(id);
        given = str_of(id);
    }
    x.id = pool_str(c->pool, given);
    c->audit = pool_new_of(c->pool, struct audit_entry);
    *c->audit = x;
    audit_write(c, AUDIT_RECEIVED, 0, STR_NULL);
    call_header(c, "audit-id", x.id);
}

static void drop_managed(struct json *doc)
{
    json_del(json_get(doc, STR("metadata")), STR("managedFields"));
    json_for (json_get(doc, STR("items")), it)
        json_del(json_get(it, STR("metadata")), STR("managedFields"));
}

void audit_object(struct call *c)
{
    struct audit_entry *x = c->audit;
    if (!x || x->level < AUDIT_REQUEST || x->object.n)
        return;
    struct json *doc = NULL;
    if (c->doc)
        doc = json_clone(c->pool, c->doc);
    else if (str_empty(c->body) || c->body.n > OBJECT_MAX || json_parse(c->pool, c->body, NULL, &doc, NULL) < 0)
        return;
    if (x->omit_managed)
        drop_managed(doc);
    x->object = json_to_pool(c->pool, doc);
    if (x->object.n > OBJECT_MAX)
        x->object = STR_NULL;
}

static struct str strip_port(struct str peer)
{
    ssize_t colon = str_rchr(peer, ':');
    struct str ip = colon > 0 ? str_sub(peer, 0, (size_t)colon) : peer;
    return ip.n > 2 && ip.p[0] == '[' ? str_sub(ip, 1, ip.n - 1) : ip;
}

static void put_ref(struct call *c, struct json *o)
{
    const struct request_info *ri = &c->ri;
    struct {
        const char *key;
        struct str value;
    } rows[] = {{"resource", ri->res}, {"namespace", ri->ns}, {"name", ri->name}, {"apiGroup", ri->group}, {"apiVersion", ri->version},
        {"subresource", ri->sub}};
    if (!ri->resource)
        return;
    struct json *ref = json_put_obj(c->pool, o, STR("objectRef"));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (!str_empty(rows[i].value))
            json_set_str(c->pool, ref, str_of(rows[i].key), rows[i].value);
}

static void put_response(struct call *c, struct json *o, int code, struct str body)
{
    struct pool *p = c->pool;
    struct json *status = json_put_obj(p, o, STR("responseStatus")), *doc = NULL;
    json_put_obj(p, status, STR("metadata"));
    if (c->err && c->err->message) {
        json_set_str(p, status, STR("status"), STR("Failure"));
        json_set_str(p, status, STR("message"), str_of(c->err->message));
        json_set_str(p, status, STR("reason"), str_of(err_reason(c->err->code)));
    }
    json_set_int(p, status, STR("code"), code);
    if (c->audit->level < AUDIT_RESPONSE || str_empty(body) || body.n > OBJECT_MAX || json_parse(p, body, NULL, &doc, NULL) < 0)
        return;
    if (c->audit->omit_managed)
        drop_managed(doc);
    json_set(p, o, STR("responseObject"), doc);
}

static void put_times(struct call *c, struct json *o)
{
    char text[TIME_MAX];
    json_set_str(c->pool, o, STR("requestReceivedTimestamp"), pool_str(c->pool, time_format_micro(c->audit->received, text)));
    json_set_str(c->pool, o, STR("stageTimestamp"), pool_str(c->pool, time_format_micro(clock_now(c->api->clock), text)));
}

static void put_who(struct call *c, struct json *o)
{
    struct pool *p = c->pool;
    const struct api_user *caller = c->caller ? c->caller : c->user;
    json_set(p, o, STR("user"), caller ? user_json(p, caller) : json_obj(p));
    if (c->caller && c->user && c->caller != c->user)
        json_set(p, o, STR("impersonatedUser"), user_json(p, c->user));
    json_append(json_put_arr(p, o, STR("sourceIPs")), json_str(p, strip_port(call_remote(c))));
    struct str agent = http_header(c->rq, STR("user-agent"));
    if (!str_empty(agent))
        json_set_str(p, o, STR("userAgent"), str_sub(agent, 0, MIN(agent.n, (size_t)1024)));
}

void audit_write(struct call *c, enum audit_stage stage, int code, struct str body)
{
    static const char *const levels[] = {"None", "Metadata", "Request", "RequestResponse"};
    struct audit_entry *x = c->audit;
    if (!x || (x->omit & stage) || !c->rq)
        return;
    struct pool *p = c->pool;
    struct json *o = json_obj(p), *doc = NULL;
    json_set_str(p, o, STR("kind"), STR("Event"));
    json_set_str(p, o, STR("apiVersion"), STR("audit.k8s.io/v1"));
    json_set_str(p, o, STR("level"), str_of(levels[x->level]));
    json_set_str(p, o, STR("auditID"), x->id);
    json_set_str(p, o, STR("stage"),
        stage == AUDIT_RECEIVED  ? STR("RequestReceived")
        : stage == AUDIT_STARTED ? STR("ResponseStarted")
                                 : STR("ResponseComplete"));
    struct str q = c->rq->query;
    json_set_str(p, o, STR("requestURI"), pool_printf(p, "%.*s%s%.*s", STR_ARG(c->rq->path), q.n ? "?" : "", STR_ARG(q)));
    json_set_str(p, o, STR("verb"), verb_of(c));
    put_who(c, o);
    put_ref(c, o);
    if (code)
        put_response(c, o, code, body);
    if (x->object.n && stage != AUDIT_RECEIVED && json_parse(p, x->object, NULL, &doc, NULL) >= 0)
        json_set(p, o, STR("requestObject"), doc);
    put_times(c, o);
    if (stage != AUDIT_RECEIVED && c->user)
        json_set_str(
            p, json_put_obj(p, o, STR("annotations")), STR("authorization.k8s.io/decision"), x->denied ? STR("forbid") : STR("allow"));
    struct buf line = BUF_INIT;
    json_write(&line, o);
    buf_putc(&line, '\n');
    put_line(c->api->audit, buf_str(&line));
    buf_clear(&line);
}
