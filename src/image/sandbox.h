/* A process that parses what strangers made: forked, made an unprivileged user without further privileges, cut off from every system call
 * that could open, connect, run or signal anything (seccomp, default: EPERM), with nothing open but what it is given. It writes its answer
 * to a pipe.
 */
#pragma once
#include "base/err.h"

struct parser {
    pid_t pid;
    int out; /* where its answer can be read */
};
struct parser_spec {
    const char *user;
    int in;                      /* its input, becomes fd 0 */
    int extra;                   /* one more descriptor, becomes fd 3; -1: none */
    int (*run)(void *arg, int in, int extra, int out, struct err **e); /* an error that it returns is what parser_end tells */
    void *arg;
};
int parser_start(const struct parser_spec *s, struct parser *out, struct err **e) _must_check_;
/* Waits for its end. failed: the caller gave up (it is killed). 0 when it ended well; its own error otherwise; "was killed by signal 11"
 * when it crashed. */
int parser_end(struct parser *p, bool failed, struct err **e) _must_check_;
