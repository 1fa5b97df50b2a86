/* sampan token show | generate | create | list | delete.
 *
 * The server's own join token (show) lasts as long as the server. Tokens made by create are Kubernetes' bootstrap tokens, Secrets in kube-system, that end; as
 * with K3s they stand behind the CA's hash: K10<hash>::<id>.<secret>. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "json/json.h"

#define NODE_GROUP "system:bootstrappers:sampan:default-node-token"
#define SECRETS "/api/v1/namespaces/kube-system/secrets"

struct token_options { char *data_dir, *run_dir, *description, *ttl; };
static const struct flag flags[] = {
    {"data-dir", 'd', FLAG_STR, offsetof(struct token_options, data_dir), NULL, "/var/lib/sampan", "Folder of the server"},
    {"run-dir", 0, FLAG_STR, offsetof(struct token_options, run_dir), NULL, NULL, "Folder of the server's socket (default: /run/sampan, or <data-dir>/run with another data-dir)"},
    {"description", 0, FLAG_STR, offsetof(struct token_options, description), "SAMPAN_TOKEN_DESCRIPTION", "", "create: what the token is for"},
    {"ttl", 0, FLAG_STR, offsetof(struct token_options, ttl), "SAMPAN_TOKEN_TTL", "24h", "create: how long it lasts (30m, 24h, 7d; 0: for ever)"},
    FLAG_END,
};
static const struct flag *const tables[] = {flags, NULL};

static int read_own(const char *data_dir, struct buf *text, struct err **e)
{
    _cleanup_(freep) char *path = xasprintf("%s/server/node-token", data_dir);
    return file_read(path, 4096, text, e) < 0 ? err_wrap(e, "no token here (is this the machine of a running server?)") : 0;
}

static int show(const struct token_options *o, struct err **e)
{
    _cleanup_(buf_clear) struct buf text = BUF_INIT;
    if (read_own(o->data_dir, &text, e) < 0)
        return -ERR_IO;
    printf("%.*s\n", STR_ARG(str_trim(buf_str(&text))));
    return 0;
}

/* n characters of a-z0-9, each as likely as any other. */
static void random_word(char *out, size_t n)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    for (size_t i = 0; i < n;) {
        uint8_t b;
        random_bytes(&b, 1);
        if (b < 252) /* the largest multiple of 36 */
            out[i++] = letters[b % 36];
    }
    out[n] = 0;
}

static void generate(char id[7], char secret[17])
{
    random_word(id, 6);
    random_word(secret, 16);
}

/* "24h" in seconds; 0: for ever; -1: not a duration. */
static int64_t parse_ttl(const char *text)
{
    static const struct { char unit; int64_t s; } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    struct str s = str_of(text);
    uint64_t n;
    if (str_eqz(s, "0"))
        return 0;
    for (size_t i = 0; s.n > 1 && i < ARRAY_LEN(units); i++)
        if (s.p[s.n - 1] == units[i].unit && str_to_u64(str_sub(s, 0, s.n - 1), &n) && n > 0 && n <= 36500)
            return (int64_t)n * units[i].s;
    return -1;
}

static int call(const struct token_options *o, const char *method, const char *path, struct str body, struct client_reply *reply, struct err **e)
{
    struct client c = {0};
    _cleanup_(freep) char *dir = client_run_dir(o->data_dir, o->run_dir);
    int r = client_open(&c, dir, e);
    if (r == 0)
        r = client_call(&c, method, str_of(path), str_empty(body) ? NULL : "application/json", body, "application/json", reply, e);
    if (r == 0 && reply->status >= 300)
        r = client_status_error(reply, e);
    client_close(&c);
    return r;
}

static struct json *secret_doc(struct pool *p, const struct token_options *o, const char *id, const char *secret, int64_t ttl)
{
    char end[TIME_MAX];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct json *doc = json_obj(p), *meta = json_put_obj(p, doc, STR("metadata")), *data = json_put_obj(p, doc, STR("stringData"));
    json_set_str(p, doc, STR("apiVersion"), STR("v1"));
    json_set_str(p, doc, STR("kind"), STR("Secret"));
    json_set_str(p, doc, STR("type"), STR("bootstrap.kubernetes.io/token"));
    json_set_str(p, meta, STR("name"), pool_printf(p, "bootstrap-token-%s", id));
    json_set_str(p, data, STR("token-id"), str_of(id));
    json_set_str(p, data, STR("token-secret"), str_of(secret));
    json_set_str(p, data, STR("usage-bootstrap-authentication"), STR("true"));
    json_set_str(p, data, STR("auth-extra-groups"), STR(NODE_GROUP));
    if (*o->description)
        json_set_str(p, data, STR("description"), str_of(o->description));
    if (ttl)
        json_set_str(p, data, STR("expiration"), time_format((now.tv_sec + ttl) * (int64_t)NS_PER_S, end));
    return doc;
}

