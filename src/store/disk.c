#include "store/inner.h"
#define NO(e) err_set(e, ERR_NOT_IMPLEMENTED, "store: a folder is not supported yet")
int backend_open(const struct store_config *c, struct backend **out, struct backend_head *head, struct err **e) { return NO(e); }
void backend_close(struct backend *b, int64_t head) {}
int backend_kind(struct backend *b, struct str name, int64_t *disk, struct err **e) { return NO(e); }
int backend_load(struct backend *b, struct store_res *(*find)(void *arg, int64_t disk), const struct backend_load *l, struct err **e) { return NO(e); }
int backend_load_kind(struct backend *b, struct store_res *r, const struct backend_load *l, struct err **e) { return NO(e); }
int backend_append(struct backend *b, const struct backend_batch *batch, struct err **e) { return NO(e); }
int backend_probe(struct backend *b, int64_t epoch, int64_t reserved, struct err **e) { return NO(e); }
int backend_reserve(struct backend *b, struct err **e) { return NO(e); }
void backend_release(struct backend *b) {}
int backend_history(struct backend *b, struct store *s, const struct store_res *r, int64_t after, int64_t upto, struct event ***out, size_t *n, struct err **e) { return NO(e); }
int backend_backup(struct backend *b, const char *path, struct err **e) { return NO(e); }
void backend_sizes(struct backend *b, int64_t *db, int64_t *wal) {}
int store_restore(const char *backup, const char *folder, struct err **e) { return NO(e); }
