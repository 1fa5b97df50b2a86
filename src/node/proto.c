#include "node/proto.h"

/* Bounds are the protocol's defence on both sides: names as Kubernetes bounds them (253), paths as the kernel (4096), counts well above
 * what a pod may hold. */
#define NAME 253
#define PATH 4096
#define TEXT (64u << 10)
#define DATA (1u << 20)
#define IP 64

#define FIELDS(type) static const struct wire_field type##_fields[]
#define TYPE(type) const struct wire_type type##_type = {#type, sizeof(struct type), type##_fields}
#define SUBTYPE(type) static const struct wire_type type##_type = {#type, sizeof(struct type), type##_fields}

FIELDS(node_empty) = {WIRE_BOOL(struct node_empty, unused), WIRE_END};
TYPE(node_empty);
FIELDS(node_uid) = {WIRE_STR(struct node_uid, uid, NAME), WIRE_END};
TYPE(node_uid);
FIELDS(node_reply) = {WIRE_U64(struct node_reply, code), WIRE_STR(struct node_reply, message, TEXT), WIRE_END};
TYPE(node_reply);

FIELDS(node_settings) = {WIRE_I64(struct node_settings, evict_memory_bytes),
    WIRE_I64(struct node_settings, evict_memory_percent),
    WIRE_I64(struct node_settings, evict_disk_bytes),
    WIRE_I64(struct node_settings, evict_disk_percent),
    WIRE_I64(struct node_settings, evict_inodes),
    WIRE_I64(struct node_settings, evict_inodes_percent),
    WIRE_I64(struct node_settings, evict_pids),
    WIRE_I64(struct node_settings, evict_pids_percent),
    WIRE_I64(struct node_settings, image_gc_high),
    WIRE_I64(struct node_settings, image_gc_low),
    WIRE_I64(struct node_settings, log_size),
    WIRE_I64(struct node_settings, log_files),
    WIRE_I64(struct node_settings, max_pods),
    WIRE_I64(struct node_settings, pod_pids),
    WIRE_I64(struct node_settings, reserved_cpu_milli),
    WIRE_I64(struct node_settings, reserved_memory),
    WIRE_I64(struct node_settings, reserved_storage), WIRE_END};
SUBTYPE(node_settings);
FIELDS(node_config) = {WIRE_STR(struct node_config, node_name, NAME), WIRE_STR(struct node_config, node_ip, IP),
    WIRE_STR(struct node_config, pod_cidr, IP), WIRE_STR(struct node_config, cluster_cidr, IP),
    WIRE_STR(struct node_config, service_cidr, IP), WIRE_STR(struct node_config, dns_ip, IP),
    WIRE_STR(struct node_config, cluster_domain, NAME), WIRE_STR(struct node_config, backend, 32),
    WIRE_STR(struct node_config, cgroup_root, NAME), WIRE_U64(struct node_config, max_pods),
    WIRE_STR(struct node_config, cluster_dns_upstream, TEXT), WIRE_STRUCT(struct node_config, settings, &node_settings_type), WIRE_END};
TYPE(node_config);

FIELDS(node_env) = {WIRE_STR(struct node_env, name, TEXT), WIRE_STR(struct node_env, value, DATA),
    WIRE_ENUM(struct node_env, kind, ENV_HOST_IP + 1), WIRE_END};
SUBTYPE(node_env);
FIELDS(node_mount) = {WIRE_STR(struct node_mount, volume, NAME), WIRE_STR(struct node_mount, path, PATH),
    WIRE_STR(struct node_mount, sub_path, PATH), WIRE_BOOL(struct node_mount, read_only), WIRE_ENUM(struct node_mount, recursive, 3),
    WIRE_ENUM(struct node_mount, propagation, 3),
    WIRE_END};
