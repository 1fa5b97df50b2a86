/* What node measured, as kubelets tell it: /stats/summary (JSON) and /metrics/resource (what metrics-server reads). */
#include <stdlib.h>

#include "gate/serve.h"

struct stats {
    struct gate *gate;
    struct http_req *rq;
    uint64_t id;
    enum stats_form form;
};

static void on_close(struct http_req *rq)
{
    struct stats *x = rq->user;
    if (x->id)
        gate_forget(x->gate, x->id);
    free(x);
}

/* ---- summary ---- */

static struct json *timed(struct pool *p, struct json *o, const char *key, int64_t at)
{
    char text[TIME_MAX];
    struct json *j = json_put_obj(p, o, str_of(key));
    json_set_str(p, j, STR("time"), time_format(at, text));
    return j;
}

static void cpu(struct pool *p, struct json *o, int64_t at, int64_t ns)
{
    json_set_int(p, timed(p, o, "cpu", at), STR("usageCoreNanoSeconds"), ns);
}

static struct json *memory(struct pool *p, struct json *o, int64_t at, int64_t working_set)
{
    struct json *m = timed(p, o, "memory", at);
    json_set_int(p, m, STR("workingSetBytes"), working_set);
    return m;
}

static void container_summary(struct pool *p, struct json *list, int64_t at, struct gpod *gp, const struct node_container_stats *c)
{
    struct json *o = json_append(list, json_obj(p));
    const struct node_container_state *s = serve_state(gp, c->name);
    char text[TIME_MAX];
    json_set_str(p, o, STR("name"), c->name);
    if (s && s->started)
        json_set_str(p, o, STR("startTime"), time_format(s->started, text));
    cpu(p, o, at, c->cpu_ns);
    struct json *m = memory(p, o, at, c->memory_working_set);
    json_set_int(p, m, STR("usageBytes"), c->memory);
    json_set_int(p, m, STR("rssBytes"), c->rss);
    json_set_int(p, timed(p, o, "rootfs", at), STR("usedBytes"), c->fs_used);
}

static void pod_summary(struct pool *p, struct json *list, int64_t at, struct gpod *gp, const struct node_pod_stats *s)
{
    struct json *o = json_append(list, json_obj(p)), *ref = json_put_obj(p, o, STR("podRef"));
    char text[TIME_MAX];
    json_set_str(p, ref, STR("name"), gp->name);
    json_set_str(p, ref, STR("namespace"), gp->ns);
    json_set_str(p, ref, STR("uid"), gp->uid);
    if (gp->state && gp->state->started)
        json_set_str(p, o, STR("startTime"), time_format(gp->state->started, text));
    struct json *containers = json_put_arr(p, o, STR("containers"));
    for (size_t i = 0; i < s->ncontainers; i++)
        container_summary(p, containers, at, gp, &s->containers[i]);
    cpu(p, o, at, s->cpu_ns);
    memory(p, o, at, s->memory_working_set);
    struct json *net = timed(p, o, "network", at);
    json_set_str(p, net, STR("name"), STR("eth0"));
    json_set_int(p, net, STR("rxBytes"), s->rx_bytes);
    json_set_int(p, net, STR("txBytes"), s->tx_bytes);
}

static void summary(struct gate *g, struct pool *p, const struct node_stats *s, struct buf *out)
{
    struct json *o = json_obj(p), *node = json_put_obj(p, o, STR("node")), *pods = json_put_arr(p, o, STR("pods"));
    json_set_str(p, node, STR("nodeName"), str_of(g->o ? g->o->node_name : ""));
    cpu(p, node, s->at, s->cpu_ns);
    json_set_int(p, memory(p, node, s->at, s->memory_working_set), STR("availableBytes"), s->memory_available);
    struct json *fs = timed(p, node, "fs", s->at);
    json_set_int(p, fs, STR("availableBytes"), s->fs_available);
    json_set_int(p, fs, STR("capacityBytes"), s->fs_capacity);
    json_set_int(p, fs, STR("usedBytes"), s->fs_capacity - s->fs_available);
    json_set_int(p, fs, STR("inodesFree"), s->fs_inodes_free);
    struct json *image_fs = timed(p, json_put_obj(p, node, STR("runtime")), "imageFs", s->at);
    json_set_int(p, image_fs, STR("availableBytes"), s->image_fs_available);
    for (size_t i = 0; i < s->npods; i++) {
        struct gpod *gp = pods_find(g, s->pods[i].uid);
        if (gp)
            pod_summary(p, pods, s->at, gp, &s->pods[i]);
    }
    json_write(out, o);
}

