#include <dirent.h>
#include <stdlib.h>

#include "base/file.h"
#include "cli/image.h"
#include "node/proto.h"

struct image_uses {
    struct map pods; /* image id → "namespace/name" */
};

static void add(struct image_uses *u, struct str id, const struct node_pod *p)
{
    if (id.n && !map_get(&u->pods, id))
        map_put(&u->pods, id, xasprintf("%.*s/%.*s", STR_ARG(p->ns), STR_ARG(p->name)));
}

static void read_pod(struct image_uses *u, const char *path)
{
    _cleanup_(pool_freep) struct pool *pool = pool_new();
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    struct node_pod p;
    if (file_read(path, WIRE_MAX, &b, NULL) < 0 || wire_decode(&node_pod_type, buf_str(&b), pool, &p, NULL) < 0)
        return;
    for (size_t i = 0; i < p.ncontainers; i++)
        add(u, p.containers[i].image, &p);
    for (size_t i = 0; i < p.nvolumes; i++)
        add(u, p.volumes[i].image, &p);
}

struct image_uses *image_uses_load(const char *data_dir)
{
    struct image_uses *u = xcalloc(1, sizeof *u);
    _cleanup_(freep) char *dir = xasprintf("%s/agent/node/pods", data_dir);
    DIR *d = opendir(dir);
    for (struct dirent *x; d && (x = readdir(d));) {
        _cleanup_(freep) char *path = x->d_name[0] == '.' ? NULL : xasprintf("%s/%s/spec", dir, x->d_name);
        if (path)
            read_pod(u, path);
    }
    if (d)
        closedir(d);
    return u;
}

const char *image_used_by(const struct image_uses *u, const struct image *i)
{
    return map_get(&u->pods, i->id);
}

void image_uses_free(struct image_uses *u)
{
    if (!u)
        return;
    map_clear(&u->pods, free);
    free(u);
}
