/* After a start: what the journal knows and what is really there are brought together. Runs before anything new is made. */
#include <dirent.h>
#include <signal.h>
#include "base/file.h"
#include "base/log.h"
#include "node/impl.h"

/* A run that cannot be taken over: whatever is left of it is removed, and it starts anew as far as its policy says. */
static void start_over(struct container *c)
{
    if (c->id) {
        _cleanup_(freep) char *cgroup = con_cgroup(c);
        cgroup_signal(c->pod->node->cgroups, cgroup, SIGKILL);
    }
    if (c->state == CON_REMOVING) { /* a removal was cut off: move again */
        c->state = CON_DONE;
    }
    con_remove(c);
}

static void adopt_container(struct container *c)
{
    struct node *n = c->pod->node;
    int code;
    int64_t finished;
    switch (c->state) {
    case CON_RUNNING:
    case CON_STOPPING:
        if (con_watch(c, NULL) == 0) {
            c->state = CON_RUNNING; /* a stop that was under way is asked for again by the pod */
            if (!c->started_ok && c->spec)
                con_post_start(c);
            return;
        }
        if (container_exit_file(&n->rt, c->id, &code, &finished)) {
            con_ended(c);
            return;
        }
        c->state = CON_RUNNING;
        con_ended(c);
        return;
    case CON_CREATING:
    case CON_STARTING:
        start_over(c);
        return;
    case CON_REMOVING:
        start_over(c);
        return;
    case CON_IDLE:
        con_resume_backoff(c);
        return;
    default:
        return;
    }
}

/* After a reboot nothing runs: what ran has ended, with an exit code that nobody saw. */
static void rebooted(struct container *c)
{
    c->next_at = c->last_update = c->backoff = 0; /* of a clock that started anew */
    switch (c->state) {
    case CON_RUNNING:
    case CON_STOPPING:
        c->ran = true;
        con_result(c, 255, "Unknown", "The node was restarted", node_now(c->pod->node));
        break;
    case CON_CREATING:
    case CON_STARTING:
    case CON_REMOVING:
        break;
    default:
        return;
    }
    c->state = con_should_restart(c) ? CON_IDLE : CON_DONE;
}

static void paths(struct pod *p)
{
    struct buf b = BUF_INIT;
    cgroup_pod_path(p->node->cgroups, p->spec.qos, str_of(p->uid), &b);
    p->cgroup = buf_take(&b);
    p->sandbox_cgroup = xasprintf("%s/sandbox", p->cgroup);
    (void)pod_handler(p, NULL);
}

static void adopt_live(struct pod *p)
{
    enum pod_state was = p->state;
    for (size_t i = 0; i < p->nc; i++)
        if (!p->c[i]->spec && (p->c[i]->state == CON_IDLE))
            p->c[i]->state = CON_DONE;
    p->sandbox = was == PS_READY || was == PS_STOPPING ? sandbox_adopt(p->node->loop, p->pause) : NULL;
    p->state = PS_NEW;
    if (was == PS_FINISHED) {
        p->state = PS_FINISHED;
    } else if (p->sandbox) {
        p->state = PS_READY;
        sandbox_on_death(p->sandbox, pod_sandbox_died, p);
        for (size_t i = 0; i < p->nc; i++)
            adopt_container(p->c[i]);
        log_info("pod=%.*s/%.*s taken over", STR_ARG(p->spec.ns), STR_ARG(p->spec.name));
    } else {
        pod_reset(p); /* the sandbox was not finished, or is gone */
    }
}

static void adopt_one(struct node *n, const char *uid)
{
    _cleanup_(err_freep) struct err *e = NULL;
    struct pod *p = pod_new(n, str_of(uid));
    bool same_boot = false;
    if (pod_load(p, &same_boot, &e) < 0) {
        log_warn("pod uid=%s: its state cannot be read (%s): it is cleaned and waits to be given again", uid, err_msg(e));
        map_del(&n->pods, str_of(uid));
        pod_free(p);
        return; /* clean_orphans removes the rest */
    }
    paths(p);
    p->synced = false;
    p->applied = p->spec.generation; /* the next NODE_POD, which gate sends whatever stands in it, sets the limits once more */
    if (!same_boot)
        for (size_t i = 0; i < p->nc; i++)
            rebooted(p->c[i]);
    if (p->state == PS_CLEANING || p->state == PS_GONE) {
        p->state = PS_STOPPING;
        p->stop = true;
        pod_clean(p);
        return;
    }
    if (!same_boot) {
        p->state = p->state == PS_FINISHED ? PS_FINISHED : PS_NEW;
        pod_save(p);
    } else {
        adopt_live(p);
    }
    pod_kick(p);
}

void adopt_all(struct node *n)
{
    DIR *d = opendir(n->pods_dir);
    for (struct dirent *x; d && (x = readdir(d));)
        if (pod_uid_ok(str_of(x->d_name)))
            adopt_one(n, x->d_name);
    if (d)
        closedir(d);
    clean_orphans(n);
}