/* ---- metrics ---- */

static void head(struct buf *b, const char *name, const char *type, const char *help)
{
    buf_printf(b, "# HELP %s [STABLE] %s\n# TYPE %s %s\n", name, help, name, type);
}

static void seconds(struct buf *b, int64_t ns, int64_t at)
{
    buf_printf(b, " %" PRId64 ".%06" PRId64 " %" PRId64 "\n", ns / NS_PER_S, ns % NS_PER_S / 1000, at / NS_PER_MS);
}

static void bytes(struct buf *b, int64_t n, int64_t at)
{
    buf_printf(b, " %" PRId64 " %" PRId64 "\n", n, at / NS_PER_MS);
}

enum family { CONTAINER_CPU, CONTAINER_MEMORY, CONTAINER_START, POD_CPU, POD_MEMORY };

static void of_container(struct buf *b, enum family f, const char *name, int64_t at, struct gpod *gp, const struct node_container_stats *c)
{
    const struct node_container_state *s = serve_state(gp, c->name);
    if (f == CONTAINER_START && (!s || !s->started))
        return;
    buf_printf(b, "%s{container=\"%.*s\",namespace=\"%.*s\",pod=\"%.*s\"}", name, STR_ARG(c->name), STR_ARG(gp->ns), STR_ARG(gp->name));
    if (f == CONTAINER_MEMORY)
        bytes(b, c->memory_working_set, at);
    else
        seconds(b, f == CONTAINER_CPU ? c->cpu_ns : s->started, at);
}

static void of_pod(struct buf *b, enum family f, const char *name, int64_t at, struct gpod *gp, const struct node_pod_stats *s)
{
    buf_printf(b, "%s{namespace=\"%.*s\",pod=\"%.*s\"}", name, STR_ARG(gp->ns), STR_ARG(gp->name));
    if (f == POD_CPU)
        seconds(b, s->cpu_ns, at);
    else
        bytes(b, s->memory_working_set, at);
}

static void metrics(struct gate *g, const struct node_stats *s, struct buf *b)
{
    static const struct {
        enum family family;
        const char *name, *type, *help;
    } families[] = {
        {CONTAINER_CPU, "container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the container in core-seconds"},
        {CONTAINER_MEMORY, "container_memory_working_set_bytes", "gauge", "Current working set of the container in bytes"},
        {CONTAINER_START, "container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds"},
        {POD_CPU, "pod_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the pod in core-seconds"},
        {POD_MEMORY, "pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes"},
    };
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        head(b, families[i].name, families[i].type, families[i].help);
        for (size_t k = 0; k < s->npods; k++) {
            struct gpod *gp = pods_find(g, s->pods[k].uid);
            for (size_t c = 0; gp && families[i].family <= CONTAINER_START && c < s->pods[k].ncontainers; c++)
                of_container(b, families[i].family, families[i].name, s->at, gp, &s->pods[k].containers[c]);
            if (gp && families[i].family > CONTAINER_START)
                of_pod(b, families[i].family, families[i].name, s->at, gp, &s->pods[k]);
        }
    }
    head(b, "node_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the node in core-seconds");
    buf_puts(b, "node_cpu_usage_seconds_total");
    seconds(b, s->cpu_ns, s->at);
    head(b, "node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes");
    buf_puts(b, "node_memory_working_set_bytes");
    bytes(b, s->memory_working_set, s->at);
    head(b, "resource_scrape_error", "gauge", "1 if there was an error while getting container metrics, 0 otherwise");
    buf_puts(b, "resource_scrape_error 0\n");
}

