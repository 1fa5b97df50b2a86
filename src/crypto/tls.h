/* TLS contexts for both sides: at least TLS 1.2, ALPN, no session tickets (a client certificate is checked at every handshake), small idle
 * connections (SSL_MODE_RELEASE_BUFFERS), validity by the site clock.
 *
 * A struct tls_ctx is made once and lives as long as its listener or client; its certificate can be exchanged while connections run (tls_ctx_reload):
 * new connections get the new one. All functions may be called from every thread.
 */
#pragma once
#include <openssl/ssl.h>
#include "base/clock.h"
#include "base/err.h"
#include "crypto/cert.h"

struct tls_ctx;

struct tls_config {
    bool server;
    const struct clock *clock;    /* must outlive the context and its connections; NULL: the wall clock */
    struct str cert_pem;          /* chain, leaf first; required on a server */
    struct str key_pem;
    const char *cert_path, *key_path; /* instead of the two above */
    const struct certs *cas;      /* client: who may have signed the server; NULL with no pin: the system's CAs. server: names offered as hints */
    struct str pin;               /* client: key id (HASH_HEX digits) that the server's own certificate or a CA in its chain must carry. It is a trust
                                     anchor of its own: the name is checked still, unless the pin is the leaf's */
    bool client_certs;            /* server: asks for one; none, or any, is let through: the app judges it (tls_peer and cert_verify) */
    const char *const *alpn;      /* NULL-ended, in order of preference: {"h2", "http/1.1", NULL}; NULL: none */
    bool insecure;                /* client: no verification at all (the user said so) */
};

struct tls_ctx *tls_ctx_new(const struct tls_config *config, struct err **e);
void tls_ctx_free(struct tls_ctx *t);
DEFINE_CLEANUP(struct tls_ctx *, tls_ctx_free)
/* New certificate and key; from the paths given to tls_ctx_new when both are absent. On failure the old ones stay. */
int tls_ctx_reload(struct tls_ctx *t, struct str cert_pem, struct str key_pem, struct err **e) _must_check_;

/* A connection's SSL, not yet bound to a socket, in accept or connect state. The caller SSL_free()s it. host (client only, may be absent): the
 * name or address that the server's certificate must fit, and SNI when it is a name. NULL: out of memory or a bad name. */
SSL *tls_session(struct tls_ctx *t, struct str host);
SSL_CTX *tls_ctx_ssl(struct tls_ctx *t); /* the current one, with a reference (SSL_CTX_free) */

/* What the peer showed; empty when nothing. Appends to chain. Valid after the handshake. */
int tls_peer(SSL *ssl, struct certs *chain, struct err **e) _must_check_;
struct str tls_alpn(SSL *ssl); /* absent: none was agreed */
/* 32 bytes that only the two ends know (RFC 9266 tls-exporter, RFC 5705 below TLS 1.3): binds an uplink's proof to its connection. */
bool tls_exporter(SSL *ssl, unsigned char out[32]);
/* The reason of the last failure on ssl as one line ("certificate ...: expired", "peer closed"), draining OpenSSL's queue. ret is what SSL_*
 * returned. */
int tls_error(SSL *ssl, int ret, struct err **e, const char *what);
