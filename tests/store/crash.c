/* kill -9 under load: a child writes and tells through a pipe what it is about to remove and what was acknowledged; the parent kills it at
 * some moment, opens the folder and compares. Every operation of all lives has a number of its own, which stands in the object. */
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include "base/file.h"
#include "kit.h"

#define NAMES 40
#define PAD 700

enum { PUT, REMOVED, REMOVING };
struct report {
    int64_t rev;
    int32_t name, op, what;
};
struct writer {
    struct store_wait w;
    struct report r;
};
static int report_fd;

static void report(const struct report *r)
{
    if (write(report_fd, r, sizeof *r) != sizeof *r)
        _exit(2);
}

static void acknowledged(struct store_wait *w, int result)
{
    struct writer *x = container_of(w, struct writer, w);
    if (result == 0)
        report(&x->r);
    free(x);
}

static bool operate(struct store *s, struct report *r, unsigned flags)
{
    char name[16], text[PAD + 16];
    snprintf(name, sizeof name, "k%02d", r->name);
    memset(text, '.', PAD);
    snprintf(text + PAD, 16, "%d", r->op);
    if (r->what == PUT)
        return kit_try(s, "/configmaps", "a", name, text, flags, &r->rev) == 0;
    struct report intent = {.name = r->name, .op = r->op, .what = REMOVING};
    report(&intent);
    const struct obj *o = NULL;
    if (store_delete(s, store_find(s, STR("/configmaps")), STR("a"), str_of(name), STR_NULL, 0, 0, &o, NULL) < 0)
        return false; /* not there */
    r->rev = o->rev;
    obj_unref(o);
    return true;
}

/* Writes until it is killed; many writes are under way at once. */
static void write_for_ever(const char *dir, unsigned seed, int32_t op)
{
    struct store *s = kit_open(dir, NULL);
    struct loop *l = loop_new(NULL);
    for (;; op++) {
        struct writer *x = xcalloc(1, sizeof *x);
        bool soft = rand_r(&seed) % 8 == 0;
        x->r = (struct report){.name = (int32_t)(rand_r(&seed) % NAMES), .op = op, .what = rand_r(&seed) % 4 ? PUT : REMOVED};
        if (!operate(s, &x->r, soft ? STORE_SOFT : 0) || (soft && x->r.what == PUT) || store_wait(s, x->r.rev, &x->w, l, acknowledged))
            free(x); /* a soft put is not promised to stay */
        loop_step(l, rand_r(&seed) % 16 ? 0 : 1);
    }
}

struct model {
    struct {
        int64_t rev;
        int32_t op, what, removing;
    } k[NAMES];
    int64_t newest;
};

static int32_t op_in(const struct obj *o)
{
    int64_t v = -1;
    ssize_t at = str_find(o->json, STR("\"v\":\""));
    struct str digits = str_sub(o->json, (size_t)at + 5 + PAD, o->json.n);
    ssize_t end = str_chr(digits, '"');
    OK(at > 0 && end > 0 && str_to_i64(str_sub(digits, 0, (size_t)end), &v));
    return (int32_t)v;
}

static void verify(const char *dir, struct model *m, int32_t next_op)
{
    struct store *s = kit_open(dir, NULL);
    struct store_view *v = store_view(s);
    OK(view_rev(v) >= m->newest);
    for (int i = 0; i < NAMES; i++) {
        char name[16];
        snprintf(name, sizeof name, "k%02d", i);
        const struct obj *o = view_get(v, store_find(s, STR("/configmaps")), STR("a"), str_of(name));
        if (o) { /* what was acknowledged last, or an operation that was begun after it */
            int32_t op = op_in(o);
            OK(op < next_op);
            OK(op > m->k[i].op || (op == m->k[i].op && m->k[i].what == PUT && o->rev == m->k[i].rev));
            m->k[i].op = op;
            m->k[i].what = PUT;
            m->k[i].rev = o->rev;
        } else { /* never written, or removed: acknowledged, or begun after the last that was acknowledged */
            OK(m->k[i].op == 0 || m->k[i].what == REMOVED || m->k[i].removing > m->k[i].op);
            m->k[i].what = REMOVED;
            m->k[i].op = MAX(m->k[i].op, m->k[i].removing);
        }
    }
    m->newest = MAX(m->newest, view_rev(v));
    store_view_unref(v);
    store_close(s);
}

static size_t listen_to(int fd, struct model *m, int64_t before, int32_t *op)
{
    size_t n = 0;
    for (struct report r; read(fd, &r, sizeof r) == sizeof r;) {
        *op = MAX(*op, r.op);
        if (r.what == REMOVING) {
            m->k[r.name].removing = r.op;
            continue;
        }
        n++;
        OK(r.rev > before); /* no revision of an earlier life comes again */
        m->newest = MAX(m->newest, r.rev);
        if (r.op > m->k[r.name].op) {
            m->k[r.name].rev = r.rev;
            m->k[r.name].op = r.op;
            m->k[r.name].what = r.what;
        }
    }
    return n;
}

TEST(kill_9_loses_no_acknowledged_write_and_invents_none)
{
    const char *env = getenv("SAMPAN_KILL_ROUNDS");
    int rounds = env ? (int)strtol(env, NULL, 10) : 20;
    char *dir = xasprintf("%s/kill", test_tmpdir());
    struct model m = {0};
    int32_t op = 1;
    unsigned seed = (unsigned)getpid();
    size_t total = 0;
    for (int round = 0; round < rounds; round++) {
        int fds[2], status = 0;
        OK(pipe2(fds, O_CLOEXEC) == 0);
        fcntl(fds[1], F_SETPIPE_SZ, 1 << 20);
        pid_t pid = fork();
        if (pid == 0) {
            close(fds[0]);
            report_fd = fds[1];
            write_for_ever(dir, seed + (unsigned)round, op);
        }
        close(fds[1]);
        usleep((useconds_t)(20000 + rand_r(&seed) % 80000));
        kill(pid, SIGKILL);
        OK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
        total += listen_to(fds[0], &m, m.newest, &op);
        close(fds[0]);
        op += 1000000; /* more than can have been under way */
        verify(dir, &m, op);
    }
    printf("# %d rounds, %zu acknowledged writes\n", rounds, total);
    OK(total > (size_t)rounds);
    free(dir);
}
