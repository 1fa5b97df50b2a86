/* A pod's volumes: made before its containers, updated while they run, removed behind them.
 *
 *     <data>/<name>            emptyDir on disk, files (configMap, downwardAPI...)
 *     <run>/mem                one tmpfs for the pod's files that must not touch the disk (Secrets, tokens): <run>/mem/<name>
 *     <run>/vol/<name>         a tmpfs of its own (emptyDir medium Memory), an image's overlay
 *     <run>/sub/<container>/<n>  subPath binds
 *
 * <run> is the sandbox's private folder (runtime/sandbox.h): all mounts are made by a process inside the pod's mount namespace and vanish
 * with it; nothing is ever mounted in the machine's own namespace, so there is nothing to unmount and nothing foreign to cross when data is
 * deleted.
 *
 * Names and paths come from an API object through gate; every one is checked here before it becomes a path.
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"

enum volume_kind { VOLUME_EMPTY_DIR, VOLUME_HOST_PATH, VOLUME_FILES, VOLUME_LOCAL, VOLUME_CSI, VOLUME_IMAGE, VOLUME_PROVISIONED, VOLUME_KINDS };
struct volume_file { struct str path, data; uint32_t mode; int64_t uid; /* -1: root */ };
struct volume {
    struct str name;
    enum volume_kind kind;
    /* HOST_PATH, LOCAL, PROVISIONED, CSI: absolute, no ".."; EMPTY_DIR: path_type HugePages-<size> */
    struct str path, path_type;
    bool in_memory;                  /* EMPTY_DIR, FILES */
    bool give;                       /* CSI: fs_group is for it too */
    bool on_mismatch;                /* LOCAL, CSI: fs_group is given to all of it only when its top folder has another */
    int64_t size_limit;              /* EMPTY_DIR in memory: bytes, 0: half of the machine's memory */
    const struct volume_file *files; size_t nfiles;
    const char *layers_dir, *lower;  /* IMAGE: see image_lower */
};
struct volume_dirs { const char *data, *run; };

/* ERR_INVALID, naming the volume. */
int volume_check(const struct volume *v, struct err **e) _must_check_;
/* Makes and fills it; idempotent. In the pod's mount namespace. fs_group: -1 none. */
int volume_setup(const struct volume_dirs *d, const struct volume *v, int64_t fs_group, struct err **e) _must_check_;
/* Where it can be bound from, in the pod's mount namespace. */
void volume_source(const struct volume_dirs *d, const struct volume *v, struct buf *out);

/* The kubelet's atomic scheme (k8s.io/kubernetes/pkg/volume/util/atomic_writer.go): contents stand in a folder with a new name, "..data" is
 * a link to it that one rename turns, every visible name is a link through "..data". A reader sees all old or all new files. Nothing is
 * written when nothing changed. dir is the volume's own folder; gid: of all files and folders, -1: root, 0444 added for the group else. */
int volume_write_files(const char *dir, const struct volume_file *files, size_t n, int64_t gid, struct err **e) _must_check_;
/* The same for a volume of a running pod, from outside its mount namespace; root: "" or "/proc/<pid>/root". */
int volume_update(const char *root, const struct volume_dirs *d, const struct volume *v, int64_t fs_group, struct err **e) _must_check_;
/* A relative path without "..", empty or over-long components, not starting with "..". */
bool volume_file_path_ok(struct str path);

/* Binds source/sub_path to target (made, file or folder as fits), never leaving source whatever links stand in it; a missing sub_path
 * becomes a folder unless read_only. In the pod's mount namespace. */
int volume_bind_subpath(const char *source, struct str sub_path, bool read_only, const char *target, struct err **e) _must_check_;
/* For Bidirectional mounts: binds source as the machine's own mount namespace (machine: a path like /proc/<pid>/ns/mnt) has it, so that what
 * a container mounts there appears on the machine, and the other way round. A pod's namespace alone would only receive. Single-threaded
 * callers only. ERR_INVALID when the machine's mount is not a shared one. */
int volume_bind_shared(const char *machine, const char *source, const char *target, struct err **e) _must_check_;
/* Unmounts and removes what volume_bind_subpath and volume_bind_shared made below dir. */
void volume_drop_subpaths(const char *dir);

/* Folders of the storage class local-path: <any base>/pvc-<uuid>_<namespace>_<claim>, nothing else is ever made or removed here, whoever
 * asks. Made once, open to every user as Rancher's provisioner makes them; *fresh: it was not there before. size: bytes, 0 none; *limited:
 * the file system holds the folder to it (a project quota: xfs, or ext4 with the project feature, mounted with prjquota). */
bool volume_provisioned_path_ok(struct str path);
int volume_provision(struct str path, int64_t size, bool *fresh, bool *limited, struct err **e) _must_check_;
/* With all that is in it, not across mounts, not through links. Blocking. What is not there is fine. */
int volume_unprovision(struct str path, struct err **e) _must_check_;

/* Below base, never out of it whatever links stand there: a descriptor (O_PATH, through no link at all); folders, mode 0750; the removal of
 * an empty folder (or of the file that a device
 * was shown at) and of the folders around it that are empty then, but for the first below base. What is not there is removed already. */
int volume_open_beneath(const char *base, struct str path, struct err **e) _must_check_;
int volume_make_beneath(const char *base, struct str path, struct err **e) _must_check_;
int volume_drop_beneath(const char *base, struct str path, struct err **e) _must_check_;

/* fsGroup for a volume that has contents (the kubelet's pkg/volume/volume_linux.go): group of all, read and write for it, folders setgid.
 * on_mismatch: nothing when the top folder is that way already. Stays on the volume's own file system; links are not followed. */
int volume_give(const char *path, int64_t gid, bool on_mismatch, struct err **e) _must_check_;

/* hostPath's types; makes what ...OrCreate says. */
int volume_check_host_path(struct str path, struct str type, struct err **e) _must_check_;
