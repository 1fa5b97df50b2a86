/* passwd, group and User, parted by NUL bytes: an image's own texts. Also $(NAME) in what a pod declares. */
#include <stdlib.h>
#include "runtime/oci.h"
#include "runtime/users.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = str_make((const char *)data, size), passwd = STR_NULL, group = STR_NULL, user = STR_NULL;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct users_result u;
    str_split(&rest, 0, &passwd);
    str_split(&rest, 0, &group);
    str_split(&rest, 0, &user);
    if (users_from_text(p, passwd, group, user, -1, -1, &u, NULL) == 0 && (u.uid > INT32_MAX || u.gid > INT32_MAX || u.ngroups > 1024))
        abort();
    struct str env[] = {STR("A=b"), group, STR("EMPTY=")};
    (void)oci_expand(p, passwd, env, ARRAY_LEN(env));
    return 0;
}
