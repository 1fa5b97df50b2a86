#include "kinds/rows.h"
#include "schema/ferr.h"
#include "schema/selector.h"

#define SIZE_MAX_BYTES (1024 * 1024)

/* stringData is a convenience of writers: it goes into data and is never stored. */
static void dflt(struct kind_ctx *c, struct json *doc)
{
    struct json *plain = json_get(doc, STR("stringData"));
    if (json_count(plain)) {
        struct json *data = json_put_obj(c->pool, doc, STR("data"));
        json_for (plain, m) {
            struct buf b = BUF_INIT;
            buf_base64(&b, m->sp, m->n);
            json_set(c->pool, data, json_key(m), json_str(c->pool, buf_str(&b)));
            buf_clear(&b);
        }
    }
    json_del(doc, STR("stringData"));
}

struct wanted {
    const char *type, *key;
    bool json;
};
static const struct wanted wanted[] = {{"kubernetes.io/dockercfg", ".dockercfg", true},
    {"kubernetes.io/dockerconfigjson", ".dockerconfigjson", true}, {"kubernetes.io/ssh-auth", "ssh-privatekey", false},
    {"kubernetes.io/tls", "tls.crt", false}, {"kubernetes.io/tls", "tls.key", false}};

static void check_type(struct kind_ctx *c, const struct json *doc, const struct fpath *data_at, struct err **e)
{
    struct str type = json_get_str(doc, "type");
    const struct json *data = json_get(doc, STR("data"));
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        struct fpath here = fpath_key(data_at, str_of(wanted[i].key));
        const struct json *v = json_get(data, str_of(wanted[i].key));
        if (!str_eqz(type, wanted[i].type))
            continue;
        if (!v) {
            ferr_required(e, &here, "");
        } else if (wanted[i].json) {
            struct buf b = BUF_INIT;
            struct json *parsed;
            bool ok = buf_unbase64(&b, json_as_str(v)) && json_parse(c->pool, buf_str(&b), NULL, &parsed, NULL) == 0;
            if (!ok) /* the value is a secret: it does not go into the message */
                ferr_invalid_str(e, &here, STR("<secret contents redacted>"), "invalid character in JSON");
            buf_clear(&b);
        }
    }
    struct fpath user = fpath_key(data_at, STR("username"));
    if (str_eqz(type, "kubernetes.io/basic-auth") && !json_get(data, STR("username")) && !json_get(data, STR("password"))) {
        struct fpath pass = fpath_key(data_at, STR("password"));
        ferr_required(e, &user, "");
        ferr_required(e, &pass, "");
    }
    struct fpath meta = FPATH(NULL, "metadata"), ann = FPATH(&meta, "annotations"),
                 sa = fpath_key(&ann, STR("kubernetes.io/service-account.name"));
    if (str_eqz(type, "kubernetes.io/service-account-token") &&
        !json_get_str(json_path(doc, "metadata", "annotations", NULL), "kubernetes.io/service-account.name").n)
        ferr_required(e, &sa, "");
}

static void validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct fpath data = FPATH(NULL, "data"), imm = FPATH(NULL, "immutable");
    const struct json *d = json_get(doc, STR("data")), *was = json_get(old, STR("data"));
    size_t total = 0;
    json_for (d, m) {
        struct fpath here = fpath_key(&data, json_key(m));
        const char *why = name_config_key(json_key(m));
        if (why)
            ferr_invalid_str(e, &here, json_key(m), why);
        total += m->n / 4 * 3;
    }
    if (total > SIZE_MAX_BYTES)
        ferr_too_long(e, &data, SIZE_MAX_BYTES);
    check_type(c, doc, &data, e);
    if (!json_get_bool(old, "immutable", false))
        return;
    if (!json_get_bool(doc, "immutable", false))
        ferr_forbidden(e, &imm, "field is immutable when `immutable` is set");
    if (json_count(d) != json_count(was) || (d && was && !json_equal(d, was)))
        ferr_forbidden(e, &data, "field is immutable when `immutable` is set");
}

const struct kind_hooks kind_secret = {KIND("", "Secret"), .dflt = dflt, .validate = validate};
