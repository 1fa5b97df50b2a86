#include "api/impl.h"
#include "api/list_cache.h"
#include "yaml/yaml.h"

/* A list, page by page. The continue token is Kubernetes' own: base64url of
 * {"v":"meta.k8s.io/v1","rv":<revision>,"start":"<ns>/<name>\u0000"}; rv -1 goes on inconsistently, from the present. */

#define LIST_RESERVE ((size_t)8 << 20)
#define PACK_FROM (128u << 10) /* as http compresses replies */

struct listing {
    struct store_view *view;
    int64_t rv; /* metadata.resourceVersion */
    struct str after_ns, after_name;
    struct select sel;
    int64_t limit;
    bool stepped; /* began with a token */
    /* what comes out */
    struct buf out;
    int64_t n;
    size_t expect; /* how many items will come, if known */
    struct str last_ns, last_name;
    bool more;
    struct str key; /* in the cache of lists; absent: not to be kept */
    struct list_items *kept;
};

static struct str token_make(struct call *c, int64_t rv, struct str ns, struct str name)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    struct buf t = BUF_INIT;
    struct str start = c->res->namespaced ? pool_printf(c->pool, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name)) : name;
    buf_printf(&b, "{\"v\":\"meta.k8s.io/v1\",\"rv\":%" PRId64 ",\"start\":\"%.*s\\u0000\"}", rv, STR_ARG(start));
    buf_base64url(&t, b.p, b.n);
    return buf_to_pool(&t, c->pool);
}

static int token_read(struct call *c, struct str token, int64_t *rv, struct listing *l, struct err **e)
{
    struct buf b = BUF_INIT;
    struct json *t = NULL;
    if (token.n > 4096 || !buf_unbase64url(&b, token)) {
        buf_clear(&b);
        return err_set(e, ERR_BAD_REQUEST, "invalid continue token: continue key is not valid: it is no base64");
    }
    struct str text = buf_to_pool(&b, c->pool);
    if (json_parse(c->pool, text, NULL, &t, NULL) < 0 || !str_eqz(json_get_str(t, "v"), "meta.k8s.io/v1"))
        return err_set(e, ERR_BAD_REQUEST,
            "invalid continue token: continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)");
    *rv = json_get_int(t, "rv", 0);
    struct str start = json_get_str(t, "start");
    while (start.n && start.p[start.n - 1] == 0)
        start.n--;
    l->after_name = start;
    if (*rv == 0 || str_empty(start) || (c->res->namespaced && !str_cut(start, '/', &l->after_ns, &l->after_name)))
        return err_set(e, ERR_BAD_REQUEST, "invalid continue token: continue key is not valid: incorrect start");
    l->stepped = true;
    return 0;
}

static int too_old(struct call *c, struct listing *l, struct err **e)
{
    struct str fresh = token_make(c, -1, l->after_ns, l->after_name);
    c->expired_continue = fresh;
    return err_set(e, ERR_EXPIRED,
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue "
        "parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided "
        "token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was "
        "returned and now may show up in the list.");
}

static int open_token(struct call *c, struct str token, struct listing *l, struct err **e)
{
    int64_t rv = 0;
    struct str asked = call_query(c, "resourceVersion");
    if (!str_empty(asked) && !str_eqz(asked, "0"))
        return err_set(e, ERR_BAD_REQUEST, "specifying resource version is not allowed when using continue");
    if (token_read(c, token, &rv, l, e) < 0)
        return -(*e)->code;
    if (rv > 0) {
        l->view = pages_find(c->api->pages, rv);
        l->rv = rv;
        if (l->view)
            return 0;
    }
    l->view = store_view(c->api->store);
    if (rv > 0) /* also when nothing changed since: tokens expire, so that clients meet it before it matters */
        return too_old(c, l, e);
    if (rv < 0)
        l->rv = view_rev(l->view);
    return 0;
}

