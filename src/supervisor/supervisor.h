/* The supervisor (root): starts, watches and restarts the other processes and hands over their sockets. It parses nothing that comes from outside.
 *
 *     sampan server → api, gate, node      sampan agent → gate, node      sampan hub → api      sampan connect → gate
 *
 * It makes the folders and gives each process its own, binds the listening sockets (so that a connection during a restart waits instead of being
 * refused), and makes the socket between gate and node. A process that ends is started again with back-off (0.1 s doubling to 10 s, reset after a minute of
 * life); when gate or node is renewed, the survivor gets the new end of their socket (NODE_LINK). SIGTERM ends the processes in the order gate, api,
 * node; containers belong to their monitors and go on.
 *
 * The broker: the few things that unprivileged processes need done as root, over a wire each (broker.h).
 */
#pragma once
#include "supervisor/options.h"

/* Runs until told to stop. 0, or an exit code after one clear line on standard error. */
int supervisor_run(const struct options *o);
