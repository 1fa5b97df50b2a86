#include "controllers/ctl.h"

struct json *time_json(struct pool *p, int64_t ns)
{
    char text[TIME_MAX];
    return json_str(p, time_format(ns, text));
}

int64_t time_of(struct str s)
{
    int64_t ns;
    return s.n && time_parse(s, &ns) ? ns : 0;
}

struct json *condition_find(const struct json *conditions, struct str type)
{
    json_for ((struct json *)(uintptr_t)conditions, c)
        if (str_eq(json_get_str(c, "type"), type))
            return c;
    return NULL;
}

bool condition_set(struct pool *p, struct json *conditions, const char *type, const char *status, const char *reason, struct str message,
    int64_t now, bool with_update_time)
{
    struct json *c = condition_find(conditions, str_of(type));
    bool same_status = c && str_eqz(json_get_str(c, "status"), status);
    if (same_status && str_eqz(json_get_str(c, "reason"), reason) && str_eq(json_get_str(c, "message"), message))
        return false;
    if (!c) {
        c = json_append(conditions, json_obj(p));
        json_set_str(p, c, STR("type"), str_of(type));
    }
    json_set_str(p, c, STR("status"), str_of(status));
    if (with_update_time)
        json_set(p, c, STR("lastUpdateTime"), time_json(p, now));
    if (!same_status)
        json_set(p, c, STR("lastTransitionTime"), time_json(p, now));
    if (*reason)
        json_set_str(p, c, STR("reason"), str_of(reason));
    else
        json_del(c, STR("reason"));
    if (message.n)
        json_set_str(p, c, STR("message"), message);
    else
        json_del(c, STR("message"));
    return true;
}

bool condition_del(struct json *conditions, struct str type)
{
    struct json *c = condition_find(conditions, type);
    return c && json_remove(conditions, c);
}

bool int_or_percent(const struct json *j, int64_t total, bool up, int64_t *out)
{
    struct str s = json_as_str(j), number;
    int64_t percent;
    if (json_is(j, JSON_INT)) {
        *out = j->i;
        return true;
    }
    number = str_sub(s, 0, s.n ? s.n - 1 : 0);
    if (!str_ends(s, STR("%")) || !str_to_i64(number, &percent) || percent < 0 || percent > 1000000)
        return false;
    *out = (percent * total + (up ? 99 : 0)) / 100;
    return true;
}
