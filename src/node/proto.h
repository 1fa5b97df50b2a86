/* The typed protocol between gate (unprivileged: knows the Kubernetes API, the network, images' registries) and node (root: pods, mounts,
 * cgroups, netlink).
 *
 * One unix stream socket made by the supervisor, framed by base/wire.h; the tables for the structs below stand in proto.c. node never sees
 * JSON, YAML or a URL: gate has resolved everything (environment from ConfigMaps, volume contents, image references to image ids) and node
 * re-checks every name, path and number that it turns into a path, a mount or a rule. A gate that is taken over can ask for pods and
 * sockets within these messages and nothing else.
 *
 * Who decides what
 *   gate   which pods should run here (from the mirror), their resolved specs, network probes, composing PodStatus, Events, Services'
 * endpoints, names, image pulls. node   sandboxes, mounts, containers, restarts with back-off by restartPolicy, grace and signals, exec
 * hooks, addresses of pods, cgroups, nftables, what is left to clean up. node keeps on disk (its state folder) what it needs to adopt or
 * clean every container after kill -9 of anything; gate keeps the mirror. With gate gone node goes on restarting containers from the last
 * specs it was given. After (re)connecting node sends NODE_HELLO and the state of every pod it knows; gate sends NODE_CONFIG, then NODE_POD
 * for every pod that should be here, then NODE_SYNCED: whatever node has beyond those is stopped (only after NODE_SYNCED).
 *
 * Ids pair requests and replies. Every request is answered by NODE_REPLY (with code 0 or an error) or by the reply type named beside it.
 */
#pragma once
#include "base/wire.h"

enum node_msg {
    NODE_NONE,
    /* gate → node */
    NODE_CONFIG,      /* struct node_config; also kept on disk for a start without a link */
    NODE_POD,         /* struct node_pod: this pod should run, in this form (new or changed) */
    NODE_POD_STOP,    /* struct node_pod_stop: stop it with grace, tear it down; NODE_POD_GONE follows when nothing is left */
    NODE_SYNCED,      /* struct node_empty: the set of pods is complete */
    NODE_RESTART,     /* struct node_restart: a liveness or startup probe failed */
    NODE_EXEC,        /* struct node_exec → NODE_EXEC_STARTED with fds [stdin, stdout, stderr] or [pty]; later NODE_EXEC_DONE (same id) */
    NODE_EXEC_RESIZE, /* struct node_resize, id of the exec or attach; 0 x 0 ends an attach (an exec ends when gate closes its descriptors)
                       */
    NODE_ATTACH, /* struct node_attach → NODE_REPLY with fd of conmon's attach socket (SOCK_SEQPACKET, conmon's framing) and of its control
                    fifo */
    NODE_LOG,    /* struct node_log → NODE_REPLY with fds of the log files, oldest first (CRI format) */
    NODE_CONNECT,  /* struct node_connect → NODE_REPLY with a socket connected to 127.0.0.1 (then ::1) : port inside the pod's network */
    NODE_LISTEN,   /* struct node_listen → NODE_REPLY with a bound (and, for TCP, listening) socket in the host's network; only the DNS
                      address and ports 53, 10250 */
    NODE_SERVICES, /* struct node_services: rules for Services; whole or a change of some */
    NODE_PEERS,    /* struct node_peers: the other nodes and their pod ranges; whole */
    NODE_POLICIES, /* struct node_policies: network policies, resolved to addresses; whole or a change of some */
    NODE_IMAGE_LIST,   /* struct node_empty → NODE_IMAGES */
    NODE_IMAGE_LAYOUT, /* struct node_image_import, fd of an OCI layout folder that gate has filled and verified → NODE_REPLY; NODE_IMAGES
                          follows */
    NODE_IMAGE_REMOVE, /* struct node_image_ref → NODE_REPLY */
    NODE_VOLUME,       /* struct node_volume_update: new contents of a running pod's configMap, secret, projected or downward volume */
    NODE_STORAGE_REMOVE, /* struct node_storage: a provisioned volume's folder and all in it → NODE_REPLY, ERR_CONFLICT while a pod has it */
    NODE_POD_KEEP,       /* struct node_uid: this pod is wanted, but its NODE_POD cannot be told yet: NODE_SYNCED does not mean it */
    NODE_PLUGIN_CONNECT, /* struct node_storage: a plugin's socket below the kubelet's folder → NODE_REPLY with a descriptor */
    NODE_CSI_DIR,        /* struct node_csi_dir: a folder that a CSI plugin mounts on → NODE_REPLY */
    NODE_STATS,        /* struct node_empty → NODE_STATS_DATA */
    NODE_HOOK_DONE,    /* struct node_hook_done: how a hook that gate performs has ended */
    NODE_STARTED,      /* struct node_started: a run's startup probe has succeeded; what waits for a sidecar goes on */
    /* node → gate */
    NODE_HELLO = 64,   /* struct node_hello */
    NODE_REPLY,        /* struct node_reply */
    NODE_POD_STATE,    /* struct node_pod_state: whenever something about it changed */
    NODE_POD_GONE,     /* struct node_uid: torn down completely */
    NODE_EVENT,        /* struct node_event: becomes a Kubernetes Event */
    NODE_EXEC_STARTED, /* struct node_reply + fds */
    NODE_EXEC_DONE,    /* struct node_exec_done */
    NODE_IMAGES,       /* struct node_images: the list, whole, at start and at each change */
    NODE_STATS_DATA,   /* struct node_stats */
    NODE_ADDRESSES,    /* struct node_addresses: the host's addresses changed */
    NODE_PRESSURE,     /* struct node_pressure: what the machine is short of; at a link's start and at each change (falls back five minutes
                          after it ended) */
    NODE_HOOK,         /* struct node_hook_ask: gate shall perform this hook of a container that runs; again at each new link while it is open */
    NODE_PLUGINS,      /* struct node_plugins: registration sockets; whole, at a link's start and at each change */
    NODE_PATHS,        /* struct node_paths: the peers that can be reached or not, at a link's start and at each change */
    /* supervisor → node and supervisor → gate, on the broker's wire (broker_fd), not on this one */
    NODE_LINK = 128, /* struct node_empty + one fd: the other side was started anew; drop the old socket, go on with this one */
};

