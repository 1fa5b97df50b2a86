/* sampan kubectl: the user's own kubectl with this machine's kubeconfig, for those used to `k3s kubectl`. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/cli.h"
#include "cli/commands.h"

#define KUBECONFIG "/etc/sampan/sampan.yaml"

int cmd_kubectl(int argc, char **argv)
{
    struct err *e = NULL;
    if (!getenv("KUBECONFIG")) {
        if (access(KUBECONFIG, R_OK) < 0) {
            err_errno(&e, errno, "unable to read %s, please start the server with --write-kubeconfig-mode to modify its permissions", KUBECONFIG);
            return cli_fail(e);
        }
        setenv("KUBECONFIG", KUBECONFIG, 1);
    }
    argv[0] = (char *)"kubectl";
    execvp("kubectl", argv);
    err_set(&e, ERR_NOT_FOUND, "kubectl is not installed on this machine: %s", strerror(errno));
    return cli_fail(e);
}
