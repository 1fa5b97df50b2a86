#include "schema/quantity.h"

#include "harness.h"

static struct str canon(struct buf *b, const char *z)
{
    struct err *e = NULL;
    struct quantity q;
    FINE(quantity_parse(str_of(z), &q, &e), e);
    buf_reset(b);
    quantity_write(b, q);
    return buf_str(b);
}

TEST(a_quantity_is_written_in_its_canonical_form)
{
    static const char *const rows[][2] = {
        {"0", "0"},
        {"0.5", "500m"},
        {"1000m", "1"},
        {"100m", "100m"},
        {"1.5Gi", "1536Mi"},
        {"1024Ki", "1Mi"},
        {"1Gi", "1Gi"},
        {"1000Ki", "1000Ki"},
        {"1024", "1024"},
        {"12e6", "12e6"},
        {"1.1E5", "110e3"},
        {"0.1Ki", "102400m"},
        {"+5", "5"},
        {"-1500m", "-1500m"},
        {"0.0000000001", "1n"},
        {"100000", "100k"},
        {"1e3", "1e3"},
        {"3.0", "3"},
        {"9223372036854775807Ki", "9223372036854775807"},
        {"512", "512"},
        {"512Ki", "512Ki"},
    };
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        EQ_STR(canon(&b, rows[i][0]), str_of(rows[i][1]));
    buf_clear(&b);
}

TEST(a_malformed_quantity_is_refused)
{
    static const char *const rows[] = {
        "", "abc", "1.2.3", "1KiB", "--1", "1e", ".", "1 ", "1e1000", "99999999999999999999999999999999999999999999"};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err *e = NULL;
        struct quantity q;
        if (quantity_parse(str_of(rows[i]), &q, &e) >= 0)
            test_fail(__FILE__, __LINE__, "\"%s\" was taken", rows[i]);
        EQ(e->code, ERR_BAD_REQUEST);
        err_free(e);
    }
}

TEST(values_round_up_and_saturate)
{
    struct err *e = NULL;
    struct quantity q, r;
    FINE(quantity_parse(STR("1500m"), &q, &e), e);
    EQ(quantity_value(q), 2);
    EQ(quantity_milli(q), 1500);
    FINE(quantity_parse(STR("8Ei"), &r, &e), e);
    EQ(quantity_value(r), INT64_MAX);
    EQ(quantity_milli(r), INT64_MAX);
    FINE(quantity_parse(STR("1u"), &r, &e), e);
    EQ(quantity_milli(r), 1);
    EQ(quantity_cmp(q, r), 1);
    EQ(quantity_milli(quantity_add(q, q)), 3000);
    EQ(quantity_milli(quantity_sub(r, q)), -1500);
}
