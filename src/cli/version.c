#include <stdio.h>

#include "cli/commands.h"

int cmd_version(int argc, char **argv)
{
    printf("sampan version v%s (Kubernetes API v1.36)\n", SAMPAN_VERSION);
    return 0;
}
