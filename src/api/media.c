#include "api/call.h"

#define ACCEPTED "application/json, application/yaml, application/vnd.kubernetes.protobuf"

const char *media_name(enum media m)
{
    static const char *const names[] = {"application/json", "application/yaml", "application/vnd.kubernetes.protobuf",
        "application/merge-patch+json", "application/strategic-merge-patch+json", "application/json-patch+json",
        "application/apply-patch+yaml", "application/apply-patch+cbor", ""};
    return names[m];
}

/* One clause of an Accept header (RFC 9110 section 12.5.1) with the parameters that Kubernetes gives meaning. */
struct clause {
    struct str type, as, v, g;
    double q;
};

static void clause_read(struct str text, struct clause *out)
{
    struct str rest = text, piece, k, v;
    *out = (struct clause){.q = 1};
    for (bool first = true; str_split(&rest, ';', &piece); first = false) {
        piece = str_trim(piece);
        if (first) {
            out->type = piece;
            continue;
        }
        if (!str_cut(piece, '=', &k, &v))
            continue;
        k = str_trim(k), v = str_trim(v);
        if (str_eqz(k, "as"))
            out->as = v;
        else if (str_eqz(k, "v"))
            out->v = v;
        else if (str_eqz(k, "g"))
            out->g = v;
        else if (str_eqz(k, "q") && !str_to_double(v, &out->q))
            out->q = 0;
    }
}

static bool clause_media(const struct clause *cl, enum media *m)
{
    if (str_eqz(cl->type, "application/json") || str_eqz(cl->type, "*/*") || str_eqz(cl->type, "application/*"))
        *m = MEDIA_JSON;
    else if (str_eqz(cl->type, "application/yaml"))
        *m = MEDIA_YAML;
    else if (str_eqz(cl->type, "application/vnd.kubernetes.protobuf") && str_empty(cl->as))
        *m = MEDIA_PROTO;
    else
        return false;
    return true;
}

static bool clause_shape(const struct clause *cl, enum shape *s)
{
    *s = SHAPE_OBJECT;
    if (str_empty(cl->as))
        return true;
    if (!str_eqz(cl->g, "meta.k8s.io") || !(str_eqz(cl->v, "v1") || str_eqz(cl->v, "v1beta1")))
        return false;
    if (str_eqz(cl->as, "Table"))
        *s = SHAPE_TABLE;
    else if (str_eqz(cl->as, "PartialObjectMetadata") || str_eqz(cl->as, "PartialObjectMetadataList"))
        *s = SHAPE_PARTIAL;
    else
        return false;
    return true;
}

static bool streams_bytes(struct str sub)
{
    return str_eqz(sub, "log") || str_eqz(sub, "exec") || str_eqz(sub, "attach") || str_eqz(sub, "portforward") || str_eqz(sub, "proxy");
}

/* Browsers and curl get indented JSON unless they say otherwise, as from a kube-apiserver. */
static bool wants_pretty(struct call *c)
{
    struct str p = call_query(c, "pretty");
    if (p.p)
        return !str_eqz(p, "0") && !str_eqz(p, "false");
    struct str agent = http_header(c->rq, STR("user-agent"));
    return str_starts(agent, STR("curl")) || str_starts(agent, STR("Wget")) || str_starts(agent, STR("Mozilla/5.0"));
}

int media_accept(struct call *c, struct err **e)
{
    struct str header = http_header(c->rq, STR("accept")), piece;
    c->accept = (struct accept){MEDIA_JSON, SHAPE_OBJECT, wants_pretty(c)};
    if (str_empty(str_trim(header)))
        return 0;
    double best = 0;
    for (struct str rest = header; str_split(&rest, ',', &piece);) {
        struct clause cl;
        enum media m;
        enum shape s;
        clause_read(piece, &cl);
        if (!clause_media(&cl, &m) || !clause_shape(&cl, &s) || cl.q <= 0)
            continue;
        c->accept.plain |= s == SHAPE_OBJECT;
        /* who takes both gets JSON: it stands ready in the store */
        bool rather = cl.q == best && c->accept.media == MEDIA_PROTO && m == MEDIA_JSON;
        if (cl.q <= best && !rather)
            continue;
        best = cl.q;
        c->accept.media = m;
        c->accept.shape = s;
    }
    if (best > 0 || !c->ri.resource || streams_bytes(c->ri.sub))
        return 0;
    return err_set(e, ERR_NOT_ACCEPTABLE, "only the following media types are accepted: " ACCEPTED);
}

int media_content(struct call *c, struct err **e)
{
    static const enum media bodies[] = {MEDIA_JSON, MEDIA_YAML, MEDIA_PROTO},
                            patches[] = {MEDIA_JSON_PATCH, MEDIA_MERGE_PATCH, MEDIA_STRATEGIC, MEDIA_APPLY};
    bool patch = c->ri.verb == VERB_PATCH;
    const enum media *known = patch ? patches : bodies;
    size_t n = patch ? ARRAY_LEN(patches) : ARRAY_LEN(bodies);
    struct str header = http_header(c->rq, STR("content-type")), type = header, params;
    (void)str_cut(header, ';', &type, &params);
    type = str_trim(type);
    c->content = MEDIA_JSON;
    if (!patch && str_empty(type))
        return 0;
    for (size_t i = 0; i < n; i++)
        if (str_eq_nocase(type, str_of(media_name(known[i])))) {
            c->content = known[i];
            return 0;
        }
    if (patch)
        return err_set(e, ERR_MEDIA_TYPE,
            "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, "
            "application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml");
    return err_set(e, ERR_MEDIA_TYPE, "the body of the request was in an unknown format - accepted media types include: " ACCEPTED);
}
