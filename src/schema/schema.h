/* One schema, many uses. Every API kind is described once, in schema/<group>.<version>.schema (tools/schema.py turns these into the tables below at build
 * time; the format stands in schema/README.md); CRDs compile to the same tables at run time. From them: decoding and unknown fields, pruning, defaulting, structural validation,
 * strategic merge, server-side apply, protobuf, OpenAPI, discovery, columns. What a table cannot say is a hook in kinds/.
 *
 * All tables are immutable and shared between threads. A struct schema is a registry: the built-in groups plus what was added at run time, published as
 * a whole (schema_ref/unref), so that a reader keeps a consistent one.
 */
#pragma once
#include "base/bytes.h"
#include "base/pool.h"
#include "json/json.h"

enum sch_kind { /* what a value is */
    SCH_STRING, SCH_INT32, SCH_INT64, SCH_BOOL, SCH_DOUBLE, SCH_BYTES /* base64 in JSON */,
    SCH_OBJECT /* of type ref */, SCH_ARRAY, SCH_MAP /* string keys */,
    SCH_QUANTITY, SCH_INT_OR_STRING, SCH_TIME, SCH_MICRO_TIME, SCH_DURATION, SCH_FIELDS /* FieldsV1 */,
    SCH_ANY /* any JSON: RawExtension, JSON, x-preserve-unknown-fields */, SCH_KINDS
};
enum sch_flags {
    SCH_REQUIRED = 1 << 0,      /* must be present (and non-empty for strings) */
    SCH_POINTER = 1 << 1,       /* Go pointer: absent and zero differ */
    SCH_OMITEMPTY = 1 << 2,     /* zero is left out; without it, zero values are written ("status": {}, "creationTimestamp": null) */
    SCH_NULLABLE = 1 << 3,
    SCH_IMMUTABLE = 1 << 4,     /* may not change once set: "field is immutable" */
    SCH_LIST_MAP = 1 << 5, SCH_LIST_SET = 1 << 6, SCH_LIST_ATOMIC = 1 << 7, /* server-side apply; a map or struct can be atomic too */
    SCH_PATCH_MERGE = 1 << 8, SCH_PATCH_RETAIN_KEYS = 1 << 9, SCH_PATCH_REPLACE = 1 << 10, /* strategic merge */
    SCH_PRESERVE = 1 << 11,     /* CRD: unknown fields are kept */
    SCH_EMBEDDED = 1 << 12,     /* CRD: x-kubernetes-embedded-resource */
    SCH_INLINE_PROTO = 1 << 13, /* inlined in JSON, a message of its own in protobuf (VolumeSource) */
    SCH_LISTED = 1 << 14,       /* "required" in OpenAPI only: Go always writes it, nobody checks it */
    SCH_OPEN = 1 << 15,         /* enums are known values, others are allowed */
};
struct schema_type;
struct cr_type;
struct kind_hooks;
struct schema_check;            /* minimum, maximum, lengths, pattern, format name: see check.h */
struct schema_field {
    struct str name;
    uint8_t kind, item;          /* enum sch_kind; item: of ARRAY and MAP */
    uint16_t proto;              /* protobuf number */
    uint32_t flags;              /* enum sch_flags */
    const struct schema_type *ref;       /* OBJECT, or item OBJECT */
    const struct schema_field *elem;     /* ARRAY/MAP whose item is ARRAY, MAP or checked; else NULL */
    const char *proto_via;       /* INLINE_PROTO: name of the inlined message's field; "a.b" when twice inlined */
    uint16_t proto_via_num;      /* its protobuf number; twice inlined: outer * 256 + inner */
    struct str merge_key;        /* strategic merge */
    const struct str *map_keys; uint8_t nmap_keys; /* listMapKeys */
    struct str dflt;             /* default as JSON text; absent: none */
    const struct str *enums; uint8_t nenums;       /* allowed strings; 0: free */
    struct str enum_name;        /* Go's name of the string type: RestartPolicy */
    bool published;              /* enums stand in OpenAPI */
    const struct schema_check *check;
    struct str doc;              /* our own words; may be absent */
};
struct schema_type {
    struct str name;             /* OpenAPI name: io.k8s.api.apps.v1.DeploymentSpec */
    struct str doc;
    const struct schema_field *fields; /* in the order of the Go declaration */
    uint16_t nfields;
    uint32_t flags;              /* SCH_LIST_ATOMIC: a granular struct otherwise; SCH_PRESERVE */
    const uint16_t *by_name;     /* indexes of fields sorted by name (length, then bytes) */
    struct cr_type *cr;          /* a custom resource: its schema came at run time (structural.h); fields is empty then */
};
enum sch_verb { V_GET = 1, V_LIST = 2, V_WATCH = 4, V_CREATE = 8, V_UPDATE = 16, V_PATCH = 32, V_DELETE = 64, V_DELETECOLLECTION = 128 };
struct schema_column { struct str name, type, format, path /* JSONPath for CRDs and simple cells, absent: kinds' cells hook */, doc; uint8_t priority; };
struct schema_subresource {
    struct str name;                 /* status, scale, log, exec... */
    struct str group, version, kind; /* of its body */
    const struct schema_type *type;  /* NULL: not a document (log, exec, proxy) */
    uint32_t verbs;
};
struct schema_resource {
    struct str group, version, resource, singular, kind; /* group "" is core */
    bool namespaced;
    uint32_t verbs;
    const struct schema_type *type;
    const struct str *short_names; uint8_t nshort;
    const struct str *categories; uint8_t ncategories;
    const struct schema_subresource *subs; uint8_t nsubs;
    const struct schema_column *columns; uint8_t ncolumns;
    struct str storage;          /* "group/resource" under which all versions of it are stored together: apps/deployments, /pods */
    struct str storage_version;  /* the version written to the store */
    struct str field_selectors[12]; uint8_t nfield_selectors; /* beyond metadata.name and metadata.namespace: spec.nodeName... */
    bool has_status;             /* PUT of the main resource keeps status and the other way round */
    bool has_spec_generation;    /* metadata.generation rises when anything but metadata and status changes */
    struct str scale_spec, scale_status, scale_selector; /* JSON paths of a custom resource's scale subresource; absent: spec.replicas and so on */
    struct str list_kind;        /* absent: kind + "List" */
    bool unserved;               /* only stored in this version: no request may name it */
    bool deprecated; struct str deprecation; /* a version that answers with a warning */
    int64_t stamp;               /* what its documents change with: the CRD's revision */
    const void *extension;       /* the api room's: the CRD that this row came from */
    bool virtual_only;           /* not stored: SubjectAccessReviews, TokenReviews, bindings */
    const struct kind_hooks *hooks; /* set by kinds; NULL: none */
};

