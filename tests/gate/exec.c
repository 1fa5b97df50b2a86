/* exec over a real HTTP/2 connection, with real processes behind the real protocol to node. */
#include "above.h"
#include "harness.h"

#define EXEC "/exec/default/web/app?"

static bool has(const struct buf *b, const char *part)
{
    return str_find(buf_str(b), str_of(part)) >= 0;
}

TEST(exec_gives_output_then_success)
{
    struct above a;
    struct talk t = {0};
    above_open(&a);
    talk_open(&a, &t, EXEC "command=sh&command=-c&command=echo+one;+echo+two+%3E%262&stdout=true&stderr=true", "v5.channel.k8s.io");
    EQ_Z(t.protocol, "v5.channel.k8s.io");
    OK(above_until(&a, &t.closed, 5000));
    EQ_STR(buf_str(&t.out), STR("one\n"));
    EQ_STR(buf_str(&t.err), STR("two\n"));
    EQ_STR(buf_str(&t.status), STR("{\"metadata\":{},\"status\":\"Success\"}"));
    EQ(t.code, 1000);
    talk_clear(&t);
    above_close(&a);
}

TEST(exec_tells_the_exit_code_as_a_cause)
{
    struct above a;
    struct talk t = {0};
    above_open(&a);
    talk_open(&a, &t, EXEC "command=sh&command=-c&command=exit+3&stdout=1&stderr=1", "v4.channel.k8s.io");
    OK(above_until(&a, &t.closed, 5000));
    EQ_Z(t.protocol, "v4.channel.k8s.io");
    OK(has(&t.status, "\"reason\":\"NonZeroExitCode\""));
    OK(has(&t.status, "\"causes\":[{\"reason\":\"ExitCode\",\"message\":\"3\"}]"));
    talk_clear(&t);
    above_close(&a);
}

TEST(exec_passes_input_on_and_its_end_ends_the_process)
{
    struct above a;
    struct talk t = {0};
    above_open(&a);
    talk_open(&a, &t, EXEC "command=cat&stdin=true&stdout=true", "v5.channel.k8s.io");
    talk_say(&t, 0, "hello ");
    talk_say(&t, 0, "there");
    above_wait(&a, 100);
    EQ_STR(buf_str(&t.out), STR("hello there"));
    OK(!t.closed);
    ws_send(t.ws, WS_BINARY, "\377\000", 2); /* v5: channel 0 is closed */
    OK(above_until(&a, &t.closed, 5000));
    OK(has(&t.status, "Success"));
    talk_clear(&t);
    above_close(&a);
}

TEST(exec_closes_input_that_never_said_a_word)
{
    struct above a;
    struct talk t = {0};
    above_open(&a);
    talk_open(&a, &t, EXEC "command=wc&command=-c&stdin=true&stdout=true", "v5.channel.k8s.io");
    ws_send(t.ws, WS_BINARY, "\377\000", 2);
    OK(above_until(&a, &t.closed, 5000));
    EQ_STR(buf_str(&t.out), STR("0\n"));
    talk_clear(&t);
    above_close(&a);
}

TEST(exec_delivers_megabytes_whole_before_the_status_even_to_a_slow_client)
{
    struct above a;
    struct talk t = {.slow = true};
    above_open(&a);
    talk_open(&a, &t, EXEC "command=sh&command=-c&command=head+-c+8000000+/dev/zero;+exit+7&stdout=true", "v5.channel.k8s.io");
    above_wait(&a, 300);
    EQ(t.out.n, 0);
    ws_pause(t.ws, false);
    OK(above_until(&a, &t.closed, 20000));
    EQ(t.out.n, 8000000);
    OK(has(&t.status, "\"message\":\"7\""));
    talk_clear(&t);
    above_close(&a);
}

TEST(exec_holds_back_a_client_whose_process_does_not_read)
{
    struct above a;
    struct talk t = {0};
    static char lump[65537];
    above_open(&a);
    talk_open(&a, &t, EXEC "command=sh&command=-c&command=sleep+0.5;+wc+-c&stdin=true&stdout=true", "v5.channel.k8s.io");
    for (int i = 0; i < 64; i++)
        ws_send(t.ws, WS_BINARY, lump, sizeof lump);
    above_wait(&a, 300);
    OK(ws_queued(t.ws) > 1000000); /* still here, not in gate's memory */
    ws_send(t.ws, WS_BINARY, "\377\000", 2);
    OK(above_until(&a, &t.closed, 10000));
    EQ_STR(buf_str(&t.out), STR("4194304\n"));
    talk_clear(&t);
    above_close(&a);
}