SUBTYPE(node_mount);
FIELDS(node_device) = {WIRE_STR(struct node_device, volume, NAME), WIRE_STR(struct node_device, path, PATH), WIRE_END};
SUBTYPE(node_device);
FIELDS(node_file) = {WIRE_STR(struct node_file, path, PATH), WIRE_STR(struct node_file, data, 3u << 20), WIRE_U64(struct node_file, mode),
    WIRE_I64(struct node_file, uid), WIRE_END};
SUBTYPE(node_file);
FIELDS(node_volume) = {
    WIRE_STR(struct node_volume, name, NAME), WIRE_ENUM(struct node_volume, kind, VOL_PROVISIONED + 1), WIRE_STR(struct node_volume, path, PATH),
    WIRE_STR(struct node_volume, path_type, 32), WIRE_BOOL(struct node_volume, give), WIRE_BOOL(struct node_volume, in_memory), WIRE_I64(struct node_volume, size_limit),
    WIRE_LIST(struct node_volume, files, nfiles, &node_file_type, 4096), WIRE_STR(struct node_volume, image, NAME), WIRE_END};
SUBTYPE(node_volume);
FIELDS(node_sysctl) = {WIRE_STR(struct node_sysctl, name, NAME), WIRE_STR(struct node_sysctl, value, PATH), WIRE_END};
SUBTYPE(node_sysctl);
FIELDS(node_port) = {WIRE_U64(struct node_port, container_port), WIRE_U64(struct node_port, host_port),
    WIRE_STR(struct node_port, protocol, 8), WIRE_STR(struct node_port, host_ip, IP), WIRE_END};
SUBTYPE(node_port);
FIELDS(node_security) = {WIRE_I64(struct node_security, uid), WIRE_I64(struct node_security, gid),
    WIRE_BOOL(struct node_security, run_as_non_root), WIRE_BOOL(struct node_security, privileged),
    WIRE_BOOL(struct node_security, read_only_root), WIRE_BOOL(struct node_security, no_new_privs),
    WIRE_BOOL(struct node_security, proc_unmasked), WIRE_STRS(struct node_security, add_caps, nadd, 64),
    WIRE_STRS(struct node_security, drop_caps, ndrop, 64), WIRE_STR(struct node_security, seccomp, PATH),
    WIRE_STR(struct node_security, apparmor, PATH), WIRE_END};
SUBTYPE(node_security);
FIELDS(node_hook) = {
    WIRE_STRS(struct node_hook, argv, nargv, 4096), WIRE_I64(struct node_hook, sleep_s), WIRE_BOOL(struct node_hook, set),
    WIRE_BOOL(struct node_hook, by_gate), WIRE_END};
SUBTYPE(node_hook);
FIELDS(node_restart_rule) = {WIRE_BOOL(struct node_restart_rule, all), WIRE_BOOL(struct node_restart_rule, negate),
    WIRE_STRS(struct node_restart_rule, codes, ncodes, 256), WIRE_END};
