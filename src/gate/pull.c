#include "gate/pull.h"

#include <stdlib.h>

#include "base/file.h"
#include "crypto/hash.h"
#include "gate/pull_impl.h"

#define SHOWN_NS (3 * NS_PER_S) /* ErrImagePull is shown this long before it becomes ImagePullBackOff */
#define BACKOFF_NS (10 * NS_PER_S)
#define BACKOFF_MAX_NS (300 * NS_PER_S)
#define FRESH_NS (2 * NS_PER_S) /* a new want of an image that failed longer ago than this starts a try */

enum told { TOLD_NOTHING, TOLD_NAME, TOLD_NEVER };

struct image_want {
    struct image_want *next; /* of the same pod */
    struct list node;        /* in pull->wants */
    struct gpod *gp;
    struct pull *pull;         /* NULL: waits for none */
    struct str container, ref; /* owned */
    char *image;               /* id that was settled; NULL: not yet */
    enum told told;
    int64_t since; /* mono ns: when it began to wait */
};

/* ---- wants ---- */

/* The container that an Event is about; volumes' images are the pod's own. */
static struct str told_of(const struct image_want *w)
{
    return str_starts(w->container, STR(PULL_VOLUME)) ? STR_NULL : w->container;
}

static struct str own(struct str s)
{
    return str_make(str_dup(s), s.n);
}

static void pull_free(struct pull *pl)
{
    struct pulls *ps = pl->ps;
    list_remove(&pl->node);
    try_stop(pl);
    pool_free(pl->pool);
    free(pl->key);
    free(pl->why);
    free(pl);
    try_pump(ps);
}

/* A pull that nobody waits for ends, but not while node reads its blobs. */
static void leave(struct image_want *w)
{
    struct pull *pl = TAKE(w->pull);
    list_remove(&w->node);
    if (pl && list_empty(&pl->wants) && pl->state != PULL_HANDING)
        pull_free(pl);
}

static void want_free(struct image_want *w)
{
    leave(w);
    free((char *)w->container.p);
    free((char *)w->ref.p);
    free(w->image);
    free(w);
}

void pulls_forget(struct gpod *gp)
{
    for (struct image_want *w; (w = gp->wants);) {
        gp->wants = w->next;
        want_free(w);
    }
}

static struct image_want *want_of(struct gpod *gp, struct str container, struct str ref)
{
    struct image_want **at = &gp->wants;
    while (*at && !str_eq((*at)->container, container))
        at = &(*at)->next;
    if (*at && !str_eq((*at)->ref, ref)) { /* the image was changed in place */
        struct image_want *old = *at;
        *at = old->next;
        want_free(old);
        at = &gp->wants;
        while (*at)
            at = &(*at)->next;
    }
    if (!*at) {
        struct image_want *w = *at = xcalloc(1, sizeof *w);
        *w = (struct image_want){.gp = gp, .container = own(container), .ref = own(ref)};
        list_init(&w->node);
    }
    return *at;
}

/* ---- states ---- */

void pull_moved(struct pull *pl, enum pull_state to)
{
    static const uint8_t from[] = {
        [PULL_ASKING] = 1 << PULL_FAILED | 1 << PULL_BACKOFF,
        [PULL_FETCHING] = 1 << PULL_ASKING,
        [PULL_HANDING] = 1 << PULL_FETCHING,
        [PULL_FAILED] = 1 << PULL_ASKING | 1 << PULL_FETCHING | 1 << PULL_HANDING,
        [PULL_BACKOFF] = 1 << PULL_FAILED,
    };
    if (!(from[to] & 1 << pl->state))
        log_error("image=%.*s: from state %d to %d", STR_ARG(pl->image.ref), pl->state, to);
    pl->state = to;
}

static struct str tagged(struct pool *p, const struct image_want *w)
{
    return registry_image_tagged(p, w->ref);
}

static void begin(struct pull *pl)
{
    struct image_want *w;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    if (pl->state != PULL_ASKING)
        pull_moved(pl, PULL_ASKING);
    pl->asked = loop_now(pl->ps->gate->loop);
    list_for (&pl->wants, w, node)
        event_pod(w->gp, told_of(w), false, "Pulling", "Pulling image \"%.*s\"", STR_ARG(tagged(p, w)));
    log_info("image=%.*s pulling", STR_ARG(pl->image.ref));
    try_start(pl);
}

static void on_retry(struct timer *t)
{
    begin(container_of(t, struct pull, timer));
}

static int64_t delay(const struct pull *pl)
{
    int64_t d = BACKOFF_NS;
    for (unsigned i = 1; i < pl->fails && d < BACKOFF_MAX_NS; i++)
        d *= 2;
    return MIN(d, BACKOFF_MAX_NS);
}

