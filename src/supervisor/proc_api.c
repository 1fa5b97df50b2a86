/* The api process: store, request path, controllers and scheduler of one cluster, or of a hub.
 *
 * Threads: the main thread and up to three more are I/O loops, each with an http_server of its own on the same listening socket; one control thread runs
 * controllers and scheduler; the store has its committer. SIGTERM: servers drain (a few seconds), the control thread stops, the store is flushed.
 */
#include <errno.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/api.h"
#include "api/audit.h"
#include "base/file.h"
#include "base/log.h"
#include "controllers/controllers.h"
#include "crypto/crypto.h"
#include "hub/hub.h"
#include "scheduler/scheduler.h"
#include "store/seal.h"
#include "supervisor/broker.h"
#include "supervisor/encrypt.h"
#include "supervisor/lockdown.h"
#include "supervisor/procs.h"

#define IO_MAX 4
#define DRAIN_MS 3000
#define HUB_CONTROLLERS "namespace,serviceaccount,root-ca,garbage,clusterrole-aggregation"

struct io {
    struct api_proc *proc;
    struct loop *loop;
    struct http_server *server;
    pthread_t thread;
    bool threaded;
    struct post stop;
};

struct api_proc {
    const struct options *o;
    struct buf audit_policy;
    char *audit_log, *audit_folder; /* NULL: no audit log */
    struct clock *clock;
    struct schema *schema;
    struct store *store;
    struct store_seal *seal;
    struct encrypt *encrypt;
    struct api *api;
    struct hub *hub;
    struct io io[IO_MAX];
    size_t nio, draining;
    struct loop *control;
    pthread_t control_thread;
    bool control_runs;
    struct controllers *controllers;
    struct scheduler *scheduler;
    struct wire *broker;
    struct post ready, first;
    char *first_password; /* of a new hub's admin, until the supervisor has it */
    char *manifests;
    struct str *disabled;
    int code;
};

/* ---- readiness ---- */

/* On the main loop: hands kubeconfig and CA hash to the supervisor. */
static void tell_ready(struct post *post)
{
    struct api_proc *p = container_of(post, struct api_proc, ready);
    _cleanup_(buf_clear) struct buf kubeconfig = BUF_INIT;
    _cleanup_(err_freep) struct err *e = NULL;
    if (api_admin_kubeconfig(p->api, &kubeconfig, &e) < 0) {
        log_error("admin kubeconfig: %s", err_msg(e));
        return;
    }
    struct broker_ready m = {.kubeconfig = buf_str(&kubeconfig), .ca_hash = api_ca_hash(p->api), .admin_password = str_of(p->first_password)};
    wire_send(p->broker, BROKER_READY, 0, &broker_ready_type, &m, NULL, 0);
    if (p->first_password)
        crypto_wipe(p->first_password, strlen(p->first_password));
    free(TAKE(p->first_password));
}

static void tell_first(struct post *post)
{
    tell_ready(&container_of(post, struct api_proc, first)->ready);
}

static void on_first_admin(void *arg, struct str password)
{
    struct api_proc *p = arg;
    p->first_password = str_dup(password);
    loop_post(p->io[0].loop, &p->first, tell_first);
}

static void on_api_ready(void *arg)
{
    struct api_proc *p = arg;
    loop_post(p->io[0].loop, &p->ready, tell_ready);
}

/* ---- manifests that only root may read ---- */

/* The request goes from the control loop to the main loop, whose wire it is, and the answer back. */
struct manifest_request {
    struct post post;
    struct api_proc *proc;
    int fd;
    char path[];
};

static struct manifest_request *manifest_request(struct api_proc *p, struct str path)
{
    struct manifest_request *q = xcalloc(1, sizeof *q + path.n + 1);
    q->proc = p;
    q->fd = -1;
    if (path.n)
        memcpy(q->path, path.p, path.n);
    return q;
}