struct node_empty { bool unused; };
struct node_uid { struct str uid; };
struct node_reply { uint64_t code; /* enum err_code, 0: fine */ struct str message; };

/* What an operator sets of a node (--kubelet-arg). 0: the kubelet's default; of a threshold -1: off. */
struct node_settings {
    int64_t evict_memory_bytes, evict_memory_percent, evict_disk_bytes, evict_disk_percent; /* available below either: pods are evicted */
    int64_t evict_inodes, evict_inodes_percent, evict_pids, evict_pids_percent;
    int64_t image_gc_high, image_gc_low;    /* percent of the disk that is used */
    int64_t log_size, log_files;            /* of one container: bytes of a file before it is rotated, how many files */
    int64_t max_pods, pod_pids;
    int64_t reserved_cpu_milli, reserved_memory, reserved_storage; /* kept from pods: what allocatable is smaller than capacity by */
};
struct node_config {
    struct str node_name, node_ip;          /* node_ip empty: that of the default route, else the first global one */
    struct str pod_cidr;                    /* of this node; empty: not known yet, only hostNetwork pods start */
    struct str cluster_cidr, service_cidr, dns_ip, cluster_domain;
    struct str backend;                     /* vxlan, host-gw, none */
    struct str cgroup_root;                 /* folder below each hierarchy: "sampan" */
    uint64_t max_pods;
    struct str cluster_dns_upstream;        /* resolv.conf to hand on; empty: /etc/resolv.conf */
    struct node_settings settings;
};