SUBTYPE(node_restart_rule);
FIELDS(node_container) = {WIRE_STR(struct node_container, name, NAME), WIRE_ENUM(struct node_container, kind, CON_EPHEMERAL + 1),
    WIRE_STR(struct node_container, image, NAME), WIRE_STR(struct node_container, image_ref, PATH),
    WIRE_STR(struct node_container, waiting_reason, NAME), WIRE_STR(struct node_container, waiting_message, TEXT),
    WIRE_STRS(struct node_container, command, ncommand, 4096), WIRE_STRS(struct node_container, args, nargs, 4096),
    WIRE_STR(struct node_container, working_dir, PATH), WIRE_LIST(struct node_container, env, nenv, &node_env_type, 8192),
    WIRE_LIST(struct node_container, mounts, nmounts, &node_mount_type, 512),
    WIRE_LIST(struct node_container, devices, ndevices, &node_device_type, 64),
    WIRE_STRUCT(struct node_container, security, &node_security_type), WIRE_I64(struct node_container, cpu_request_milli),
    WIRE_I64(struct node_container, cpu_limit_milli), WIRE_I64(struct node_container, memory_request),
    WIRE_I64(struct node_container, memory_limit), WIRE_I64(struct node_container, storage_limit),
    WIRE_I64(struct node_container, pids_limit), WIRE_BOOL(struct node_container, tty), WIRE_BOOL(struct node_container, stdin_open),
    WIRE_BOOL(struct node_container, stdin_once), WIRE_STRUCT(struct node_container, post_start, &node_hook_type),
    WIRE_STRUCT(struct node_container, pre_stop, &node_hook_type), WIRE_STR(struct node_container, stop_signal, 32),
    WIRE_STR(struct node_container, termination_path, PATH), WIRE_STR(struct node_container, termination_policy, 64),
    WIRE_STR(struct node_container, restart_policy, 32), WIRE_LIST(struct node_container, ports, nports, &node_port_type, 256),
    WIRE_U64(struct node_container, spec_hash), WIRE_LIST(struct node_container, rules, nrules, &node_restart_rule_type, 64),
    WIRE_BOOL(struct node_container, startup_probe), WIRE_BOOL(struct node_container, resize_restarts_cpu),
    WIRE_BOOL(struct node_container, resize_restarts_memory), WIRE_STR(struct node_container, target, NAME), WIRE_END};
SUBTYPE(node_container);
FIELDS(node_pod) = {WIRE_STR(struct node_pod, uid, NAME), WIRE_STR(struct node_pod, ns, NAME), WIRE_STR(struct node_pod, name, NAME),
    WIRE_STR(struct node_pod, hostname, NAME), WIRE_STR(struct node_pod, subdomain, NAME), WIRE_STR(struct node_pod, service_account, NAME),
    WIRE_U64(struct node_pod, generation), WIRE_STR(struct node_pod, restart_policy, 32), WIRE_I64(struct node_pod, grace_s),
    WIRE_I64(struct node_pod, active_deadline_s), WIRE_BOOL(struct node_pod, host_network), WIRE_BOOL(struct node_pod, host_pid),
    WIRE_BOOL(struct node_pod, host_ipc), WIRE_BOOL(struct node_pod, share_pids), WIRE_BOOL(struct node_pod, host_users),
    WIRE_BOOL(struct node_pod, fqdn_hostname), WIRE_STR(struct node_pod, qos, 32), WIRE_I64(struct node_pod, fs_group), WIRE_BOOL(struct node_pod, fs_group_on_mismatch),
    WIRE_STRS(struct node_pod, supplemental_groups, nsupplemental, 1024),
    WIRE_LIST(struct node_pod, sysctls, nsysctls, &node_sysctl_type, 256), WIRE_STR(struct node_pod, resolv_conf, TEXT),
    WIRE_STRS(struct node_pod, hosts, nhosts, 4096), WIRE_STR(struct node_pod, runtime_handler, NAME),
    WIRE_LIST(struct node_pod, volumes, nvolumes, &node_volume_type, 512),
    WIRE_LIST(struct node_pod, containers, ncontainers, &node_container_type, 512), WIRE_STR(struct node_pod, ip, IP),
    WIRE_STR(struct node_pod, cgroup_parent, NAME), WIRE_BOOL(struct node_pod, mirror_static),
    WIRE_BOOL(struct node_pod, policed), WIRE_BOOL(struct node_pod, strict_groups), WIRE_END};
TYPE(node_pod);
FIELDS(node_pod_stop) = {WIRE_STR(struct node_pod_stop, uid, NAME), WIRE_I64(struct node_pod_stop, grace_s),
    WIRE_STR(struct node_pod_stop, reason, TEXT), WIRE_END};
TYPE(node_pod_stop);
FIELDS(node_restart) = {WIRE_STR(struct node_restart, uid, NAME), WIRE_STR(struct node_restart, container, NAME),
    WIRE_STR(struct node_restart, reason, NAME), WIRE_STR(struct node_restart, message, TEXT), WIRE_I64(struct node_restart, grace_s),
    WIRE_END};