static int open_exact(struct call *c, struct str rv, struct listing *l, struct err **e)
{
    uint64_t want = 0;
    if (!str_to_u64(rv, &want) || want == 0)
        return err_set(e, ERR_BAD_REQUEST, "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"%.*s\"", STR_ARG(rv));
    l->view = store_view(c->api->store);
    if (check_not_older(c, view_rev(l->view), e) < 0)
        return -(*e)->code;
    l->rv = (int64_t)want;
    if (view_res_rev(l->view, c->sres) <= l->rv)
        return 0; /* nothing of this resource has changed since: the present is that revision */
    store_view_unref(l->view);
    l->view = pages_find(c->api->pages, l->rv);
    if (l->view)
        return 0;
    return err_set(e, ERR_EXPIRED, "The resourceVersion for the provided list is too old.");
}

static int listing_open(struct call *c, struct listing *l, struct err **e)
{
    struct str token = call_query(c, "continue"), rv = call_query(c, "resourceVersion"), match = call_query(c, "resourceVersionMatch");
    struct str limit = call_query(c, "limit");
    if (!str_empty(limit) && (!str_to_i64(limit, &l->limit) || l->limit < 0))
        return err_set(e, ERR_BAD_REQUEST, "limit: Invalid value: \"%.*s\": must be a non-negative integer", STR_ARG(limit));
    if (!str_empty(match)) {
        if (!str_eqz(match, "Exact") && !str_eqz(match, "NotOlderThan"))
            return err_set(e, ERR_INVALID,
                "resourceVersionMatch: Unsupported value: \"%.*s\": supported values: \"Exact\", \"NotOlderThan\"", STR_ARG(match));
        if (!str_empty(token))
            return err_set(e, ERR_INVALID, "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided");
        if (!rv.p)
            return err_set(
                e, ERR_INVALID, "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided");
    }
    if (select_parse(c, &l->sel, e) < 0)
        return -(*e)->code;
    if (!str_empty(token))
        return open_token(c, token, l, e);
    if (str_eqz(match, "Exact") || (str_empty(match) && l->limit > 0 && !str_empty(rv) && !str_eqz(rv, "0")))
        return open_exact(c, rv, l, e);
    l->view = store_view(c->api->store);
    if (check_not_older(c, view_rev(l->view), e) < 0)
        return -(*e)->code;
    l->rv = view_rev(l->view);
    return 0;
}

static void begin(struct call *c, struct listing *l, struct str rv, struct str cont, int64_t remaining, struct buf *b)
{
    if (c->accept.shape == SHAPE_TABLE) {
        table_begin(c, b, rv, cont, remaining, true);
        return;
    }
    if (c->accept.shape == SHAPE_PARTIAL)
        buf_puts(b, "{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{");
    else
        buf_printf(b, "{\"kind\":\"%.*sList\",\"apiVersion\":\"%.*s\",\"metadata\":{", STR_ARG(c->res->kind),
            STR_ARG(api_version(c->pool, c->res->group, c->res->version)));
    buf_printf(b, "\"resourceVersion\":\"%.*s\"", STR_ARG(rv));
    if (!str_empty(cont))
        buf_printf(b, ",\"continue\":\"%.*s\"", STR_ARG(cont));
    if (remaining > 0)
        buf_printf(b, ",\"remainingItemCount\":%" PRId64, remaining);
    buf_puts(b, "},\"items\":[");
    (void)l;
}

static bool proto(const struct call *c)
{
    return c->accept.media == MEDIA_PROTO && c->accept.shape != SHAPE_TABLE;
}

