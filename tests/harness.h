/* The test harness: a test is a function with a sentence for a name.
 *
 *     TEST(a_buffer_keeps_a_nul_behind_its_contents) { ... EQ_STR(buf_str(&b), STR("x")); }
 *
 * A failed assertion prints both sides and ends that test (longjmp: do not rely on cleanup attributes after a failure).
 * fault_at(n): the n-th step that can fail does (base/fault.h); see FAULT_LOOP. Output is TAP 13. `test-room pattern` runs the tests whose names contain pattern.
 */
#pragma once
#include <setjmp.h>
#include <stdio.h>
#include "base/base.h"
#include "base/err.h"
#include "base/str.h"

struct test {
    const char *name, *file;
    void (*fn)(void);
    struct test *next;
};
void test_register(struct test *t);
_noreturn_ void test_fail(const char *file, int line, const char *fmt, ...) _printf_(3, 4);
_noreturn_ void test_skip(const char *why); /* for what this machine cannot do; counted apart */
const char *test_tmpdir(void);               /* a fresh folder for the running test, removed at its end */

#define TEST(name_)                                                                                   \
    static void test_##name_(void);                                                                   \
    __attribute__((constructor)) static void test_register_##name_(void)                              \
    {                                                                                                 \
        static struct test t = {#name_, __FILE__, test_##name_, NULL};                                \
        test_register(&t);                                                                            \
    }                                                                                                 \
    static void test_##name_(void)

#define OK(cond) ((cond) ? (void)0 : test_fail(__FILE__, __LINE__, "not true: %s", #cond))
#define EQ(a, b)                                                                                                                  \
    do {                                                                                                                          \
        long long eq_a_ = (long long)(a), eq_b_ = (long long)(b);                                                                 \
        if (eq_a_ != eq_b_)                                                                                                       \
            test_fail(__FILE__, __LINE__, "%s is %lld, not %s (%lld)", #a, eq_a_, #b, eq_b_);                                     \
    } while (0)
#define EQ_STR(a, b)                                                                                                              \
    do {                                                                                                                          \
        struct str eq_a_ = (a), eq_b_ = (b);                                                                                      \
        if (!str_eq(eq_a_, eq_b_))                                                                                                \
            test_fail(__FILE__, __LINE__, "%s is\n#   \"%.*s\"\n# not\n#   \"%.*s\"", #a, STR_ARG(eq_a_), STR_ARG(eq_b_));        \
    } while (0)
#define EQ_Z(a, b) EQ_STR(str_of(a), str_of(b))
/* The call succeeds: its error is printed otherwise. `e` names the struct err * that the call fills. */
#define FINE(call, e)                                                                                                             \
    do {                                                                                                                          \
        int fine_r_ = (call);                                                                                                     \
        if (fine_r_ < 0)                                                                                                          \
            test_fail(__FILE__, __LINE__, "%s: %s", #call, err_msg(e));                                                           \
    } while (0)

/* Repeats a block with its first, second... step failing, until a round passes in which no step failed:
 *     FAULT_LOOP
 *     {
 *         int r = file_replace(...);
 *         if (fault_end())
 *             OK(r < 0 && <nothing is half-done>);
 *         else
 *             OK(r == 0);
 *     }
 * The block must call fault_end() (once, before it checks): true when a step was made to fail in this round. */
void fault_at(int n);
bool fault_end(void);
extern bool fault_more;
#define FAULT_LOOP for (int fault_n_ = (fault_more = true, 1); fault_more && (fault_at(fault_n_), true); fault_n_++)
