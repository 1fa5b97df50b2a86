/* sampan token show | generate. */
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/flags.h"

struct token_options { char *data_dir; };
static const struct flag flags[] = {
    {"data-dir", 'd', FLAG_STR, offsetof(struct token_options, data_dir), NULL, "/var/lib/sampan", "Folder of the server"},
    FLAG_END,
};
static const struct flag *const tables[] = {flags, NULL};

static int show(const char *data_dir, struct err **e)
{
    _cleanup_(freep) char *path = xasprintf("%s/server/node-token", data_dir);
    _cleanup_(buf_clear) struct buf text = BUF_INIT;
    if (file_read(path, 4096, &text, e) < 0)
        return err_wrap(e, "no token here (is this the machine of a running server?)");
    printf("%.*s\n", STR_ARG(str_trim(buf_str(&text))));
    return 0;
}

static void generate(void)
{
    uint8_t raw[16];
    _cleanup_(buf_clear) struct buf text = BUF_INIT;
    random_bytes(raw, sizeof raw);
    buf_hex(&text, raw, sizeof raw);
    printf("%.*s\n", STR_ARG(buf_str(&text)));
}

int cmd_token(int argc, char **argv)
{
    struct token_options o = {0};
    struct strs rest = {0};
    struct err *e = NULL;
    int r = flags_parse(tables, argc, argv, &o, -1, NULL, &rest, &e);
    if (r == 0 && rest.n == 1 && strcmp(rest.v[0], "show") == 0)
        r = show(o.data_dir, &e);
    else if (r == 0 && rest.n == 1 && strcmp(rest.v[0], "generate") == 0)
        generate();
    else if (r == 0)
        r = err_set(&e, ERR_USAGE, "usage: sampan token show|generate");
    for (size_t i = 0; i < rest.n; i++)
        free(rest.v[i]);
    free(rest.v);
    flags_clear(tables, &o);
    return r < 0 ? cli_fail(e) : 0;
}
