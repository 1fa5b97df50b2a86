/* The command line: one file per command, one row each in cli.c. Exit codes: 0, 1 (it failed, one line on standard error says why), 2 (wrong usage). */
#pragma once
#include "base/err.h"

struct command {
    const char *name, *args, *help;
    int (*run)(int argc, char **argv); /* argv[0] is the command's name */
    bool hidden;
};
int cli_main(int argc, char **argv);

/* Prints "sampan: <message>" and returns the exit code that fits the error. Frees e. */
int cli_fail(struct err *e);