static void send_open(struct post *post)
{
    struct manifest_request *q = container_of(post, struct manifest_request, post);
    struct broker_file m = {.path = str_of(q->path)};
    if (q->proc->broker)
        wire_send(q->proc->broker, BROKER_OPEN, 0, &broker_file_type, &m, NULL, 0);
    free(q);
}

static void open_manifest(void *arg, struct str path)
{
    struct api_proc *p = arg;
    loop_post(p->io[0].loop, &manifest_request(p, path)->post, send_open);
}

static void give_manifest(struct post *post)
{
    struct manifest_request *q = container_of(post, struct manifest_request, post);
    if (q->proc->controllers)
        controllers_manifest_opened(q->proc->controllers, str_of(q->path), q->fd);
    else
        closep(&q->fd);
    free(q);
}

static void on_opened(struct api_proc *p, struct wire_msg *m)
{
    _cleanup_(pool_freep) struct pool *pool = pool_new();
    struct broker_file f = {0};
    if (wire_decode(&broker_file_type, m->body, pool, &f, NULL) < 0)
        return;
    struct manifest_request *q = manifest_request(p, f.path);
    if (m->nfds) {
        q->fd = m->fds[0];
        m->fds[0] = -1;
    }
    loop_post(p->control, &q->post, give_manifest);
}

/* ---- control thread ---- */

static const char *local_storage(const struct options *o)
{
    for (size_t i = 0; i < o->disable.n; i++)
        if (strcmp(o->disable.v[i], "local-storage") == 0)
            return NULL;
    return o->local_storage_path;
}

static int start_control(struct api_proc *p, struct err **e)
{
    api_on_ready(p->api, on_api_ready, p);
    if (api_start(p->api, p->control, e) < 0)
        return err_wrap(e, "start");
    struct str *disabled = xcalloc(p->o->disable.n + 1, sizeof *disabled);
    for (size_t i = 0; i < p->o->disable.n; i++)
        disabled[i] = str_of(p->o->disable.v[i]);
    p->disabled = disabled;
    struct controllers_config c = {
        .manifests = {.dir = p->manifests, .disabled = disabled, .ndisabled = p->o->disable.n, .open = open_manifest, .arg = p},
        .api = p->api,
        .loop = p->control,
        .clock = p->clock,
        .local_storage = local_storage(p->o),
        .only = p->o->role == ROLE_HUB ? HUB_CONTROLLERS : NULL,
    };
    if (controllers_start(&c, &p->controllers, e) < 0)
        return err_wrap(e, "controllers");
    if (p->o->role == ROLE_HUB)
        return hub_start(p->hub, p->control, e);
    const struct strs *more = &p->o->scheduler_name;
    _cleanup_(freep) struct str *names = xcalloc(more->n + 1, sizeof *names);
    names[0] = STR("default-scheduler");
    for (size_t i = 0; i < more->n; i++)
        names[i + 1] = str_of(more->v[i]);
    struct scheduler_config sc = {.api = p->api, .loop = p->control, .clock = p->clock, .names = names, .nnames = more->n + 1};
    return scheduler_start(&sc, &p->scheduler, e) < 0 ? err_wrap(e, "scheduler") : 0;
}

static void *control_main(void *arg)
{
    struct api_proc *p = arg;
    _cleanup_(err_freep) struct err *e = NULL;
    if (start_control(p, &e) < 0) {
        log_error("%s", err_msg(e));
        loop_stop(p->io[0].loop, PROC_EXIT_FATAL);
        return NULL;
    }
    loop_run(p->control);
    hub_stop(p->hub);
    scheduler_stop(TAKE(p->scheduler));
    controllers_stop(TAKE(p->controllers));
    return NULL;
}

/* ---- I/O threads ---- */

static void *io_main(void *arg)
{
    struct io *io = arg;
    loop_run(io->loop);
    return NULL;
}

static void on_drained(void *arg)
{
    struct io *io = arg;
    loop_stop(io->loop, 0);
}

