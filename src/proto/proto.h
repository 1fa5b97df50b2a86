/* Kubernetes' protobuf: between JSON trees and the wire (application/vnd.kubernetes.protobuf), driven by tables that somebody above owns.
 *
 * The codec knows no kind. It asks a struct proto_schema about the fields of a type (an opaque pointer of the schema's); schema/wire.h is the one that
 * lays it over the API's tables. What comes out of decoding is the JSON that Go would have written for the decoded struct: fields
 * that Go leaves out when zero are left out, pointers keep their zero. What goes in to encoding is a decoded, valid document.
 *
 * On the wire an object is an envelope, "k8s" NUL and a runtime.Unknown message: TypeMeta (1), the object's own bytes (2), content encoding (3), content
 * type (4) (k8s.io/apimachinery/pkg/runtime/generated.proto). Messages nested in it are bare. A watch is a row of frames: length (4
 * bytes, big-endian) and a bare WatchEvent whose object is an envelope again.
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "base/pool.h"
#include "json/json.h"

enum proto_kind {
    PROTO_STRING, PROTO_INT32, PROTO_INT64, PROTO_BOOL, PROTO_DOUBLE, PROTO_BYTES,
    PROTO_OBJECT, PROTO_ARRAY, PROTO_MAP,
    PROTO_QUANTITY, PROTO_INT_OR_STRING, PROTO_TIME, PROTO_MICRO_TIME, PROTO_DURATION, PROTO_FIELDS, PROTO_ANY,
    /* JSONSchemaPropsOrBool, -OrArray, -OrStringArray: ref is JSONSchemaProps */
    PROTO_SCHEMA_OR_BOOL, PROTO_SCHEMA_OR_ARRAY, PROTO_SCHEMA_OR_STRINGS, PROTO_KINDS
};
struct proto_field {
    struct str name;        /* JSON's */
    uint8_t kind, item;     /* enum proto_kind; item: of ARRAY and MAP */
    uint16_t number;        /* 0: does not stand on the wire (apiVersion, kind) */
    uint16_t via;           /* 0; or the number of the message in which it stands, that JSON inlines; outer * 256 + inner for two of them */
    bool pointer, omitempty;
    const void *ref;        /* OBJECT, or item OBJECT: its type */
    const void *elem;       /* item ARRAY or MAP: what the item is, as a field without a name */
};
struct proto_schema {
    void (*at)(const void *type, size_t i, struct proto_field *out);
    void (*elem)(const void *elem, struct proto_field *out);
    ssize_t (*by_name)(const void *type, struct str name);                             /* index, or -1 */
    ssize_t (*by_number)(const void *type, uint16_t via, uint32_t number, size_t hint); /* the same; hint: where it is likely to stand */
    bool (*inlines)(const void *type, uint16_t via);                                   /* does any field stand in that message? */
};

/* obj (an object, perhaps with members already) gets the fields of `in`. Unknown fields are skipped. ERR_BAD_REQUEST names the field
 * ("spec: containers: name: not UTF-8"), ERR_LIMIT for nesting deeper than 64 or more than 500,000 values. */
int proto_decode(const struct proto_schema *s, const void *type, struct pool *pool, struct str in, struct json *obj, struct err **e) _must_check_;
/* Appends the message without an envelope. ERR_INTERNAL when a value does not have the type that the table says. */
int proto_encode(const struct proto_schema *s, const void *type, const struct json *obj, struct buf *out, struct err **e) _must_check_;

bool proto_is_envelope(struct str bytes);
struct proto_envelope {
    struct str api_version, kind, raw; /* views */
};
int proto_open(struct str bytes, struct proto_envelope *out, struct err **e) _must_check_;
void proto_close(struct str api_version, struct str kind, struct str raw, struct buf *out);

/* A List's own bytes: first this, then proto_list_item for each item. remaining: negative leaves it out. */
void proto_list_meta(struct str revision, struct str cont, int64_t remaining, struct buf *out);
int proto_list_item(const struct proto_schema *s, const void *type, const struct json *item, struct buf *out, struct err **e) _must_check_;
/* One frame of a watch. object: an envelope. */
void proto_watch_event(struct str type, struct str object, struct buf *out);

/* Durations as Go's time.Duration reads and writes them: "1h2m3.5s", "300ms". */
bool proto_duration_parse(struct str s, int64_t *ns);
struct str proto_duration(int64_t ns, char out[40]);
