#include "cli/kubelet_arg.h"

#include <stdlib.h>

#include "schema/quantity.h"

static int bad(struct str key, struct str value, const char *want, struct err **e)
{
    return err_set(e, ERR_USAGE, "invalid value \"%.*s\" for --kubelet-arg %.*s: must be %s", STR_ARG(value), STR_ARG(key), want);
}

static bool amount(struct str text, bool milli, int64_t *out)
{
    struct quantity q;
    if (str_empty(text) || quantity_parse(text, &q, NULL) < 0)
        return false;
    *out = milli ? quantity_milli(q) : quantity_value(q);
    return *out >= 0;
}

static int put_number(struct str key, struct str value, int64_t least, int64_t most, int64_t *out, struct err **e)
{
    int64_t n;
    if (!str_to_i64(value, &n) || n < least || n > most)
        return bad(key, value, "a number within its bounds", e);
    *out = n;
    return 0;
}

/* "10%" or "500Mi"; 0 of either switches the signal off, which is told as -1. */
static bool threshold(struct str text, int64_t *bytes, int64_t *percent)
{
    int64_t n;
    if (str_ends(text, STR("%"))) {
        if (!str_to_i64(str_sub(text, 0, text.n - 1), &n) || n < 0 || n >= 100)
            return false;
        *percent = n ? n : -1;
        *bytes = 0;
        return true;
    }
    if (!amount(text, false, &n))
        return false;
    *bytes = n ? n : -1;
    *percent = 0;
    return true;
}

static int eviction_hard(struct options *o, struct str key, struct str value, struct err **e)
{
    static const char want[] = "a list such as memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,pid.available<10%";
    struct node_settings *s = &o->settings;
    struct str rest = value, one, signal, text;
    while (str_split(&rest, ',', &one)) {
        if (!str_cut(str_trim(one), '<', &signal, &text))
            return bad(key, value, want, e);
        bool memory = str_eqz(signal, "memory.available"), disk = str_eqz(signal, "nodefs.available") || str_eqz(signal, "imagefs.available"),
             inodes = str_eqz(signal, "nodefs.inodesFree") || str_eqz(signal, "imagefs.inodesFree"), pids = str_eqz(signal, "pid.available");
        int64_t *bytes = memory ? &s->evict_memory_bytes : disk ? &s->evict_disk_bytes : inodes ? &s->evict_inodes : &s->evict_pids;
        int64_t *percent = memory ? &s->evict_memory_percent : disk ? &s->evict_disk_percent : inodes ? &s->evict_inodes_percent : &s->evict_pids_percent;
        if (!(memory || disk || inodes || pids) || !threshold(text, bytes, percent))
            return bad(key, value, want, e);
    }
    return 0;
}

static int reserved(struct options *o, struct str key, struct str value, struct err **e)
{
    struct node_settings *s = &o->settings;
    struct str rest = value, one, name, text;
    while (str_split(&rest, ',', &one)) {
        int64_t n = 0;
        if (!str_cut(str_trim(one), '=', &name, &text) || !amount(text, str_eqz(name, "cpu"), &n))
            return bad(key, value, "a list such as cpu=200m,memory=256Mi,ephemeral-storage=1Gi", e);
        if (str_eqz(name, "cpu"))
            s->reserved_cpu_milli += n;
        else if (str_eqz(name, "memory"))
            s->reserved_memory += n;
        else if (str_eqz(name, "ephemeral-storage"))
            s->reserved_storage += n;
        else
            return bad(key, value, "of cpu, memory and ephemeral-storage", e);
    }
    return 0;
}

static int max_pods(struct options *o, struct str key, struct str value, struct err **e)
{
    return put_number(key, value, 1, 4000, &o->settings.max_pods, e);
}

static int pod_max_pids(struct options *o, struct str key, struct str value, struct err **e)
{
    return put_number(key, value, 0, INT32_MAX, &o->settings.pod_pids, e);
}

static int gc_high(struct options *o, struct str key, struct str value, struct err **e)
{
    return put_number(key, value, 1, 100, &o->settings.image_gc_high, e);
}

static int gc_low(struct options *o, struct str key, struct str value, struct err **e)
{
    return put_number(key, value, 1, 100, &o->settings.image_gc_low, e);
}

static int log_files(struct options *o, struct str key, struct str value, struct err **e)
{
    return put_number(key, value, 2, 6, &o->settings.log_files, e);
}

static int log_size(struct options *o, struct str key, struct str value, struct err **e)
{
    return amount(value, false, &o->settings.log_size) && o->settings.log_size >= 1 << 10 ? 0 : bad(key, value, "a quantity of at least 1Ki", e);
}

static int static_pods(struct options *o, struct str key, struct str value, struct err **e)
{
    if (!str_starts(value, STR("/")))
        return bad(key, value, "an absolute path", e);
    free(o->static_pods);
    o->static_pods = str_dup(value);
    return 0;
}

static int unsafe_sysctls(struct options *o, struct str key, struct str value, struct err **e)
{
    struct str rest = value, one;
    while (str_split(&rest, ',', &one)) {
        if (str_empty(str_trim(one)))
            return bad(key, value, "names, with * at the end where all below are meant", e);
        o->unsafe_sysctls.v = xrealloc(o->unsafe_sysctls.v, (o->unsafe_sysctls.n + 1) * sizeof *o->unsafe_sysctls.v);
        o->unsafe_sysctls.v[o->unsafe_sysctls.n++] = str_dup(str_trim(one));
    }
    return 0;
}

static const struct {
    const char *key;
    int (*fn)(struct options *o, struct str key, struct str value, struct err **e);
} rows[] = {
    {"allowed-unsafe-sysctls", unsafe_sysctls},
    {"container-log-max-files", log_files},
    {"container-log-max-size", log_size},
    {"eviction-hard", eviction_hard},
    {"image-gc-high-threshold", gc_high},
    {"image-gc-low-threshold", gc_low},
    {"kube-reserved", reserved},
    {"max-pods", max_pods},
    {"pod-manifest-path", static_pods},
    {"pod-max-pids", pod_max_pids},
    {"system-reserved", reserved},
};

static int one(struct options *o, struct str text, struct err **e)
{
    struct str key = text, value = STR("");
    _cleanup_(buf_clear) struct buf known = BUF_INIT;
    (void)str_cut(text, '=', &key, &value);
    while (str_starts(key, STR("-")))
        key = str_sub(key, 1, key.n);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (str_eqz(key, rows[i].key))
            return rows[i].fn(o, key, value, e);
        buf_printf(&known, "%s%s", i ? ", " : "", rows[i].key);
    }
    return err_set(e, ERR_USAGE, "--kubelet-arg %.*s cannot be honoured: there is no kubelet inside; known are %.*s", STR_ARG(key), STR_ARG(buf_str(&known)));
}

int kubelet_args(struct options *o, struct err **e)
{
    for (size_t i = 0; i < o->kubelet_arg.n; i++)
        if (one(o, str_of(o->kubelet_arg.v[i]), e) < 0)
            return -ERR_USAGE;
    struct node_settings *s = &o->settings;
    int64_t high = s->image_gc_high ? s->image_gc_high : 85, low = s->image_gc_low ? s->image_gc_low : 80;
    if (low >= high)
        return err_set(e, ERR_USAGE, "--kubelet-arg image-gc-low-threshold (%" PRId64 ") must be below image-gc-high-threshold (%" PRId64 ")", low, high);
    return 0;
}
