#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "harness.h"
#include "base/file.h"
#include "base/wire.h"

struct item {
    struct str name;
    int64_t n;
};
static const struct wire_field item_fields[] = {WIRE_STR(struct item, name, 8), WIRE_I64(struct item, n), WIRE_END};
static const struct wire_type item_type = {"item", sizeof(struct item), item_fields};

struct order {
    struct str id;
    uint64_t flags, kind;
    bool now;
    struct item first, *items;
    size_t nitems;
    struct str *args;
    size_t nargs;
};
static const struct wire_field order_fields[] = {WIRE_STR(struct order, id, 64), WIRE_U64(struct order, flags), WIRE_ENUM(struct order, kind, 3),
    WIRE_BOOL(struct order, now), WIRE_STRUCT(struct order, first, &item_type), WIRE_LIST(struct order, items, nitems, &item_type, 16),
    WIRE_STRS(struct order, args, nargs, 16), WIRE_END};
static const struct wire_type order_type = {"order", sizeof(struct order), order_fields};

static const struct order sample = {
    .id = {"order-1", 7}, .flags = UINT64_MAX, .kind = 2, .now = true, .first = {{"f", 1}, INT64_MIN},
    .items = (struct item[]){{{"a", 1}, -1}, {{"bb", 2}, 300}}, .nitems = 2,
    .args = (struct str[]){{"x", 1}, {"", 0}, {"z", 1}}, .nargs = 3};

TEST(a_message_decodes_to_what_was_encoded)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct order got;
    struct err *e = NULL;
    wire_encode(&order_type, &sample, &b);
    FINE(wire_decode(&order_type, buf_str(&b), p, &got, &e), e);
    EQ_STR(got.id, STR("order-1"));
    OK(got.flags == UINT64_MAX && got.kind == 2 && got.now && got.first.n == INT64_MIN && got.nitems == 2 && got.nargs == 3);
    EQ_STR(got.items[1].name, STR("bb"));
    EQ(got.items[0].n, -1);
    EQ(got.items[1].n, 300);
    EQ_STR(got.args[2], STR("z"));
}

TEST(a_large_embedded_struct_gets_its_long_length)
{
    struct bag {
        struct order o;
    };
    static const struct wire_field f[] = {WIRE_STRUCT(struct bag, o, &order_type), WIRE_END};
    static const struct wire_type bag_type = {"bag", sizeof(struct bag), f};
    static char text[100000];
    memset(text, 'x', sizeof text);
    struct str one = {text, sizeof text};
    struct bag bag = {.o = {.args = &one, .nargs = 1}}, got;
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct err *e = NULL;
    wire_encode(&bag_type, &bag, &b);
    FINE(wire_decode(&bag_type, buf_str(&b), p, &got, &e), e);
    EQ_STR(got.o.args[0], one);
}

/* The same message as a newer program has it. */
struct newer {
    struct str name;
    int64_t n;
    struct str extra;
};
static const struct wire_field newer_fields[] = {WIRE_STR(struct newer, name, 8), WIRE_I64(struct newer, n), WIRE_STR(struct newer, extra, 99), WIRE_END};
static const struct wire_type newer_type = {"item", sizeof(struct newer), newer_fields};

TEST(neighbouring_versions_understand_each_other)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct newer n = {STR("new"), 4, STR("more")}, back = {.extra = STR("left over")};
    struct item old = {STR("old"), 5}, got;
    struct err *e = NULL;
    wire_encode(&newer_type, &n, &b);
    FINE(wire_decode(&item_type, buf_str(&b), p, &got, &e), e);
    EQ_STR(got.name, STR("new"));
    buf_reset(&b);
    wire_encode(&item_type, &old, &b);
    FINE(wire_decode(&newer_type, buf_str(&b), p, &back, &e), e);
    EQ_STR(back.name, STR("old"));
    OK(!back.extra.p);
}

static void refused(const struct wire_type *t, struct str bytes, const char *why)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct order got;
    memset(&got, 0x5a, sizeof got);
    OK(wire_decode(t, bytes, p, &got, &e) < 0);
    EQ_Z(err_msg(e), why);
    OK(((unsigned char *)&got)[0] == 0x5a);
}