static void on_backoff(struct timer *t)
{
    struct pull *pl = container_of(t, struct pull, timer);
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct image_want *w;
    pull_moved(pl, PULL_BACKOFF);
    list_for (&pl->wants, w, node) {
        event_pod(w->gp, told_of(w), false, "BackOff", "Back-off pulling image \"%.*s\"", STR_ARG(tagged(p, w)));
        event_pod(w->gp, told_of(w), true, "Failed", "Error: ImagePullBackOff");
        gpod_dirty(w->gp);
    }
    timer_in(pl->ps->gate->loop, &pl->timer, delay(pl) - SHOWN_NS, on_retry);
}

void pull_failed(struct pull *pl, const struct err *e)
{
    struct pulls *ps = pl->ps;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct image_want *w;
    char *why = xasprintf("%.800s", err_msg(e)); /* before its owner goes */
    try_stop(pl);
    pull_moved(pl, PULL_FAILED);
    free(pl->why);
    pl->why = why;
    pl->fails++;
    pl->ended = loop_now(ps->gate->loop);
    log_warn("image=%.*s: %s", STR_ARG(pl->image.ref), why);
    if (list_empty(&pl->wants)) { /* they went while node was at it */
        pull_free(pl);
        return;
    }
    list_for (&pl->wants, w, node) {
        event_pod(w->gp, told_of(w), true, "Failed", "Failed to pull image \"%.*s\": %s", STR_ARG(tagged(p, w)), why);
        event_pod(w->gp, told_of(w), true, "Failed", "Error: ErrImagePull");
        gpod_dirty(w->gp);
    }
    timer_in(ps->gate->loop, &pl->timer, SHOWN_NS, on_backoff);
    try_pump(ps); /* what it held is free */
}

/* As Go writes a duration that was cut to milliseconds: 850ms, 1.2s, 2m3.04s. */
static struct str duration(struct pool *p, int64_t ns)
{
    int64_t ms = ns / NS_PER_MS, minutes = ms / 60000;
    if (ms < 1000)
        return ms > 0 ? pool_printf(p, "%" PRId64 "ms", ms) : STR("0s");
    struct str s = pool_printf(p, "%" PRId64 ".%03" PRId64, ms % 60000 / 1000, ms % 1000);
    while (s.p[s.n - 1] == '0')
        s.n--;
    if (s.p[s.n - 1] == '.')
        s.n--;
    return minutes ? pool_printf(p, "%" PRId64 "m%.*ss", minutes, STR_ARG(s)) : pool_printf(p, "%.*ss", STR_ARG(s));
}

void pull_done(struct pull *pl, const struct node_image *im, int64_t size)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    int64_t now = loop_now(pl->ps->gate->loop);
    log_info("image=%.*s pulled in %.*s", STR_ARG(pl->image.ref), STR_ARG(duration(p, now - pl->asked)));
    for (struct image_want *w; (w = list_first(&pl->wants, struct image_want, node));) {
        list_remove(&w->node);
        w->pull = NULL;
        free(w->image);
        w->image = str_dup(im->id);
        event_pod(w->gp, told_of(w), false, "Pulled",
            "Successfully pulled image \"%.*s\" in %.*s (%.*s including waiting). Image size: %" PRId64 " bytes.", STR_ARG(tagged(p, w)),
            STR_ARG(duration(p, now - pl->asked)), STR_ARG(duration(p, now - MIN(w->since, pl->asked))), size);
        gpod_dirty(w->gp);
    }
    pull_free(pl);
}

/* ---- credentials ---- */

static bool add_secret(struct pool *p, const struct json *secret, const struct registry_image *image, struct registry_creds *out)
{
    const struct json *data = json_get(secret, STR("data"));
    struct str type = json_get_str(secret, "type"), coded = STR_NULL;
    struct buf b = BUF_INIT;
    if (str_eqz(type, "kubernetes.io/dockerconfigjson"))
        coded = json_get_str(data, ".dockerconfigjson");
    else if (str_eqz(type, "kubernetes.io/dockercfg"))
        coded = json_get_str(data, ".dockercfg");
    bool ok = coded.n && buf_unbase64(&b, coded);
    return ok && registry_creds_add(p, buf_to_pool(&b, p), image, out, NULL) == 0;
}

static void creds_of(struct gpod *gp, struct pool *p, const struct registry_image *image, struct registry_creds *out, struct buf *missing)
{
    json_for (json_path(gpod_tree(gp), "spec", "imagePullSecrets", NULL), it) {
        struct str name = json_get_str(it, "name");
        const struct json *secret = name.n ? mirror_tree(gp->gate, p, "/secrets", gp->ns, name) : NULL;
        if (name.n && (!secret || !add_secret(p, secret, image, out)))
            buf_printf(missing, "%s%.*s", missing->n ? ", " : "", STR_ARG(name));
    }
}

