/* The cluster's keys and certificates: made in tls_dir at the first start, loaded at later ones, renewed while running with more than a
 * third of their life left. Files carry K3s' names. Private keys are 0600 and never leave the folder, except for client keys that are
 * handed to a person's kubeconfig.
 *
 *   server-ca.crt/.key              signs serving certificates; its hash stands in join tokens (K10<hash>::user:password)
 *   client-ca.crt/.key              signs client certificates: users, nodes, kubernetes.io/kube-apiserver-client CSRs
 *   serving-kube-apiserver.crt/.key the API's own
 *   service.key                     signs ServiceAccount tokens
 *   uplink.key                      the cluster's identity towards nodes
 *   client-admin.crt/.key           system:admin in system:masters
 *
 * Safe from every thread; the TLS context is exchanged in place.
 */
#pragma once
#include "base/clock.h"
#include "base/err.h"
#include "crypto/crypto.h"

struct api_keys;
struct tls_ctx;
struct api_keys_config {
    const char *dir;
    struct clock *clock;
    struct str cluster_domain; /* cluster.local */
    struct str service_ip;     /* first address of the service network: a SAN */
    struct str advertise;      /* may be empty */
    const struct str *sans;
    size_t nsans; /* --tls-san */
};
int api_keys_open(const struct api_keys_config *c, struct api_keys **out, struct err **e) _must_check_;
void api_keys_free(struct api_keys *k);
DEFINE_CLEANUP(struct api_keys *, api_keys_free)

struct tls_ctx *api_keys_tls(struct api_keys *k);  /* for http_listen: asks for client certificates, h2 and http/1.1 */
struct str api_keys_server_ca(struct api_keys *k); /* PEM; lives as long as k */
struct str api_keys_client_ca(struct api_keys *k);
const struct ca *api_keys_client_signer(struct api_keys *k); /* for CSRs: kube-apiserver-client, kubelet-client */
const struct ca *api_keys_server_signer(struct api_keys *k); /* for CSRs: kubelet-serving */
const struct key *api_keys_service(struct api_keys *k);      /* ServiceAccount tokens */
struct key *api_keys_identity(struct api_keys *k);           /* Ed25519, uplink.key: who we are on uplinks; borrowed */
struct str api_keys_ca_hash(struct api_keys *k);             /* SHA-256 of server-ca.crt's DER, hexadecimal: of join tokens */
/* A client certificate and its key as PEM. orgs: groups. */
int api_keys_client(struct api_keys *k, struct str cn, const struct str *orgs, size_t norgs, int64_t lifetime, struct buf *cert,
    struct buf *key, struct err **e) _must_check_;
/* The admin's kubeconfig for https://host:port, with embedded certificates. A secret. */
/* The request-header CA (PEM), and the certificate under which this server speaks to aggregated ones; they live as long as k. The key is a secret. */
struct str api_keys_front_ca(struct api_keys *k);
void api_keys_front_client(struct api_keys *k, struct str *cert, struct str *key);
int api_keys_kubeconfig(struct api_keys *k, struct str host, uint16_t port, struct buf *out, struct err **e) _must_check_;
/* Renews what has less than a third of its life left. 1: something was renewed; 0: nothing; the old stays on an error. Called hourly by the
 * api. */
int api_keys_renew(struct api_keys *k, struct err **e) _must_check_;
