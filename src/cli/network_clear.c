/* sampan network-clear: what a stop leaves in the kernel on purpose (so that a restart cuts no connection), taken out. For sampan-killall.sh; needs no nft command. */
#include "cli/cli.h"
#include "cli/commands.h"
#include "net/net.h"

int cmd_network_clear(int argc, char **argv)
{
    struct err *e = NULL;
    if (argc > 1) {
        err_set(&e, ERR_USAGE, "network-clear takes no arguments");
        return cli_fail(e);
    }
    return net_uninstall(NULL, &e) < 0 ? cli_fail(e) : 0;
}
