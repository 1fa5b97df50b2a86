/* A Kubernetes API to speak to as a client: where it is and as whom. Inside the room.
 *
 * From a kubeconfig (its current context), else the ServiceAccount of the pod we run in, else the local socket of our own api process. What
 * a kubeconfig asks for and we cannot do (exec plugins, auth providers, passwords) is an error that says so. */
#pragma once
#include "base/clock.h"
#include "crypto/tls.h"
#include "http/http.h"

struct kube;
/* kubeconfig and api_socket may be NULL. */
struct kube *kube_open(struct loop *l, struct clock *clock, const char *kubeconfig, const char *api_socket, struct err **e);
void kube_close(struct kube *k);
DEFINE_CLEANUP(struct kube *, kube_close)
struct http_client *kube_client(struct kube *k);
/* The value of the Authorization header, in pool; absent: none (a client certificate or the socket says who we are). Token files are read
 * anew, they are rotated under us. */
struct str kube_authorization(struct kube *k, struct pool *pool);
const char *kube_where(const struct kube *k); /* for the log */
