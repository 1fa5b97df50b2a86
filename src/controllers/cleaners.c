/* What nobody needs any more: certificate requests that are settled or forgotten (pkg/controller/certificates/cleaner), and bootstrap
 * tokens whose time is over (pkg/controller/bootstrap's TokenCleaner). Each key has one timer on the site clock. */
#include "controllers/ctl.h"

#define H INT64_C(3600)
#define SETTLED (1 * H * NS_PER_S)
#define FORGOTTEN (24 * H * NS_PER_S)

static int64_t since(const struct json *conditions, const char *type)
{
    const struct json *c = condition_find(conditions, str_of(type));
    if (!c)
        return 0;
    int64_t at = time_of(json_get_str(c, "lastUpdateTime"));
    return at ? at : time_of(json_get_str(c, "lastTransitionTime"));
}

static int sync_request(struct sync *s, struct err **e)
{
    const struct obj *o = sync_self(s, R_CSRS);
    if (!o || o->deleted)
        return 0;
    const struct json *tree = sync_tree(s, o), *conditions = json_path(tree, "status", "conditions", NULL);
    int64_t settled = since(conditions, "Denied"), due;
    if (!settled)
        settled = since(conditions, "Failed");
    if (!settled)
        settled = since(conditions, "Approved");
    due = settled ? settled + SETTLED : time_of(json_str_at(tree, "metadata", "creationTimestamp", NULL)) + FORGOTTEN;
    if (due > s->now) {
        sync_again_at(s, due);
        return 0;
    }
    return MIN(sync_delete(s, o, NULL, e), 0);
}

const struct controller csr_cleaner_controller = {
    .name = "csr-cleaner",
    .account = "certificate-controller",
    .watches = {{R_CSRS, ctl_add_change}},
    .sync = sync_request,
};

/* ---- bootstrap tokens ---- */

static bool is_token(const struct obj *o)
{
    return str_eqz(o->ns, "kube-system") && str_starts(o->name, STR("bootstrap-token-")) &&
           str_find(o->json, STR("\"bootstrap.kubernetes.io/token\"")) >= 0;
}

static int sync_token(struct sync *s, struct err **e)
{
    const struct obj *o = sync_self(s, R_SECRETS);
    struct buf text = BUF_INIT;
    if (!o || o->deleted || !is_token(o) || !buf_unbase64(&text, json_str_at(sync_tree(s, o), "data", "expiration", NULL))) {
        buf_clear(&text);
        return 0;
    }
    int64_t due = time_of(str_trim(buf_str(&text)));
    bool has = text.n > 0;
    buf_clear(&text);
    if (!has)
        return 0;
    if (due > s->now) {
        sync_again_at(s, due);
        return 0;
    }
    return MIN(sync_delete(s, o, NULL, e), 0); /* also one whose time cannot be read */
}

static void on_secret(struct ctl *c, const struct change *ch)
{
    if (!ch->gone && is_token(ch->obj))
        ctl_add(c, ch->obj);
}

const struct controller token_cleaner_controller = {
    .name = "token-cleaner",
    .account = "token-cleaner",
    .watches = {{R_SECRETS, on_secret}},
    .sync = sync_token,
};
