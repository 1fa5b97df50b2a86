/* The short-lived commands, one file each. argv[0] is the command's name; the exit code is returned. */
#pragma once
int cmd_kubectl(int argc, char **argv);
int cmd_image(int argc, char **argv);
int cmd_token(int argc, char **argv);
int cmd_secrets_encrypt(int argc, char **argv);
int cmd_certificate(int argc, char **argv);
int cmd_backup(int argc, char **argv);
int cmd_restore(int argc, char **argv);
int cmd_network_clear(int argc, char **argv);
int cmd_check_config(int argc, char **argv);
int cmd_version(int argc, char **argv);
int cmd_get(int argc, char **argv);
int cmd_apply(int argc, char **argv);
int cmd_exec(int argc, char **argv);
int cmd_clusters(int argc, char **argv);
int cmd_search(int argc, char **argv);
int cmd_kubeconfig(int argc, char **argv);
