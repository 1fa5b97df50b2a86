/* Secrets at rest: what stands in the files, changing keys while writers write, switching on and off. And the figures. */
#include "store/seal.h"
#include <pthread.h>
#include "base/file.h"
#include "kit.h"

struct place {
    char dir[200], keys[256], db[256];
};

static struct place here(void)
{
    struct place p;
    snprintf(p.dir, sizeof p.dir, "%s/db", test_tmpdir());
    snprintf(p.keys, sizeof p.keys, "%s/keys", test_tmpdir());
    snprintf(p.db, sizeof p.db, "%s/store.db", p.dir);
    return p;
}

static struct store *open_sealed(const struct place *p, bool on, struct store_seal **x)
{
    struct store_config cfg = {.path = p->dir, .kinds = kit_kinds, .nkinds = KINDS};
    struct store *s = NULL;
    struct err *e = NULL;
    FINE(store_seal_new(p->keys, &STR("/configmaps"), 1, on, x, &e), e);
    store_seal_config(*x, &cfg);
    FINE(store_open(&cfg, &s, &e), e);
    return s;
}

static void shut(struct store *s, struct store_seal *x)
{
    store_close(s);
    store_seal_free(x);
}

static bool on_disk(const struct place *p, const char *text)
{
    struct buf b = BUF_INIT;
    struct err *e = NULL;
    FINE(file_read(p->db, 64 << 20, &b, &e), e);
    bool found = str_find(buf_str(&b), str_of(text)) >= 0;
    buf_clear(&b);
    return found;
}

TEST(secrets_are_not_readable_on_disk_and_survive_a_restart)
{
    struct place p = here();
    struct store_seal *x = NULL;
    struct store *s = open_sealed(&p, true, &x);
    kit_put(s, "/configmaps", "a", "x", "very-secret-1");
    kit_put(s, "/configmaps", "a", "x", "very-secret-2");
    kit_put(s, "/pods", "a", "p", "in-the-open");
    shut(s, x);
    OK(!on_disk(&p, "very-secret"));
    OK(on_disk(&p, "in-the-open"));
    s = open_sealed(&p, true, &x);
    OK(kit_has(s, "/configmaps", "a", "x", "very-secret-2"));
    shut(s, x);
    EQ(unlink(p.keys), 0); /* another key does not open it */
    struct store_config cfg = {.path = p.dir, .kinds = kit_kinds, .nkinds = KINDS};
    struct err *e = NULL;
    FINE(store_seal_new(p.keys, &STR("/configmaps"), 1, true, &x, &e), e);
    store_seal_config(x, &cfg);
    EQ(store_open(&cfg, &s, &e), -ERR_INTERNAL);
    OK(str_find(str_of(err_msg(e)), STR("a/x")) > 0);
    err_free(e);
    store_seal_free(x);
}

static struct store *busy_store;
static _Atomic bool busy_stop;
static void *busy(void *arg)
{
    for (int i = 0; !busy_stop; i++) {
        char name[16], v[16];
        snprintf(name, sizeof name, "b%d", i % 30);
        snprintf(v, sizeof v, "v%d", i);
        kit_wait(busy_store, kit_put(busy_store, "/configmaps", "a", name, v));
    }
    return NULL;
}

static void keep_newest_key(const char *path)
{
    struct buf b = BUF_INIT;
    struct err *e = NULL;
    FINE(file_read(path, 1 << 16, &b, &e), e);
    struct str all = str_trim(buf_str(&b));
    FINE(file_replace(path, str_sub(all, (size_t)str_rchr(all, '\n') + 1, all.n), 0600, &e), e);
    buf_clear(&b);
}

TEST(a_rotation_leaves_nothing_under_the_old_key_while_others_write)
{
    struct place p = here();
    struct store_seal *x = NULL;
    struct err *e = NULL;
    size_t changed = 0;
    pthread_t t;
    struct store *s = open_sealed(&p, true, &x);
    for (int i = 0; i < 300; i++) {
        char name[16];
        snprintf(name, sizeof name, "s%d", i);
        kit_put(s, "/configmaps", "a", name, "secret");
    }
    int64_t rev = kit_put(s, "/configmaps", "a", "s1", "secret too");
    kit_wait(s, rev);
    busy_store = s;
    busy_stop = false;
    pthread_create(&t, NULL, busy, NULL);
    FINE(store_seal_rotate(x, s, &changed, &e), e);
    busy_stop = true;
    pthread_join(t, NULL);
    OK(changed >= 301); /* rows and what the log holds */
    EQ(store_seal_keys(x), 2);
    FINE(store_seal_walk(x, s, &changed, &e), e);
    EQ(changed, 0);
    shut(s, x);
    keep_newest_key(p.keys);
    s = open_sealed(&p, true, &x);
    EQ(store_seal_keys(x), 1);
    OK(kit_has(s, "/configmaps", "a", "s299", "secret"));
    struct loop *l = loop_new(NULL);
    struct store_watch *w = NULL;
    FINE(store_watch_open(s, store_find(s, STR("/configmaps")), rev - 1, 0, l, (void (*)(void *))free, NULL, &w, &e), e);
    struct store_event *ev = store_watch_next(w, NULL);
    OK(str_find(ev->before->json, STR("\"secret\"")) > 0);
    store_event_unref(ev);
    store_watch_close(w);
    shut(s, x);
    while (loop_step(l, 0) > 0) {
    }
    loop_free(l);
}

TEST(sealing_is_switched_on_and_off_over_what_is_there)
{
    struct place p = here();
    struct store_seal *x = NULL;
    struct err *e = NULL;
    size_t changed = 0;
    struct store *s = open_sealed(&p, false, &x);
    kit_put(s, "/configmaps", "a", "x", "now-you-see-me");
    shut(s, x);
    OK(on_disk(&p, "now-you-see-me"));
    s = open_sealed(&p, true, &x);
    OK(kit_has(s, "/configmaps", "a", "x", "now-you-see-me"));
    FINE(store_seal_walk(x, s, &changed, &e), e);
    EQ(changed, 1);
    shut(s, x);
    OK(!on_disk(&p, "now-you-see-me")); /* not even in free pages */
    s = open_sealed(&p, false, &x);
    OK(kit_has(s, "/configmaps", "a", "x", "now-you-see-me"));
    FINE(store_seal_walk(x, s, &changed, &e), e);
    EQ(changed, 1);
    shut(s, x);
    struct store_config cfg = {.path = p.dir, .kinds = kit_kinds, .nkinds = KINDS};
    FINE(store_open(&cfg, &s, &e), e); /* no key needed any more */
    OK(kit_has(s, "/configmaps", "a", "x", "now-you-see-me"));
    store_close(s);
}

TEST(figures_are_told_in_prometheus_text)
{
    struct store *s = kit_open(test_tmpdir(), NULL);
    kit_wait(s, kit_put(s, "/configmaps", "a", "x", "1"));
    struct buf b = BUF_INIT;
    store_metrics(s, &b);
    OK(str_find(buf_str(&b), STR("\napiserver_resource_objects{group=\"\",resource=\"configmaps\"} 1\n")) > 0);
    OK(str_find(buf_str(&b), STR("\nsampan_store_durable_revision 1\n")) > 0);
    OK(str_find(buf_str(&b), STR("\nsampan_store_full 0\n")) > 0);
    struct str rest = buf_str(&b), line;
    while (str_split(&rest, '\n', &line)) /* every line is a comment or a name and a number */
        OK(!line.n || line.p[0] == '#' || str_rchr(line, ' ') > 0);
    buf_clear(&b);
    store_close(s);
}