struct schema; /* the registry */
struct schema *schema_builtin(void);              /* made once; the caller gets a reference */
struct schema *schema_hub(void);                  /* the hub's registry: what a hub serves (management.cattle.io/v3, sampan.io/v1 and the core, rbac, auth groups) */
struct schema *schema_ref(struct schema *s);
void schema_unref(struct schema *s);
DEFINE_CLEANUP(struct schema *, schema_unref)
const struct schema_resource *schema_find(const struct schema *s, struct str group, struct str version, struct str resource);
const struct schema_resource *schema_find_kind(const struct schema *s, struct str group, struct str version, struct str kind);
const struct schema_type *schema_find_type(const struct schema *s, struct str name);
const struct schema_resource *schema_at(const struct schema *s, size_t i); /* all, ordered by group, version, resource; NULL at the end */
const struct schema_subresource *schema_sub(const struct schema_resource *r, struct str name);
const struct schema_field *schema_field(const struct schema_type *t, struct str name);
/* Links hooks to every version of a kind in the built-in registries. Before any other thread reads them (kinds_attach). */
void schema_attach(struct str group, struct str kind, const struct kind_hooks *hooks);
bool schema_gvk(const struct json *doc, struct str *group, struct str *version, struct str *kind); /* from apiVersion and kind */

/* What decoding found beside the document: unknown and duplicate fields, as messages in Kubernetes' words. */
struct schema_notes { struct str *items; size_t n; };
/* Checks every value against its type, normalises (canonical quantities, UTC times; ints from 1.0 refused), drops nulls where Go would, removes unknown fields
 * and notes them ("unknown field \"spec.foo\""). ERR_BAD_REQUEST in the words of Kubernetes' decoder for wrong types:
 * `Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`. */
int schema_decode(const struct schema_resource *r, const struct schema_type *t, struct pool *p, struct json *doc, struct schema_notes *notes, struct err **e) _must_check_;
/* Fills defaults of tables, then the kind's default hook is the caller's to run (kinds_default does both). */
void schema_default(const struct schema_type *t, struct pool *p, struct json *doc);
/* Structural validation: required, enums, checks, immutability against old (NULL on create). Adds causes to *e in Kubernetes' words and order; 0 or -ERR_INVALID. */
int schema_validate(const struct schema_type *t, struct pool *p, const struct json *doc, const struct json *old, struct err **e);
/* Writes the zero values that Go writes for this type ("status":{}, "strategy":{}, "resources":{}, "creationTimestamp":null) so that the stored form is what a kube-apiserver answers. */
void schema_fill_zero(const struct schema_type *t, struct pool *p, struct json *doc);
/* Strategic merge patch ($patch, $deleteFromPrimitiveList, $setElementOrder, $retainKeys). Changes doc; ERR_BAD_REQUEST on a malformed patch. */
int schema_strategic_merge(const struct schema_type *t, struct pool *p, struct json *doc, const struct json *patch, struct err **e) _must_check_;
/* OpenAPI: v3 document of one group version ("apis/apps/v1", "api/v1"), the v2 document as JSON. Built on demand, to be cached by the caller. */
int schema_openapi_v3(const struct schema *s, struct str group, struct str version, struct buf *out, struct err **e) _must_check_;
int schema_openapi_v2(const struct schema *s, struct buf *out, struct err **e) _must_check_;
/* The same in the protobuf form of gnostic: application/com.github.proto-openapi.spec.v2.v1.0+protobuf. */
int schema_openapi_v2_proto(const struct schema *s, struct buf *out, struct err **e) _must_check_;
