/* The mains of the processes that the supervisor forks. Each runs in its own process, gives up what rights it does not need, and returns an exit code. */
#pragma once
#include "supervisor/layout.h"
#include "supervisor/options.h"

#define PROC_EXIT_FATAL 78 /* EX_CONFIG: it said why; starting it again cannot help */

struct proc_fds { int broker, link, https, local; }; /* -1: none */

/* Closes every descriptor but 0, 1, 2 and those named. */
void procs_keep_only(const struct proc_fds *f);
void procs_log_level(const struct options *o);
int proc_api(const struct options *o, const struct layout *l, const struct proc_fds *f);   /* server and hub */
int proc_gate(const struct options *o, const struct layout *l, const struct proc_fds *f);
int proc_node(const struct options *o, const struct layout *l, const struct proc_fds *f);
