/* libyaml's events into trees. Recursion follows nesting, which the depth limit bounds. */
#include "yaml/yaml.h"
#include <stdlib.h>
#include <yaml.h>
#include "base/map.h"
#include "yaml/scalar.h"

enum { BYTES_DEFAULT = 3 << 20, DEPTH_DEFAULT = 128, DEPTH_MAX = 512, NODES_DEFAULT = 1000000, DOCUMENTS_DEFAULT = 10000 };

struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the one in hand */
    bool have_event;
    struct pool *pool;
    struct map anchors; /* name to node, of this document; &open while the node is not complete */
    size_t depth_max, nodes_left, alias_bytes_left;
    struct err **e;
};

static struct json open_anchor; /* marks an anchor inside its own value */

static int fail(struct reader *r, size_t line, enum err_code code, const char *what)
{
    return err_set(r->e, code, "yaml: line %zu: %s", line + 1, what);
}

static int fail_here(struct reader *r, enum err_code code, const char *what)
{
    return fail(r, r->event.start_mark.line, code, what);
}

static int next(struct reader *r)
{
    if (r->have_event)
        yaml_event_delete(&r->event);
    r->have_event = yaml_parser_parse(&r->parser, &r->event);
    if (r->have_event)
        return 0;
    size_t line = r->parser.problem_mark.line ? r->parser.problem_mark.line : r->parser.context_mark.line;
    if (r->parser.error == YAML_MEMORY_ERROR)
        return err_set(r->e, ERR_LIMIT, "yaml: out of memory");
    return fail(r, line, ERR_PARSE, r->parser.problem ? r->parser.problem : "malformed");
}

static int count_node(struct reader *r)
{
    if (r->nodes_left-- > 0)
        return 0;
    r->nodes_left = 0;
    return fail_here(r, ERR_LIMIT, "too many values");
}

static struct str event_text(const yaml_event_t *ev)
{
    return str_make((const char *)ev->data.scalar.value, ev->data.scalar.length);
}

/* A core tag by its short name ("str", "int"), or absent. */
static struct str core_tag(const yaml_char_t *tag)
{
    struct str t = str_of((const char *)tag), core = STR("tag:yaml.org,2002:");
    return str_starts(t, core) ? str_sub(t, core.n, t.n) : STR_NULL;
}

static struct json *binary(struct reader *r, struct str text)
{
    struct buf clean = BUF_INIT, out = BUF_INIT;
    struct json *j = NULL;
    for (size_t i = 0; i < text.n; i++)
        if (!strchr(" \n\r\t", text.p[i]))
            buf_putc(&clean, text.p[i]);
    if (buf_unbase64(&out, buf_str(&clean)) && str_utf8_valid(buf_str(&out)))
        j = json_str(r->pool, buf_str(&out));
    buf_clear(&clean);
    buf_clear(&out);
    return j;
}

static struct json *typed(struct reader *r, struct str text, enum scalar is, const struct scalar_value *v)
{
    switch (is) {
    case SCALAR_NULL:
        return json_null(r->pool);
    case SCALAR_BOOL:
        return json_bool(r->pool, v->b);
    case SCALAR_INT:
        return json_int(r->pool, v->i);
    case SCALAR_DOUBLE:
        return json_double(r->pool, v->d);
    case SCALAR_NO_JSON:
        return NULL;
    default:
        return json_str(r->pool, text);
    }
}

static bool tag_allows(struct str tag, enum scalar is)
{
    if (str_eq(tag, STR("int")))
        return is == SCALAR_INT;
    if (str_eq(tag, STR("float")))
        return is == SCALAR_INT || is == SCALAR_DOUBLE;
    if (str_eq(tag, STR("bool")))
        return is == SCALAR_BOOL;
    if (str_eq(tag, STR("null")))
        return is == SCALAR_NULL;
    return true;
}

