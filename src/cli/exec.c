/* sampan exec POD [-n NS] [-c CONTAINER] -- COMMAND...: runs a command in a container and shows its output; no terminal, no input (kubectl exec has these).
 * WebSocket protocol v5.channel.k8s.io: the first byte of a message is the channel (1 stdout, 2 stderr, 3 a Status at the end). */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "json/json.h"

#define MESSAGE_MAX (1u << 20)

struct exec_options { struct client_options client; char *container; };
static const struct flag exec_flags[] = {
    {"run-dir", 0, FLAG_STR, offsetof(struct exec_options, client.run_dir), NULL, "/run/sampan", "Folder of the server's socket"},
    {"namespace", 'n', FLAG_STR, offsetof(struct exec_options, client.ns), NULL, "default", "Namespace"},
    {"container", 'c', FLAG_STR, offsetof(struct exec_options, container), NULL, NULL, "Container (default: the pod's first)"},
    FLAG_END,
};

struct session { struct client c; struct ws *ws; struct err **e; int result, code; bool told; };

static void on_status(struct session *s, struct str text)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *doc = NULL;
    s->told = true;
    if (json_parse(p, text, NULL, &doc, s->e) < 0) {
        s->result = err_wrap(s->e, "end of the command");
        return;
    }
    if (str_eqz(json_get_str(doc, "status"), "Success"))
        return;
    const struct json *cause = json_at(json_path(doc, "details", "causes", NULL), 0);
    uint64_t code = 0;
    if (str_eqz(json_get_str(cause, "reason"), "ExitCode") && str_to_u64(json_get_str(cause, "message"), &code))
        s->code = (int)code;
    else
        s->result = err_set(s->e, ERR_BAD_REQUEST, "%.*s", STR_ARG(json_get_str(doc, "message")));
}

static void on_message(void *arg, enum ws_op op, const char *p, size_t n)
{
    struct session *s = arg;
    (void)op;
    if (n == 0)
        return;
    if (p[0] == 1 || p[0] == 2)
        (void)!fd_write_all(p[0], p + 1, n - 1, NULL);
    else if (p[0] == 3)
        on_status(s, str_make(p + 1, n - 1));
}

static void on_ws_close(void *arg, int code, struct str reason)
{
    struct session *s = arg;
    s->ws = NULL;
    if (!s->told && s->result == 0)
        s->result = err_set(s->e, ERR_UNAVAILABLE, "the connection ended before the command did (code %d %.*s)", code, STR_ARG(reason));
    loop_stop(s->c.loop, 0);
}

static void on_open(void *arg, struct ws *w, const char *chosen, const struct err *why)
{
    static const struct ws_events events = {on_message, NULL, on_ws_close};
    struct session *s = arg;
    (void)chosen;
    if (!w) {
        s->result = err_set(s->e, why->code, "exec: %s", err_msg(why));
        loop_stop(s->c.loop, 0);
        return;
    }
    s->ws = w;
    ws_use(w, &events, s);
}

static void add_query(struct buf *b, const char *key, struct str value)
{
    buf_printf(b, "%s=", key);
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '.' || c == '_')
            buf_putc(b, (char)c);
        else
            buf_printf(b, "%%%02X", c);
    }
    buf_putc(b, '&');
}

static int run(const struct exec_options *o, const struct strs *rest, int *code, struct err **e)
{
    static const char *const protocols[] = {"v5.channel.k8s.io", "v4.channel.k8s.io", NULL};
    _cleanup_(buf_clear) struct buf path = BUF_INIT;
    struct session s = {.e = e};
    if (rest->n < 2)
        return err_set(e, ERR_USAGE, "usage: sampan exec POD [-n NS] [-c CONTAINER] -- COMMAND...");
    buf_printf(&path, "/api/v1/namespaces/%s/pods/%s/exec?stdout=true&stderr=true&", o->client.ns, rest->v[0]);
    if (o->container)
        add_query(&path, "container", str_of(o->container));
    for (size_t i = 1; i < rest->n; i++)
        add_query(&path, "command", str_of(rest->v[i]));
    int r = client_open(&s.c, o->client.run_dir, e);
    if (r < 0)
        return r;
    struct http_request rq = {.method = STR("GET"), .path = buf_str(&path)};
    ws_dial(s.c.http, &rq, protocols, MESSAGE_MAX, on_open, &s);
    loop_run(s.c.loop);
    client_close(&s.c);
    *code = s.code;
    return s.result;
}

int cmd_exec(int argc, char **argv)
{
    static const struct flag *const tables[] = {exec_flags, NULL};
    struct exec_options o = {0};
    struct strs rest = {0};
    struct err *e = NULL;
    int code = 0;
    int r = flags_parse(tables, argc, argv, &o, -1, NULL, &rest, &e);
    if (r == 0)
        r = run(&o, &rest, &code, &e);
    for (size_t i = 0; i < rest.n; i++)
        free(rest.v[i]);
    free(rest.v);
    flags_clear(tables, &o);
    return r < 0 ? cli_fail(e) : code;
}
