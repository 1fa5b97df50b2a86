#include "runtime/users.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "harness.h"

static const char passwd[] =
    "root:x:0:0:root:/root:/bin/sh\nbroken line\napp:x:1000:1001:app:/home/app:/bin/sh\nhuge:x:99999999999:0::/:\n";
static const char group[] = "root:x:0:\nstaff:x:50:app,other\napp:x:1001:\nmore:x:51:other,app\n";

static struct users_result resolve(struct pool *p, const char *user, int64_t uid, int64_t gid)
{
    struct users_result r = {0};
    struct err *e = NULL;
    FINE(users_from_text(p, str_of(passwd), str_of(group), str_of(user), uid, gid, &r, &e), e);
    return r;
}

TEST(an_image_user_is_found_by_name_and_by_number)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct users_result r = resolve(p, "app", -1, -1);
    EQ(r.uid, 1000);
    EQ(r.gid, 1001);
    EQ(r.ngroups, 2);
    EQ(r.groups[0], 50);
    EQ_STR(r.home, STR("/home/app"));
    r = resolve(p, "1000", -1, -1);
    EQ(r.gid, 1001);
    r = resolve(p, "app:staff", -1, -1);
    EQ(r.gid, 50);
    r = resolve(p, "7:8", -1, -1);
    EQ(r.uid, 7);
    EQ(r.gid, 8);
    r = resolve(p, "", -1, -1);
    EQ(r.uid, 0);
}

TEST(the_pods_user_replaces_the_images_with_its_group)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct users_result r = resolve(p, "7:8", 1000, -1);
    EQ(r.uid, 1000);
    EQ(r.gid, 1001);
    r = resolve(p, "app", 4242, -1);
    EQ(r.uid, 4242);
    EQ(r.gid, 0);
    r = resolve(p, "app", -1, 9);
    EQ(r.uid, 1000);
    EQ(r.gid, 9);
}

TEST(a_user_that_is_not_in_the_image_is_an_error)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct users_result r;
    EQ(users_from_text(p, str_of(passwd), str_of(group), STR("nobody"), -1, -1, &r, &e), -ERR_NOT_FOUND);
    EQ_Z(err_msg(e), "unable to find user nobody: no matching entries in passwd file");
    err_free(TAKE(e));
    EQ(users_from_text(p, str_of(passwd), str_of(group), STR("huge"), -1, -1, &r, &e), -ERR_NOT_FOUND);
}

TEST(links_in_an_image_do_not_lead_to_the_hosts_files)
{
    _cleanup_(closep) int root = open(test_tmpdir(), O_PATH | O_DIRECTORY | O_CLOEXEC);
    EQ(mkdirat(root, "etc", 0755), 0);
    EQ(symlinkat("/../../../../../../etc/passwd", root, "etc/passwd"), 0);
    EQ(symlinkat("/proc/self/fd", root, "fds"), 0);
    OK(users_open_in_root(root, "/etc/passwd", O_RDONLY) < 0);
    OK(users_open_in_root(root, "/fds/0", O_RDONLY) < 0);
    OK(users_open_in_root(root, "../../../../etc/passwd", O_RDONLY) < 0);
}
