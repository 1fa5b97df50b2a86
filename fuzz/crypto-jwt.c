/* Bearer tokens and key sets, as any client may send them. Nothing that comes from here may verify under a key whose private half nobody has. */
#include <assert.h>
#include "crypto/crypto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct key *key;
    if (!key)
        key = key_make(KEY_P256, NULL);
    struct pool *pool = pool_new();
    struct str text = str_make((const char *)data, size);
    struct jwt t;
    struct jwt_keys keys = {0};
    if (jwt_parse(text, pool, &t, NULL) == 0) {
        assert(jwt_verify(&t, key, NULL) < 0);
        int in_time = jwt_check_time(&t, INT64_C(1800000000000000000), 0, NULL);
        (void)in_time;
        jwt_has_audience(&t, STR("api"));
    }
    if (jwt_keys_parse(text, pool, &keys, NULL) == 0 && keys.n) {
        struct buf b = BUF_INIT;
        const struct key *first = keys.at[0].key;
        jwt_keys_write(&first, 1, &b);
        struct jwt_keys again;
        int r = jwt_keys_parse(buf_str(&b), pool, &again, NULL);
        assert(r == 0 && again.n == 1 && str_eq(key_id(again.at[0].key), key_id(first)));
        buf_clear(&b);
    }
    pool_free(pool);
    return 0;
}