/* ---- cAdvisor's names, as dashboards know them (/metrics/cadvisor): what node measures of them ---- */

enum cfamily { C_CPU, C_MEMORY, C_WORKING_SET, C_RSS, C_FS, C_PIDS, C_START, C_RX, C_TX };

static int64_t cvalue(enum cfamily f, const struct node_container_stats *c)
{
    return f == C_MEMORY ? c->memory : f == C_WORKING_SET ? c->memory_working_set : f == C_RSS ? c->rss : f == C_FS ? c->fs_used : c->pids;
}

static void cadvisor_container(struct buf *b, enum cfamily f, const char *name, int64_t at, struct gpod *gp, const struct node_container_stats *c)
{
    const struct node_container_state *s = serve_state(gp, c->name);
    if (f >= C_RX || (f == C_START && (!s || !s->started)))
        return;
    buf_printf(b, "%s{container=\"%.*s\",id=\"%.*s\",image=\"%.*s\",name=\"%.*s\",namespace=\"%.*s\",pod=\"%.*s\"%s}", name, STR_ARG(c->name),
        STR_ARG(s ? s->id : STR("")), STR_ARG(s ? s->image : STR("")), STR_ARG(s ? s->id : STR("")), STR_ARG(gp->ns), STR_ARG(gp->name), f == C_CPU ? ",cpu=\"total\"" : "");
    if (f == C_CPU || f == C_START)
        seconds(b, f == C_CPU ? c->cpu_ns : s->started, at);
    else
        bytes(b, cvalue(f, c), at);
}

static void cadvisor_pod(struct buf *b, enum cfamily f, const char *name, int64_t at, struct gpod *gp, const struct node_pod_stats *s)
{
    struct str id = gp->uid;
    if (f != C_CPU && f != C_WORKING_SET && f < C_RX)
        return;
    buf_printf(b, "%s{container=\"\",id=\"%.*s\",image=\"\",%sname=\"\",namespace=\"%.*s\",pod=\"%.*s\"%s}", name, STR_ARG(id), f >= C_RX ? "interface=\"eth0\"," : "",
        STR_ARG(gp->ns), STR_ARG(gp->name), f == C_CPU ? ",cpu=\"total\"" : "");
    if (f == C_CPU)
        seconds(b, s->cpu_ns, at);
    else
        bytes(b, f == C_RX ? s->rx_bytes : f == C_TX ? s->tx_bytes : s->memory_working_set, at);
}

static void cadvisor(struct gate *g, const struct node_stats *s, struct buf *b)
{
    static const struct {
        enum cfamily family;
        const char *name, *type, *help;
    } families[] = {
        {C_CPU, "container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds."},
        {C_MEMORY, "container_memory_usage_bytes", "gauge", "Current memory usage in bytes, including all memory regardless of when it was accessed"},
        {C_WORKING_SET, "container_memory_working_set_bytes", "gauge", "Current working set in bytes."},
        {C_RSS, "container_memory_rss", "gauge", "Size of RSS in bytes."},
        {C_FS, "container_fs_usage_bytes", "gauge", "Number of bytes that are consumed by the container on this filesystem."},
        {C_PIDS, "container_processes", "gauge", "Number of processes running inside the container."},
        {C_START, "container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds."},
        {C_RX, "container_network_receive_bytes_total", "counter", "Cumulative count of bytes received"},
        {C_TX, "container_network_transmit_bytes_total", "counter", "Cumulative count of bytes transmitted"},
    };
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", families[i].name, families[i].help, families[i].name, families[i].type);
        for (size_t k = 0; k < s->npods; k++) {
            struct gpod *gp = pods_find(g, s->pods[k].uid);
            for (size_t c = 0; gp && c < s->pods[k].ncontainers; c++)
                cadvisor_container(b, families[i].family, families[i].name, s->at, gp, &s->pods[k].containers[c]);
            if (gp)
                cadvisor_pod(b, families[i].family, families[i].name, s->at, gp, &s->pods[k]);
        }
    }
    buf_printf(b, "# HELP machine_cpu_cores Number of logical CPU cores.\n# TYPE machine_cpu_cores gauge\nmachine_cpu_cores %" PRIu64 "\n", g->hello.cpus);
    buf_printf(b, "# HELP machine_memory_bytes Amount of memory installed on the machine.\n# TYPE machine_memory_bytes gauge\nmachine_memory_bytes %" PRId64 "\n", g->hello.memory);
}