static void io_stop(struct post *post)
{
    struct io *io = container_of(post, struct io, stop);
    http_server_drain(io->server, DRAIN_MS, on_drained, io);
}

static void on_signal(void *arg, int signo)
{
    struct api_proc *p = arg;
    (void)signo;
    for (size_t i = 0; i < p->nio; i++)
        if (!p->draining)
            loop_post(p->io[i].loop, &p->io[i].stop, io_stop);
    p->draining = 1;
}

static int listen_on(struct io *io, int fd, struct tls_ctx *tls, struct err **e)
{
    int mine = dup(fd);
    if (mine < 0)
        return err_errno(e, errno, "dup");
    fd_cloexec(mine, true);
    return http_listen(io->server, mine, tls, e);
}

static int open_io(struct api_proc *p, const struct proc_fds *f, struct err **e)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    size_t n = cpus < 1 ? 1 : MIN((size_t)cpus, (size_t)IO_MAX);
    for (size_t i = 0; i < n; i++) {
        struct io *io = &p->io[i];
        io->proc = p;
        p->nio = i + 1;
        if (i > 0 && !(io->loop = loop_new(e))) /* the first was made before */
            return -ERR_IO;
        io->server = http_server_new(io->loop, NULL, api_handle, p->api);
        if (listen_on(io, f->https, api_server_tls(p->api), e) < 0 || listen_on(io, f->local, NULL, e) < 0)
            return err_wrap(e, "listen");
    }
    return 0;
}

static int start_threads(struct api_proc *p, struct err **e)
{
    int r;
    for (size_t i = 1; i < p->nio; i++) {
        if ((r = pthread_create(&p->io[i].thread, NULL, io_main, &p->io[i])))
            return err_errno(e, r, "thread");
        p->io[i].threaded = true;
    }
    if ((r = pthread_create(&p->control_thread, NULL, control_main, p)))
        return err_errno(e, r, "thread");
    p->control_runs = true;
    return 0;
}

/* ---- start and end ---- */

static void on_broker_msg(void *arg, struct wire_msg *m)
{
    if (m->type == BROKER_STOP)
        on_signal(arg, SIGTERM);
    else if (m->type == BROKER_OPENED)
        on_opened(arg, m);
}

static void on_broker_close(void *arg, const struct err *e)
{
    struct api_proc *p = arg;
    (void)e;
    log_warn("the supervisor is gone, ending");
    wire_free(TAKE(p->broker));
    on_signal(p, SIGTERM);
}

static int open_hub(struct api_proc *p, const struct layout *l, struct err **e)
{
    const struct options *o = p->o;
    char host[256] = "localhost";
    if (o->advertise_address || o->tls_san.n)
        snprintf(host, sizeof host, "%s", o->advertise_address ? o->advertise_address : o->tls_san.v[0]);
    else if (gethostname(host, sizeof host - 1) < 0)
        return err_errno(e, errno, "host name");
    _cleanup_(freep) char *url = o->https_listen_port == 443 ? xasprintf("https://%s", host) : xasprintf("https://%s:%" PRId64, host, o->https_listen_port);
    if (hub_new(p->api, l->tls, str_of(url), &p->hub, e) < 0)
        return -(int)(*e)->code;
    hub_on_first(p->hub, on_first_admin, p);
    return 0;
}

/* Secrets are sealed when --secrets-encryption says so. What was sealed once can be read without the flag as well, and is written plain again. */
static int open_store(struct api_proc *p, const struct layout *l, struct err **e)
{
    static const struct str sealed[] = {{"/secrets", 8}};
    _cleanup_(freep) char *key = xasprintf("%s/secrets-encryption.keys", l->tls);
    bool used = p->o->secrets_encryption || file_exists(key);
    size_t changed;
    if (used && store_seal_new(key, sealed, 1, p->o->secrets_encryption, &p->seal, e) < 0)
        return err_wrap(e, "--secrets-encryption");
    if (api_store_open_sealed(l->db, p->schema, p->clock, p->seal, &p->store, e) < 0)
        return -(int)(*e)->code;
    return used ? store_seal_walk(p->seal, p->store, &changed, e) : 0;
}