TEST(lies_about_length_count_and_range_name_the_field)
{
    refused(&item_type, STR("\x05" "abc"), "item.name: cut or too long");
    refused(&item_type, STR("\x09" "123456789"), "item.name: cut or too long");
    refused(&item_type, STR("\x01" "a" "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), "item.n: not a number");
    refused(&item_type, STR("\x01" "a" "\x80"), "item.n: not a number");
    refused(&order_type, STR("\x00\x00\x03"), "order.kind: out of range");
    refused(&order_type, STR("\x00\x00\x00\x02"), "order.now: not a boolean");
    refused(&order_type, STR("\x00\x00\x00\x00\x01\x05"), "item.name: cut or too long");
    refused(&order_type, STR("\x00\x00\x00\x00\x00\x11"), "order.items: too many items");
    refused(&order_type, STR("\x00\x00\x00\x00\x00\x10\x00"), "order.items: too many items");
    refused(&order_type, STR("\x00\x00\x00\x00\x00\x02\x00\x01\x03"), "item.name: cut or too long");
    refused(&order_type, STR("\x00\x00\x00\x00\x00\x00\x01\x05x"), "order.args: an item is cut or too long");
}

TEST(every_cut_and_every_flipped_bit_is_survived)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    wire_encode(&order_type, &sample, &b);
    for (size_t i = 0; i < b.n * 9; i++) {
        _cleanup_(pool_freep) struct pool *p = pool_new();
        char *copy = xmemdup0(b.p, b.n);
        size_t n = i < b.n ? i : b.n;
        if (i >= b.n)
            copy[(i - b.n) / 8] = (char)(copy[(i - b.n) / 8] ^ 1 << (i - b.n) % 8);
        struct order got;
        if (wire_decode(&order_type, str_make(copy, n), p, &got, NULL) == 0)
            OK(got.nitems <= 16 && got.nargs <= 16 && got.kind < 3);
        free(copy);
    }
}

/* Connections */

static struct side {
    struct wire *w;
    int msgs, closes, keep_fd;
    uint16_t type;
    uint64_t id;
    size_t nfds, bytes;
    char why[200];
    bool free_on_msg;
} a, b_side;

static void on_msg(void *arg, struct wire_msg *m)
{
    struct side *s = arg;
    s->msgs++;
    s->type = m->type;
    s->id = m->id;
    s->bytes += m->body.n;
    s->nfds = m->nfds;
    if (m->nfds && s->keep_fd < 0) { /* what is not taken is closed behind us */
        s->keep_fd = m->fds[0];
        m->fds[0] = -1;
    }
    if (s->free_on_msg)
        wire_free(TAKE(s->w));
}
static void on_close(void *arg, const struct err *e)
{
    struct side *s = arg;
    s->closes++;
    snprintf(s->why, sizeof s->why, "%s", e ? err_msg(e) : "");
    wire_free(TAKE(s->w));
}
static const struct wire_ops ops = {on_msg, on_close};

static struct loop *start(int *raw)
{
    int fd[2];
    struct err *e = NULL;
    struct loop *l = loop_new(&e);
    EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    a = b_side = (struct side){.keep_fd = -1};
    a.w = wire_new(l, fd[0], &ops, &a, &e);
    OK(a.w);
    if (raw) {
        *raw = fd[1];
    } else {
        b_side.w = wire_new(l, fd[1], &ops, &b_side, &e);
        OK(b_side.w);
    }
    return l;
}

static void stop(struct loop *l)
{
    wire_free(a.w);
    wire_free(b_side.w);
    loop_free(l);
}

static int open_fds(void)
{
    int n = 0;
    for (int i = 0; i < 256; i++)
        n += fcntl(i, F_GETFD) >= 0;
    return n;
}

TEST(frames_and_descriptors_arrive_in_order)
{
    int before = open_fds();
    struct loop *l = start(NULL);
    int zero = open("/dev/zero", O_RDONLY);
    int fds[2] = {zero, zero};
    for (int i = 0; i < 100; i++)
        wire_send(a.w, 1, (uint64_t)i, &order_type, &sample, NULL, 0);
    wire_send(a.w, 2, 100, &order_type, &sample, fds, 2);
    close(zero);
    while (b_side.msgs < 101)
        loop_step(l, 1000);
    EQ(b_side.type, 2);
    EQ(b_side.id, 100);
    EQ(b_side.nfds, 2);
    char c = 'x';
    EQ(read(b_side.keep_fd, &c, 1), 1);
    EQ(c, 0);
    OK(fcntl(b_side.keep_fd, F_GETFD) & FD_CLOEXEC);
    close(b_side.keep_fd);
    wire_send(b_side.w, 3, 7, NULL, NULL, NULL, 0);
    while (a.msgs < 1)
        loop_step(l, 1000);
    EQ(a.id, 7);
    wire_free(TAKE(b_side.w));
    while (!a.closes)
        loop_step(l, 1000);
    EQ_Z(a.why, "");
    stop(l);
    EQ(open_fds(), before);
}

TEST(each_of_many_descriptor_frames_gets_its_own)
{
    int before = open_fds();
    struct loop *l = start(NULL);
    for (int i = 0; i < 50; i++) {
        int fd = open("/dev/null", O_RDONLY);
        wire_send(a.w, 1, (uint64_t)i, NULL, NULL, &fd, 1);
        wire_send(a.w, 1, (uint64_t)i, &order_type, &sample, NULL, 0);
        close(fd);
    }
    while (b_side.msgs < 100) {
        loop_step(l, 1000);
        closep(&b_side.keep_fd);
    }
    EQ(b_side.closes, 0);
    stop(l);
    closep(&b_side.keep_fd);
    EQ(open_fds(), before);
}

TEST(a_large_message_passes_whole_and_its_memory_is_not_kept)
{
    static char text[1 << 20];
    struct str args[6];
    for (int i = 0; i < 6; i++)
        args[i] = str_make(text, sizeof text);
    struct order big = {.args = args, .nargs = 6};
    struct loop *l = start(NULL);
    wire_send(a.w, 1, 1, &order_type, &big, NULL, 0);
    while (!b_side.msgs)
        loop_step(l, 1000);
    OK(b_side.bytes > 6u << 20);
    stop(l);
}

TEST(a_message_above_the_limit_breaks_its_sender)
{
    static char text[1 << 20];
    struct str args[9];
    for (int i = 0; i < 9; i++)
        args[i] = str_make(text, sizeof text);
    struct order big = {.args = args, .nargs = 9};
    struct loop *l = start(NULL);
    wire_send(a.w, 1, 1, &order_type, &big, NULL, 0);
    EQ(a.closes, 0);
    while (!a.closes)
        loop_step(l, 1000);
    EQ_Z(a.why, "wire: order is larger than a frame may be");
    stop(l);
}

static void hostile(struct str bytes, bool then_close, const char *why)
{
    int raw;
    struct loop *l = start(&raw);
    EQ(write(raw, bytes.p, bytes.n), bytes.n);
    if (then_close)
        close(raw);
    for (int i = 0; i < 50 && !a.closes; i++)
        loop_step(l, 10);
    EQ(a.closes, 1);
    EQ_Z(a.why, why);
    if (!then_close)
        close(raw);
    stop(l);
}

TEST(a_peer_that_breaks_the_framing_is_cut_off)
{
    hostile(STR("\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0"), false, "wire: a frame of 4294967295 bytes");
    hostile(STR("\1\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0x"), false, "wire: a frame claims file descriptors that did not come");
    hostile(STR("\5\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0ab"), true, "wire: the peer ended inside a frame");
    hostile(STR("\1\0\0"), true, "wire: the peer ended inside a frame");
}

TEST(descriptors_that_no_frame_claims_do_not_pile_up)
{
    int before = open_fds(), raw;
    struct loop *l = start(&raw);
    int fds[WIRE_FDS];
    for (size_t i = 0; i < WIRE_FDS; i++)
        fds[i] = 0;
    for (int round = 0; round < 3 && !a.closes; round++) {
        union {
            char space[CMSG_SPACE(sizeof fds)];
            struct cmsghdr align;
        } control = {0};
        char frame[16] = {0};
        struct iovec iov = {frame, sizeof frame};
        struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fds)};
        memcpy(CMSG_DATA(c), fds, sizeof fds);
        EQ(sendmsg(raw, &m, MSG_NOSIGNAL), 16);
        for (int i = 0; i < 5; i++)
            loop_step(l, 5);
    }
    EQ(a.closes, 1);
    EQ_Z(a.why, "wire: too many file descriptors");
    close(raw);
    stop(l);
    EQ(open_fds(), before);
}

TEST(a_peer_that_does_not_read_is_cut_off_at_the_queue_limit)
{
    static char text[1 << 20];
    struct str args[4];
    for (int i = 0; i < 4; i++)
        args[i] = str_make(text, sizeof text);
    struct order big = {.args = args, .nargs = 4};
    int raw;
    struct loop *l = start(&raw);
    for (int i = 0; i < 40 && !a.closes; i++) {
        wire_send(a.w, 1, 1, &order_type, &big, NULL, 0);
        loop_step(l, 0);
    }
    EQ(a.closes, 1);
    EQ_Z(a.why, "wire: the peer does not read");
    close(raw);
    stop(l);
}

TEST(a_connection_may_be_freed_by_its_own_callback)
{
    struct loop *l = start(NULL);
    b_side.free_on_msg = true;
    for (int i = 0; i < 10; i++)
        wire_send(a.w, 1, 1, &order_type, &sample, NULL, 0);
    while (!a.closes)
        loop_step(l, 1000);
    EQ(b_side.msgs, 1);
    EQ(b_side.closes, 0);
    stop(l);
}
