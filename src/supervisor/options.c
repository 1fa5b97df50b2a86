#include "supervisor/options.h"

#include <stdlib.h>

static void strs_clear(struct strs *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->v[i]);
    free(s->v);
}

static void secret_free(char *s)
{
    if (s)
        explicit_bzero(s, strlen(s));
    free(s);
}

void options_clear(struct options *o)
{
    char *plain[] = {o->config, o->data_dir, o->run_dir, o->log_level, o->user, o->bind_address, o->advertise_address, o->write_kubeconfig,
        o->write_kubeconfig_mode, o->write_kubeconfig_group, o->cluster_cidr, o->service_cidr, o->cluster_dns, o->cluster_domain, o->token_file,
        o->agent_token_file, o->server, o->node_name, o->node_ip, o->flannel_backend, o->resolv_conf, o->private_registry, o->cgroup_root, o->kubelet_dir, o->hub,
        o->hub_token_file, o->hub_ca_hash, o->kubeconfig, o->cluster_name, o->local_storage_path};
    char *secret[] = {o->token, o->agent_token, o->hub_token};
    for (size_t i = 0; i < ARRAY_LEN(plain); i++)
        free(plain[i]);
    for (size_t i = 0; i < ARRAY_LEN(secret); i++)
        secret_free(secret[i]);
    strs_clear(&o->tls_san);
    strs_clear(&o->disable);
    strs_clear(&o->apiserver_arg);
    strs_clear(&o->node_label);
    strs_clear(&o->scheduler_name);
    strs_clear(&o->kubelet_arg);
    strs_clear(&o->unsafe_sysctls);
    free(o->static_pods);
    strs_clear(&o->node_taint);
    *o = (struct options){0};
}
