/* sampan server | agent | hub | connect. argv[0] names the command. Returns the exit code. */
#pragma once
int run_command(int argc, char **argv);