static int read_scalar(struct reader *r, struct json **out)
{
    const yaml_event_t *ev = &r->event;
    struct str text = event_text(ev), tag = core_tag(ev->data.scalar.tag);
    bool tagged = ev->data.scalar.tag && !ev->data.scalar.plain_implicit && !ev->data.scalar.quoted_implicit;
    struct scalar_value v;
    if (str_eq(tag, STR("binary"))) {
        *out = binary(r, text);
        return *out ? 0 : fail_here(r, ERR_PARSE, "!!binary value is not base64 of UTF-8 text");
    }
    if (tagged ? !tag.p || str_eq(tag, STR("str")) || str_eq(tag, STR("timestamp")) : ev->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) {
        *out = json_str(r->pool, text);
        return 0;
    }
    enum scalar is = scalar_resolve(text, &v);
    if (tagged && !tag_allows(tag, is))
        return fail_here(r, ERR_PARSE, "value does not fit its tag");
    *out = typed(r, text, is, &v);
    return *out ? 0 : fail_here(r, ERR_PARSE, "infinity and NaN have no JSON form");
}

/* A deep copy that shares the bytes of strings and pays for nodes and, since it may be written out, for bytes. */
static int copy_alias(struct reader *r, const struct json *j, size_t depth, struct json **out)
{
    size_t bytes = j->keyn + (j->type == JSON_STR ? j->n : 0);
    if (depth > r->depth_max)
        return fail_here(r, ERR_LIMIT, "exceeded max depth");
    if (bytes > r->alias_bytes_left)
        return fail_here(r, ERR_LIMIT, "document contains excessive aliasing");
    r->alias_bytes_left -= bytes;
    int rc = count_node(r);
    if (rc < 0)
        return rc;
    struct json *c = pool_alloc(r->pool, sizeof *c);
    *c = *j;
    c->next = NULL;
    if (j->type == JSON_ARR || j->type == JSON_OBJ) {
        c->first = c->last = NULL;
        c->n = 0;
        json_for (j, m) {
            struct json *mc = NULL;
            if ((rc = copy_alias(r, m, depth + 1, &mc)) < 0)
                return rc;
            json_append(c, mc);
            mc->keyp = m->keyp;
            mc->keyn = m->keyn;
        }
    }
    *out = c;
    return 0;
}

static int read_alias(struct reader *r, size_t depth, struct json **out)
{
    const struct json *j = map_get(&r->anchors, str_of((const char *)r->event.data.alias.anchor));
    if (!j || j == &open_anchor)
        return fail_here(r, ERR_PARSE, j ? "anchor value contains itself" : "unknown anchor referenced");
    return copy_alias(r, j, depth, out);
}

static int read_node(struct reader *r, size_t depth, struct json **out);

/* The text of a key that is no string, as sigs.k8s.io/yaml writes it. */
static int key_text(struct reader *r, const struct json *key, struct str *out)
{
    switch (key->type) {
    case JSON_STR:
        *out = json_as_str(key);
        return 0;
    case JSON_BOOL:
    case JSON_INT:
    case JSON_DOUBLE:
        *out = json_to_pool(r->pool, key);
        return 0;
    default:
        return fail_here(r, ERR_PARSE, "a mapping key must be a string, number or bool");
    }
}

static bool is_merge_key(const yaml_event_t *ev)
{
    struct scalar_value v;
    return ev->type == YAML_SCALAR_EVENT && ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !ev->data.scalar.tag &&
           scalar_resolve(event_text(ev), &v) == SCALAR_MERGE;
}

/* The members of one mapping by key, its own apart from those that only a merge brought. */
struct members {
    struct json *obj;
    struct map explicit_keys, merged_keys;
};

static void append_member(struct members *ms, struct str key, struct json *value)
{
    json_append(ms->obj, value);
    value->keyp = key.p ? key.p : "";
    value->keyn = (uint32_t)key.n;
}

/* The members are copied, not moved: `from` may bear an anchor of its own. */
static void merge_one(struct reader *r, struct members *ms, const struct json *from)
{
    json_for (from, m) {
        struct str key = json_key(m);
        if (map_get(&ms->explicit_keys, key) || map_get(&ms->merged_keys, key))
            continue; /* the mapping's own members win, then the first merged */
        struct json *c = pool_alloc(r->pool, sizeof *c);
        *c = *m;
        append_member(ms, key, c);
        map_put(&ms->merged_keys, key, c);
    }
}