/* What is asked for and by whom, without the passwords themselves. */
static struct str key_of(struct pool *p, const struct registry_image *image, const struct registry_creds *creds)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    char hex[HASH_HEX + 1];
    for (size_t i = 0; i < creds->n; i++) {
        const struct str all[] = {creds->at[i].username, creds->at[i].password, creds->at[i].identity};
        for (size_t k = 0; k < ARRAY_LEN(all); k++) {
            buf_printf(&b, "%zu:", all[k].n);
            buf_str_add(&b, all[k]);
        }
    }
    struct str key = pool_printf(p, "%.*s %.*s", STR_ARG(image->ref), STR_ARG(hash_sha256_hex(buf_str(&b), hex)));
    if (b.p)
        explicit_bzero(b.p, b.n);
    return key;
}

/* ---- joining a pull ---- */

static struct pull *pull_new(struct pulls *ps, struct str key, const struct registry_image *image, const struct registry_creds *creds)
{
    struct pull *pl = xcalloc(1, sizeof *pl);
    *pl = (struct pull){.ps = ps, .key = str_dup(key), .pool = pool_new(), .state = PULL_ASKING};
    struct pool *p = pl->pool;
    pl->image = (struct registry_image){pool_str(p, image->ref), pool_str(p, image->host), pool_str(p, image->repository),
        pool_str(p, image->tag), pool_str(p, image->digest)};
    pl->creds.n = creds->n;
    for (size_t i = 0; i < creds->n; i++)
        pl->creds.at[i] = (struct registry_cred){
            pool_str(p, creds->at[i].username), pool_str(p, creds->at[i].password), pool_str(p, creds->at[i].identity)};
    list_init(&pl->wants);
    list_push(&ps->all, &pl->node);
    return pl;
}

static struct pull *find_pull(struct pulls *ps, struct str key)
{
    struct pull *pl;
    list_for (&ps->all, pl, node)
        if (str_eqz(key, pl->key))
            return pl;
    return NULL;
}

static void join(struct image_want *w, struct pool *p, const struct registry_image *image)
{
    struct gate *g = w->gp->gate;
    struct registry_creds creds = {0};
    _cleanup_(buf_clear) struct buf missing = BUF_INIT;
    creds_of(w->gp, p, image, &creds, &missing);
    struct str key = key_of(p, image, &creds);
    if (w->pull && (str_eqz(key, w->pull->key) || w->pull->state < PULL_FAILED))
        return; /* what is under way goes on; a new password counts after it failed */
    leave(w);
    struct pull *pl = find_pull(g->pulls, key);
    bool made = !pl;
    if (made)
        pl = pull_new(g->pulls, key, image, &creds);
    w->pull = pl;
    w->since = loop_now(g->loop);
    list_push(&pl->wants, &w->node);
    if (missing.n)
        event_pod(w->gp, STR_NULL, true, "FailedToRetrieveImagePullSecret",
            "Unable to retrieve some image pull secrets (%.*s); attempting to pull the image may not succeed.", STR_ARG(buf_str(&missing)));
    if (made || (pl->state >= PULL_FAILED && loop_now(g->loop) - pl->ended > FRESH_NS))
        begin(pl);
    else if (pl->state < PULL_FAILED)
        event_pod(w->gp, told_of(w), false, "Pulling", "Pulling image \"%.*s\"", STR_ARG(tagged(p, w)));
}

static void show(const struct image_want *w, struct pool *p, struct node_container *c)
{
    const struct pull *pl = w->pull;
    if (!pl->fails)
        return; /* the first try: ContainerCreating */
    if (pl->state == PULL_FAILED) {
        c->waiting_reason = STR("ErrImagePull");
        c->waiting_message = pool_str(p, str_of(pl->why));
        return;
    }
    c->waiting_reason = STR("ImagePullBackOff");
    c->waiting_message = pool_printf(p, "Back-off pulling image \"%.*s\": ErrImagePull: %s", STR_ARG(tagged(p, w)), pl->why);
}

/* ---- what a container gets ---- */

