#include "kinds/cell.h"
#include "kinds/rows.h"

static void add(struct buf *b, size_t *shown, size_t *count, struct str ip, int64_t port)
{
    bool v6 = str_chr(ip, ':') >= 0;
    if ((*count)++ >= 3)
        return;
    buf_puts(b, (*shown)++ ? "," : "");
    if (port < 0)
        buf_str_add(b, ip);
    else
        buf_printf(b, v6 ? "[%.*s]:%" PRId64 : "%.*s:%" PRId64, STR_ARG(ip), port);
}

static void cells(struct kind_ctx *c, const struct json *doc, struct json *row)
{
    struct buf b = BUF_INIT;
    size_t shown = 0, count = 0;
    json_for (json_get(doc, STR("subsets")), s) {
        const struct json *ports = json_get(s, STR("ports")), *addresses = json_get(s, STR("addresses"));
        if (!json_count(ports))
            json_for (addresses, a)
                add(&b, &shown, &count, json_get_str(a, "ip"), -1);
        json_for (ports, p)
            json_for (addresses, a)
                add(&b, &shown, &count, json_get_str(a, "ip"), json_get_int(p, "port", 0));
    }
    if (count > shown)
        buf_printf(&b, " + %zu more...", count - shown);
    cell_add_str(c, row, json_str_at(doc, "metadata", "name", NULL));
    if (!json_count(json_get(doc, STR("subsets"))))
        buf_puts(&b, "<none>");
    cell_add_str(c, row, buf_to_pool(&b, c->pool));
    cell_add_age(c, row, json_str_at(doc, "metadata", "creationTimestamp", NULL));
}

const struct kind_hooks kind_endpoints = {KIND("", "Endpoints"), .cells = cells};