TYPE(node_restart);
FIELDS(node_hook_ask) = {WIRE_STR(struct node_hook_ask, uid, NAME), WIRE_STR(struct node_hook_ask, container, NAME),
    WIRE_STR(struct node_hook_ask, run, 128), WIRE_BOOL(struct node_hook_ask, post_start), WIRE_I64(struct node_hook_ask, timeout_ms), WIRE_END};
TYPE(node_hook_ask);
FIELDS(node_hook_done) = {WIRE_STR(struct node_hook_done, uid, NAME), WIRE_STR(struct node_hook_done, container, NAME),
    WIRE_STR(struct node_hook_done, run, 128), WIRE_BOOL(struct node_hook_done, post_start), WIRE_BOOL(struct node_hook_done, failed),
    WIRE_STR(struct node_hook_done, message, TEXT), WIRE_END};
TYPE(node_hook_done);
FIELDS(node_started) = {WIRE_STR(struct node_started, uid, NAME), WIRE_STR(struct node_started, container, NAME),
    WIRE_STR(struct node_started, run, 128), WIRE_END};
TYPE(node_started);
FIELDS(node_exec) = {WIRE_STR(struct node_exec, uid, NAME), WIRE_STR(struct node_exec, container, NAME),
    WIRE_STRS(struct node_exec, argv, nargv, 4096), WIRE_BOOL(struct node_exec, tty), WIRE_BOOL(struct node_exec, in),
    WIRE_BOOL(struct node_exec, out), WIRE_BOOL(struct node_exec, err), WIRE_I64(struct node_exec, timeout_ms), WIRE_END};
TYPE(node_exec);
FIELDS(node_exec_done) = {WIRE_I64(struct node_exec_done, code), WIRE_STR(struct node_exec_done, message, TEXT), WIRE_END};
TYPE(node_exec_done);
FIELDS(node_resize) = {
    WIRE_U64(struct node_resize, exec_id), WIRE_U64(struct node_resize, width), WIRE_U64(struct node_resize, height), WIRE_END};
TYPE(node_resize);
FIELDS(node_attach) = {WIRE_STR(struct node_attach, uid, NAME), WIRE_STR(struct node_attach, container, NAME), WIRE_END};
TYPE(node_attach);
FIELDS(node_log) = {
    WIRE_STR(struct node_log, uid, NAME), WIRE_STR(struct node_log, container, NAME), WIRE_BOOL(struct node_log, previous), WIRE_END};
TYPE(node_log);
FIELDS(node_connect) = {WIRE_STR(struct node_connect, uid, NAME), WIRE_U64(struct node_connect, port), WIRE_END};
TYPE(node_connect);
FIELDS(node_listen) = {
    WIRE_BOOL(struct node_listen, udp), WIRE_STR(struct node_listen, address, IP), WIRE_U64(struct node_listen, port), WIRE_END};
TYPE(node_listen);

FIELDS(node_container_state) = {WIRE_STR(struct node_container_state, name, NAME), WIRE_STR(struct node_container_state, id, 128),
    WIRE_STR(struct node_container_state, image, PATH), WIRE_STR(struct node_container_state, image_id, NAME),
    WIRE_ENUM(struct node_container_state, state, CS_TERMINATED + 1), WIRE_STR(struct node_container_state, reason, NAME),
    WIRE_STR(struct node_container_state, message, TEXT), WIRE_I64(struct node_container_state, started),
    WIRE_I64(struct node_container_state, finished), WIRE_I64(struct node_container_state, exit_code),
    WIRE_I64(struct node_container_state, signal), WIRE_U64(struct node_container_state, restarts),
    WIRE_BOOL(struct node_container_state, started_ok), WIRE_BOOL(struct node_container_state, had_last),
    WIRE_I64(struct node_container_state, last_exit_code), WIRE_I64(struct node_container_state, last_signal),
    WIRE_I64(struct node_container_state, last_started), WIRE_I64(struct node_container_state, last_finished),
    WIRE_STR(struct node_container_state, last_reason, NAME), WIRE_STR(struct node_container_state, last_message, TEXT),
    WIRE_STR(struct node_container_state, last_id, 128), WIRE_BOOL(struct node_container_state, awaits_startup), WIRE_END};
