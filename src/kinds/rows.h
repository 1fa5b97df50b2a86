/* The hooks of every kind that has some: one row per kind, in kinds/<kind>.c. Inside the room only. */
#pragma once
#include "kinds/kinds.h"

#define KIND_ROWS(X) \
    X(pod) X(pod_template) X(replication_controller) X(deployment) X(replica_set) X(daemon_set) X(stateful_set) X(controller_revision) X(job) X(cron_job) \
    X(service) X(endpoints) X(endpoint_slice) X(config_map) X(secret) X(namespace) X(node) X(persistent_volume) X(persistent_volume_claim) \
    X(event_core) X(event_events) X(limit_range) X(resource_quota) X(component_status) X(ingress) X(ingress_class) X(network_policy) X(ip_address) \
    X(role) X(role_binding) X(cluster_role) X(cluster_role_binding) X(autoscaler) X(csr) X(crd) X(api_service) X(storage_class) X(csi_driver) \
    X(priority_class) X(flow_schema) X(resource_claim) X(validating_policy) X(validating_binding) X(mutating_policy) X(mutating_binding) X(validating_webhook) X(mutating_webhook) \
    X(hub_cluster) X(hub_registration_token) X(hub_project) X(hub_user) X(hub_token) X(hub_role_template) X(hub_global_role) X(hub_global_binding) X(hub_cluster_binding) X(hub_project_binding)

#define KIND_DECLARE(name) extern const struct kind_hooks kind_##name;
KIND_ROWS(KIND_DECLARE)
#define KIND(group_, kind_) .group = {group_, sizeof(group_) - 1}, .kind = {kind_, sizeof(kind_) - 1}
