/* sampan secrets-encrypt status | rotate-keys: sealing of Secrets at rest, on the running server of this machine (supervisor/encrypt.h). */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "json/json.h"

#define WAIT_S 600

struct encrypt_options { char *data_dir, *run_dir, *output; };
static const struct flag flags[] = {
    {"data-dir", 'd', FLAG_STR, offsetof(struct encrypt_options, data_dir), NULL, "/var/lib/sampan", "Folder of the server"},
    {"run-dir", 0, FLAG_STR, offsetof(struct encrypt_options, run_dir), NULL, NULL, "Folder of the server's socket (default: /run/sampan, or <data-dir>/run with another data-dir)"},
    {"output", 'o', FLAG_STR, offsetof(struct encrypt_options, output), NULL, "text", "text or json"},
    FLAG_END,
};
static const struct flag *const tables[] = {flags, NULL};

/* One call; the reply's document lives in p, its text in reply. */
static int ask(struct client *c, struct pool *p, const char *method, const char *path, struct client_reply *reply, struct json **doc, struct err **e)
{
    int r = client_call(c, method, str_of(path), NULL, STR_NULL, "application/json", reply, e);
    if (r == 0 && reply->status >= 300)
        return err_set(e, ERR_BAD_REQUEST, "%.*s", STR_ARG(str_trim(buf_str(&reply->body))));
    return r == 0 ? json_parse(p, buf_str(&reply->body), NULL, doc, e) : r;
}

static void print_status(const struct json *doc)
{
    bool on = json_get_bool(doc, "enabled", false);
    struct str message = json_get_str(doc, "message");
    printf("Encryption Status: %s\n", on ? "Enabled" : "Disabled");
    printf("Current Rotation Stage: %.*s\n", STR_ARG(json_get_str(doc, "stage")));
    if (!str_empty(message))
        printf("Error: %.*s\n", STR_ARG(message));
    if (on)
        printf("Key Type: AES-256-GCM\nKeys: %" PRId64 " (the newest seals; older ones open what backups hold)\n", json_get_int(doc, "keys", 0));
}

static int status(struct client *c, const char *output, struct err **e)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct client_reply reply = {0};
    struct json *doc = NULL;
    int r = ask(c, p, "GET", "/v1-sampan/encrypt/status", &reply, &doc, e);
    if (r == 0 && strcmp(output, "json") == 0)
        printf("%.*s\n", STR_ARG(buf_str(&reply.body)));
    else if (r == 0)
        print_status(doc);
    client_reply_clear(&reply);
    return r;
}

/* 1: done, 0: still under way. */
static int rotated(struct client *c, struct err **e)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct client_reply reply = {0};
    struct json *doc = NULL;
    int r = ask(c, p, "GET", "/v1-sampan/encrypt/status", &reply, &doc, e);
    if (r == 0 && str_eqz(json_get_str(doc, "stage"), "reencrypt_failed"))
        r = err_set(e, ERR_IO, "%.*s", STR_ARG(json_get_str(doc, "message")));
    else if (r == 0 && str_eqz(json_get_str(doc, "stage"), "reencrypt_finished"))
        r = 1;
    if (r == 1)
        printf("keys rotated, %" PRId64 " rows sealed anew under the new key\n", json_get_int(doc, "changed", 0));
    client_reply_clear(&reply);
    return r;
}

static int rotate_keys(struct client *c, struct err **e)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct client_reply reply = {0};
    struct json *doc = NULL;
    int r = ask(c, p, "POST", "/v1-sampan/encrypt/rotate-keys", &reply, &doc, e);
    client_reply_clear(&reply);
    for (int i = 0; r == 0 && i < WAIT_S * 10; i++) {
        r = rotated(c, e);
        if (r == 0)
            usleep(100000);
    }
    return r < 0 ? r : r == 1 ? 0 : err_set(e, ERR_TIMEOUT, "not done after %d s: see `sampan secrets-encrypt status`", WAIT_S);
}

static int run(const struct encrypt_options *o, const struct strs *rest, struct err **e)
{
    bool show = rest->n == 1 && strcmp(rest->v[0], "status") == 0, rotate = rest->n == 1 && strcmp(rest->v[0], "rotate-keys") == 0;
    struct client c = {0};
    if (rest->n == 1 && (strcmp(rest->v[0], "enable") == 0 || strcmp(rest->v[0], "disable") == 0))
        return err_set(e, ERR_USAGE, "start the server %s --secrets-encryption: what is stored changes its form at that start", rest->v[0][0] == 'e' ? "with" : "without");
    if (!show && !rotate)
        return err_set(e, ERR_USAGE, "usage: sampan secrets-encrypt status|rotate-keys [--output text|json]");
    if (strcmp(o->output, "text") != 0 && strcmp(o->output, "json") != 0)
        return err_set(e, ERR_USAGE, "invalid value \"%s\" for --output: must be text or json", o->output);
    _cleanup_(freep) char *dir = client_run_dir(o->data_dir, o->run_dir);
    int r = client_open(&c, dir, e);
    if (r == 0)
        r = show ? status(&c, o->output, e) : rotate_keys(&c, e);
    client_close(&c);
    return r;
}

int cmd_secrets_encrypt(int argc, char **argv)
{
    struct encrypt_options o = {0};
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
