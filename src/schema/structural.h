/* Schemas that come at run time: the structural schemas of CustomResourceDefinitions (KEP: apiextensions' "structural schema"), compiled to
 * nodes.
 *
 * A CRD makes a pack: one resource row per served or stored version, whose type carries a struct cr_type. schema.h's functions (decode,
 * default, validate, server-side apply, OpenAPI) ask the type for it and take the ways declared here instead of the tables'. apiVersion,
 * kind and metadata keep their tables.
 *
 * A cluster holds hundreds of CRDs of which it uses a few: nodes are compiled when a version is first used (cr_root), from the CRD's stored
 * bytes, which the pack's owner hands out. Nodes, like all of a registry, are immutable and shared between threads; a pack is
 * reference-counted and goes with its last registry.
 */
#pragma once
#include <pthread.h>

#include "schema/ferr.h"
#include "schema/schema.h"

struct regex;
struct cr_rule; /* x-kubernetes-validations, compiled: structural_rules.c */

enum cr_kind { CR_ANY, CR_OBJECT, CR_ARRAY, CR_STRING, CR_INTEGER, CR_NUMBER, CR_BOOLEAN };
enum cr_flags {
    CR_NULLABLE = 1 << 0,
    CR_PRESERVE = 1 << 1,
    CR_EMBEDDED = 1 << 2,
    CR_INT_OR_STRING = 1 << 3,
    CR_LIST_MAP = 1 << 4,
    CR_LIST_SET = 1 << 5,
    CR_MAP_ATOMIC = 1 << 6,
    CR_UNIQUE = 1 << 7,
    CR_EXCLUSIVE_MIN = 1 << 8,
    CR_EXCLUSIVE_MAX = 1 << 9,
    CR_ADDITIONAL = 1 << 10, /* additionalProperties is there (additional NULL: true) */
    CR_RULES_BELOW = 1 << 11 /* this node or one below it has rules */
};
enum cr_has {
    CR_MIN = 1 << 0,
    CR_MAX = 1 << 1,
    CR_MULTIPLE = 1 << 2,
    CR_MIN_LEN = 1 << 3,
    CR_MAX_LEN = 1 << 4,
    CR_MIN_ITEMS = 1 << 5,
    CR_MAX_ITEMS = 1 << 6,
    CR_MIN_PROPS = 1 << 7,
    CR_MAX_PROPS = 1 << 8
};
struct cr_node;
struct cr_list { /* of nodes: allOf, anyOf, oneOf */
    const struct cr_node *const *items;
    uint16_t n;
};
struct cr_checks { /* what a value must satisfy; most nodes have none */
    uint32_t has;
    double min, max, multiple;
    int64_t min_len, max_len, min_items, max_items, min_props, max_props;
    struct str format, pattern;
    struct regex *regex; /* NULL: none, or one that did not compile */
    const struct json *enums;
    const struct str *required;
    uint16_t nrequired;
    struct cr_list all_of, any_of, one_of;
    const struct cr_node *not_;
};
struct cr_prop {
    struct str name;
    const struct cr_node *node;
};
struct cr_node {
    uint8_t kind;
    uint8_t nkeys;
    uint16_t flags, nprops, nrules;
    const struct cr_prop *props; /* sorted by name */
    const struct cr_node *items, *additional;
    const struct cr_checks *checks;
    const struct json *dflt;
    const struct str *keys; /* x-kubernetes-list-map-keys */
    struct cr_rule *const *rules;
};

struct cr_type {
    struct schema_type type; /* what the resource's row points to */
    pthread_mutex_t lock;
    struct cr_node *_Atomic root;
    struct pool *pool; /* of the nodes */
    struct schema_pack *pack;
    struct str version;
    bool reread; /* stored bytes may lack what this schema asks for: they pass through it when they are read */
};
/* The compiled schema of a type that has one. */
const struct cr_node *cr_root(const struct schema_type *t);
const struct cr_node *cr_member(const struct cr_node *n, struct str name); /* NULL: not described */
const struct schema_type *cr_meta(void);                                   /* ObjectMeta's table */

/* All that one CRD adds. */
struct schema_pack {
    _Atomic uint32_t refs;
    struct pool *pool;
    struct schema_resource *rows;
    size_t nrows;
    struct cr_type **types; /* beside rows */
    /* openAPIV3Schema of a version, parsed into p; NULL: it has none. From any thread. */
    const struct json *(*source)(void *arg, struct str version, struct pool *p);
    void (*drop)(void *arg);
    void *arg;
};
/* nrows rows; the caller fills them; types are made here, with the rows' types pointing to them. */
struct schema_pack *schema_pack_new(
    size_t nrows, const struct json *(*source)(void *, struct str, struct pool *), void (*drop)(void *), void *arg);
struct schema_pack *schema_pack_ref(struct schema_pack *p);
void schema_pack_unref(struct schema_pack *p);
/* A registry with base's rows and those of the packs; rows that base has already are left out. */
struct schema *schema_extend(struct schema *base, struct schema_pack *const *packs, size_t n);

/* A schema as nodes in p. Never fails: what is no structural schema is kept as far as it makes sense (cr_violations says what is wrong). */
struct cr_node *cr_compile(struct pool *p, const struct json *schema);
void cr_compile_rules(struct pool *p, struct cr_node *n, const struct json *schema); /* structural_rules.c */
/* What keeps a schema from being structural, as causes with paths below at. */
void cr_violations(const struct json *schema, const struct fpath *at, struct err **e);
void cr_check_rules(struct pool *p, const struct json *schema, const struct fpath *at, struct err **e);

/* The ways of schema.h for such types. */
int cr_decode(const struct schema_resource *r, const struct schema_type *t, struct pool *p, struct json *doc, struct schema_notes *notes,
    struct err **e) _must_check_;
void cr_default(const struct cr_node *n, struct pool *p, struct json *v);
void cr_sort(const struct schema_type *t, struct pool *p, struct json *doc); /* members in the order in which Go writes maps */
void cr_validate(const struct schema_type *t, struct pool *p, const struct json *doc, const struct json *old, struct err **e);
void cr_validate_node(const struct cr_node *n, struct pool *p, const struct json *v, const struct fpath *at,
    struct err **e); /* without rules; defaults of CRDs */
void cr_rules(const struct cr_node *n, struct pool *p, const struct json *doc, const struct json *old, struct err **e);
const char *cr_format_wrong(struct str format, struct str text); /* NULL: fine, or a format that nobody checks */
bool cr_format_known(struct str format);

/* decode.c: the members of a metadata object by its table, below the path `at`. */
int schema_decode_part(const struct schema_resource *r, const struct schema_type *t, struct pool *p, struct json *doc,
    const struct fpath *at, struct schema_notes *notes, struct err **e) _must_check_;
void schema_note(struct pool *p, struct schema_notes *notes, const struct fpath *at);