/* One item. Stored bytes go out as they are, without the kind and apiVersion that the list names already. */
static int item_add(struct call *c, struct listing *l, struct str head, const struct obj *o, struct err **e)
{
    if (l->n == 0 && l->expect) /* room for all at once, if they are like the first */
        buf_reserve(&l->out, MIN(l->expect, LIST_RESERVE / (o->json.n + 1)) * (o->json.n + 1));
    if (l->n && !proto(c))
        buf_putc(&l->out, ',');
    if (!proto(c) && c->accept.shape == SHAPE_OBJECT && encode_as_stored(c)) {
        if (str_starts(o->json, head)) {
            buf_putc(&l->out, '{');
            buf_add(&l->out, o->json.p + head.n, o->json.n - head.n);
        } else {
            buf_str_add(&l->out, o->json);
        }
        return 0;
    }
    _cleanup_(pool_freep) struct pool *item = pool_new();
    struct pool *keep = c->pool;
    struct json *doc;
    c->whole = keep;
    c->pool = item; /* trees of a long list go as they come */
    int r = obj_parse(o, item, &doc, e);
    if (r >= 0)
        r = encode_convert(c, &doc, e);
    if (r >= 0 && c->accept.shape == SHAPE_TABLE)
        table_row(c, &l->out, doc, table_include(c));
    else if (r >= 0 && proto(c))
        (void)protobuf_list_item(c, c->accept.shape == SHAPE_PARTIAL ? encode_partial(item, doc) : doc, &l->out);
    else if (r >= 0 && c->accept.shape == SHAPE_PARTIAL)
        json_write(&l->out, encode_partial(item, doc));
    else if (r >= 0)
        json_write(&l->out, doc);
    c->pool = keep;
    c->whole = NULL;
    return r;
}

static int walk(struct call *c, struct listing *l, struct err **e)
{
    struct store_iter it;
    struct str ns = call_ns(c);
    struct str head = pool_printf(c->pool, "{\"kind\":\"%.*s\",\"apiVersion\":\"%.*s\",", STR_ARG(c->res->kind),
        STR_ARG(api_version(c->pool, c->res->group, c->res->version)));
    if (str_empty(ns) && c->res->namespaced && !str_empty(l->sel.ns))
        ns = l->sel.ns;
    if (!str_empty(l->sel.name) && (!c->res->namespaced || !str_empty(ns))) { /* one object, no walk */
        const struct obj *o = view_get(l->view, c->sres, ns, l->sel.name);
        if (o && select_match(c, &l->sel, o)) {
            if (item_add(c, l, head, o, e) < 0)
                return -(*e)->code;
            l->n++;
        }
        return 0;
    }
    if (l->sel.labels.n == 0 && l->sel.fields.n == 0)
        l->expect = view_count(l->view, c->sres, ns);
    if (l->limit && (size_t)l->limit < l->expect)
        l->expect = (size_t)l->limit;
    iter_start(&it, l->view, c->sres, ns, l->after_ns, l->after_name);
    for (const struct obj *o; (o = iter_next(&it));) {
        if (!select_match(c, &l->sel, o))
            continue;
        if (l->limit && l->n >= l->limit) {
            l->more = true;
            break;
        }
        if (item_add(c, l, head, o, e) < 0)
            return -(*e)->code;
        l->n++;
        l->last_ns = o->ns, l->last_name = o->name;
    }
    return 0;
}

/* How many more there are. Known only without selectors (as in Kubernetes). */
static int64_t remaining(struct call *c, struct listing *l)
{
    if (l->sel.labels.n || l->sel.fields.n)
        return -1;
    if (!l->stepped)
        return (int64_t)view_count(l->view, c->sres, call_ns(c)) - l->n;
    struct store_iter it;
    int64_t n = 0;
    iter_start(&it, l->view, c->sres, call_ns(c), l->last_ns, l->last_name);
    while (iter_next(&it))
        n++;
    return n;
}

/* As YAML, or JSON for eyes: by way of a tree. */
static void finish_pretty(struct call *c, struct str head, struct str items, struct str tail)
{
    struct json *doc = NULL;
    struct json_limits limits = {.bytes = SIZE_MAX, .nodes = SIZE_MAX};
    struct buf whole = BUF_INIT, out = BUF_INIT;
    buf_reserve(&whole, head.n + items.n + tail.n);
    buf_str_add(&whole, head);
    buf_str_add(&whole, items);
    buf_str_add(&whole, tail);
    if (json_parse(c->pool, buf_to_pool(&whole, c->pool), &limits, &doc, NULL) >= 0)
        encode_doc(c, doc, &out);
    call_reply_raw(c, 200, c->accept.media == MEDIA_YAML ? "application/yaml" : "application/json", buf_to_bytes(&out));
}

