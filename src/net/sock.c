/* Sockets in a pod's or the host's namespace. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>
#include "net/impl.h"

static int loopback(uint16_t port)
{
    struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&a4, sizeof a4) == 0)
        return fd;
    r = -errno;
    close(fd);
    fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return r;
    if (connect(fd, (struct sockaddr *)&a6, sizeof a6) == 0)
        return fd;
    close(fd);
    return r; /* what 127.0.0.1 said is what users expect to read */
}

int net_connect(int netns, uint16_t port, struct err **e)
{
    _cleanup_(closep) int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    int fd;

    if (home < 0 || setns(netns, CLONE_NEWNET) < 0)
        return err_errno(e, errno, "enter the pod's network namespace");
    fd = loopback(port);
    if (setns(home, CLONE_NEWNET) < 0)
        abort(); /* nothing of this process may go on in a pod's namespace */
    return fd < 0 ? err_errno(e, -fd, "connect to localhost:%u inside the pod", port) : fd;
}

int net_listen(struct str address, uint16_t port, bool udp, struct err **e)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    _cleanup_(closep) int fd = -1;
    int on = 1, r;

    if (address.n && !net_ip_parse(address, &a.sin_addr.s_addr))
        return err_set(e, ERR_INVALID, "address \"%.*s\" is not an IPv4 address", STR_ARG(address));
    fd = socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(e, errno, "socket");
    setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || (!udp && listen(fd, 512) < 0))
        return err_errno(e, errno, "bind %.*s:%u", STR_ARG(address), port);
    r = fd;
    fd = -1;
    return r;
}
