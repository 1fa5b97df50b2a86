#include <errno.h>
#include "harness.h"

TEST(wrapping_grows_the_message_to_the_left)
{
    _cleanup_(err_freep) struct err *e = NULL;
    EQ(err_errno(&e, EADDRINUSE, "bind %d", 6443), -ERR_IO);
    EQ(err_wrap(&e, "start"), -ERR_IO);
    EQ_Z(err_msg(e), "start: bind 6443: Address already in use");
    EQ(err_errno(NULL, ENOSPC, "x"), -ERR_STORAGE_FULL);
}

TEST(causes_make_an_invalid_error_with_the_field)
{
    _cleanup_(err_freep) struct err *e = NULL;
    err_cause(&e, "FieldValueRequired", STR("spec.name"), "Required value");
    err_cause(&e, "FieldValueInvalid", STR("spec.port"), "Invalid value: %d", 0);
    EQ(e->code, ERR_INVALID);
    EQ(e->ncauses, 2);
    EQ_Z(e->causes[1].message, "Invalid value: 0");
    EQ_Z(e->causes[1].field, "spec.port");
}

TEST(every_code_has_a_status_that_http_knows)
{
    for (int i = 1; i < ERR_CODES; i++)
        OK(err_http((enum err_code)i) >= 400 && err_http((enum err_code)i) < 600);
    EQ_Z(err_reason(ERR_CONFLICT), "Conflict");
    EQ(err_http(ERR_EXPIRED), 410);
}

TEST(moving_replaces_what_stood_there)
{
    _cleanup_(err_freep) struct err *e = NULL;
    struct err *src = NULL;
    err_set(&e, ERR_IO, "first");
    err_set(&src, ERR_GONE, "second");
    EQ(err_move(&e, src), -ERR_GONE);
    EQ_Z(err_msg(e), "second");
    src = NULL;
    err_set(&src, ERR_GONE, "third");
    EQ(err_move(NULL, src), -ERR_GONE);
}
