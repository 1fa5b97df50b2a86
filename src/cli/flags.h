/* Flags as tables. One row per flag: name, type, where its value goes, environment variable, default, help and a check. From the rows come parsing, the config
 * file (its keys are the flags' names), `--help` and the unknown-flag message. Weight: command line, then environment, then config file, then default.
 *
 * Config files are YAML maps as K3s has them: `key: value`, lists for repeatable flags, `key+:` adds to what earlier files said; config.yaml.d/ *.yaml beside the file are
 * merged in order of name. Errors are ERR_USAGE, one line that names the flag.
 */
#pragma once
#include "base/err.h"
#include "supervisor/options.h"

enum flag_type { FLAG_STR, FLAG_BOOL, FLAG_INT, FLAG_STRS /* repeatable, commas separate */, FLAG_REFUSED /* K3s has it, Sampan does not honour it (help says why) */ };
struct flag {
    const char *name;            /* without dashes */
    char letter;                 /* one-letter form, or 0 */
    enum flag_type type;
    size_t at;                   /* offset in the command's options struct */
    const char *env;             /* NULL: SAMPAN_<NAME> */
    const char *dflt;            /* NULL: none */
    const char *help;
    const char *(*check)(struct str value); /* NULL, or returns what is wrong with it ("must be ...") */
    int64_t min, max;            /* FLAG_INT */
};
#define FLAG_END {0}

/* Fills opts. rest: what is left after the flags (NULL: nothing may be). config_at: offset of the char * with the config file's path, or -1: none is read;
 * config_default is read, if it exists, when the user names none. */
int flags_parse(const struct flag *const *tables, int argc, char **argv, void *opts, ssize_t config_at, const char *config_default, struct strs *rest, struct err **e) _must_check_;
void flags_help(const struct flag *const *tables);
void flags_clear(const struct flag *const *tables, void *opts);

/* Checks for rows. */
const char *check_cidr(struct str v);
const char *check_ip(struct str v);
const char *check_url(struct str v);
const char *check_node_name(struct str v);
const char *check_label(struct str v);   /* key=value */
const char *check_taint(struct str v);   /* key=value:Effect */
const char *check_mode(struct str v);    /* octal */
const char *check_backend(struct str v);
const char *check_log_level(struct str v);
const char *check_absolute(struct str v);
const char *check_apiserver_arg(struct str v); /* name=value, one of kube-apiserver's flags that have a meaning here */
