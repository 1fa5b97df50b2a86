/* The hub's mirror of its clusters: the rows that gate/sight.h sends up, on disk (view.db beside the hub's keys), so that lists, search and last known state answer while a cluster is away.
 * Memory holds nothing but SQLite's page cache. Its loss costs nothing: each cluster is asked for all of it again.
 *
 * GET /v1/sampan/view/<kind>?cluster=&namespace=&q=&limit=   rows of all clusters that the asker may see: of a cluster that he is a member of all, of one where he has projects only
 *                                                            those in the projects' namespaces. What he may not see is neither counted nor searched.
 *
 * One connection, one lock; a batch is one transaction. */
#include <pthread.h>
#include <stdlib.h>

#include "base/log.h"
#include "hub/impl.h"
#include "schema/quantity.h"
#include "uplink/db.h"

#define ROWS_MAX 100000   /* of one cluster */
#define CELLS_MAX 2048
#define LIMIT_DEFAULT 500
#define LIMIT_MAX 5000

static const char schema[] = "CREATE TABLE IF NOT EXISTS row(cluster TEXT NOT NULL, kind TEXT NOT NULL, ns TEXT NOT NULL, name TEXT NOT NULL, cells TEXT NOT NULL, session TEXT NOT NULL, "
                             "PRIMARY KEY(cluster, kind, ns, name)) WITHOUT ROWID;"
                             "CREATE TABLE IF NOT EXISTS session(cluster TEXT PRIMARY KEY, id TEXT NOT NULL) WITHOUT ROWID;";

enum st { ST_PUT, ST_DEL, ST_SWEEP, ST_FORGET, ST_SESSION, ST_SET_SESSION, ST_DROP_SESSION, ST_KIND, ST_ALL, ST_COUNT, STATEMENTS };
static const char *const texts[STATEMENTS] = {
    [ST_PUT] = "INSERT INTO row VALUES(CAST(?1 AS TEXT),CAST(?2 AS TEXT),CAST(?3 AS TEXT),CAST(?4 AS TEXT),CAST(?5 AS TEXT),CAST(?6 AS TEXT)) "
               "ON CONFLICT DO UPDATE SET cells=excluded.cells, session=excluded.session",
    [ST_DEL] = "DELETE FROM row WHERE cluster=CAST(?1 AS TEXT) AND kind=CAST(?2 AS TEXT) AND ns=CAST(?3 AS TEXT) AND name=CAST(?4 AS TEXT)",
    [ST_SWEEP] = "DELETE FROM row WHERE cluster=CAST(?1 AS TEXT) AND session<>CAST(?2 AS TEXT)",
    [ST_FORGET] = "DELETE FROM row WHERE cluster=CAST(?1 AS TEXT)",
    [ST_SESSION] = "SELECT id FROM session WHERE cluster=CAST(?1 AS TEXT)",
    [ST_SET_SESSION] = "INSERT OR REPLACE INTO session VALUES(CAST(?1 AS TEXT),CAST(?2 AS TEXT))",
    [ST_DROP_SESSION] = "DELETE FROM session WHERE cluster=CAST(?1 AS TEXT)",
    [ST_KIND] = "SELECT ns, name, cells FROM row WHERE cluster=CAST(?1 AS TEXT) AND kind=CAST(?2 AS TEXT)",
    [ST_ALL] = "SELECT ns, name, cells FROM row WHERE cluster=CAST(?1 AS TEXT) AND kind=CAST(?2 AS TEXT) AND (?3 IS NULL OR ns=CAST(?3 AS TEXT)) AND (?4 IS NULL OR instr(name, CAST(?4 AS TEXT)) "
               "OR instr(cells, CAST(?4 AS TEXT)))",
    [ST_COUNT] = "SELECT count(*) FROM row WHERE cluster=CAST(?1 AS TEXT)",
};

struct views {
    pthread_mutex_t lock;
    sqlite3 *db;
    sqlite3_stmt *st[STATEMENTS];
};

