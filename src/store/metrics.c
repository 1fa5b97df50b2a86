/* Figures in Prometheus' text format (version 0.0.4). Names are Kubernetes' where it has one (apiserver/pkg/storage/etcd3/metrics), else
 * sampan_store_*. */
#include "store/inner.h"

static void head(struct buf *b, const char *name, const char *type, const char *help)
{
    buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void objects(struct store *s, struct buf *b)
{
    _cleanup_(store_view_unrefp) struct store_view *v = store_root(s);
    head(b, "apiserver_resource_objects", "gauge", "Stored objects by resource.");
    store_lock(&s->mu);
    for (size_t i = 0; i < s->nres; i++) {
        struct str group, plural, name = str_of(s->res[i]->name);
        const struct res_root *x = view_peek(v, (uint32_t)i);
        if (str_cut(name, '/', &group, &plural))
            buf_printf(b, "apiserver_resource_objects{group=\"%.*s\",resource=\"%.*s\"} %zu\n", STR_ARG(group), STR_ARG(plural),
                x ? tree_count(x->objs) : 0);
    }
    head(b, "sampan_store_ring_bytes", "gauge", "Watch history in memory by resource, both states of each event.");
    for (size_t i = 0; i < s->nres; i++)
        if (s->res[i]->ring.n)
            buf_printf(b, "sampan_store_ring_bytes{resource=\"%s\"} %zu\n", s->res[i]->name, s->res[i]->ring.bytes);
    store_unlock(&s->mu);
}

void store_metrics(struct store *s, struct buf *b)
{
    struct store_stats st;
    store_stats(s, &st);
    const struct {
        const char *name, *type, *help;
        int64_t value;
    } rows[] = {
        {"sampan_store_revision", "gauge", "Newest revision given out.", st.rev},
        {"sampan_store_durable_revision", "gauge", "Newest revision on disk.", st.durable},
        {"sampan_store_epoch", "gauge", "Times that the store went back to its last durable state, or was restored, and one.", st.epoch},
        {"sampan_store_commits_total", "counter", "Transactions written.", st.commits},
        {"sampan_store_object_bytes", "gauge", "Memory of all objects.", st.object_bytes},
        {"sampan_store_wal_bytes", "gauge", "Size of the write-ahead log.", st.wal_bytes},
        {"sampan_store_full", "gauge", "1 while writes are refused for want of space.", st.full},
    };
    objects(s, b);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        head(b, rows[i].name, rows[i].type, rows[i].help);
        buf_printf(b, "%s %" PRId64 "\n", rows[i].name, rows[i].value);
    }
    head(b, "sampan_store_commit_seconds_total", "counter", "Time spent in transactions.");
    buf_printf(b, "sampan_store_commit_seconds_total %.6f\n", (double)st.commit_ns_total / 1e9);
    head(b, "apiserver_storage_size_bytes", "gauge", "Size of the storage database file physically allocated in bytes.");
    buf_printf(b, "apiserver_storage_size_bytes{storage_cluster_id=\"%s\"} %" PRId64 "\n", s->uid, st.db_bytes);
}
