#include "harness.h"
#include "proto/proto.h"

/* As Go writes an empty ConfigMap's envelope. */
#define EXPECT "k8s\0" "\x0a\x0f" "\x0a\x02v1" "\x12\x09" "ConfigMap" "\x12\x03" "abc" "\x1a\x00" "\x22\x00"

TEST(an_envelope_has_gos_bytes_and_opens_again)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    struct proto_envelope v;
    struct err *e = NULL;
    proto_close(STR("v1"), STR("ConfigMap"), STR("abc"), &b);
    EQ_STR(buf_str(&b), str_make(EXPECT, sizeof EXPECT - 1));
    FINE(proto_open(buf_str(&b), &v, &e), e);
    EQ_STR(v.api_version, STR("v1"));
    EQ_STR(v.kind, STR("ConfigMap"));
    EQ_STR(v.raw, STR("abc"));
}

TEST(what_is_no_envelope_is_refused)
{
    struct proto_envelope v;
    static const struct str bad[] = {{"", 0}, {"k8s", 3}, {"{}", 2}, {"k8s\0\x0a\x7f", 6}, {"k8s\0\x0b", 5}, {"k8s\0\x1a\x04gzip", 10},
        {"k8s\0\x0a\x03\x0a\x01\xff", 9}, {"k8s\0\x00", 5}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        EQ(proto_open(bad[i], &v, NULL), -ERR_BAD_REQUEST);
}

TEST(lists_and_watch_frames_have_gos_bytes)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT, w = BUF_INIT;
    proto_list_meta(STR("42"), STR("next"), 7, &b);
    EQ_STR(buf_str(&b), STR("\x0a\x0e" "\x0a\x00" "\x12\x02" "42" "\x1a\x04" "next" "\x20\x07"));
    proto_watch_event(STR("ADDED"), STR("k8s"), &w);
    EQ_STR(buf_str(&w), STR("\x00\x00\x00\x0e" "\x0a\x05" "ADDED" "\x12\x05" "\x0a\x03k8s"));
}