enum node_env_kind { ENV_LITERAL, ENV_POD_IP, ENV_POD_IPS, ENV_HOST_IP };
struct node_env { struct str name, value; uint64_t kind; /* enum node_env_kind: filled by node when the sandbox has an address */ };
struct node_mount {
    struct str volume, path, sub_path;
    bool read_only;
    uint64_t recursive;   /* read-only with all that is mounted below: 0 no, 1 where the kernel can, 2 or not at all */
    uint64_t propagation; /* 0 none 1 HostToContainer 2 Bidirectional */
};
struct node_device { struct str volume, path; };
struct node_file { struct str path; /* relative, no .. */ struct str data; uint64_t mode; int64_t uid; /* -1: root */ };
enum node_volume_kind {
    VOL_EMPTY_DIR,
    VOL_HOST_PATH,
    VOL_FILES /* configMap, secret, projected, downwardAPI */,
    VOL_LOCAL /* local PV */,
    VOL_CSI,
    VOL_IMAGE,
    VOL_PROVISIONED /* of the class local-path: node makes the folder, and holds it to size_limit where the file system can */
};
struct node_volume {
    struct str name;
    uint64_t kind;                           /* enum node_volume_kind */
    struct str path;                         /* HOST_PATH, LOCAL, PROVISIONED; CSI: where its plugin published it */
    struct str path_type; /* HOST_PATH: "", Directory, DirectoryOrCreate, File, FileOrCreate, Socket, CharDevice, BlockDevice. EMPTY_DIR: "" or HugePages-<size> */
    bool give;                               /* CSI: the pod's fs_group is given to all of it */
    bool in_memory;                          /* EMPTY_DIR medium Memory; FILES that hold Secrets live in memory always */
    int64_t size_limit;                      /* bytes; 0: none */
    struct node_file *files; size_t nfiles;  /* FILES */
    struct str image;                        /* IMAGE: image id */
};
struct node_sysctl { struct str name, value; };
struct node_port { uint64_t container_port, host_port; struct str protocol /* TCP UDP SCTP */, host_ip; };
struct node_security {                       /* the effective securityContext of one container */
    int64_t uid, gid;                        /* -1: the image's */
    bool run_as_non_root, privileged, read_only_root, no_new_privs, proc_unmasked;
    struct str *add_caps; size_t nadd;       /* without CAP_ ; "ALL" */
    struct str *drop_caps; size_t ndrop;
    struct str seccomp;                      /* "runtime/default", "unconfined", "localhost/<file>" */
    struct str apparmor;                     /* same forms; empty: default where the kernel has it */
};
struct node_hook {                           /* exec, sleep, or what gate performs when node asks it to (NODE_HOOK): httpGet */
    struct str *argv; size_t nargv;
    int64_t sleep_s;
    bool set, by_gate;
};
struct node_restart_rule {                   /* restartPolicyRules: the first that matches the exit code stands above the policies */
    bool all;                                /* RestartAllContainers */
    bool negate;                             /* NotIn */
    struct str *codes; size_t ncodes;        /* decimal */
};
enum node_container_kind { CON_MAIN, CON_INIT, CON_SIDECAR, CON_EPHEMERAL };
struct node_container {
    struct str name;
    uint64_t kind;                           /* enum node_container_kind */
    struct str image;                        /* image id; empty: not here yet (gate pulls; node waits for the next NODE_POD) */
    struct str image_ref;                    /* as the user wrote it */
    struct str waiting_reason, waiting_message; /* why image is empty: ErrImagePull, ImagePullBackOff, CreateContainerConfigError... */
    struct str *command; size_t ncommand;    /* replaces the image's entrypoint when set */
    struct str *args; size_t nargs;
    struct str working_dir;
    struct node_env *env; size_t nenv;       /* $(VAR) is expanded by node, in order, also in command and args */
    struct node_mount *mounts; size_t nmounts;
    struct node_device *devices; size_t ndevices;
    struct node_security security;
    int64_t cpu_request_milli, cpu_limit_milli, memory_request, memory_limit, storage_limit; /* 0: none */
    int64_t pids_limit;
    bool tty, stdin_open, stdin_once;
    struct node_hook post_start, pre_stop;
    struct str stop_signal;                  /* empty: the image's or SIGTERM */
    struct str termination_path, termination_policy; /* File, FallbackToLogsOnError */
    struct str restart_policy;               /* of this container; empty: the pod's */
    struct node_port *ports; size_t nports;
    uint64_t spec_hash;                      /* changes when the container must be made again (image) */
    struct node_restart_rule *rules; size_t nrules;
    struct str target;                       /* EPHEMERAL: the container whose processes it shall see; empty: none */
    bool resize_restarts_cpu, resize_restarts_memory; /* resizePolicy RestartContainer */
    bool startup_probe;                      /* gate will say NODE_STARTED of each run; asked of sidecars only */
};
struct node_pod {
    struct str uid, ns, name;
    struct str hostname, subdomain, service_account;
    uint64_t generation;
    struct str restart_policy;               /* Always OnFailure Never */
    int64_t grace_s, active_deadline_s;      /* deadline 0: none */
    bool host_network, host_pid, host_ipc, share_pids, host_users, fqdn_hostname;
    struct str qos;                          /* Guaranteed Burstable BestEffort */
    int64_t fs_group;                        /* -1: none */
    bool fs_group_on_mismatch;               /* whole volumes change hands only when their top folder is in others' */
    struct str *supplemental_groups; size_t nsupplemental; /* decimal */
    struct node_sysctl *sysctls; size_t nsysctls;
    struct str resolv_conf;                  /* whole contents, made by gate by dnsPolicy and dnsConfig */
    struct str *hosts; size_t nhosts;        /* lines of /etc/hosts beyond the usual */
    struct str runtime_handler;              /* crun, runc... */
    struct node_volume *volumes; size_t nvolumes;
    struct node_container *containers; size_t ncontainers; /* init and sidecars first, in order */
    struct str ip;                           /* address it had before (from the mirror's status), to be given again; may be empty */
    struct str cgroup_parent;
    bool mirror_static;                      /* a static pod of this node */
    bool strict_groups;                      /* supplementalGroupsPolicy Strict: none of what the image says of its user */
    bool policed;                            /* a NetworkPolicy selects it: no network before NODE_POLICIES named it */
};
struct node_pod_stop { struct str uid; int64_t grace_s; struct str reason; };
struct node_restart { struct str uid, container, reason, message; int64_t grace_s; };
struct node_hook_ask { struct str uid, container, run; bool post_start; int64_t timeout_ms; /* 0: none */ }; /* run: the container's id */
struct node_hook_done { struct str uid, container, run; bool post_start, failed; struct str message; };
struct node_started { struct str uid, container, run; };
struct node_exec { struct str uid, container; struct str *argv; size_t nargv; bool tty, in, out, err; int64_t timeout_ms; };
struct node_exec_done { int64_t code; struct str message; };
struct node_resize { uint64_t exec_id; uint64_t width, height; };
struct node_attach { struct str uid, container; };
struct node_log { struct str uid, container; bool previous; };
struct node_connect { struct str uid; uint64_t port; };
struct node_listen { bool udp; struct str address; uint64_t port; };

