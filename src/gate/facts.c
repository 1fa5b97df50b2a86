/* What a node has to know of its cluster: the ranges of pods and Services, the names' address and domain. Flags stand above it; else the server is asked at each connection and the answer is
 * kept on disk, so that a start without a link knows it too. When an answer differs from what this process runs with, it ends and is started again with the new: names, rules and
 * resolv.conf are made of these values everywhere, and a restart of gate is nothing that a pod notices. */
#include <stdlib.h>

#include "base/file.h"
#include "gate/impl.h"

struct facts {
    struct gate_options options;  /* the given ones, filled up */
    struct uplink_call *asking;
    char *text[4];
};

static const struct fact {
    const char *key, *dflt;
    size_t at;
} rows[4] = {
    {"clusterCIDR", "10.42.0.0/16", offsetof(struct gate_options, cluster_cidr)},
    {"serviceCIDR", "10.43.0.0/16", offsetof(struct gate_options, service_cidr)},
    {"clusterDNS", "10.43.0.10", offsetof(struct gate_options, cluster_dns)},
    {"clusterDomain", "cluster.local", offsetof(struct gate_options, cluster_domain)},
};

static const char **field(struct gate_options *o, size_t i)
{
    return (const char **)((char *)o + rows[i].at);
}

static char *path_of(const struct gate *g)
{
    return xasprintf("%s/cluster.json", g->o->state_dir);
}

static const struct json *load(struct gate *g, struct pool *p)
{
    _cleanup_(freep) char *path = path_of(g);
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    struct json *tree;
    if (file_read(path, 64 << 10, &b, NULL) < 0 || json_parse(p, pool_str(p, buf_str(&b)), NULL, &tree, NULL) < 0)
        return NULL;
    return tree;
}

void facts_open(struct gate *g)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct facts *f = g->facts = xcalloc(1, sizeof *f);
    const struct json *saved = load(g, p);
    f->options = *g->o;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str value = json_get_str(saved, rows[i].key);
        if (*field(&f->options, i))
            continue; /* a flag */
        f->text[i] = value.n ? str_dup(value) : xstrdup(rows[i].dflt);
        *field(&f->options, i) = f->text[i];
    }
    g->o = &f->options;
}

void facts_close(struct gate *g)
{
    struct facts *f = g->facts;
    if (!f)
        return;
    for (size_t i = 0; i < ARRAY_LEN(f->text); i++)
        free(f->text[i]);
    free(f); /* with the options that g->o points to: nothing reads them any more */
    g->facts = NULL;
}

void facts_cancel(struct gate *g)
{
    if (g->facts)
        uplink_call_cancel(TAKE(g->facts->asking));
}

static void on_answer(void *arg, int status, struct str body, const struct err *e)
{
    struct gate *g = arg;
    struct facts *f = g->facts;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *wrong = NULL;
    _cleanup_(freep) char *path = path_of(g);
    struct json *tree;
    bool other = false;
    f->asking = NULL;
    if (e || status != 200 || json_parse(p, body, NULL, &tree, NULL) < 0)
        return; /* an older server does not know the question */
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str value = json_get_str(tree, rows[i].key);
        if (!value.n || str_eqz(value, *field(&f->options, i)))
            continue;
        if (f->text[i])
            other = true;
        else
            log_warn("the cluster's %s is %.*s, and this node was given %s by a flag", rows[i].key, STR_ARG(value), *field(&f->options, i));
    }
    if (!other)
        return;
    if (file_replace(path, body, 0600, &wrong) < 0) {
        log_error("%s", err_msg(wrong));
        return;
    }
    log_info("the cluster's settings are others than this node's: starting again with them");
    loop_stop(g->loop, 0);
}

void facts_ask(struct gate *g)
{
    struct facts *f = g->facts;
    if (f && !f->asking && g->o->server)
        f->asking = uplink_call(g->uplink, STR("GET"), STR("/sampan/v1/cluster"), STR("application/json"), STR(""), on_answer, g);
}
