#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "harness.h"
#include "volume/volume.h"

#define NAME "pvc-0a1b2c3d-0000-4000-8000-0123456789ab_default_data"

TEST(only_paths_with_the_name_of_a_provisioned_volume_are_touched)
{
    static const char *const bad[] = {"", "/", "/etc", "/a/../" NAME, NAME, "/s/pvc-x_default_data", "/s/" NAME "/more",
        "/s/pvc-0A1B2C3D-0000-4000-8000-0123456789ab_a_b", "/s/pvc-0a1b2c3d-0000-4000-8000-0123456789ab", "/s/./" NAME};
    OK(volume_provisioned_path_ok(STR("/var/lib/sampan/storage/" NAME)));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        _cleanup_(err_freep) struct err *e = NULL, *e2 = NULL;
        bool fresh, limited;
        OK(!volume_provisioned_path_ok(str_of(bad[i])));
        EQ(volume_provision(str_of(bad[i]), 0, &fresh, &limited, &e), -ERR_INVALID);
        EQ(volume_unprovision(str_of(bad[i]), &e2), -ERR_INVALID);
    }
}

TEST(a_folder_is_made_once_for_everybody_and_removed_with_what_is_in_it)
{
    _cleanup_(err_freep) struct err *e = NULL;
    _cleanup_(freep) char *base = xasprintf("%s/storage", test_tmpdir()), *path = xasprintf("%s/" NAME, base),
                          *file = xasprintf("%s/f", path), *out = xasprintf("%s/kept", test_tmpdir()), *link = xasprintf("%s/link", path),
                          *inside = xasprintf("%s/x", out);
    bool fresh = false, limited = true;
    struct stat st;
    FINE(volume_provision(str_of(path), 0, &fresh, &limited, &e), e);
    OK(fresh);
    OK(!limited);
    EQ(stat(path, &st), 0);
    EQ(st.st_mode & 0777, 0777);
    EQ(stat(base, &st), 0);
    EQ(st.st_mode & 0777, 0701);
    FINE(volume_provision(str_of(path), 0, &fresh, &limited, &e), e);
    OK(!fresh);
    FINE(dir_make(out, 0755, &e), e);
    FINE(file_replace(file, STR("x"), 0600, &e), e);
    FINE(file_replace(inside, STR("x"), 0600, &e), e);
    EQ(symlink(out, link), 0);
    FINE(volume_unprovision(str_of(path), &e), e);
    OK(!file_exists(path));
    OK(file_exists(inside));
    FINE(volume_unprovision(str_of(path), &e), e); /* again: nothing to do */
}

TEST(a_link_in_the_place_of_a_folder_is_not_followed)
{
    _cleanup_(err_freep) struct err *e = NULL, *e2 = NULL;
    _cleanup_(freep) char *target = xasprintf("%s/target", test_tmpdir()), *path = xasprintf("%s/" NAME, test_tmpdir()),
                          *kept = xasprintf("%s/kept", target);
    bool fresh, limited;
    FINE(dir_make(target, 0755, &e), e);
    FINE(file_replace(kept, STR("x"), 0600, &e), e);
    EQ(symlink(target, path), 0);
    OK(volume_provision(str_of(path), 0, &fresh, &limited, &e) < 0);
    OK(volume_unprovision(str_of(path), &e2) < 0);
    OK(file_exists(kept));
}