TEST(exec_on_a_terminal_resizes_it)
{
    struct above a;
    struct talk t = {0};
    above_open(&a);
    talk_open(&a, &t, EXEC "command=sh&command=-c&command=read+x;+stty+size;+exit+$x&stdin=true&stdout=true&tty=true", "v5.channel.k8s.io");
    above_wait(&a, 100);
    talk_say(&t, 4, "{\"Width\":123,\"Height\":45}");
    talk_say(&t, 4, "{\"Width\":0,\"Height\":0}");
    talk_say(&t, 4, "[[[");
    above_wait(&a, 50);
    EQ(a.resizes, 1);
    talk_say(&t, 0, "5\n");
    OK(above_until(&a, &t.closed, 5000));
    OK(has(&t.out, "45 123"));
    OK(has(&t.status, "\"message\":\"5\""));
    talk_clear(&t);
    above_close(&a);
}

TEST(exec_does_not_wait_for_a_child_that_keeps_the_output_open)
{
    struct above a;
    struct talk t = {0};
    above_open(&a);
    talk_open(&a, &t, EXEC "command=sh&command=-c&command=sleep+20+%26+echo+ok&stdout=true", "v5.channel.k8s.io");
    OK(above_until(&a, &t.closed, 6000));
    EQ_STR(buf_str(&t.out), STR("ok\n"));
    OK(has(&t.status, "Success"));
    talk_clear(&t);
    above_close(&a);
}

TEST(exec_of_a_client_that_leaves_closes_the_process_input)
{
    struct above a;
    struct talk t = {0};
    above_open(&a);
    talk_open(&a, &t, EXEC "command=cat&stdin=true&stdout=true", "v5.channel.k8s.io");
    talk_say(&t, 0, "x");
    above_wait(&a, 100);
    EQ(t.out.n, 1);
    talk_clear(&t);
    above_wait(&a, 300);
    OK(list_empty(&a.procs)); /* cat has ended and was reaped */
    above_close(&a);
}

TEST(exec_tells_why_node_refused)
{
    struct above a;
    struct talk t = {0};
    above_open(&a);
    a.refuse = ERR_TOO_MANY;
    talk_open(&a, &t, EXEC "command=true&stdout=true", "v5.channel.k8s.io");
    OK(above_until(&a, &t.closed, 5000));
    OK(has(&t.status, "\"reason\":\"InternalError\""));
    OK(has(&t.status, "node says no"));
    talk_clear(&t);
    above_close(&a);
}

TEST(exec_is_refused_with_the_kubelets_words)
{
    static const struct {
        const char *path, *words;
    } rows[] = {
        {"/exec/default/nix/app?command=a&stdout=1", "pod \"nix\" not found"},
        {"/exec/default/web/nix?command=a&stdout=1", "container \"nix\" not found in pod \"web\""},
        {"/exec/default/web/other/app?command=a&stdout=1", "pod \"web\" not found"},
        {"/exec/default/web/app?stdout=1", "you must specify at least one command"},
        {"/exec/default/web/app?command=a", "you must specify at least 1 of stdin, stdout, stderr"},
        {"/exec/default/web/app/u1/more?command=a&stdout=1", "404"},
    };
    struct above a;
    above_open(&a);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct talk t = {0};
        talk_open(&a, &t, rows[i].path, "v5.channel.k8s.io");
        OK(t.closed);
        if (!has(&t.refused, rows[i].words))
            test_fail(__FILE__, __LINE__, "%s: %.*s", rows[i].path, STR_ARG(buf_str(&t.refused)));
        talk_clear(&t);
    }
    struct talk t = {0};
    a.con.state = CS_TERMINATED;
    talk_open(&a, &t, EXEC "command=a&stdout=1", "v5.channel.k8s.io");
    OK(has(&t.refused, "container not found (\"app\")"));
    talk_clear(&t);
    above_close(&a);
}