/* The value of one of kube-apiserver's flags; the last one counts. */
static struct str apiserver_arg(const struct options *o, const char *name)
{
    struct str key, value, found = STR_NULL;
    for (size_t i = 0; i < o->apiserver_arg.n; i++)
        if (str_cut(str_of(o->apiserver_arg.v[i]), '=', &key, &value) && str_eqz(key, name))
            found = value;
    return found;
}

static unsigned apiserver_count(const struct options *o, const char *name)
{
    uint64_t n;
    return str_to_u64(apiserver_arg(o, name), &n) ? (unsigned)n : 0; /* cli checked it */
}

static int load(struct api_proc *p, const struct layout *l, struct err **e)
{
    const struct options *o = p->o;
    _cleanup_(freep) char *floor = xasprintf("%s/clock", l->db);
    struct str sans[64];
    size_t n = 0;
    for (; n < o->tls_san.n && n < ARRAY_LEN(sans); n++)
        sans[n] = str_of(o->tls_san.v[n]);
    kinds_attach();
    p->manifests = o->role == ROLE_SERVER ? xstrdup(l->manifests) : NULL;
    p->clock = clock_new(floor);
    p->schema = o->role == ROLE_HUB ? schema_hub() : schema_builtin();
    if (open_store(p, l, e) < 0)
        return err_wrap(e, "store");
    struct api_config c = {
        .store = p->store,
        .schema = p->schema,
        .clock = p->clock,
        .version_git = STR("v1.36.2+sampan" SAMPAN_VERSION),
        .tls_dir = l->tls,
        .tls_sans = sans,
        .ntls_sans = n,
        .service_cidr = str_of(o->service_cidr),
        .cluster_cidr = str_of(o->cluster_cidr),
        .cluster_domain = str_of(o->cluster_domain),
        .dns_ip = str_of(o->cluster_dns),
        .advertise = str_of(o->advertise_address ? o->advertise_address : o->node_ip),
        .port = (uint16_t)o->https_listen_port,
        .static_token_server = str_of(l->token),
        .static_token_agent = str_of(l->agent_token),
        .max_reading = apiserver_count(o, "max-requests-inflight"),
        .audit_policy = buf_str(&p->audit_policy),
        .audit_log = p->audit_log,
        .audit_max_mb = apiserver_count(o, "audit-log-maxsize"),
        .audit_backups = apiserver_count(o, "audit-log-maxbackup"),
        .audit_days = apiserver_count(o, "audit-log-maxage"),
        .max_changing = apiserver_count(o, "max-mutating-requests-inflight"),
        .hub = o->role == ROLE_HUB,
    };
    if (api_new(&c, &p->api, e) < 0)
        return err_wrap(e, "api");
    p->encrypt = encrypt_new(p->api, p->seal, p->store, o->secrets_encryption);
    if (o->role == ROLE_HUB)
        return open_hub(p, l, e);
    return 0;
}