static void finish(struct call *c, struct listing *l)
{
    struct str cont = STR_NULL;
    int64_t left = -1;
    if (l->more) {
        cont = token_make(c, l->rv, l->last_ns, l->last_name);
        left = l->kept ? l->kept->left : remaining(c, l);
        pages_keep(c->api->pages, l->view, !l->stepped);
    }
    struct buf whole = BUF_INIT;
    call_depend(c, view_res_rev(l->view, c->sres));
    if (proto(c)) {
        bool partial = c->accept.shape == SHAPE_PARTIAL;
        protobuf_list(c, partial ? STR("meta.k8s.io/v1") : api_version(c->pool, c->res->group, c->res->version),
            partial ? STR("PartialObjectMetadataList") : call_list_kind(c),
            pool_printf(c->pool, "%" PRId64, l->rv), cont, left, buf_str(&l->out), &whole);
        call_reply_raw(c, 200, "application/vnd.kubernetes.protobuf", buf_to_bytes(&whole));
        return;
    }
    begin(c, l, pool_printf(c->pool, "%" PRId64, l->rv), cont, left, &whole);
    if (c->accept.media == MEDIA_YAML || c->accept.pretty) {
        finish_pretty(c, buf_to_pool(&whole, c->pool), buf_str(&l->out), STR("]}\n"));
        return;
    }
    struct http_part parts[3] = {{.b = buf_to_bytes(&whole)}, {.b = NULL}, {.b = bytes_new("]}\n", 3)}};
    if (!l->kept && l->key.p) { /* asked for before, and likely again */
        struct list_items made = {.json = buf_to_bytes(&l->out), .n = l->n, .left = left, .more = l->more,
            .last_ns = pool_strz(c->pool, l->last_ns), .last_name = pool_strz(c->pool, l->last_name)};
        l->kept = list_cache_add(c->api->lists, l->key, view_res_any(l->view, c->sres), &made);
    }
    parts[1].b = l->kept ? bytes_ref(l->kept->json) : buf_to_bytes(&l->out);
    if (l->kept && parts[1].b->n > PACK_FROM && str_find(http_header(c->rq, STR("accept-encoding")), STR("gzip")) >= 0)
        parts[1].packed = list_cache_pack(c->api->lists, l->kept, &parts[1].crc);
    call_reply_parts(c, 200, "application/json", parts, ARRAY_LEN(parts));
}

/* Is this list there already? Only what goes out as it is stored is kept: other forms depend on who asks, and on the time of day. */
static void look_up(struct call *c, struct listing *l)
{
    bool wanted;
    if (!c->rq || c->sink || c->accept.media != MEDIA_JSON || c->accept.shape != SHAPE_OBJECT || c->accept.pretty || !encode_as_stored(c))
        return;
    struct str ns = call_ns(c);
    l->key = pool_printf(c->pool, "%.*s/%.*s/%.*s\n%.*s\n%.*s", STR_ARG(c->res->group), STR_ARG(c->res->version), STR_ARG(c->res->resource), STR_ARG(ns),
        STR_ARG(c->rq->query));
    l->kept = list_cache_find(c->api->lists, l->key, view_res_any(l->view, c->sres), clock_mono(c->api->clock), &wanted);
    if (!l->kept && !wanted)
        l->key = STR_NULL;
    if (!l->kept)
        return;
    l->n = l->kept->n;
    l->more = l->kept->more;
    l->last_ns = pool_str(c->pool, str_of(l->kept->last_ns));
    l->last_name = pool_str(c->pool, str_of(l->kept->last_name));
}

int verb_list(struct call *c, struct err **e)
{
    struct listing l = {0};
    int r = listing_open(c, &l, e);
    if (r >= 0)
        look_up(c, &l);
    if (r >= 0 && !l.kept)
        r = walk(c, &l, e);
    if (r >= 0)
        finish(c, &l);
    buf_clear(&l.out);
    list_items_unref(l.kept);
    store_view_unref(l.view);
    return r < 0 ? r : 0;
}
