#include "node/evict.h"
#include "harness.h"
#include "tools.h"

TEST(low_is_below_bytes_or_percent_and_never_guessed)
{
    struct evict_threshold bytes = {"memory", 100, 0}, percent = {"disk", 0, 10};
    OK(evict_low(&bytes, 99, 1000));
    OK(!evict_low(&bytes, 100, 1000));
    OK(evict_low(&percent, 99, 1000));
    OK(!evict_low(&percent, 100, 1000));
    OK(!evict_low(&percent, -1, 1000));
    OK(!evict_low(&percent, 0, 0));
}

TEST(who_uses_more_than_asked_for_goes_first_and_guaranteed_last)
{
    struct evict_candidate over = {100, 10, false}, more = {200, 10, false}, under = {5, 10, false}, guaranteed = {500, 500, true};
    OK(evict_compare(&more, &over) > 0);
    OK(evict_compare(&over, &under) > 0);
    OK(evict_compare(&under, &guaranteed) > 0);
    OK(evict_compare(&guaranteed, &more) < 0);
}

TEST(an_empty_dir_beyond_its_limit_evicts_the_pod)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "dd if=/dev/zero of=/v/f bs=65536 count=64; sleep 1000");
    struct node_volume v = {.name = STR("v"), .kind = VOL_EMPTY_DIR, .size_limit = 1 << 20};
    struct node_mount m = {.volume = STR("v"), .path = STR("/v")};
    p.volumes = &v;
    p.nvolumes = 1;
    p.containers[0].mounts = &m;
    p.containers[0].nmounts = 1;
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    rig_wait_state(r, "p1", "main", CS_TERMINATED, NULL);
    const struct node_pod_state *s = map_get(&r->states, STR("p1"));
    OK(s->evicted);
    EQ_STR(s->reason, STR("Evicted"));
    OK(str_starts(s->message, STR("Usage of EmptyDir volume \"v\" exceeds the limit")));
    rig_end(r);
}

TEST(what_this_node_cannot_do_is_said_in_an_event)
{
    struct rig *r = rig_new();
    struct node_pod a = rig_pod(r, "p1", "sleep 1000"), b = rig_pod(r, "p2", "sleep 1000"), c = rig_pod(r, "p3", "sleep 1000");
    a.host_users = false;
    b.runtime_handler = STR("no-such-runtime");
    c.runtime_handler = STR("crun");
    rig_run(r, &a);
    rig_run(r, &b);
    rig_run(r, &c);
    rig_wait_state(r, "p3", "main", CS_RUNNING, NULL);
    OK(rig_event(r, "user namespaces are not supported"));
    OK(rig_event(r, "no runtime for \"no-such-runtime\" is configured"));
    EQ(rig_state(r, "p1", "main")->state, CS_WAITING);
    rig_end(r);
}