enum node_cstate { CS_WAITING, CS_RUNNING, CS_TERMINATED };
struct node_container_state {
    struct str name, id /* container id, hex */, image, image_id;
    uint64_t state;                          /* enum node_cstate */
    struct str reason, message;
    int64_t started, finished;               /* ns, site clock; 0: not yet */
    int64_t exit_code, signal;
    uint64_t restarts;
    bool started_ok;                         /* post-start hook done */
    /* the run before this one */
    bool had_last; int64_t last_exit_code, last_signal, last_started, last_finished; struct str last_reason, last_message, last_id;
    bool awaits_startup;                     /* NODE_STARTED has not come for this run */
};
struct node_pod_state {
    struct str uid, ns, name;
    struct str ip;                           /* empty: no sandbox yet; the host's for hostNetwork is filled in by gate */
    bool sandbox_ready, stopping, deadline_passed, evicted;
    struct str reason, message;
    int64_t started;                         /* when node first saw it */
    struct node_container_state *containers; size_t ncontainers;
    uint64_t applied;                        /* generation of the spec whose limits all running containers have; below it, a resize is under way */
    struct str resize_error;                 /* why it is: empty while it is only being done */
};
struct node_event { struct str uid, ns, name, container; bool warning; struct str reason, message; };

struct node_hello {
    struct str boot_id, machine_id, system_uuid, kernel, os_image, arch, runtime_version, hostname;
    uint64_t cpus; int64_t memory, storage, pids; uint64_t inodes;
    struct str *addresses; size_t naddresses; /* host addresses, the preferred one first */
    bool swap;
};
struct node_addresses { struct str *addresses; size_t naddresses; };
struct node_pressure { bool memory, disk, pids; };
struct node_path { struct str peer; bool reached; uint64_t mtu; };
struct node_paths { struct node_path *paths; size_t npaths; };
struct node_image {
    struct str id /* sha256:... of the config */;
    struct str *names;
    size_t nnames;
    struct str *digests;
    size_t ndigests;
    int64_t size;
    bool pinned;
    struct str user; /* the image's User, so that gate can check runAsNonRoot */
    struct str *layers; size_t nlayers; /* digests of what it is made of, as they came: gate fetches none of them again */
};
struct node_images { struct node_image *images; size_t nimages; };
struct node_image_import { struct str name; struct str digest; };
struct node_image_ref { struct str ref; };
struct node_storage { struct str path; };
struct node_csi_dir { struct str path; bool remove; /* it, empty, and those around it that are empty then */ };
struct node_plugins { struct str *sockets; size_t nsockets; };
struct node_volume_update { struct str uid; struct node_volume volume; };