static int merge(struct reader *r, struct members *ms, struct json *value)
{
    if (value->type == JSON_OBJ) {
        merge_one(r, ms, value);
        return 0;
    }
    if (value->type != JSON_ARR)
        return fail_here(r, ERR_PARSE, "map merge requires map or sequence of maps as the value");
    json_for (value, m) {
        if (m->type != JSON_OBJ)
            return fail_here(r, ERR_PARSE, "map merge requires map or sequence of maps as the value");
        merge_one(r, ms, m);
    }
    return 0;
}

static int add_member(struct reader *r, struct members *ms, struct str key, size_t line, struct json *value)
{
    if (map_get(&ms->explicit_keys, key)) {
        char what[160];
        snprintf(what, sizeof what, "key \"%.*s\" already set in map", (int)MIN(key.n, (size_t)100), key.p);
        return fail(r, line, ERR_PARSE, what);
    }
    struct json *merged = map_get(&ms->merged_keys, key);
    map_put(&ms->explicit_keys, key, merged ? merged : value);
    if (merged)
        json_replace(merged, value);
    else
        append_member(ms, key, value);
    return 0;
}

static int read_members(struct reader *r, size_t depth, struct members *ms)
{
    for (;;) {
        struct json *key, *value;
        struct str text = STR_NULL;
        int rc = next(r);
        if (rc < 0 || r->event.type == YAML_MAPPING_END_EVENT)
            return rc;
        bool merging = is_merge_key(&r->event);
        size_t line = r->event.start_mark.line;
        if ((rc = read_node(r, depth + 1, &key)) < 0 || (!merging && (rc = key_text(r, key, &text)) < 0))
            return rc;
        if ((rc = next(r)) < 0 || (rc = read_node(r, depth + 1, &value)) < 0)
            return rc;
        rc = merging ? merge(r, ms, value) : add_member(r, ms, text, line, value);
        if (rc < 0)
            return rc;
    }
}

static int read_mapping(struct reader *r, size_t depth, struct json *obj)
{
    struct members ms = {.obj = obj};
    int rc = read_members(r, depth, &ms);
    map_clear(&ms.explicit_keys, NULL);
    map_clear(&ms.merged_keys, NULL);
    return rc;
}

static int read_sequence(struct reader *r, size_t depth, struct json *arr)
{
    for (;;) {
        struct json *item;
        int rc = next(r);
        if (rc < 0 || r->event.type == YAML_SEQUENCE_END_EVENT)
            return rc;
        if ((rc = read_node(r, depth + 1, &item)) < 0)
            return rc;
        json_append(arr, item);
    }
}

static struct str anchor_of(struct reader *r)
{
    const yaml_char_t *a = NULL;
    if (r->event.type == YAML_SCALAR_EVENT)
        a = r->event.data.scalar.anchor;
    else if (r->event.type == YAML_SEQUENCE_START_EVENT)
        a = r->event.data.sequence_start.anchor;
    else if (r->event.type == YAML_MAPPING_START_EVENT)
        a = r->event.data.mapping_start.anchor;
    return a ? pool_str(r->pool, str_of((const char *)a)) : STR_NULL;
}

/* The node that begins with the event in hand; leaves its last event in hand. */
static int read_node(struct reader *r, size_t depth, struct json **out)
{
    struct str anchor = anchor_of(r);
    int rc = count_node(r);
    if (rc < 0)
        return rc;
    if (anchor.p)
        map_put(&r->anchors, anchor, &open_anchor);
    switch (r->event.type) {
    case YAML_ALIAS_EVENT:
        return read_alias(r, depth, out);
    case YAML_SCALAR_EVENT:
        rc = read_scalar(r, out);
        break;
    default:
        if (depth > r->depth_max)
            return fail_here(r, ERR_LIMIT, "exceeded max depth");
        bool mapping = r->event.type == YAML_MAPPING_START_EVENT;
        *out = mapping ? json_obj(r->pool) : json_arr(r->pool);
        rc = mapping ? read_mapping(r, depth, *out) : read_sequence(r, depth, *out);
        break;
    }
    if (rc == 0 && anchor.p)
        map_put(&r->anchors, anchor, *out);
    return rc;
}

