/* What the image tests share. */
#pragma once
#include "image/image.h"

const char *image_test_dir(void);                           /* skips the test when this is not root or a tool is missing */
void image_test_sh(const char *fmt, ...) _printf_(1, 2);    /* fails the test when the shell does */
struct image_store *image_test_store(const char *dir);      /* <dir>/store */
void image_test_import(struct image_store *s, const char *file, struct buf *out);
int image_test_try(struct image_store *s, const char *file, struct err **e);
char *image_test_path(struct image_store *s, const struct image *i, const char *path); /* in its only layer */
