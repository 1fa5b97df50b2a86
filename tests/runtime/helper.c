#include "runtime/helper.h"
#include "runtime/isolate.h"
#include <signal.h>
#include <unistd.h>
#include "base/clock.h"
#include "harness.h"
#include "runtime/container.h"

struct result { bool done; enum err_code code; char text[256]; };

static void on_done(void *owner, const struct err *e, struct str out)
{
    struct result *r = owner;
    r->done = true;
    r->code = e ? e->code : ERR_NONE;
    snprintf(r->text, sizeof r->text, "%.*s", e ? (int)strlen(err_msg(e)) : (int)MIN(out.n, 200), e ? err_msg(e) : out.p);
}

static void wait_for(struct loop *l, const bool *done)
{
    for (int i = 0; i < 400 && !*done; i++)
        loop_step(l, 50);
    OK(*done);
}

static int works(void *arg, struct buf *out, struct err **e) { buf_printf(out, "%s", (char *)arg); return 0; }
static int fails(void *arg, struct buf *out, struct err **e) { return err_set(e, ERR_CONFLICT, "because"); }
static int crashes(void *arg, struct buf *out, struct err **e) { raise(SIGKILL); return 0; }
static int sleeps(void *arg, struct buf *out, struct err **e) { sleep(100); return 0; }
static int large(void *arg, struct buf *out, struct err **e)
{
    for (int i = 0; i < 100000; i++)
        buf_puts(out, "0123456789");
    return 0;
}

static struct result run(helper_fn *fn, void *arg, int timeout)
{
    struct err *e = NULL;
    struct result r = {0};
    _cleanup_(loop_freep) struct loop *l = loop_new(&e);
    OK(helper_start(l, fn, arg, NULL, 0, timeout, on_done, &r, &e));
    wait_for(l, &r.done);
    return r;
}

TEST(a_helper_gives_back_output_or_error)
{
    struct result r = run(works, (char[]){"output"}, 0);
    EQ(r.code, ERR_NONE);
    EQ_Z(r.text, "output");
    r = run(fails, NULL, 0);
    EQ(r.code, ERR_CONFLICT);
    EQ_Z(r.text, "because");
    EQ(run(large, NULL, 0).code, ERR_NONE);
}

TEST(a_helper_that_crashes_or_hangs_is_an_error)
{
    EQ(run(crashes, NULL, 0).code, ERR_INTERNAL);
    EQ(run(sleeps, NULL, 200).code, ERR_TIMEOUT);
}

TEST(waiting_for_a_helper_gives_the_same)
{
    _cleanup_(err_freep) struct err *e = NULL;
    _cleanup_(buf_clear) struct buf out = BUF_INIT;
    FINE(helper_wait(works, (char[]){"x"}, &out, &e), e);
    EQ_STR(buf_str(&out), STR("x"));
    EQ(helper_wait(fails, NULL, NULL, &e), -ERR_CONFLICT);
}

static void on_tool(void *owner, int code, struct str out)
{
    struct result *r = owner;
    r->done = true;
    r->code = (enum err_code)code;
    snprintf(r->text, sizeof r->text, "%.*s", (int)MIN(out.n, 200), out.p);
}

TEST(a_tool_tells_its_exit_code_and_what_it_said)
{
    if (geteuid() != 0)
        test_skip("needs root");
    struct err *e = NULL;
    struct result r = {0};
    _cleanup_(loop_freep) struct loop *l = loop_new(&e);
    const char *const argv[] = {
        "/bin/sh", "-c", "echo out; echo err >&2; test ! -e /sys/fs/cgroup/unified/cgroup.procs && exit 5; exit 6", NULL};
    OK(tool_start(l, -1, argv, 5000, on_tool, &r, &e));
    wait_for(l, &r.done);
    EQ(r.code, 5); /* in its own mount namespace the hybrid cgroup2 tree is not to be seen */
    EQ_Z(r.text, "out\nerr");
    r.done = false;
    const char *const slow[] = {"/bin/sleep", "100", NULL};
    OK(tool_start(l, -1, slow, 200, on_tool, &r, &e));
    wait_for(l, &r.done);
    EQ(r.code, 128 + SIGKILL);
}

TEST(a_tool_sees_nothing_of_our_environment)
{
    if (geteuid() != 0)
        test_skip("needs root");
    struct err *e = NULL;
    struct result r = {0};
    _cleanup_(loop_freep) struct loop *l = loop_new(&e);
    const char *const argv[] = {"/usr/bin/env", NULL};
    setenv("NOTIFY_SOCKET", "/run/systemd/notify", 1); /* crun would wait for the container's READY */
    setenv("SAMPAN_TOKEN", "secret", 1);
    OK(tool_start(l, -1, argv, 5000, on_tool, &r, &e));
    wait_for(l, &r.done);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("SAMPAN_TOKEN");
    EQ_Z(r.text, isolate_env[0]);
}