SUBTYPE(node_container_state);
FIELDS(node_pod_state) = {WIRE_STR(struct node_pod_state, uid, NAME), WIRE_STR(struct node_pod_state, ns, NAME),
    WIRE_STR(struct node_pod_state, name, NAME), WIRE_STR(struct node_pod_state, ip, IP), WIRE_BOOL(struct node_pod_state, sandbox_ready),
    WIRE_BOOL(struct node_pod_state, stopping), WIRE_BOOL(struct node_pod_state, deadline_passed),
    WIRE_BOOL(struct node_pod_state, evicted), WIRE_STR(struct node_pod_state, reason, NAME),
    WIRE_STR(struct node_pod_state, message, TEXT), WIRE_I64(struct node_pod_state, started),
    WIRE_LIST(struct node_pod_state, containers, ncontainers, &node_container_state_type, 512), WIRE_U64(struct node_pod_state, applied),
    WIRE_STR(struct node_pod_state, resize_error, TEXT), WIRE_END};
TYPE(node_pod_state);
FIELDS(node_event) = {WIRE_STR(struct node_event, uid, NAME), WIRE_STR(struct node_event, ns, NAME),
    WIRE_STR(struct node_event, name, NAME), WIRE_STR(struct node_event, container, NAME), WIRE_BOOL(struct node_event, warning),
    WIRE_STR(struct node_event, reason, NAME), WIRE_STR(struct node_event, message, TEXT), WIRE_END};
TYPE(node_event);

FIELDS(node_hello) = {WIRE_STR(struct node_hello, boot_id, 64), WIRE_STR(struct node_hello, machine_id, 64),
    WIRE_STR(struct node_hello, system_uuid, 64), WIRE_STR(struct node_hello, kernel, 256), WIRE_STR(struct node_hello, os_image, 256),
    WIRE_STR(struct node_hello, arch, 32), WIRE_STR(struct node_hello, runtime_version, 256), WIRE_STR(struct node_hello, hostname, NAME),
    WIRE_U64(struct node_hello, cpus), WIRE_I64(struct node_hello, memory), WIRE_I64(struct node_hello, storage),
    WIRE_I64(struct node_hello, pids), WIRE_U64(struct node_hello, inodes), WIRE_STRS(struct node_hello, addresses, naddresses, 256),
    WIRE_BOOL(struct node_hello, swap), WIRE_END};
TYPE(node_hello);
FIELDS(node_addresses) = {WIRE_STRS(struct node_addresses, addresses, naddresses, 256), WIRE_END};
TYPE(node_addresses);
FIELDS(node_path) = {
    WIRE_STR(struct node_path, peer, NAME), WIRE_BOOL(struct node_path, reached), WIRE_U64(struct node_path, mtu), WIRE_END};
SUBTYPE(node_path);
FIELDS(node_paths) = {WIRE_LIST(struct node_paths, paths, npaths, &node_path_type, 65536), WIRE_END};
TYPE(node_paths);
FIELDS(node_pressure) = {
    WIRE_BOOL(struct node_pressure, memory), WIRE_BOOL(struct node_pressure, disk), WIRE_BOOL(struct node_pressure, pids), WIRE_END};
