#include "http/addr.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/str.h"
#include "http/http.h"
#include "http/stream_impl.h"

char *addr_text(const struct sockaddr *sa, socklen_t n)
{
    char ip[INET6_ADDRSTRLEN];
    if (sa->sa_family == AF_INET && n >= sizeof(struct sockaddr_in)) {
        const struct sockaddr_in *a = (const void *)sa;
        return xasprintf("%s:%u", inet_ntop(AF_INET, &a->sin_addr, ip, sizeof ip), ntohs(a->sin_port));
    }
    if (sa->sa_family == AF_INET6 && n >= sizeof(struct sockaddr_in6)) {
        const struct sockaddr_in6 *a = (const void *)sa;
        if (IN6_IS_ADDR_V4MAPPED(&a->sin6_addr))
            return xasprintf("%s:%u", inet_ntop(AF_INET, (const char *)&a->sin6_addr + 12, ip, sizeof ip), ntohs(a->sin6_port));
        return xasprintf("[%s]:%u", inet_ntop(AF_INET6, &a->sin6_addr, ip, sizeof ip), ntohs(a->sin6_port));
    }
    return xstrdup(sa->sa_family == AF_UNIX ? "unix" : "unknown");
}

struct str stream_peer(const struct stream *s)
{
    struct stream *w = (struct stream *)(uintptr_t)s; /* the text is made once, when first asked for */
    if (!w->peer) {
        struct sockaddr_storage sa;
        socklen_t n = sizeof sa;
        int fd = stream_fd(s);
        if (fd < 0)
            w->peer = xstrdup("tunnel");
        else if (getpeername(fd, (struct sockaddr *)&sa, &n) < 0)
            w->peer = xstrdup("gone");
        else
            w->peer = addr_text((struct sockaddr *)&sa, n);
    }
    return str_of(w->peer);
}

static int bind_unix(const char *address, const char *path, int backlog, struct err **e)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    if (!*path || strlen(path) >= sizeof un.sun_path)
        return err_set(e, ERR_USAGE, "bind %s: the path of a unix socket has 1 to %zu bytes", address, sizeof un.sun_path - 1);
    memcpy(un.sun_path, path, strlen(path));
    _cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(e, errno, "bind %s", address);
    /* A socket file that nobody answers on is left over from a process that was killed. */
    if (connect(fd, (struct sockaddr *)&un, sizeof un) == 0 || errno == EAGAIN)
        return err_errno(e, EADDRINUSE, "bind %s", address);
    if (errno == ECONNREFUSED)
        (void)unlink(path);
    closep(&fd);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&un, sizeof un) < 0 || listen(fd, backlog) < 0)
        return err_errno(e, errno, "bind %s", address);
    int out = fd;
    fd = -1;
    return out;
}

static bool parse_host(struct str host, uint16_t port, struct sockaddr_storage *sa, socklen_t *n)
{
    char text[INET6_ADDRSTRLEN];
    if (host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
        host = str_sub(host, 1, host.n - 1);
    if (host.n >= sizeof text)
        return false;
    memcpy(text, host.p, host.n);
    text[host.n] = 0;
    struct sockaddr_in *a4 = (void *)sa;
    struct sockaddr_in6 *a6 = (void *)sa;
    *sa = (struct sockaddr_storage){0};
    if (!host.n || inet_pton(AF_INET6, text, &a6->sin6_addr) == 1) { /* "" is in6addr_any, which takes IPv4 too */
        a6->sin6_family = AF_INET6;
        a6->sin6_port = htons(port);
        *n = sizeof *a6;
        return true;
    }
    if (inet_pton(AF_INET, text, &a4->sin_addr) != 1)
        return false;
    a4->sin_family = AF_INET;
    a4->sin_port = htons(port);
    *n = sizeof *a4;
    return true;
}

int http_bind(const char *address, int backlog, struct err **e)
{
    struct str s = str_of(address);
    if (str_starts(s, STR("unix:")))
        return bind_unix(address, address + 5, backlog, e);
    ssize_t colon = str_rchr(s, ':');
    uint64_t port;
    struct sockaddr_storage sa;
    socklen_t n;
    if (colon < 0 || !str_to_u64(str_sub(s, (size_t)colon + 1, s.n), &port) || port > 65535 ||
        !parse_host(str_sub(s, 0, (size_t)colon), (uint16_t)port, &sa, &n))
        return err_set(e, ERR_USAGE, "bind %s: not host:port, [host]:port, :port or unix:/path with a numeric host", address);
    int one = 1, zero = 0;
    bool any = colon == 0;
    _cleanup_(closep) int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 && any && errno == EAFNOSUPPORT) { /* a kernel without IPv6 */
        (void)parse_host(STR("0.0.0.0"), (uint16_t)port, &sa, &n);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    }
    if (fd < 0)
        return err_errno(e, errno, "bind %s", address);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (sa.ss_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, any ? &zero : &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&sa, n) < 0 || listen(fd, backlog) < 0)
        return err_errno(e, errno, "bind %s", address);
    int out = fd;
    fd = -1;
    return out;
}
