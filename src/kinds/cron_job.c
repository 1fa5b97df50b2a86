#include "kinds/podspec.h"
#include "kinds/rows.h"
#include "schema/selector.h"

static void dflt(struct kind_ctx *c, struct json *doc)
{
    podspec_default(c->pool, json_path(doc, "spec", "jobTemplate", "spec", "template", "spec", NULL));
}

/* Job names append 11 characters. */
static const char *name(struct str s)
{
    const char *why = name_dns1123_subdomain(s);
    return why ? why : s.n > 52 ? "must be no more than 52 characters" : NULL;
}

/* One field of a cron expression: numbers or names, ranges, steps and lists. */
static bool cron_part(struct str part)
{
    if (!part.n)
        return false;
    for (size_t i = 0; i < part.n; i++) {
        char ch = part.p[i];
        if (!((ch >= '0' && ch <= '9') || (ch >= 'A' && ch <= 'Z') || (ch >= 'a' && ch <= 'z') || strchr("*/,-?", ch)))
            return false;
    }
    return true;
}

static bool cron(struct str s)
{
    static const char *const words[] = {"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"};
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_eqz(s, words[i]))
            return true;
    if (str_starts(s, STR("@every ")))
        return s.n > 7;
    struct str rest = str_trim(s), part;
    while (str_split(&rest, ' ', &part)) {
        if (!part.n)
            continue;
        if (!cron_part(part))
            return false;
        n++;
    }
    return n == 5;
}

static void validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    static const struct str policies[] = {{"OnFailure", 9}, {"Never", 5}};
    struct fpath at = FPATH(NULL, "spec"), sched = FPATH(&at, "schedule"), job = FPATH(&at, "jobTemplate"), jspec = FPATH(&job, "spec"),
                 tmpl = FPATH(&jspec, "template"), tspec = FPATH(&tmpl, "spec"), policy = FPATH(&tspec, "restartPolicy");
    const struct json *spec = json_get(doc, STR("spec")), *t = json_path(spec, "jobTemplate", "spec", "template", NULL);
    struct str s = json_get_str(spec, "schedule"), have = json_str_at(t, "spec", "restartPolicy", NULL);
    (void)old;
    if (str_eqz(c->sub, "status"))
        return;
    if (s.n && (str_starts(s, STR("TZ=")) || str_starts(s, STR("CRON_TZ="))))
        ferr_invalid_str(e, &sched, s, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    else if (s.n && !cron(s))
        ferr_invalid_str(e, &sched, s, "expected exactly 5 fields of a cron expression");
    podtemplate_validate(c->pool, t, NULL, &tmpl, e);
    if (str_eqz(have, "Always"))
        ferr_not_supported(e, &policy, have, policies, ARRAY_LEN(policies));
}

const struct kind_hooks kind_cron_job = {KIND("batch", "CronJob"), .dflt = dflt, .validate = validate, .name = name};
