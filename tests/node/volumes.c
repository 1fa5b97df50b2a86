#include "harness.h"
#include "tools.h"
#include "base/file.h"

TEST(files_are_mounted_read_only_and_change_while_the_container_runs)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "while :; do cat /cfg/key; sleep 0.2; done");
    struct node_file f = {STR("key"), STR("one\n"), 0644, -1};
    struct node_volume v[2] = {{.name = STR("cfg"), .kind = VOL_FILES, .files = &f, .nfiles = 1},
        {.name = STR("sec"), .kind = VOL_FILES, .in_memory = true, .files = &f, .nfiles = 1}};
    struct node_mount m[3] = {{.volume = STR("cfg"), .path = STR("/cfg")}, {.volume = STR("sec"), .path = STR("/sec")},
        {.volume = STR("cfg"), .path = STR("/one/file"), .sub_path = STR("key")}};
    p.volumes = v;
    p.nvolumes = 2;
    p.containers[0].mounts = m;
    p.containers[0].nmounts = 3;
    rig_run(r, &p);
    rig_wait_log(r, "p1", "main", "one");
    _cleanup_(freep) char *out = NULL, *on_disk = xasprintf("%s/data/node/pods/p1/volumes/sec", r->dir), *after = NULL;
    EQ(rig_exec(r, "p1", "main", "cat /sec/key /one/file", &out), 0);
    EQ_Z(out, "one\none\n");
    OK(!file_exists(on_disk));
    OK(rig_exec(r, "p1", "main", "echo x > /cfg/key", NULL) != 0);
    f.data = STR("two\n");
    for (int i = 0; i < 2; i++) {
        struct node_volume_update u = {STR("p1"), v[i]};
        EQ(rig_ask(r, NODE_VOLUME, &node_volume_update_type, &u)->reply.code, 0);
    }
    rig_wait_log(r, "p1", "main", "two");
    EQ(rig_exec(r, "p1", "main", "cat /sec/key /one/file", &after), 0);
    EQ_Z(after, "two\none\n"); /* a subPath does not follow, as with the kubelet */
    rig_end(r);
}

TEST(an_empty_dir_in_memory_is_bounded_and_host_paths_are_checked)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "sleep 1000"), q = rig_pod(r, "p2", "sleep 1000");
    struct node_volume v[2] = {{.name = STR("m"), .kind = VOL_EMPTY_DIR, .in_memory = true, .size_limit = 1 << 20},
        {.name = STR("h"), .kind = VOL_HOST_PATH, .path = STR("/etc"), .path_type = STR("Directory")}};
    struct node_volume bad = {.name = STR("h"), .kind = VOL_HOST_PATH, .path = STR("/etc"), .path_type = STR("File")};
    struct node_mount m[2] = {{.volume = STR("m"), .path = STR("/m")}, {.volume = STR("h"), .path = STR("/h"), .read_only = true}};
    p.volumes = v;
    p.nvolumes = 2;
    p.containers[0].mounts = m;
    p.containers[0].nmounts = 2;
    q.volumes = &bad;
    q.nvolumes = 1;
    rig_run(r, &p);
    rig_run(r, &q);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    OK(rig_exec(r, "p1", "main", "dd if=/dev/zero of=/m/f bs=65536 count=32", NULL) != 0);
    EQ(rig_exec(r, "p1", "main", "test -e /h/passwd", NULL), 0);
    OK(rig_exec(r, "p1", "main", "touch /h/x", NULL) != 0);
    OK(rig_event(r, "FailedMount"));
    OK(rig_event(r, "hostPath type check failed: /etc is not a file"));
    rig_end(r);
}

TEST(a_sub_path_that_leads_out_does_not_start)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "");
    struct node_volume v = {.name = STR("v"), .kind = VOL_EMPTY_DIR};
    struct node_mount plain = {.volume = STR("v"), .path = STR("/v")},
                      evil = {.volume = STR("v"), .path = STR("/x"), .sub_path = STR("link/passwd")};
    struct node_container c[2] = {rig_container(r, "init", CON_INIT, "cd /v && /bin/busybox ln -s /etc link"),
        rig_container(r, "main", CON_MAIN, "cat /x; sleep 1000")};
    c[0].mounts = &plain;
    c[1].mounts = &evil;
    c[0].nmounts = c[1].nmounts = 1;
    p.containers = c;
    p.ncontainers = 2;
    p.volumes = &v;
    p.nvolumes = 1;
    p.restart_policy = STR("Never");
    rig_run(r, &p);
    rig_wait_state(r, "p1", "init", CS_TERMINATED, "Completed");
    rig_wait_state(r, "p1", "main", CS_WAITING, "CreateContainerConfigError");
    OK(rig_event(r, "leads out of its volume"));
    rig_end(r);
}