static int create(const struct token_options *o, struct err **e)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(buf_clear) struct buf own = BUF_INIT, body = BUF_INIT;
    struct client_reply reply = {0};
    char id[7], secret[17];
    int64_t ttl = parse_ttl(o->ttl);
    if (ttl < 0)
        return err_set(e, ERR_USAGE, "invalid value \"%s\" for --ttl: must be a number with s, m, h or d behind it, or 0", o->ttl);
    if (read_own(o->data_dir, &own, e) < 0)
        return -ERR_IO;
    generate(id, secret);
    json_write(&body, secret_doc(p, o, id, secret, ttl));
    int r = call(o, "POST", SECRETS, buf_str(&body), &reply, e);
    client_reply_clear(&reply);
    ssize_t at = str_find(buf_str(&own), STR("::"));
    if (r == 0 && str_starts(buf_str(&own), STR("K10")) && at > 0)
        printf("%.*s::", (int)at, own.p);
    if (r == 0)
        printf("%s.%s\n", id, secret);
    return r;
}

static struct str value(struct pool *p, const struct json *secret, const char *key)
{
    struct buf b = BUF_INIT;
    if (!buf_unbase64(&b, json_str_at(secret, "data", key, NULL)))
        return buf_clear(&b), STR_NULL;
    return buf_to_pool(&b, p);
}

/* One line without the secret itself: a listing lands in terminals and logs. */
static void print_token(struct pool *p, const struct json *s)
{
    struct str id = value(p, s, "token-id"), end = value(p, s, "expiration"), about = value(p, s, "description");
    bool login = str_eqz(value(p, s, "usage-bootstrap-authentication"), "true");
    if (str_empty(end))
        end = STR("<forever>");
    printf("%-8.*s   %-20.*s   %-16s   %.*s\n", STR_ARG(id), STR_ARG(end), login ? "authentication" : "<none>", STR_ARG(str_empty(about) ? STR("<none>") : about));
}

static int list(const struct token_options *o, struct err **e)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct client_reply reply = {0};
    struct json *doc = NULL;
    int r = call(o, "GET", SECRETS "?fieldSelector=type%3Dbootstrap.kubernetes.io%2Ftoken", STR_NULL, &reply, e);
    if (r == 0)
        r = json_parse(p, buf_str(&reply.body), NULL, &doc, e);
    if (r == 0)
        printf("%-8s   %-20s   %-16s   %s\n", "TOKEN", "EXPIRES", "USAGES", "DESCRIPTION");
    json_for(r == 0 ? json_get(doc, STR("items")) : NULL, s)
        print_token(p, s);
    client_reply_clear(&reply);
    return r;
}

static int delete(const struct token_options *o, const char *token, struct err **e)
{
    struct client_reply reply = {0};
    struct str s = str_of(token);
    ssize_t at = str_find(s, STR("::"));
    if (at >= 0)
        s = str_sub(s, (size_t)at + 2, s.n);
    if (s.n != 6 && !(s.n == 23 && s.p[6] == '.'))
        return err_set(e, ERR_USAGE, "invalid token: must be an id of 6 characters, or a whole token");
    for (size_t i = 0; i < 6; i++)
        if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= '0' && s.p[i] <= '9')))
            return err_set(e, ERR_USAGE, "invalid token: an id is of a-z and 0-9");
    _cleanup_(freep) char *path = xasprintf(SECRETS "/bootstrap-token-%.6s", s.p);
    int r = call(o, "DELETE", path, STR_NULL, &reply, e);
    if (r == 0)
        printf("bootstrap token %.6s deleted\n", s.p);
    client_reply_clear(&reply);
    return r;
}

static int run(const struct token_options *o, const struct strs *rest, struct err **e)
{
    const char *what = rest->n ? rest->v[0] : "";
    if (rest->n == 1 && strcmp(what, "show") == 0)
        return show(o, e);
    if (rest->n == 1 && strcmp(what, "create") == 0)
        return create(o, e);
    if (rest->n == 1 && strcmp(what, "list") == 0)
        return list(o, e);
    if (rest->n == 2 && strcmp(what, "delete") == 0)
        return delete(o, rest->v[1], e);
    if (rest->n == 1 && strcmp(what, "generate") == 0) {
        char id[7], secret[17];
        generate(id, secret);
        printf("%s.%s\n", id, secret);
        return 0;
    }
    return err_set(e, ERR_USAGE, "usage: sampan token create|list|delete TOKEN|generate|show");
}

int cmd_token(int argc, char **argv)
{
    struct token_options o = {0};
    struct strs rest = {0};
    struct err *e = NULL;
    int r = flags_parse(tables, argc, argv, &o, -1, NULL, &rest, &e);
    if (r == 0)
        r = run(&o, &rest, &e);
    for (size_t i = 0; i < rest.n; i++)
        free(rest.v[i]);
    free(rest.v);
    flags_clear(tables, &o);
    return r < 0 ? cli_fail(e) : 0;
}