static int read_stream(struct reader *r, size_t documents_max, struct json ***docs, size_t *ndocs)
{
    size_t cap = 0, seen = 0;
    for (;;) {
        struct json *doc;
        int rc = next(r);
        if (rc < 0 || r->event.type == YAML_STREAM_END_EVENT)
            return rc;
        if (r->event.type != YAML_DOCUMENT_START_EVENT)
            continue;
        if (seen++ >= documents_max)
            return fail_here(r, ERR_LIMIT, "too many documents");
        if ((rc = next(r)) < 0 || (rc = read_node(r, 1, &doc)) < 0 || (rc = next(r)) < 0)
            return rc;
        map_clear(&r->anchors, NULL);
        if (doc->type == JSON_NULL)
            continue;
        if (*ndocs == cap) {
            size_t grown = cap ? cap * 2 : 8;
            *docs = pool_grow(r->pool, *docs, cap * sizeof **docs, grown * sizeof **docs);
            cap = grown;
        }
        (*docs)[(*ndocs)++] = doc;
    }
}

static int parse_yaml(
    struct pool *pool, struct str text, const struct yaml_limits *l, size_t bytes, struct json ***docs, size_t *ndocs, struct err **e)
{
    struct json **found = NULL;
    size_t n = 0;
    struct reader r = {.pool = pool, .e = e};
    r.depth_max = MIN(l->depth ? l->depth : DEPTH_DEFAULT, (size_t)DEPTH_MAX);
    r.nodes_left = l->nodes ? l->nodes : NODES_DEFAULT;
    r.alias_bytes_left = bytes;
    if (!yaml_parser_initialize(&r.parser))
        return err_set(e, ERR_LIMIT, "yaml: out of memory");
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)(text.p ? text.p : ""), text.n);
    int rc = read_stream(&r, l->documents ? l->documents : DOCUMENTS_DEFAULT, &found, &n);
    if (r.have_event)
        yaml_event_delete(&r.event);
    map_clear(&r.anchors, NULL);
    yaml_parser_delete(&r.parser);
    if (rc == 0) {
        *docs = found;
        *ndocs = n;
    }
    return rc;
}

int yaml_parse(struct pool *pool, struct str text, const struct yaml_limits *limits, struct json ***docs, size_t *ndocs, struct err **e)
{
    static const struct yaml_limits defaults;
    const struct yaml_limits *l = limits ? limits : &defaults;
    size_t bytes = l->bytes ? l->bytes : BYTES_DEFAULT;
    if (text.n > bytes)
        return err_set(e, ERR_LIMIT, "YAML stream of %zu bytes is larger than the limit of %zu", text.n, bytes);
    if (!str_starts(str_trim(text), STR("{")))
        return parse_yaml(pool, text, l, bytes, docs, ndocs, e);
    /* Most likely JSON, and if so with clearer errors; a YAML flow mapping otherwise. */
    struct json_limits jl = {.bytes = bytes, .depth = l->depth, .nodes = l->nodes};
    struct err *json_error = NULL;
    struct json *j;
    int r = json_parse(pool, text, &jl, &j, &json_error);
    if (r == 0) {
        *docs = pool_array(pool, struct json *, 1);
        (*docs)[0] = j;
        *ndocs = 1;
        return 0;
    }
    if (r != -ERR_LIMIT && parse_yaml(pool, text, l, bytes, docs, ndocs, NULL) == 0) {
        err_free(json_error);
        return 0;
    }
    return err_move(e, json_error);
}

int yaml_parse_one(struct pool *pool, struct str text, const struct yaml_limits *limits, struct json **doc, struct err **e)
{
    struct json **docs;
    size_t n;
    int r = yaml_parse(pool, text, limits, &docs, &n, e);
    if (r < 0)
        return r;
    if (n != 1)
        return err_set(e, ERR_PARSE, "yaml: expected one document, found %zu", n);
    *doc = docs[0];
    return 0;
}