/* Node has made it already, or the status that the cluster knows says that it once did: it ran with this image on this node. */
static bool ran_before(struct gpod *gp, struct str container, struct str ref)
{
    static const char *const lists[] = {"containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"};
    for (size_t i = 0; gp->state && i < gp->state->ncontainers; i++) {
        const struct node_container_state *s = &gp->state->containers[i];
        if (str_eq(s->name, container) && s->image_id.n && (!s->image.n || str_eq(s->image, ref)))
            return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        json_for (json_path(gpod_tree(gp), "status", lists[i], NULL), s) {
            if (str_eq(json_get_str(s, "name"), container) && json_get_str(s, "imageID").n && str_eq(json_get_str(s, "image"), ref))
                return true;
        }
    }
    return false;
}

static void settle(struct image_want *w, const struct node_image *im)
{
    leave(w);
    free(w->image);
    w->image = str_dup(im->id);
}

static void bad_name(struct image_want *w, struct pool *p, struct node_container *c, const struct err *e)
{
    c->waiting_reason = STR("InvalidImageName");
    c->waiting_message =
        pool_printf(p, "Failed to apply default image tag \"%.*s\": %s: invalid reference format", STR_ARG(w->ref), err_msg(e));
    if (w->told != TOLD_NAME) {
        event_pod(w->gp, told_of(w), true, "InspectFailed", "%.*s", STR_ARG(c->waiting_message));
        event_pod(w->gp, told_of(w), true, "Failed", "Error: InvalidImageName");
    }
    w->told = TOLD_NAME;
}

static void never(struct image_want *w, struct pool *p, struct node_container *c)
{
    c->waiting_reason = STR("ErrImageNeverPull");
    c->waiting_message = pool_printf(p, "Container image \"%.*s\" is not present with pull policy of Never", STR_ARG(w->ref));
    if (w->told != TOLD_NEVER) {
        event_pod(w->gp, told_of(w), true, "ErrImageNeverPull", "%.*s", STR_ARG(c->waiting_message));
        event_pod(w->gp, told_of(w), true, "Failed", "Error: ErrImageNeverPull");
    }
    w->told = TOLD_NEVER;
}

void pulls_image(struct gpod *gp, struct pool *p, struct str policy, struct node_container *c)
{
    struct gate *g = gp->gate;
    struct image_want *w = want_of(gp, c->name, c->image_ref);
    const struct node_image *im = w->image ? gate_image(g, p, str_of(w->image)) : NULL;
    _cleanup_(err_freep) struct err *e = NULL;
    struct registry_image image;
    if (im) {
        c->image = im->id;
        return;
    }
    if (w->pull && w->pull->state == PULL_HANDING) { /* it may be listed already; the answer says so in a moment */
        show(w, p, c);
        return;
    }
    im = gate_image(g, p, c->image_ref);
    bool ran = ran_before(gp, c->name, c->image_ref);
    if (im && (ran || !str_eqz(policy, "Always"))) {
        if (!ran && !w->image)
            event_pod(gp, told_of(w), false, "Pulled", "Container image \"%.*s\" already present on machine", STR_ARG(c->image_ref));
        settle(w, im);
        c->image = im->id;
    } else if (registry_image_parse(p, c->image_ref, &image, &e) < 0) {
        bad_name(w, p, c, e);
    } else if (str_eqz(policy, "Never")) {
        never(w, p, c);
    } else {
        join(w, p, &image);
        show(w, p, c);
    }
}

/* ---- start and end ---- */

void pulls_config(struct gate *g, const char *path)
{
    struct pulls *ps = g->pulls = xcalloc(1, sizeof *ps);
    ps->gate = g;
    list_init(&ps->all);
    if (registries_load(path, &ps->registries, &ps->config_bad) < 0)
        log_error("%s: images cannot be pulled", err_msg(ps->config_bad));
    else if (g->o->mirrors_only)
        registries_mirrors_only(ps->registries);
}

int pulls_open(struct gate *g, struct err **e)
{
    struct pulls *ps = g->pulls;
    ps->dir = xasprintf("%s/pull", g->o->state_dir);
    ps->blobs = xasprintf("%s/blobs/sha256", ps->dir);
    _cleanup_(freep) char *mark = xasprintf("%s/oci-layout", ps->dir);
    if (dir_make(ps->blobs, 0700, e) < 0 ||
        (!file_exists(mark) && file_replace(mark, STR("{\"imageLayoutVersion\":\"1.0.0\"}"), 0600, e) < 0))
        return err_wrap(e, "folder for pulls");
    try_sweep(ps);
    return 0;
}

void pulls_close(struct gate *g)
{
    struct pulls *ps = TAKE(g->pulls);
    if (!ps)
        return;
    for (struct pull *pl; (pl = list_first(&ps->all, struct pull, node));)
        pull_free(pl);
    registries_free(ps->registries);
    err_free(ps->config_bad);
    free(ps->dir);
    free(ps->blobs);
    free(ps);
}
