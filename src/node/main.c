#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "node/impl.h"

static void on_gate_close(void *arg, const struct err *e)
{
    struct node *n = arg;
    log_info("gate is gone (%s); containers go on", e ? err_msg(e) : "closed");
    struct wire *old = TAKE(n->gate);
    stream_drop_all(n);
    wire_free(old);
    if (!n->broker) /* nobody can bring a new gate */
        loop_stop(n->loop, 0);
}

void node_link(struct node *n, int fd)
{
    static const struct wire_ops ops = {node_message, on_gate_close};
    _cleanup_(err_freep) struct err *e = NULL;
    stream_drop_all(n);
    wire_free(TAKE(n->gate));
    n->gate = wire_new(n->loop, fd, &ops, n, &e);
    if (!n->gate) {
        log_error("gate: %s", err_msg(e));
        return;
    }
    map_for(&n->pods, it)
        ((struct pod *)it->value)->synced = ((struct pod *)it->value)->kept = false;
    host_hello(n);
    pressure_send(n);
    images_send(n);
    map_for(&n->pods, it)
        pod_report_now(it->value);
    plugins_send(n);
    hooks_ask_again(n);
}

static void on_broker(void *arg, struct wire_msg *m)
{
    struct node *n = arg;
    if (m->type == NODE_LINK && m->nfds == 1) {
        int fd = m->fds[0];
        m->fds[0] = -1;
        node_link(n, fd);
    } else if (m->type != NODE_LINK) {
        loop_stop(n->loop, 0); /* the only other word of the supervisor's to us: end */
    }
}

static void on_broker_close(void *arg, const struct err *e)
{
    struct node *n = arg;
    wire_free(TAKE(n->broker));
    loop_stop(n->loop, 0); /* without a supervisor nobody would restart us or gate */
}

static void on_signal(void *arg, int signo)
{
    struct node *n = arg;
    if (signo != SIGCHLD)
        loop_stop(n->loop, 0);
}

static void on_net_addresses(void *arg)
{
    host_addresses(arg);
}

static void on_net_paths(void *arg)
{
    paths_send(arg);
}

static int first_configure(struct node *n, struct err **e)
{
    _cleanup_(freep) char *root = str_empty(n->config.cgroup_root) ? xstrdup("sampan") : str_dup(n->config.cgroup_root);
    int r = cgroups_open(root, &n->cgroups, e);
    if (r < 0)
        return r;
    n->rt.cgroups = n->cgroups;
    n->configured = true;
    adopt_all(n);
    return 0;
}

static int configure_net(struct node *n, struct err **e)
{
    const struct node_config *c = &n->config;
    struct net_config nc = {c->node_ip, c->pod_cidr, c->cluster_cidr, c->service_cidr, c->dns_ip, c->backend};
    return net_configure(n->net, &nc, e);
}

int node_configure(struct node *n, struct str body, struct err **e)
{
    struct pool *pool = pool_new();
    struct node_config c;
    int r = wire_decode(&node_config_type, pool_str(pool, body), pool, &c, e);
    if (r == 0 && n->configured && !str_eqz(str_empty(c.cgroup_root) ? STR("sampan") : c.cgroup_root, cgroups_root(n->cgroups)))
        r = err_set(e, ERR_CONFLICT, "the cgroup root cannot change while pods run below the old one");
    if (r < 0) {
        pool_free(pool);
        return r;
    }
    pool_free(n->config_pool);
    n->config_pool = pool;
    n->config = c;
    _cleanup_(freep) char *path = xasprintf("%s/config", n->dir);
    _cleanup_(buf_clear) struct buf old = BUF_INIT;
    if ((file_read(path, WIRE_MAX, &old, NULL) < 0 || !str_eq(buf_str(&old), body)) && (r = file_replace(path, body, 0600, e)) < 0)
        return r;
    r = configure_net(n, e);
    if (r < 0)
        log_warn("network: %s", err_msg(*e)); /* pods of the host's network can run all the same */
    int first = n->configured ? 0 : first_configure(n, r < 0 ? NULL : e);
    map_for(&n->pods, it)
        pod_kick(it->value);
    return r < 0 ? r : first;
}

static void configure_from_disk(struct node *n)
{
    _cleanup_(freep) char *path = xasprintf("%s/config", n->dir);
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    _cleanup_(err_freep) struct err *e = NULL;
    if (file_read(path, WIRE_MAX, &b, &e) < 0)
        return; /* a first start: gate will tell */
    err_free(TAKE(e));
    if (node_configure(n, buf_str(&b), &e) < 0)
        log_warn("configuration from disk: %s", err_msg(e));
}