TYPE(node_pressure);
FIELDS(node_image) = {WIRE_STR(struct node_image, id, 128), WIRE_STRS(struct node_image, names, nnames, 256),
    WIRE_STRS(struct node_image, digests, ndigests, 256), WIRE_I64(struct node_image, size), WIRE_BOOL(struct node_image, pinned),
    WIRE_STR(struct node_image, user, NAME), WIRE_STRS(struct node_image, layers, nlayers, 128), WIRE_END};
SUBTYPE(node_image);
FIELDS(node_images) = {WIRE_LIST(struct node_images, images, nimages, &node_image_type, 16384), WIRE_END};
TYPE(node_images);
FIELDS(node_image_import) = {WIRE_STR(struct node_image_import, name, PATH), WIRE_STR(struct node_image_import, digest, 128), WIRE_END};
TYPE(node_image_import);
FIELDS(node_image_ref) = {WIRE_STR(struct node_image_ref, ref, PATH), WIRE_END};
TYPE(node_image_ref);
FIELDS(node_storage) = {WIRE_STR(struct node_storage, path, PATH), WIRE_END};
TYPE(node_storage);
FIELDS(node_csi_dir) = {WIRE_STR(struct node_csi_dir, path, PATH), WIRE_BOOL(struct node_csi_dir, remove), WIRE_END};
TYPE(node_csi_dir);
FIELDS(node_plugins) = {WIRE_STRS(struct node_plugins, sockets, nsockets, 256), WIRE_END};
TYPE(node_plugins);
FIELDS(node_volume_update) = {
    WIRE_STR(struct node_volume_update, uid, NAME), WIRE_STRUCT(struct node_volume_update, volume, &node_volume_type), WIRE_END};
TYPE(node_volume_update);

FIELDS(node_backend) = {WIRE_STR(struct node_backend, ip, IP), WIRE_U64(struct node_backend, port), WIRE_BOOL(struct node_backend, local),
    WIRE_BOOL(struct node_backend, serving_only), WIRE_END};
SUBTYPE(node_backend);
FIELDS(node_service_port) = {WIRE_STR(struct node_service_port, name, NAME), WIRE_STR(struct node_service_port, protocol, 8),
    WIRE_U64(struct node_service_port, port), WIRE_U64(struct node_service_port, node_port),
    WIRE_LIST(struct node_service_port, backends, nbackends, &node_backend_type, 65536), WIRE_END};
SUBTYPE(node_service_port);
FIELDS(node_service) = {WIRE_STR(struct node_service, ns, NAME), WIRE_STR(struct node_service, name, NAME),
    WIRE_STRS(struct node_service, cluster_ips, ncluster_ips, 8), WIRE_STRS(struct node_service, external_ips, nexternal_ips, 1024),
    WIRE_STRS(struct node_service, source_ranges, nsource_ranges, 1024), WIRE_BOOL(struct node_service, local_external),
    WIRE_BOOL(struct node_service, local_internal), WIRE_BOOL(struct node_service, remove), WIRE_U64(struct node_service, affinity_s),
    WIRE_U64(struct node_service, health_port), WIRE_LIST(struct node_service, ports, nports, &node_service_port_type, 1024), WIRE_END};
SUBTYPE(node_service);
FIELDS(node_services) = {
    WIRE_BOOL(struct node_services, whole), WIRE_LIST(struct node_services, services, nservices, &node_service_type, 65536), WIRE_END};
TYPE(node_services);
FIELDS(node_peer) = {WIRE_STR(struct node_peer, name, NAME), WIRE_STR(struct node_peer, ip, IP), WIRE_STR(struct node_peer, pod_cidr, IP),
    WIRE_STR(struct node_peer, vtep_mac, 32), WIRE_END};
SUBTYPE(node_peer);
FIELDS(node_peers) = {WIRE_LIST(struct node_peers, peers, npeers, &node_peer_type, 65536), WIRE_END};
TYPE(node_peers);

FIELDS(node_policy_block) = {
    WIRE_STR(struct node_policy_block, cidr, IP), WIRE_STRS(struct node_policy_block, excepts, nexcepts, 4096), WIRE_END};
