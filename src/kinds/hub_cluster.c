#include "crypto/hash.h"
#include "kinds/cell.h"
#include "kinds/rows.h"

/* management.cattle.io Cluster: the hub's view of one cluster. Connected is a condition that the hub's uplink keeps. */
static const struct json *condition(const struct json *doc, const char *type)
{
    json_for (json_path(doc, "status", "conditions", NULL), x)
        if (str_eqz(json_get_str(x, "type"), type))
            return x;
    return NULL;
}

static void cells(struct kind_ctx *c, const struct json *doc, struct json *row)
{
    const struct json *on = condition(doc, "Connected"), *seen = condition(doc, "LastSeen");
    bool connected = str_eqz(json_get_str(on, "status"), "True");
    struct str name = json_str_at(doc, "metadata", "name", NULL), display = json_str_at(doc, "spec", "displayName", NULL),
               last = json_str_at(doc, "status", "lastSeen", NULL);
    if (!last.n)
        last = json_get_str(seen, "lastUpdateTime");
    if (!last.n)
        last = json_get_str(on, "lastUpdateTime");
    cell_add_str(c, row, name);
    cell_add_str(c, row, display.n ? display : name);
    cell_add_z(c, row, !on ? "Pending" : connected ? "Connected" : "Disconnected");
    cell_add_str(c, row, json_str_at(doc, "status", "version", "gitVersion", NULL));
    cell_add_int(c, row, json_get_int(json_get(doc, STR("status")), "nodeCount", 0));
    cell_add_str(c, row, connected ? STR("now") : last.n ? cell_since(c, last) : STR("<never>"));
    cell_add_age(c, row, json_str_at(doc, "metadata", "creationTimestamp", NULL));
    cell_add_str(c, row, json_str_at(doc, "status", "provider", NULL));
    cell_add_str(c, row, json_get_str(on, "message"));
}

/* "uplink": the id of the key that its uplink has proved, so that one of ten thousand is found without walking all. */
static void index_cluster(struct pool *p, const struct json *doc, struct obj_index *out)
{
    struct str key = json_as_str(json_get(json_path(doc, "metadata", "annotations", NULL), STR("sampan.io/uplink-key")));
    (void)p;
    if (key.n)
        obj_index_add(out, "uplink", key);
}

const struct kind_hooks kind_hub_cluster = {KIND("management.cattle.io", "Cluster"), .cells = cells, .index = index_cluster};

/* "token": the hash of what a cluster shows to join. */
static void index_token(struct pool *p, const struct json *doc, struct obj_index *out)
{
    struct str token = json_str_at(doc, "status", "token", NULL);
    char hex[HASH_HEX + 1];
    if (token.n)
        obj_index_add(out, "token", pool_str(p, hash_sha256_hex(token, hex)));
}

const struct kind_hooks kind_hub_registration_token = {KIND("management.cattle.io", "ClusterRegistrationToken"), .index = index_token};