/* ---- the kubelet's own figures that a node of ours has (/metrics) ---- */

void serve_own_metrics(struct gate *g, struct http_req *rq)
{
    static const char *const states[] = {"created", "running", "exited"};
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    int64_t pods = 0, count[3] = {0};
    map_for(&g->pods, it) {
        const struct gpod *gp = it->value;
        pods += gp->state && gp->state->sandbox_ready;
        for (size_t i = 0; gp->state && i < gp->state->ncontainers; i++)
            count[gp->state->containers[i].state]++;
    }
    head(&b, "kubernetes_build_info", "gauge", "A metric with a constant '1' value labeled by version");
    buf_puts(&b, "kubernetes_build_info{git_version=\"v1.36.2+sampan" SAMPAN_VERSION "\",major=\"1\",minor=\"36\"} 1\n");
    head(&b, "kubelet_node_name", "gauge", "The node's name. The count is always 1.");
    buf_printf(&b, "kubelet_node_name{node=\"%s\"} 1\n", g->o->node_name ? g->o->node_name : "");
    head(&b, "kubelet_running_pods", "gauge", "Number of pods that have a running pod sandbox");
    buf_printf(&b, "kubelet_running_pods %" PRId64 "\n", pods);
    head(&b, "kubelet_running_containers", "gauge", "Number of containers currently running");
    for (size_t i = 0; i < ARRAY_LEN(states); i++)
        buf_printf(&b, "kubelet_running_containers{container_state=\"%s\"} %" PRId64 "\n", states[i], count[i]);
    head(&b, "kubelet_desired_pods", "gauge", "The number of pods the kubelet is being instructed to run");
    buf_printf(&b, "kubelet_desired_pods %zu\n", map_count(&g->pods));
    http_reply_str(rq, 200, "text/plain; version=0.0.4; charset=utf-8", buf_str(&b));
}

/* ---- the request ---- */

static void on_stats(void *arg, struct wire_msg *m)
{
    struct stats *x = arg;
    struct gate *g = x->gate;
    struct http_req *rq = x->rq;
    enum stats_form as = x->form;
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    struct node_stats s = {0};
    rq->on_close = NULL;
    rq->user = NULL;
    free(x);
    if (!m || m->type != NODE_STATS_DATA || wire_decode(&node_stats_type, m->body, rq->pool, &s, NULL) < 0) {
        serve_fail(rq, 503, "the node process gives no statistics now");
        return;
    }
    if (as == STATS_METRICS)
        metrics(g, &s, &b);
    else if (as == STATS_CADVISOR)
        cadvisor(g, &s, &b);
    else
        summary(g, rq->pool, &s, &b);
    struct http_header type = {STR("content-type"), as != STATS_SUMMARY ? STR("text/plain; version=0.0.4; charset=utf-8") : STR("application/json")};
    struct bytes *body = buf_to_bytes(&b);
    http_reply(rq, 200, &type, 1, body);
    bytes_unref(body);
}

void serve_stats(struct gate *g, struct http_req *rq, enum stats_form form)
{
    struct node_empty ask = {0};
    struct stats *x = xcalloc(1, sizeof *x);
    *x = (struct stats){.gate = g, .rq = rq, .form = form};
    rq->user = x;
    rq->on_close = on_close;
    uint64_t id = gate_ask(g, NODE_STATS, &node_empty_type, &ask, on_stats, x);
    if (id)
        x->id = id;
}
