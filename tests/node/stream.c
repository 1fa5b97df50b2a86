#include "harness.h"
#include "tools.h"
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TEST(exec_gives_output_and_exit_code)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "sleep 1000");
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    _cleanup_(freep) char *out = NULL;
    EQ(rig_exec(r, "p1", "main", "echo out; echo err >&2; exit 7", &out), 7);
    EQ_Z(out, "out\nerr\n");
    struct node_exec bad = {STR("p1"), STR("nobody"), NULL, 0, false, false, true, true, 0};
    EQ(rig_ask(r, NODE_EXEC, &node_exec_type, &bad)->reply.code, ERR_NOT_FOUND);
    rig_end(r);
}

static bool ended(struct rig *r, const void *arg) { return ((const struct rig_reply *)arg)->ended; }

TEST(exec_takes_input_until_its_end)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "sleep 1000");
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    struct str argv[] = {STR("/bin/wc"), STR("-c")};
    struct node_exec x = {STR("p1"), STR("main"), argv, 2, false, true, true, false, 0};
    struct rig_reply *s = rig_ask(r, NODE_EXEC, &node_exec_type, &x);
    EQ(s->type, NODE_EXEC_STARTED);
    EQ(s->nfds, 2);
    EQ(write(s->fds[0], "12345", 5), 5);
    close(s->fds[0]);
    s->fds[0] = -1;
    _cleanup_(freep) char *out = rig_read_fd(r, s->fds[1]);
    EQ_STR(str_trim(str_of(out)), STR("5"));
    OK(rig_wait(r, 10, ended, s));
    rig_end(r);
}

TEST(exec_with_a_terminal_gets_one_and_its_size)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "sleep 1000");
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    struct str argv[] = {STR("/bin/busybox"), STR("sh"), STR("-c"), STR("read x; busybox stty size; busybox tty")};
    struct node_exec x = {STR("p1"), STR("main"), argv, 4, true, true, true, false, 0};
    uint64_t id = rig_send(r, NODE_EXEC, &node_exec_type, &x);
    struct rig_reply *s = &r->replies[id % 64];
    while (!s->got)
        rig_turn(r, 50);
    EQ(s->nfds, 1);
    struct node_resize size = {id, 91, 17};
    EQ(rig_ask(r, NODE_EXEC_RESIZE, &node_resize_type, &size)->reply.code, 0);
    EQ(write(s->fds[0], "\n", 1), 1);
    _cleanup_(freep) char *out = rig_read_fd(r, s->fds[0]);
    OK(strstr(out, "17 91"));
    OK(strstr(out, "/dev/pts/"));
    OK(rig_wait(r, 10, ended, s));
    EQ(s->done.code, 0);
    rig_end(r);
}

TEST(an_exec_that_takes_too_long_is_killed)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "sleep 1000");
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    struct str argv[] = {STR("/bin/sleep"), STR("100")};
    struct node_exec x = {STR("p1"), STR("main"), argv, 2, false, false, true, true, 500};
    struct rig_reply *s = rig_ask(r, NODE_EXEC, &node_exec_type, &x);
    OK(rig_wait(r, 10, ended, s));
    EQ(s->done.code, 124);
    rig_end(r);
}

TEST(attach_speaks_to_the_container_that_runs)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "read x; echo got $x; sleep 1000");
    p.containers[0].stdin_open = true;
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    struct node_attach a = {STR("p1"), STR("main")};
    struct rig_reply *s = rig_ask(r, NODE_ATTACH, &node_attach_type, &a);
    EQ(s->reply.code, 0);
    EQ(s->nfds, 2);
    EQ(send(s->fds[0], "word\n", 5, 0), 5);
    rig_wait_log(r, "p1", "main", "got word");
    rig_end(r);
}

TEST(a_port_of_a_pod_can_be_reached_from_inside_its_network)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "echo answer | nc -l -p 8080; sleep 1000");
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    struct node_connect c = {STR("p1"), 8080};
    struct rig_reply *s = NULL;
    for (int i = 0; i < 50; i++) {
        s = rig_ask(r, NODE_CONNECT, &node_connect_type, &c);
        if (s->reply.code == 0)
            break;
        rig_turn(r, 50);
    }
    EQ_STR(s->reply.message, STR(""));
    _cleanup_(freep) char *out = rig_read_fd(r, s->fds[0]);
    EQ_Z(out, "answer\n");
    c.port = 1;
    OK(rig_ask(r, NODE_CONNECT, &node_connect_type, &c)->reply.code != 0);
    rig_end(r);
}

TEST(only_the_dns_address_and_one_port_can_be_listened_on)
{
    struct rig *r = rig_new();
    struct node_listen no = {false, STR("0.0.0.0"), 80}, also_no = {true, STR("1.2.3.4"), 53}, yes = {true, STR("10.78.0.10"), 53};
    EQ(rig_ask(r, NODE_LISTEN, &node_listen_type, &no)->reply.code, ERR_FORBIDDEN);
    EQ(rig_ask(r, NODE_LISTEN, &node_listen_type, &also_no)->reply.code, ERR_FORBIDDEN);
    struct rig_reply *s = rig_ask(r, NODE_LISTEN, &node_listen_type, &yes);
    EQ(s->reply.code, 0);
    EQ(s->nfds, 1);
    rig_end(r);
}

TEST(a_terminal_that_nobody_holds_any_more_hangs_up)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "sleep 1000");
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    struct str argv[] = {STR("/bin/sh"), STR("-c"), STR("sleep 1000")};
    struct node_exec x = {STR("p1"), STR("main"), argv, 3, true, true, true, false, 0};
    struct rig_reply *s = rig_ask(r, NODE_EXEC, &node_exec_type, &x);
    EQ(s->nfds, 1);
    close(s->fds[0]);
    s->fds[0] = -1;
    OK(rig_wait(r, 10, ended, s));
    rig_end(r);
}

TEST(a_large_log_is_rotated_and_read_as_one)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "");
    struct str argv[] = {STR("/bin/busybox"), STR("sh"), STR("-c"),
        STR("echo first; busybox head -c 12000000 /dev/zero | busybox tr '\\0' x | busybox fold -w 1000; busybox sleep 12; echo last; "
            "busybox sleep 1000")};
    p.containers[0].command = argv;
    p.containers[0].ncommand = 4;
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    int64_t until = clock_mono(NULL) + 25 * NS_PER_S;
    struct node_log q = {STR("p1"), STR("main"), false};
    struct rig_reply *s = rig_ask(r, NODE_LOG, &node_log_type, &q);
    while (s->nfds < 2 && clock_mono(NULL) < until) {
        for (int i = 0; i < 20; i++)
            rig_turn(r, 20);
        s = rig_ask(r, NODE_LOG, &node_log_type, &q);
    }
    EQ(s->nfds, 2);
    rig_wait_log(r, "p1", "main", "last");
    _cleanup_(freep) char *log = rig_log(r, "p1", "main", false);
    OK(str_starts(str_of(log), STR("first\n")));
    rig_end(r);
}