int view_open(struct hub *h, const char *dir, struct err **e)
{
    _cleanup_(freep) char *path = xasprintf("%s/view.db", dir);
    struct views *v = xcalloc(1, sizeof *v);
    bool fresh;
    h->views = v;
    pthread_mutex_init(&v->lock, NULL);
    if (db_open(path, schema, false, &v->db, &fresh, e) < 0)
        return err_wrap(e, "the view of clusters");
    for (size_t i = 0; i < STATEMENTS; i++)
        if (db_prepare(v->db, texts[i], &v->st[i], e) < 0)
            return err_wrap(e, "the view of clusters");
    return 0;
}

void view_close(struct hub *h)
{
    struct views *v = TAKE(h->views);
    if (!v)
        return;
    for (size_t i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(v->st[i]);
    sqlite3_close(v->db);
    pthread_mutex_destroy(&v->lock);
    free(v);
}

/* ---- statements ---- */

static sqlite3_stmt *bound(struct views *v, enum st which, const struct str *args, size_t n)
{
    sqlite3_stmt *st = v->st[which];
    for (size_t i = 0; i < n; i++)
        if (args[i].p)
            db_bind_str(st, (int)i + 1, args[i].p, args[i].n);
    return st;
}

static void done(sqlite3_stmt *st)
{
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
}

static int run(struct views *v, enum st which, const struct str *args, size_t n, struct err **e)
{
    return db_run(bound(v, which, args, n), e);
}

static struct str column(sqlite3_stmt *st, int i)
{
    return str_make((const char *)sqlite3_column_text(st, i), (size_t)sqlite3_column_bytes(st, i));
}

/* ---- what clusters send ---- */

static bool has_session(struct views *v, struct str cluster, struct str id)
{
    sqlite3_stmt *st = bound(v, ST_SESSION, &cluster, 1);
    bool same = sqlite3_step(st) == SQLITE_ROW && id.n && str_eq(column(st, 0), id);
    done(st);
    return same;
}

static int64_t count_rows(struct views *v, struct str cluster)
{
    sqlite3_stmt *st = bound(v, ST_COUNT, &cluster, 1);
    int64_t n = sqlite3_step(st) == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
    done(st);
    return n;
}

static bool known_kind(struct str kind)
{
    static const char *const kinds[] = {"nodes", "namespaces", "pods", "deployments", "statefulsets", "daemonsets", "jobs", "warnings"};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (str_eqz(kind, kinds[i]))
            return true;
    return false;
}

static int put_rows(struct views *v, struct pool *p, struct str cluster, struct str session, const struct json *rows, struct err **e)
{
    int64_t room = ROWS_MAX - count_rows(v, cluster);
    json_for (rows, r) {
        struct str cells = json_to_pool(p, json_at(r, 3));
        struct str args[] = {cluster, json_as_str(json_at(r, 0)), json_as_str(json_at(r, 1)), json_as_str(json_at(r, 2)), cells, session};
        if (!known_kind(args[1]) || !args[2].p || args[2].n > 63 || !args[3].n || args[3].n > 253 || cells.n > CELLS_MAX || !json_is(json_at(r, 3), JSON_ARR))
            return err_set(e, ERR_BAD_REQUEST, "a row of the view is malformed");
        if (room-- <= 0)
            return err_set(e, ERR_LIMIT, "more than %d rows", ROWS_MAX);
        if (run(v, ST_PUT, args, 6, e) < 0)
            return -ERR_IO;
    }
    return 0;
}

static int take(struct views *v, struct pool *p, struct str cluster, const struct json *doc, struct err **e)
{
    struct str session = json_get_str(doc, "session");
    if (json_get_bool(doc, "off", false)) {
        if (run(v, ST_FORGET, &cluster, 1, e) < 0 || run(v, ST_DROP_SESSION, &cluster, 1, e) < 0)
            return -ERR_IO;
        return 0;
    }
    if (!session.n || session.n > 64)
        return err_set(e, ERR_BAD_REQUEST, "the view names no session");
    if (put_rows(v, p, cluster, session, json_get(doc, STR("rows")), e) < 0)
        return -(int)(*e)->code;
    json_for (json_get(doc, STR("gone")), r) {
        struct str args[] = {cluster, json_as_str(json_at(r, 0)), json_as_str(json_at(r, 1)), json_as_str(json_at(r, 2))};
        if (args[1].n && args[2].p && args[3].n && run(v, ST_DEL, args, 4, e) < 0)
            return -ERR_IO;
    }
    struct str both[] = {cluster, session};
    if (json_get_bool(doc, "end", false) && (run(v, ST_SWEEP, both, 2, e) < 0 || run(v, ST_SET_SESSION, both, 2, e) < 0))
        return -ERR_IO;
    return 0;
}

int view_call(struct hub *h, struct str cluster, struct str body, bool *changed)
{
    static const struct json_limits limits = {.bytes = 1u << 20, .nodes = 200000};
    struct views *v = h->views;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct json *doc;
    *changed = false;
    if (json_parse(p, body, &limits, &doc, &e) < 0 || !json_is(doc, JSON_OBJ))
        return 400;
    pthread_mutex_lock(&v->lock);
    int status = 200;
    if (json_get(doc, STR("resume"))) {
        status = has_session(v, cluster, json_get_str(doc, "resume")) ? 200 : 404;
    } else {
        int r = db_exec(v->db, "BEGIN IMMEDIATE", &e);
        if (r == 0)
            r = take(v, p, cluster, doc, &e);
        if (r == 0)
            r = db_exec(v->db, "COMMIT", &e);
        if (r < 0)
            sqlite3_exec(v->db, "ROLLBACK", NULL, NULL, NULL);
        status = r == 0 ? 200 : err_http(e->code);
        *changed = r == 0;
    }
    pthread_mutex_unlock(&v->lock);
    if (e)
        log_warn("cluster=%.*s view: %s", STR_ARG(cluster), err_msg(e));
    return status;
}

void view_forget(struct hub *h, struct str cluster)
{
    pthread_mutex_lock(&h->views->lock);
    (void)run(h->views, ST_FORGET, &cluster, 1, NULL);
    (void)run(h->views, ST_DROP_SESSION, &cluster, 1, NULL);
    pthread_mutex_unlock(&h->views->lock);
}

/* ---- the sum of it ---- */

static void add(struct pool *p, struct json *sums, const char *key, struct str value)
{
    struct quantity q, have;
    struct buf b = BUF_INIT;
    if (!value.n || quantity_parse(value, &q, NULL) < 0)
        return;
    if (json_get_str(sums, key).n && quantity_parse(json_get_str(sums, key), &have, NULL) == 0)
        q = quantity_add(have, q);
    quantity_write(&b, q);
    json_set_str(p, sums, str_of(key), buf_to_pool(&b, p));
}

static struct str cell(const struct json *cells, size_t i)
{
    return json_as_str(json_at(cells, i));
}

static void sum_nodes(struct views *v, struct pool *p, struct str cluster, struct view_summary *out)
{
    struct str args[] = {cluster, STR("nodes")};
    sqlite3_stmt *st = bound(v, ST_KIND, args, 2);
    while (sqlite3_step(st) == SQLITE_ROW) {
        struct json *c;
        if (json_parse(p, pool_str(p, column(st, 2)), NULL, &c, NULL) < 0)
            continue;
        out->nodes++;
        out->nodes_ready += str_eqz(cell(c, 0), "True");
        add(p, out->capacity, "cpu", cell(c, 3));
        add(p, out->capacity, "memory", cell(c, 4));
        add(p, out->capacity, "pods", cell(c, 5));
        add(p, out->allocatable, "cpu", cell(c, 6));
        add(p, out->allocatable, "memory", cell(c, 7));
        add(p, out->allocatable, "pods", cell(c, 5));
    }
    done(st);
}

static void sum_pods(struct views *v, struct pool *p, struct str cluster, struct view_summary *out)
{
    struct str args[] = {cluster, STR("pods")};
    sqlite3_stmt *st = bound(v, ST_KIND, args, 2);
    while (sqlite3_step(st) == SQLITE_ROW) {
        struct json *c;
        if (json_parse(p, pool_str(p, column(st, 2)), NULL, &c, NULL) < 0)
            continue;
        out->pods++;
        out->pods_running += str_eqz(cell(c, 0), "Running");
        add(p, out->requested, "cpu", cell(c, 4));
        add(p, out->requested, "memory", cell(c, 5));
    }
    done(st);
    if (out->pods)
        json_set_str(p, out->requested, STR("pods"), pool_printf(p, "%" PRId64, out->pods));
}

void view_summary(struct hub *h, struct pool *p, struct str cluster, struct view_summary *out)
{
    *out = (struct view_summary){.capacity = json_obj(p), .allocatable = json_obj(p), .requested = json_obj(p)};
    pthread_mutex_lock(&h->views->lock);
    sqlite3_stmt *st = bound(h->views, ST_SESSION, &cluster, 1);
    out->known = sqlite3_step(st) == SQLITE_ROW;
    done(st);
    if (out->known) {
        sum_nodes(h->views, p, cluster, out);
        sum_pods(h->views, p, cluster, out);
    }
    pthread_mutex_unlock(&h->views->lock);
}

/* ---- asking ---- */

struct query {
    struct hub *hub;
    struct pool *p;
    const struct api_user *user;
    struct str kind, cluster, ns, word;
    int64_t limit, total;
    struct json *rows, *projects /* of the user, "cluster:project" */, *members /* clusters he sees all of */;
};

static bool listed(const struct json *list, struct str word)
{
    json_for (list, x)
        if (str_eq(json_as_str(x), word))
            return true;
    return false;
}

static bool is_users(const struct api_user *u, const struct json *binding)
{
    struct str user = json_get_str(binding, "userName"), group = json_get_str(binding, "groupPrincipalName");
    if (user.n)
        return str_eq(user, u->name);
    if (!group.n)
        group = json_get_str(binding, "groupName");
    for (size_t i = 0; group.n && i < u->ngroups; i++)
        if (str_eq(u->groups[i], group))
            return true;
    return false;
}

static bool note_project(void *arg, struct json *b)
{
    struct query *q = arg;
    if (is_users(q->user, b))
        json_append(q->projects, json_str(q->p, json_get_str(b, "projectName")));
    return true;
}

static bool note_member(void *arg, struct json *b)
{
    struct query *q = arg;
    if (is_users(q->user, b))
        json_append(q->members, json_str(q->p, json_get_str(b, "clusterName")));
    return true;
}

/* The namespaces of the asker's projects in one cluster, from the rows of its namespaces. */
static struct json *own_namespaces(struct query *q, struct str cluster)
{
    struct json *out = json_arr(q->p);
    struct str args[] = {cluster, STR("namespaces")};
    sqlite3_stmt *st = bound(q->hub->views, ST_KIND, args, 2);
    while (sqlite3_step(st) == SQLITE_ROW) {
        struct json *c;
        if (json_parse(q->p, pool_str(q->p, column(st, 2)), NULL, &c, NULL) == 0 && cell(c, 1).n && listed(q->projects, cell(c, 1)))
            json_append(out, json_str(q->p, pool_str(q->p, column(st, 1))));
    }
    done(st);
    return out;
}

static void rows_of(struct query *q, struct str cluster, const struct json *only)
{
    struct str args[] = {cluster, q->kind, q->ns, q->word};
    sqlite3_stmt *st = bound(q->hub->views, ST_ALL, args, 4);
    while (sqlite3_step(st) == SQLITE_ROW) {
        struct str ns = column(st, 0), name = column(st, 1);
        struct json *cells;
        bool itself = str_eqz(q->kind, "namespaces");
        if (only && !listed(only, itself ? name : ns))
            continue;
        if (++q->total > q->limit || json_parse(q->p, pool_str(q->p, column(st, 2)), NULL, &cells, NULL) < 0)
            continue;
        struct json *row = json_append(q->rows, json_arr(q->p));
        json_append(row, json_str(q->p, cluster));
        json_append(row, json_str(q->p, pool_str(q->p, ns)));
        json_append(row, json_str(q->p, pool_str(q->p, name)));
        json_for (cells, c)
            json_append(row, json_str(q->p, json_as_str(c)));
    }
    done(st);
}

static bool ask_cluster(void *arg, struct json *doc)
{
    struct query *q = arg;
    struct str name = json_str_at(doc, "metadata", "name", NULL);
    struct api_attrs at = {.verb = STR("get"), .group = STR(HUB_GROUP), .version = STR(HUB_VERSION), .resource = STR("clusters"), .subresource = STR("proxy"), .name = name};
    if ((q->cluster.p && !str_eq(q->cluster, name)) || api_authorize(q->hub->api, q->user, &at, NULL) < 0)
        return true;
    bool project_only = json_count(q->projects) && !listed(q->members, name);
    if (project_only) { /* through a project alone, or by rights of his own on all clusters? */
        at.name = STR("");
        project_only = api_authorize(q->hub->api, q->user, &at, NULL) < 0;
    }
    pthread_mutex_lock(&q->hub->views->lock);
    rows_of(q, name, project_only ? own_namespaces(q, name) : NULL);
    pthread_mutex_unlock(&q->hub->views->lock);
    return true;
}

static const struct columns {
    const char *kind, *names;
} kind_columns[] = {
    {"nodes", "cluster,namespace,name,ready,version,arch,cpu,memory,pods,allocatableCpu,allocatableMemory,cordoned"},
    {"namespaces", "cluster,namespace,name,phase,project"},
    {"pods", "cluster,namespace,name,state,ready,restarts,node,cpu,memory,created"},
    {"deployments", "cluster,namespace,name,wanted,ready,images,created"},
    {"statefulsets", "cluster,namespace,name,wanted,ready,images,created"},
    {"daemonsets", "cluster,namespace,name,wanted,ready,images,created"},
    {"jobs", "cluster,namespace,name,wanted,succeeded,failed,created"},
    {"warnings", "cluster,namespace,name,reason,about,message"},
};

void view_route(struct http_req *rq, const struct api_user *user, void *arg)
{
    struct pool *p = rq->pool;
    _cleanup_(err_freep) struct err *e = NULL;
    struct query q = {.hub = arg, .p = p, .user = user, .kind = str_sub(rq->path, sizeof "/v1/sampan/view/" - 1, rq->path.n), .cluster = http_query(rq, STR("cluster")),
        .ns = http_query(rq, STR("namespace")), .word = http_query(rq, STR("q")), .limit = LIMIT_DEFAULT, .rows = json_arr(p), .projects = json_arr(p), .members = json_arr(p)};
    struct str limit = http_query(rq, STR("limit")), rest = STR_NULL, piece;
    for (size_t i = 0; i < ARRAY_LEN(kind_columns); i++)
        if (str_eqz(q.kind, kind_columns[i].kind))
            rest = str_of(kind_columns[i].names);
    if (!rest.n || (limit.p && (!str_to_i64(limit, &q.limit) || q.limit < 1 || q.limit > LIMIT_MAX))) {
        (void)err_set(&e, rest.n ? ERR_BAD_REQUEST : ERR_NOT_FOUND, rest.n ? "limit: must be between 1 and %d" : "the view has no such kind", LIMIT_MAX);
        hub_refuse(rq, e);
        return;
    }
    hub_each(q.hub, p, "projectroletemplatebindings", STR_NULL, note_project, &q);
    hub_each(q.hub, p, "clusterroletemplatebindings", STR_NULL, note_member, &q);
    hub_each(q.hub, p, "clusters", STR_NULL, ask_cluster, &q);
    struct json *doc = json_obj(p), *columns = json_put_arr(p, doc, STR("columns"));
    while (str_split(&rest, ',', &piece))
        json_append(columns, json_str(p, piece));
    json_set(p, doc, STR("rows"), q.rows);
    json_set_int(p, doc, STR("total"), q.total);
    hub_reply(rq, 200, doc);
}