/* Services, resolved. Addresses as text; node parses and checks them. */
struct node_backend { struct str ip; uint64_t port; bool local; bool serving_only; /* terminating but serving */ };
struct node_service_port {
    struct str name, protocol; uint64_t port, node_port;
    struct node_backend *backends; size_t nbackends;
};
struct node_service {
    struct str ns, name;
    struct str *cluster_ips; size_t ncluster_ips;
    struct str *external_ips; size_t nexternal_ips;     /* externalIPs and load balancer addresses */
    struct str *source_ranges; size_t nsource_ranges;
    bool local_external, local_internal, remove;        /* traffic policies; remove: this Service is gone */
    uint64_t affinity_s;                                /* ClientIP time-out; 0: none */
    uint64_t health_port;
    struct node_service_port *ports; size_t nports;
};
struct node_services { bool whole; struct node_service *services; size_t nservices; };
struct node_peer { struct str name, ip, pod_cidr, vtep_mac; };
struct node_peers { struct node_peer *peers; size_t npeers; };

/* NetworkPolicies that select pods of this node. Pods of peers are addresses; a named port is every (address, protocol, port) that bears the name. */
struct node_policy_block { struct str cidr; struct str *excepts; size_t nexcepts; };
struct node_policy_port { struct str protocol; uint64_t from, to; };            /* from 0: every port of the protocol; to 0: from alone */
struct node_policy_named { struct str ip, protocol; uint64_t port; };
struct node_policy_rule {
    bool egress, any_peer, any_port;
    struct str *addresses; size_t naddresses;
    struct node_policy_block *blocks; size_t nblocks;
    struct node_policy_port *ports; size_t nports;
    struct node_policy_named *named; size_t nnamed;
};
struct node_policy { struct str id /* ns/name */; bool remove; struct node_policy_rule *rules; size_t nrules; };
struct node_policed { struct str uid; bool remove; struct str *ingress; size_t ningress; struct str *egress; size_t negress; }; /* ids; none: not isolated */
struct node_policies { bool whole; struct node_policy *policies; size_t npolicies; struct node_policed *pods; size_t npods; };

struct node_container_stats { struct str name; int64_t cpu_ns, memory, memory_working_set, rss, fs_used, pids; };
struct node_pod_stats {
    struct str uid;
    struct node_container_stats *containers;
    size_t ncontainers;
    int64_t cpu_ns, memory_working_set, rx_bytes, tx_bytes;
};
struct node_stats {
    int64_t at, cpu_ns, memory_available, memory_working_set, fs_available, fs_capacity, fs_inodes_free, image_fs_available;
    struct node_pod_stats *pods;
    size_t npods;
};

extern const struct wire_type node_empty_type, node_uid_type, node_reply_type, node_config_type, node_pod_type, node_pod_stop_type,
    node_restart_type, node_exec_type, node_exec_done_type, node_resize_type, node_attach_type, node_log_type, node_connect_type,
    node_listen_type, node_pod_state_type, node_event_type, node_hello_type, node_addresses_type, node_images_type, node_image_import_type,
    node_image_ref_type, node_volume_update_type, node_storage_type, node_csi_dir_type, node_plugins_type, node_services_type, node_peers_type, node_stats_type,
    node_pressure_type, node_policies_type, node_paths_type;
extern const struct wire_type node_hook_ask_type, node_hook_done_type, node_started_type;