TEST(hosts_and_resolver_are_written_for_the_pod)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "cat /etc/hosts /etc/resolv.conf /etc/hostname; sleep 1000");
    struct str alias[] = {STR("1.2.3.4\tfoo bar")};
    p.hosts = alias;
    p.nhosts = 1;
    p.subdomain = STR("sub");
    rig_run(r, &p);
    rig_wait_log(r, "p1", "main", "1.2.3.4\tfoo bar");
    rig_wait_log(r, "p1", "main", "p1.sub.default.svc.cluster.local\tp1");
    rig_wait_log(r, "p1", "main", "nameserver 10.78.0.10");
    rig_end(r);
}

TEST(an_image_can_be_a_volume_and_stays_while_it_is_one)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "sleep 1000");
    struct node_volume v = {.name = STR("i"), .kind = VOL_IMAGE, .image = r->images.images[0].id};
    struct node_mount m = {.volume = STR("i"), .path = STR("/img")};
    p.volumes = &v;
    p.nvolumes = 1;
    p.containers[0].mounts = &m;
    p.containers[0].nmounts = 1;
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    EQ(rig_exec(r, "p1", "main", "test -x /img/bin/busybox", NULL), 0);
    OK(rig_exec(r, "p1", "main", "touch /img/x", NULL) != 0);
    struct node_image_ref ref = {STR("busybox:test")};
    EQ(rig_ask(r, NODE_IMAGE_REMOVE, &node_image_ref_type, &ref)->reply.code, ERR_CONFLICT);
    rig_end(r);
}

TEST(a_group_of_the_pod_owns_its_volumes)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "echo x > /e/f && stat -c '%g %a' /e /e/f /s/..data/k; sleep 1000");
    struct node_file f = {STR("k"), STR("v"), 0400, -1};
    struct node_volume v[2] = {
        {.name = STR("e"), .kind = VOL_EMPTY_DIR}, {.name = STR("s"), .kind = VOL_FILES, .in_memory = true, .files = &f, .nfiles = 1}};
    struct node_mount m[2] = {{.volume = STR("e"), .path = STR("/e")}, {.volume = STR("s"), .path = STR("/s")}};
    p.fs_group = 2000;
    p.volumes = v;
    p.nvolumes = 2;
    p.containers[0].mounts = m;
    p.containers[0].nmounts = 2;
    p.containers[0].security.uid = 1000;
    rig_run(r, &p);
    rig_wait_log(r, "p1", "main", "2000 2777\n2000 644\n2000 440\n");
    rig_end(r);
}

/* Whether the mount that holds /tmp passes mounts on: its line in mountinfo, "/tmp" or else "/", has "shared:". */
static bool tmp_is_shared(void)
{
    _cleanup_(buf_clear) struct buf text = BUF_INIT;
    bool root = false, tmp = false, own = false;
    if (file_read("/proc/self/mountinfo", 16 << 20, &text, NULL) < 0)
        return false;
    struct str rest = buf_str(&text), line;
    while (str_split(&rest, '\n', &line)) {
        bool shared = str_find(line, STR(" shared:")) >= 0;
        if (str_find(line, STR(" / / ")) >= 0)
            root = shared;
        if (str_find(line, STR(" /tmp ")) >= 0) {
            own = true;
            tmp = shared;
        }
    }
    return own ? tmp : root;
}

TEST(mounts_that_would_reach_the_host_need_a_privileged_container)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "sleep 1000"), q = rig_pod(r, "p2", "sleep 1000");
    struct node_volume v = {.name = STR("h"), .kind = VOL_HOST_PATH, .path = STR("/tmp")};
    struct node_mount both = {.volume = STR("h"), .path = STR("/h"), .propagation = 2}, up = {.volume = STR("h"), .path = STR("/a/../../proc")};
    p.volumes = q.volumes = &v;
    p.nvolumes = q.nvolumes = 1;
    p.containers[0].mounts = &both;
    q.containers[0].mounts = &up;
    p.containers[0].nmounts = q.containers[0].nmounts = 1;
    rig_run(r, &p);
    rig_run(r, &q);
    rig_wait_state(r, "p1", "main", CS_WAITING, "CreateContainerConfigError");
    rig_wait_state(r, "p2", "main", CS_WAITING, "CreateContainerConfigError");
    OK(rig_event(r, "Bidirectional mount propagation is available only to privileged containers"));
    p.containers[0].security.privileged = true;
    p.uid = p.name = STR("p3");
    rig_run(r, &p);
    if (tmp_is_shared()) {
        rig_wait_state(r, "p3", "main", CS_RUNNING, NULL);
    } else { /* nothing that it mounts could reach the machine: said, not swallowed (tests/e2e/test_csi.py has the shared case) */
        rig_wait_state(r, "p3", "main", CS_WAITING, "CreateContainerConfigError");
        OK(rig_event(r, "is not on a shared mount"));
    }
    rig_end(r);
}