/* The audit log's policy is read, and the log's folder made, while this process is still root. */
static int prepare_audit(struct api_proc *p, struct err **e)
{
    struct str policy = apiserver_arg(p->o, "audit-policy-file"), path = apiserver_arg(p->o, "audit-log-path");
    if (str_empty(policy) && str_empty(path))
        return 0;
    if (str_empty(policy) || str_empty(path))
        return err_set(e, ERR_USAGE, "--kube-apiserver-arg: audit-policy-file and audit-log-path need each other");
    _cleanup_(freep) char *file = str_dup(policy);
    p->audit_log = str_dup(path);
    p->audit_folder = xasprintf("%.*s", (int)MAX(str_rchr(path, '/'), 1), path.p);
    if (file_read(file, 1 << 20, &p->audit_policy, e) < 0)
        return err_wrap(e, "--kube-apiserver-arg: audit-policy-file");
    struct audit_policy *tried = NULL; /* before anything is begun */
    if (audit_policy_parse(buf_str(&p->audit_policy), &tried, e) < 0)
        return -(int)(*e)->code;
    audit_policy_free(tried);
    if (file_exists(p->audit_folder))
        return 0;
    struct passwd *pw = p->o->user && geteuid() == 0 ? getpwnam(p->o->user) : NULL;
    /* the folders above it stay root's, and passable; the log's own is the user's alone */
    if (dir_make(p->audit_folder, 0755, e) < 0 || chmod(p->audit_folder, 0700) < 0 ||
        (pw && chown(p->audit_folder, pw->pw_uid, pw->pw_gid) < 0))
        return e && *e ? err_wrap(e, "--kube-apiserver-arg: audit-log-path") : err_errno(e, errno, "%s", p->audit_folder);
    return 0;
}

static int start(struct api_proc *p, const struct layout *l, const struct proc_fds *f, struct err **e)
{
    static const int signals[] = {SIGTERM, SIGINT};
    static const struct wire_ops ops = {on_broker_msg, on_broker_close};
    if (prepare_audit(p, e) < 0)
        return -(int)(*e)->code;
    const char *writable[] = {l->db, l->tls, p->audit_folder, NULL};
    const char *readable[] = {l->manifests, NULL};
    struct lockdown ld = {.user = p->o->user, .writable = writable, .readable = readable};
    signal(SIGPIPE, SIG_IGN);
    p->io[0].loop = loop_new(e);
    if (!p->io[0].loop || loop_signals(p->io[0].loop, signals, ARRAY_LEN(signals), on_signal, p, e) < 0)
        return -ERR_IO;
    p->control = loop_new(e);
    p->broker = wire_new(p->io[0].loop, f->broker, &ops, p, e);
    if (!p->control || !p->broker || lockdown_apply(&ld, e) < 0 || load(p, l, e) < 0 || open_io(p, f, e) < 0)
        return -(int)(*e)->code;
    return start_threads(p, e);
}

static void end(struct api_proc *p)
{
    for (size_t i = 1; i < p->nio; i++)
        if (p->io[i].threaded) {
            loop_stop(p->io[i].loop, 0);
            pthread_join(p->io[i].thread, NULL);
        }
    if (p->control_runs) {
        loop_stop(p->control, 0);
        pthread_join(p->control_thread, NULL);
    }
    for (size_t i = 0; i < p->nio; i++)
        http_server_free(p->io[i].server);
    for (size_t i = 0; i < p->nio; i++)
        loop_settle(p->io[i].loop); /* connections that were cut free themselves */
    hub_free(p->hub);
    encrypt_free(p->encrypt);
    api_free(p->api);
    store_close(p->store);
    store_seal_free(p->seal);
    free(p->first_password);
    schema_unref(p->schema);
    wire_free(p->broker);
    loop_free(p->control);
    for (size_t i = 0; i < p->nio; i++)
        loop_free(p->io[i].loop);
    buf_clear(&p->audit_policy);
    free(p->audit_log);
    free(p->audit_folder);
    clock_free(p->clock);
    free(p->manifests);
    free(p->disabled);
}

int proc_api(const struct options *o, const struct layout *l, const struct proc_fds *f)
{
    struct api_proc p = {.o = o};
    _cleanup_(err_freep) struct err *e = NULL;
    int code;
    if (start(&p, l, f, &e) < 0) {
        log_error("%s", err_msg(e));
        code = e && (e->code == ERR_UNAVAILABLE || e->code == ERR_STORAGE_FULL) ? 1 : PROC_EXIT_FATAL;
    } else {
        code = loop_run(p.io[0].loop);
    }
    end(&p);
    return code;
}