SUBTYPE(node_policy_block);
FIELDS(node_policy_port) = {WIRE_STR(struct node_policy_port, protocol, 8), WIRE_U64(struct node_policy_port, from),
    WIRE_U64(struct node_policy_port, to), WIRE_END};
SUBTYPE(node_policy_port);
FIELDS(node_policy_named) = {WIRE_STR(struct node_policy_named, ip, IP), WIRE_STR(struct node_policy_named, protocol, 8),
    WIRE_U64(struct node_policy_named, port), WIRE_END};
SUBTYPE(node_policy_named);
FIELDS(node_policy_rule) = {WIRE_BOOL(struct node_policy_rule, egress), WIRE_BOOL(struct node_policy_rule, any_peer),
    WIRE_BOOL(struct node_policy_rule, any_port), WIRE_STRS(struct node_policy_rule, addresses, naddresses, 65536),
    WIRE_LIST(struct node_policy_rule, blocks, nblocks, &node_policy_block_type, 4096),
    WIRE_LIST(struct node_policy_rule, ports, nports, &node_policy_port_type, 4096),
    WIRE_LIST(struct node_policy_rule, named, nnamed, &node_policy_named_type, 65536), WIRE_END};
SUBTYPE(node_policy_rule);
FIELDS(node_policy) = {WIRE_STR(struct node_policy, id, 2 * NAME + 1), WIRE_BOOL(struct node_policy, remove),
    WIRE_LIST(struct node_policy, rules, nrules, &node_policy_rule_type, 4096), WIRE_END};
SUBTYPE(node_policy);
FIELDS(node_policed) = {WIRE_STR(struct node_policed, uid, NAME), WIRE_BOOL(struct node_policed, remove),
    WIRE_STRS(struct node_policed, ingress, ningress, 4096), WIRE_STRS(struct node_policed, egress, negress, 4096), WIRE_END};
SUBTYPE(node_policed);
FIELDS(node_policies) = {WIRE_BOOL(struct node_policies, whole),
    WIRE_LIST(struct node_policies, policies, npolicies, &node_policy_type, 16384),
    WIRE_LIST(struct node_policies, pods, npods, &node_policed_type, 4096), WIRE_END};
TYPE(node_policies);

FIELDS(node_container_stats) = {WIRE_STR(struct node_container_stats, name, NAME), WIRE_I64(struct node_container_stats, cpu_ns),
    WIRE_I64(struct node_container_stats, memory), WIRE_I64(struct node_container_stats, memory_working_set),
    WIRE_I64(struct node_container_stats, rss), WIRE_I64(struct node_container_stats, fs_used), WIRE_I64(struct node_container_stats, pids),
    WIRE_END};
SUBTYPE(node_container_stats);
FIELDS(node_pod_stats) = {WIRE_STR(struct node_pod_stats, uid, NAME),
    WIRE_LIST(struct node_pod_stats, containers, ncontainers, &node_container_stats_type, 512), WIRE_I64(struct node_pod_stats, cpu_ns),
    WIRE_I64(struct node_pod_stats, memory_working_set), WIRE_I64(struct node_pod_stats, rx_bytes),
    WIRE_I64(struct node_pod_stats, tx_bytes), WIRE_END};
SUBTYPE(node_pod_stats);
FIELDS(node_stats) = {WIRE_I64(struct node_stats, at), WIRE_I64(struct node_stats, cpu_ns), WIRE_I64(struct node_stats, memory_available),
    WIRE_I64(struct node_stats, memory_working_set), WIRE_I64(struct node_stats, fs_available), WIRE_I64(struct node_stats, fs_capacity),
    WIRE_I64(struct node_stats, fs_inodes_free), WIRE_I64(struct node_stats, image_fs_available),
    WIRE_LIST(struct node_stats, pods, npods, &node_pod_stats_type, 4096), WIRE_END};
TYPE(node_stats);
