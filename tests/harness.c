#include "harness.h"
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/file.h"

static struct test *first, **last = &first;
static jmp_buf back;
static char *tmp;
static const char *skipped;

void test_register(struct test *t)
{
    *last = t;
    last = &t->next;
}

void test_fail(const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    printf("# %s:%d: ", file, line);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    longjmp(back, 1);
}

void test_skip(const char *why)
{
    skipped = why;
    longjmp(back, 2);
}

const char *test_tmpdir(void)
{
    if (!tmp) {
        char path[] = "/tmp/sampan-test-XXXXXX";
        if (!mkdtemp(path))
            test_fail(__FILE__, __LINE__, "mkdtemp");
        tmp = xstrdup(path);
    }
    return tmp;
}

static void drop_tmpdir(void)
{
    if (!tmp)
        return;
    if (dir_remove(tmp, NULL) < 0)
        printf("# could not remove %s\n", tmp);
    free(TAKE(tmp));
}

bool fault_more;
static int fault_left;
static bool fault_hit;

static bool on_step(const char *what)
{
    if (--fault_left != 0)
        return false;
    fault_hit = true;
    errno = ENOSPC;
    return true;
}

void fault_at(int n)
{
    fault_left = n;
    fault_hit = false;
    fault_hook = on_step;
}

bool fault_end(void)
{
    fault_hook = NULL;
    fault_more = fault_hit;
    return fault_hit;
}

int main(int argc, char **argv)
{
    volatile int n = 0, failed = 0; /* across longjmp */
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("TAP version 13\n");
    for (struct test *t = first; t; t = t->next) {
        if (argc > 1 && !strstr(t->name, argv[1]))
            continue;
        volatile int r = setjmp(back);
        if (r == 0)
            t->fn();
        n++;
        fault_hook = NULL;
        drop_tmpdir();
        if (r == 2)
            printf("ok %d - %s # SKIP %s\n", n, t->name, skipped);
        else
            printf("%s %d - %s\n", r ? "not ok" : "ok", n, t->name);
        failed += r == 1;
    }
    printf("1..%d\n", n);
    return failed != 0;
}
