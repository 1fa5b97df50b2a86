/* Messages between the supervisor and its children, on base/wire.h. Types from 1 on here; NODE_LINK (node/proto.h) is the only other one. */
#pragma once
#include "base/wire.h"

enum broker_msg {
    BROKER_READY = 1,    /* api → supervisor: struct broker_ready; the API answers, write these files */
    BROKER_STOP,         /* supervisor → child: end gracefully (SIGTERM does the same) */
    BROKER_OPEN,         /* api → supervisor: struct broker_file; open this manifest, which only root may read */
    BROKER_OPENED,       /* supervisor → api: the same, with its descriptor, or none when that failed (the log says why) */
};
struct broker_file {
    struct str path; /* below the manifests folder */
};
extern const struct wire_type broker_file_type;
struct broker_ready {
    struct str kubeconfig;   /* written to --write-kubeconfig with its mode */
    struct str ca_hash;      /* hex sha256 of the CA certificate (DER), for tokens: K10<hash>::server:<password> */
    struct str admin_password; /* hub, first start only: printed once */
};
extern const struct wire_type broker_ready_type;
