#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/run.h"

static int cmd_help(int argc, char **argv);

static const struct command commands[] = {
    {"server", "[flags]", "Run one cluster: API, controllers, scheduler, and a node unless --disable-agent", run_command, false},
    {"agent", "[flags]", "Run a node that joins a cluster", run_command, false},
    {"hub", "[flags]", "Run the cloud manager of many clusters", run_command, false},
    {"connect", "[flags]", "Join a Kubernetes cluster to a hub", run_command, false},
    {"kubectl", "...", "Run kubectl against this machine's cluster", cmd_kubectl, false},
    {"get", "RESOURCE [NAME]", "Show objects, on a server without kubectl", cmd_get, false},
    {"apply", "-f FILE", "Create or change objects, on a server without kubectl", cmd_apply, false},
    {"exec", "POD -- COMMAND", "Run a command in a container, on a server without kubectl", cmd_exec, false},
    {"clusters", "[-o json]", "Show a hub's clusters, on the hub's machine", cmd_clusters, false},
    {"search", "[WORD] [-k KIND] [-c CLUSTER]", "Find objects in all of a hub's clusters, also those that are away", cmd_search, false},
    {"kubeconfig", "[-c CLUSTER] [-w FILE]", "Make a kubeconfig for a hub and its clusters", cmd_kubeconfig, false},
    {"image", "ls|pull|import|export|rm|prune ...", "Container images on this node", cmd_image, false},
    {"token", "create|list|delete|generate|show", "Join tokens", cmd_token, false},
    {"certificate", "check|rotate", "Certificates of this machine: subjects, uses, when they end", cmd_certificate, false},
    {"secrets-encrypt", "status|rotate-keys", "Sealing of Secrets on the server's disk", cmd_secrets_encrypt, false},
    {"backup", "[--data-dir DIR] FILE", "Write a consistent copy of the store while it runs", cmd_backup, false},
    {"restore", "[--data-dir DIR] FILE", "Put a backup into an unused data folder", cmd_restore, false},
    {"network-clear", "", "Take our links, routes and rules out of the kernel, after a stop", cmd_network_clear, false},
    {"check-config", "", "Say what this machine offers and lacks", cmd_check_config, false},
    {"version", "", "Print the version", cmd_version, false},
    {"help", "", "Print this", cmd_help, false},
};

int cli_fail(struct err *e)
{
    int code = e && e->code == ERR_USAGE ? 2 : 1;
    fprintf(stderr, "sampan: %s\n", err_msg(e));
    err_free(e);
    return code;
}

static void usage(FILE *to)
{
    fprintf(to, "usage: sampan COMMAND [flags]\n\ncommands:\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(to, "  %-14s %s\n", commands[i].name, commands[i].help);
    fprintf(to, "\n`sampan COMMAND --help` lists a command's flags.\n");
}

static int cmd_help(int argc, char **argv)
{
    usage(stdout);
    return 0;
}

int cli_main(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return 2;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0 || strcmp(name, "-v") == 0)
        name = "version";
    argv[1] = (char *)name;
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        const struct command *c = &commands[i];
        if (strcmp(c->name, name) != 0)
            continue;
        bool help = argc > 2 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0);
        if (help && c->run != run_command && c->run != cmd_kubectl) { /* those two have more to say */
            printf("usage: sampan %s %s\n\n%s\n", c->name, c->args, c->help);
            return 0;
        }
        return c->run(argc - 1, argv + 1);
    }
    fprintf(stderr, "sampan: unknown command \"%s\" (sampan help lists them)\n", name);
    return 2;
}
