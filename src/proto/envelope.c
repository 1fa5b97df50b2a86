#include "proto/wire.h"

/* runtime.Unknown, lists and watch frames (see proto.h). */

#define MAGIC STR("k8s\0")

bool proto_is_envelope(struct str bytes)
{
    return str_starts(bytes, MAGIC);
}

int proto_open(struct str bytes, struct proto_envelope *out, struct err **e)
{
    struct small unknown, type;
    if (!proto_is_envelope(bytes))
        return err_set(e, ERR_BAD_REQUEST, "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]");
    if (!wire_small(str_sub(bytes, 4, bytes.n), &unknown) || !wire_small(unknown.s[1], &type))
        return err_set(e, ERR_BAD_REQUEST, "protobuf: the envelope is malformed");
    if (unknown.s[3].n || (unknown.s[4].n && !str_eqz(unknown.s[4], "application/vnd.kubernetes.protobuf")))
        return err_set(e, ERR_BAD_REQUEST, "protobuf: the envelope's content is encoded once more (contentType \"%.*s\"), which is not understood",
            (int)MIN(unknown.s[4].n, 80), unknown.s[4].p ? unknown.s[4].p : "");
    if (!str_utf8_valid(type.s[1]) || !str_utf8_valid(type.s[2]))
        return err_set(e, ERR_BAD_REQUEST, "protobuf: apiVersion or kind is not UTF-8");
    *out = (struct proto_envelope){type.s[1], type.s[2], unknown.s[2]};
    return 0;
}

void proto_close(struct str api_version, struct str kind, struct str raw, struct buf *out)
{
    buf_str_add(out, MAGIC);
    wire_tag(out, 1, WT_BYTES);
    size_t at = out->n;
    wire_bytes(out, 1, api_version);
    wire_bytes(out, 2, kind);
    wire_length(out, at);
    wire_bytes(out, 2, raw);
    wire_bytes(out, 3, STR(""));
    wire_bytes(out, 4, STR(""));
}

void proto_list_meta(struct str revision, struct str cont, int64_t remaining, struct buf *out)
{
    wire_tag(out, 1, WT_BYTES);
    size_t at = out->n;
    wire_bytes(out, 1, STR("")); /* selfLink */
    wire_bytes(out, 2, revision);
    wire_bytes(out, 3, cont);
    if (remaining >= 0)
        wire_number(out, 4, (uint64_t)remaining);
    wire_length(out, at);
}

int proto_list_item(const struct proto_schema *s, const void *type, const struct json *item, struct buf *out, struct err **e)
{
    size_t before = out->n;
    wire_tag(out, 2, WT_BYTES);
    size_t at = out->n;
    int r = proto_encode(s, type, item, out, e);
    if (r == 0)
        wire_length(out, at);
    else
        out->n = before;
    return r;
}

void proto_watch_event(struct str type, struct str object, struct buf *out)
{
    size_t at = out->n;
    buf_add(out, "\0\0\0\0", 4);
    wire_bytes(out, 1, type);
    wire_tag(out, 2, WT_BYTES);
    size_t raw = out->n;
    wire_bytes(out, 1, object);
    wire_length(out, raw);
    size_t n = out->n - at - 4;
    for (int i = 0; i < 4 && !buf_failed(out); i++)
        out->p[at + (size_t)i] = (char)(n >> (24 - 8 * i));
}
