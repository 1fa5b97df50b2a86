/* attach, with the test in conmon's place on the socket. */
#include "above.h"
#include <sys/socket.h>
#include <unistd.h>
#include "base/file.h"
#include "harness.h"

static int with_conmon(struct above *a)
{
    int sv[2];
    above_open(a);
    EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
    a->attach_fd = sv[0];
    fd_nonblock(sv[1]);
    return sv[1];
}

static void put(int fd, const char *p, size_t n)
{
    EQ(send(fd, p, n, MSG_NOSIGNAL), (ssize_t)n);
}

TEST(attach_keeps_streams_apart_passes_input_and_sizes_and_ends_with_the_container)
{
    struct above a;
    struct talk t = {0};
    char got[64];
    int conmon = with_conmon(&a);
    talk_open(&a, &t, "/attach/default/web/app?stdin=true&stdout=true&stderr=true", "v5.channel.k8s.io");
    above_wait(&a, 50);
    closep(&a.attach_fd); /* gate has its own */
    put(conmon, "\002hello", 6);
    put(conmon, "\003oops", 5);
    put(conmon, "\002 there", 7);
    talk_say(&t, 0, "typed");
    above_wait(&a, 100);
    EQ_STR(buf_str(&t.out), STR("hello there"));
    EQ_STR(buf_str(&t.err), STR("oops"));
    EQ(recv(conmon, got, sizeof got, 0), 5);
    EQ_STR(str_make(got, 5), STR("typed"));
    ws_send(t.ws, WS_BINARY, "\377\000", 2);
    above_wait(&a, 50);
    EQ(recv(conmon, got, sizeof got, 0), 0);
    put(conmon, "\002bye", 4);
    close(conmon);
    OK(above_until(&a, &t.closed, 2000));
    EQ_STR(buf_str(&t.out), STR("hello therebye"));
    EQ_STR(buf_str(&t.status), STR("{\"metadata\":{},\"status\":\"Success\"}"));
    above_wait(&a, 20);
    OK(a.detached);
    talk_clear(&t);
    above_close(&a);
}

TEST(attach_of_a_client_that_leaves_tells_node)
{
    struct above a;
    struct talk t = {0};
    int conmon = with_conmon(&a);
    talk_open(&a, &t, "/attach/default/web/app?stdout=true&stdin=true&tty=true", "v5.channel.k8s.io");
    above_wait(&a, 50);
    talk_say(&t, 4, "{\"Width\":80,\"Height\":24}");
    above_wait(&a, 50);
    EQ(a.width, 80);
    EQ(a.height, 24);
    closep(&a.attach_fd);
    talk_clear(&t);
    above_wait(&a, 100);
    OK(a.detached);
    char c;
    EQ(recv(conmon, &c, 1, 0), 0);
    close(conmon);
    above_close(&a);
}

TEST(attach_holds_conmon_back_for_a_slow_client_and_loses_nothing)
{
    struct above a;
    struct talk t = {.slow = true};
    static char packet[8193];
    int conmon = with_conmon(&a);
    size_t sent = 0;
    talk_open(&a, &t, "/attach/default/web/app?stdout=true", "v5.channel.k8s.io");
    above_wait(&a, 50);
    closep(&a.attach_fd);
    packet[0] = 2;
    for (int quiet = 0; quiet < 20 && sent < 4000;) {
        bool ok = send(conmon, packet, sizeof packet, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof packet;
        sent += ok;
        quiet = ok ? 0 : quiet + 1;
        if (!ok)
            above_wait(&a, 10);
    }
    OK(sent < 1000);
    ws_pause(t.ws, false);
    above_wait(&a, 200);
    close(conmon);
    OK(above_until(&a, &t.closed, 5000));
    EQ(t.out.n, sent * 8192);
    talk_clear(&t);
    above_close(&a);
}