static int open_paths(struct node *n, struct err **e)
{
    const struct node_options *o = n->opt;
    n->dir = xasprintf("%s/node", o->data_dir);
    n->run = xasprintf("%s/node", o->run_dir);
    n->pods_dir = xasprintf("%s/pods", n->dir);
    n->run_pods_dir = xasprintf("%s/pods", n->run);
    n->state_dir = xasprintf("%s/crun", n->run);
    n->exit_dir = xasprintf("%s/exits", n->run);
    n->air_gap = xasprintf("%s/images", o->data_dir);
    _cleanup_(freep) char *net = xasprintf("%s/net", n->dir);
    const char *const dirs[] = {n->dir, n->run, n->pods_dir, n->run_pods_dir, n->state_dir, n->exit_dir, net};
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        int r = dir_make(dirs[i], 0700, e);
        if (r < 0)
            return r;
    }
    struct net_options no = {net, on_net_addresses, n, on_net_paths};
    return net_open(n->loop, &no, &n->net, e);
}

static int find_programs(struct node *n, struct err **e)
{
    n->conmon = runtime_find("conmon");
    n->crun = runtime_find("crun");
    if (!n->crun)
        n->crun = runtime_find("runc");
    if (!n->conmon || !n->crun)
        return err_set(e, ERR_UNAVAILABLE, "%s is not installed: pods cannot run (apt install crun conmon)", n->conmon ? "crun" : "conmon");
    n->rt = (struct runtime){n->loop, NULL, n->conmon, n->state_dir, n->exit_dir, n->run};
    return 0;
}

static int open_images(struct node *n, struct err **e)
{
    _cleanup_(freep) char *dir = xasprintf("%s/store", n->dir);
    int r = image_store_open(dir, n->opt->image_user, &n->images, e);
    return r < 0 ? r : images_watch(n, e);
}

static int start(struct node *n, struct err **e)
{
    static const struct wire_ops broker_ops = {on_broker, on_broker_close};
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
    _cleanup_(buf_clear) struct buf boot = BUF_INIT;
    int r = file_read("/proc/sys/kernel/random/boot_id", 64, &boot, e);
    if (r < 0)
        return r;
    n->boot_id = str_dup(str_trim(buf_str(&boot)));
    n->clock = clock_new(NULL);
    n->loop = loop_new(e);
    if (!n->loop)
        return -ERR_IO;
    signal(SIGPIPE, SIG_IGN);
    umask(022);
    if ((r = loop_signals(n->loop, signals, ARRAY_LEN(signals), on_signal, n, e)) < 0 || (r = open_paths(n, e)) < 0 ||
        (r = find_programs(n, e)) < 0 || (r = open_images(n, e)) < 0)
        return r;
    if (n->opt->broker_fd >= 0 && !(n->broker = wire_new(n->loop, n->opt->broker_fd, &broker_ops, n, e)))
        return -ERR_IO;
    if ((r = plugins_start(n, e)) < 0)
        return r;
    configure_from_disk(n);
    if (n->opt->gate_fd >= 0)
        node_link(n, n->opt->gate_fd);
    images_import_folder(n);
    logs_start(n);
    evict_start(n);
    return 0;
}

static void stop(struct node *n)
{
    stream_drop_all(n);
    wire_free(TAKE(n->gate));
    wire_free(TAKE(n->broker));
    images_jobs_free(n);
    storage_free(n);
    plugins_stop(n);
    timer_del(&n->log_timer);
    timer_del(&n->stats_timer);
    if (n->loop)
        defer_del(n->loop, &n->qos);
    helper_cancel(n->scanning);
    map_for(&n->pods, it)
        pod_free(it->value); /* containers and journals stay */
    map_clear(&n->pods, NULL);
    map_clear(&n->streams, NULL);
    net_close(n->net);
    if (n->images_watch.loop) {
        watch_del(&n->images_watch);
        closep(&n->images_watch.fd);
    }
    image_store_free(n->images);
    cgroups_free(n->cgroups);
    pool_free(n->config_pool);
    loop_free(n->loop);
    clock_free(n->clock);
    char *const texts[] = {
        n->dir, n->run, n->pods_dir, n->run_pods_dir, n->state_dir, n->exit_dir, n->air_gap, n->boot_id, n->conmon, n->crun};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        free(texts[i]);
}

int node_main(const struct node_options *o)
{
    struct node n = {.opt = o, .pid = getpid()};
    _cleanup_(err_freep) struct err *e = NULL;
    list_init(&n.jobs);
    list_init(&n.removals);
    int r = start(&n, &e);
    if (r < 0)
        log_error("%s", err_msg(e));
    else
        r = loop_run(n.loop);
    stop(&n);
    return r < 0 ? 1 : r;
}
