/* Approves the client certificates that nodes ask for, when the asker may have one, and clears old requests away. */
#include "controllers/csr.h"

#define KEEP_APPROVED (3600 * NS_PER_S)
#define KEEP_PENDING (24 * 3600 * NS_PER_S)

/* Old requests go: a decided one after an hour, one that nobody decided after a day. 1: gone. */
static int expire(struct sync *s, const struct obj *o, bool decided, struct err **e)
{
    int64_t due = o->created + (decided ? KEEP_APPROVED : KEEP_PENDING);
    if (due > s->now) {
        sync_again_at(s, due);
        return 0;
    }
    int r = sync_delete(s, o, NULL, e);
    return r < 0 ? r : 1;
}

static bool may(struct sync *s, const struct request *r, const char *sub)
{
    const struct json *groups = json_get(r->spec, STR("groups"));
    struct str *list = pool_array(s->pool, struct str, json_count(groups) + 1);
    struct api_user user = {.name = r->username, .uid = json_get_str(r->spec, "uid"), .groups = list};
    json_for ((struct json *)(uintptr_t)groups, g)
        list[user.ngroups++] = json_as_str(g);
    struct api_attrs at = {.verb = STR("create"),
        .group = STR("certificates.k8s.io"),
        .version = STR("v1"),
        .resource = STR("certificatesigningrequests"),
        .subresource = str_of(sub)};
    return api_authorize(s->ctl->api, &user, &at, NULL) == 0;
}

static int approve(struct sync *s, const struct request *r, struct err **e)
{
    bool self = str_eq(r->info->cn, r->username);
    if (!str_eqz(r->signer, "kubernetes.io/kube-apiserver-client-kubelet") || request_trouble(r))
        return 0;
    if (self && may(s, r, "selfnodeclient"))
        return request_add_condition(s, r, "approval", "Approved", "AutoApproved",
            STR("Auto approving self kubelet client certificate after SubjectAccessReview."), e);
    if (may(s, r, "nodeclient"))
        return request_add_condition(
            s, r, "approval", "Approved", "AutoApproved", STR("Auto approving kubelet client certificate after SubjectAccessReview."), e);
    return 0;
}

static int sync(struct sync *s, struct err **e)
{
    const struct obj *o = sync_self(s, R_CSRS);
    struct request r;
    if (!o || o->deleted)
        return 0;
    int rc = request_read(s, o, &r, NULL);
    bool decided = r.approved || r.denied || r.failed;
    int gone = expire(s, o, decided, e);
    if (gone == 0 && rc == 0 && !decided)
        gone = approve(s, &r, e);
    csr_free(r.csr);
    return err_is(e, ERR_NOT_FOUND) ? 0 : MIN(gone, 0);
}

const struct controller csr_approving_controller = {
    .name = "csr-approving",
    .account = "certificate-controller",
    .watches = {{R_CSRS, ctl_add_change}},
    .sync = sync,
};
